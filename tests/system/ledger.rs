//! What a writer knows about its rows: which must be there, with which values, and which may be.
//!
//! # Promises
//! - A batch that was answered must be there as a whole; one that was not answered must be there as a whole or not at all.
//! - A field keeps the value written last, whichever other fields later writes set.

use std::collections::BTreeMap;

use harness::random::Random;
use serde_json::Value;

/// One point: the series it belongs to and its time.
pub(crate) type Key = (String, i64);

/// Field values of a point; a field that was never written is missing.
pub(crate) type Fields = BTreeMap<&'static str, i64>;

/// Rows that are sent together.
pub(crate) type Batch = Vec<(Key, Fields)>;

/// Points that are written over and over, per writer.
const REWRITTEN: u64 = 40;

#[derive(Debug)]
pub(crate) struct Ledger {
    writer: usize,
    random: Random,
    rows: BTreeMap<Key, Fields>,
    unanswered: Option<Batch>,
    version: i64,
    next_new: i64,
}

/// What became of the batch nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    None,
    Kept,
    Absent,
}

impl Ledger {
    pub(crate) fn new(writer: usize, seed: u64) -> Self {
        let random = Random::new(seed.wrapping_add(writer as u64));
        Self { writer, random, rows: BTreeMap::new(), unanswered: None, version: 0, next_new: 0 }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The next batch, from now on unanswered: ten points of those that are written over and over, and a new one. Odd
    /// and even versions set different fields, so that a lost field shows.
    pub(crate) fn next_batch(&mut self) -> String {
        assert!(self.unanswered.is_none(), "a writer waits for its answer");
        self.version += 1;
        let parity = if self.version % 2 == 0 { "even" } else { "odd" };
        let fields = Fields::from([("version", self.version), (parity, self.version)]);
        let mut points = BTreeMap::new();
        for _ in 0..10 {
            let point = self.random.below(REWRITTEN) as i64;
            points.insert(self.key(point), fields.clone());
        }
        self.next_new += 1;
        points.insert(self.key(1_000_000 + self.next_new), fields);
        let batch: Batch = points.into_iter().collect();
        let text = batch.iter().map(|(key, fields)| self.line(key, fields)).collect();
        self.unanswered = Some(batch);
        text
    }

    /// The batch was answered: it is stored.
    pub(crate) fn answered(&mut self) {
        let batch = self.unanswered.take().expect("a batch is under way");
        unite(&mut self.rows, &batch);
    }

    /// Compares with the rows a query gave, and settles the batch nobody answered.
    pub(crate) fn settle(&mut self, found: &[Value]) -> Result<Unanswered, String> {
        let found = self.points(found)?;
        let difference = difference(&self.rows, &found);
        let Some(batch) = self.unanswered.take() else {
            return difference.map_or(Ok(Unanswered::None), Err);
        };
        let Some(without) = difference else { return Ok(Unanswered::Absent) };
        unite(&mut self.rows, &batch);
        let with = self::difference(&self.rows, &found);
        with.map_or(Ok(Unanswered::Kept), |with| {
            Err(format!("neither without the open batch: {without}\nnor with it: {with}"))
        })
    }

    fn points(&self, rows: &[Value]) -> Result<BTreeMap<Key, Fields>, String> {
        let mut points = BTreeMap::new();
        for row in rows {
            let series = row["series"].as_str().ok_or_else(|| format!("no series in {row}"))?;
            let time = row["t"].as_i64().ok_or_else(|| format!("no time in {row}"))?;
            let names = ["version", "odd", "even"].into_iter();
            let fields = names.filter_map(|name| Some((name, row[name].as_i64()?))).collect();
            if points.insert((series.to_owned(), time), fields).is_some() {
                return Err(format!("twice: writer {} {series} {time}", self.writer));
            }
        }
        Ok(points)
    }

    fn key(&self, point: i64) -> Key {
        (format!("s{}", point % 4), point)
    }

    fn line(&self, (series, time): &Key, fields: &Fields) -> String {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}i")).collect();
        format!("kill,writer=w{},series={series} {} {time}\n", self.writer, fields.join(","))
    }
}

fn unite(rows: &mut BTreeMap<Key, Fields>, batch: &Batch) {
    for (key, fields) in batch {
        rows.entry(key.clone()).or_default().extend(fields);
    }
}

/// The first point that differs, in words.
fn difference(wanted: &BTreeMap<Key, Fields>, found: &BTreeMap<Key, Fields>) -> Option<String> {
    let missing = wanted.iter().find(|(key, fields)| found.get(*key) != Some(fields));
    let missing = missing.map(|(key, fields)| format!("{key:?}: wanted {fields:?}, found {:?}", found.get(key)));
    let extra = || found.keys().find(|key| !wanted.contains_key(*key)).map(|key| format!("{key:?} was never answered"));
    missing.or_else(extra)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows_of(ledger: &Ledger) -> Vec<Value> {
        let row = |((series, time), fields): (&Key, &Fields)| {
            let mut row = json!({ "series": series, "t": time });
            fields.iter().for_each(|(name, value)| row[*name] = json!(value));
            row
        };
        ledger.rows.iter().map(row).collect()
    }

    fn ledger(answered: usize) -> Ledger {
        let mut ledger = Ledger::new(0, 1);
        for _ in 0..answered {
            ledger.next_batch();
            ledger.answered();
        }
        ledger
    }

    #[test]
    fn an_open_batch_may_be_there_or_not() {
        let without = rows_of(&ledger(3));
        let with = rows_of(&ledger(4));
        for (rows, expected) in [(&without, Unanswered::Absent), (&with, Unanswered::Kept)] {
            let mut ledger = ledger(3);
            ledger.next_batch();
            assert_eq!(ledger.settle(rows), Ok(expected));
            assert_eq!(ledger.settle(rows), Ok(Unanswered::None), "what was settled stays so");
        }
    }

    #[test]
    fn half_a_batch_a_lost_row_and_a_double_row_are_found() {
        let mut rows = rows_of(&ledger(4));
        rows.pop();
        let mut half = ledger(3);
        half.next_batch();
        assert!(half.settle(&rows).unwrap_err().starts_with("neither without the open batch"));
        assert!(ledger(4).settle(&rows).unwrap_err().contains("found None"));
        rows.push(rows[0].clone());
        assert!(ledger(4).settle(&rows).unwrap_err().starts_with("twice"));
    }

    #[test]
    fn an_old_value_is_found() {
        assert!(ledger(2).settle(&rows_of(&ledger(1))).is_err());
    }
}
