//! The rows of one answer, on their way from the query engine to the socket.
//!
//! # Promises
//! - Rows are encoded on the threads for long work, piece by piece; between them and the socket wait a few pieces. When
//!   nobody takes them, the query waits.
//! - Dropping the rows cancels their query.
//! - An answer that was cut off has no end, so it never looks like a whole one.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use sql::{Engine, PgType, Query};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::columns::{Cut, columns};
use super::copy::CopyWriter;
use super::errors::Refusal;
use super::settings::Zone;
use super::values::put_sized;
use super::wire::{ColumnInfo, Format, Outbox, count, format_at};

/// So many pieces wait for a slow client before the query waits too.
const PIECES_WAITING_MAX: usize = 4;
/// Rows that are encoded as one piece.
const PIECE_ROWS: usize = 1024;
/// The protocol counts columns in two bytes; Postgres has at most so many.
const COLUMNS_MAX: usize = 1664;

/// How rows are written.
#[derive(Debug)]
pub(super) enum Form {
    /// A message for each row, its values in these formats.
    Rows(Vec<Format>),
    Copy(CopyWriter),
}

/// What a query is run with.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) engine: Engine,
    pub(super) datafusion: Handle,
}

enum Piece {
    Columns(Vec<ColumnInfo>),
    Rows(Bytes, usize),
    /// The answer is whole.
    End,
    Failed(Refusal),
}

/// Messages with rows in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) rows: usize,
}

/// Rows that come one after the other.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<ColumnInfo>,
    /// Encoded and not yet taken.
    waiting: VecDeque<Chunk>,
    pieces: Option<mpsc::Receiver<Piece>>,
    pub(super) cut: Cut,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Columns(columns) => f.debug_tuple("Columns").field(columns).finish(),
            Self::Rows(bytes, rows) => f.debug_tuple("Rows").field(&bytes.len()).field(rows).finish(),
            Self::End => f.write_str("End"),
            Self::Failed(refusal) => f.debug_tuple("Failed").field(refusal).finish(),
        }
    }
}

/// What clients are told of the columns of `schema`.
pub(super) fn described(schema: &Schema) -> Result<Vec<ColumnInfo>, Refusal> {
    let number = schema.fields().len();
    if number > COLUMNS_MAX {
        let message = format!("the answer has {number} columns; at most {COLUMNS_MAX} can be sent");
        return Err(Refusal::new("54011", message));
    }
    let info = |field: &arrow_schema::FieldRef| ColumnInfo { name: field.name().clone(), data_type: PgType::of(field) };
    Ok(schema.fields().iter().map(info).collect())
}

impl Runner {
    /// Begins to run `query`. Returns once its columns are known.
    pub(super) async fn run(&self, query: Query, form: Form, zone: Zone) -> Result<Rows, Refusal> {
        let (sent, mut pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let (engine, cut) = (self.engine.clone(), Cut::default());
        let mut encoder = Encoder { form, zone, cut: cut.clone(), types: Vec::new() };
        self.datafusion.spawn(async move {
            tokio::select! {
                biased;
                // Dropping the other future cancels the query, which is what nobody waiting for it means.
                () = sent.closed() => {}
                () = encoder.run(&engine, query, &sent) => {}
            }
        });
        match pieces.recv().await {
            Some(Piece::Columns(columns)) => Ok(Rows { columns, waiting: VecDeque::new(), pieces: Some(pieces), cut }),
            Some(Piece::Failed(refusal)) => Err(refusal),
            Some(Piece::Rows(..) | Piece::End) | None => Err(ended_early()),
        }
    }
}

fn ended_early() -> Refusal {
    Refusal::new("XX000", "the query ended without its end")
}

impl Rows {
    /// The next rows, at most `rows_max`; `None` at the end. A wait for them may be dropped at any time.
    pub(super) async fn next(&mut self, rows_max: usize) -> Result<Option<Chunk>, Refusal> {
        while self.waiting.is_empty() {
            let Some(pieces) = &mut self.pieces else { return Ok(None) };
            match pieces.recv().await {
                Some(Piece::Rows(bytes, rows)) => self.waiting.push_back(Chunk { bytes, rows }),
                Some(Piece::Columns(_)) => {}
                Some(Piece::End) => self.pieces = None,
                Some(Piece::Failed(refusal)) => {
                    self.pieces = None;
                    return Err(refusal);
                }
                // Whoever encoded is gone without a word: what was sent is not whole.
                None => {
                    self.pieces = None;
                    return Err(ended_early());
                }
            }
        }
        let first = self.waiting.front_mut().expect("one waits");
        Ok(if first.rows <= rows_max { self.waiting.pop_front() } else { Some(first.split(rows_max)) })
    }
}

/// Rows of text that are there already.
pub(super) fn of_texts(rows: &[Vec<String>]) -> Chunk {
    let mut out = Outbox::default();
    for row in rows {
        out.message(b'D', |body| {
            body.put_i16(count(row.len()));
            for value in row {
                body.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                body.put_slice(value.as_bytes());
            }
        });
    }
    Chunk { bytes: out.0.freeze(), rows: rows.len() }
}

impl Chunk {
    /// Takes the first `rows` messages; each begins with its kind and its length.
    fn split(&mut self, rows: usize) -> Self {
        let mut at = 0;
        for _ in 0..rows {
            let len = self.bytes[at + 1..].first_chunk().map_or(4, |len| u32::from_be_bytes(*len));
            at += 1 + usize::try_from(len).expect("a message fits in memory");
        }
        self.rows -= rows;
        Self { bytes: self.bytes.split_to(at), rows }
    }
}

struct Encoder {
    form: Form,
    zone: Zone,
    cut: Cut,
    types: Vec<PgType>,
}

impl Encoder {
    /// Sends the pieces of the answer, and one that says how it ended.
    async fn run(&mut self, engine: &Engine, query: Query, pieces: &mpsc::Sender<Piece>) {
        let end = match self.encode(engine, query, pieces).await {
            Ok(()) => Piece::End,
            Err(refusal) => Piece::Failed(refusal),
        };
        // A send fails only when nobody listens any more.
        let _ = pieces.send(end).await;
    }

    async fn encode(&mut self, engine: &Engine, query: Query, pieces: &mpsc::Sender<Piece>) -> Result<(), Refusal> {
        let mut answer = engine.run(query).await?;
        let columns = described(&answer.schema)?;
        self.types = columns.iter().map(|column| column.data_type).collect();
        let first = match &self.form {
            Form::Copy(copy) => copy.head(&columns),
            Form::Rows(_) => Bytes::new(),
        };
        let send = async |piece| pieces.send(piece).await.map_err(|_| Refusal::from(sql::Error::Cancelled));
        send(Piece::Columns(columns)).await?;
        if !first.is_empty() {
            send(Piece::Rows(first, 0)).await?;
        }
        while let Some(batch) = answer.rows.next().await {
            let batch = batch?;
            for start in (0..batch.num_rows()).step_by(PIECE_ROWS) {
                let rows = batch.slice(start, PIECE_ROWS.min(batch.num_rows() - start));
                send(Piece::Rows(self.piece(&rows)?, rows.num_rows())).await?;
            }
        }
        if let Form::Copy(copy) = &mut self.form {
            send(Piece::Rows(copy.tail(), 0)).await?;
        }
        Ok(())
    }

    fn piece(&mut self, batch: &RecordBatch) -> Result<Bytes, Refusal> {
        let failed = |error: String| Refusal::new("XX000", format!("encode rows: {error}"));
        let columns = columns(batch, &self.types, &self.cut).map_err(|error| failed(error.to_string()))?;
        let mut out = Outbox(BytesMut::with_capacity(batch.num_rows() * (16 + 12 * columns.len())));
        for row in 0..batch.num_rows() {
            match &mut self.form {
                Form::Copy(copy) => copy.row((&columns, row), self.zone, &mut out).map_err(failed)?,
                Form::Rows(formats) => {
                    let (mut result, zone) = (Ok(()), self.zone);
                    out.message(b'D', |body| {
                        body.put_i16(count(columns.len()));
                        result = columns.iter().enumerate().try_for_each(|(index, column)| {
                            put_sized((column, row), (format_at(formats, index), zone), body)
                        });
                    });
                    result.map_err(failed)?;
                }
            }
        }
        Ok(out.0.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Rows {
        let texts: Vec<Vec<String>> = (0..count).map(|number| vec![number.to_string()]).collect();
        let columns = vec![ColumnInfo { name: "c".into(), data_type: PgType::TEXT }];
        Rows { columns, waiting: VecDeque::from([of_texts(&texts)]), pieces: None, cut: Cut::default() }
    }

    #[tokio::test]
    async fn rows_are_taken_as_many_at_a_time_as_wanted() {
        let mut rows = rows(12);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(chunk) = rows.next(5).await.expect("rows") {
            taken.push(chunk.rows);
            bytes += chunk.bytes.len();
        }
        assert_eq!(taken, [5, 5, 2]);
        assert_eq!(bytes, 10 * 12 + 2 * 13);
    }

    #[tokio::test]
    async fn an_answer_without_its_end_is_an_error() {
        let (sent, pieces) = mpsc::channel(1);
        let mut rows = Rows { pieces: Some(pieces), ..rows(0) };
        rows.waiting.clear();
        sent.send(Piece::Rows(Bytes::from_static(b"D\0\0\0\x04"), 1)).await.expect("it is read");
        drop(sent);
        assert_eq!(rows.next(9).await.map(|chunk| chunk.map(|chunk| chunk.rows)), Ok(Some(1)));
        assert_eq!(rows.next(9).await, Err(ended_early()));
    }
}
