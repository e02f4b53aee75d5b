//! What the machine offers, and how it is divided.

/// What this process may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
}

/// What users asked for; `None` leaves the choice to us.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ThreadWishes {
    pub(crate) cores: Option<usize>,
    pub(crate) io: Option<usize>,
    pub(crate) datafusion: Option<usize>,
}

/// How many threads the two pools have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadCounts {
    pub(crate) io: usize,
    pub(crate) datafusion: usize,
}

impl Host {
    /// Asks the operating system.
    #[must_use]
    pub(crate) fn detect() -> Self {
        Self { cores: metrics::host::cpu_count(), memory_bytes: metrics::host::memory_limit_bytes() }
    }

    /// Divides the cores. With `--num-cores` both pools together stay within it, and it within what there is.
    pub(crate) fn threads(self, wishes: ThreadWishes) -> Result<ThreadCounts, String> {
        let ThreadWishes { cores: limit, io, datafusion } = wishes;
        match limit {
            Some(0 | 1) => return Err("--num-cores must be at least 2".to_owned()),
            Some(limit) if limit > self.cores => {
                return Err(format!("--num-cores is {limit}, but this machine has {} cores", self.cores));
            }
            _ => {}
        }
        let cores = limit.unwrap_or(self.cores);
        let io = io.unwrap_or(if cores < 4 { 1 } else { 2 });
        let datafusion = datafusion.unwrap_or_else(|| cores.saturating_sub(io).max(1));
        match limit {
            Some(limit) if io + datafusion > limit => Err(format!(
                "{io} io threads and {datafusion} datafusion threads are more than --num-cores ({limit}) allows"
            )),
            _ => Ok(ThreadCounts { io, datafusion }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_cores_unless_told() {
        check_threads(1, (None, None, None), Ok((1, 1)));
        check_threads(2, (None, None, None), Ok((1, 1)));
        check_threads(3, (None, None, None), Ok((1, 2)));
        check_threads(8, (None, None, None), Ok((2, 6)));
        check_threads(8, (Some(4), None, None), Ok((2, 2)));
        check_threads(8, (None, Some(5), None), Ok((5, 3)));
        check_threads(2, (None, Some(5), None), Ok((5, 1)));
        check_threads(32, (Some(32), Some(12), Some(20)), Ok((12, 20)));
    }

    #[test]
    fn threads_that_do_not_fit_are_refused() {
        check_threads(8, (Some(9), None, None), Err("--num-cores is 9, but this machine has 8 cores"));
        check_threads(8, (Some(1), None, None), Err("--num-cores must be at least 2"));
        let both = "6 io threads and 6 datafusion threads are more than --num-cores (8) allows";
        check_threads(8, (Some(8), Some(6), Some(6)), Err(both));
    }

    type Wishes = (Option<usize>, Option<usize>, Option<usize>);

    #[track_caller]
    fn check_threads(cores: usize, (limit, io, datafusion): Wishes, expected: Result<(usize, usize), &str>) {
        let found = Host { cores, memory_bytes: 0 }.threads(ThreadWishes { cores: limit, io, datafusion });
        let expected = expected.map(|(io, datafusion)| ThreadCounts { io, datafusion });
        assert_eq!(found, expected.map_err(str::to_owned));
    }
}
