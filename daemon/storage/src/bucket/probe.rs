//! Finding out whether a store can be trusted, before anything rests on it.
//!
//! Some services take the condition of a put and ignore it; others answer rightly and list late. Such a store loses rows
//! without a word, so it is refused with the reason.

use bytes::Bytes;
use object_store::{Error as StoreError, PutMode};

use super::{Bucket, Error, Frame, Key, Kind};
use crate::model::{Epoch, Stamp};

/// Attempts of one step; a service that does not answer is not waited for without end.
const ATTEMPTS_MAX: u32 = 5;

/// How a conditional put ended.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    Done,
    Refused,
}

impl Bucket {
    /// Shows that the store refuses a second create and keeps the first, that what was put is read and listed at once,
    /// and that a listing can begin after a key. Leaves nothing behind when the store deletes what it is told to.
    pub async fn probe(&self, cluster: u128) -> Result<(), Error> {
        // The time in their names tells sweep when they were left behind.
        let first = self.clock.ulid();
        let keys = [self.keys.probe(first), self.keys.probe(self.clock.ulid_above(first))];
        let probed = self.probe_with(&keys, cluster).await;
        self.delete(keys.to_vec()).await;
        probed
    }

    async fn probe_with(&self, [first, second]: &[Key; 2], cluster: u128) -> Result<(), Error> {
        let original = self.probe_frame(cluster);
        for key in [first, second] {
            self.create_new(key, &original).await?;
        }
        self.expect_read(first, &original).await?;
        if self.try_create(first, &self.probe_frame(cluster)).await? == Put::Done {
            // In the words of its documentation, where its owner can look it up.
            return Err(self.unfit(
                "it accepted a second create of one object, so it ignores preconditions \
                 (If-None-Match on S3 and Azure, x-goog-if-generation-match on Google)",
            ));
        }
        self.expect_read(first, &original).await?;

        let prefix = self.keys.probes();
        let listed = self.list(&prefix, None).await?;
        if ![first, second].iter().all(|key| listed.contains(key)) {
            return Err(self.unfit("its listing leaves out what was just put"));
        }
        let after = self.list(&prefix, Some(first)).await?;
        if after.contains(first) || !after.contains(second) {
            return Err(self.unfit("its listing does not begin after the object it is told"));
        }
        Ok(())
    }

    /// Puts an object under a name that is new, so that what is there already can only be ours.
    async fn create_new(&self, key: &Key, frame: &Frame) -> Result<(), Error> {
        for attempt in 1..=ATTEMPTS_MAX {
            match self.try_create(key, frame).await? {
                Put::Done => return Ok(()),
                // An attempt of ours whose answer was lost.
                Put::Refused if self.find(key).await?.is_some() => return Ok(()),
                // A conflict was in progress and nothing came of it.
                Put::Refused => self.clock.sleep(self.clock.backoff(attempt)).await,
            }
        }
        Err(self.unfit("it refuses to create an object that is not there"))
    }

    async fn try_create(&self, key: &Key, frame: &Frame) -> Result<Put, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.put(key, frame.encode(), PutMode::Create).await {
                Ok(()) => return Ok(Put::Done),
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => return Ok(Put::Refused),
                Err(error @ (StoreError::NotImplemented { .. } | StoreError::NotSupported { .. })) => {
                    return Err(self.unfit(&error.to_string()));
                }
                Err(source) if attempt == ATTEMPTS_MAX => {
                    return Err(Error::Unavailable { action: "put", key: key.to_string(), source });
                }
                Err(error) => self.warn_of_retry("probe", key, attempt, &error),
            }
            self.clock.sleep(self.clock.backoff(attempt)).await;
        }
    }

    async fn expect_read(&self, key: &Key, frame: &Frame) -> Result<(), Error> {
        match self.find(key).await? {
            Some(bytes) if bytes == frame.encode() => Ok(()),
            Some(_) => Err(self.unfit("it replaced an object although it was told to create one")),
            None => Err(self.unfit("it does not return what was just put")),
        }
    }

    fn probe_frame(&self, cluster: u128) -> Frame {
        Frame {
            kind: Kind::Probe,
            cluster,
            epoch: Epoch(0),
            number: 0,
            nonce: self.clock.random(),
            stamp: Stamp::SETTLED,
            payload: Bytes::new(),
        }
    }

    fn unfit(&self, reason: &str) -> Error {
        Error::Unfit { store: self.store.to_string(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures::stream::{BoxStream, StreamExt};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
        PutOptions, PutPayload, PutResult, Result,
    };

    use super::*;
    use crate::bucket::Keys;
    use crate::clock::Clock;
    use crate::model::NodeId;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Lie {
        None,
        /// Every create succeeds and replaces.
        CreatesTwice,
        /// A second create is refused and replaces all the same.
        RefusesAndReplaces,
        /// The first create succeeds and says that something was there.
        LosesAnswers,
        ListsNothing,
        ListsFromTheStart,
        CannotCreate,
        DeniesPuts,
    }

    #[derive(Debug)]
    struct Liar {
        inner: InMemory,
        lie: Lie,
    }

    impl std::fmt::Display for Liar {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("s3://liar")
        }
    }

    #[async_trait]
    impl ObjectStore for Liar {
        async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
            let taken = || StoreError::AlreadyExists { path: key.to_string(), source: "412".into() };
            let replace = PutOptions::default();
            match self.lie {
                Lie::CreatesTwice => self.inner.put_opts(key, payload, replace).await,
                Lie::RefusesAndReplaces => {
                    let result = self.inner.put_opts(key, payload.clone(), opts).await;
                    self.inner.put_opts(key, payload, replace).await?;
                    result
                }
                Lie::LosesAnswers => self.inner.put_opts(key, payload, opts).await.and_then(|_| Err(taken())),
                Lie::CannotCreate => {
                    let (operation, implementer) = ("create".to_owned(), "liar".to_owned());
                    Err(StoreError::NotImplemented { operation, implementer })
                }
                Lie::DeniesPuts => {
                    Err(StoreError::PermissionDenied { path: key.to_string(), source: "AccessDenied".into() })
                }
                Lie::None | Lie::ListsNothing | Lie::ListsFromTheStart => self.inner.put_opts(key, payload, opts).await,
            }
        }

        async fn put_multipart_opts(&self, key: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(key, o).await
        }

        async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(key, options).await
        }

        async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
            self.inner.get_ranges(key, ranges).await
        }

        #[expect(clippy::disallowed_methods, reason = "hands on what the test decided")]
        fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(keys)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            match self.lie {
                Lie::ListsNothing => futures::stream::empty().boxed(),
                _ => self.inner.list(prefix),
            }
        }

        fn list_with_offset(&self, prefix: Option<&Path>, after: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
            match self.lie {
                Lie::ListsFromTheStart => self.inner.list(prefix),
                _ => self.inner.list_with_offset(prefix, after),
            }
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    async fn check(lie: Lie, expected: Option<&str>) {
        let clock = Clock::simulated(1_000_000, 7);
        let store = Arc::new(Liar { inner: InMemory::new(), lie });
        let bucket = Bucket::new(Arc::clone(&store) as _, Keys::new(NodeId::new("c").unwrap()), clock);
        let said = bucket.probe(1).await.map_err(|error| error.to_string());
        match expected {
            None => assert_eq!(said, Ok(()), "{lie:?}"),
            Some(reason) => assert!(said.as_ref().is_err_and(|said| said.contains(reason)), "{lie:?}: {said:?}"),
        }
        assert_eq!(store.inner.list(None).count().await, 0, "{lie:?}: a probe is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_keep_its_word_is_refused_with_the_reason() {
        check(Lie::None, None).await;
        check(Lie::LosesAnswers, None).await;
        let store = "object store s3://liar cannot keep data safe: ";
        check(Lie::CreatesTwice, Some(&format!("{store}it accepted a second create of one object"))).await;
        check(Lie::RefusesAndReplaces, Some(&format!("{store}it replaced an object"))).await;
        check(Lie::ListsNothing, Some("its listing leaves out what was just put")).await;
        check(Lie::ListsFromTheStart, Some("its listing does not begin after the object it is told")).await;
        check(Lie::CannotCreate, Some("create not yet implemented by liar")).await;
        check(Lie::DeniesPuts, Some("AccessDenied")).await;
    }
}
