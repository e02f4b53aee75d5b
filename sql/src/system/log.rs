//! The newest queries of this node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use storage::catalog::{Access, TokenId};
use storage::knob::Knob;
use storage::model::DatabaseId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How much of a query's text is kept.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// How much of the name of a client is kept.
const NAME_BYTES_MAX: usize = 64;
/// How much of what went wrong is kept.
const ERROR_BYTES_MAX: usize = 2 << 10;

/// The newest queries, so many of them; cleared at restart.
#[derive(Debug)]
pub(crate) struct QueryLog {
    entries_max: Knob<u64>,
    entries: Mutex<VecDeque<Arc<Logged>>>,
}

#[derive(Debug)]
struct Logged {
    row: Mutex<Row>,
    nature: Mutex<Nature>,
    /// Ends the query.
    cancelled: CancellationToken,
}

/// A query that comes.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) text: &'a str,
    pub(crate) door: &'static str,
    pub(crate) application: Option<&'a str>,
    /// As it was named.
    pub(crate) database: &'a str,
    pub(crate) by: Option<TokenId>,
}

/// What is known of one query.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) phase: &'static str,
    pub(super) issued_ns: i64,
    pub(super) query_type: &'static str,
    pub(super) door: &'static str,
    /// What the client calls itself.
    pub(super) application: Option<Arc<str>>,
    pub(super) text: Arc<str>,
    pub(super) database_name: Arc<str>,
    pub(super) by: Option<TokenId>,
    /// The name of its token.
    pub(super) user: Option<Arc<str>>,
    /// Whose tables it asks for; `None` until that is known, and for `_internal`.
    pub(super) database: Option<DatabaseId>,
    pub(super) partitions: Option<usize>,
    pub(super) parquet_files: Option<usize>,
    pub(super) plan: Option<Duration>,
    pub(super) permit: Option<Duration>,
    pub(super) execute: Option<Duration>,
    pub(super) end2end: Option<Duration>,
    pub(super) compute: Option<Duration>,
    pub(super) memory_max: Option<usize>,
    /// How many it has answered so far.
    pub(super) rows: Option<usize>,
    pub(super) error: Option<Arc<str>>,
    /// Whether it failed because the memory of all queries was used up.
    pub(super) lacked_memory: bool,
    pub(super) end: Option<End>,
}

/// What was asked, as far as it can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Query,
    /// A command that others carry out: who asked may be made to wait no longer.
    Order,
    /// A command that goes on to its end.
    Command,
}

/// What came of the wish that a query ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It ends.
    Query,
    /// It is a command that nobody waits for any more; what it has ordered goes on.
    Wait,
    /// It is a command that goes on to its end.
    GoesOn,
    /// None runs that the asker may cancel.
    Unknown,
}

impl Cancelled {
    const ALL: [Self; 4] = [Self::Query, Self::Wait, Self::GoesOn, Self::Unknown];

    /// How nodes tell each other.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Wait => "wait",
            Self::GoesOn => "goes_on",
            Self::Unknown => "unknown",
        }
    }

    #[must_use]
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Fail,
    Cancel,
}

/// Why a query failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The memory of all queries was used up.
    Memory,
    Other,
}

/// The durations of a query that ended, as far as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished {
    pub(crate) end: End,
    pub(crate) plan: Option<Duration>,
    pub(crate) permit: Option<Duration>,
    pub(crate) execute: Option<Duration>,
    pub(crate) end2end: Duration,
    pub(crate) compute: Option<Duration>,
    pub(crate) memory_max: Option<usize>,
    pub(crate) partitions: Option<usize>,
    pub(crate) parquet_files: Option<usize>,
}

impl End {
    fn phase(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
        }
    }
}

impl QueryLog {
    pub(crate) fn new(entries_max: Knob<u64>) -> Self {
        Self { entries_max, entries: Mutex::new(VecDeque::new()) }
    }

    /// Logs the arrival of a query. The oldest entry goes when there are too many.
    pub(crate) fn open(&self, arrival: Arrival<'_>) -> Entry {
        let Arrival { text, door, application, database, by } = arrival;
        let short = |name: &str| name[..name.floor_char_boundary(NAME_BYTES_MAX)].into();
        let row = Row {
            id: Uuid::new_v4(),
            phase: "received",
            issued_ns: now_ns(),
            query_type: "sql",
            door,
            application: application.map(short),
            database_name: short(database),
            by,
            user: None,
            text: text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into(),
            database: None,
            partitions: None,
            parquet_files: None,
            plan: None,
            permit: None,
            execute: None,
            end2end: None,
            compute: None,
            memory_max: None,
            rows: None,
            error: None,
            lacked_memory: false,
            end: None,
        };
        let cancelled = CancellationToken::new();
        let row =
            Arc::new(Logged { row: Mutex::new(row), nature: Mutex::new(Nature::Query), cancelled: cancelled.clone() });
        let mut entries = self.entries.lock();
        entries.push_back(Arc::clone(&row));
        let entries_max = usize::try_from(self.entries_max.get()).unwrap_or(usize::MAX);
        while entries.len() > entries_max {
            entries.pop_front();
        }
        let now = Instant::now();
        Entry { logged: row, cancelled, opened: now, entered: now }
    }

    /// The entries, oldest first.
    pub(super) fn rows(&self) -> Vec<Row> {
        let entries: Vec<_> = self.entries.lock().iter().cloned().collect();
        entries.iter().map(|logged| logged.row.lock().clone()).collect()
    }

    /// Cancels a query that runs, for an admin or whoever asked it. What is forgotten while it runs cannot be cancelled so.
    pub(super) fn cancel(&self, id: Uuid, access: &Access) -> Cancelled {
        let entries = self.entries.lock();
        let found = entries.iter().find(|logged| {
            let row = logged.row.lock();
            let may = access.is_admin() || access.token.is_some() && access.token == row.by;
            row.id == id && row.end.is_none() && may
        });
        let Some(logged) = found else { return Cancelled::Unknown };
        // Held until it is cancelled: whoever makes it a command meanwhile is told so.
        let nature = logged.nature.lock();
        let outcome = match *nature {
            Nature::Query => Cancelled::Query,
            Nature::Order => Cancelled::Wait,
            Nature::Command => return Cancelled::GoesOn,
        };
        logged.cancelled.cancel();
        outcome
    }
}

#[expect(clippy::disallowed_methods, reason = "it is compared with now() in queries, which no clock of ours answers")]
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The entry of one query under way.
#[derive(Debug)]
pub(crate) struct Entry {
    logged: Arc<Logged>,
    /// Cancelled when somebody wants it to end.
    pub(crate) cancelled: CancellationToken,
    opened: Instant,
    /// When the current phase began.
    entered: Instant,
}

impl Entry {
    /// What was asked is known now. Whether it was cancelled before, as a query.
    pub(crate) fn becomes(&self, nature: Nature) -> bool {
        let mut known = self.logged.nature.lock();
        *known = nature;
        self.cancelled.is_cancelled()
    }

    pub(crate) fn resolved(&self, database: Option<DatabaseId>, user: Option<Arc<str>>) {
        let mut row = self.logged.row.lock();
        (row.database, row.user) = (database, user);
    }

    pub(crate) fn answered(&self, rows: usize) {
        self.logged.row.lock().rows = Some(rows);
    }

    pub(crate) fn failed(&self, error: &str, cause: Cause) {
        let mut row = self.logged.row.lock();
        row.error = Some(error[..error.floor_char_boundary(ERROR_BYTES_MAX)].into());
        row.lacked_memory = cause == Cause::Memory;
    }

    pub(crate) fn planned(&mut self, partitions: usize, parquet_files: usize) {
        let took = self.enter();
        let mut row = self.logged.row.lock();
        (row.phase, row.plan) = ("planned", Some(took));
        (row.partitions, row.parquet_files) = (Some(partitions), Some(parquet_files));
    }

    pub(crate) fn permitted(&mut self) {
        let took = self.enter();
        let mut row = self.logged.row.lock();
        (row.phase, row.permit) = ("permit", Some(took));
    }

    /// What was known when the query ended; the first end counts.
    pub(crate) fn close(&mut self, end: End, compute: Option<Duration>, memory_max: Option<usize>) -> Option<Finished> {
        let took = self.enter();
        let mut row = self.logged.row.lock();
        if row.end.is_some() {
            return None;
        }
        row.execute = row.permit.map(|_| took);
        let end2end = self.opened.elapsed();
        (row.phase, row.end, row.end2end) = (end.phase(), Some(end), Some(end2end));
        (row.compute, row.memory_max) = (compute, memory_max);
        Some(Finished {
            end,
            plan: row.plan,
            permit: row.permit,
            execute: row.execute,
            end2end,
            compute,
            memory_max,
            partitions: row.partitions,
            parquet_files: row.parquet_files,
        })
    }

    fn enter(&mut self) -> Duration {
        let now = Instant::now();
        let took = now.duration_since(self.entered);
        self.entered = now;
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_end_orders_are_waited_for_no_more_and_other_commands_go_on() {
        let log = QueryLog::new(10.into());
        let arrival = Arrival { text: "", door: "http", application: None, database: "plant", by: Some(TokenId(1)) };
        let mine = Access { token: Some(TokenId(1)), permissions: Vec::new() };
        let others = Access { token: Some(TokenId(2)), permissions: Vec::new() };
        for (nature, outcome) in
            [(Nature::Query, Cancelled::Query), (Nature::Order, Cancelled::Wait), (Nature::Command, Cancelled::GoesOn)]
        {
            let mut entry = log.open(Arrival { ..arrival });
            assert!(!entry.becomes(nature));
            let id = log.rows().last().expect("it was opened").id;
            assert_eq!(log.cancel(id, &others), Cancelled::Unknown, "{nature:?}");
            assert!(!entry.cancelled.is_cancelled());
            assert_eq!(log.cancel(id, &mine), outcome);
            assert_eq!(entry.cancelled.is_cancelled(), nature != Nature::Command, "{nature:?}");
            entry.close(End::Success, None, None);
            assert_eq!(log.cancel(id, &mine), Cancelled::Unknown, "it has ended");
            assert_eq!(Cancelled::by_word(outcome.word()), Some(outcome));
        }
    }
}
