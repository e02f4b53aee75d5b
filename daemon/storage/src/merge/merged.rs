use arrow_array::RecordBatch;

use super::{Error, Layout, Merger, Settle, Step};

/// The merged batches of iterators over batches, on the caller's thread. Ends after the first error.
#[derive(Debug)]
pub struct Merged<I> {
    merger: Merger,
    inputs: Vec<I>,
    ended: bool,
}

impl<I> Merged<I> {
    pub fn new(layout: Layout, inputs: Vec<I>, settle: Settle) -> Result<Self, Error> {
        Ok(Self { merger: Merger::new(layout, inputs.len(), settle)?, inputs, ended: false })
    }

    #[cfg(test)]
    pub(super) fn with(merger: Merger, inputs: Vec<I>) -> Self {
        Self { merger, inputs, ended: false }
    }
}

impl<I, E> Merged<I>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    E: From<Error>,
{
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, E> {
        loop {
            match self.merger.step()? {
                Step::Output(batch) => return Ok(Some(batch)),
                Step::Done => return Ok(None),
                Step::Need(input) => match self.inputs[input].next() {
                    Some(batch) => self.merger.give(input, batch?)?,
                    None => self.merger.end(input),
                },
            }
        }
    }
}

impl<I, E> Iterator for Merged<I>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    E: From<Error>,
{
    type Item = Result<RecordBatch, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_batch().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Merges batches that are all at hand.
pub fn merge_all(layout: Layout, inputs: Vec<Vec<RecordBatch>>, settle: Settle) -> Result<Vec<RecordBatch>, Error> {
    let inputs = inputs.into_iter().map(|batches| batches.into_iter().map(Ok::<_, Error>)).collect();
    Merged::new(layout, inputs, settle)?.collect()
}
