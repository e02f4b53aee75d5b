//! What is true of no single node: who can compact, who is gone, and how the files of each table are.

use storage::catalog::{Node, State, Table};
use storage::cluster::Condition;
use storage::model::{FileRecord, Mode, Modes, NodeId};

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
    let lives: Vec<_> =
        conditions.iter().map(|(node, condition)| (&node.id, node.description.modes, *condition)).collect();
    let mut found: Vec<About> = compactors(&lives).into_iter().collect();
    found.extend(conditions.iter().filter_map(|(node, condition)| lost(node, *condition)));
    found.extend(tables(&world.state).flat_map(|(database, table)| {
        let holder = world.state.compactor_node().map_or(WHOLE_CLUSTER, |node| node.id.as_str()).to_owned();
        let findings = [waiting_files(database, table), small_files(database, table)];
        findings.into_iter().flatten().map(move |finding| (holder.clone(), finding))
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
        statement: "weir serve --node-id ANOTHER --mode compact".into(),
    };
    Some((able.first().copied().unwrap_or(WHOLE_CLUSTER).to_owned(), finding))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn lost(node: &Node, condition: Condition) -> Option<About> {
    let finding = || Finding {
        severity: Severity::Critical,
        code: "node_lost",
        finding: "The process of this node is gone, and rows of it may not be in files yet.".into(),
        evidence: format!("state lost, epoch {}", node.epoch),
        query: "SELECT node_id, state, sealed, last_heartbeat FROM system.nodes".into(),
        statement: format!("weir serve --node-id {}    # as it was started before", node.id),
    };
    (condition == Condition::Lost).then(|| (node.id.to_string(), finding()))
}

fn waiting_files(database: &str, table: &Table) -> Option<Finding> {
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
        statement: "ALTER SYSTEM SET compaction_check_interval = '1s'".into(),
    })
}

fn small_files(database: &str, table: &Table) -> Option<Finding> {
    let (files, bytes) = (table.files.len(), table.files.values().map(|file| file.size_bytes).sum::<u64>());
    let (mean, name) = (bytes / (files as u64).max(1), &table.schema.name);
    (files > FILES_MANY && mean < FILE_BYTES_SMALL).then(|| Finding {
        severity: Severity::Info,
        code: "small_files",
        finding: format!("Table {name} of database {database} has many small files: its rows are spread over much time."),
        evidence: format!("{files} files of {mean} bytes on average"),
        // The table shows the files of the database in which it is asked.
        query: format!(
            "SELECT count(*), avg(size_bytes) FROM system.parquet_files WHERE table_name = '{}' -- in database {database}",
            name.replace('\'', "''")
        ),
        statement: "weir serve --gen1-duration 10m    # the widest, for a new cluster".into(),
    })
}
