//! A folder that lives as long as a test.
//!
//! # Promises
//! - No two folders are the same, in one program or in two that run side by side.
//! - It is removed at the end; after a failed test it stays, and its path is printed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process, thread};

/// The folder of this package, in the checkout that is tested: a library that two checkouts share was built in only one.
pub fn package() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// A file of `data/tls`.
pub fn certificate(name: &str) -> PathBuf {
    package().join("data/tls").join(name)
}

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    pub fn new(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("weir-{name}-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of all files below whose path contains `part`.
    pub fn bytes_of(&self, part: &str) -> u64 {
        files_below(&self.path)
            .filter(|path| path.to_string_lossy().contains(part))
            // A file may go while we look: it counts nothing then.
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept {}", self.path.display());
        } else {
            // A leftover in the folder for temporary files harms nobody.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// All files below a folder, in no order.
pub fn files_below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut waiting = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { waiting.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.into_iter()
}
