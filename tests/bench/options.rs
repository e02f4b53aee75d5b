//! What the benchmark is asked to do.
//!
//! # Promises
//! - Every option has a default, so a run without options is a whole run; an unknown option is an error.

use harness::node::{self, Node, free_port};
use harness::tsbs::Scale;

pub(crate) const HELP: &str = "\
Options:
  --hosts N          hosts that send a row every 10 s (400)
  --hours N          how long they do (24: with 400 hosts, 3 456 000 rows)
  --workers A,B,…    numbers of writers, one load each (1,2,4)
  --batch N          rows of a request (5000)
  --queries N        queries of each type (20)
  --lone-writes N    single rows written one after the other (200)
  --asked N          small queries at each door (2000; 0: none)
  --freshness N      rows written to one node and looked for on another (200; 0: none)
  --seed N           of rows and queries (1)
  --baseline         also load a server that throws everything away
  --no-sync          answer before rows are stored
  --flags 'A B …'    added to `weir serve`
The binary is WEIR_BIN, or the one beside this program: cargo build --release -p daemon";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scale: Scale,
    pub(crate) workers: Vec<usize>,
    pub(crate) batch: usize,
    pub(crate) queries: usize,
    pub(crate) lone_writes: usize,
    pub(crate) asked: usize,
    pub(crate) freshness: usize,
    /// Where Postgres clients are listened for.
    pub(crate) pg_port: u16,
    /// Whether a null server is loaded first.
    pub(crate) baseline: Option<Baseline>,
    pub(crate) sync: AnswerWhen,
    pub(crate) flags: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline;

/// Whether an answer waits for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerWhen {
    Stored,
    Valid,
}

impl Options {
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            scale: Scale { hosts: 400, hours: 24, seed: 1 },
            workers: vec![1, 2, 4],
            batch: 5_000,
            queries: 20,
            lone_writes: 200,
            asked: 2_000,
            freshness: 200,
            pg_port: free_port(),
            baseline: None,
            sync: AnswerWhen::Stored,
            flags: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
            match name.as_str() {
                "--hosts" => options.scale.hosts = number(&value()?)?,
                "--hours" => options.scale.hours = number(&value()?)?,
                "--workers" => options.workers = value()?.split(',').map(number).collect::<Result<_, _>>()?,
                "--batch" => options.batch = number(&value()?)?,
                "--queries" => options.queries = number(&value()?)?,
                "--lone-writes" => options.lone_writes = number(&value()?)?,
                "--asked" => options.asked = number(&value()?)?,
                "--freshness" => options.freshness = number(&value()?)?,
                "--seed" => options.scale.seed = number(&value()?)?,
                "--baseline" => options.baseline = Some(Baseline),
                "--no-sync" => options.sync = AnswerWhen::Valid,
                "--flags" => options.flags = value()?.split_whitespace().map(str::to_owned).collect(),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }

    /// A node on an empty folder.
    pub(crate) fn start(&self) -> Node {
        Node::start(self.node_options())
    }

    pub(crate) fn node_options(&self) -> node::Options {
        let options = node::Options::open().option("--pg-bind", &format!("127.0.0.1:{}", self.pg_port));
        let options = options.allow_in_log("of memory for queries and buffered rows together");
        self.flags.iter().fold(options, |options, flag| options.flag(flag))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
