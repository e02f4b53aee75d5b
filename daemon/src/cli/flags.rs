//! The flags of `serve`, in the words of the help text. What they add up to is decided in `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser, value_parser};

use super::logging::LogFlags;
use super::store::{StoreFlags, secret};
use crate::config::{self, Forward, Memory, OpenEndpoint, TlsVersion};
use storage::bucket::Secret;

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    pub(crate) identity: IdentityFlags,
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    pub(crate) http: HttpFlags,
    #[command(flatten)]
    pub(crate) internode: InternodeFlags,
    #[command(flatten)]
    pub(crate) threads: ThreadFlags,
    #[command(flatten)]
    pub(crate) memory: MemoryFlags,
    #[command(flatten)]
    pub(crate) query: QueryFlags,
    #[command(flatten)]
    pub(crate) wal: WalFlags,
    #[command(flatten)]
    pub(crate) peers: PeerFlags,
    #[command(flatten)]
    pub(crate) compact: CompactFlags,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// ingest, query and compact
    All,
    /// Takes writes
    Ingest,
    /// Answers queries
    Query,
    /// Merges files, one node at a time
    Compact,
    #[value(hide = true)]
    Process,
    #[value(hide = true)]
    Webui,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node and cluster")]
pub(crate) struct IdentityFlags {
    /// Name of this node; no two processes that share a store may have the same
    #[arg(long, value_name = "ID", env = "INFLUXDB3_NODE_ID")]
    pub(crate) node_id: Option<String>,
    /// Environment variable that holds the node id
    #[arg(long, value_name = "VARIABLE", env = "INFLUXDB3_NODE_ID_FROM_ENV", conflicts_with = "node_id")]
    pub(crate) node_id_from_env: Option<String>,
    /// Name of the cluster; the prefix of everything it stores
    #[arg(long, value_name = "ID", env = "INFLUXDB3_CLUSTER_ID")]
    pub(crate) cluster_id: Option<String>,
    /// What this node does; may be said several times
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "INFLUXDB3_MODE", default_value = "all")]
    pub(crate) mode: Vec<Mode>,
    /// Start even if another process seems to run under this node id; that process then stops
    #[arg(long, env = "INFLUXDB3_TAKE_OVER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) take_over: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP and tokens")]
pub(crate) struct HttpFlags {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", env = "INFLUXDB3_HTTP_BIND_ADDR", default_value = "0.0.0.0:8181")]
    pub(crate) http_bind: String,
    /// Where other nodes reach this address [default: the host of --http-bind, or the address by which this machine
    /// reaches others]; InfluxDB 3 has no such option
    #[arg(long, value_name = "HOST:PORT", env = "INFLUXDB3_HTTP_ADVERTISE_ADDR",
          value_parser = config::parse_address)]
    pub(crate) http_advertise_addr: Option<String>,
    /// Whether requests that this node does not serve, by its modes, go on to a node that does; InfluxDB 3 has no such
    /// option
    #[arg(long, env = "INFLUXDB3_FORWARD", default_value = "on")]
    pub(crate) forward: Forward,
    /// Certificate of the server with those that lead to its authority, as PEM; with the key it turns TLS on
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The oldest version of TLS that is spoken
    #[arg(long, value_name = "VERSION", env = "INFLUXDB3_TLS_MINIMUM_VERSION", default_value = "tls-1.2")]
    pub(crate) tls_minimum_version: TlsVersion,
    /// PEM file of the authority that signed the certificates of other nodes, to which requests go on [default: the
    /// authorities of the system]; InfluxDB 3 has no such option
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_HTTP_TLS_CA")]
    pub(crate) http_tls_ca: Option<PathBuf>,
    /// Address for Postgres clients, or none [default: 127.0.0.1:5433 if it is free]; InfluxDB 3 has no such option
    #[arg(long, value_name = "HOST:PORT", env = "INFLUXDB3_PG_BIND_ADDR")]
    pub(crate) pg_bind: Option<String>,
    /// Largest request body, before and after decompression
    #[arg(long, value_name = "SIZE", env = "INFLUXDB3_MAX_HTTP_REQUEST_SIZE", default_value = "10mb",
          value_parser = config::parse_request_size)]
    pub(crate) max_http_request_size: usize,
    /// File the address is written to once the node listens, for a port of 0
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_TCP_LISTENER_FILE_PATH", hide = true)]
    pub(crate) tcp_listener_file_path: Option<PathBuf>,
    /// How long a stop waits for requests to end; 0s does not wait
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_SHUTDOWN_TIMEOUT", default_value = "30s",
          value_parser = config::parse_duration)]
    pub(crate) shutdown_timeout: Duration,
    /// Serve every request without a token
    #[arg(long, env = "INFLUXDB3_WITHOUT_AUTH", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) without_auth: bool,
    /// JSON file with an admin token, which is made when the cluster has none
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// JSON file with tokens and their permissions, which are made when the cluster has none with permissions
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_PERMISSION_TOKENS_FILE")]
    pub(crate) permission_tokens_file: Option<PathBuf>,
    /// Endpoints that need no token
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "INFLUXDB3_DISABLE_AUTHZ")]
    pub(crate) disable_authz: Vec<OpenEndpoint>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Between nodes")]
pub(crate) struct InternodeFlags {
    /// Address to listen on for other nodes, which then see new rows at once [default: off, they read the object store]
    #[arg(long, value_name = "HOST:PORT", env = "INFLUXDB3_INTERNODE_BIND_ADDR")]
    pub(crate) internode_bind_addr: Option<String>,
    /// Address at which other nodes reach that port [default: derived from it]
    #[arg(long, value_name = "HOST:PORT", env = "INFLUXDB3_CONN_INFO", alias = "internode-conn-addr")]
    pub(crate) conn_info: Option<String>,
    /// Secret of the cluster that signs calls to other nodes and lets theirs in; 16 bytes or more
    #[arg(long, value_name = "SECRET", env = "INFLUXDB3_INTERNODE_JWT_PRIMARY", value_parser = secret)]
    pub(crate) internode_jwt_primary: Option<Secret>,
    /// Another secret that lets calls in, while the primary one is changed
    #[arg(long, value_name = "SECRET", env = "INFLUXDB3_INTERNODE_JWT_SECONDARY", value_parser = secret)]
    pub(crate) internode_jwt_secondary: Option<Secret>,
    /// Certificate of this node, as PEM; with key and authority, both sides of a call must have one
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_INTERNODE_TLS_CERT")]
    pub(crate) internode_tls_cert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_INTERNODE_TLS_KEY")]
    pub(crate) internode_tls_key: Option<PathBuf>,
    /// Authority that signed the certificates of all nodes
    #[arg(long, value_name = "PATH", env = "INFLUXDB3_INTERNODE_TLS_CA")]
    pub(crate) internode_tls_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Threads")]
pub(crate) struct ThreadFlags {
    /// Threads for sockets, parsing and the object store
    #[arg(long, value_name = "N", env = "INFLUXDB3_NUM_IO_THREADS", value_parser = value_parser!(u16).range(1..))]
    pub(crate) num_io_threads: Option<u16>,
    /// Threads for queries, snapshots and compaction
    #[arg(long, value_name = "N", env = "INFLUXDB3_DATAFUSION_NUM_THREADS", value_parser = value_parser!(u16).range(1..))]
    pub(crate) datafusion_num_threads: Option<u16>,
    /// Cores this node may use; both kinds of threads together stay within it
    #[arg(long, value_name = "N", env = "INFLUXDB3_NUM_CORES")]
    pub(crate) num_cores: Option<u16>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct MemoryFlags {
    /// Memory for running queries, as a size or percent of memory
    #[arg(long, value_name = "SIZE", env = "INFLUXDB3_EXEC_MEM_POOL_SIZE", default_value = "20%",
          value_parser = config::parse_memory)]
    pub(crate) exec_mem_pool_size: Memory,
    /// Memory for the footers of files that queries have read, as a size or percent of memory; InfluxDB 3 has no such option
    #[arg(long, value_name = "SIZE", env = "INFLUXDB3_FOOTER_CACHE_SIZE", default_value = "2%",
          value_parser = config::parse_memory)]
    pub(crate) footer_cache_size: Memory,
    /// Buffered rows that force a snapshot, as a size or percent of memory
    #[arg(long, value_name = "SIZE", env = "INFLUXDB3_FORCE_SNAPSHOT_MEM_SIZE", default_value = "50%",
          value_parser = config::parse_memory)]
    pub(crate) force_snapshot_mem_size: Memory,
    /// Age of the oldest buffered row that forces a snapshot
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_FORCE_SNAPSHOT_MAX_AGE", default_value = "1h",
          value_parser = config::parse_interval, hide = true)]
    pub(crate) force_snapshot_max_age: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queries")]
pub(crate) struct QueryFlags {
    /// Options of the query engine, as key:value,key:value
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "INFLUXDB3_DATAFUSION_CONFIG",
          value_parser = sql::parse_option)]
    pub(crate) datafusion_config: Vec<(String, String)>,
    /// Queries that run at one time; more wait [default: 4 for each thread, at least 50]
    #[arg(long, value_name = "N", env = "INFLUXDB3_MAX_CONCURRENT_QUERIES", value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_concurrent_queries: Option<u32>,
    /// Longest time a query may run [default: no limit]
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_QUERY_TIMEOUT", value_parser = config::parse_interval)]
    pub(crate) query_timeout: Option<Duration>,
    /// Queries that system.queries remembers
    #[arg(long, value_name = "N", env = "INFLUXDB3_QUERY_LOG_MAX_ENTRIES", default_value_t = 1000)]
    pub(crate) query_log_max_entries: u32,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Write-ahead log and snapshots")]
pub(crate) struct WalFlags {
    /// Longest time a write waits for company before it is stored
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_WAL_FLUSH_INTERVAL", default_value = "1s",
          value_parser = config::parse_interval)]
    pub(crate) wal_flush_interval: Duration,
    /// Log files that make a snapshot
    #[arg(long, value_name = "N", env = "INFLUXDB3_WAL_FILES_PER_SNAPSHOT", default_value_t = 600, hide = true,
          value_parser = value_parser!(u32).range(1..))]
    pub(crate) wal_files_per_snapshot: u32,
    /// Write requests that may wait to be stored
    #[arg(long, value_name = "N", env = "INFLUXDB3_WAL_MAX_BUFFERED_WRITES", default_value_t = 100_000, hide = true,
          value_parser = value_parser!(u32).range(1..))]
    pub(crate) wal_max_buffered_writes: u32,
    /// Log files kept after a snapshot
    #[arg(long, value_name = "N", env = "INFLUXDB3_SNAPSHOTTED_WAL_FILES_TO_KEEP", default_value_t = 300, hide = true)]
    pub(crate) snapshotted_wal_files_to_keep: u32,
    /// Time width of first-level files: 1m, 5m or 10m
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_GEN1_DURATION", default_value = "10m",
          value_parser = config::parse_gen1_duration, hide = true)]
    pub(crate) gen1_duration: Duration,
    /// Whether a start ends at a log file that is damaged. If not, its rows are lost and an error in the log names it
    #[arg(long, env = "INFLUXDB3_WAL_REPLAY_FAIL_ON_ERROR", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true",
          default_value = "true")]
    pub(crate) wal_replay_fail_on_error: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Other nodes")]
pub(crate) struct PeerFlags {
    /// How often the logs of other nodes are read
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_REPLICATION_INTERVAL", default_value = "250ms",
          value_parser = config::parse_interval)]
    pub(crate) replication_interval: Duration,
    /// How often the catalog is read while it changes
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_CATALOG_SYNC_INTERVAL", default_value = "1s",
          value_parser = config::parse_interval)]
    pub(crate) catalog_sync_interval: Duration,
    /// How long a start waits for the newest rows of other nodes
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_WAIT_FOR_RUNNING_INGESTER", default_value = "10s",
          value_parser = config::parse_duration, hide = true)]
    pub(crate) wait_for_running_ingester: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Compaction")]
pub(crate) struct CompactFlags {
    /// Time width of second-level files
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_COMPACTION_GEN2_DURATION", default_value = "20m",
          value_parser = config::parse_interval)]
    pub(crate) compaction_gen2_duration: Duration,
    /// How much wider each further level is than the one before
    #[arg(
        long,
        value_name = "LIST",
        env = "INFLUXDB3_COMPACTION_MULTIPLIERS",
        default_value = "3,4,6,5",
        value_delimiter = ','
    )]
    pub(crate) compaction_multipliers: Vec<u32>,
    /// Rows after which a file ends
    #[arg(long, value_name = "N", env = "INFLUXDB3_COMPACTION_ROW_LIMIT", default_value_t = 1_000_000,
          value_parser = value_parser!(u32).range(1000..))]
    pub(crate) compaction_row_limit: u32,
    /// Files that are merged at one time
    #[arg(long, value_name = "N", env = "INFLUXDB3_COMPACTION_MAX_NUM_FILES_PER_PLAN", default_value_t = 500,
          value_parser = value_parser!(u32).range(2..))]
    pub(crate) compaction_max_num_files_per_plan: u32,
    /// How long files that were merged are kept
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_COMPACTION_CLEANUP_WAIT", default_value = "10m",
          value_parser = config::parse_interval)]
    pub(crate) compaction_cleanup_wait: Duration,
    /// How often work is looked for
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_COMPACTION_CHECK_INTERVAL", default_value = "10s",
          value_parser = config::parse_interval)]
    pub(crate) compaction_check_interval: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits and retention")]
pub(crate) struct LimitFlags {
    /// Databases at most
    #[arg(long, value_name = "N", env = "INFLUXDB3_NUM_DATABASE_LIMIT", default_value_t = 100, hide = true)]
    pub(crate) num_database_limit: u32,
    /// Tables at most, over all databases
    #[arg(long, value_name = "N", env = "INFLUXDB3_NUM_TABLE_LIMIT", default_value_t = 10_000, hide = true)]
    pub(crate) num_table_limit: u32,
    /// Columns of a table at most, time and tags included
    #[arg(
        long,
        value_name = "N",
        env = "INFLUXDB3_NUM_TOTAL_COLUMNS_PER_TABLE_LIMIT",
        default_value_t = 500,
        hide = true
    )]
    pub(crate) num_total_columns_per_table_limit: u32,
    /// How often expired rows are looked for
    #[arg(long, value_name = "DURATION", env = "INFLUXDB3_RETENTION_CHECK_INTERVAL", default_value = "30m",
          value_parser = config::parse_interval)]
    pub(crate) retention_check_interval: Duration,
}
