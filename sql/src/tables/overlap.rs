//! Which sources could hold versions of the same row.

use storage::model::{SeriesKey, TimeRange};

/// The box of times and series keys that holds every row of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<'a> {
    pub(crate) time: TimeRange,
    pub(crate) key_min: &'a SeriesKey,
    pub(crate) key_max: &'a SeriesKey,
}

impl Extent<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        self.time.overlaps(other.time) && self.key_min <= other.key_max && other.key_min <= self.key_max
    }
}

/// Puts the sources into sets such that no source overlaps one of another set: the transitive closure of "overlaps".
/// The sets hold indexes into `extents`; sets and their members are in order of time.
pub(crate) fn overlap_sets(extents: &[Extent<'_>]) -> Vec<Vec<usize>> {
    let mut by_time: Vec<usize> = (0..extents.len()).collect();
    by_time.sort_by_key(|i| (extents[*i].time.min, extents[*i].time.max));
    let mut sets = Sets::new(extents.len());
    // Sources that have begun and may reach into those to come.
    let mut open: Vec<usize> = Vec::new();
    for &i in &by_time {
        open.retain(|o| extents[*o].time.max >= extents[i].time.min);
        for &o in &open {
            if extents[o].overlaps(&extents[i]) {
                sets.unite(o, i);
            }
        }
        open.push(i);
    }
    sets.lists(&by_time)
}

/// Union-find.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(len: usize) -> Self {
        Self { parent: (0..len).collect() }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[b] = a;
    }

    fn lists(mut self, order: &[usize]) -> Vec<Vec<usize>> {
        let mut lists: Vec<Vec<usize>> = Vec::new();
        let mut list_of_root = vec![None; order.len()];
        for &i in order {
            let root = self.root(i);
            let list = *list_of_root[root].get_or_insert_with(|| {
                lists.push(Vec::new());
                lists.len() - 1
            });
            lists[list].push(i);
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Box4 = (i64, i64, &'static str, &'static str);

    #[test]
    fn sources_that_share_no_time_or_no_key_stay_apart() {
        check(&[], &[]);
        check(&[(0, 9, "a", "z")], &[&[0]]);
        check(&[(0, 9, "a", "z"), (10, 19, "a", "z")], &[&[0], &[1]]);
        check(&[(0, 9, "a", "f"), (0, 9, "g", "z")], &[&[0], &[1]]);
    }

    #[test]
    fn sources_that_share_one_instant_and_one_key_are_one_set() {
        check(&[(0, 10, "a", "f"), (10, 19, "f", "z")], &[&[0, 1]]);
    }

    #[test]
    fn a_bridge_unites_what_does_not_overlap_by_itself() {
        check(&[(0, 9, "a", "c"), (0, 9, "x", "z"), (5, 20, "b", "y"), (30, 40, "a", "z")], &[&[0, 1, 2], &[3]]);
    }

    #[test]
    fn sets_are_in_order_of_time() {
        check(&[(20, 29, "a", "z"), (0, 9, "a", "z"), (5, 7, "a", "z")], &[&[1, 2], &[0]]);
    }

    #[test]
    fn no_two_sets_overlap_and_every_set_hangs_together() {
        for seed in 0..200_u64 {
            let mut next = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = |below: u64| {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (next >> 33) % below
            };
            let boxes: Vec<(TimeRange, SeriesKey, SeriesKey)> = (0..random(12))
                .map(|_| {
                    let (start, first) = (random(50) as i64, random(20));
                    let time = TimeRange::new(start, start + random(10) as i64).expect("in order");
                    (time, key(&letter(first)), key(&letter(first + random(5))))
                })
                .collect();
            check_closed(&boxes);
        }
    }

    fn letter(i: u64) -> String {
        format!("{i:03}")
    }

    fn key(tag: &str) -> SeriesKey {
        SeriesKey(vec![Some(tag.into())])
    }

    fn check_closed(boxes: &[(TimeRange, SeriesKey, SeriesKey)]) {
        let extents: Vec<_> =
            boxes.iter().map(|(time, min, max)| Extent { time: *time, key_min: min, key_max: max }).collect();
        let sets = overlap_sets(&extents);
        let mut seen: Vec<usize> = sets.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..boxes.len()).collect::<Vec<_>>(), "every source is in one set");
        for (i, set) in sets.iter().enumerate() {
            for other in &sets[i + 1..] {
                assert!(!set.iter().any(|a| other.iter().any(|b| extents[*a].overlaps(&extents[*b]))));
            }
            let mut reached = vec![set[0]];
            while let Some(more) =
                set.iter().find(|a| !reached.contains(a) && reached.iter().any(|r| extents[*r].overlaps(&extents[**a])))
            {
                reached.push(*more);
            }
            assert_eq!(reached.len(), set.len(), "a set hangs together");
        }
    }

    #[track_caller]
    fn check(boxes: &[Box4], expected: &[&[usize]]) {
        let keys: Vec<_> = boxes.iter().map(|b| (key(b.2), key(b.3))).collect();
        let extents: Vec<_> = boxes
            .iter()
            .zip(&keys)
            .map(|(b, (min, max))| Extent {
                time: TimeRange::new(b.0, b.1).expect("in order"),
                key_min: min,
                key_max: max,
            })
            .collect();
        assert_eq!(overlap_sets(&extents), expected);
    }
}
