//! The real data that lies in `tests/data`, and what one can work out about it without a database.
//!
//! # Promises
//! - `Oracle` is a map from (measurement and tags, time) to fields: the last line of a point wins, field by field.
//!
//! # Not here
//! - A line protocol parser: the files have no escapes, no quoted commas and the same tag order everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use crate::folder::package;

/// The folder of the data.
pub fn folder() -> PathBuf {
    package().join("data")
}

/// A gzipped line protocol file as text.
pub fn line_protocol(name: &str) -> String {
    let path = folder().join(format!("{name}.lp.gz"));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("the file is gzipped text");
    text
}

/// The answers worked out from the original tables.
pub fn expected() -> Value {
    let text = fs::read_to_string(folder().join("expected.json")).expect("the expected answers are there");
    serde_json::from_str(&text).expect("they are JSON")
}

/// What a database must hold after it was given lines in some order.
#[derive(Debug, Default)]
pub struct Oracle {
    points: BTreeMap<(String, i64), BTreeMap<String, String>>,
}

/// Count and sum of one integer field over some points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: i64,
    pub sum: i64,
}

impl Oracle {
    pub fn write(&mut self, line: &str) {
        let (head, time) = line.rsplit_once(' ').expect("a line ends with its time");
        let (series, fields) = head.split_once(' ').expect("fields follow the tags");
        let time = time.parse().expect("the time is a number");
        let point = self.points.entry((series.to_owned(), time)).or_default();
        for field in fields.split(',') {
            let (name, value) = field.split_once('=').expect("a field has a value");
            point.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn rows(&self) -> usize {
        self.points.len()
    }

    /// Count and sum of an integer field for each value of a tag.
    pub fn sums(&self, tag: &str, field: &str) -> BTreeMap<String, Sum> {
        let mut sums = BTreeMap::<String, Sum>::new();
        for ((series, _), fields) in &self.points {
            let prefix = format!("{tag}=");
            let value = series.split(',').find_map(|part| part.strip_prefix(&prefix)).expect("the tag is there");
            let sum = sums.entry(value.to_owned()).or_default();
            if let Some(number) = fields.get(field) {
                sum.count += 1;
                sum.sum += number.trim_end_matches('i').parse::<i64>().expect("the field is an integer");
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_point_wins_field_by_field() {
        let mut oracle = Oracle::default();
        for line in ["t,k=a v=1i,w=1i 5", "t,k=a v=2i 5", "t,k=b v=9i 5"] {
            oracle.write(line);
        }
        assert_eq!(oracle.rows(), 2);
        assert_eq!(oracle.sums("k", "v")["a"], Sum { count: 1, sum: 2 });
        assert_eq!(oracle.sums("k", "w")["a"], Sum { count: 1, sum: 1 });
    }

    #[test]
    fn the_oracle_agrees_with_the_expected_answers() {
        let expected = expected();
        let mut oracle = Oracle::default();
        line_protocol("flights").lines().for_each(|line| oracle.write(line));
        assert_eq!(Some(oracle.rows() as u64), expected["flights"]["rows"].as_u64());
        let sums = oracle.sums("carrier", "arr_delay");
        for (carrier, answer) in expected["flights"]["by_carrier"].as_object().unwrap() {
            assert_eq!(Some(sums[carrier].sum), answer["sum_arr_delay"].as_i64(), "{carrier}");
            assert_eq!(Some(sums[carrier].count), answer["with_arr_delay"].as_i64(), "{carrier}");
        }
    }
}
