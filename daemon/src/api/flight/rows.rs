//! Rows on their way to a client.
//!
//! # Why
//! The library cuts batches by the memory behind their columns, which for rows that were cut from larger batches gives
//! messages of single rows, and for rows of uneven size messages over the limit. So they are cut here, by their own bytes.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use sql::{Answer, Query};
use storage::merge::slice_bytes;
use tokio::sync::mpsc;
use tonic::Status;

use super::{Parts, errors};

pub(super) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// So many messages wait for a slow client before the query waits too.
const MESSAGES_WAITING_MAX: usize = 2;

/// Rows of one message; half of what clients take by default.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// A message on its way to the socket; `None` says that the answer is whole.
type Piece = Result<Option<FlightData>, Status>;

/// The columns as they are sent: without dictionaries.
pub(super) fn sent(schema: &SchemaRef) -> SchemaRef {
    let encoder = FlightDataEncoderBuilder::new().with_schema(Arc::clone(schema)).build(stream::empty());
    encoder.known_schema().expect("it was given")
}

/// How long a client may take to read more of its answer.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// The answer to a query; dropping it ends the query.
pub(super) async fn of_query(parts: &Parts, query: Query) -> Result<Messages, Status> {
    let answer = parts.engine.run(query).await.map_err(errors::of_query)?;
    let (pieces, received) = mpsc::channel(MESSAGES_WAITING_MAX);
    // The task ends when the receiver is dropped, that is, when the client goes away or has everything.
    parts.datafusion.spawn(async move {
        tokio::select! {
            biased;
            // Dropping the other future cancels the query, which is what nobody waiting for it means.
            () = pieces.closed() => {}
            () = send(answer, &pieces) => {}
        }
    });
    Ok(streamed(received).boxed())
}

/// Rows that are there already.
pub(super) fn of_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    encoded(schema, stream::iter([Ok(batch)])).boxed()
}

/// Sends the messages of the answer, and how it ended.
async fn send(answer: Answer, pieces: &mpsc::Sender<Piece>) {
    let mut messages = encoded(answer.schema, answer.rows.map(|rows| rows.map_err(errors::of_query))).boxed();
    while let Some(message) = messages.next().await {
        let is_last = message.is_err();
        // A client that stopped reading would keep what it did not read for ever.
        if pieces.send_timeout(message.map(Some), READ_WITHIN).await.is_err() || is_last {
            return;
        }
    }
    // It fails only when nobody listens any more.
    let _ = pieces.send(Ok(None)).await;
}

fn streamed(received: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<FlightData, Status>> {
    stream::unfold(Some(received), |received| async move {
        let mut received = received?;
        match received.recv().await {
            Some(Ok(Some(message))) => Some((Ok(message), Some(received))),
            Some(Ok(None)) => None,
            Some(Err(status)) => Some((Err(status), None)),
            // Whoever encoded is gone without a word: what was sent is not whole.
            None => Some((Err(Status::internal("the query ended in the middle of its answer")), None)),
        }
    })
}

fn encoded(
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> impl Stream<Item = Result<FlightData, Status>> {
    let sent = sent(&schema);
    let cut = rows.map(move |batch| {
        let cut = batch.and_then(|batch| hydrated(&batch, &sent)).map(cut);
        stream::iter(match cut {
            Ok(cut) => cut.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(FlightError::from(status))],
        })
    });
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).with_max_flight_data_size(usize::MAX);
    encoder.build(cut.flatten()).map(|message| message.map_err(of_flight))
}

fn of_flight(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => errors::of_encoding(other),
    }
}

fn hydrated(batch: &RecordBatch, sent: &SchemaRef) -> Result<RecordBatch, Status> {
    let columns = batch.columns().iter().zip(sent.fields());
    let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type())).collect::<Result<_, _>>();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = |columns| RecordBatch::try_new_with_options(Arc::clone(sent), columns, &options);
    columns.and_then(batch).map_err(errors::of_encoding)
}

/// The rows in order, in parts that fit into messages.
fn cut(batch: RecordBatch) -> Vec<RecordBatch> {
    let (mut waiting, mut done) = (vec![batch], Vec::new());
    while let Some(batch) = waiting.pop() {
        let rows = batch.num_rows();
        if rows <= 1 || slice_bytes(&batch) <= MESSAGE_BYTES_MAX {
            done.push(batch);
        } else {
            let first = rows / 2;
            waiting.extend([batch.slice(first, rows - first), batch.slice(0, first)]);
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, DictionaryArray, StringArray};
    use arrow_flight::decode::FlightRecordBatchStream;
    use futures::TryStreamExt;

    use super::*;

    fn texts(lens: impl Iterator<Item = usize>) -> RecordBatch {
        let texts = StringArray::from_iter_values(lens.map(|len| "x".repeat(len)));
        RecordBatch::try_from_iter([("s", Arc::new(texts) as ArrayRef)]).unwrap()
    }

    async fn decoded(messages: Messages) -> Vec<RecordBatch> {
        FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from)).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn no_message_is_larger_than_clients_take_unless_one_row_is() {
        // Small rows first, so that the large ones all fall into the end.
        let batch = texts((0..8000).map(|_| 10).chain((0..300).map(|_| 100_000)).chain([5 << 20]));
        let messages: Vec<FlightData> = of_batch(batch.clone()).try_collect().await.unwrap();
        let sizes: Vec<usize> = messages.iter().map(|message| message.data_body.len()).collect();
        let (last, others) = sizes.split_last().unwrap();
        assert!(others.iter().all(|size| *size < 3 << 20), "{sizes:?}");
        assert!(*last > 5 << 20 && sizes.len() < 40, "{sizes:?}");
        let found = decoded(stream::iter(messages.into_iter().map(Ok)).boxed()).await;
        let lens = |batch: &RecordBatch| {
            batch.column(0).as_string::<i32>().iter().map(|s| s.unwrap().len()).collect::<Vec<_>>()
        };
        assert_eq!(found.iter().flat_map(lens).collect::<Vec<_>>(), lens(&batch));
    }

    #[tokio::test]
    async fn rows_that_were_cut_from_a_large_batch_go_as_one_message() {
        let batch = texts((0..100_000).map(|_| 100)).slice(500, 1000);
        assert_eq!(decoded(of_batch(batch.clone())).await, [batch]);
    }

    #[tokio::test]
    async fn dictionaries_are_taken_apart_and_an_answer_without_rows_has_its_columns() {
        let tags: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([("t", Arc::new(tags) as ArrayRef)]).unwrap();
        let schema = batch.schema();
        let found = decoded(of_batch(batch)).await;
        assert_eq!(found[0].column(0).as_string::<i32>(), &StringArray::from(vec!["a", "b", "a"]));
        assert_eq!(found[0].schema(), sent(&schema));
        let messages: Vec<FlightData> = encoded(schema, stream::empty()).try_collect().await.unwrap();
        assert_eq!(messages.len(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_ends_without_its_end_is_an_error() {
        let (pieces, received) = mpsc::channel(2);
        pieces.send(Ok(Some(FlightData::new()))).await.unwrap();
        drop(pieces);
        let found: Vec<bool> = streamed(received).map(|message| message.is_ok()).collect().await;
        assert_eq!(found, [true, false]);
        let (pieces, received) = mpsc::channel(2);
        pieces.send(Ok(None)).await.unwrap();
        drop(pieces);
        assert_eq!(streamed(received).count().await, 0);
    }
}
