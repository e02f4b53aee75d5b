//! The line to the process of another node: called, asked for signs of life, called again.
//!
//! Whatever comes over it is a hint. It may be late, come twice, in another order or not at all, and from a process that
//! has lost its epoch: the follower checks each object, and when a sign of life was asked for is what it says.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Parts;
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::model::{Epoch, NodeId, Position};
use crate::wal::{Call, Ping, Told};

/// How often the other process is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_millis(100);

/// Pings that may wait for an answer.
const PINGS_OPEN_MAX: usize = 64;

/// Without a sign of life for so long the store is asked as often as without a line,
const QUIET_AFTER: Duration = Duration::from_millis(500);

/// and after so many pings during which nothing at all came the line is given up. Pings are counted, not seconds: a
/// process that slept has not listened either.
const UNHEARD_MAX: u32 = 50;

/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// The first pause between two calls is as long as one after so many attempts elsewhere.
const PAUSE_FROM: u32 = 2;

/// How processes of other nodes are reached. Implemented over the network by whoever starts this node.
pub trait Wire: Debug + Send + Sync {
    /// Calls the process that listens at `address`.
    fn call(&self, call: Call, address: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>>;
}

/// An open line. Dropping it hangs up.
pub struct Line {
    pub pings: mpsc::Sender<Ping>,
    /// Ends with the line, or with the error that broke it.
    pub told: BoxStream<'static, Result<Told, WireError>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The other process does not want us: a person must look at the secrets or addresses.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers, or no more.
    #[error("{0}")]
    Broken(String),
}

/// What came over the line.
#[derive(Debug)]
pub(super) enum Heard {
    Object(Bytes),
    /// The log of this epoch ended at `last` at some moment after `asked`.
    Alive {
        asked: Instant,
        epoch: Epoch,
        last: Position,
    },
    Skipped,
    /// The line broke.
    Lost,
}

pub(super) struct Link {
    wire: Option<Arc<dyn Wire>>,
    clock: Clock,
    node: NodeId,
    catalog: Arc<Catalog>,
    /// The process that is called, by the catalog's word.
    target: Option<(Arc<str>, Epoch)>,
    state: State,
    /// Calls since the last sign of life.
    calls: u32,
    told_of_trouble: Option<WireError>,
}

enum State {
    Down { until: Instant },
    Calling { call: BoxFuture<'static, Result<Line, WireError>>, until: Instant },
    Up(Box<Up>),
}

struct Up {
    line: Line,
    ping_due: Instant,
    pings: u64,
    /// When each open ping was sent.
    sent: BTreeMap<u64, Instant>,
    /// Pings since anything was heard.
    unheard: u32,
    alive: Option<Instant>,
}

impl Link {
    pub(super) fn new(node: &NodeId, parts: &Parts) -> Self {
        Self {
            wire: parts.wire.clone(),
            clock: parts.clock.clone(),
            node: node.clone(),
            catalog: Arc::clone(&parts.catalog),
            target: None,
            state: State::Down { until: Instant::now() },
            calls: 0,
            told_of_trouble: None,
        }
    }

    /// Hangs up when the process at the other end is not the one that the catalog knows.
    pub(super) fn point_at(&mut self, node: &catalog::Node) {
        let target = node.description.internode.clone().map(|address| (address, node.epoch));
        if target != self.target {
            self.target = target;
            self.calls = 0;
            self.state = State::Down { until: Instant::now() };
        }
    }

    /// Whether the process of this epoch has just given a sign of life.
    pub(super) fn is_moving(&self, epoch: Epoch) -> bool {
        let of_epoch = self.target.as_ref().is_some_and(|(_, newest)| *newest == epoch);
        let State::Up(up) = &self.state else { return false };
        of_epoch && up.alive.is_some_and(|at| at.elapsed() < QUIET_AFTER)
    }

    /// The next thing that comes; calls with `next` as the position to begin at. Dropping it loses nothing.
    pub(super) async fn hear(&mut self, next: Position) -> Heard {
        let (Some(wire), Some((address, epoch))) = (self.wire.clone(), self.target.clone()) else {
            return std::future::pending().await;
        };
        loop {
            match &mut self.state {
                State::Down { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.calls += 1;
                    let call = Call { cluster: self.catalog.cluster(), node: self.node.clone(), epoch, from: next };
                    let (call, until) = (wire.call(call, Arc::clone(&address)), Instant::now() + CALL_WITHIN);
                    self.state = State::Calling { call, until };
                }
                State::Calling { call, until } => {
                    let late = |_| Err(WireError::Broken(format!("no answer within {CALL_WITHIN:?}")));
                    match tokio::time::timeout_at(*until, call).await.unwrap_or_else(late) {
                        Ok(line) => self.state = State::Up(Box::new(Up::new(line))),
                        Err(error) => return self.lose(error),
                    }
                }
                State::Up(up) => match up.hear(epoch, &self.catalog).await {
                    Ok(heard) => {
                        if matches!(heard, Heard::Alive { .. }) {
                            self.thrives(&address);
                        }
                        return heard;
                    }
                    Err(error) => return self.lose(error),
                },
            }
        }
    }

    /// Gives the line up: what came over it is no object of this log.
    pub(super) fn lose(&mut self, error: WireError) -> Heard {
        let pause = self.clock.backoff(self.calls.saturating_add(PAUSE_FROM));
        self.state = State::Down { until: Instant::now() + pause };
        let (node, address) = (&self.node, self.target.as_ref().map(|(address, _)| &**address));
        // Once for each trouble, not for each call.
        if self.told_of_trouble.as_ref() != Some(&error) {
            match &error {
                WireError::Refused(reason) => {
                    tracing::warn!(%node, address, reason, "another node refuses to send its rows, they come from the store");
                }
                WireError::Broken(reason) => {
                    tracing::info!(%node, address, reason, "no line to another node, its rows come from the store");
                }
            }
            self.told_of_trouble = Some(error);
        }
        Heard::Lost
    }

    fn thrives(&mut self, address: &str) {
        if self.calls > 0 {
            tracing::info!(node = %self.node, address, "another node sends its rows as it stores them");
            (self.calls, self.told_of_trouble) = (0, None);
        }
    }
}

impl Up {
    fn new(line: Line) -> Self {
        let now = Instant::now();
        Self { line, ping_due: now, pings: 0, sent: BTreeMap::new(), unheard: 0, alive: None }
    }

    async fn hear(&mut self, epoch: Epoch, catalog: &Catalog) -> Result<Heard, WireError> {
        loop {
            tokio::select! {
                biased;
                // Cancel-safe: a timer, and then the next item of a stream.
                () = tokio::time::sleep_until(self.ping_due) => self.ping(catalog.state().version)?,
                told = self.line.told.next() => {
                    let hung_up = || WireError::Broken("the other process hung up".into());
                    let told = told.ok_or_else(hung_up)??;
                    self.unheard = 0;
                    match told {
                        Told::Object(bytes) => return Ok(Heard::Object(bytes)),
                        Told::Skipped => return Ok(Heard::Skipped),
                        Told::Alive { ping, last, version } => {
                            catalog.hear_of(version);
                            let later = self.sent.split_off(&ping.saturating_add(1));
                            let asked = std::mem::replace(&mut self.sent, later).remove(&ping);
                            if let Some(asked) = asked {
                                self.alive = Some(Instant::now());
                                return Ok(Heard::Alive { asked, epoch, last });
                            }
                        }
                    }
                }
            }
        }
    }

    fn ping(&mut self, version: u64) -> Result<(), WireError> {
        let now = Instant::now();
        if self.unheard >= UNHEARD_MAX {
            return Err(WireError::Broken(format!("no sign of life for {:?}", PING_EVERY * UNHEARD_MAX)));
        }
        self.unheard += 1;
        self.ping_due = now + PING_EVERY;
        // A full line is a slow one: then the next ping will do.
        if self.sent.len() < PINGS_OPEN_MAX && self.line.pings.try_send(Ping { number: self.pings, version }).is_ok() {
            self.sent.insert(self.pings, now);
            self.pings += 1;
        }
        Ok(())
    }
}

impl Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}
