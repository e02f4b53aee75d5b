//! A damaged log is never passed over in silence.
//!
//! # Promises
//! - A start that meets a damaged log file ends and names it, unless the operator gave its rows up beforehand.
//! - Then the start goes on, an error in the log names the file, and only the rows in it are lost.

use std::fs;
use std::path::PathBuf;

use harness::folder::files_below;
use harness::node::{Node, Options};

/// The log files of a node, in order.
pub(crate) fn log_files(node: &Node) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    let mut files: Vec<_> = files_below(&node.data_dir()).filter(is_log).collect();
    files.sort();
    files
}

#[test]
fn a_damaged_log_file_ends_a_start_unless_its_rows_are_given_up() {
    // What is said of the damaged file is an error in the log, and shall be one.
    let options = || Options::open().allow_in_log(".wal");
    let mut node = Node::start(options());
    for row in 1..=3 {
        node.client().write("plant", &format!("t v={row}i {row}"));
    }
    node.kill();
    let files = log_files(&node);
    assert_eq!(files.len(), 3, "each write made one: {files:?}");
    fs::write(&files[1], "noise").expect("the file can be replaced");
    let name = files[1].file_name().expect("it has a name").to_string_lossy().into_owned();

    for flags in [&[][..], &["--wal-replay-fail-on-error"], &["--wal-replay-fail-on-error=true"]] {
        node.set_options(flags.iter().fold(options(), |options, flag| options.flag(flag)));
        let before = node.log().len();
        node.spawn();
        assert_eq!(node.wait_for_its_end(), Some(1), "{flags:?}");
        assert!(node.log()[before..].contains(&name), "{flags:?}: {}", node.log());
    }

    node.set_options(options().variable("INFLUXDB3_WAL_REPLAY_FAIL_ON_ERROR", "false"));
    let before = node.log().len();
    node.restart();
    let log = node.log()[before..].to_owned();
    let told = log.lines().find(|line| line.contains("ERROR") && line.contains(&name));
    assert!(told.is_some_and(|line| line.contains("its rows are lost")), "{log}");
    let rows = || node.client().sql("plant", "SELECT v FROM t ORDER BY v");
    assert_eq!(rows().iter().map(|row| row["v"].as_i64()).collect::<Vec<_>>(), [Some(1), Some(3)]);
    node.client().write("plant", "t v=4i 4");
    node.stop();

    // What was left is in files now, and the next start need not be told again.
    node.set_options(options());
    node.restart();
    assert_eq!(node.client().number("plant", "SELECT count(*) AS n FROM t"), 3);
    node.stop();
}
