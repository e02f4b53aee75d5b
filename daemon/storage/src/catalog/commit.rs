//! The catalog as other rooms hold it: the newest state, and the one way to change it.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};
use tokio::time::Instant;

use super::log::{Extended, Log, Proposed, Turn};
use super::{Change, Error, Limits, State, resume};
use crate::bucket::Bucket;
use crate::clock::Clock;
use crate::model::FileId;
use crate::tasks::Tasks;

/// The shared log of changes, followed and extended by this node.
#[derive(Debug)]
pub struct Catalog {
    pub(super) log: Arc<Log>,
    limits: Limits,
    turn: Arc<Mutex<Turn>>,
    pub(super) tasks: Tasks,
    /// The newest version that another node said it knows. It may be wrong.
    heard: watch::Sender<u64>,
}

impl Catalog {
    /// Reads the log to its end; begins a new one when there is nothing of this cluster in the store.
    pub async fn open(bucket: Bucket, clock: Clock, tasks: Tasks, limits: Limits) -> Result<Self, Error> {
        let start = resume::start(&bucket, &clock).await?;
        let log = Arc::new(Log::new((bucket, clock), start));
        let catalog = Self { log, limits, turn: Arc::default(), tasks, heard: watch::Sender::new(0) };
        catalog.refresh().await?;
        Ok(catalog)
    }

    /// The newest state this node knows.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.log.state()
    }

    /// `state` holds every entry that was in the log at this moment.
    #[must_use]
    pub fn followed_at(&self) -> Instant {
        *self.log.followed_at.lock()
    }

    /// Sees every new state; states may be skipped.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.log.state.subscribe()
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The cluster's own id.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.log.cluster
    }

    /// Milliseconds since the Unix epoch by this node's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.log.clock.now_ms()
    }

    /// 64 bytes of chance, for token secrets.
    #[must_use]
    pub fn random_bytes(&self) -> [u8; 64] {
        self.log.clock.random_bytes()
    }

    /// The id of a file that is about to be written: above the floor, whatever this node's clock says.
    #[must_use]
    pub fn new_file_id(&self) -> FileId {
        FileId(self.log.clock.ulid_above(self.state().file_floor.0))
    }

    /// Follows the log to its end. Many who ask at the same time are served by one look.
    pub async fn refresh(&self) -> Result<Arc<State>, Error> {
        let asked = self.log.clock.instant();
        let mut turn = self.turn.lock().await;
        // A look that began in the same instant may have begun before.
        if self.followed_at() > asked {
            return Ok(self.state());
        }
        let followed = self.log.follow(&mut turn).await;
        // Whoever said more was wrong, or says it again.
        let known = self.state().version;
        self.heard.send_if_modified(|heard| {
            *heard = known.min(*heard);
            false
        });
        followed
    }

    /// Returns once this node knows an entry that another one has made. The store is not asked when it does.
    pub async fn reach(&self, version: u64) -> Result<(), Error> {
        if self.state().version >= version {
            return Ok(());
        }
        match self.refresh().await?.version {
            known if known >= version => Ok(()),
            known => Err(Error::Unavailable(format!("the catalog ends with entry {known}, before {version}"))),
        }
    }

    /// Another node says that it knows this version. It is a hint to look.
    pub fn hear_of(&self, version: u64) {
        self.heard.send_if_modified(|heard| {
            let is_news = version > *heard;
            *heard = version.max(*heard);
            is_news
        });
    }

    /// Comes when somebody knows more than this node. Whoever waits for it should `refresh`, which ends the hint.
    pub async fn news(&self) {
        // The sender lives as long as this.
        let _ = self.heard.subscribe().wait_for(|heard| *heard > self.state().version).await;
    }

    /// Makes the changes that `decide` finds right for the newest state. When another node was first, `decide` is asked
    /// again with the state that resulted. An empty list of changes makes no entry.
    pub async fn commit<T>(
        &self,
        mut decide: impl FnMut(&State) -> Result<(Vec<Change>, T), Error>,
    ) -> Result<T, Error> {
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        let mut followed = false;
        loop {
            let state = self.state();
            let decided = decide(&state).and_then(|(changes, value)| {
                let proposed = (!changes.is_empty()).then(|| self.log.propose(&state, &changes)).transpose()?;
                Ok((proposed, value))
            });
            let (proposed, value) = match decided {
                Ok((Some(proposed), value)) => (proposed, value),
                Ok((None, value)) => return Ok(value),
                // A refusal counts only if it holds at the end of the log.
                Err(refusal) if followed => return Err(refusal),
                Err(_) => {
                    self.log.follow(&mut turn).await?;
                    followed = true;
                    continue;
                }
            };
            let extended;
            (turn, extended) = self.extend(turn, proposed).await?;
            if extended == Extended::Ours {
                return Ok(value);
            }
            followed = true;
        }
    }

    /// Extends the log in a task of its own, which holds the turn until the number is settled. Whoever asked may stop
    /// waiting at any time (a client that went away, a deadline): a future dropped between the create and the state
    /// would leave an entry this node does not know, and hand on the turn while a request for that number is still on
    /// its way. The task is one more in the one order of tasks a simulation replays; it reads no clock and no chance
    /// that the caller would not have read.
    async fn extend(
        &self,
        mut turn: OwnedMutexGuard<Turn>,
        proposed: Proposed,
    ) -> Result<(OwnedMutexGuard<Turn>, Extended), Error> {
        let number = proposed.frame.number;
        let (answer, answered) = oneshot::channel();
        let log = Arc::clone(&self.log);
        self.tasks.start("catalog entry", async move {
            let extended = log.extend(&mut turn, proposed).await;
            // Whoever asked may be gone; then the turn ends here.
            let _ = answer.send(extended.map(|extended| (turn, extended)));
        });
        let ended = |_| Error::Unavailable(format!("the node ended before catalog entry {number} was settled"));
        answered.await.map_err(ended)?
    }
}
