//! Local files as an object store that keeps its word over a power loss.
//!
//! The store of the `object_store` crate never calls fsync. Here a put writes a staged file, syncs it, links or renames
//! it to its name, and syncs the folder. Staged files lie in one folder below the store's, so that whoever starts next
//! finds what a dead process left. Their names are `#` and digits, which listings of that store leave out.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng};

/// The folder of staged files; the keys of a cluster begin with a letter or digit.
const STAGING: &str = ".staged";

/// No put takes so long; one that does, because its process slept, fails and is tried again.
const STAGED_KEPT: Duration = Duration::from_secs(60 * 60);

/// Files below one folder. Whoever has put an object finds it after a power loss.
#[derive(Debug)]
pub struct LocalFiles {
    inner: LocalFileSystem,
    staging: PathBuf,
    staged: AtomicU64,
    folders: Arc<Folders>,
}

impl LocalFiles {
    /// The folder is made when it is missing; the parent must be writable.
    pub fn open(folder: &FilePath) -> std::io::Result<Arc<Self>> {
        let folders = Arc::<Folders>::default();
        folders.make(folder)?;
        let staging = folder.canonicalize()?.join(STAGING);
        remove_old(&staging)?;
        // Names of staged files must differ from those of a crashed process and of other machines that share the
        // folder; process ids do not tell containers apart.
        let start = rand::rngs::StdRng::from_os_rng().next_u64() >> 1;
        let inner = LocalFileSystem::new_with_prefix(folder).map_err(std::io::Error::other)?;
        Ok(Arc::new(Self { inner, staging, staged: AtomicU64::new(start), folders }))
    }

    fn refuse<T>(operation: &'static str) -> Result<T> {
        Err(Error::NotImplemented { operation: operation.into(), implementer: "LocalFiles".into() })
    }
}

impl std::fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let staged = self.staging.join(format!("#{}", self.staged.fetch_add(1, Ordering::Relaxed)));
        let key = location.to_string();
        let folders = Arc::clone(&self.folders);
        let put = move || match opts.mode {
            PutMode::Create => put_durably(&payload, (&staged, &target), (&folders, link), sync),
            PutMode::Overwrite => put_durably(&payload, (&staged, &target), (&folders, rename), sync),
            PutMode::Update(_) => Err(ErrorKind::Unsupported.into()),
        };
        blocking(put).await.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => Error::AlreadyExists { path: key, source: source.into() },
            ErrorKind::PermissionDenied => Error::PermissionDenied { path: key, source: source.into() },
            ErrorKind::Unsupported => {
                Error::NotImplemented { operation: "conditional update".into(), implementer: "LocalFiles".into() }
            }
            _ => Error::Generic { store: "local files", source: format!("put {key}: {source}").into() },
        })?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Self::refuse("multipart upload")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    #[expect(clippy::disallowed_methods, reason = "hands on what sweep decided")]
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|prefix| prefix.as_ref() != STAGING);
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Self::refuse("copy")
    }
}

/// Runs file work on tokio's blocking threads.
#[expect(clippy::disallowed_methods, reason = "short file work of the store itself, bounded by its callers")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// Removes what dead processes left in the folder of staged files. Others that live may share it, so what is young stays.
fn remove_old(staging: &FilePath) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(staging) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // What another process takes away meanwhile, or what is not ours to remove, is no reason not to start.
        let modified = entry.metadata().and_then(|found| found.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STAGED_KEPT));
        if is_old && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(file = %entry.path().display(), %error, "could not remove a staged file of a dead process");
        }
    }
    Ok(())
}

/// A new staged file. Their folder is empty most of the time, so somebody may have tidied it away.
fn create_staged(staged: &FilePath) -> std::io::Result<File> {
    let create = || OpenOptions::new().write(true).create(true).truncate(true).open(staged);
    match create() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(staged.parent().ok_or(ErrorKind::InvalidInput)?)?;
            create()
        }
        created => created,
    }
}

type Publish = fn(&FilePath, &FilePath) -> std::io::Result<()>;

/// Makes `target` hold the payload, all of it or not at all, and not only in the page cache.
fn put_durably(
    payload: &PutPayload,
    (staged, target): (&FilePath, &FilePath),
    (folders, publish): (&Folders, Publish),
    sync: impl Fn(&FilePath) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let folder = target.parent().ok_or(ErrorKind::InvalidInput)?;
    folders.make(folder)?;
    let mut file = create_staged(staged)?;
    let written = payload.iter().try_for_each(|bytes| file.write_all(bytes)).and_then(|()| file.sync_data());
    let published = written.and_then(|()| publish(staged, target));
    if published.is_err() {
        // The error of the put is the one to report; a staged file left behind is never listed.
        let _ = std::fs::remove_file(staged);
    }
    match published {
        // Whoever is told that the object exists takes it for kept: its name must be on disk, whoever put it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => sync(folder).and(Err(error)),
        Err(error) => Err(error),
        Ok(()) => sync(folder),
    }
}

fn link(staged: &FilePath, target: &FilePath) -> std::io::Result<()> {
    std::fs::hard_link(staged, target)?;
    // The object is there; a staged name that stays is never listed.
    let _ = std::fs::remove_file(staged);
    Ok(())
}

fn rename(staged: &FilePath, target: &FilePath) -> std::io::Result<()> {
    std::fs::rename(staged, target)
}

fn sync(folder: &FilePath) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folders that this process knows to be on disk, with all folders above them.
#[derive(Debug, Default)]
struct Folders(Mutex<HashSet<PathBuf>>);

/// Beyond so many the set is begun anew: forgetting costs one sync for each folder that is used again.
const FOLDERS_KNOWN_MAX: usize = 10_000;

impl Folders {
    /// Makes a folder and those above it, each known to its parent on disk. A folder somebody else made may not be
    /// there yet after a power loss, so it is synced all the same.
    fn make(&self, folder: &FilePath) -> std::io::Result<()> {
        if self.0.lock().contains(folder) {
            return Ok(());
        }
        // An empty parent is the working folder.
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make(parent)?;
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                // Folders above the store may be closed to us; they were there before.
                Err(_) => drop(sync(parent)),
                Ok(()) => sync(parent)?,
            }
        }
        let mut known = self.0.lock();
        if known.len() >= FOLDERS_KNOWN_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::TryStreamExt;

    use super::*;

    /// A folder that is gone at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn whoever_is_told_that_an_object_exists_finds_its_name_on_disk() {
        let scratch = Scratch::new("local");
        let (folders, target) = (Folders::default(), scratch.0.join("a/object"));
        let staged = target.with_file_name("object#1");
        let synced = RefCell::new(Vec::new());
        let see = |folder: &FilePath| {
            synced.borrow_mut().push(folder.to_owned());
            Ok(())
        };
        let fail = |_: &FilePath| Err(std::io::Error::other("the disk is gone"));
        let payload = PutPayload::from_static(b"rows");
        let put = |sync: &dyn Fn(&FilePath) -> std::io::Result<()>| {
            put_durably(&payload, (&staged, &target), (&folders, link), sync).map_err(|error| error.kind())
        };

        // The name is there and the sync fails: the putter cannot know, and tries again.
        assert_eq!(put(&fail), Err(ErrorKind::Other));
        assert_eq!(std::fs::read(&target).unwrap(), b"rows");
        assert_eq!(put(&fail), Err(ErrorKind::Other), "an answer that rests on an unsynced name");
        assert_eq!(put(&see), Err(ErrorKind::AlreadyExists));
        assert_eq!(*synced.borrow(), [scratch.0.join("a")]);
        assert!(!staged.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_has_staged_is_in_no_listing_and_goes_at_a_later_start() {
        let scratch = Scratch::new("staged");
        let put = async |store: &LocalFiles, key: &str| {
            let (key, bytes) = (Path::from(key), PutPayload::from_static(b"rows"));
            store.put_opts(&key, bytes, PutOptions::from(PutMode::Create)).await.unwrap();
        };
        put(&*LocalFiles::open(&scratch.0).unwrap(), "c/log/1").await;
        let staging = scratch.0.join(".staged");
        let (old, young) = (staging.join("#1"), staging.join("#2"));
        for staged in [&old, &young] {
            std::fs::write(staged, b"half").unwrap();
        }
        let made = std::fs::metadata(&old).unwrap().modified().unwrap();
        let file = OpenOptions::new().write(true).open(&old).unwrap();
        file.set_modified(made - Duration::from_secs(2 * 60 * 60)).unwrap();

        let store = LocalFiles::open(&scratch.0).unwrap();
        assert!(!old.exists() && young.exists(), "another process may be about to link the young one");
        let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.iter().map(|o| o.location.as_ref()).collect::<Vec<_>>(), ["c/log/1"]);
        let prefixes = store.list_with_delimiter(None).await.unwrap().common_prefixes;
        assert_eq!(prefixes, [Path::from("c")]);

        std::fs::remove_dir_all(&staging).unwrap();
        put(&store, "c/log/2").await;
        let beside: Vec<_> =
            std::fs::read_dir(scratch.0.join("c/log")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(beside.len(), 2, "nothing but the objects: {beside:?}");
    }
}
