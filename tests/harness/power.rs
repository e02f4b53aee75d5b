//! A power loss: what a process wrote and did not sync goes, or stays, as chance has it.
//!
//! # Promises
//! - What was synced stays: a file's bytes by a sync of the file, its name by a sync of its folder. So do all files that
//!   were there before the process started.
//! - Everything else may be lost, each thing for itself: a name, a folder with all below it, the end or all of the bytes.
//!
//! # Not here
//! - A name given to another file (rename over a file that is there) keeps the new file; a name that was taken away
//!   without a sync stays away.
//!
//! # Why
//! A killed process leaves its un-synced bytes to the system, so a kill alone never shows a missing sync. A library that
//! is loaded into the process (`power/witness.c`) tells what it changes and syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::{files_below, package};
use crate::random::Random;

/// Syncs that a bad disk ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    Honest,
    IgnoresSyncs(&'static str),
}

impl Disk {
    pub const WITHOUT_FILE_SYNCS: Self = Self::IgnoresSyncs("files");
    pub const WITHOUT_FOLDER_SYNCS: Self = Self::IgnoresSyncs("folders");
}

/// Watches the files one process after the other makes below a folder.
#[derive(Debug)]
pub struct Witness {
    below: PathBuf,
    library: PathBuf,
    log: PathBuf,
    disk: Disk,
    /// What was there before the process that is watched now.
    before: BTreeSet<PathBuf>,
}

/// What a power loss took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub names: usize,
    pub contents: usize,
}

impl Witness {
    /// `own` is a folder for the library and its log, outside of `below`.
    pub fn new(below: PathBuf, own: &Path, disk: Disk) -> Self {
        let library = own.join("witness.so");
        let source = package().join("harness/power/witness.c");
        let output = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
        let output = output.expect("a C compiler is there");
        assert!(output.status.success(), "witness.c: {}", String::from_utf8_lossy(&output.stderr));
        Self { below, library, log: own.join("witness"), disk, before: BTreeSet::new() }
    }

    /// Has the next process watched.
    pub fn watch(&mut self, command: &mut Command) {
        self.before = everything_below(&self.below);
        // A file that is not there says as much as an empty one.
        let _ = fs::remove_file(&self.log);
        command.env("LD_PRELOAD", &self.library).env("WITNESS_BELOW", &self.below).env("WITNESS_LOG", &self.log);
        if let Disk::IgnoresSyncs(which) = self.disk {
            command.env("WITNESS_SILENT", which);
        }
    }

    /// The watched process was killed, and now the machine loses its power.
    pub fn lose_power(&self, random: &mut Random) -> Lost {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let known = Known::from_log(&log);
        let mut lost = Lost::default();
        let made = everything_below(&self.below);
        for path in made.difference(&self.before) {
            let unsure_name = !known.kept.contains(path);
            // A folder that went took what was below it along.
            if unsure_name && random.below(2) == 0 && path.exists() {
                let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                gone.expect("the dead process holds nothing");
                lost.names += 1;
            }
        }
        for path in made.iter().filter(|path| path.is_file()) {
            let written = known.names.get(path).is_some_and(|file| !known.synced.contains(file));
            if written && random.below(2) == 0 {
                damage(path, random);
                lost.contents += 1;
            }
        }
        lost
    }
}

/// The end or all of the bytes are cut off, or are zeros.
fn damage(path: &Path, random: &mut Random) {
    let file = OpenOptions::new().write(true).open(path).expect("our own file");
    let length = file.metadata().expect("our own file").len();
    file.set_len(random.below(length + 1)).expect("a file can be cut");
    if random.below(2) == 0 {
        file.set_len(length).expect("a file can be extended");
    }
}

fn everything_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for file in files_below(folder) {
        found.extend(file.ancestors().take_while(|above| *above != folder).map(Path::to_owned));
    }
    found
}

/// What the log of a process says of its files.
#[derive(Debug, Default)]
struct Known {
    /// Files by name, numbered as they were made; as the process saw them.
    names: BTreeMap<PathBuf, usize>,
    files: usize,
    /// Files whose bytes are all on disk.
    synced: BTreeSet<usize>,
    /// Names that are on disk.
    kept: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// For each thread the names in the folder it is syncing: only those that were there when the sync began.
    syncing: BTreeMap<String, Vec<PathBuf>>,
}

impl Known {
    fn from_log(log: &str) -> Self {
        let mut known = Self::default();
        // The last line may have been cut by the kill.
        for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split('\t').collect();
            let [thread, what, path, new_path] = words[..] else { panic!("witness: {line}") };
            known.apply((thread, what), Path::new(path), Path::new(new_path));
        }
        known
    }

    fn apply(&mut self, (thread, what): (&str, &str), path: &Path, new_path: &Path) {
        match what {
            "c" => {
                self.names.insert(path.to_owned(), self.files);
                self.files += 1;
            }
            "w" => {
                self.names.get(path).map(|file| self.synced.remove(file));
            }
            "m" => drop(self.folders.insert(path.to_owned())),
            "u" => drop(self.names.remove(path)),
            "l" => {
                if let Some(file) = self.names.get(path).copied() {
                    self.names.insert(new_path.to_owned(), file);
                }
            }
            "r" => {
                if let Some(file) = self.names.remove(path) {
                    self.names.insert(new_path.to_owned(), file);
                }
            }
            "b" => {
                let within = self.names.keys().chain(&self.folders).filter(|name| name.parent() == Some(path));
                self.syncing.insert(thread.to_owned(), within.cloned().collect());
            }
            "s" => {
                self.kept.extend(self.syncing.remove(thread).into_iter().flatten());
                self.synced.extend(self.names.get(path));
            }
            _ => panic!("witness: unknown change {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    /// Has a shell script watched in an empty folder; says which files are there, with their bytes, after a power loss.
    fn left_by(script: &str, disk: Disk, seed: u64) -> Vec<String> {
        let folder = Folder::new("power");
        let below = folder.path().join("data");
        fs::create_dir(&below).unwrap();
        let mut witness = Witness::new(below.clone(), folder.path(), disk);
        // Python calls the same functions of the C library as the node; a shell would write through other programs.
        let mut command = Command::new("python3");
        witness.watch(command.args(["-c", script]).current_dir(&below).env("BELOW", &below));
        assert!(command.status().expect("python3 is there").success());
        witness.lose_power(&mut Random::new(seed));
        let text =
            |path: &PathBuf| format!("{}={}", path.file_name().unwrap().display(), fs::read_to_string(path).unwrap());
        let mut left: Vec<String> = files_below(&below).map(|path| text(&path)).collect();
        left.sort();
        left
    }

    const BEGIN: &str = "
import os
b = os.environ['BELOW']
def put(name, sync):
    f = os.open(b + '/' + name, os.O_CREAT | os.O_WRONLY)
    os.write(f, b'abc')
    if sync: os.fsync(f)
    os.close(f)
def sync(name):
    f = os.open(b + '/' + name, os.O_RDONLY)
    os.fsync(f)
    os.close(f)
";

    fn always(script: &str, disk: Disk) -> BTreeSet<Vec<String>> {
        (0..6).map(|seed| left_by(&format!("{BEGIN}{script}"), disk, seed)).collect()
    }

    #[test]
    fn what_was_synced_stays() {
        let script = "os.mkdir(b + '/d')\nsync('')\nput('d/x', True)\nos.link(b + '/d/x', b + '/d/y')\nos.unlink(b + '/d/x')\nsync('d')";
        assert_eq!(always(script, Disk::Honest), BTreeSet::from([vec!["y=abc".to_owned()]]));
    }

    #[test]
    fn bytes_that_were_not_synced_may_go() {
        let left = always("put('x', False)\nsync('')", Disk::Honest);
        assert!(left.contains(&vec!["x=abc".to_owned()]) && left.len() > 1, "{left:?}");
        assert!(!left.contains(&vec![]), "the name was synced: {left:?}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_go() {
        let left = always("put('x', True)", Disk::Honest);
        assert_eq!(left, BTreeSet::from([vec![], vec!["x=abc".to_owned()]]));
    }

    #[test]
    fn a_disk_that_ignores_syncs_keeps_nothing_for_sure() {
        let script = "put('x', True)\nsync('')";
        assert!(always(script, Disk::WITHOUT_FILE_SYNCS).len() > 1);
        assert!(always(script, Disk::WITHOUT_FOLDER_SYNCS).contains(&vec![]));
    }

    #[test]
    fn a_name_that_came_after_a_sync_began_is_not_kept_by_it() {
        let log = "1\tc\t/d/x\t\n1\tb\t/d\t\n2\tc\t/d/y\t\n1\ts\t/d\t\n";
        assert_eq!(Known::from_log(log).kept, BTreeSet::from([PathBuf::from("/d/x")]));
    }
}
