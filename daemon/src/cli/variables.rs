//! Environment variables and names of older releases.
//!
//! # Promises
//! - A flag beats its variable, a variable beats the default, and the new name of a variable beats its old ones.
//! - Each old name that is in use is reported once. A variable that is set to nothing counts as not set.
//!
//! # Why
//! clap reads the environment itself, but knows one name for each flag and cannot be tested without changing the
//! environment of the test process. Here the names are taken from the flags, and the values become defaults.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, Command};

use crate::config;

/// What a value under an old name needs before it fits the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Same,
    /// A number without a unit is megabytes.
    Megabytes,
}

/// Old names of variables: new name, old name.
const OLD_VARIABLES: &[(&str, &str, Unit)] = &[
    ("INFLUXDB3_NODE_ID", "INFLUXDB3_NODE_IDENTIFIER_PREFIX", Unit::Same),
    ("INFLUXDB3_NODE_ID_FROM_ENV", "INFLUXDB3_NODE_IDENTIFIER_FROM_ENV", Unit::Same),
    ("INFLUXDB3_DATA_DIR", "INFLUXDB3_DB_DIR", Unit::Same),
    ("INFLUXDB3_WITHOUT_AUTH", "INFLUXDB3_START_WITHOUT_AUTH", Unit::Same),
    ("INFLUXDB3_EXEC_MEM_POOL_SIZE", "INFLUXDB3_EXEC_MEM_POOL_BYTES", Unit::Megabytes),
    ("INFLUXDB3_FORCE_SNAPSHOT_MEM_SIZE", "INFLUXDB3_FORCE_SNAPSHOT_MEM_THRESHOLD", Unit::Megabytes),
    ("INFLUXDB3_FILE_CACHE_SIZE", "INFLUXDB3_PARQUET_MEM_CACHE_SIZE", Unit::Megabytes),
    ("INFLUXDB3_FILE_CACHE_RECENCY", "INFLUXDB3_PARQUET_MEM_CACHE_QUERY_PATH_DURATION", Unit::Same),
    ("INFLUXDB3_DISABLE_FILE_CACHE", "INFLUXDB3_DISABLE_PARQUET_MEM_CACHE", Unit::Same),
    ("INFLUXDB3_DISABLE_FILE_CACHE", "INFLUXDB3_DISABLE_DATA_FILE_CACHE", Unit::Same),
    ("INFLUXDB3_DISABLE_TELEMETRY_UPLOAD", "INFLUXDB3_TELEMETRY_DISABLE_UPLOAD", Unit::Same),
    ("INFLUXDB3_UPGRADE_PACHA_TREE", "INFLUXDB3_USE_PACHA_TREE", Unit::Same),
    ("INFLUXDB3_UPGRADE_PACHA_TREE", "INFLUXDB3_ENTERPRISE_USE_PACHA_TREE", Unit::Same),
    ("INFLUXDB3_ADMIN_TOKEN_RECOVERY_HTTP_BIND", "INFLUXDB3_ADMIN_TOKEN_RECOVERY_HTTP_BIND_ADDR", Unit::Same),
    ("INFLUXDB3_QUERY_LOG_MAX_ENTRIES", "INFLUXDB3_QUERY_LOG_SIZE", Unit::Same),
    ("INFLUXDB3_WAL_FILES_PER_SNAPSHOT", "INFLUXDB3_WAL_SNAPSHOT_SIZE", Unit::Same),
    ("INFLUXDB3_WAL_MAX_BUFFERED_WRITES", "INFLUXDB3_WAL_MAX_WRITE_BUFFER_SIZE", Unit::Same),
    ("INFLUXDB3_SNAPSHOTTED_WAL_FILES_TO_KEEP", "INFLUXDB3_NUM_WAL_FILES_TO_KEEP", Unit::Same),
    // Their misspelling, which stands in files of users.
    ("INFLUXDB3_TCP_LISTENER_FILE_PATH", "INFLUXDB3_TCP_LISTINER_FILE_PATH", Unit::Same),
    ("INFLUXDB3_WAIT_FOR_RUNNING_INGESTER", "INFLUXDB3_WAIT_FOR_RUNNING_INGESTOR", Unit::Same),
    ("INFLUXDB3_WAIT_FOR_RUNNING_INGESTER", "INFLUXDB3_ENTERPRISE_WAIT_FOR_RUNNING_INGESTOR", Unit::Same),
];

/// Variables whose names had one more word once, after the prefix.
const ONCE_ENTERPRISE: &[&str] = &[
    "INFLUXDB3_API_UPLOAD_CHECK_INTERVAL",
    "INFLUXDB3_API_UPLOAD_CONCURRENT_STATUS_READS",
    "INFLUXDB3_CATALOG_SYNC_INTERVAL",
    "INFLUXDB3_CLUSTER_ID",
    "INFLUXDB3_COMPACTED_DATA_LOAD_CONCURRENCY_LIMIT",
    "INFLUXDB3_COMPACTED_DATA_SKIP_FILE_INDEX",
    "INFLUXDB3_COMPACTION_CHECK_INTERVAL",
    "INFLUXDB3_COMPACTION_CLEANUP_WAIT",
    "INFLUXDB3_COMPACTION_GEN2_DURATION",
    "INFLUXDB3_COMPACTION_MAX_NUM_FILES_PER_PLAN",
    "INFLUXDB3_COMPACTION_MULTIPLIERS",
    "INFLUXDB3_COMPACTION_ROW_LIMIT",
    "INFLUXDB3_COMPACTION_SNAPSHOTS_LIMIT",
    "INFLUXDB3_CONN_INFO",
    "INFLUXDB3_DELETE_GRACE_PERIOD",
    "INFLUXDB3_DISTINCT_VALUE_CACHE_DISABLE_FROM_HISTORY",
    "INFLUXDB3_ENABLE_RETENTION",
    "INFLUXDB3_GEN1_DURATION",
    "INFLUXDB3_GEN1_LOOKBACK_DURATION",
    "INFLUXDB3_HARD_DELETE_DEFAULT_DURATION",
    "INFLUXDB3_INTERNODE_BIND_ADDR",
    "INFLUXDB3_INTERNODE_JWT_PRIMARY",
    "INFLUXDB3_INTERNODE_JWT_SECONDARY",
    "INFLUXDB3_INTERNODE_TLS_CA",
    "INFLUXDB3_INTERNODE_TLS_CERT",
    "INFLUXDB3_INTERNODE_TLS_KEY",
    "INFLUXDB3_LAST_VALUE_CACHE_DISABLE_FROM_HISTORY",
    "INFLUXDB3_LICENSE_EMAIL",
    "INFLUXDB3_LICENSE_FILE",
    "INFLUXDB3_LICENSE_TYPE",
    "INFLUXDB3_MAX_TOTAL_COLUMNS",
    "INFLUXDB3_MODE",
    "INFLUXDB3_NUM_CORES",
    "INFLUXDB3_NUM_DATABASE_LIMIT",
    "INFLUXDB3_NUM_TABLE_LIMIT",
    "INFLUXDB3_NUM_TOTAL_COLUMNS_PER_TABLE_LIMIT",
    "INFLUXDB3_REPLICATION_INTERVAL",
    "INFLUXDB3_RETENTION_CHECK_INTERVAL",
    "INFLUXDB3_WAIT_FOR_RUNNING_COMPACTOR",
    "INFLUXDB3_WAIT_FOR_RUNNING_INGESTER",
];

/// Variables that had no prefix once.
const ONCE_UNPREFIXED: &[&str] = &[
    "INFLUXDB3_LOG_FILTER",
    "INFLUXDB3_LOG_FORMAT",
    "INFLUXDB3_LOG_DESTINATION",
    "INFLUXDB3_OBJECT_STORE_CONNECTION_LIMIT",
    "INFLUXDB3_OBJECT_STORE_HTTP2_ONLY",
    "INFLUXDB3_OBJECT_STORE_HTTP2_MAX_FRAME_SIZE",
    "INFLUXDB3_OBJECT_STORE_REQUEST_TIMEOUT",
    "INFLUXDB3_OBJECT_STORE_MAX_RETRIES",
    "INFLUXDB3_OBJECT_STORE_RETRY_TIMEOUT",
    "INFLUXDB3_OBJECT_STORE_TLS_ALLOW_INSECURE",
    "INFLUXDB3_OBJECT_STORE_TLS_CA",
    "INFLUXDB3_TRACES_EXPORTER",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_AGENT_HOST",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_AGENT_PORT",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_DEBUG_NAME",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_SERVICE_NAME",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_TAGS",
    "INFLUXDB3_TRACES_EXPORTER_JAEGER_TRACE_CONTEXT_HEADER_NAME",
    "INFLUXDB3_TRACES_JAEGER_MAX_MSGS_PER_SECOND",
];

const PREFIX: &str = "INFLUXDB3_";

/// Old names of flags: old, new, and whether the old one is deprecated.
const OLD_FLAGS: &[(&str, &str, Unit)] = &[
    ("--num-datafusion-threads", "--datafusion-num-threads", Unit::Same),
    ("--exec-mem-pool-bytes", "--exec-mem-pool-size", Unit::Megabytes),
    ("--force-snapshot-mem-threshold", "--force-snapshot-mem-size", Unit::Megabytes),
    ("--wal-snapshot-size", "--wal-files-per-snapshot", Unit::Same),
    ("--wal-max-write-buffer-size", "--wal-max-buffered-writes", Unit::Same),
    ("--num-wal-files-to-keep", "--snapshotted-wal-files-to-keep", Unit::Same),
    ("--query-log-size", "--query-log-max-entries", Unit::Same),
    ("--parquet-mem-cache-size", "--file-cache-size", Unit::Megabytes),
    ("--parquet-mem-cache-size-mb", "--file-cache-size", Unit::Megabytes),
    ("--parquet-mem-cache-query-path-duration", "--file-cache-recency", Unit::Same),
    ("--disable-parquet-mem-cache", "--disable-file-cache", Unit::Same),
    ("--disable-data-file-cache", "--disable-file-cache", Unit::Same),
    ("--use-pacha-tree", "--upgrade-pacha-tree", Unit::Same),
    ("--wait-for-running-ingestor", "--wait-for-running-ingester", Unit::Same),
];

/// A value that came from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The name it was found under, which may be an old one.
    pub(crate) variable: String,
    pub(crate) value: String,
}

/// What was found in the environment.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) applied: Vec<Applied>,
    /// The ids of the flags whose values these are.
    pub(crate) flags: BTreeSet<String>,
    /// One sentence for each old name in use.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// The name under which the value of this variable was found.
    pub(crate) fn name_of(&self, variable: &str) -> String {
        let old = old_names(variable);
        let is_it =
            |applied: &&Applied| old.iter().map(|(name, _)| &**name).chain([variable]).any(|n| n == applied.variable);
        self.applied.iter().find(is_it).map_or(variable, |applied| &applied.variable).to_owned()
    }
}

/// Makes the variables that flags name the defaults of these flags, here and in every subcommand.
pub(crate) fn apply(command: Command, read: &dyn Fn(&str) -> Option<String>, findings: &mut Findings) -> Command {
    let command = command.mut_args(|arg| match arg.get_env().and_then(|name| name.to_str()).map(str::to_owned) {
        Some(variable) => with_variable(arg, &variable, read, findings),
        None => arg,
    });
    command.mut_subcommands(|sub| apply(sub, read, findings))
}

fn with_variable(arg: Arg, variable: &str, read: &dyn Fn(&str) -> Option<String>, findings: &mut Findings) -> Arg {
    let help = arg.get_help().map_or_else(String::new, ToString::to_string);
    let arg = arg.env(None::<&'static str>).help(format!("{help} [env: {variable}]"));
    match find(variable, read, &mut findings.warnings) {
        Some(applied) => {
            let value = applied.value.clone();
            if !findings.applied.contains(&applied) {
                findings.applied.push(applied);
            }
            findings.flags.insert(arg.get_id().to_string());
            let takes_value = arg.get_action().takes_values();
            let arg = arg.default_value(value);
            if takes_value { arg.hide_default_value(true) } else { arg }
        }
        None => arg,
    }
}

fn find(variable: &str, read: &dyn Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> Option<Applied> {
    let set = |name: &str| read(name).filter(|value| !value.is_empty());
    let new = set(variable).map(|value| Applied { variable: variable.to_owned(), value });
    let mut found = new;
    for (old, unit) in old_names(variable) {
        let Some(value) = set(&old) else { continue };
        let warning = match &found {
            Some(newer) => {
                format!("environment variable {old} is deprecated and ignored, since {} is set", newer.variable)
            }
            None => format!("environment variable {old} is deprecated, use {variable}"),
        };
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
        let value = in_unit(&value, unit);
        found = found.or(Some(Applied { variable: old, value }));
    }
    found
}

fn old_names(variable: &str) -> Vec<(String, Unit)> {
    let renamed = OLD_VARIABLES.iter().filter(|(new, ..)| *new == variable);
    let mut names: Vec<_> = renamed.map(|(_, old, unit)| ((*old).to_owned(), *unit)).collect();
    let word = variable.strip_prefix(PREFIX).unwrap_or(variable);
    if ONCE_ENTERPRISE.contains(&variable) {
        names.push((format!("{PREFIX}ENTERPRISE_{word}"), Unit::Same));
    }
    if ONCE_UNPREFIXED.contains(&variable) {
        names.push((word.to_owned(), Unit::Same));
    }
    names
}

/// Puts new names in the place of old flags. What follows `--` is not a flag.
pub(crate) fn modernise(args: impl IntoIterator<Item = OsString>, warnings: &mut Vec<String>) -> Vec<OsString> {
    let mut modern: Vec<OsString> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            modern.push(arg);
            modern.extend(args);
            break;
        }
        let text = arg.to_string_lossy().into_owned();
        let (name, inline) = text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value)));
        let Some((old, new, unit)) = OLD_FLAGS.iter().find(|(old, ..)| *old == name) else {
            modern.push(arg);
            continue;
        };
        if *unit == Unit::Megabytes {
            warnings.push(format!("flag {old} is deprecated, use {new}"));
        }
        match inline {
            Some(value) => modern.push(format!("{new}={}", in_unit(value, *unit)).into()),
            None => {
                modern.push(new.into());
                // Whatever follows a flag without a unit is judged by itself: it may be another old flag.
                if *unit == Unit::Megabytes {
                    modern.extend(args.next().map(|value| in_unit(&value.to_string_lossy(), *unit).into()));
                }
            }
        }
    }
    modern
}

fn in_unit(value: &str, unit: Unit) -> String {
    match unit {
        Unit::Same => value.to_owned(),
        Unit::Megabytes => config::with_legacy_unit(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_name_of_a_variable_wins_and_each_old_one_is_reported() {
        let both = [("INFLUXDB3_MODE", "all"), ("INFLUXDB3_ENTERPRISE_MODE", "query")];
        let ignored =
            "environment variable INFLUXDB3_ENTERPRISE_MODE is deprecated and ignored, since INFLUXDB3_MODE is set";
        check_find("INFLUXDB3_MODE", &both, Some("all"), &[ignored]);
        let deprecated = "environment variable INFLUXDB3_ENTERPRISE_MODE is deprecated, use INFLUXDB3_MODE";
        check_find("INFLUXDB3_MODE", &both[1..], Some("query"), &[deprecated]);
        let unprefixed = "environment variable LOG_FILTER is deprecated, use INFLUXDB3_LOG_FILTER";
        check_find("INFLUXDB3_LOG_FILTER", &[("LOG_FILTER", "debug")], Some("debug"), &[unprefixed]);
        check_find("INFLUXDB3_MODE", &[("INFLUXDB3_MODE", "")], None, &[]);
    }

    #[test]
    fn bare_numbers_of_old_variables_are_megabytes() {
        let old = [("INFLUXDB3_EXEC_MEM_POOL_BYTES", "512")];
        let warning =
            "environment variable INFLUXDB3_EXEC_MEM_POOL_BYTES is deprecated, use INFLUXDB3_EXEC_MEM_POOL_SIZE";
        check_find("INFLUXDB3_EXEC_MEM_POOL_SIZE", &old, Some("512mb"), &[warning]);
    }

    #[track_caller]
    fn check_find(variable: &str, environment: &[(&str, &str)], expected: Option<&str>, warned: &[&str]) {
        let read = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let mut warnings = Vec::new();
        let found = find(variable, &read, &mut warnings);
        assert_eq!(found.map(|applied| applied.value).as_deref(), expected);
        assert_eq!(warnings, warned);
    }

    #[test]
    fn old_flags_become_new_ones() {
        check_modern(&["serve", "--exec-mem-pool-bytes=60%"], &["serve", "--exec-mem-pool-size=60%"]);
        check_modern(&["--exec-mem-pool-bytes", "512"], &["--exec-mem-pool-size", "512mb"]);
        check_modern(&["--wal-snapshot-size", "10"], &["--wal-files-per-snapshot", "10"]);
        check_modern(&["--num-datafusion-threads=3"], &["--datafusion-num-threads=3"]);
        check_modern(
            &["--disable-parquet-mem-cache", "--query-log-size", "5"],
            &["--disable-file-cache", "--query-log-max-entries", "5"],
        );
        check_modern(&["--", "--wal-snapshot-size"], &["--", "--wal-snapshot-size"]);
    }

    #[track_caller]
    fn check_modern(args: &[&str], expected: &[&str]) {
        assert_eq!(modernise(args.iter().map(OsString::from), &mut Vec::new()), expected);
    }
}
