//! What operators set, on the node at hand.
//!
//! # Promises
//! - Every option of the command line has a row, with its value and where that comes from; secrets are hidden.
//! - What changes while nodes run follows the catalog. A value that was said at the start (flag or variable) wins over
//!   one for this node, that over one for all nodes, that over the default.
//! - A value that a setting cannot have is refused with its range, and an unknown name with the nearest one that is known.
//! - A size is judged alike on every node. One that has less memory takes nine tenths of what it has, and shows
//!   that as trouble.
//!
//! # Not here
//! - Keeping the values: they are in the catalog.

mod value;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use storage::catalog::State;
use storage::model::NodeId;

pub use value::{Dial, ReadSize};

/// One setting that changes while nodes run.
#[derive(Debug, Clone)]
pub struct Live {
    /// As the flag is called.
    pub name: &'static str,
    pub about: &'static str,
    pub dial: Dial,
}

/// One option of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes in front.
    pub name: String,
    /// `None` when there is none.
    pub value: Option<String>,
    /// Whether somebody said it, or it is the default.
    pub is_said: bool,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// A flag or variable.
    Flag,
    Cluster,
    Node,
}

impl Source {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flag => "flag",
            Self::Cluster => "cluster",
            Self::Node => "node",
        }
    }
}

/// A setting as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) source: Source,
    /// Why it is not what was set.
    pub(crate) trouble: Option<String>,
    pub(crate) live: Option<Live>,
}

/// The settings of this node.
#[derive(Debug, Default)]
pub struct Settings {
    flags: Vec<Flag>,
    held: Vec<Held>,
}

/// One that changes.
#[derive(Debug)]
struct Held {
    live: Live,
    /// What it was at the start.
    start: String,
    is_said: bool,
    now: Mutex<Now>,
}

/// What the catalog said last.
#[derive(Debug, PartialEq, Eq)]
struct Now {
    source: Source,
    value: String,
}

impl Settings {
    #[must_use]
    pub fn new(flags: Vec<Flag>, live: Vec<Live>) -> Self {
        let held = |live: Live| {
            let is_said = flags.iter().any(|flag| flag.name == live.name && flag.is_said);
            let (start, source) = (live.dial.shown(), if is_said { Source::Flag } else { Source::Default });
            Held { now: Mutex::new(Now { source, value: start.clone() }), start, is_said, live }
        };
        let held = live.into_iter().map(held).collect();
        Self { flags, held }
    }

    /// Takes over what the catalog says for `node`.
    pub fn follow(&self, state: &State, node: &NodeId) {
        for held in self.held.iter().filter(|held| !held.is_said) {
            let name: Arc<str> = sql_name(held.live.name).into();
            let of = |node: Option<&NodeId>| state.settings.get(&(Arc::clone(&name), node.cloned()));
            let (source, value) = match (of(Some(node)), of(None)) {
                (Some(value), _) => (Source::Node, &**value),
                (None, Some(value)) => (Source::Cluster, &**value),
                (None, None) => (Source::Default, held.start.as_str()),
            };
            held.follow(Now { source, value: value.to_owned() });
        }
    }

    fn dial(&self, name: &str) -> Option<&Dial> {
        self.held.iter().find(|held| held.live.name == name).map(|held| &held.live.dial)
    }

    /// What an interval is now; `None` when there is no such setting.
    pub(crate) fn interval(&self, name: &str) -> Option<Duration> {
        if let Dial::Interval { knob, .. } = self.dial(name)? { Some(knob.get()) } else { None }
    }

    /// What a count, or a size in bytes, is now; `None` when there is no such setting.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        if let Dial::Count { knob, .. } | Dial::Size { knob, .. } = self.dial(name)? { Some(knob.get()) } else { None }
    }

    /// Those that change, but not here, since they were said at the start.
    pub(crate) fn said(&self) -> Vec<&'static str> {
        self.held.iter().filter(|held| held.is_said).map(|held| held.live.name).collect()
    }

    /// How the catalog is to name a setting, and its value; or why it cannot be changed so.
    pub(crate) fn judge(&self, name: &str, value: Option<&str>) -> Result<(String, Option<String>), String> {
        let name = sql_name(name);
        let Some(held) = self.held.iter().find(|held| sql_name(held.live.name) == name) else {
            return Err(self.unknown(&name));
        };
        let shown = value.map(|value| held.live.dial.judged(value));
        let wrong = |error| format!("{name} cannot be '{}': {error}", value.unwrap_or_default().escape_debug());
        Ok((name.clone(), shown.transpose().map_err(wrong)?))
    }

    fn unknown(&self, name: &str) -> String {
        if let Some(flag) = self.flags.iter().find(|flag| sql_name(&flag.name) == name) {
            return format!(
                "{name} is said at the start of a node, as --{}, and does not change while it runs",
                flag.name
            );
        }
        let known = self.held.iter().map(|held| sql_name(held.live.name));
        let near = known.map(|known| (strsim::damerau_levenshtein(&known, name), known)).min();
        match near {
            Some((distance, known)) if distance <= 1 + known.len() / 4 => {
                format!("there is no setting {name}; there is {known}")
            }
            _ => format!("there is no setting {name}; system.settings has all of them"),
        }
    }

    /// The one of this name, in which `-` and `_` are the same.
    pub(crate) fn shown_as(&self, name: &str) -> Option<Shown> {
        let name = sql_name(name);
        self.shown().into_iter().find(|shown| shown.name == name)
    }

    /// All of them, by name.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let live = self.held.iter().map(|held| Shown {
            name: sql_name(held.live.name),
            value: Some(held.live.dial.shown()),
            default: (!held.is_said).then(|| held.start.clone()),
            source: held.source(),
            trouble: held.trouble(),
            live: Some(held.live.clone()),
        });
        let is_live = |flag: &&Flag| self.held.iter().any(|held| held.live.name == flag.name);
        let fixed = self.flags.iter().filter(|flag| !is_live(flag)).map(|flag| Shown {
            name: sql_name(&flag.name),
            value: flag.value.clone(),
            default: flag.value.clone().filter(|_| !flag.is_said),
            source: if flag.is_said { Source::Flag } else { Source::Default },
            trouble: None,
            live: None,
        });
        let mut shown: Vec<Shown> = live.chain(fixed).collect();
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }
}

impl Held {
    fn follow(&self, said: Now) {
        let mut now = self.now.lock();
        if *now == said {
            return;
        }
        if self.live.dial.turn(&said.value).is_err() {
            // Another version of this program took it.
            self.live.dial.turn(&self.start).expect("it was its value");
        }
        *now = said;
        drop(now);
        if let Some(trouble) = self.trouble() {
            tracing::warn!(name = self.live.name, trouble, "a setting is not what was set");
        }
    }

    fn trouble(&self) -> Option<String> {
        let now = self.now.lock();
        match now.source {
            Source::Cluster | Source::Node => self.live.dial.trouble(&now.value),
            // What was said at the start may be more than an operator may set.
            Source::Default | Source::Flag => None,
        }
    }

    /// Where the value comes from.
    fn source(&self) -> Source {
        let now = self.now.lock();
        if self.is_said || self.live.dial.judged(&now.value).is_ok() { now.source } else { Source::Default }
    }
}

/// Words parted by `_`, as SQL has them without quotes.
fn sql_name(name: &str) -> String {
    name.replace('-', "_").to_lowercase()
}

#[cfg(test)]
mod tests;
