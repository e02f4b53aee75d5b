//! The memory of all queries, and one query's share of it, measured.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use storage::knob::Knob;

/// Whoever comes first is served, up to a limit that can be moved: what is reserved stays so under a lower one.
#[derive(Debug)]
pub(super) struct AllQueries {
    limit: Knob<u64>,
    reserved: AtomicUsize,
}

impl AllQueries {
    pub(super) fn new(limit: Knob<u64>) -> Self {
        Self { limit, reserved: AtomicUsize::new(0) }
    }

    fn limit(&self) -> usize {
        usize::try_from(self.limit.get()).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for AllQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all queries: {} of {} bytes", self.reserved(), self.limit())
    }
}

impl MemoryPool for AllQueries {
    fn name(&self) -> &'static str {
        "all queries"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.reserved.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.reserved.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let limit = self.limit();
        let grown = |reserved: usize| reserved.checked_add(additional).filter(|grown| *grown <= limit);
        match self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(reserved) => resources_err!(
                "{} needs {additional} bytes more, beside the {} it has: all queries have {reserved} of the {limit} bytes they \
                 may (exec_mem_pool_size)",
                reservation.consumer().name(),
                reservation.size()
            ),
        }
    }

    fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit())
    }
}

/// Hands everything on to the shared pool and remembers the most this query held.
#[derive(Debug)]
pub(crate) struct QueryPool {
    shared: Arc<dyn MemoryPool>,
    reserved: AtomicUsize,
    reserved_max: AtomicUsize,
}

impl QueryPool {
    pub(super) fn new(shared: Arc<dyn MemoryPool>) -> Self {
        Self { shared, reserved: AtomicUsize::new(0), reserved_max: AtomicUsize::new(0) }
    }

    pub(crate) fn reserved_max(&self) -> usize {
        self.reserved_max.load(Ordering::Relaxed)
    }

    fn grew(&self, additional: usize) {
        let reserved = self.reserved.fetch_add(additional, Ordering::Relaxed) + additional;
        self.reserved_max.fetch_max(reserved, Ordering::Relaxed);
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({})", self.shared)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shared.grow(reservation, additional);
        self.grew(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.shared.shrink(reservation, shrink);
        self.reserved.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.shared.try_grow(reservation, additional)?;
        self.grew(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.shared.memory_limit()
    }
}
