//! What is true of no single node: who can compact, who is gone, and how the files of each table are.

use std::sync::Arc;
use std::time::Duration;

use storage::catalog::{Node, State, Table};
use storage::cluster::{Condition, Lives};
use storage::model::{FileRecord, Mode, Modes, NodeId, Stamp};

use super::super::log::now_ns;
use super::{Finding, Severity, WHOLE_CLUSTER, World};

/// Files that snapshots wrote are merged when their window is over: eight at once, and the rest within ten minutes. So
/// many wait for longer only when nobody merges, or slower than they come.
const WAITING_FILES_MAX: usize = 32;

/// When a window was over so long ago, its files should be merged.
const MERGED_WITHIN_NS: i64 = 600_000_000_000;

/// Ten times as many files mean that it has been so for long.
const WAITING_FILES_CRITICAL: usize = 320;

/// A query opens every file of its time; so many of a table are worth a look,
const FILES_MANY: usize = 1_000;

/// when they are on average smaller than this: a megabyte is read as fast as a few bytes.
const FILE_BYTES_SMALL: u64 = 1 << 20;

/// A finding, and the node it is about.
type About = (String, Finding);

pub(super) fn findings(world: &World) -> Vec<About> {
    let conditions = conditions(world);
    let all: Vec<_> =
        conditions.iter().map(|(node, condition)| (&node.id, node.description.modes, *condition)).collect();
    let mut found: Vec<About> = compactors(&all).into_iter().collect();
    found.extend(conditions.iter().filter_map(|(node, condition)| {
        let finding = lost(node, *condition, &world.lives)?;
        Some((node.id.to_string(), finding))
    }));
    let compactor = world.state.compactor_node().filter(|node| lives(world.lives.condition(node)));
    let holder = compactor.map_or(WHOLE_CLUSTER, |node| node.id.as_str());
    let awake = compactor.and_then(|node| awake(&world.state, node));
    found.extend(tables(&world.state).flat_map(|(database, table)| {
        let findings = [waiting_files((database, table), awake.as_deref()), small_files(database, table)];
        findings.into_iter().flatten().map(|finding| {
            // Where nobody merges nothing that has files merged helps.
            let statement = finding.statement.filter(|_| compactor.is_some());
            (holder.to_owned(), Finding { statement, ..finding })
        })
    }));
    found
}

fn conditions(world: &World) -> Vec<(&Node, Condition)> {
    world.state.members().map(|node| (&**node, world.lives.condition(node))).collect()
}

fn lives(condition: Condition) -> bool {
    match condition {
        Condition::Joining | Condition::Running | Condition::Stopping => true,
        Condition::Stopped | Condition::Lost | Condition::Removed => false,
    }
}

/// Live tables, with the names of their databases.
fn tables(state: &State) -> impl Iterator<Item = (&str, &Table)> {
    let live = state.databases.values().filter(|database| database.dropped.is_none());
    live.flat_map(|database| {
        let tables = database.tables.values().filter_map(|id| state.table(*id));
        tables.map(|table| (&*database.name, &**table))
    })
}

/// Whether somebody merges files, and somebody else can go on with it.
pub(super) fn compactors(nodes: &[(&NodeId, Modes, Condition)]) -> Option<About> {
    let living = || nodes.iter().filter(|(.., condition)| lives(*condition));
    let able: Vec<&str> =
        living().filter(|(_, modes, _)| modes.has(Mode::Compact)).map(|(node, ..)| node.as_str()).collect();
    let (severity, code, finding) = match (living().count(), able.len()) {
        (0, _) => return None,
        (_, 0) => (
            Severity::Critical,
            "no_compactor",
            "No living node compacts: files become ever more, and the log of a node that dies stays where it is.",
        ),
        (2.., 1) => (
            Severity::Warning,
            "no_standby",
            "One node alone can compact: when it dies nobody merges files, or adopts the log of a dead node.",
        ),
        _ => return None,
    };
    let finding = Finding {
        severity,
        code,
        finding: finding.into(),
        evidence: format!("{} living nodes, of which compact: {}", living().count(), list(&able)),
        query: "SELECT node_id, mode, state, heartbeat_age FROM system.nodes".into(),
        statement: Some("weir serve --node-id ANOTHER --mode compact".into()),
    };
    Some((able.first().copied().unwrap_or(WHOLE_CLUSTER).to_owned(), finding))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Of a node that left in order nothing is found.
pub(super) fn lost(node: &Node, condition: Condition, lives: &Lives) -> Option<Finding> {
    let (severity, finding) = match condition {
        Condition::Lost => {
            (Severity::Critical, "The process of this node is gone, and rows of it may not be in files yet.")
        }
        Condition::Stopped if !lives.has_left(node) => (
            Severity::Warning,
            "The process of this node is gone and has not said that it stopped; its rows are in files.",
        ),
        _ => return None,
    };
    let id = &node.id;
    Some(Finding {
        severity,
        code: "node_lost",
        finding: finding.into(),
        evidence: format!(
            "state {condition}, epoch {}, log {}",
            node.epoch,
            if node.sealed { "closed" } else { "open" }
        ),
        query: "SELECT node_id, state, sealed, last_heartbeat FROM system.nodes".into(),
        statement: Some(match condition {
            Condition::Stopped => {
                format!("weir serve --node-id {id}    # as it was started before; REMOVE NODE '{id}' if it stays away")
            }
            _ => format!("weir serve --node-id {id}    # as it was started before"),
        }),
    })
}

/// What has the compactor look more often, if somebody set that it seldom does, and nothing said at its start wins over it.
pub(super) fn awake(state: &State, compactor: &Node) -> Option<String> {
    const OFTEN: Duration = Duration::from_secs(1);
    if compactor.description.options.contains("\"compaction-check-interval\":") {
        return None;
    }
    let name: Arc<str> = "compaction_check_interval".into();
    let set = |node: Option<&NodeId>| state.settings.get(&(Arc::clone(&name), node.cloned()));
    let (value, of) = match (set(Some(&compactor.id)), set(None)) {
        (Some(value), _) => (value, format!(" FOR NODE '{}'", compactor.id)),
        (None, value) => (value?, String::new()),
    };
    let is_seldom = humantime::parse_duration(value).is_ok_and(|every| every > OFTEN);
    is_seldom.then(|| format!("ALTER SYSTEM SET {name} = '{}'{of}", humantime::format_duration(OFTEN)))
}

/// Merges what waits.
fn compact(database: &str, table: &Table) -> String {
    let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("COMPACT TABLE {}.public.{}", name(database), name(&table.schema.name))
}

fn waiting_files((database, table): (&str, &Table), awake: Option<&str>) -> Option<Finding> {
    let over = now_ns().saturating_sub(MERGED_WITHIN_NS);
    let is_late = |file: &FileRecord| file.level == 1 && file.window_start.saturating_add(file.window_width) < over;
    let waiting = table.files.values().filter(|file| is_late(file)).count();
    let name = &table.schema.name;
    (waiting > WAITING_FILES_MAX).then(|| Finding {
        severity: if waiting > WAITING_FILES_CRITICAL { Severity::Critical } else { Severity::Warning },
        code: "compaction_behind",
        finding: format!("Compaction of table {name} of database {database} is behind: queries read many small files."),
        evidence: format!(
            "{waiting} files of windows that are over wait to be merged; {WAITING_FILES_MAX} are usual at most"
        ),
        query: "SELECT event_time, event_type, event_status, event_duration, event_data FROM system.compaction_events \
                ORDER BY event_time DESC LIMIT 20"
            .into(),
        statement: Some(awake.map_or_else(|| compact(database, table), str::to_owned)),
    })
}

fn small_files(database: &str, table: &Table) -> Option<Finding> {
    let (files, bytes) = (table.files.len(), table.files.values().map(|file| file.size_bytes).sum::<u64>());
    let (mean, name) = (bytes / (files as u64).max(1), &table.schema.name);
    let unmerged = table.files.values().filter(|file| file.stamp_max != Stamp::SETTLED).count();
    (files > FILES_MANY && mean < FILE_BYTES_SMALL).then(|| Finding {
        severity: Severity::Info,
        code: "small_files",
        finding: format!("Table {name} of database {database} has many small files: its rows are spread over much time."),
        evidence: format!("{files} files of {mean} bytes on average, {unmerged} of them not merged yet"),
        // The table shows the files of the database in which it is asked.
        query: format!(
            "SELECT count(*), avg(size_bytes) FROM system.parquet_files WHERE table_name = '{}' -- in database {database}",
            name.replace('\'', "''")
        ),
        // What was merged stays one file for each window.
        statement: (2 * unmerged > files).then(|| compact(database, table)),
    })
}
