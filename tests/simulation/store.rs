//! A store that fails as real ones do: it answers an error after it did the work, does the work long after it answered,
//! lists less than there is, is slow, lets a process sleep for a minute at any call while others go on, and lets it die.
//!
//! # Promises
//! - A create that is answered `Ok` was done, once; no object is ever written twice, or the run panics.
//! - After a process died nothing it does reaches the store, but for requests that were on their way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

/// At one of so many calls a process with faults falls asleep.
const SLEEPS_ONE_IN: u32 = 150;

/// One process's connection to the shared store.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<InMemory>,
    chance: Mutex<StdRng>,
    /// Of a hundred calls, how many go wrong.
    faults_percent: u32,
    calls: AtomicU64,
    /// The call at which the process dies.
    dies_at: u64,
    dead: AtomicBool,
    died: watch::Sender<bool>,
    /// Until when the process sleeps: nothing it asks for happens before.
    wakes: Mutex<Instant>,
}

enum Fault {
    None,
    /// Nothing was done.
    Before,
    /// It was done, and the answer is an error.
    After,
    /// It will be done, much later.
    Later(Duration),
}

impl Faulty {
    pub(crate) fn new(inner: Arc<InMemory>, seed: u64, faults_percent: u32, dies_at: u64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            faults_percent,
            calls: AtomicU64::new(0),
            dies_at,
            dead: AtomicBool::new(false),
            died: watch::Sender::new(false),
            wakes: Mutex::new(Instant::now()),
        })
    }

    /// From now on nothing this process does reaches the store.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.died.send_replace(true);
    }

    /// Waits until the process has made the call at which it dies.
    pub(crate) async fn died(&self) {
        let mut died = self.died.subscribe();
        let _ = died.wait_for(|died| *died).await;
    }

    /// Returns while the process is awake; never when it is dead.
    pub(crate) async fn awake(&self) {
        let wakes = *self.wakes.lock();
        tokio::time::sleep_until(wakes).await;
        if self.dead.load(Ordering::SeqCst) {
            futures::future::pending::<()>().await;
        }
    }

    /// Every call begins here: it takes a while, may find the process dead, and may fail.
    async fn call(&self) -> Fault {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let (wait, fault) = {
            let mut chance = self.chance.lock();
            let wait = if chance.random_range(0..20) == 0 { 2_000 } else { chance.random_range(0..20) };
            if self.faults_percent > 0 && chance.random_range(0..SLEEPS_ONE_IN) == 0 {
                *self.wakes.lock() = Instant::now() + Duration::from_secs(chance.random_range(1..90));
            }
            let fault = if chance.random_range(0..100) >= self.faults_percent {
                Fault::None
            } else {
                match chance.random_range(0..3) {
                    0 => Fault::Before,
                    1 => Fault::After,
                    _ => Fault::Later(Duration::from_millis(chance.random_range(1..20_000))),
                }
            };
            (Duration::from_millis(wait), fault)
        };
        // Half of the deaths come before the work of the call, half after it.
        if number == self.dies_at && number.is_multiple_of(2) {
            self.kill();
        }
        if self.dead.load(Ordering::SeqCst) {
            futures::future::pending::<()>().await;
        }
        let wakes = *self.wakes.lock();
        tokio::time::sleep_until(wakes).await;
        tokio::time::sleep(wait).await;
        if number == self.dies_at {
            self.died.send_replace(true);
        }
        fault
    }

    /// Whether the process died during the call: then the work is done and nobody hears of it.
    async fn answer<T>(&self, result: Result<T>) -> Result<T> {
        if *self.died.borrow() {
            self.dead.store(true, Ordering::SeqCst);
            futures::future::pending::<()>().await;
        }
        result
    }
}

fn failure<T>() -> Result<T> {
    Err(Error::Generic { store: "faulty", source: "500 internal error".into() })
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty store")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        // The laws of the house: nothing is overwritten but heartbeats.
        let is_heartbeat = location.as_ref().ends_with("/heartbeat");
        assert!(opts.mode == PutMode::Create || is_heartbeat, "{location} was put without create-if-absent");
        match self.call().await {
            Fault::None => {
                let result = self.inner.put_opts(location, payload, opts).await;
                self.answer(result).await
            }
            Fault::Before => failure(),
            Fault::After => {
                let _ = self.inner.put_opts(location, payload, opts).await;
                self.answer(failure()).await
            }
            Fault::Later(delay) => {
                let (inner, location) = (Arc::clone(&self.inner), location.clone());
                // The request is on its way through the network, whatever becomes of its sender.
                #[expect(clippy::disallowed_methods, reason = "the network is not a task of the node")]
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = inner.put_opts(&location, payload, opts).await;
                });
                failure()
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        failure()
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.call().await {
            Fault::None => self.answer(self.inner.get_opts(location, options).await).await,
            _ => failure(),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    #[expect(clippy::disallowed_methods, reason = "hands on what sweep decided")]
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.dead.load(Ordering::SeqCst) {
            return stream::pending().boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let dead = self.dead.load(Ordering::SeqCst);
        let fails = self.chance.lock().random_range(0..100) < self.faults_percent;
        match (dead, fails) {
            (true, _) => stream::pending().boxed(),
            // A page that never comes: the caller hears of it, and must not take the first pages for everything.
            (_, true) => self.inner.list(prefix).take(1).chain(stream::iter([failure()])).boxed(),
            _ => self.inner.list(prefix).into_stream().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        failure()
    }
}
