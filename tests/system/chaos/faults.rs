//! What happens to nodes and their store, by chance.
//!
//! # Promises
//! - Of each role one node at least runs and is not paused, so that the cluster can go on.
//! - A node that leaves by itself, because another process has its rows, is started again, as systemd does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::node::Node;
use harness::random::Random;
use serde_json::json;

use crate::stores::Store;

/// A node, and what is being done to it.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) role: &'static str,
    /// How many processes of this node have had a successor.
    pub(super) replaced: Arc<AtomicU64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Paused { until: Instant },
    Down { until: Instant },
    Starts,
}

impl Machine {
    pub(super) fn new(node: Node, role: &'static str) -> Self {
        Self { node, role, replaced: Arc::default(), state: State::Runs }
    }

    /// Goes on with what was begun; whether it runs now.
    fn go_on(&mut self, now: Instant) -> bool {
        match self.state {
            State::Runs => {
                if self.node.has_ended() {
                    self.state = State::Down { until: now };
                }
            }
            State::Paused { until } if until <= now => {
                self.node.resume();
                self.state = State::Runs;
            }
            State::Down { until } if until <= now => {
                self.node.spawn();
                self.state = State::Starts;
            }
            State::Starts if self.node.has_ended() => self.state = State::Down { until: now + Duration::from_secs(1) },
            State::Starts if self.node.is_ready() => {
                self.replaced.fetch_add(1, Ordering::SeqCst);
                self.state = State::Runs;
            }
            State::Paused { .. } | State::Down { .. } | State::Starts => {}
        }
        self.state == State::Runs
    }
}

pub(super) struct Faults {
    pub(super) machines: Vec<Machine>,
    pub(super) store: Store,
    random: Random,
    pause_max: Duration,
    store_heals_at: Option<Instant>,
    /// How often each thing was done.
    pub(super) counts: BTreeMap<&'static str, usize>,
}

impl Faults {
    pub(super) fn new(machines: Vec<Machine>, store: Store, seed: u64, pause_max: Duration) -> Self {
        let random = Random::new(seed);
        Self { machines, store, random, pause_max, store_heals_at: None, counts: BTreeMap::new() }
    }

    /// One step; a second or so between two.
    pub(super) fn step(&mut self) {
        let now = Instant::now();
        let running: Vec<bool> = self.machines.iter_mut().map(|machine| machine.go_on(now)).collect();
        if self.store_heals_at.is_some_and(|at| at <= now) {
            self.store.played().iter().for_each(|store| store.heal());
            self.store_heals_at = None;
        }
        match self.random.below(10) {
            0 if self.store_heals_at.is_none() => self.hurt_store(now),
            1..4 => {
                let number = self.random.below(self.machines.len() as u64) as usize;
                let role = self.machines[number].role;
                let others = self.machines.iter().zip(&running).enumerate();
                let is_spare = others.into_iter().any(|(other, (m, runs))| other != number && m.role == role && *runs);
                if running[number] && is_spare {
                    self.hurt(number, now);
                }
            }
            _ => {}
        }
    }

    fn hurt(&mut self, number: usize, now: Instant) {
        let pause = Duration::from_millis(500 + self.random.below(self.pause_max.as_millis() as u64));
        let down = Duration::from_millis(self.random.below(10_000));
        let kind = self.random.below(3);
        let machine = &mut self.machines[number];
        let what = match kind {
            0 => {
                machine.node.kill();
                machine.state = State::Down { until: now + down };
                "kill -9"
            }
            1 => {
                machine.node.pause();
                machine.state = State::Paused { until: now + pause };
                "SIGSTOP"
            }
            _ => {
                machine.node.ask_to_stop();
                machine.state = State::Runs;
                "SIGTERM"
            }
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn hurt_store(&mut self, now: Instant) {
        let Some(store) = self.store.played() else { return };
        let after = self.random.below(2) == 0;
        let (what, fault) = match self.random.below(4) {
            0 => ("store is slow", json!({ "method": "", "key": "", "times": 200, "delay": 0.3 })),
            1 => ("store says 503", json!({ "method": "", "key": "", "times": 60, "status": 503 })),
            2 => ("store says 500", json!({ "method": "PUT", "key": "", "times": 20, "status": 500, "after": after })),
            _ => ("store drops", json!({ "method": "", "key": "", "times": 20, "drop": true, "after": after })),
        };
        store.fail(&json!([fault]));
        self.store_heals_at = Some(now + Duration::from_millis(500 + self.random.below(4_000)));
        *self.counts.entry(what).or_default() += 1;
    }

    /// Ends all faults and waits until every node runs.
    #[track_caller]
    pub(super) fn end(&mut self) {
        self.store.played().iter().for_each(|store| store.heal());
        for machine in &mut self.machines {
            match machine.state {
                State::Paused { .. } => machine.state = State::Paused { until: Instant::now() },
                State::Down { .. } => machine.state = State::Down { until: Instant::now() },
                State::Runs | State::Starts => {}
            }
        }
        // A node that was paused may find, a moment later, that it must leave.
        let (began, mut calm_since) = (Instant::now(), Instant::now());
        while calm_since.elapsed() < Duration::from_secs(5) {
            let now = Instant::now();
            let running = self.machines.iter_mut().filter_map(|machine| machine.go_on(now).then_some(())).count();
            if running < self.machines.len() {
                calm_since = now;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "not all nodes run: {:?}", self.states());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn states(&self) -> Vec<(&'static str, State)> {
        self.machines.iter().map(|machine| (machine.role, machine.state)).collect()
    }
}
