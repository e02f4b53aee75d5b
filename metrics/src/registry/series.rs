//! The numbers, and the families that hand them out by label values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Metric;

/// How many series one family keeps.
pub const SERIES_MAX: usize = 10_000;

/// What every label of the last series of a full family says.
const OTHER: &str = "other";

/// A count that only rises. The process starts it at zero.
#[derive(Debug, Clone)]
pub struct Counter(prometheus::Counter);

impl Counter {
    pub fn inc(&self) {
        self.0.inc();
    }

    pub fn inc_by(&self, count: u64) {
        self.0.inc_by(count as f64);
    }

    /// For counters of time. Less than nothing counts as nothing.
    pub fn inc_by_seconds(&self, seconds: f64) {
        self.0.inc_by(seconds.max(0.0));
    }

    /// Follows a total that something else counts. A total that fell back leaves the counter where it is.
    pub fn raise_to(&self, total: f64) {
        self.inc_by_seconds(total - self.0.get());
    }

    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// A figure that rises and falls.
#[derive(Debug, Clone)]
pub struct Gauge(prometheus::Gauge);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    pub fn inc(&self) {
        self.0.inc();
    }

    pub fn dec(&self) {
        self.0.dec();
    }

    pub fn add(&self, value: f64) {
        self.0.add(value);
    }

    pub fn sub(&self, value: f64) {
        self.0.sub(value);
    }

    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// How often a figure fell into which range.
#[derive(Debug, Clone)]
pub struct Histogram(prometheus::Histogram);

/// A histogram at one moment.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// Upper bounds and how many values are not above them.
    pub(crate) up_to: Vec<(f64, u64)>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Histogram {
    /// Counts `value`, in the unit the name ends with.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// How many values were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }

    /// The value that this share of all values does not exceed, as near as the ranges tell: within the one it falls
    /// into, values are taken to lie evenly. What is above the last bound is told as that bound. `None` without values.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let Distribution { up_to, sum: _, count } = self.read();
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let (mut below, mut counted) = (0.0, 0);
        for (bound, so_far) in up_to {
            if so_far > counted && so_far as f64 >= rank {
                let within = (rank - counted as f64) / (so_far - counted) as f64;
                return Some(below + (bound - below) * within.max(0.0));
            }
            (below, counted) = (bound, so_far);
        }
        (count > 0).then_some(below)
    }

    /// The sum of all values over how many there are. `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let Distribution { up_to: _, sum, count } = self.read();
        (count > 0).then(|| sum / count as f64)
    }

    pub(crate) fn read(&self) -> Distribution {
        let metric = self.0.metric();
        let read = metric.get_histogram();
        Distribution {
            up_to: read.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect(),
            sum: read.get_sample_sum(),
            count: read.get_sample_count(),
        }
    }
}

/// The counters of one name, one for each combination of label values.
#[derive(Debug, Clone)]
pub struct CounterVec(pub(super) Arc<Series<Counter>>);

impl CounterVec {
    /// The counter with these label values, in the order the labels were declared.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        self.0.with(values)
    }

    /// Shows this series no longer. Whoever still holds its counter counts unseen.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }

    pub(crate) fn all(&self) -> Vec<(Vec<String>, Counter)> {
        self.0.all()
    }
}

/// The gauges of one name, one for each combination of label values.
#[derive(Debug, Clone)]
pub struct GaugeVec(pub(super) Arc<Series<Gauge>>);

impl GaugeVec {
    /// The gauge with these label values, in the order the labels were declared.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        self.0.with(values)
    }

    /// Shows this series no longer. Whoever still holds its gauge sets it unseen.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }

    pub(crate) fn all(&self) -> Vec<(Vec<String>, Gauge)> {
        self.0.all()
    }
}

/// The histograms of one name, one for each combination of label values.
#[derive(Debug, Clone)]
pub struct HistogramVec {
    pub(super) series: Arc<Series<Histogram>>,
    pub(super) buckets: Arc<[f64]>,
}

impl HistogramVec {
    /// The histogram with these label values, in the order the labels were declared.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        self.series.with(values)
    }

    /// Shows this series no longer. Whoever still holds its histogram observes unseen.
    pub fn remove(&self, values: &[&str]) {
        self.series.remove(values);
    }

    pub(crate) fn all(&self) -> Vec<(Vec<String>, Histogram)> {
        self.series.all()
    }
}

/// The series of one family by label values.
pub(super) struct Series<T> {
    label_count: usize,
    make: Box<dyn Fn() -> T + Send + Sync>,
    by_values: RwLock<BTreeMap<Vec<String>, T>>,
}

// The crate wants a name and a help text for each number; ours stand in the family.
const UNNAMED: &str = "unnamed";

impl Series<Counter> {
    pub(super) fn counters(labels: &[&str]) -> Arc<Self> {
        let make = || prometheus::Counter::new(UNNAMED, UNNAMED).expect("the name is a constant and valid");
        Self::new(labels, move || Counter(make()))
    }
}

impl Series<Gauge> {
    pub(super) fn gauges(labels: &[&str]) -> Arc<Self> {
        let make = || prometheus::Gauge::new(UNNAMED, UNNAMED).expect("the name is a constant and valid");
        Self::new(labels, move || Gauge(make()))
    }
}

impl Series<Histogram> {
    pub(super) fn histograms(labels: &[&str], buckets: &[f64]) -> Arc<Self> {
        let options = prometheus::HistogramOpts::new(UNNAMED, UNNAMED).buckets(buckets.to_vec());
        let make = move || {
            let histogram = prometheus::Histogram::with_opts(options.clone());
            Histogram(histogram.expect("the name is a constant, and the registry checked that the buckets rise"))
        };
        Self::new(labels, make)
    }
}

impl<T: Clone> Series<T> {
    fn new(labels: &[&str], make: impl Fn() -> T + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { label_count: labels.len(), make: Box::new(make), by_values: RwLock::default() })
    }

    fn with(&self, values: &[&str]) -> T {
        let key = self.key(values);
        let known = self.by_values.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| self.add(key))
    }

    fn add(&self, key: Vec<String>) -> T {
        let mut by_values = self.by_values.write().unwrap_or_else(PoisonError::into_inner);
        let full = by_values.len() + 1 >= SERIES_MAX && !by_values.contains_key(&key);
        let key = if full { vec![OTHER.to_owned(); self.label_count] } else { key };
        by_values.entry(key).or_insert_with(&self.make).clone()
    }

    fn remove(&self, values: &[&str]) {
        let key = self.key(values);
        self.by_values.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn key(&self, values: &[&str]) -> Vec<String> {
        let (wanted, given) = (self.label_count, values.len());
        assert!(wanted == given, "a series of {wanted} labels was asked for with {given} values: {values:?}");
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    fn all(&self) -> Vec<(Vec<String>, T)> {
        let by_values = self.by_values.read().unwrap_or_else(PoisonError::into_inner);
        by_values.iter().map(|(values, number)| (values.clone(), number.clone())).collect()
    }
}

impl<T> fmt::Debug for Series<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.by_values.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Series").field("len", &len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_family_counts_the_rest_as_other() {
        let series = Series::counters(&["db", "kind"]);
        for i in 0..SERIES_MAX + 5 {
            series.with(&[&i.to_string(), "write"]).inc();
        }
        assert_eq!(series.all().len(), SERIES_MAX);
        assert_eq!(series.with(&[OTHER, OTHER]).get(), 6.0, "one place is kept for the others");
        assert_eq!(series.with(&["0", "write"]).get(), 1.0);
    }

    #[test]
    fn a_removed_series_begins_anew() {
        let series = Series::gauges(&["db"]);
        series.with(&["a"]).set(3.0);
        series.remove(&["a"]);
        assert!(series.all().is_empty());
        assert_eq!(series.with(&["a"]).get(), 0.0);
    }

    #[test]
    fn a_histogram_counts_a_value_in_every_bucket_that_is_not_below_it() {
        let histogram = Series::histograms(&[], &[1.0, 2.0]).with(&[]);
        [0.5, 1.0, 1.5, 9.0].iter().for_each(|v| histogram.observe(*v));
        let read = histogram.read();
        assert_eq!(read.up_to, [(1.0, 2), (2.0, 3)]);
        assert_eq!((read.sum, read.count), (12.0, 4));
    }

    #[test]
    fn a_quantile_lies_in_the_range_of_its_rank() {
        let histogram = Series::histograms(&[], &[1.0, 2.0, 4.0]).with(&[]);
        assert_eq!((histogram.quantile(0.5), histogram.mean()), (None, None));
        [1.5; 8].iter().for_each(|v| histogram.observe(*v));
        [3.0, 9.0].iter().for_each(|v| histogram.observe(*v));
        for (share, expected) in [(0.0, 1.0), (0.4, 1.5), (0.8, 2.0), (0.85, 3.0), (0.9, 4.0), (0.99, 4.0)] {
            assert_eq!(histogram.quantile(share), Some(expected), "{share}");
        }
        assert_eq!(histogram.mean(), Some(2.4));
    }

    #[test]
    #[should_panic(expected = "a series of 1 labels was asked for with 2 values")]
    fn a_wrong_number_of_label_values_is_a_bug() {
        let _ = Series::counters(&["db"]).with(&["a", "b"]);
    }
}
