//! Rows and queries of the public TSBS benchmark, use case *cpu-only* (DevOps).
//!
//! # Promises
//! - The rows depend on seed, host and time only: however many writers share the hosts, together they write the same rows.
//! - A row is ten tags, ten integer fields that walk at random between 0 and 100, and a time; one row a host every 10 s.
//! - Rendering is table look-ups and copies, several million rows a second, so that a load measures the server.
//!
//! # Not here
//! - The benchmark's own generator: names and shape are its, the numbers are ours.

use crate::random::Random;

/// The ten fields, in order.
pub const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// 2016-01-01T00:00:00Z, where the benchmark's data begin.
pub const START_SECONDS: u64 = 1_451_606_400;

/// Between two rows of a host.
pub const STEP_SECONDS: u64 = 10;

const REGIONS: [(&str, &[&str]); 9] = [
    ("us-east-1", &["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1e"]),
    ("us-west-1", &["us-west-1a", "us-west-1b"]),
    ("us-west-2", &["us-west-2a", "us-west-2b", "us-west-2c"]),
    ("eu-west-1", &["eu-west-1a", "eu-west-1b", "eu-west-1c"]),
    ("eu-central-1", &["eu-central-1a", "eu-central-1b"]),
    ("ap-southeast-1", &["ap-southeast-1a", "ap-southeast-1b"]),
    ("ap-southeast-2", &["ap-southeast-2a", "ap-southeast-2b"]),
    ("ap-northeast-1", &["ap-northeast-1a", "ap-northeast-1c"]),
    ("sa-east-1", &["sa-east-1a", "sa-east-1b", "sa-east-1c"]),
];
const SYSTEMS: [&str; 3] = ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"];
const ARCHITECTURES: [&str; 2] = ["x64", "x86"];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];

/// One field of one host: a walk in 256ths, so that small steps are not lost in the integer.
const SCALE: i32 = 256;

#[derive(Debug)]
struct Host {
    /// `cpu,hostname=…,… `: everything before the fields.
    head: Vec<u8>,
    random: Random,
    walks: [i32; 10],
}

impl Host {
    fn new(seed: u64, number: usize) -> Self {
        let mut random = Random::new(seed ^ (number as u64 + 1).wrapping_mul(0xA076_1D64_78BD_642F));
        let head = head(&mut random, number).into_bytes();
        let walks = std::array::from_fn(|_| random.below(100 * SCALE as u64) as i32);
        Self { head, random, walks }
    }

    /// Each field takes a step that is close to normal, of about one percent point.
    fn step(&mut self) {
        for pair in self.walks.chunks_exact_mut(2) {
            let bytes = self.random.next_u64().to_le_bytes();
            for (walk, bytes) in pair.iter_mut().zip(bytes.chunks_exact(4)) {
                let sum: i32 = bytes.iter().map(|byte| i32::from(*byte)).sum();
                // Four bytes: mean 510, deviation 148. Times 1.75 it is 1 percent point.
                *walk = (*walk + (sum - 510) * 7 / 4).clamp(0, 100 * SCALE);
            }
        }
    }
}

fn head(random: &mut Random, number: usize) -> String {
    fn one<'a, T: ?Sized>(random: &mut Random, items: &[&'a T]) -> &'a T {
        items[random.below(items.len() as u64) as usize]
    }
    let (region, datacenters) = REGIONS[random.below(REGIONS.len() as u64) as usize];
    let datacenter = one(random, datacenters);
    let rack = random.below(100);
    let (os, arch, team) = (one(random, &SYSTEMS), one(random, &ARCHITECTURES), one(random, &TEAMS));
    let (service, version) = (random.below(20), random.below(2));
    let environment = one(random, &ENVIRONMENTS);
    format!(
        "cpu,hostname=host_{number},region={region},datacenter={datacenter},rack={rack},os={os},arch={arch},team={team},\
         service={service},service_version={version},service_environment={environment} "
    )
}

/// The rows of some of the hosts, in order of time.
#[derive(Debug)]
pub struct Rows {
    hosts: Vec<Host>,
    next_host: usize,
    seconds: u64,
    end_seconds: u64,
    /// `usage_user=0i,` to `usage_user=100i,` for each field.
    rendered: Vec<Vec<u8>>,
}

/// Which rows there are.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub hosts: usize,
    pub hours: u64,
    pub seed: u64,
}

impl Scale {
    pub fn rows(&self) -> u64 {
        self.hosts as u64 * self.hours * 3_600 / STEP_SECONDS
    }
}

impl Rows {
    /// The share of one of several writers: every `writers`-th host, beginning with `writer`.
    pub fn share(scale: Scale, writer: usize, writers: usize) -> Self {
        let hosts = (writer..scale.hosts).step_by(writers).map(|number| Host::new(scale.seed, number)).collect();
        let render = |(index, name): (usize, &&str)| {
            let end = if index + 1 == FIELDS.len() { ' ' } else { ',' };
            (0..=100).map(move |value| format!("{name}={value}i{end}").into_bytes()).collect::<Vec<_>>()
        };
        Self {
            hosts,
            next_host: 0,
            seconds: START_SECONDS,
            end_seconds: START_SECONDS + scale.hours * 3_600,
            rendered: FIELDS.iter().enumerate().flat_map(render).collect(),
        }
    }

    /// Replaces `body` by up to `count` lines; returns how many there were.
    pub fn fill(&mut self, body: &mut Vec<u8>, count: usize) -> usize {
        body.clear();
        // A line has about 330 bytes: whoever gave the last body away gets room for the next at once.
        body.reserve(count * 360);
        let mut filled = 0;
        while filled < count && self.seconds < self.end_seconds && !self.hosts.is_empty() {
            let mut time = self.seconds.to_string().into_bytes();
            time.extend_from_slice(b"000000000\n");
            let left = count - filled;
            let until = self.hosts.len().min(self.next_host + left);
            for host in &mut self.hosts[self.next_host..until] {
                host.step();
                body.extend_from_slice(&host.head);
                for (field, walk) in host.walks.iter().enumerate() {
                    let value = (walk / SCALE) as usize;
                    body.extend_from_slice(&self.rendered[field * 101 + value]);
                }
                body.extend_from_slice(&time);
            }
            filled += until - self.next_host;
            self.next_host = until;
            if until == self.hosts.len() {
                (self.next_host, self.seconds) = (0, self.seconds + STEP_SECONDS);
            }
        }
        filled
    }
}

/// The query types, in the order of the benchmark's own tables.
pub const QUERIES: [Query; 15] = [
    Query { name: "single-groupby-1-1-1", shape: Shape::SingleGroupBy { fields: 1, hosts: 1, hours: 1 } },
    Query { name: "single-groupby-1-8-1", shape: Shape::SingleGroupBy { fields: 1, hosts: 8, hours: 1 } },
    Query { name: "single-groupby-5-1-1", shape: Shape::SingleGroupBy { fields: 5, hosts: 1, hours: 1 } },
    Query { name: "single-groupby-5-8-1", shape: Shape::SingleGroupBy { fields: 5, hosts: 8, hours: 1 } },
    Query { name: "single-groupby-1-1-12", shape: Shape::SingleGroupBy { fields: 1, hosts: 1, hours: 12 } },
    Query { name: "cpu-max-all-1", shape: Shape::MaxAll { hosts: 1 } },
    Query { name: "cpu-max-all-8", shape: Shape::MaxAll { hosts: 8 } },
    Query { name: "double-groupby-1", shape: Shape::DoubleGroupBy { fields: 1 } },
    Query { name: "double-groupby-5", shape: Shape::DoubleGroupBy { fields: 5 } },
    Query { name: "double-groupby-all", shape: Shape::DoubleGroupBy { fields: 10 } },
    Query { name: "groupby-orderby-limit", shape: Shape::OrderByLimit },
    Query { name: "high-cpu-1", shape: Shape::HighCpu { hosts: Some(1) } },
    Query { name: "high-cpu-all", shape: Shape::HighCpu { hosts: None } },
    Query { name: "lastpoint", shape: Shape::LastPoint },
    Query { name: "distinct-tag", shape: Shape::DistinctTag },
];

#[derive(Debug, Clone, Copy)]
pub struct Query {
    pub name: &'static str,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    /// The highest values of some hosts, minute by minute.
    SingleGroupBy { fields: usize, hosts: usize, hours: u64 },
    /// The highest values of all fields over 8 hours, hour by hour.
    MaxAll { hosts: usize },
    /// Averages of every host over 12 hours, hour by hour.
    DoubleGroupBy { fields: usize },
    /// The highest value of all hosts in the last five minutes before some moment.
    OrderByLimit,
    /// The rows of 12 hours whose usage is above 90; of all hosts, or of some.
    HighCpu { hosts: Option<usize> },
    /// The last row of every host.
    LastPoint,
    /// The names of all hosts.
    DistinctTag,
}

impl Query {
    /// One query of this type: hosts and time range are drawn.
    pub fn text(&self, scale: Scale, random: &mut Random) -> String {
        match self.shape {
            Shape::SingleGroupBy { fields, hosts, hours } => {
                let columns = columns("max", fields);
                let condition = format!("{} AND {}", hosts_in(hosts, scale, random), window(hours, scale, random));
                format!(
                    "SELECT date_bin(INTERVAL '1 minute', time) AS minute, {columns} FROM cpu WHERE {condition} \
                     GROUP BY minute ORDER BY minute"
                )
            }
            Shape::MaxAll { hosts } => {
                let columns = columns("max", FIELDS.len());
                let condition = format!("{} AND {}", hosts_in(hosts, scale, random), window(8, scale, random));
                format!(
                    "SELECT date_bin(INTERVAL '1 hour', time) AS hour, {columns} FROM cpu WHERE {condition} \
                     GROUP BY hour ORDER BY hour"
                )
            }
            Shape::DoubleGroupBy { fields } => {
                let (columns, window) = (columns("avg", fields), window(12, scale, random));
                format!(
                    "SELECT date_bin(INTERVAL '1 hour', time) AS hour, hostname, {columns} FROM cpu WHERE {window} \
                     GROUP BY hour, hostname ORDER BY hour, hostname"
                )
            }
            Shape::OrderByLimit => {
                let end = START_SECONDS + 3_600 + random.below((scale.hours * 3_600).saturating_sub(3_600).max(1));
                format!(
                    "SELECT date_bin(INTERVAL '1 minute', time) AS minute, max(usage_user) AS max_usage_user FROM cpu \
                     WHERE time < to_timestamp_seconds({end}) GROUP BY minute ORDER BY minute DESC LIMIT 5"
                )
            }
            Shape::HighCpu { hosts } => {
                let hosts = hosts.map(|hosts| format!(" AND {}", hosts_in(hosts, scale, random))).unwrap_or_default();
                format!("SELECT * FROM cpu WHERE usage_user > 90 AND {}{hosts}", window(12, scale, random))
            }
            Shape::LastPoint => "SELECT DISTINCT ON (hostname) * FROM cpu ORDER BY hostname, time DESC".to_owned(),
            Shape::DistinctTag => "SELECT DISTINCT hostname FROM cpu".to_owned(),
        }
    }
}

fn columns(aggregate: &str, fields: usize) -> String {
    let columns: Vec<String> =
        FIELDS[..fields].iter().map(|field| format!("{aggregate}({field}) AS {aggregate}_{field}")).collect();
    columns.join(", ")
}

fn hosts_in(count: usize, scale: Scale, random: &mut Random) -> String {
    let mut hosts: Vec<usize> = (0..scale.hosts).collect();
    random.shuffle(&mut hosts);
    let names: Vec<String> = hosts.iter().take(count).map(|host| format!("'host_{host}'")).collect();
    format!("hostname IN ({})", names.join(", "))
}

/// A range of so many hours that begins at some second; all there is when there is not that much.
fn window(hours: u64, scale: Scale, random: &mut Random) -> String {
    let spare = scale.hours.saturating_sub(hours) * 3_600;
    let start = START_SECONDS + random.below(spare + 1);
    let end = start + hours * 3_600;
    format!("time >= to_timestamp_seconds({start}) AND time < to_timestamp_seconds({end})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Scale = Scale { hosts: 7, hours: 1, seed: 1 };

    fn all_lines(writers: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for writer in 0..writers {
            let mut rows = Rows::share(SMALL, writer, writers);
            let mut body = Vec::new();
            while rows.fill(&mut body, 100) > 0 {
                lines.extend(String::from_utf8(body.clone()).unwrap().lines().map(str::to_owned));
            }
        }
        lines.sort_unstable();
        lines
    }

    #[test]
    fn writers_share_the_same_rows() {
        let one = all_lines(1);
        assert_eq!(one.len() as u64, SMALL.rows());
        assert_eq!(one, all_lines(3));
    }

    #[test]
    fn a_row_has_ten_tags_and_ten_fields() {
        let mut body = Vec::new();
        assert_eq!(Rows::share(SMALL, 0, 1).fill(&mut body, 1), 1);
        let line = String::from_utf8(body).unwrap();
        let parts: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(parts.len(), 3, "{line}");
        assert_eq!(
            (parts[0].matches(',').count(), parts[1].split(',').count(), parts[2]),
            (10, 10, "1451606400000000000")
        );
        assert!((280..400).contains(&line.len()), "{} bytes, the benchmark has 345", line.len());
    }

    #[test]
    fn every_query_is_different_and_repeatable() {
        for query in QUERIES {
            let text = |seed| query.text(Scale { hosts: 100, hours: 24, seed: 1 }, &mut Random::new(seed));
            assert_eq!(text(1), text(1));
            assert!(text(1).contains("FROM cpu"), "{}", text(1));
        }
    }
}
