//! A store in memory that tells what was asked of it, and can be told what happens at a call.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<InMemory>,
    calls: Mutex<Vec<String>>,
    /// Puts of keys that hold this text are done, and answered only when it is gone.
    held: watch::Sender<Option<&'static str>>,
    /// Gets of keys that hold this text are not answered until it is gone.
    hung: watch::Sender<Option<&'static str>>,
    /// Objects whose keys hold this text cannot be deleted.
    undeletable: Mutex<Option<&'static str>>,
    /// At the next listing of this prefix, the objects of another store are there.
    copied: Mutex<Option<(&'static str, Arc<InMemory>)>>,
}

impl Watched {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::default(),
            calls: Mutex::default(),
            held: watch::Sender::new(None),
            hung: watch::Sender::new(None),
            undeletable: Mutex::default(),
            copied: Mutex::default(),
        })
    }

    /// The calls of a kind (`get`, `put`, `list`) whose key holds `text`.
    pub(crate) fn calls(&self, kind: &str, text: &str) -> Vec<String> {
        self.calls.lock().iter().filter(|c| c.starts_with(kind) && c.contains(text)).cloned().collect()
    }

    pub(crate) fn forget_calls(&self) {
        self.calls.lock().clear();
    }

    pub(crate) fn hold_puts(&self, text: &'static str) {
        self.held.send_replace(Some(text));
    }

    pub(crate) fn release_puts(&self) {
        self.held.send_replace(None);
    }

    pub(crate) fn hang_gets(&self, text: &'static str) {
        self.hung.send_replace(Some(text));
    }

    pub(crate) fn refuse_deletes(&self, text: &'static str) {
        *self.undeletable.lock() = Some(text);
    }

    pub(crate) fn copy_at_list(&self, prefix: &'static str, from: &Self) {
        *self.copied.lock() = Some((prefix, Arc::clone(&from.inner)));
    }

    fn called(&self, kind: &str, key: &Path) {
        self.calls.lock().push(format!("{kind} {key}"));
    }
}

async fn wait_until_free(kept: &watch::Sender<Option<&'static str>>, location: &Path) {
    let is_free = |text: &Option<&str>| text.is_none_or(|text| !location.as_ref().contains(text));
    let _ = kept.subscribe().wait_for(is_free).await;
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("watched store")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.called("put", location);
        let result = self.inner.put_opts(location, payload, opts).await;
        wait_until_free(&self.held, location).await;
        result
    }

    async fn put_multipart_opts(&self, location: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, o).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.called("get", location);
        wait_until_free(&self.hung, location).await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    #[expect(clippy::disallowed_methods, reason = "hands on what the test decided")]
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let undeletable = *self.undeletable.lock();
        let checked = locations.map(move |location| match location {
            Ok(key) if undeletable.is_some_and(|text| key.as_ref().contains(text)) => {
                Err(Error::Generic { store: "watched", source: format!("{key} may not be deleted").into() })
            }
            location => location,
        });
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        self.called("list", &prefix);
        let copied = self.copied.lock().take_if(|(at, _)| prefix.as_ref() == *at);
        let inner = Arc::clone(&self.inner);
        let listed = async move {
            if let Some((_, from)) = copied {
                for object in from.list(None).try_collect::<Vec<_>>().await? {
                    let bytes = from.get_opts(&object.location, GetOptions::default()).await?.bytes().await?;
                    inner.put_opts(&object.location, bytes.into(), PutOptions::default()).await?;
                }
            }
            inner.list(Some(&prefix)).try_collect::<Vec<_>>().await
        };
        stream::once(listed).map_ok(|found| stream::iter(found).map(Ok)).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
