//! Every option of `serve` that InfluxDB 3 knows, under every name it had.
//!
//! `options.txt` has a line for each: flag, value (none for a switch that stands alone), fate, and the variables that
//! mean the same. A line that begins with `>` is the command line the ones below it are added to. Fates:
//! `effect`: the node that starts is another one, by the flag and by each variable alike;
//! `accepted`: it starts, and whether that changes anything depends on the machine or is decided later;
//! `idle`: it starts as if nothing had been said, and a warning names the option;
//! `refused`: it does not start, and the error names the option.

use super::*;

const OPTIONS: &str = include_str!("options.txt");

/// The variable that `--node-id-from-env` and its like are pointed to.
const POD: (&str, &str) = ("POD", "p-7");

/// What a start came to: the node as text, the warnings; or the error.
type Outcome = Result<(String, Vec<String>), String>;

fn outcome(plain: &str, flag: &str, variable: Option<(&str, &str)>) -> Outcome {
    let line = format!("{plain} {flag}");
    let environment: Vec<_> = variable.into_iter().chain([POD]).collect();
    match start(words(line.trim_end()), &environment) {
        Ok(start) => {
            let Start { mut config, log, warnings, greeting: _ } = *start;
            // What was said is no effect.
            config.options.clear();
            config.flags.clear();
            Ok((format!("{config:?} {log:?}"), warnings))
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
            Err(error.to_string())
        }
    }
}

#[test]
fn every_option_of_the_original_is_taken_or_refused_by_name() {
    let mut plain = Plain { command: "", node: String::new() };
    let mut count = 0;
    for line in OPTIONS.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            let (node, _) = outcome(command, "", None).expect("the command line starts a node");
            plain = Plain { command, node };
            continue;
        }
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [flag, value, fate, variables] = parts[..] else {
            panic!("four parts, though the last may be empty: {line}")
        };
        check_option(&plain, (flag, value), fate, &variables.split_whitespace().collect::<Vec<_>>());
        count += 1;
    }
    assert!(count >= 236, "{count} options");
}

/// A command line, and the node it starts as text.
struct Plain {
    command: &'static str,
    node: String,
}

#[track_caller]
fn check_option(plain: &Plain, (flag, value): (&str, &str), fate: &str, variables: &[&str]) {
    let outcome = |said: &str, variable| outcome(plain.command, said, variable);
    let said = if value.is_empty() { flag.to_owned() } else { format!("{flag}={value}") };
    let by_flag = outcome(&said, None);
    check_fate(&plain.node, &by_flag, fate, flag);
    if !value.is_empty() {
        let in_two = outcome(&format!("{flag} {value}"), None);
        assert_eq!(in_two, by_flag, "{flag}: with a space or with =");
    }
    for (index, variable) in variables.iter().enumerate() {
        let value = if value.is_empty() { "true" } else { value };
        let by_variable = outcome("", Some((variable, value)));
        check_fate(&plain.node, &by_variable, fate, variable);
        if let (Ok((flag_node, _)), Ok((variable_node, warnings))) = (&by_flag, &by_variable) {
            assert_eq!(flag_node, variable_node, "{variable} is {flag}");
            let deprecated = warnings.iter().any(|w| w.contains(&format!("variable {variable} is deprecated")));
            assert_eq!(deprecated, index > 0, "{variable}: {warnings:?}");
        }
    }
}

#[track_caller]
fn check_fate(without: &str, with: &Outcome, fate: &str, name: &str) {
    match (fate, with) {
        ("effect", Ok((node, warnings))) => {
            assert_ne!(*node, without, "{name} changes something");
            assert!(!warnings.iter().any(|warning| warning.contains("no effect")), "{name}: {warnings:?}");
        }
        ("accepted", Ok(_)) => {}
        ("idle", Ok((node, warnings))) => {
            assert_eq!(*node, without, "{name} changes nothing");
            let told: Vec<_> = warnings.iter().filter(|warning| warning.starts_with("accepted, no effect: ")).collect();
            assert_eq!(told.len(), 1, "{name}: {warnings:?}");
            let flag = variables::modernise([name.into()], &mut Vec::new()).remove(0);
            assert!(told[0].ends_with(&format!(": {}", flag.to_string_lossy())), "{name}: {told:?}");
        }
        ("refused", Err(error)) => assert!(error.contains(name), "{name}: {error}"),
        (fate, with) => panic!("{name} should be {fate}: {with:?}"),
    }
}

#[test]
fn certificates_between_nodes_have_variables_as_well() {
    let bind = ["--internode-bind-addr", "127.0.0.1:0"];
    let flags = [&bind[..], &["--internode-tls-cert=/c", "--internode-tls-key=/k", "--internode-tls-ca=/a"]].concat();
    let by_flags = node(&flags, &[]).expect("all three are there").config;
    for prefix in ["INFLUXDB3_", "INFLUXDB3_ENTERPRISE_"] {
        let names = ["CERT", "KEY", "CA"].map(|name| format!("{prefix}INTERNODE_TLS_{name}"));
        let variables = [(names[0].as_str(), "/c"), (names[1].as_str(), "/k"), (names[2].as_str(), "/a")];
        let by_variables = node(&bind, &variables).expect("all three are there").config;
        assert_eq!(by_variables.internode, by_flags.internode);
    }
}

#[test]
fn a_short_secret_between_nodes_is_refused_without_being_told() {
    let good = "x".repeat(16);
    for secret in ["", "short-secret-15"] {
        let expected = format!("has {} bytes", secret.len());
        let flags = ["--internode-bind-addr=127.0.0.1:0", "--internode-jwt-primary"];
        let by_flag = node(&[&flags[..], &[secret]].concat(), &[]).expect_err("it is too short").to_string();
        assert!(by_flag.contains(&format!("--internode-jwt-primary {expected}")), "{by_flag}");
        assert!(secret.is_empty() || !by_flag.contains(secret), "{by_flag}");
        let second = ["--internode-jwt-secondary", secret];
        check_error(&[&flags[..], &[&good], &second].concat(), &[], &format!("--internode-jwt-secondary {expected}"));
    }
    let variable = ("INFLUXDB3_INTERNODE_JWT_PRIMARY", "short-secret-15");
    check_error(&["--internode-bind-addr=127.0.0.1:0"], &[variable], "--internode-jwt-primary has 15 bytes");
}

#[test]
fn what_has_no_effect_is_told_in_one_line() {
    let flags = ["--file-cache-size=8GB", "--plugin-dir", "/plugins", "--test-mode"];
    let start = node(&flags, &[("INFLUXDB3_LICENSE_EMAIL", "a@b.c")]).expect("nothing is wrong");
    let expected = "accepted, no effect: --file-cache-size, --plugin-dir, INFLUXDB3_LICENSE_EMAIL, --test-mode";
    assert_eq!(start.warnings, [expected]);
}

#[test]
fn what_has_no_effect_is_checked_all_the_same() {
    check_error(&["--query-file-limit=many"], &[], "--query-file-limit");
    check_error(&["--file-cache-size=8"], &[], "needs a unit");
    check_error(&["--preemptive-cache-age=soon"], &[], "is not a duration");
    check_error(&["--parquet-mem-cache-prune-percentage=2"], &[], "is not a number from 0 to 1");
    check_error(&["--package-manager=npm"], &[], "discover, pip, uv, disabled");
    check_error(&[], &[("INFLUXDB3_QUERY_FILE_LIMIT", "many")], "INFLUXDB3_QUERY_FILE_LIMIT");
}

#[test]
fn variables_that_were_taken_out_are_ignored_and_named() {
    let start = node(&[], &[("INFLUXDB3_TABLE_SPLIT_LEVEL", "2")]).expect("it is ignored");
    assert_eq!(start.warnings.len(), 1, "{:?}", start.warnings);
    assert!(start.warnings[0].contains("INFLUXDB3_TABLE_SPLIT_LEVEL"), "{:?}", start.warnings);
}

#[test]
fn every_option_without_effect_is_in_the_list() {
    for (flag, variable, _) in no_effect::NO_EFFECT {
        let listed = OPTIONS.lines().any(|line| line.starts_with(&format!("--{flag} |")) && line.contains(variable));
        assert!(listed, "{flag}");
    }
}
