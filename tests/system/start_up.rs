//! A node that cannot start says why in one line, and touches nothing.
//!
//! # Promises
//! - A port in use, a folder that cannot be written and a store that is not ours each end the process with an error.
//! - A node that never came up has written nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::binary;
use harness::command::outcome;
use harness::folder::{Folder, files_below};
use harness::node::{Node, Options, free_port};

#[test]
fn a_port_in_use_is_named_and_nothing_is_written() {
    let folder = Folder::new("start-up");
    let taken = TcpListener::bind(("127.0.0.1", free_port())).expect("the port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let said = check_refused(serve(folder.path()).args(["--http-bind", &address]));
    assert!(said.contains(&address) || said.contains("in use"), "{said}");
    assert_eq!(files_below(folder.path()).count(), 0);
}

#[test]
fn a_data_dir_that_is_a_file_is_named() {
    let folder = Folder::new("start-up");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("the folder takes a file");
    let said = check_refused(serve(&file).args(["--http-bind", &format!("127.0.0.1:{}", free_port())]));
    assert!(said.contains("file"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "not a folder");
}

#[test]
fn a_damaged_catalog_is_named_and_left_as_it_is() {
    let mut node = Node::start(Options::open());
    node.client().write("plant", "t v=1 1");
    node.stop();
    // All of it, log and checkpoints: whatever a start reads, it meets damage.
    let is_catalog = |path: &PathBuf| path.to_string_lossy().contains("/catalog/");
    let catalog: Vec<PathBuf> = files_below(&node.data_dir()).filter(is_catalog).collect();
    assert!(!catalog.is_empty(), "the catalog has entries");
    let damaged = vec![0xA5; 64];
    for file in &catalog {
        fs::write(file, &damaged).expect("the file can be replaced");
    }
    let said = check_refused(serve(&node.data_dir()).args(["--http-bind", &format!("127.0.0.1:{}", free_port())]));
    assert!(said.contains("catalog"), "{said}");
    for file in &catalog {
        assert_eq!(fs::read(file).expect("it is still there"), damaged, "{}", file.display());
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_before_anything_else() {
    let folder = Folder::new("start-up");
    for arguments in [
        &["--num-io-threads", "none"][..],
        &["--wal-flush-interval", "soon"],
        &["--exec-mem-pool-size", "200%"],
        &["--no-such-flag"],
    ] {
        let outcome = outcome(serve(folder.path()).args(arguments), b"");
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(arguments[0]), "{arguments:?}: {}", outcome.stderr);
    }
    assert_eq!(files_below(folder.path()).count(), 0);
}

fn serve(data_dir: &Path) -> Command {
    let mut command = binary::command();
    command.args(["serve", "--node-id", "node-1", "--cluster-id", "test", "--object-store", "file", "--without-auth"]);
    command.arg("--data-dir").arg(data_dir);
    command
}

/// What it said; it must have ended with an error, and without a panic.
#[track_caller]
fn check_refused(command: &mut Command) -> String {
    outcome(command, b"").failure()
}
