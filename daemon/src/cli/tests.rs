use super::*;
use crate::config::{AuthConfig, OpenEndpoint, Store};
use std::time::Duration;

const NODE: [&str; 5] = ["weir", "serve", "--node-id=a", "--cluster-id=c", "--object-store=memory"];

fn node(flags: &[&str], environment: &[(&str, &str)]) -> Result<Box<Start>, clap::Error> {
    let args: Vec<_> = NODE.iter().chain(flags).map(|arg| OsString::from(*arg)).collect();
    start(args, environment)
}

fn start(args: Vec<OsString>, environment: &[(&str, &str)]) -> Result<Box<Start>, clap::Error> {
    let read = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    match parse(args, &read)? {
        Task::Serve(start) => Ok(start),
        Task::Ask(_) => panic!("a node was asked for"),
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn a_flag_beats_its_variable_and_a_variable_the_default() {
    let new = ("INFLUXDB3_WAL_FLUSH_INTERVAL", "50ms");
    check_flush(&[], &[], Duration::from_secs(1));
    check_flush(&[], &[new], Duration::from_millis(50));
    check_flush(&["--wal-flush-interval=10ms"], &[new], Duration::from_millis(10));
}

#[track_caller]
fn check_flush(flags: &[&str], environment: &[(&str, &str)], expected: Duration) {
    let start = node(flags, environment).expect("the flags are right");
    assert_eq!(start.config.wal.flush_interval, expected);
}

#[test]
fn switches_and_lists_can_be_variables() {
    let start = node(&[], &[("INFLUXDB3_WITHOUT_AUTH", "true")]).expect("the variable is right");
    assert_eq!(start.config.http.auth, AuthConfig::Off);
    let start = node(&[], &[("INFLUXDB3_START_WITHOUT_AUTH", "false"), ("INFLUXDB3_DISABLE_AUTHZ", "health,metrics")]);
    let start = start.expect("the variables are right");
    assert_eq!(start.config.http.auth, AuthConfig::On { open: vec![OpenEndpoint::Health, OpenEndpoint::Metrics] });
    assert_eq!(start.warnings.len(), 1, "{:?}", start.warnings);
    let start = node(&[], &[("INFLUXDB3_DATAFUSION_CONFIG", "a.b:1,c.d:x")]).expect("the variable is right");
    assert_eq!(start.config.query.options, [("a.b".into(), "1".into()), ("c.d".into(), "x".into())]);
}

#[test]
fn io_threads_are_accepted_before_and_after_the_command() {
    let before = words("weir --num-io-threads=3 serve --node-id a --cluster-id c --object-store memory");
    let after = words("weir serve --num-io-threads 3 --node-id a --cluster-id c --object-store memory");
    for args in [before, after] {
        assert_eq!(start(args, &[]).expect("the flags are right").config.threads.io, 3);
    }
    let misplaced = words("weir --node-id a serve --cluster-id c --object-store memory");
    let error = start(misplaced, &[]).expect_err("only --num-io-threads may stand before the command");
    assert!(error.to_string().contains("--node-id belongs after the command"), "{error}");
}

#[test]
fn wrong_command_lines_say_what_is_wrong_and_exit_with_2() {
    check_error(&["--wal-flush-intervall=1s"], &[], "--wal-flush-interval");
    check_error(&["--gen1-duration=2m"], &[], "must be 1m, 5m or 10m");
    check_error(&["--cluster-id=a"], &[], "cannot be used multiple times");
    check_error(&["--mode=query"], &[], "not supported yet");
    check_error(&["--mode=ingest,process"], &[], "not supported yet");
    check_error(&["--exec-mem-pool-size=512"], &[], "needs a unit");
    check_error(&["--num-cores=4096"], &[], "--num-cores is 4096");
    check_error(&["surplus"], &[], "surplus");
    check_error(&[], &[("INFLUXDB3_WAL_FLUSH_INTERVAL", "soon")], "INFLUXDB3_WAL_FLUSH_INTERVAL");
}

#[track_caller]
fn check_error(flags: &[&str], environment: &[(&str, &str)], expected: &str) {
    let error = node(flags, environment).expect_err("the command line is wrong");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn serve_without_identity_or_store_is_refused() {
    for (args, missing) in [
        ("weir serve --cluster-id c --object-store memory", "--node-id is missing"),
        ("weir serve --node-id a --object-store memory", "--cluster-id is missing"),
        ("weir serve --node-id a --cluster-id c", "--object-store is missing"),
        ("weir serve --node-id a --cluster-id c --object-store file", "needs --data-dir"),
        ("weir serve --node-id a --cluster-id a --object-store memory", "they must differ"),
        ("weir serve --node-id-from-env NAME --cluster-id a --object-store memory", "NAME, which is not set"),
    ] {
        let error = start(words(args), &[]).expect_err("something is missing");
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn a_quick_start_makes_up_identity_and_store() {
    let quick = start(words("weir"), &[]).expect("nothing is needed");
    assert!(matches!(&quick.config.store, Store::File { root } if root.ends_with(".weir")));
    assert_eq!(quick.warnings.len(), 2, "{:?}", quick.warnings);
    assert!(quick.greeting.is_some());
    let named = start(words("weir --node-id n --cluster-id c --object-store memory"), &[]).expect("these are right");
    assert_eq!((named.config.identity.node.as_str(), &named.config.store), ("n", &Store::Memory));
}

#[test]
fn the_node_id_may_come_from_any_variable() {
    let args = words("weir serve --node-id-from-env POD --cluster-id c --object-store memory");
    let start = start(args, &[("POD", "p-7")]).expect("the variable is set");
    assert_eq!(start.config.identity.node.as_str(), "p-7");
}

#[test]
fn old_memory_flags_take_percentages_and_megabytes() {
    let start =
        node(&["--exec-mem-pool-bytes=512", "--force-snapshot-mem-threshold", "8GB"], &[]).expect("both are right");
    assert_eq!((start.config.query.memory_bytes, start.config.snapshot.memory_bytes_max), (512 << 20, 8 << 30));
    assert_eq!(start.warnings.len(), 2, "{:?}", start.warnings);
}

#[test]
fn help_all_shows_what_help_hides() {
    let help =
        |flag: &str| start(words(&format!("weir serve {flag}")), &[]).expect_err("help is not a node").to_string();
    assert!(!help("--help").contains("--gen1-duration"));
    assert!(help("--help-all").contains("--gen1-duration"));
    assert!(help("--help").contains("[env: INFLUXDB3_NODE_ID]"));
}
