//! One log of another node, followed from where files end.

use std::sync::Arc;

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{AHEAD_MAX, BEHIND_EVERY, IDLE_AFTER, IDLE_TIMES, OBJECTS_PER_TURN, Parts, Peer, Replica, Status, Trouble};
use crate::apply::Apply;
use crate::bucket;
use crate::buffer::Buffer;
use crate::catalog::{self, Catalog, State};
use crate::model::{ColumnKind, Epoch, ErrorKind, FieldType, Position, Rows, TableSchema, Values};
use crate::wal::{Committed, Found, Reader};

/// Belongs to the task that reads; what others may know is in its peer.
pub(super) struct Follower {
    peer: Arc<Peer>,
    apply: Apply,
    reader: Reader,
    /// Where the next object is, or will be.
    epoch: Epoch,
    next: Position,
    /// Objects to ask for at once.
    ahead: u64,
    /// The first time the next object was found absent, until the catalog has confirmed that it was not there yet.
    absent: Option<Absent>,
    moved_at: Instant,
    /// When the log is to be read again.
    pub(super) due: Instant,
    /// When it is to be checked that nothing stands behind the end.
    behind_due: Instant,
}

struct Absent {
    asked: Instant,
    answered: Instant,
}

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    AtEnd,
    /// There may be more at once.
    HasMore,
}

/// Whether this node's catalog version knows all that some rows name.
enum Knows {
    All,
    /// A newer version will, unless the rows are damaged.
    NotYet(String),
}

impl Follower {
    pub(super) fn new(node: &catalog::Node, parts: &Parts, current_at: Option<Instant>) -> Self {
        let now = parts.clock.instant();
        let buffer = Arc::new(Buffer::new(node.persisted, node.persisted_stamp));
        let status = Mutex::new(Status { current_at, trouble: None });
        let (bucket, tasks, cluster) = (parts.bucket.clone(), parts.tasks.clone(), parts.catalog.cluster());
        Self {
            apply: Apply::new(Arc::clone(&buffer)),
            peer: Arc::new(Peer { node: node.id.clone(), buffer, status }),
            reader: Reader { bucket, tasks, cluster, node: node.id.clone() },
            epoch: node.persisted_epoch,
            next: node.persisted.next(),
            ahead: 1,
            absent: None,
            moved_at: now,
            due: now,
            behind_due: now,
        }
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }

    /// Whether it is at the end of its log for the first time, and only the catalog can tell that it is.
    pub(super) fn waits_for_catalog(&self) -> bool {
        self.absent.is_some() && self.peer.status.lock().current_at.is_none()
    }

    /// Takes over what the catalog says of the node: rows that are in files go, and with them what was not read yet.
    pub(super) fn settle(&mut self, catalog: &Catalog) {
        // In this order: the state holds every entry of that moment.
        let followed_at = catalog.followed_at();
        let state = catalog.state();
        let Some(node) = state.nodes.get(&self.peer.node) else { return };
        let first = node.persisted.next();
        if first > self.next || (first == self.next && node.persisted_epoch > self.epoch) {
            // An epoch that was closed in order has no fence: only the catalog says where the next one begins.
            self.move_to(self.epoch.max(node.persisted_epoch), first, followed_at);
        }
        self.peer.buffer.pass(node.persisted);
        self.peer.buffer.cut_at(node.persisted);
        self.peer.buffer.drop_through(node.persisted);
        if let Some(absent) = self.absent.take_if(|absent| absent.answered <= followed_at) {
            self.peer.status.lock().current_at = Some(absent.asked);
        }
    }

    fn move_to(&mut self, epoch: Epoch, next: Position, now: Instant) {
        (self.epoch, self.next, self.absent) = (epoch, next, None);
        self.moved_at = self.moved_at.max(now);
        self.trouble(None);
    }

    /// Reads on for a while, and says in the status how that went.
    pub(super) async fn turn(&mut self, replica: &Replica, parts: &Parts) {
        let result = self.read_on(replica, parts).await;
        let now = parts.clock.instant();
        let times = if now.duration_since(self.moved_at) >= IDLE_AFTER { IDLE_TIMES } else { 1 };
        // A little early, so that the round after so many intervals is not missed by a hair.
        self.due = now + replica.config.interval * times - replica.config.interval / 4;
        match result {
            Ok(Turn::HasMore) => self.due = now,
            Ok(Turn::AtEnd) => {
                self.peer.status.lock().trouble.take_if(|t| matches!(t, Trouble::Waits(_))).map_or((), drop)
            }
            Err(trouble) => self.trouble(Some(trouble)),
        }
    }

    /// Tells of a trouble when it begins, not each time it is found again.
    fn trouble(&self, now: Option<Trouble>) {
        let mut status = self.peer.status.lock();
        let was = std::mem::replace(&mut status.trouble, now);
        let (node, position) = (&self.peer.node, self.next);
        match (&was, &status.trouble) {
            (None | Some(Trouble::Waits(_)), Some(Trouble::Damaged(reason))) => {
                tracing::error!(%node, %reason, "the log of another node cannot be read on; queries fail until its rows are in files");
            }
            (None, Some(Trouble::Waits(reason))) => {
                tracing::warn!(%node, %reason, "the log of another node is not read on for now");
            }
            (Some(_), None) => tracing::info!(%node, %position, "the log of another node is read on"),
            _ => {}
        }
    }

    async fn read_on(&mut self, replica: &Replica, parts: &Parts) -> Result<Turn, Trouble> {
        let last = self.next.0 + OBJECTS_PER_TURN;
        while self.next.0 < last {
            let asked = parts.clock.instant();
            let (reader, epoch) = (self.reader.clone(), self.epoch);
            let positions = (self.next.0..self.next.0 + self.ahead).map(Position);
            let ahead = usize::try_from(self.ahead).expect("a few");
            let mut reads = stream::iter(positions).map(|position| reader.find(epoch, position)).buffered(ahead);
            self.ahead = (2 * self.ahead).min(AHEAD_MAX);
            while let Some(found) = reads.next().await {
                match found? {
                    Found::Rows(committed) => self.take(committed, replica, parts).await?,
                    Found::Fence => {
                        // What was asked for ahead was asked for in the wrong epoch.
                        self.move_to(Epoch(epoch.0 + 1), self.next.next(), parts.clock.instant());
                        break;
                    }
                    Found::Nothing => {
                        self.ahead = 1;
                        let answered = parts.clock.instant();
                        self.absent.get_or_insert(Absent { asked, answered });
                        return self.look_behind(parts).await;
                    }
                }
            }
        }
        Ok(Turn::HasMore)
    }

    async fn take(&mut self, committed: Committed, replica: &Replica, parts: &Parts) -> Result<(), Trouble> {
        assert_eq!(committed.position, self.next, "the log of node {} was read out of order", self.peer.node);
        let held = replica.bytes();
        let bytes: usize = committed.tables.iter().map(Rows::bytes).sum();
        let bytes_max = replica.config.bytes_max;
        // One object that is larger than the whole limit may come when it is alone, or it never could.
        if held > 0 && held + bytes > bytes_max {
            return Err(Trouble::Waits(format!("rows of other nodes take {held} bytes, the limit is {bytes_max}")));
        }
        self.expect_known(&committed, &parts.catalog).await?;
        replica.stamps.see(committed.stamp);
        self.apply.apply(committed);
        self.move_to(self.epoch, self.next.next(), parts.clock.instant());
        Ok(())
    }

    /// Waits until the catalog version of this node knows every table and column of the rows. Their writer knew them, so
    /// they are in the log; rows of a table that was dropped for good since are nobody's.
    async fn expect_known(&self, committed: &Committed, catalog: &Catalog) -> Result<(), Trouble> {
        let knows = |state: &State| -> Result<Knows, String> {
            for rows in &committed.tables {
                match state.table(rows.table) {
                    Some(table) => {
                        if let Knows::NotYet(reason) = knows(rows, &table.schema)? {
                            return Ok(Knows::NotYet(reason));
                        }
                    }
                    None if rows.table.0 >= state.next_table => {
                        return Ok(Knows::NotYet(format!("table {}", rows.table)));
                    }
                    None => {}
                }
            }
            Ok(Knows::All)
        };
        let key = self.reader.key(committed.epoch, committed.position);
        let damaged = |reason: String| Trouble::Damaged(format!("object {key}: {reason}"));
        if let Knows::All = knows(&catalog.state()).map_err(damaged)? {
            return Ok(());
        }
        match knows(&*catalog.refresh().await?).map_err(damaged)? {
            Knows::All => Ok(()),
            Knows::NotYet(what) => Err(damaged(format!("names {what}, which the catalog does not know"))),
        }
    }

    /// Looks now and then whether an object is missing: then later ones stand behind it.
    async fn look_behind(&mut self, parts: &Parts) -> Result<Turn, Trouble> {
        let now = parts.clock.instant();
        if now < self.behind_due {
            return Ok(Turn::AtEnd);
        }
        if self.reader.goes_on_behind(self.epoch, self.next).await? {
            // It may have come since it was asked for, or may be deleted and in files.
            if !matches!(self.reader.find(self.epoch, self.next).await?, Found::Nothing) {
                return Ok(Turn::HasMore);
            }
            parts.catalog.refresh().await?;
            let before = (self.epoch, self.next);
            self.settle(&parts.catalog);
            if (self.epoch, self.next) != before {
                return Ok(Turn::HasMore);
            }
            let key = self.reader.key(self.epoch, self.next);
            return Err(Trouble::Damaged(format!("object {key} is missing, and later ones are there")));
        }
        self.behind_due = now + BEHIND_EVERY;
        Ok(Turn::AtEnd)
    }
}

fn knows(rows: &Rows, schema: &TableSchema) -> Result<Knows, String> {
    let tags = rows.series.tags.iter().map(|id| (*id, ColumnKind::Tag));
    let fields = rows.fields.iter().map(|field| (field.column, ColumnKind::Field(type_of(&field.values))));
    for (id, kind) in tags.chain(fields) {
        match schema.columns.get(usize::from(id.0)) {
            None => return Ok(Knows::NotYet(format!("column {id} of table {}", schema.table))),
            Some(column) if column.kind != kind => {
                let (is, table) = (column.kind.full_name(), schema.table);
                return Err(format!("column {id} of table {table} is {}, the catalog says {is}", kind.full_name()));
            }
            Some(_) => {}
        }
    }
    Ok(Knows::All)
}

fn type_of(values: &Values) -> FieldType {
    match values {
        Values::Float(_) => FieldType::Float,
        Values::Integer(_) => FieldType::Integer,
        Values::UInteger(_) => FieldType::UInteger,
        Values::Boolean(_) => FieldType::Boolean,
        Values::String(_) => FieldType::String,
    }
}

impl From<bucket::Error> for Trouble {
    fn from(error: bucket::Error) -> Self {
        Self::of(error.kind(), error.to_string())
    }
}

impl From<catalog::Error> for Trouble {
    fn from(error: catalog::Error) -> Self {
        // A catalog that is damaged stops the node; here it only means that nothing can be read for now.
        Self::Waits(error.to_string())
    }
}

impl Trouble {
    fn of(kind: ErrorKind, reason: String) -> Self {
        match kind {
            ErrorKind::Corrupt => Self::Damaged(reason),
            _ => Self::Waits(reason),
        }
    }
}
