//! `weir serve`, and `weir` alone: flags and variables become a `NodeConfig`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use sql::Flag;
use storage::bucket::Secret;
use storage::model::{self, Modes};
use storage::wal::OnDamage;

use super::flags::{
    CompactFlags, HttpFlags, IdentityFlags, InternodeFlags, MemoryFlags, Mode, PeerFlags, QueryFlags, ServeFlags,
};
use super::logging::{self, LogFlags};
use super::{options, store as store_flags};
use crate::config::{
    self, AuthConfig, CompactConfig, Host, HttpConfig, HttpTls, Identity, InternodeConfig, InternodeTls, Limits,
    LogConfig, Memory, NodeConfig, PeerConfig, PgBind, QueryConfig, SnapshotConfig, Store, TakeOver, ThreadCounts,
    ThreadWishes, TokenFiles, TurnLog, WalConfig,
};

/// What missing flags mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `weir serve`: identity and store must be said.
    Serve,
    /// `weir` alone: they are made up, and the user is told.
    QuickStart,
}

/// A node that is ready to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) config: NodeConfig,
    pub(crate) log: LogFlags,
    /// To be logged once logging runs.
    pub(crate) warnings: Vec<String>,
    /// To be printed before the start.
    pub(crate) greeting: Option<String>,
}

/// What the flags do not say.
pub(crate) struct Surroundings<'a> {
    pub(crate) host: Host,
    pub(crate) host_name: Option<String>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) read_variable: &'a dyn Fn(&str) -> Option<String>,
    /// What was said, as a JSON object without secrets.
    pub(crate) given: Vec<Flag>,
}

pub(crate) fn resolve(flags: ServeFlags, kind: Kind, around: &Surroundings<'_>) -> Result<Start, String> {
    let ServeFlags { identity, store, http, internode, threads, memory, query, wal, peers, compact, limits, log } =
        flags;
    let mut warnings = Vec::new();
    let modes = self::modes(&identity.mode)?;
    let host = around.host;
    let threads = host.threads(ThreadWishes {
        cores: threads.num_cores.map(usize::from),
        io: threads.num_io_threads.map(usize::from),
        datafusion: threads.datafusion_num_threads.map(usize::from),
    })?;
    warn_of_large_shares(&memory, &mut warnings);
    let config = NodeConfig {
        identity: self::identity(identity, kind, around, &mut warnings)?,
        modes,
        options: options::said(&around.given),
        flags: around.given.clone(),
        store: store_flags::resolve(store, kind, around)?,
        tokens: tokens(&http, &mut warnings)?,
        address_file: http.tcp_listener_file_path.clone(),
        pg: pg(http.pg_bind.as_deref()),
        http: self::http(http, host)?,
        internode: self::internode(internode, around, &mut warnings)?,
        threads,
        memory_bytes: host.memory_bytes,
        log: LogConfig { filter: log.log_filter.clone(), judge: logging::judged },
        wal: WalConfig {
            flush_interval: wal.wal_flush_interval,
            waiting_writes_max: index(wal.wal_max_buffered_writes),
            files_to_keep: index(wal.snapshotted_wal_files_to_keep),
            on_damage: if wal.wal_replay_fail_on_error { OnDamage::Fail } else { OnDamage::Skip },
        },
        snapshot: SnapshotConfig {
            wal_files: index(wal.wal_files_per_snapshot),
            memory_bytes_max: memory.force_snapshot_mem_size.resolve(host.memory_bytes),
            age_max: memory.force_snapshot_max_age,
            gen1_duration: wal.gen1_duration,
        },
        peers: self::peers(peers),
        compact: self::compact(compact, wal.gen1_duration)?,
        query: self::query(query, (&memory, host), threads),
        limits: Limits {
            databases: index(limits.num_database_limit),
            tables: index(limits.num_table_limit),
            columns_per_table: index(limits.num_total_columns_per_table_limit),
        },
        retention_check_interval: limits.retention_check_interval,
    };
    let greeting = (kind == Kind::QuickStart).then(|| greeting(&config));
    Ok(Start { config, log, warnings, greeting })
}

/// Starts logging and says what should be said before the node runs.
#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn announce(start: Start) -> Result<(NodeConfig, TurnLog), String> {
    let Start { config, log, warnings, greeting } = start;
    let turn_log = logging::start(&log)?;
    if let Some(greeting) = greeting {
        println!("{greeting}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((config, turn_log))
}

fn modes(said: &[Mode]) -> Result<Modes, String> {
    said.iter().try_fold([].into_iter().collect(), |modes: Modes, mode| match mode {
        Mode::All => Ok(Modes::ALL.iter().fold(modes, Modes::with)),
        Mode::Ingest => Ok(modes.with(model::Mode::Ingest)),
        Mode::Query => Ok(modes.with(model::Mode::Query)),
        Mode::Compact => Ok(modes.with(model::Mode::Compact)),
        Mode::Process => Err("--mode process needs --plugin-dir, and plugins are not supported yet".to_owned()),
        Mode::Webui => Err("--mode webui is not supported: there is no web interface".to_owned()),
    })
}

fn peers(flags: PeerFlags) -> PeerConfig {
    let PeerFlags { replication_interval, catalog_sync_interval, wait_for_running_ingester } = flags;
    PeerConfig { replication_interval, catalog_sync_interval, wait_at_start: wait_for_running_ingester }
}

fn compact(flags: CompactFlags, gen1: Duration) -> Result<CompactConfig, String> {
    Ok(CompactConfig {
        check_every: flags.compaction_check_interval,
        widths: config::level_widths(gen1, flags.compaction_gen2_duration, &flags.compaction_multipliers)?,
        files_max: index(flags.compaction_max_num_files_per_plan),
        rows_max: u64::from(flags.compaction_row_limit),
        cleanup_wait: flags.compaction_cleanup_wait,
    })
}

fn warn_of_large_shares(memory: &MemoryFlags, warnings: &mut Vec<String>) {
    if let (Memory::Percent(query), Memory::Percent(buffer)) =
        (memory.exec_mem_pool_size, memory.force_snapshot_mem_size)
        && query + buffer > 90.0
    {
        let text = "of memory for queries and buffered rows together leave little for everything else";
        warnings.push(format!("{}% {text}", query + buffer));
    }
}

fn identity(
    flags: IdentityFlags,
    kind: Kind,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Identity, String> {
    let IdentityFlags { node_id, node_id_from_env, cluster_id, mode: _, take_over } = flags;
    let node = match (node_id, node_id_from_env) {
        (Some(id), _) => Some(id),
        (None, Some(name)) => Some(
            (around.read_variable)(&name)
                .ok_or_else(|| format!("--node-id-from-env names the variable {name}, which is not set"))?,
        ),
        (None, None) => None,
    };
    let mut generate = |flag: &str, suffix: &str| match kind {
        Kind::Serve => Err(format!("{flag} is missing")),
        Kind::QuickStart => {
            let id = format!("{}-{suffix}", id_prefix(around.host_name.as_deref()));
            warnings.push(format!("{flag} is not set and becomes '{id}'; say it yourself in production"));
            Ok(id)
        }
    };
    let node = node.map_or_else(|| generate("--node-id", "node"), Ok)?;
    let cluster = cluster_id.map_or_else(|| generate("--cluster-id", "cluster"), Ok)?;
    Identity::new(&node, &cluster, if take_over { TakeOver::Insist } else { TakeOver::Refuse })
}

/// The host name as far as it can stand in an id.
fn id_prefix(host_name: Option<&str>) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let name: String = host_name.unwrap_or_default().chars().take(40).map(keep).collect();
    match name.trim_matches('-') {
        "" => "primary".to_owned(),
        name => name.to_owned(),
    }
}

/// So many connections are open at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8192;

fn http(flags: HttpFlags, host: Host) -> Result<HttpConfig, String> {
    let HttpFlags {
        http_bind,
        http_advertise_addr,
        forward,
        tls_cert,
        tls_key,
        tls_minimum_version: minimum,
        http_tls_ca: authority,
        pg_bind: _,
        max_http_request_size,
        tcp_listener_file_path: _,
        shutdown_timeout,
        without_auth,
        admin_token_file: _,
        permission_tokens_file: _,
        disable_authz,
    } = flags;
    let tls = match (tls_cert, tls_key) {
        (Some(cert), Some(key)) => Some(HttpTls { cert, key, minimum }),
        (None, None) => None,
        (Some(_), None) => return Err("--tls-cert needs --tls-key".to_owned()),
        (None, Some(_)) => return Err("--tls-key needs --tls-cert".to_owned()),
    };
    // A sixteenth of memory lets many small writes wait at once; four of the largest are always let in.
    let share = usize::try_from(host.memory_bytes / 16).unwrap_or(usize::MAX);
    Ok(HttpConfig {
        bind: http_bind,
        advertise: http_advertise_addr,
        forward,
        tls,
        authority,
        auth: if without_auth { AuthConfig::Off } else { AuthConfig::On { open: disable_authz } },
        request_bytes_max: max_http_request_size,
        in_flight_bytes_max: share.max(max_http_request_size.saturating_mul(4)),
        connections_max: CONNECTIONS_MAX,
        shutdown_timeout,
    })
}

fn pg(said: Option<&str>) -> PgBind {
    match said {
        Some("none") => PgBind::Nowhere,
        Some(address) => PgBind::Said(address.to_owned()),
        None => PgBind::IfFree("127.0.0.1:5433"),
    }
}

fn internode(
    flags: InternodeFlags,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<InternodeConfig>, String> {
    let InternodeFlags {
        internode_bind_addr,
        conn_info,
        internode_jwt_primary,
        internode_jwt_secondary,
        internode_tls_cert,
        internode_tls_key,
        internode_tls_ca,
    } = flags;
    let tls = match (internode_tls_cert, internode_tls_key, internode_tls_ca) {
        (Some(cert), Some(key), Some(ca)) => Some(InternodeTls { cert, key, ca }),
        (None, None, None) => None,
        _ => {
            let all = "--internode-tls-cert, --internode-tls-key and --internode-tls-ca";
            return Err(format!("{all} belong together: all three or none"));
        }
    };
    if internode_jwt_primary.is_none() && internode_jwt_secondary.is_some() {
        return Err("--internode-jwt-secondary needs --internode-jwt-primary, which signs".to_owned());
    }
    let Some(bind) = internode_bind_addr else {
        return match (conn_info, internode_jwt_primary, tls) {
            (None, None, None) => Ok(None),
            _ => {
                Err("--conn-info and the secrets and certificates between nodes need --internode-bind-addr".to_owned())
            }
        };
    };
    let host = expect_address("--internode-bind-addr", &bind)?;
    if let Some(address) = &conn_info {
        expect_address("--conn-info", address)?;
    }
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if internode_jwt_primary.is_none() && tls.is_none() && !is_local {
        let danger = "who reaches it can read all rows that are written";
        warnings
            .push(format!("other nodes are served on {bind} without a secret: {danger}; set --internode-jwt-primary"));
    }
    // Where it listens on every address, others know it by its name.
    let is_every = address.is_some_and(|address| address.is_unspecified());
    let name = || around.host_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned());
    let host = if is_every { name() } else { host.to_owned() };
    check_secret("--internode-jwt-primary", internode_jwt_primary.as_ref())?;
    check_secret("--internode-jwt-secondary", internode_jwt_secondary.as_ref())?;
    let secrets = [internode_jwt_primary, internode_jwt_secondary].into_iter().flatten().collect();
    Ok(Some(InternodeConfig { host, bind, advertised: conn_info, secrets, tls }))
}

/// A shorter secret can be found out by trying, with one token that was seen.
const SECRET_BYTES_MIN: usize = 16;

fn check_secret(flag: &str, secret: Option<&Secret>) -> Result<(), String> {
    match secret.map(|secret| secret.reveal().len()) {
        Some(bytes) if bytes < SECRET_BYTES_MIN => {
            Err(format!("{flag} has {bytes} bytes: a secret needs at least {SECRET_BYTES_MIN}"))
        }
        _ => Ok(()),
    }
}

/// The host of `host:port`.
fn expect_address<'a>(flag: &str, address: &'a str) -> Result<&'a str, String> {
    let parts = address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match parts {
        Some((host, _)) if !host.contains('/') => Ok(host),
        _ => Err(format!("{flag} '{address}' must be a host and a port, as in node-1:8083")),
    }
}

fn tokens(flags: &HttpFlags, warnings: &mut Vec<String>) -> Result<TokenFiles, String> {
    let mut files = TokenFiles::default();
    if let Some(path) = &flags.admin_token_file {
        let admin = config::read_admin_token(path, warnings).map_err(|error| format!("--admin-token-file {error}"))?;
        files.admin = Some((path.clone(), admin));
    }
    if let Some(path) = &flags.permission_tokens_file {
        let read = config::read_permission_tokens(path, warnings);
        let resources = read.map_err(|error| format!("--permission-tokens-file {error}"))?;
        files.resources = Some((path.clone(), resources));
    }
    Ok(files)
}

fn query(flags: QueryFlags, (memory, host): (&MemoryFlags, Host), threads: ThreadCounts) -> QueryConfig {
    let QueryFlags { datafusion_config, max_concurrent_queries, query_timeout, query_log_max_entries } = flags;
    QueryConfig {
        memory_bytes: memory.exec_mem_pool_size.resolve(host.memory_bytes),
        footer_bytes: memory.footer_cache_size.resolve(host.memory_bytes),
        options: datafusion_config,
        concurrent_max: max_concurrent_queries.map_or_else(|| (threads.datafusion * 4).max(50), index),
        log_entries: index(query_log_max_entries),
        timeout: query_timeout,
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("this server runs where an address has at least 32 bits")
}

fn greeting(config: &NodeConfig) -> String {
    let port = config.http.bind.rsplit(':').next().unwrap_or("8181");
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    let place = match &config.store {
        Store::Memory | Store::ThrottledMemory => "in memory only".to_owned(),
        Store::Remote(remote) => format!("in {remote}"),
        Store::File { root } => format!("under {}", root.display()),
    };
    format!(
        "Weir listens on {scheme}://127.0.0.1:{port} and keeps its rows {place}.\n\n\
         Make a token:  weir create token --admin\n\
         Write a row:   weir write --token TOKEN --database home 'room,name=kitchen temp=21.5'\n\
         Ask for it:    weir query --token TOKEN --database home 'SELECT * FROM room'\n"
    )
}
