//! Which aligned windows the rows of one table are cut into.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::Piece;
use crate::model::Window;

/// The widths an operator may choose for the smallest window.
pub const GEN1_WIDTHS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(600)];

/// The widths of the levels above the smallest one: 20 min, 1 h, 4 h, 1 d, 5 d, and on for rows of many years.
pub const LEVEL_WIDTHS: [Duration; 8] = [
    Duration::from_secs(1_200),
    Duration::from_secs(3_600),
    Duration::from_secs(14_400),
    Duration::from_secs(86_400),
    Duration::from_secs(432_000),
    Duration::from_secs(4_320_000),
    Duration::from_secs(43_200_000),
    Duration::from_secs(432_000_000),
];

/// A snapshot of one table takes the smallest windows of which its rows touch at most so many.
const WINDOWS_MAX: usize = 6;

/// The windows that hold at least one row, in order.
pub(super) fn cut(pieces: &[Arc<Piece>], gen1: Duration) -> Vec<Window> {
    let widths = std::iter::once(gen1).chain(LEVEL_WIDTHS);
    let mut found = Vec::new();
    for (level, width) in (1u8..).zip(widths) {
        let width = i64::try_from(width.as_nanos()).expect("the widest window is 13 years");
        found = touched(pieces, level, width);
        if found.len() <= WINDOWS_MAX {
            break;
        }
    }
    found
}

fn touched(pieces: &[Arc<Piece>], level: u8, width: i64) -> Vec<Window> {
    let mut starts = BTreeSet::new();
    let mut last = None;
    for time in pieces.iter().flat_map(|p| &p.rows.times) {
        // The first window of all begins before the smallest time there is.
        let start = time.div_euclid(width).saturating_mul(width);
        // Neighbouring rows mostly share a window.
        if last != Some(start) {
            last = Some(start);
            starts.insert(start);
        }
    }
    starts.into_iter().map(|start| Window { level, start, width }).collect()
}
