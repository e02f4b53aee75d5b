//! What the rooms of a node tell of themselves, for whoever shows it.

use std::sync::Arc;
use std::time::Duration;

use crate::bucket::Usage;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::compaction::Events;
use crate::ingest::{Ingest, RecentLines};
use crate::model::{Epoch, NodeId, Position, Stamp};
use crate::replica::Followed;
use crate::tasks::Jobs;
use crate::view::Views;

/// A handle. That of no node tells nothing.
#[derive(Debug, Clone, Default)]
pub struct Insight {
    /// What compaction did.
    pub events: Arc<Events>,
    /// What was asked of the store.
    pub store: Arc<Usage>,
    /// What runs now.
    pub jobs: Jobs,
    pub(super) rooms: Option<Rooms>,
}

#[derive(Debug, Clone)]
pub(super) struct Rooms {
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Clock,
    pub(super) node: NodeId,
    pub(super) ingest: Option<Ingest>,
    pub(super) views: Option<Arc<Views>>,
}

/// How far the log of this node is, and what of it waits for files.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStanding {
    pub epoch: Epoch,
    /// The number of the next object.
    pub next: Position,
    /// Everything up to here is in files.
    pub persisted: Position,
    /// The same as a stamp; none while nothing was.
    pub persisted_stamp: Option<Stamp>,
    pub rows: u64,
    /// Of rows that wait, and of those that are being written.
    pub bytes: usize,
    /// Of rows that were put in order for queries beside them.
    pub sorted_bytes: usize,
    /// When the oldest row came that is in no file, in microseconds since the Unix epoch, and how long ago that is.
    pub oldest: Option<(u64, Duration)>,
    /// Half of all objects, and all but one in a hundred, were stored within so many seconds.
    pub flush_seconds: (Option<f64>, Option<f64>),
}

/// What this node knows of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogStanding {
    pub version: u64,
    /// Since it was last read to its end.
    pub age: Duration,
}

impl Insight {
    /// `None` on a node that takes no writes.
    #[must_use]
    pub fn log(&self) -> Option<LogStanding> {
        let Rooms { catalog, clock, node, ingest, views: _ } = self.rooms.as_ref()?;
        let ingest = ingest.as_ref()?;
        // In this order: rows that are dropped meanwhile are in files by the state that is read then.
        let census = ingest.census();
        let record = catalog.state().nodes.get(node).cloned()?;
        let ago = |micros: u64| Duration::from_micros(clock.now_micros().saturating_sub(micros));
        Some(LogStanding {
            epoch: record.epoch,
            next: census.applied.next(),
            persisted: record.persisted,
            persisted_stamp: Some(record.persisted_stamp).filter(|stamp| *stamp != Stamp::SETTLED),
            rows: census.rows,
            bytes: census.bytes.open + census.bytes.frozen,
            sorted_bytes: census.bytes.sorted,
            oldest: census.oldest.map(|stamp| (stamp.micros(), ago(stamp.micros()))),
            flush_seconds: (ingest.flush_seconds(0.5), ingest.flush_seconds(0.99)),
        })
    }

    /// `None` on a node that takes no writes.
    #[must_use]
    pub fn recent_lines(&self) -> Option<RecentLines> {
        Some(self.rooms.as_ref()?.ingest.as_ref()?.recent_lines())
    }

    /// The other nodes whose logs this one follows.
    #[must_use]
    pub fn followed(&self) -> Vec<Followed> {
        self.rooms.as_ref().and_then(|rooms| rooms.views.as_ref()).map(|views| views.followed()).unwrap_or_default()
    }

    /// How far the node that is followed worst is behind; `None` when there is none, or that is not known.
    #[must_use]
    pub fn replica_lag(&self) -> Option<Duration> {
        let lags = self.rooms.as_ref()?.views.as_ref()?.lags();
        lags.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    #[must_use]
    pub fn catalog(&self) -> Option<CatalogStanding> {
        let catalog = &self.rooms.as_ref()?.catalog;
        // In this order: the state holds every entry of that moment.
        let age = catalog.followed_at().elapsed();
        Some(CatalogStanding { version: catalog.state().version, age })
    }
}
