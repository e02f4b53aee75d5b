//! Two clients of one service as one store: urgent traffic does not stand in line behind bulk traffic.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Secret, Store, reason};
use crate::bucket::keys;

#[derive(Debug)]
pub(super) struct Lanes {
    bulk: Store,
    urgent: Store,
    name: String,
    /// Taken out of every error.
    secrets: Arc<[Secret]>,
}

impl Lanes {
    pub(super) fn new((bulk, urgent): (Store, Store), name: String, secrets: Vec<Secret>) -> Self {
        Self { bulk, urgent, name, secrets: secrets.into() }
    }

    fn lane(&self, key: &Path) -> &Store {
        if keys::is_urgent(key) { &self.urgent } else { &self.bulk }
    }

    fn lane_of(&self, prefix: Option<&Path>) -> &Store {
        prefix.map_or(&self.bulk, |prefix| self.lane(prefix))
    }

    fn tell<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| retell(error, &self.secrets))
    }

    fn tell_each<T: 'static>(&self, stream: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let secrets = Arc::clone(&self.secrets);
        stream.map(move |item| item.map_err(|error| retell(error, &secrets))).boxed()
    }
}

/// The same error in words that may be shown.
fn retell(error: Error, secrets: &[Secret]) -> Error {
    type Source = Box<dyn std::error::Error + Send + Sync>;
    let told = |source: Source| Source::from(reason::of(&*source, secrets));
    match error {
        Error::Generic { store, source } => Error::Generic { store, source: told(source) },
        Error::NotFound { path, source } => Error::NotFound { path, source: told(source) },
        Error::NotSupported { source } => Error::NotSupported { source: told(source) },
        Error::AlreadyExists { path, source } => Error::AlreadyExists { path, source: told(source) },
        Error::Precondition { path, source } => Error::Precondition { path, source: told(source) },
        Error::NotModified { path, source } => Error::NotModified { path, source: told(source) },
        Error::PermissionDenied { path, source } => Error::PermissionDenied { path, source: told(source) },
        Error::Unauthenticated { path, source } => Error::Unauthenticated { path, source: told(source) },
        // These name an operation or a key of ours and quote no answer.
        quiet @ (Error::InvalidPath { .. } | Error::NotImplemented { .. } | Error::JoinError { .. }) => quiet,
        other => Error::Generic { store: "remote", source: reason::of(&other, secrets).into() },
    }
}

impl std::fmt::Display for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl ObjectStore for Lanes {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.tell(self.lane(location).put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart upload".into(), implementer: self.name.clone() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.tell(self.lane(location).get_opts(location, options).await)?;
        found.payload = match found.payload {
            GetResultPayload::Stream(stream) => GetResultPayload::Stream(self.tell_each(stream)),
            file @ GetResultPayload::File(..) => file,
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.tell(self.lane(location).get_ranges(location, ranges).await)
    }

    #[expect(clippy::disallowed_methods, reason = "hands on what sweep decided")]
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.tell_each(self.bulk.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.tell_each(self.lane_of(prefix).list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.tell_each(self.lane_of(prefix).list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.tell(self.lane_of(prefix).list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: self.name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;
    use crate::bucket::watched::Watched;

    fn lanes(bulk: &Arc<Watched>, urgent: &Arc<Watched>) -> Lanes {
        Lanes::new((Arc::clone(bulk) as _, Arc::clone(urgent) as _), "test".to_owned(), Vec::new())
    }

    #[tokio::test]
    async fn a_heartbeat_passes_while_bulk_traffic_waits() {
        let (bulk, urgent) = (Watched::new(), Watched::new());
        let lanes = Arc::new(lanes(&bulk, &urgent));
        bulk.hold_puts("data");
        let file = Path::from("c/data/1/2/3/x.parquet");
        let waiting = lanes.put_opts(&file, PutPayload::from_static(b"rows"), PutOptions::default());
        let heartbeat = Path::from("c/nodes/n/heartbeat");
        let entry = Path::from("c/catalog/log/00000000000000000001");
        let urgent_puts = async {
            for key in [&heartbeat, &entry] {
                lanes.put_opts(key, PutPayload::from_static(b"x"), PutOptions::default()).await.expect("it passes");
            }
            bulk.release_puts();
        };
        let (file_put, ()) = tokio::join!(waiting, urgent_puts);
        file_put.expect("it passes at last");
        assert_eq!((bulk.calls("put", "").len(), urgent.calls("put", "").len()), (1, 2));
        lanes.get(&heartbeat).await.expect("read where it was put");
        let _ = lanes.list(Some(&Path::from("c/catalog/log"))).collect::<Vec<_>>().await;
        assert_eq!(urgent.calls("list", "").len(), 1);
    }

    #[tokio::test]
    async fn errors_keep_their_kind_and_lose_their_secrets() {
        let store = Arc::new(InMemory::new());
        let lanes = Lanes::new((Arc::clone(&store) as _, store), "test".to_owned(), vec![Secret::new("a-secret")]);
        let key = Path::from("c/data/x");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        lanes.put_opts(&key, PutPayload::from_static(b"1"), create()).await.expect("it is the first");
        let second = lanes.put_opts(&key, PutPayload::from_static(b"2"), create()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
        let missing = lanes.get(&Path::from("c/data/y")).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        let said = || "the a-secret is wrong".into();
        let path = || "p".to_owned();
        for error in [
            Error::Generic { store: "S3", source: said() },
            Error::PermissionDenied { path: path(), source: said() },
            Error::Unauthenticated { path: path(), source: said() },
        ] {
            let kind = std::mem::discriminant(&error);
            let told = retell(error, &lanes.secrets);
            assert_eq!(std::mem::discriminant(&told), kind);
            assert!(told.to_string().contains("the *** is wrong"), "{told}");
            assert!(!format!("{told:?}").contains("a-secret"), "{told:?}");
        }
    }
}
