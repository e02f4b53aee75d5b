//! Waiting for something to become true.
//!
//! # Promises
//! - Nothing waits longer than its deadline, and what was seen last is in the panic.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a debug build on a busy machine, short enough to end a run.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again until the answer is `Ok`; panics with the last `Err` once the deadline is over.
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if start.elapsed() > DEADLINE => panic!("{what}: not within {DEADLINE:?}, last: {last:?}"),
            Err(_) => sleep(pause),
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_until_the_answer_is_there() {
        let mut left = 3;
        let answer = eventually("count down", || {
            left -= 1;
            if left == 0 { Ok("done") } else { Err(left) }
        });
        assert_eq!(answer, "done");
    }
}
