//! What writers know while nodes die: which versions of a point a reader may see.
//!
//! # Promises
//! - A batch that was answered is seen by every query that begins `VISIBLE_WITHIN` later, or by what was written over it.
//! - A query that names the places of all answered batches sees them whenever it begins.
//! - A batch that was sent and never answered may be seen at any time, until the process that got it has a successor: a
//!   process that was paused may store it long after.
//! - A reader never sees a version older than one it saw before, unless nobody answered for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::random::Random;
use serde_json::Value;

/// The time after which a node shows what another one stored, or says that it cannot; a second more for the way.
pub(super) const VISIBLE_WITHIN: Duration = Duration::from_secs(32);

/// Points that are written over and over, per writer.
const REWRITTEN: u64 = 40;

/// The fields whose versions are kept apart: every batch sets the first, and by turns one of the others.
const FIELDS: [&str; 3] = ["version", "even", "odd"];

/// One process: the number of its node, and how many processes of the node were there before.
pub(super) type ProcessNumber = (usize, u64);

#[derive(Debug, Default)]
struct Versions {
    /// Answered, with the time of the answer; older ones than the newest that must be seen are forgotten.
    answered: Vec<(i64, Instant)>,
    /// Sent to a process that did not answer.
    open: Vec<(i64, ProcessNumber)>,
}

impl Versions {
    /// The oldest version that may be seen, of those that were answered.
    fn floor(&self, at: Instant) -> Option<i64> {
        let due = |answer: &&(i64, Instant)| answer.1 + VISIBLE_WITHIN <= at;
        self.answered.iter().filter(due).map(|(version, _)| *version).max()
    }

    fn is_open(&self, version: i64) -> bool {
        self.open.iter().any(|(open, _)| *open == version)
    }

    fn allows(&self, seen: Option<i64>, at: Instant) -> bool {
        match seen {
            None => self.floor(at).is_none(),
            Some(version) => self.is_open(version) || self.floor(at).is_none_or(|floor| version >= floor),
        }
    }

    fn newest(&self) -> Option<i64> {
        self.answered.last().map(|(version, _)| *version)
    }
}

/// What one writer did.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) writer: usize,
    random: Random,
    version: i64,
    points: BTreeMap<i64, [Versions; 3]>,
    batch: Vec<i64>,
    /// Where the newest answered batch of each node stands.
    places: BTreeMap<usize, String>,
}

/// What one reader saw of one writer: the newest version of each point.
pub(super) type Seen = BTreeMap<i64, i64>;

impl Book {
    pub(super) fn new(writer: usize, seed: u64) -> Self {
        let random = Random::new(seed.wrapping_add(writer as u64));
        Self { writer, random, version: 0, points: BTreeMap::new(), batch: Vec::new(), places: BTreeMap::new() }
    }

    pub(super) fn points(&self) -> usize {
        self.points.len()
    }

    /// The next batch as line protocol: ten points of those that are written over and over, and a new one.
    pub(super) fn next_batch(&mut self) -> String {
        self.version += 1;
        let mut batch: Vec<i64> = (0..10).map(|_| self.random.below(REWRITTEN) as i64).collect();
        batch.push(1_000_000 + self.version);
        batch.sort_unstable();
        batch.dedup();
        let (writer, version, other) = (self.writer, self.version, FIELDS[self.other()]);
        let line = |point: &i64| {
            let host = point % 4;
            format!("chaos,writer=w{writer},host=h{host} version={version}i,{other}={version}i {point}\n")
        };
        let text = batch.iter().map(line).collect();
        for point in &batch {
            self.points.entry(*point).or_default();
        }
        self.batch = batch;
        text
    }

    /// The process was sent the batch, and said nothing that counts.
    pub(super) fn unanswered(&mut self, process: ProcessNumber) {
        let version = self.version;
        self.for_batch(|versions| versions.open.push((version, process)));
    }

    /// The batch is stored; `replaced` tells whether a process has a successor that answers.
    pub(super) fn answered(&mut self, sent_at: Instant, replaced: impl Fn(ProcessNumber) -> bool) {
        let (version, now) = (self.version, Instant::now());
        self.for_batch(|versions| {
            let floor = versions.floor(sent_at);
            versions.answered.retain(|(answered, _)| floor.is_none_or(|floor| *answered >= floor));
            versions.answered.push((version, now));
            // Whatever a process that is gone has stored is older than this.
            versions.open.retain(|(_, process)| !replaced(*process));
        });
    }

    /// The batch stands there in the log of a node.
    pub(super) fn stored(&mut self, node: usize, place: &str) {
        self.places.insert(node, place.to_owned());
    }

    /// The places of all that was answered. `None` while nothing was.
    pub(super) fn places(&self) -> Option<String> {
        let places: Vec<&str> = self.places.values().map(String::as_str).collect();
        (!places.is_empty()).then(|| places.join(","))
    }

    /// Compares what a query gave that began at `at`; `seen` is what its node gave before.
    pub(super) fn check(&self, rows: &[Value], at: Instant, seen: &mut Seen) -> Result<(), String> {
        let found = self.found(rows)?;
        for (point, versions) in &self.points {
            let Some(fields) = found.get(point) else {
                match versions[0].floor(at).or(seen.get(point).copied()) {
                    Some(version) => return Err(self.wrong(*point, &format!("version {version} is missing"))),
                    None => continue,
                }
            };
            for (number, name) in FIELDS.iter().enumerate() {
                if !versions[number].allows(fields[number], at) {
                    return Err(self.wrong(*point, &format!("{name} is {:?}", fields[number])));
                }
            }
            let version = fields[0].ok_or_else(|| self.wrong(*point, "there is no version"))?;
            if fields[1 + (version % 2) as usize] != Some(version) {
                return Err(self.wrong(*point, &format!("half of version {version}: {fields:?}")));
            }
            let before = seen.insert(*point, version).unwrap_or(version);
            if version < before && !versions[0].is_open(version) {
                return Err(self.wrong(*point, &format!("version {version} after {before} was seen")));
            }
        }
        Ok(())
    }

    /// Compares once nobody writes any more and everything has had its time.
    pub(super) fn check_end(&self, rows: &[Value]) -> Result<(), String> {
        let found = self.found(rows)?;
        for (point, versions) in &self.points {
            let version = found.get(point).and_then(|fields| fields[0]);
            let open = version.is_some_and(|version| versions[0].is_open(version));
            if version != versions[0].newest() && !open {
                return Err(self.wrong(*point, &format!("version is {version:?} at the end")));
            }
        }
        Ok(())
    }

    fn found(&self, rows: &[Value]) -> Result<BTreeMap<i64, [Option<i64>; 3]>, String> {
        let mut found = BTreeMap::new();
        for row in rows {
            let point = row["t"].as_i64().ok_or_else(|| format!("no time in {row}"))?;
            if found.insert(point, FIELDS.map(|name| row[name].as_i64())).is_some() {
                return Err(self.wrong(point, "is there twice"));
            }
            if !self.points.contains_key(&point) {
                return Err(self.wrong(point, "was never written"));
            }
        }
        Ok(found)
    }

    fn wrong(&self, point: i64, what: &str) -> String {
        format!("writer {} point {point}: {what}; known: {:?}", self.writer, self.points.get(&point))
    }

    /// The field beside `version` that this batch sets.
    fn other(&self) -> usize {
        1 + (self.version % 2) as usize
    }

    fn for_batch(&mut self, mut each: impl FnMut(&mut Versions)) {
        let other = self.other();
        for point in &self.batch {
            let versions = self.points.get_mut(point).expect("a batch is of known points");
            each(&mut versions[0]);
            each(&mut versions[other]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(point: i64, version: i64) -> Value {
        let mut row = json!({ "t": point, "version": version });
        row[FIELDS[1 + (version % 2) as usize]] = json!(version);
        row
    }

    /// A book with one batch answered, and its points.
    fn one() -> (Book, Vec<Value>) {
        let mut book = Book::new(0, 1);
        book.next_batch();
        book.answered(Instant::now(), |_| true);
        let rows = book.batch.iter().map(|point| row(*point, 1)).collect();
        (book, rows)
    }

    #[test]
    fn what_was_answered_is_there_in_time_and_stays() {
        let (book, rows) = one();
        let (now, later) = (Instant::now(), Instant::now() + VISIBLE_WITHIN);
        let mut seen = Seen::new();
        book.check(&[], now, &mut seen).expect("it may take a while");
        assert!(book.check(&[], later, &mut seen).unwrap_err().contains("missing"));
        book.check(&rows, now, &mut seen).unwrap();
        assert!(book.check(&rows[1..], now, &mut seen).unwrap_err().contains("missing"), "once seen, always seen");
        book.check_end(&rows).unwrap();
        assert!(book.check_end(&rows[1..]).unwrap_err().contains("at the end"));
    }

    #[test]
    fn doubles_halves_strangers_and_steps_back_are_found() {
        let (mut book, rows) = one();
        let now = Instant::now();
        let check = |book: &Book, rows: &[Value]| book.check(rows, now, &mut Seen::new()).unwrap_err();
        assert!(check(&book, &[rows.clone(), rows.clone()].concat()).contains("twice"));
        assert!(check(&book, &[row(77, 1)]).contains("never written"));
        let mut half = rows.clone();
        half[0]["odd"] = Value::Null;
        assert!(check(&book, &half).contains("half of version 1"));
        let mut seen = Seen::from([(book.batch[0], 3)]);
        assert!(book.check(&rows, now, &mut seen).unwrap_err().contains("after 3 was seen"));
        book.version = 2;
        book.unanswered((0, 0));
        assert!(book.points[&book.batch[0]][0].is_open(2));
        book.answered(now, |process| process == (0, 0));
        assert!(!book.points[&book.batch[0]][0].is_open(2));
    }
}
