use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::sorted::{Place, Sorted};
use super::{Error, Layout};
use crate::model::SeriesKey;

/// Where a sorted stream is cut into pieces.
#[derive(Debug, Clone)]
pub struct Cuts {
    /// A piece with so many rows ends with the series in work.
    pub rows_max: u64,
    /// Likewise for bytes of strings and tag values.
    pub bytes_max: u64,
    pub long_series: LongSeries,
    /// The first row at or after each of these begins a piece. Sorted.
    pub borders: Vec<Border>,
}

/// What becomes of a series that does not end when a piece is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongSeries {
    /// It is cut when the piece is twice as long as it should be. Both pieces hold the series.
    Cut,
    /// It stays whole, however long.
    Keep,
}

/// A place in the order of rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Border {
    pub key: SeriesKey,
    pub time: i64,
}

/// Cuts a sorted stream into pieces; the versions of one row stay together.
///
/// Pieces do not overlap: their series differ, or, where one series is longer than a piece, its times do.
#[derive(Debug)]
pub struct Cutter<I> {
    layout: Layout,
    cuts: Cuts,
    source: I,
    borders: VecDeque<Border>,
    /// Rows that begin the next piece.
    rest: Option<RecordBatch>,
    /// The last row handed out.
    last: Option<Place>,
    /// Of the piece in work.
    rows: u64,
    bytes: u64,
}

impl<I> Cutter<I> {
    #[must_use]
    pub fn new(layout: Layout, cuts: Cuts, source: I) -> Self {
        let borders = cuts.borders.iter().cloned().collect();
        Self { layout, cuts, source, borders, rest: None, last: None, rows: 0, bytes: 0 }
    }
}

impl<I, E> Cutter<I>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    E: From<Error>,
{
    /// The batches of the next piece, `None` after the last. A piece must be read to its end before the next.
    pub fn piece(&mut self) -> Result<Option<Piece<'_, I>>, E> {
        while self.rest.is_none() {
            match self.source.next().transpose()? {
                None => return Ok(None),
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => self.rest = Some(batch),
            }
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(Some(Piece { cutter: self, ended: false }))
    }

    /// The part of `batch` that belongs to the piece in work, and whether the piece ends with it.
    fn take(&mut self, batch: RecordBatch) -> Result<(RecordBatch, bool), Error> {
        let Some(sorted) = Sorted::of_input(0, batch.clone(), &self.layout)? else { return Ok((batch, false)) };
        let sorted = Arc::new(sorted);
        let cut = (0..sorted.series_len()).find_map(|series| self.cut_within(&sorted, series));
        let end = cut.unwrap_or(sorted.rows());
        self.rest = cut.map(|row| batch.slice(row, batch.num_rows() - row));
        if end > 0 {
            self.last = Some(sorted.place(end - 1));
        }
        Ok((batch.slice(0, end), cut.is_some()))
    }

    /// The row before which the piece ends, if that is within the series; else counts the rows of the series.
    fn cut_within(&mut self, batch: &Arc<Sorted>, series: usize) -> Option<usize> {
        let range = (batch.series_start(series), batch.series_end(series));
        let (start, end) = range;
        let goes_on = self.last.as_ref().is_some_and(|last| start == 0 && last.series_order(&batch.place(0)).is_eq());
        let is_full = self.rows >= self.cuts.rows_max || self.bytes >= self.cuts.bytes_max;
        let full = (is_full && !goes_on).then_some(start);
        let cut = [self.border_within(batch, range), full, self.too_long(batch, range)].into_iter().flatten().min();
        if cut.is_none() {
            self.rows += (end - start) as u64;
            self.bytes += batch.bytes(start, end);
        }
        cut
    }

    /// The first row of the series that a border puts into the next piece.
    fn border_within(&mut self, batch: &Arc<Sorted>, (start, end): (usize, usize)) -> Option<usize> {
        let key = if self.borders.is_empty() { return None } else { batch.key(start) };
        let first = Border { key: key.clone(), time: batch.time(start) };
        let passed = self.borders.partition_point(|border| *border <= first);
        self.borders.drain(..passed);
        if passed > 0 && self.rows > 0 {
            return Some(start);
        }
        let within = self.borders.front().filter(|border| border.key == key)?;
        (start..end).find(|row| batch.time(*row) >= within.time)
    }

    /// Where a series that does not end is cut: at a row that is no version of the one before it.
    fn too_long(&self, batch: &Sorted, (start, end): (usize, usize)) -> Option<usize> {
        if self.cuts.long_series == LongSeries::Keep {
            return None;
        }
        let rows_left = (2 * self.cuts.rows_max).saturating_sub(self.rows);
        let bytes_left = (2 * self.cuts.bytes_max).saturating_sub(self.bytes);
        let rows_left = usize::try_from(rows_left).unwrap_or(usize::MAX).min(batch.rows_within(start, bytes_left));
        let first = start.checked_add(rows_left.max(1)).filter(|row| *row < end)?;
        (first..end).find(|row| batch.time(*row) != batch.time(row - 1))
    }
}

/// The batches of one piece.
#[derive(Debug)]
pub struct Piece<'a, I> {
    cutter: &'a mut Cutter<I>,
    ended: bool,
}

impl<I, E> Iterator for Piece<'_, I>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    E: From<Error>,
{
    type Item = Result<RecordBatch, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = match self.cutter.rest.take().map(Ok).or_else(|| self.cutter.source.next())? {
            Ok(batch) => batch,
            Err(error) => {
                self.ended = true;
                return Some(Err(error));
            }
        };
        match self.cutter.take(batch) {
            Ok((batch, is_last)) => {
                self.ended = is_last;
                Some(Ok(batch))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::tests::{Row, VALUES, batch, layout, rows};
    use super::*;

    fn order(row: &Row) -> ([Option<&'static str>; 2], i64) {
        (row.tags, row.time)
    }

    fn border(row: &Row) -> Border {
        Border { key: SeriesKey(row.tags.iter().map(|tag| tag.map(Into::into)).collect()), time: row.time }
    }

    fn random_rows(rng: &mut StdRng) -> Vec<Row> {
        let mut rows: Vec<Row> = (0..rng.random_range(0..60))
            .map(|stamp| {
                let mut tag = || rng.random_bool(0.8).then(|| VALUES[rng.random_range(1..VALUES.len())]);
                let tags = [tag(), tag()];
                Row { tags, time: rng.random_range(0..6), fields: [Some(1), None, None], stamp }
            })
            .collect();
        rows.sort_by_key(|row| (row.tags, row.time, row.stamp));
        rows
    }

    fn pieces(all: &[Row], cuts: Cuts, rng: &mut StdRng) -> Vec<Vec<Row>> {
        let mut batches = Vec::new();
        let mut rest = all;
        while !rest.is_empty() {
            let (first, others) = rest.split_at(rng.random_range(0..=rest.len().min(9)));
            batches.push(Ok::<_, Error>(batch(first, rng)));
            rest = others;
        }
        let mut cutter = Cutter::new(layout(), cuts, batches.into_iter());
        let mut pieces = Vec::new();
        while let Some(piece) = cutter.piece().unwrap() {
            pieces.push(rows(&piece.collect::<Result<Vec<_>, Error>>().unwrap()));
        }
        pieces
    }

    #[test]
    fn pieces_hold_every_row_once_and_no_row_is_torn() {
        for seed in 0..500 {
            let mut rng = StdRng::seed_from_u64(seed);
            let all = random_rows(&mut rng);
            let mut borders: Vec<Border> =
                random_rows(&mut rng).iter().filter(|_| rng.random_bool(0.1)).map(border).collect();
            borders.sort();
            let rows_max = rng.random_range(1..20);
            let long_series = if rng.random_bool(0.5) { LongSeries::Cut } else { LongSeries::Keep };
            let cuts = Cuts { rows_max, bytes_max: rng.random_range(1..200), long_series, borders: borders.clone() };
            let pieces = pieces(&all, cuts, &mut rng);
            assert_eq!(pieces.concat(), all, "seed {seed}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "seed {seed}");
            for pair in pieces.windows(2) {
                let (last, first) = (pair[0].last().unwrap(), pair[1].first().unwrap());
                assert!(order(last) < order(first), "seed {seed}: versions of a row are torn apart");
                let is_border = borders.iter().any(|b| border(last) < *b && *b <= border(first));
                assert!(
                    is_border || long_series == LongSeries::Cut || last.tags < first.tags,
                    "seed {seed}: kept whole"
                );
            }
            for piece in &pieces {
                let (first, last) = (border(piece.first().unwrap()), border(piece.last().unwrap()));
                assert!(
                    !borders.iter().any(|b| first < *b && *b <= last),
                    "seed {seed}: a border is inside of a piece"
                );
                let series = piece.iter().filter(|row| row.tags == piece.last().unwrap().tags).count() as u64;
                let before = piece.len() as u64 - series;
                assert!(before < rows_max, "seed {seed}: {before} rows before the last series");
            }
        }
    }

    #[test]
    fn a_series_without_end_is_cut_by_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let row = |time, stamp| Row { tags: [Some("a"), None], time, fields: [Some(1), None, None], stamp };
        let all: Vec<Row> = (0..30).map(|n| row(n / 3, n as u64)).collect();
        let cuts = Cuts { rows_max: 4, bytes_max: u64::MAX / 4, long_series: LongSeries::Cut, borders: Vec::new() };
        let lengths: Vec<usize> = pieces(&all, cuts, &mut rng).iter().map(Vec::len).collect();
        assert!(lengths.iter().all(|length| *length <= 9 + 3), "{lengths:?}");
        assert!(lengths.len() >= 3, "{lengths:?}");
    }

    #[test]
    fn pieces_without_limits_are_one() {
        let mut rng = StdRng::seed_from_u64(2);
        let all = random_rows(&mut rng);
        let cuts =
            Cuts { rows_max: u64::MAX / 4, bytes_max: u64::MAX / 4, long_series: LongSeries::Cut, borders: Vec::new() };
        assert_eq!(pieces(&all, cuts, &mut rng), [all]);
    }
}
