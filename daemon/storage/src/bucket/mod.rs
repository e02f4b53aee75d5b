//! The object store as Weir uses it: keys, frames, create-if-absent with its outcome settled, retries.
//!
//! # Promises
//! - `create` returns only when it is certain whether our object or another one stands under the key. No answer, an
//!   error after success, "exists" after our own retry: all are settled by reading the object back.
//! - No object is written twice with other bytes, except heartbeats.
//! - Decoding is total: damage is an error that names the object.
//! - What is asked of the store is counted (`measured`).
//! - Before a cluster begins, its store has shown that it can be trusted (`probe`).
//!
//! # Not here
//! - What the objects mean; their payloads are the business of the rooms that write them.

mod frame;
pub mod keys;
mod local;
mod measured;
mod probe;
mod reader;
mod remote;
mod secret;
mod throttled;
#[cfg(test)]
pub(crate) mod watched;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

pub use object_store::memory::InMemory;
pub use object_store::path::Path as Key;

pub use frame::{Frame, HEADER_BYTES, Kind};
pub use keys::Keys;
pub use local::LocalFiles;
pub use measured::{Figures, Measured, Op, RecentUse, Tally, Transfers, Usage};
pub use reader::ReadOnly;
pub use remote::{Azure, Google, OpenError, Remote, S3, S3Keys, Service, Transport};
pub use secret::Secret;
pub use throttled::throttled_memory;

use crate::clock::Clock;
use crate::model::ErrorKind;

/// Attempts of a read before the caller hears of it.
const READ_ATTEMPTS: u32 = 5;

/// Any object store that refuses a second create of one key.
pub type Store = Arc<dyn ObjectStore>;

#[derive(Debug, Clone)]
pub struct Bucket {
    store: Store,
    keys: Keys,
    clock: Clock,
}

/// Who stands under a key after `create`.
#[derive(Debug)]
pub enum Created {
    Ours,
    /// Somebody else was first; this is what they wrote.
    Taken(Box<Frame>),
}

/// What the store says of one content of an object; it says something else of another content under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Option<String>, i64);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store gave no useful answer. Try again later.
    #[error("{action} {key}: {source}")]
    Unavailable { action: &'static str, key: String, source: StoreError },
    /// An object that must be there is not.
    #[error("object {key} is missing")]
    Missing { key: String },
    /// An object is damaged, foreign, or needs a newer version of this program.
    #[error("object {key}: {reason}")]
    Damaged { key: String, reason: String },
    /// The store does not do what everything here rests on. Use another one.
    #[error("object store {store} cannot keep data safe: {reason}")]
    Unfit { store: String, reason: String },
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Missing { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Unfit { .. } => ErrorKind::Invalid,
        }
    }

    pub(crate) fn damaged(key: &Key, reason: impl Into<String>) -> Self {
        Self::Damaged { key: key.to_string(), reason: reason.into() }
    }
}

impl Bucket {
    #[must_use]
    pub fn new(store: Store, keys: Keys, clock: Clock) -> Self {
        Self { store, keys, clock }
    }

    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A handle that can read and nothing else.
    #[must_use]
    pub fn reader(&self) -> Store {
        Arc::new(ReadOnly::new(Arc::clone(&self.store)))
    }

    /// Puts a frame under a key that nobody may have used. Retries until the outcome is certain, for as long as the
    /// caller waits; a caller who stops waiting must treat the number as open and begin by reading.
    pub async fn create(&self, key: &Key, frame: &Frame) -> Result<Created, Error> {
        let bytes = frame.encode();
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.put(key, bytes.clone(), PutMode::Create).await {
                Ok(()) => return Ok(Created::Ours),
                // Not an answer but a question: the object may be ours from an attempt whose answer was lost.
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    match self.find_frame(key).await {
                        Ok(Some(found)) if found.nonce == frame.nonce => return Ok(Created::Ours),
                        Ok(Some(found)) => return Ok(Created::Taken(Box::new(found))),
                        // A conflict was in progress and nothing came of it.
                        Ok(None) => {}
                        Err(error @ Error::Damaged { .. }) => return Err(error),
                        Err(error) => tracing::warn!(%error, "read back an object whose outcome is open"),
                    }
                }
                Err(error) => self.warn_of_retry("create", key, attempt, &error),
            }
            self.clock.sleep(self.clock.backoff(attempt)).await;
        }
    }

    /// Puts a data file. Its key holds a new random id, so an object that is there already is ours.
    pub async fn put_file(&self, key: &Key, bytes: Bytes) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.put(key, bytes.clone(), PutMode::Create).await {
                Ok(()) => return,
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    // An attempt of ours may be there, or may still be under way and come to nothing.
                    match self.store.head(key).await {
                        Ok(found) if found.size == bytes.len() as u64 => return,
                        Ok(_) | Err(StoreError::NotFound { .. }) => {}
                        Err(error) => self.warn_of_retry("look at", key, attempt, &error),
                    }
                }
                Err(error) => self.warn_of_retry("put", key, attempt, &error),
            }
            self.clock.sleep(self.clock.backoff(attempt)).await;
        }
    }

    /// Overwrites an advisory object (a heartbeat) once, without retries.
    pub async fn overwrite(&self, key: &Key, frame: &Frame) -> Result<(), Error> {
        let put = self.put(key, frame.encode(), PutMode::Overwrite).await;
        put.map_err(|source| Error::Unavailable { action: "put", key: key.to_string(), source })
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: PutMode) -> Result<(), StoreError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(key, PutPayload::from_bytes(bytes), options).await.map(drop)
    }

    fn warn_of_retry(&self, action: &'static str, key: &Key, attempt: u32, error: &StoreError) {
        // Every doubling, so that a long outage does not fill the log.
        if attempt.is_power_of_two() {
            tracing::warn!(%key, attempt, %error, "{action} failed, trying again");
        }
    }

    /// The frame under a key that must be there.
    pub async fn get_frame(&self, key: &Key) -> Result<Frame, Error> {
        self.find_frame(key).await?.ok_or_else(|| Error::Missing { key: key.to_string() })
    }

    /// The frame under a key, if there is one.
    pub async fn find_frame(&self, key: &Key) -> Result<Option<Frame>, Error> {
        let Some(bytes) = self.find(key).await? else { return Ok(None) };
        Frame::decode(&bytes).map(Some).map_err(|reason| Error::damaged(key, reason))
    }

    /// The bytes under a key, if there are any.
    pub async fn find(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let read = async { self.store.get(key).await?.bytes().await };
            match read.await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(source) if attempt == READ_ATTEMPTS => {
                    return Err(Error::Unavailable { action: "get", key: key.to_string(), source });
                }
                Err(_) => self.clock.sleep(self.clock.backoff(attempt)).await,
            }
        }
    }

    /// The keys below `prefix`, after `offset` when one is given, in order.
    pub async fn list(&self, prefix: &Key, offset: Option<&Key>) -> Result<Vec<Key>, Error> {
        let listed = self.list_objects(prefix, offset).await?;
        Ok(listed.into_iter().map(|object| object.location).collect())
    }

    /// The keys below `prefix`, each with what tells its content from the next one.
    pub async fn list_contents(&self, prefix: &Key) -> Result<Vec<(Key, Content)>, Error> {
        let listed = self.list_objects(prefix, None).await?.into_iter();
        let content = |object: &ObjectMeta| Content(object.e_tag.clone(), object.last_modified.timestamp_micros());
        Ok(listed.map(|object| (object.location.clone(), content(&object))).collect())
    }

    async fn list_objects(&self, prefix: &Key, offset: Option<&Key>) -> Result<Vec<ObjectMeta>, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let listing = match offset {
                Some(offset) => self.store.list_with_offset(Some(prefix), offset),
                None => self.store.list(Some(prefix)),
            };
            let objects: Result<Vec<ObjectMeta>, StoreError> = listing.try_collect().await;
            match objects {
                Ok(mut objects) => {
                    objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
                    return Ok(objects);
                }
                Err(source) if attempt == READ_ATTEMPTS => {
                    return Err(Error::Unavailable { action: "list", key: prefix.to_string(), source });
                }
                Err(_) => self.clock.sleep(self.clock.backoff(attempt)).await,
            }
        }
    }

    /// Deletes objects, for `sweep` alone. A missing one counts as deleted. Returns those that are gone; what could not
    /// be deleted stays for the next sweep.
    pub(crate) async fn delete(&self, keys: Vec<Key>) -> HashSet<Key> {
        let results: Vec<_> = self.delete_all(keys.clone()).collect().await;
        let mut gone: HashSet<Key> = results.into_iter().filter_map(Result::ok).collect();
        // An error of many does not say which of them it is about; alone, each one has its own answer.
        let open: Vec<Key> = keys.into_iter().filter(|key| !gone.contains(key)).collect();
        for key in open {
            match self.delete_all(vec![key.clone()]).try_for_each(|_| std::future::ready(Ok(()))).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {
                    gone.insert(key);
                }
                Err(error) => tracing::warn!(%key, %error, "delete failed, the next sweep tries again"),
            }
        }
        gone
    }

    #[expect(clippy::disallowed_methods, reason = "called by sweep, which alone decides what goes")]
    fn delete_all(&self, keys: Vec<Key>) -> BoxStream<'static, Result<Key, StoreError>> {
        self.store.delete_stream(futures::stream::iter(keys.into_iter().map(Ok)).boxed())
    }
}
