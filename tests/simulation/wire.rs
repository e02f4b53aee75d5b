//! Lines between the processes of a run, as bad as a network can make them: what is said is lost, late, said twice, in
//! another order or damaged, and lines break.
//!
//! # Promises
//! - A process that sleeps says nothing, and goes on where it was when it wakes; one that is dead says nothing more.
//! - What goes wrong depends on the seed alone, and nothing does for a process without faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::replica::{Line, Wire, WireError};
use storage::wal::{Call, Feed, Told};
use tokio::sync::mpsc;

use crate::store::Faulty;

/// A process that can be called: what it stores, and its store, which knows whether it sleeps.
type Callee = (Weak<Feed>, Arc<Faulty>);

/// Who can be called, by address.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    processes: Mutex<BTreeMap<String, Callee>>,
    /// Objects that arrived, whole or not.
    pub(crate) pushed: AtomicU64,
}

impl Exchange {
    pub(crate) fn answer(&self, address: String, feed: &Arc<Feed>, store: &Arc<Faulty>) {
        self.processes.lock().insert(address, (Arc::downgrade(feed), Arc::clone(store)));
    }
}

/// The lines of one process.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) seed: u64,
    pub(crate) faults_percent: u32,
    pub(crate) calls: AtomicU64,
}

impl Wire for Lines {
    fn call(&self, call: Call, address: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>> {
        let found = self.exchange.processes.lock().get(&*address).cloned();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let chance = StdRng::seed_from_u64(self.seed ^ (number << 40));
        let (exchange, faults_percent) = (Arc::clone(&self.exchange), self.faults_percent);
        async move {
            let nobody = || WireError::Broken("nobody answers".into());
            let (feed, store) = found.ok_or_else(nobody)?;
            store.awake().await;
            let feed = feed.upgrade().ok_or_else(nobody)?;
            let (pings, received) = mpsc::channel(16);
            let received = stream::unfold(received, |mut pings| async move { Some((pings.recv().await?, pings)) });
            let told = feed.serve(&call, received.boxed()).map_err(WireError::Refused)?;
            let noise = Noise { told, store, exchange, chance, faults_percent, waiting: VecDeque::new() };
            let told = stream::unfold(noise, |mut noise| async move { Some((noise.next().await?, noise)) });
            Ok(Line { pings, told: told.boxed() })
        }
        .boxed()
    }
}

struct Noise {
    told: BoxStream<'static, Told>,
    store: Arc<Faulty>,
    exchange: Arc<Exchange>,
    chance: StdRng,
    faults_percent: u32,
    /// Said, and not arrived yet.
    waiting: VecDeque<Told>,
}

impl Noise {
    async fn next(&mut self) -> Option<Result<Told, WireError>> {
        loop {
            if self.waiting.is_empty() || self.goes_wrong() {
                let told = self.told.next().await?;
                // What was said before the sender fell asleep may be on its way; this one is said when it wakes.
                self.store.awake().await;
                match self.chance.random_range(0..4) {
                    0 if self.goes_wrong() => {}
                    1 if self.goes_wrong() => self.waiting.push_front(told),
                    2 if self.goes_wrong() => self.waiting.extend([told.clone(), told]),
                    3 if self.goes_wrong() => return Some(Err(WireError::Broken("the line is cut".into()))),
                    _ => self.waiting.push_back(told),
                }
            }
            let Some(told) = self.waiting.pop_front() else { continue };
            if self.goes_wrong() {
                let late = if self.chance.random_range(0..10) == 0 { 40_000 } else { 500 };
                tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..late))).await;
            }
            return Some(Ok(self.arrived(told)));
        }
    }

    fn arrived(&mut self, told: Told) -> Told {
        let bytes = match told {
            Told::Object(bytes) => bytes,
            // Somebody who knows what nobody knows.
            Told::Alive { ping, last, version } if self.goes_wrong() => {
                return Told::Alive { ping, last, version: version + 1000 };
            }
            told => return told,
        };
        self.exchange.pushed.fetch_add(1, Ordering::Relaxed);
        if !self.goes_wrong() || self.chance.random_range(0..4) > 0 {
            return Told::Object(bytes);
        }
        let mut damaged = bytes.to_vec();
        let place = self.chance.random_range(0..damaged.len());
        damaged[place] ^= 1;
        Told::Object(Bytes::from(damaged))
    }

    fn goes_wrong(&mut self) -> bool {
        self.chance.random_range(0..100) < self.faults_percent
    }
}
