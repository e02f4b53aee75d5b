//! The log itself: read in order, extended by whoever read it to its end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use super::{Change, Error, Limits, State, checkpoint, format};
use crate::bucket::{Bucket, Created, Frame, Key, Kind, keys};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, Stamp, TableId};

/// The shared log of changes, followed and extended by this node.
#[derive(Debug)]
pub struct Catalog {
    bucket: Bucket,
    clock: Clock,
    limits: Limits,
    /// The cluster's own id, from the header of its first entry.
    cluster: u128,
    state: watch::Sender<Arc<State>>,
    /// Held by whoever extends or follows the log, so that this node's entries queue up instead of colliding.
    turn: Mutex<()>,
}

impl Catalog {
    /// Reads the log to its end; begins a new one when there is nothing of this cluster in the store.
    pub async fn open(bucket: Bucket, clock: Clock, limits: Limits) -> Result<Self, Error> {
        let start = match newest_checkpoint(&bucket).await? {
            Some((cluster, state)) => (cluster, state),
            None => match bucket.find_frame(&bucket.keys().catalog_entry(1)).await? {
                Some(frame) => (frame.cluster, State::default()),
                None => (begin(&bucket, &clock).await?, State::default()),
            },
        };
        let (cluster, state) = start;
        let catalog =
            Self { bucket, clock, limits, cluster, state: watch::Sender::new(Arc::new(state)), turn: Mutex::new(()) };
        catalog.refresh().await?;
        Ok(catalog)
    }

    /// The newest state this node knows.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// Sees every new state; states may be skipped.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The cluster's own id.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// Milliseconds since the Unix epoch by this node's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// 64 bytes of chance, for token secrets.
    #[must_use]
    pub fn random_bytes(&self) -> [u8; 64] {
        self.clock.random_bytes()
    }

    /// Follows the log to its end.
    pub async fn refresh(&self) -> Result<Arc<State>, Error> {
        let _turn = self.turn.lock().await;
        self.follow().await
    }

    /// Makes the changes that `decide` finds right for the newest state. When another node was first, `decide` is asked
    /// again with the state that resulted. An empty list of changes makes no entry.
    pub async fn commit<T>(
        &self,
        mut decide: impl FnMut(&State) -> Result<(Vec<Change>, T), Error>,
    ) -> Result<T, Error> {
        let _turn = self.turn.lock().await;
        let mut followed = false;
        loop {
            let state = self.state();
            let (changes, value) = match decide(&state) {
                Ok(decision) => decision,
                // A refusal counts only if it holds at the end of the log.
                Err(refusal) if followed => return Err(refusal),
                Err(_) => {
                    self.follow().await?;
                    followed = true;
                    continue;
                }
            };
            if changes.is_empty() {
                return Ok(value);
            }
            let mut next = State::clone(&state);
            let number = state.version + 1;
            if let Err(conflict) = next.apply(number, &changes) {
                if followed {
                    return Err(Error::refused(ErrorKind::Conflict, conflict.to_string()));
                }
                self.follow().await?;
                followed = true;
                continue;
            }
            let payload = format::encode_entry(&changes, self.clock.now_ms());
            let frame = self.frame(Kind::CatalogEntry, number, payload);
            match self.bucket.create(&self.bucket.keys().catalog_entry(number), &frame).await? {
                // Numbers outlive their objects: below the mark an absent entry was there once, and ours is no entry.
                Created::Ours if self.mark().await? >= number => {
                    self.reload().await?;
                    followed = false;
                }
                Created::Ours => {
                    self.state.send_replace(Arc::new(next));
                    return Ok(value);
                }
                Created::Taken(taken) => {
                    self.apply(number, &taken)?;
                    followed = false;
                }
            }
        }
    }

    /// Applies entries until there is none. The caller holds the turn.
    async fn follow(&self) -> Result<Arc<State>, Error> {
        loop {
            let number = self.state().version + 1;
            match self.bucket.find_frame(&self.bucket.keys().catalog_entry(number)).await? {
                Some(frame) => self.apply(number, &frame)?,
                None if self.mark().await? >= number => self.reload().await?,
                None => return Ok(self.state()),
            }
        }
    }

    fn apply(&self, number: u64, frame: &Frame) -> Result<(), Error> {
        let key = self.bucket.keys().catalog_entry(number);
        let damaged = |reason: String| Error::Corrupt(format!("object {key}: {reason}"));
        if frame.kind != Kind::CatalogEntry || frame.number != number {
            return Err(damaged(format!("holds {:?} number {}", frame.kind, frame.number)));
        }
        if frame.cluster != self.cluster {
            return Err(damaged("belongs to another cluster".into()));
        }
        let changes = format::decode_entry(&frame.payload).map_err(damaged)?;
        let mut next = State::clone(&self.state());
        next.apply(number, &changes).map_err(|conflict| damaged(conflict.to_string()))?;
        self.state.send_replace(Arc::new(next));
        Ok(())
    }

    /// Starts again from the newest checkpoint: this node fell behind what is kept of the log.
    async fn reload(&self) -> Result<(), Error> {
        let version = self.state().version;
        match newest_checkpoint(&self.bucket).await? {
            Some((_, state)) if state.version > version => {
                self.state.send_replace(Arc::new(state));
                Ok(())
            }
            _ => Err(Error::Corrupt(format!("catalog entry {} is gone and no checkpoint stands for it", version + 1))),
        }
    }

    /// The number up to which entries may be gone.
    async fn mark(&self) -> Result<u64, Error> {
        let marks = self.bucket.list(&self.bucket.keys().catalog_marks(), None).await?;
        Ok(marks.iter().filter_map(keys::number_of).max().unwrap_or(0))
    }

    /// When entry `number`, which must be there, was made.
    pub(crate) async fn made_at_ms(&self, number: u64) -> Result<u64, Error> {
        let key = self.bucket.keys().catalog_entry(number);
        let frame = self.bucket.get_frame(&key).await?;
        format::made_at_ms(&frame.payload).map_err(|reason| Error::Corrupt(format!("object {key}: {reason}")))
    }

    /// Raises the mark to `number`; from then on the entries up to there may be deleted.
    pub(crate) async fn raise_mark(&self, number: u64) -> Result<(), Error> {
        let frame = self.frame(Kind::CatalogMark, number, Bytes::new());
        self.bucket.create(&self.bucket.keys().catalog_mark(number), &frame).await?;
        Ok(())
    }

    /// Writes a checkpoint of the newest state when the last one is at least `every` entries behind.
    pub async fn checkpoint_if_due(&self, every: u64) -> Result<(), Error> {
        let state = self.state();
        let listed = self.bucket.list(&self.bucket.keys().catalog_checkpoints(), None).await?;
        let newest = listed.iter().filter_map(keys::number_of).max().unwrap_or(0);
        if state.version < newest + every {
            return Ok(());
        }
        let keys = self.bucket.keys();
        let checkpoint::Encoded { parts, root } = checkpoint::encode(&state);
        for (table, hash, payload) in parts {
            // A part that is there already has the same content: its name is the hash of it.
            let frame = self.frame(Kind::CatalogPart, state.version, payload);
            self.bucket.create(&keys.catalog_part(table, &hash), &frame).await?;
        }
        let frame = self.frame(Kind::CatalogRoot, state.version, root);
        self.bucket.create(&keys.catalog_checkpoint(state.version), &frame).await?;
        Ok(())
    }

    fn frame(&self, kind: Kind, number: u64, payload: Bytes) -> Frame {
        frame(&self.clock, self.cluster, kind, (number, payload))
    }
}

fn frame(clock: &Clock, cluster: u128, kind: Kind, (number, payload): (u64, Bytes)) -> Frame {
    Frame { kind, cluster, epoch: Epoch(0), number, nonce: clock.random(), stamp: Stamp::SETTLED, payload }
}

/// Begins the log of a cluster that has none. Returns the cluster's own id, ours or that of whoever was first.
async fn begin(bucket: &Bucket, clock: &Clock) -> Result<u128, Error> {
    // A start that died before its first entry leaves at most a probe.
    let probes = bucket.keys().probes();
    if let Some(stray) = bucket.list(&bucket.keys().root(), None).await?.iter().find(|k| !k.prefix_matches(&probes)) {
        return Err(Error::Corrupt(format!(
            "the store holds objects of this cluster id ({stray}) but no catalog log: it belongs to another program, or its catalog was lost"
        )));
    }
    let cluster = clock.random();
    bucket.probe(cluster).await?;
    let changes = [Change::Fix { name: "format".into(), value: "1".into() }];
    let entry = frame(clock, cluster, Kind::CatalogEntry, (1, format::encode_entry(&changes, clock.now_ms())));
    match bucket.create(&bucket.keys().catalog_entry(1), &entry).await? {
        Created::Ours => Ok(cluster),
        Created::Taken(first) => Ok(first.cluster),
    }
}

/// The newest checkpoint, whole, with the cluster's own id.
async fn newest_checkpoint(bucket: &Bucket) -> Result<Option<(u128, State)>, Error> {
    let listed = bucket.list(&bucket.keys().catalog_checkpoints(), None).await?;
    let Some(key) = listed.iter().rfind(|k| keys::number_of(k).is_some()) else { return Ok(None) };
    let root = expect_kind(key, bucket.get_frame(key).await?, Kind::CatalogRoot)?;
    let cluster = root.cluster;
    let part = |table: TableId, hash: String| async move {
        let key = bucket.keys().catalog_part(table, &hash);
        let frame = expect_kind(&key, bucket.get_frame(&key).await?, Kind::CatalogPart)?;
        Ok::<_, Error>(frame.payload)
    };
    let state = checkpoint::decode(&root.payload, part).await;
    let state = state.map_err(|error: Error| match error {
        Error::Corrupt(reason) => Error::Corrupt(format!("checkpoint {key}: {reason}")),
        other => other,
    })?;
    Ok(Some((cluster, state)))
}

fn expect_kind(key: &Key, frame: Frame, kind: Kind) -> Result<Frame, Error> {
    if frame.kind == kind {
        Ok(frame)
    } else {
        Err(Error::Corrupt(format!("object {key} holds {:?}, expected {kind:?}", frame.kind)))
    }
}
