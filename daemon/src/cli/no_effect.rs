//! Options of InfluxDB 3 that have nothing to change here, so that command lines and environments written for it start
//! this server too.
//!
//! # Promises
//! - Each is checked for its form and accepted; one line at the start names those that were set.
//! - A value whose absence would break what somebody relies on (rows that are kept) is refused instead.

use clap::builder::{BoolishValueParser, PossibleValuesParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::variables::Findings;
use crate::config;

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Switch,
    Number,
    /// From 0 to 1.
    Fraction,
    Duration,
    /// A size, or percent of memory.
    Memory,
    OneOf(&'static [&'static str]),
    /// Host and port, which may be left out.
    Address,
    Text,
}

use Shape::{Address, Duration, Fraction, Memory, Number, OneOf, Switch, Text};

/// Flag, variable, form of the value.
#[rustfmt::skip]
pub(super) const NO_EFFECT: &[(&str, &str, Shape)] = &[
    // Tokens and users.
    ("admin-token-recovery-http-bind", "INFLUXDB3_ADMIN_TOKEN_RECOVERY_HTTP_BIND", Address),
    ("admin-token-recovery-tcp-listener-file-path", "INFLUXDB3_ADMIN_TOKEN_RECOVERY_TCP_LISTENER_FILE_PATH", Text),
    ("user-auth-type", "INFLUXDB3_USER_AUTH_TYPE", Text),
    ("without-user-auth", "INFLUXDB3_WITHOUT_USER_AUTH", Switch),
    ("jwt-key-id", "INFLUXDB3_JWT_KEY_ID", Text),
    ("jwt-private-key", "INFLUXDB3_JWT_PRIVATE_KEY", Text),
    ("jwt-issuer", "INFLUXDB3_JWT_ISSUER", Text),
    ("jwt-default-ttl-seconds", "INFLUXDB3_JWT_DEFAULT_TTL_SECONDS", Number),
    ("oauth-issuer", "INFLUXDB3_OAUTH_ISSUER", Text),
    ("oauth-audience", "INFLUXDB3_OAUTH_AUDIENCE", Text),
    ("oauth-client-id", "INFLUXDB3_OAUTH_CLIENT_ID", Text),
    ("oauth-scopes", "INFLUXDB3_OAUTH_SCOPES", Text),
    ("rbac-authoring-disabled", "INFLUXDB3_RBAC_AUTHORING_DISABLED", Switch),
    // Query engine.
    ("datafusion-max-parquet-fanout", "INFLUXDB3_DATAFUSION_MAX_PARQUET_FANOUT", Number),
    ("datafusion-use-cached-parquet-loader", "INFLUXDB3_DATAFUSION_USE_CACHED_PARQUET_LOADER", Switch),
    ("datafusion-runtime-type", "INFLUXDB3_DATAFUSION_RUNTIME_TYPE", Text),
    ("datafusion-runtime-thread-priority", "INFLUXDB3_DATAFUSION_RUNTIME_THREAD_PRIORITY", Text),
    ("datafusion-runtime-disable-lifo-slot", "INFLUXDB3_DATAFUSION_RUNTIME_DISABLE_LIFO_SLOT", Switch),
    ("datafusion-runtime-event-interval", "INFLUXDB3_DATAFUSION_RUNTIME_EVENT_INTERVAL", Number),
    ("datafusion-runtime-global-queue-interval", "INFLUXDB3_DATAFUSION_RUNTIME_GLOBAL_QUEUE_INTERVAL", Number),
    ("datafusion-runtime-max-blocking-threads", "INFLUXDB3_DATAFUSION_RUNTIME_MAX_BLOCKING_THREADS", Number),
    ("datafusion-runtime-max-io-events-per-tick", "INFLUXDB3_DATAFUSION_RUNTIME_MAX_IO_EVENTS_PER_TICK", Number),
    ("datafusion-runtime-thread-keep-alive", "INFLUXDB3_DATAFUSION_RUNTIME_THREAD_KEEP_ALIVE", Text),
    ("query-file-limit", "INFLUXDB3_QUERY_FILE_LIMIT", Number),
    // Log and snapshots.
    ("wal-replay-concurrency-limit", "INFLUXDB3_WAL_REPLAY_CONCURRENCY_LIMIT", Number),
    ("checkpoint-interval", "INFLUXDB3_CHECKPOINT_INTERVAL", Duration),
    ("write-timestamp-max-past", "INFLUXDB3_WRITE_TIMESTAMP_MAX_PAST", Duration),
    ("write-timestamp-max-future", "INFLUXDB3_WRITE_TIMESTAMP_MAX_FUTURE", Duration),
    // Compaction.
    ("gen1-lookback-duration", "INFLUXDB3_GEN1_LOOKBACK_DURATION", Duration),
    ("compacted-data-load-concurrency-limit", "INFLUXDB3_COMPACTED_DATA_LOAD_CONCURRENCY_LIMIT", Number),
    ("compacted-data-skip-file-index", "INFLUXDB3_COMPACTED_DATA_SKIP_FILE_INDEX", Switch),
    ("compaction-snapshots-limit", "INFLUXDB3_COMPACTION_SNAPSHOTS_LIMIT", Number),
    ("compactor-dispatch-target", "INFLUXDB3_COMPACTOR_DISPATCH_TARGET", OneOf(&["local", "remote", "all"])),
    ("compactor-dispatch-ack-timeout", "INFLUXDB3_COMPACTOR_DISPATCH_ACK_TIMEOUT", Duration),
    ("compactor-sweep-interval", "INFLUXDB3_COMPACTOR_SWEEP_INTERVAL", Text),
    // A dry run was to delete nothing: that cannot be promised, so it is refused.
    ("compactor-sweep-mode", "INFLUXDB3_COMPACTOR_SWEEP_MODE", OneOf(&["armed"])),
    ("compactor-sweep-grace", "INFLUXDB3_COMPACTOR_SWEEP_GRACE", Duration),
    ("compactor-sweep-auto-resume", "INFLUXDB3_COMPACTOR_SWEEP_AUTO_RESUME", Switch),
    ("compactor-sweep-audit-retention", "INFLUXDB3_COMPACTOR_SWEEP_AUDIT_RETENTION", Duration),
    ("compactor-max-concurrent-merges", "INFLUXDB3_COMPACTOR_MAX_CONCURRENT_MERGES", Number),
    ("compactor-input-size-budget", "INFLUXDB3_COMPACTOR_INPUT_SIZE_BUDGET", Memory),
    // Caches.
    ("file-cache-size", "INFLUXDB3_FILE_CACHE_SIZE", Memory),
    ("file-cache-recency", "INFLUXDB3_FILE_CACHE_RECENCY", Duration),
    ("disable-file-cache", "INFLUXDB3_DISABLE_FILE_CACHE", Switch),
    ("parquet-mem-cache-prune-percentage", "INFLUXDB3_PARQUET_MEM_CACHE_PRUNE_PERCENTAGE", Fraction),
    ("parquet-mem-cache-prune-interval", "INFLUXDB3_PARQUET_MEM_CACHE_PRUNE_INTERVAL", Duration),
    ("preemptive-cache-age", "INFLUXDB3_PREEMPTIVE_CACHE_AGE", Duration),
    ("file-cache-evict-after", "INFLUXDB3_FILE_CACHE_EVICT_AFTER", Duration),
    ("table-index-cache-max-entries", "INFLUXDB3_TABLE_INDEX_CACHE_MAX_ENTRIES", Number),
    ("table-index-cache-concurrency-limit", "INFLUXDB3_TABLE_INDEX_CACHE_CONCURRENCY_LIMIT", Number),
    ("last-cache-eviction-interval", "INFLUXDB3_LAST_CACHE_EVICTION_INTERVAL", Duration),
    ("distinct-cache-eviction-interval", "INFLUXDB3_DISTINCT_CACHE_EVICTION_INTERVAL", Duration),
    ("last-value-cache-disable-from-history", "INFLUXDB3_LAST_VALUE_CACHE_DISABLE_FROM_HISTORY", Switch),
    ("distinct-value-cache-disable-from-history", "INFLUXDB3_DISTINCT_VALUE_CACHE_DISABLE_FROM_HISTORY", Switch),
    ("enable-auto-dvc", "INFLUXDB3_ENABLE_AUTO_DVC", Switch),
    ("auto-dvc-max-cardinality", "INFLUXDB3_AUTO_DVC_MAX_CARDINALITY", Number),
    ("auto-dvc-refresh-interval", "INFLUXDB3_AUTO_DVC_REFRESH_INTERVAL", Duration),
    // Plugins.
    ("plugin-dir", "INFLUXDB3_PLUGIN_DIR", Text),
    ("plugin-repo", "INFLUXDB3_PLUGIN_REPO", Text),
    ("plugin-dir-only", "INFLUXDB3_PLUGIN_DIR_ONLY", Switch),
    // Not VIRTUAL_ENV: every shell with an environment of Python has that set.
    ("virtual-env-location", "INFLUXDB3_VIRTUAL_ENV_LOCATION", Text),
    ("package-manager", "INFLUXDB3_PACKAGE_MANAGER", OneOf(&["discover", "pip", "uv", "disabled"])),
    ("disable-package-management", "INFLUXDB3_DISABLE_PACKAGE_MANAGEMENT", Switch),
    ("restrict-plugin-triggers-to", "INFLUXDB3_RESTRICT_PLUGIN_TRIGGERS_TO", Text),
    ("async-trigger-concurrency-limit", "INFLUXDB3_ASYNC_TRIGGER_CONCURRENCY_LIMIT", Number),
    ("trigger-retry-max-attempts", "INFLUXDB3_TRIGGER_RETRY_MAX_ATTEMPTS", Number),
    ("trigger-work-silence-timeout", "INFLUXDB3_TRIGGER_WORK_SILENCE_TIMEOUT", Duration),
    ("processing-engine-restart-state-snapshot-interval", "INFLUXDB3_PROCESSING_ENGINE_RESTART_STATE_SNAPSHOT_INTERVAL", Duration),
    // Other nodes and imports.
    ("wait-for-running-compactor", "INFLUXDB3_WAIT_FOR_RUNNING_COMPACTOR", Duration),
    ("api-upload-check-interval", "INFLUXDB3_API_UPLOAD_CHECK_INTERVAL", Duration),
    ("api-upload-concurrent-status-reads", "INFLUXDB3_API_UPLOAD_CONCURRENT_STATUS_READS", Number),
    ("import-attempt-server-side-copy", "INFLUXDB3_IMPORT_ATTEMPT_SERVER_SIDE_COPY", Switch),
    ("replica-snapshot-manifest-load-concurrency", "INFLUXDB3_REPLICA_SNAPSHOT_MANIFEST_LOAD_CONCURRENCY", Number),
    // Limits and retention.
    ("max-total-columns", "INFLUXDB3_MAX_TOTAL_COLUMNS", Number),
    ("delete-grace-period", "INFLUXDB3_DELETE_GRACE_PERIOD", Duration),
    ("hard-delete-default-duration", "INFLUXDB3_HARD_DELETE_DEFAULT_DURATION", Duration),
    // Without retention rows would be kept that here are deleted, so `false` is refused.
    ("enable-retention", "INFLUXDB3_ENABLE_RETENTION", OneOf(&["true"])),
    // Traces, telemetry, licences.
    ("traces-exporter", "INFLUXDB3_TRACES_EXPORTER", Text),
    ("traces-exporter-jaeger-agent-host", "INFLUXDB3_TRACES_EXPORTER_JAEGER_AGENT_HOST", Text),
    ("traces-exporter-jaeger-agent-port", "INFLUXDB3_TRACES_EXPORTER_JAEGER_AGENT_PORT", Number),
    ("traces-exporter-jaeger-service-name", "INFLUXDB3_TRACES_EXPORTER_JAEGER_SERVICE_NAME", Text),
    ("traces-exporter-jaeger-trace-context-header-name", "INFLUXDB3_TRACES_EXPORTER_JAEGER_TRACE_CONTEXT_HEADER_NAME", Text),
    ("traces-jaeger-debug-name", "INFLUXDB3_TRACES_EXPORTER_JAEGER_DEBUG_NAME", Text),
    ("traces-jaeger-tags", "INFLUXDB3_TRACES_EXPORTER_JAEGER_TAGS", Text),
    ("traces-jaeger-max-msgs-per-second", "INFLUXDB3_TRACES_JAEGER_MAX_MSGS_PER_SECOND", Number),
    ("disable-telemetry-upload", "INFLUXDB3_DISABLE_TELEMETRY_UPLOAD", Switch),
    ("telemetry-endpoint", "INFLUXDB3_TELEMETRY_ENDPOINT", Text),
    ("license-email", "INFLUXDB3_LICENSE_EMAIL", Text),
    ("license-file", "INFLUXDB3_LICENSE_FILE", Text),
    ("license-type", "INFLUXDB3_LICENSE_TYPE", OneOf(&["home", "trial", "commercial"])),
    ("upgrade-pacha-tree", "INFLUXDB3_UPGRADE_PACHA_TREE", Switch),
    ("webui-session-secret", "INFLUXDB3_WEBUI_SESSION_SECRET", Text),
    ("webui-public-uri", "INFLUXDB3_WEBUI_PUBLIC_URI", Text),
    ("webui-cookie-secure", "INFLUXDB3_WEBUI_COOKIE_SECURE", Switch),
    ("webui-openai-base-url", "INFLUXDB3_WEBUI_OPENAI_BASE_URL", Text),
    ("serve-invocation-method", "INFLUXDB3_SERVE_INVOCATION_METHOD", Text),
    ("test-mode", "INFLUXDB3_TEST_MODE", Switch),
    // The upgraded engine of the original.
    ("engine-path-prefix", "INFLUXDB3_ENGINE_PATH_PREFIX", Text),
    ("disable-hybrid-query", "INFLUXDB3_DISABLE_HYBRID_QUERY", Switch),
    ("upgrade-poll-interval", "INFLUXDB3_UPGRADE_POLL_INTERVAL", Duration),
    ("wal-flush-concurrency", "INFLUXDB3_WAL_FLUSH_CONCURRENCY", Number),
    ("wal-buffer-size", "INFLUXDB3_WAL_BUFFER_SIZE", Memory),
    ("wal-snapshots-to-keep", "INFLUXDB3_WAL_SNAPSHOTS_TO_KEEP", Number),
    ("snapshot-size", "INFLUXDB3_SNAPSHOT_SIZE", Memory),
    ("snapshot-duration", "INFLUXDB3_SNAPSHOT_DURATION", Duration),
    ("max-concurrent-snapshots", "INFLUXDB3_MAX_CONCURRENT_SNAPSHOTS", Number),
    ("merge-threshold-size", "INFLUXDB3_MERGE_THRESHOLD_SIZE", Memory),
    ("gen0-max-rows-per-file", "INFLUXDB3_GEN0_MAX_ROWS_PER_FILE", Number),
    ("gen0-max-file-size", "INFLUXDB3_GEN0_MAX_FILE_SIZE", Memory),
    ("wal-replica-recovery-concurrency", "INFLUXDB3_WAL_REPLICA_RECOVERY_CONCURRENCY", Number),
    ("wal-replica-steady-concurrency", "INFLUXDB3_WAL_REPLICA_STEADY_CONCURRENCY", Number),
    ("wal-replica-queue-length", "INFLUXDB3_WAL_REPLICA_QUEUE_LENGTH", Number),
    ("wal-replica-recovery-tail-skip-limit", "INFLUXDB3_WAL_REPLICA_RECOVERY_TAIL_SKIP_LIMIT", Number),
    ("replica-gen0-load-concurrency", "INFLUXDB3_REPLICA_GEN0_LOAD_CONCURRENCY", Number),
    ("replica-max-buffer-size", "INFLUXDB3_REPLICA_MAX_BUFFER_SIZE", Memory),
    ("shard-count", "INFLUXDB3_SHARD_COUNT", Number),
    ("final-compaction-age", "INFLUXDB3_FINAL_COMPACTION_AGE", Duration),
    ("compactor-cleanup-cooldown", "INFLUXDB3_COMPACTOR_CLEANUP_COOLDOWN", Duration),
    ("row-delete-min-age", "INFLUXDB3_ROW_DELETE_MIN_AGE", Duration),
    ("recover-deferred-snapshots", "INFLUXDB3_RECOVER_DEFERRED_SNAPSHOTS", Switch),
    ("recover-deferred-snapshots-in-flight-limit", "INFLUXDB3_RECOVER_DEFERRED_SNAPSHOTS_IN_FLIGHT_LIMIT", Number),
    ("l1-tail-target-size", "INFLUXDB3_L1_TAIL_TARGET_SIZE", Memory),
    ("l1-target-file-size", "INFLUXDB3_L1_TARGET_FILE_SIZE", Memory),
    ("l1-promotion-count", "INFLUXDB3_L1_PROMOTION_COUNT", Number),
    ("l2-tail-target-size", "INFLUXDB3_L2_TAIL_TARGET_SIZE", Memory),
    ("l2-target-file-size", "INFLUXDB3_L2_TARGET_FILE_SIZE", Memory),
    ("l2-promotion-count", "INFLUXDB3_L2_PROMOTION_COUNT", Number),
    ("l3-tail-target-size", "INFLUXDB3_L3_TAIL_TARGET_SIZE", Memory),
    ("l3-target-file-size", "INFLUXDB3_L3_TARGET_FILE_SIZE", Memory),
    ("l3-promotion-count", "INFLUXDB3_L3_PROMOTION_COUNT", Number),
    ("l4-tail-target-size", "INFLUXDB3_L4_TAIL_TARGET_SIZE", Memory),
    ("l4-target-file-size", "INFLUXDB3_L4_TARGET_FILE_SIZE", Memory),
    ("l1-hot-tail-target-size", "INFLUXDB3_L1_HOT_TAIL_TARGET_SIZE", Memory),
    ("l1-consolidation-target-size", "INFLUXDB3_L1_CONSOLIDATION_TARGET_SIZE", Memory),
    ("l1-consolidation-min-run-sets", "INFLUXDB3_L1_CONSOLIDATION_MIN_RUN_SETS", Number),
    ("l1-consolidation-min-age", "INFLUXDB3_L1_CONSOLIDATION_MIN_AGE", Duration),
    ("row-delete-max-jobs-per-tick", "INFLUXDB3_ROW_DELETE_MAX_JOBS_PER_TICK", Number),
];

/// Variables of options that the original took out. Their flags are unknown here as they are there.
const REMOVED: &[&str] = &[
    "INFLUXDB3_OBJECT_STORE_CACHE_ENDPOINT",
    "INFLUXDB3_DATABASE_SPLIT_LEVEL",
    "INFLUXDB3_TABLE_SPLIT_LEVEL",
    "INFLUXDB3_MAX_COMPACT_DESTINATION",
    "INFLUXDB3_PT_ENABLE_ROW_DELETES",
];

/// The command with these options, of itself and of `serve`.
pub(crate) fn add(command: Command) -> Command {
    let accepted = || NO_EFFECT.iter().map(|(flag, variable, shape)| arg((*flag, *variable), *shape));
    let with = |command: Command| command.args(accepted());
    with(command).mut_subcommand("serve", with)
}

fn arg((flag, variable): (&'static str, &'static str), shape: Shape) -> Arg {
    let arg = Arg::new(flag).long(flag).env(variable).action(ArgAction::Set).hide(true);
    let arg = arg.help("Known to InfluxDB 3; has no effect").help_heading("Without effect").value_name(shape.name());
    let arg = arg.value_parser(shape.parser());
    match shape {
        Switch | OneOf(&["true"]) => arg.num_args(0..=1).default_missing_value("true"),
        Address => arg.num_args(0..=1).default_missing_value("127.0.0.1:8182"),
        _ => arg,
    }
}

impl Shape {
    fn parser(self) -> ValueParser {
        match self {
            Switch => BoolishValueParser::new().into(),
            Number => value_parser!(u64).into(),
            Fraction => ValueParser::new(parse_fraction),
            Duration => ValueParser::new(config::parse_duration),
            Memory => ValueParser::new(config::parse_memory),
            OneOf(values) => PossibleValuesParser::new(values).into(),
            Address | Text => ValueParser::string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Switch => "BOOL",
            Number => "N",
            Fraction => "FRACTION",
            Duration => "DURATION",
            Memory => "SIZE",
            OneOf(_) => "WORD",
            Address => "HOST:PORT",
            Text => "TEXT",
        }
    }
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("'{text}' is not a number from 0 to 1"))
}

/// One sentence about all that was set and has no effect.
pub(crate) fn judge(matches: &ArgMatches, findings: &Findings) -> Option<String> {
    let set = |flag: &str, variable: &str| match matches.value_source(flag)? {
        ValueSource::CommandLine => Some(format!("--{flag}")),
        // The value became the default of the flag; it may have come under an old name.
        _ => Some(findings.name_of(variable)),
    };
    let named: Vec<_> = NO_EFFECT.iter().filter_map(|(flag, variable, _)| set(flag, variable)).collect();
    (!named.is_empty()).then(|| format!("accepted, no effect: {}", named.join(", ")))
}

/// A sentence for each variable that is set and was taken out.
pub(crate) fn removed<'a>(read: &'a dyn Fn(&str) -> Option<String>) -> impl Iterator<Item = String> + 'a {
    let set = REMOVED.iter().filter(|name| read(name).is_some_and(|value| !value.is_empty()));
    set.map(|name| format!("environment variable {name} was taken out of InfluxDB 3 and is ignored"))
}
