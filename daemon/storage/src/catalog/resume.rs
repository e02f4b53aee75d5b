//! Where a node begins to read: the newest checkpoint that may be believed, or the first entry.
//!
//! # Promises
//! - A checkpoint is believed when the mark is below everything it rests on, asked after all of it was read.
//! - One that is damaged, or misses a part, is named as an error and passed over: an older one stands for the same log,
//!   or the first entry does while nothing is swept. Only then a start fails.
//! - A log is begun only where there is nothing of this cluster; of two nodes that begin it at once, both go on with the
//!   same one.

use std::sync::Arc;

use super::checkpoint::Root;
use super::log::{Checkpointed, WrittenPart, frame};
use super::{Change, Error, State, format, mark};
use crate::bucket::{self, Bucket, Created, Frame, Key, Kind, keys};
use crate::clock::Clock;
use crate::model::TableId;

/// How often a start looks again because what it had found was deleted meanwhile.
const LOOKS_MAX: u32 = 5;

/// The state to begin with.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) cluster: u128,
    pub(super) state: State,
    pub(super) checkpointed: Checkpointed,
}

/// What the checkpoints of a log come to.
#[derive(Debug)]
pub(super) enum Newest {
    Whole(Box<Resumed>),
    None,
    /// There are some, and none is whole; this is what is wrong with the newest.
    Damaged(String),
}

/// Finds where the log of this cluster begins, or begins it.
pub(super) async fn start(bucket: &Bucket, clock: &Clock) -> Result<Resumed, Error> {
    let mut damage = None;
    for _ in 0..LOOKS_MAX {
        match newest_checkpoint(bucket).await? {
            Newest::Whole(found) => return Ok(*found),
            Newest::None => {}
            Newest::Damaged(reason) => damage = Some(reason),
        }
        let first = match find_first(bucket).await? {
            Some(cluster) => Some(cluster),
            None => begin(bucket, clock).await?,
        };
        // Like every number: at or below the mark it is not the entry that was there, even when we made it.
        if let Some(cluster) = first
            && !mark::is_swept(bucket, 1).await?
        {
            return Ok(Resumed { cluster, state: State::default(), checkpointed: Checkpointed::default() });
        }
    }
    let reason = damage.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Err(Error::Corrupt(format!(
        "the first entries of the catalog log are gone and no checkpoint stands for them{reason}"
    )))
}

/// The cluster's own id, when there is a first entry.
async fn find_first(bucket: &Bucket) -> Result<Option<u128>, Error> {
    let first = bucket.find_frame(&bucket.keys().catalog_entry(1)).await?;
    Ok(first.map(|frame| frame.cluster))
}

/// Begins the log of a cluster that has none. Returns the cluster's own id, ours or that of whoever was first; `None`
/// when a log appeared meanwhile.
async fn begin(bucket: &Bucket, clock: &Clock) -> Result<Option<u128>, Error> {
    // A start that died before its first entry leaves at most a probe.
    let probes = bucket.keys().probes();
    let listed = bucket.list(&bucket.keys().root(), None).await?;
    if let Some(stray) = listed.iter().find(|k| !k.prefix_matches(&probes)) {
        // Another node may have begun the log since we looked: its first entry comes before all else it puts, so it is
        // there by now, or a checkpoint is.
        let checkpoints = bucket.list(&bucket.keys().catalog_checkpoints(), None).await?;
        if find_first(bucket).await?.is_some() || !checkpoints.is_empty() {
            return Ok(None);
        }
        return Err(Error::Corrupt(format!(
            "the store holds objects of this cluster id ({stray}) but no catalog log: it belongs to another program, or its catalog was lost"
        )));
    }
    let cluster = clock.random();
    bucket.probe(cluster).await?;
    let changes = [Change::Fix { name: "format".into(), value: "1".into() }];
    let payload = format::encode_entry(&changes, clock.now_ms());
    let entry = frame(clock, cluster, Kind::CatalogEntry, (1, payload));
    match bucket.create(&bucket.keys().catalog_entry(1), &entry).await? {
        Created::Ours => Ok(Some(cluster)),
        Created::Taken(first) => Ok(Some(first.cluster)),
    }
}

/// The newest checkpoint that may be believed, whole.
pub(super) async fn newest_checkpoint(bucket: &Bucket) -> Result<Newest, Error> {
    for _ in 0..LOOKS_MAX {
        let listed = bucket.list(&bucket.keys().catalog_checkpoints(), None).await?;
        let numbers: Vec<u64> = listed.iter().filter_map(keys::number_of).collect();
        if numbers.is_empty() {
            return Ok(Newest::None);
        }
        let mut damage = None;
        for number in numbers.into_iter().rev() {
            match load(bucket, number).await {
                Ok(Some(found)) => return Ok(Newest::Whole(Box::new(found))),
                Ok(None) => {}
                Err(Error::Corrupt(reason)) => {
                    tracing::error!(%reason, "a checkpoint of the catalog is damaged, going on with an older one");
                    damage.get_or_insert(reason);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(reason) = damage {
            return Ok(Newest::Damaged(reason));
        }
        // Sweep keeps two that rest on nothing below the mark, so there are newer ones than those we listed.
    }
    Err(Error::Corrupt(format!("each checkpoint of the catalog was gone in {LOOKS_MAX} looks")))
}

/// The checkpoint `number` with all its parts; `None` when it may not be believed.
async fn load(bucket: &Bucket, number: u64) -> Result<Option<Resumed>, Error> {
    let key = bucket.keys().catalog_checkpoint(number);
    let Some((cluster, root)) = read_root(bucket, number).await? else { return Ok(None) };
    let (rests_on, names) = (root.rests_on(), root.parts().clone());
    let part = |table: TableId, name: String| async move {
        let key = bucket.keys().catalog_part(table, &name);
        let frame = expect_kind(&key, bucket.get_frame(&key).await?, Kind::CatalogPart)?;
        Ok::<_, Error>(frame.payload)
    };
    let loaded = root.load(part).await;
    // Asked last, also after an error: a part that may be gone is no damage.
    if mark::is_swept(bucket, rests_on).await? {
        return Ok(None);
    }
    let state = loaded.map_err(|error: Error| match error {
        Error::Corrupt(reason) => Error::Corrupt(format!("checkpoint {key}: {reason}")),
        other => other,
    })?;
    let written = |(table, name): (u32, String)| {
        let table = state.tables.get(&TableId(table))?;
        Some((table.schema.table, WrittenPart { table: Arc::downgrade(table), name }))
    };
    let checkpointed = Checkpointed { number, parts: names.into_iter().filter_map(written).collect() };
    Ok(Some(Resumed { cluster, state, checkpointed }))
}

/// The root of checkpoint `number` and the cluster's own id; `None` when it is deleted.
pub(super) async fn read_root(bucket: &Bucket, number: u64) -> Result<Option<(u128, Root)>, Error> {
    let key = bucket.keys().catalog_checkpoint(number);
    let frame = match bucket.get_frame(&key).await {
        Err(bucket::Error::Missing { .. }) if mark::is_swept(bucket, number).await? => return Ok(None),
        found => expect_kind(&key, found?, Kind::CatalogRoot)?,
    };
    let root = Root::decode(&frame.payload).map_err(|reason| Error::Corrupt(format!("checkpoint {key}: {reason}")))?;
    Ok(Some((frame.cluster, root)))
}

fn expect_kind(key: &Key, frame: Frame, kind: Kind) -> Result<Frame, Error> {
    if frame.kind == kind {
        Ok(frame)
    } else {
        Err(Error::Corrupt(format!("object {key} holds {:?}, expected {kind:?}", frame.kind)))
    }
}
