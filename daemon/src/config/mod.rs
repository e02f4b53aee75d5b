//! What a node needs, resolved and checked. One part for each room that is configured; no flags in it.
//!
//! # Promises
//! - A `NodeConfig` that exists is consistent: ids are valid and distinct, threads fit the cores, sizes are bytes.
//! - Values are parsed the same way wherever users write them (`values`).
//!
//! # Not here
//! - Where a value came from: flags, variables and defaults are turned into this by `cli`.

mod address;
mod host;
mod tokens;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use storage::bucket::{Remote, Secret};
use storage::model::{Modes, NodeId};
use storage::wal::OnDamage;

pub(crate) use address::{advertised, host_name, is_loopback, parse_address};
pub(crate) use host::{Host, ThreadCounts, ThreadWishes};
pub(crate) use tokens::{
    GivenResources, TokenFiles, add_permission_token, read_admin_token, read_permission_tokens, write_admin_token,
};
pub(crate) use values::{Memory, parse_duration, parse_interval, parse_memory, parse_request_size, with_legacy_unit};

#[derive(Debug, Clone)]
pub(crate) struct NodeConfig {
    pub(crate) identity: Identity,
    pub(crate) modes: Modes,
    /// What the node was started with, as a JSON object without secrets.
    pub(crate) options: String,
    /// All options, for operators.
    pub(crate) flags: Vec<sql::Flag>,
    pub(crate) store: Store,
    pub(crate) http: HttpConfig,
    pub(crate) pg: PgBind,
    /// `None` neither listens for other nodes nor calls them.
    pub(crate) internode: Option<InternodeConfig>,
    /// Tokens for a cluster that has none.
    pub(crate) tokens: TokenFiles,
    /// Where the address is written to once the node listens.
    pub(crate) address_file: Option<PathBuf>,
    pub(crate) threads: ThreadCounts,
    /// What this process may use.
    pub(crate) memory_bytes: u64,
    pub(crate) log: LogConfig,
    pub(crate) wal: WalConfig,
    pub(crate) snapshot: SnapshotConfig,
    pub(crate) peers: PeerConfig,
    pub(crate) compact: CompactConfig,
    pub(crate) query: QueryConfig,
    pub(crate) limits: Limits,
    pub(crate) retention_check_interval: Duration,
}

/// What is logged.
#[derive(Debug, Clone)]
pub(crate) struct LogConfig {
    pub(crate) filter: String,
    /// Whether a text is a filter.
    pub(crate) judge: fn(&str) -> Result<String, String>,
}

/// Has the process log by another filter from now on.
pub(crate) type TurnLog = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) cluster: NodeId,
    pub(crate) take_over: TakeOver,
}

/// What happens when another live process seems to have this node's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeOver {
    Refuse,
    Insist,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// Everything is gone when the process ends.
    Memory,
    /// So too, and every call takes as long as over a network.
    ThrottledMemory,
    File {
        root: PathBuf,
    },
    /// S3, Azure or Google.
    Remote(Box<Remote>),
}

impl Store {
    /// Whether nodes on other machines may share it.
    pub(crate) fn is_for_many_machines(&self) -> bool {
        match self {
            Self::Memory | Self::ThrottledMemory | Self::File { .. } => false,
            Self::Remote(remote) => !remote.endpoint().is_some_and(is_loopback),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct HttpConfig {
    /// Host and port; the host may be a name.
    pub(crate) bind: String,
    /// What other nodes are told instead.
    pub(crate) advertise: Option<String>,
    pub(crate) forward: Forward,
    /// Without it everything crosses the network in the open.
    pub(crate) tls: Option<HttpTls>,
    /// PEM of the authority that vouches for other nodes, in the place of the public ones.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) auth: AuthConfig,
    /// The largest request body, before and after decompression.
    pub(crate) request_bytes_max: usize,
    /// All request bodies that are in memory at one time.
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) connections_max: usize,
    /// How long a stop waits for requests; zero does not wait.
    pub(crate) shutdown_timeout: Duration,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) minimum: TlsVersion,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TlsVersion {
    #[value(name = "tls-1.2")]
    Tls12,
    #[value(name = "tls-1.3")]
    Tls13,
}

/// Where Postgres clients are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PgBind {
    Nowhere,
    /// The user said so: a node that cannot listen there does not start.
    Said(String),
    /// Nobody said anything: it is used when it is free, so that two nodes on one machine both start.
    IfFree(&'static str),
}

/// The port for other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InternodeConfig {
    /// Host and port; the host may be a name.
    pub(crate) bind: String,
    /// How other machines call the host, when nothing else is `advertised`.
    pub(crate) host: String,
    /// Host and port by which others reach this node.
    pub(crate) advertised: Option<String>,
    /// The first signs, each is accepted; without any every call is served.
    pub(crate) secrets: Vec<Secret>,
    pub(crate) tls: Option<InternodeTls>,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InternodeTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose certificates are accepted, of both sides.
    pub(crate) ca: PathBuf,
}

/// What happens to a request that this node does not serve, by its modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Forward {
    /// A node that serves it is asked.
    On,
    /// It is refused.
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthConfig {
    /// Every request may do everything.
    Off,
    /// Every request needs a token, but for these endpoints.
    On { open: Vec<OpenEndpoint> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OpenEndpoint {
    Health,
    Ping,
    Metrics,
    Ready,
}

impl OpenEndpoint {
    /// The name that permissions of tokens use.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Ping => "ping",
            Self::Metrics => "metrics",
            Self::Ready => "ready",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct WalConfig {
    /// The longest a write waits for company.
    pub(crate) flush_interval: Duration,
    /// Requests that may wait for the log.
    pub(crate) waiting_writes_max: usize,
    /// Log files kept after what they hold is in data files.
    pub(crate) files_to_keep: usize,
    /// What a start does when it meets a damaged log file.
    pub(crate) on_damage: OnDamage,
}

/// How this node learns of the others.
#[derive(Debug, Clone)]
pub(crate) struct PeerConfig {
    /// How often their logs are read.
    pub(crate) replication_interval: Duration,
    /// How often the catalog is read while it changes.
    pub(crate) catalog_sync_interval: Duration,
    /// How long a start waits for their newest rows.
    pub(crate) wait_at_start: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct SnapshotConfig {
    /// A snapshot is made after so many log files,
    pub(crate) wal_files: usize,
    /// or when buffered rows hold so much memory,
    pub(crate) memory_bytes_max: u64,
    /// or when the oldest buffered row is so old.
    pub(crate) age_max: Duration,
    /// The time width of first-level files.
    pub(crate) gen1_duration: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct CompactConfig {
    /// How often work is looked for.
    pub(crate) check_every: Duration,
    /// Widths of the windows of level 2 and up.
    pub(crate) widths: Vec<Duration>,
    /// Files that one plan takes at most.
    pub(crate) files_max: usize,
    /// Rows after which a file ends.
    pub(crate) rows_max: u64,
    /// How long a file that was replaced is kept.
    pub(crate) cleanup_wait: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct QueryConfig {
    pub(crate) memory_bytes: u64,
    pub(crate) footer_bytes: u64,
    /// Engine options by name.
    pub(crate) options: Vec<(String, String)>,
    pub(crate) concurrent_max: usize,
    pub(crate) log_entries: usize,
    /// `None` lets queries run as long as they need.
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) databases: usize,
    pub(crate) tables: usize,
    pub(crate) columns_per_table: usize,
}

impl Identity {
    /// Checks both ids and that they differ: each is a prefix in the same bucket.
    pub(crate) fn new(node: &str, cluster: &str, take_over: TakeOver) -> Result<Self, String> {
        let node = NodeId::new(node).map_err(|message| format!("node {message}"))?;
        let cluster = NodeId::new(cluster).map_err(|message| format!("cluster {message}"))?;
        if node == cluster {
            return Err(format!("the cluster id and the node id are both '{node}'; they must differ"));
        }
        Ok(Self { node, cluster, take_over })
    }
}

/// The time width of first-level files: 1, 5 or 10 minutes.
pub(crate) fn parse_gen1_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if [1, 5, 10].map(|minutes| Duration::from_secs(minutes * 60)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("gen1 duration '{text}' must be 1m, 5m or 10m"))
    }
}

/// The widths of the windows of level 2 and up: the first one, and each a multiple of the one before.
pub(crate) fn level_widths(gen1: Duration, gen2: Duration, multipliers: &[u32]) -> Result<Vec<Duration>, String> {
    if gen2 < gen1 || !gen2.as_nanos().is_multiple_of(gen1.as_nanos()) {
        return Err(format!("compaction gen2 duration {gen2:?} must be a multiple of the gen1 duration {gen1:?}"));
    }
    let mut widths = vec![gen2];
    for multiplier in multipliers {
        let last = widths[widths.len() - 1];
        let next = last.checked_mul(*multiplier).filter(|width| *multiplier > 1 && *width <= WIDTH_MAX);
        widths.push(next.ok_or_else(|| {
            format!("compaction multiplier {multiplier} must be over 1 and keep windows under {} days", WIDTH_DAYS_MAX)
        })?);
    }
    Ok(widths)
}

const WIDTH_DAYS_MAX: u64 = 36_500;
const WIDTH_MAX: Duration = Duration::from_secs(WIDTH_DAYS_MAX * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_the_name_of_its_node_is_refused() {
        let error = Identity::new("a", "a", TakeOver::Refuse).expect_err("the ids are equal");
        assert_eq!(error, "the cluster id and the node id are both 'a'; they must differ");
        assert!(Identity::new("a", "b", TakeOver::Refuse).is_ok());
        assert!(Identity::new("a/b", "c", TakeOver::Refuse).is_err());
    }

    #[test]
    fn levels_nest() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let widths = level_widths(minutes(10), minutes(20), &[3, 4, 6, 5]);
        assert_eq!(widths, Ok([20, 60, 240, 1_440, 7_200].map(minutes).to_vec()));
        assert_eq!(level_widths(minutes(10), minutes(1440), &[]), Ok(vec![minutes(1440)]));
        for (gen2, multipliers) in [(15, &[3][..]), (5, &[]), (20, &[1]), (20, &[0]), (1440, &[36_501])] {
            assert!(level_widths(minutes(10), minutes(gen2), multipliers).is_err(), "{gen2} {multipliers:?}");
        }
    }

    #[test]
    fn first_level_files_are_one_five_or_ten_minutes_wide() {
        assert_eq!(parse_gen1_duration("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_gen1_duration("2m"), Err("gen1 duration '2m' must be 1m, 5m or 10m".to_owned()));
    }
}
