//! Families of series: declared once by name, counted from many threads, read when somebody scrapes.
//!
//! # Promises
//! - One name is one family: asking again gives the same series, asking differently is a bug and panics.
//! - A name that scrapers' linters would complain about panics when it is registered, not when it is read.
//! - Handles are cheap to clone and count without a lock.
//! - A family keeps at most `SERIES_MAX` series; what is asked for beyond them shares one whose labels say `other`.
//!
//! # Not here
//! - Time: callers measure by their own clock and hand seconds in.
//!
//! # Why
//! The `prometheus` crate has families of its own, but tells the series of a family apart by a hash in which the label
//! values `ab`, `c` and `a`, `bc` are the same. So we keep the series, and the crate the atomic numbers.

mod names;
mod series;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use names::Kind;
pub(crate) use series::Distribution;
use series::Series;
pub use series::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, SERIES_MAX};

/// Upper bounds for durations, in seconds.
pub const DURATION_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds for sizes, in bytes.
pub const BYTES: &[f64] = &[100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// All families of one node. A clone is the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    families: Mutex<BTreeMap<String, Family>>,
    refreshes: Mutex<Vec<Refresh>>,
}

type Refresh = Box<dyn FnMut() + Send>;

/// What is known of one name.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
    pub(crate) numbers: Numbers,
}

#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

impl Numbers {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter without labels; it is shown from now on, beginning at zero.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counter_vec(name, help, &[]).with(&[])
    }

    #[must_use]
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        match self.declare(name, Family::new(help, labels, Numbers::Counter(CounterVec(Series::counters(labels))))) {
            Numbers::Counter(family) => family,
            other => panic!("metric '{name}' is registered as a {}, not a counter", other.kind()),
        }
    }

    /// A gauge without labels; it is shown from now on, beginning at zero.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauge_vec(name, help, &[]).with(&[])
    }

    #[must_use]
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        match self.declare(name, Family::new(help, labels, Numbers::Gauge(GaugeVec(Series::gauges(labels))))) {
            Numbers::Gauge(family) => family,
            other => panic!("metric '{name}' is registered as a {}, not a gauge", other.kind()),
        }
    }

    /// A histogram without labels. `buckets` are the upper bounds, rising; the one for infinity is added.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.histogram_vec(name, help, buckets, &[]).with(&[])
    }

    #[must_use]
    pub fn histogram_vec(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        let rising = buckets.is_sorted_by(|a, b| a < b) && buckets.iter().all(|b| b.is_finite());
        assert!(rising && !buckets.is_empty(), "metric '{name}': bucket bounds must be finite and rise: {buckets:?}");
        let wanted = HistogramVec { series: Series::histograms(labels, buckets), buckets: buckets.into() };
        match self.declare(name, Family::new(help, labels, Numbers::Histogram(wanted))) {
            Numbers::Histogram(family) => {
                assert!(*family.buckets == *buckets, "metric '{name}' is registered with other buckets");
                family
            }
            other => panic!("metric '{name}' is registered as a {}, not a histogram", other.kind()),
        }
    }

    /// `refresh` is called just before every `text()`, to bring figures up to date that nobody counts as they change.
    /// It must be quick, and must not ask for `text()` itself.
    pub fn on_scrape(&self, refresh: impl FnMut() + Send + 'static) {
        lock(&self.shared.refreshes).push(Box::new(refresh));
    }

    pub(crate) fn refresh(&self) {
        lock(&self.shared.refreshes).iter_mut().for_each(|refresh| refresh());
    }

    /// All families by name.
    pub(crate) fn families(&self) -> BTreeMap<String, Family> {
        lock(&self.shared.families).clone()
    }

    /// The family of this name: the one that is registered already, else `wanted`.
    fn declare(&self, name: &str, wanted: Family) -> Numbers {
        if let Err(rule) = names::check(wanted.numbers.kind(), name, &wanted.labels) {
            panic!("metric '{name}': {rule}");
        }
        assert!(!wanted.help.trim().is_empty(), "metric '{name}' needs a help text");
        // Looked at after the lock is given back: a wrong declaration must not spoil the registry for the others.
        let (help, labels) = (wanted.help.clone(), wanted.labels.clone());
        let found = lock(&self.shared.families).entry(name.to_owned()).or_insert(wanted).clone();
        assert!(found.help == help, "metric '{name}' is registered with another help text: {}", found.help);
        assert!(found.labels == labels, "metric '{name}' is registered with other labels: {:?}", found.labels);
        found.numbers
    }
}

impl Family {
    fn new(help: &str, labels: &[&str], numbers: Numbers) -> Self {
        Self { help: help.to_owned(), labels: labels.iter().map(|l| (*l).to_owned()).collect(), numbers }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &lock(&self.shared.families).len()).finish_non_exhaustive()
    }
}

/// A panic of one caller must not silence the metrics of all others: every value under these locks is whole between
/// two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn asking_again_for_a_name_gives_the_same_series() {
        let registry = Registry::new();
        registry.counter("lines_total", "Lines.").inc();
        registry.clone().counter("lines_total", "Lines.").inc_by(2);
        assert_eq!(registry.counter("lines_total", "Lines.").get(), 3.0);
        let by_db = registry.counter_vec("db_lines_total", "Lines.", &["db", "kind"]);
        by_db.with(&["ab", "c"]).inc();
        assert_eq!(by_db.with(&["ab", "c"]).get(), 1.0);
        assert_eq!(by_db.with(&["a", "bc"]).get(), 0.0, "label values are not run together");
    }

    #[test]
    fn asking_differently_for_a_name_panics_and_harms_nobody() {
        let registry = Registry::new();
        let gauge = registry.gauge("depth", "Depth.");
        registry.histogram("wait_seconds", "Wait.", DURATION_SECONDS).observe(0.1);
        let wrong: [&dyn Fn(&Registry); 5] = [
            &|r| drop(r.gauge("depth", "Another help.")),
            &|r| drop(r.gauge_vec("depth", "Depth.", &["db"])),
            &|r| drop(r.histogram("depth", "Depth.", DURATION_SECONDS)),
            &|r| drop(r.histogram("wait_seconds", "Wait.", BYTES)),
            &|r| drop(r.counter("no_help_total", " ")),
        ];
        for (number, declare) in wrong.iter().enumerate() {
            assert!(catch_unwind(AssertUnwindSafe(|| declare(&registry))).is_err(), "declaration {number}");
        }
        gauge.set(2.0);
        assert_eq!(registry.gauge("depth", "Depth.").get(), 2.0);
    }

    #[test]
    fn a_counter_that_follows_a_total_never_falls() {
        let counter = Registry::new().counter("cpu_seconds_total", "Time.");
        for (total, expected) in [(1.5, 1.5), (1.0, 1.5), (4.0, 4.0)] {
            counter.raise_to(total);
            assert_eq!(counter.get(), expected);
        }
    }
}
