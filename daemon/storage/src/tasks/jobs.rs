//! What a node is doing in the background at this moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::NodeId;

/// The jobs that run now. Clones are the same register.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    begun: u64,
    running: BTreeMap<u64, Running>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub kind: JobKind,
    pub about: About,
    /// Nanoseconds since the Unix epoch.
    pub since_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Buffered rows become files.
    Snapshot,
    /// Files become fewer.
    Compaction,
    /// The log of another node, or of an earlier process, becomes files.
    Adoption,
    /// What nobody needs any more is looked for and deleted.
    Sweep,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Compaction => "compaction",
            Self::Adoption => "adoption",
            Self::Sweep => "sweep",
        })
    }
}

/// What a job works on, as far as that is known when it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The table, when it is one, after its database.
    pub table: Option<(Arc<str>, Arc<str>)>,
    /// The node whose log is adopted.
    pub adopted: Option<NodeId>,
    pub files: Option<u64>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
}

/// In the register for as long as this lives.
#[derive(Debug)]
pub struct Job {
    jobs: Jobs,
    number: u64,
}

impl Jobs {
    #[must_use]
    pub fn begin(&self, kind: JobKind, about: About, since_ns: i64) -> Job {
        let mut register = self.0.lock();
        register.begun += 1;
        let number = register.begun;
        register.running.insert(number, Running { kind, about, since_ns });
        Job { jobs: self.clone(), number }
    }

    /// In the order in which they began.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        self.0.lock().running.values().cloned().collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.jobs.0.lock().running.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_until_it_is_dropped() {
        let jobs = Jobs::default();
        let first = jobs.begin(JobKind::Snapshot, About::default(), 1);
        let second = jobs.begin(JobKind::Sweep, About::default(), 2);
        let shown = |jobs: &Jobs| jobs.running().iter().map(|job| job.since_ns).collect::<Vec<_>>();
        assert_eq!(shown(&jobs), [1, 2]);
        drop(first);
        assert_eq!(shown(&jobs.clone()), [2]);
        drop(second);
        assert!(jobs.running().is_empty());
    }
}
