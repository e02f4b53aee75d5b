//! What each mode of a node starts: one file for each mode, and a node starts what its modes say.
//!
//! # Promises
//! - The rooms below know no modes: a part that is not started is absent from their config, and nothing of it runs.
//! - Any node, whatever its modes, follows the catalog, shows that it lives, sweeps, and answers for databases, tables,
//!   tokens, nodes, health and metrics. The rest of the routes it hands on to nodes that serve them; see `api`.
//!
//! # Not here
//! - Which nodes have which mode: the catalog keeps what each says of itself when it starts.
//! - Mode `process`: there are no plugins yet, and the command line refuses it.

mod compact;
mod ingest;
mod knobs;
mod query;

use storage::model::Mode;

use crate::config::NodeConfig;
pub(crate) use knobs::Knobs;
pub(crate) use query::{engine, facts};

/// The parts of the rooms below that a node has by its modes.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) ingest: Option<storage::ingest::Config>,
    pub(crate) compaction: Option<storage::compaction::Config>,
    pub(crate) replica: Option<storage::replica::Config>,
}

impl Parts {
    #[must_use]
    pub(crate) fn of(config: &NodeConfig, knobs: &Knobs) -> Self {
        let with = |mode| config.modes.has(mode);
        Self {
            ingest: with(Mode::Ingest).then(|| ingest::config(config, knobs)),
            compaction: with(Mode::Compact).then(|| compact::config(config, knobs)),
            replica: with(Mode::Query).then(|| query::config(config, knobs)),
        }
    }
}
