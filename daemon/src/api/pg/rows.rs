//! The rows of one answer, on their way from the query engine to the socket.
//!
//! # Promises
//! - Rows are encoded on the threads for long work, piece by piece; between them and the socket wait a few pieces of few
//!   bytes. When nobody takes them, the query waits, though not for ever.
//! - Dropping the rows cancels their query. Rows that wait can be ended from outside; whoever asks for more of them is
//!   told why there are none.
//! - An answer that was cut off has no end, so it never looks like a whole one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use sql::{Engine, PgType, Query, Tag};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_util::sync::CancellationToken;

use super::columns::{Column, Cut, columns};
use super::copy::CopyWriter;
use super::errors::Refusal;
use super::settings::Zone;
use super::values::put_sized;
use super::wire::{ColumnInfo, Format, Outbox, count, format_at};

/// So many pieces wait for a slow client before the query waits too.
const PIECES_WAITING_MAX: usize = 4;
/// Rows that are made ready to be encoded together.
const ROWS_READY: usize = 1024;
/// A piece ends with the row that brings it to so much.
const PIECE_BYTES: usize = 256 << 10;
/// The largest row.
const ROW_BYTES_MAX: usize = 256 << 20;
/// How long rows wait for a client to take them.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
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
    Columns(Vec<ColumnInfo>, Option<Tag>),
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
    /// What is said in the end of a command.
    pub(super) tag: Option<Tag>,
    /// Encoded and not yet taken.
    waiting: VecDeque<Chunk>,
    pieces: Option<mpsc::Receiver<Piece>>,
    pub(super) cut: Cut,
    pub(super) fate: Arc<Fate>,
}

/// How rows end before their end.
#[derive(Debug, Default)]
pub(super) struct Fate {
    ended: CancellationToken,
    why: OnceLock<Refusal>,
}

impl Fate {
    /// Ends them, unless they have ended.
    pub(super) fn end(&self, why: Refusal) {
        // The first reason is the true one.
        let _ = self.why.set(why);
        self.ended.cancel();
    }

    pub(super) fn why(&self) -> Option<&Refusal> {
        self.why.get()
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Columns(columns, tag) => f.debug_tuple("Columns").field(columns).field(tag).finish(),
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
        let (engine, cut, fate) = (self.engine.clone(), Cut::default(), Arc::<Fate>::default());
        let mut encoder = Encoder { form, zone, cut: cut.clone(), types: Vec::new(), fate: Arc::clone(&fate) };
        let ended = fate.ended.clone();
        self.datafusion.spawn(async move {
            tokio::select! {
                biased;
                // Dropping the last future cancels the query, which is what nobody waiting for it means.
                () = sent.closed() => {}
                () = ended.cancelled() => {}
                () = encoder.run(&engine, query, &sent) => {}
            }
        });
        match pieces.recv().await {
            Some(Piece::Columns(columns, tag)) => {
                Ok(Rows { columns, tag, waiting: VecDeque::new(), pieces: Some(pieces), cut, fate })
            }
            Some(Piece::Failed(refusal)) => Err(refusal),
            Some(Piece::Rows(..) | Piece::End) | None => Err(ended_early()),
        }
    }
}

/// Fails when a row has become too large.
pub(super) fn check(row: &BytesMut) -> Result<(), Refusal> {
    if row.len() <= ROW_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new("54000", format!("a row has more than {} MiB and cannot be sent", ROW_BYTES_MAX >> 20)))
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
                Some(Piece::Columns(..)) => {}
                Some(Piece::End) => self.pieces = None,
                Some(Piece::Failed(refusal)) => {
                    self.pieces = None;
                    return Err(refusal);
                }
                // Whoever encoded is gone without a word: what was sent is not whole.
                None => {
                    self.pieces = None;
                    return Err(self.fate.why().cloned().unwrap_or_else(ended_early));
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
    fate: Arc<Fate>,
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
        let fate = Arc::clone(&self.fate);
        let send = async |piece| match pieces.send_timeout(piece, PATIENCE).await {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Closed(_)) => Err(Refusal::from(sql::Error::Cancelled)),
            Err(SendTimeoutError::Timeout(_)) => {
                let refusal = not_taken();
                fate.end(refusal.clone());
                Err(refusal)
            }
        };
        send(Piece::Columns(columns, answer.tag)).await?;
        if !first.is_empty() {
            send(Piece::Rows(first, 0)).await?;
        }
        while let Some(batch) = answer.rows.next().await {
            let batch = batch?;
            for start in (0..batch.num_rows()).step_by(ROWS_READY) {
                let ready = batch.slice(start, ROWS_READY.min(batch.num_rows() - start));
                let (columns, mut row) = (self.ready(&ready)?, 0);
                while row < ready.num_rows() {
                    let (piece, count) = self.piece(&columns, row..ready.num_rows())?;
                    row += count;
                    send(Piece::Rows(piece, count)).await?;
                }
            }
        }
        if let Form::Copy(copy) = &mut self.form {
            send(Piece::Rows(copy.tail(), 0)).await?;
        }
        Ok(())
    }

    fn ready(&self, batch: &RecordBatch) -> Result<Vec<Column>, Refusal> {
        columns(batch, &self.types, &self.cut)
    }

    /// As many of these rows as make a piece, and their number.
    fn piece(&mut self, columns: &[Column], rows: Range<usize>) -> Result<(Bytes, usize), Refusal> {
        let expected = rows.len() * (16 + 12 * columns.len());
        let mut out = Outbox(BytesMut::with_capacity(expected.min(PIECE_BYTES)));
        for row in rows.clone() {
            let zone = self.zone;
            match &mut self.form {
                Form::Copy(copy) => copy.row((columns, row), zone, &mut out)?,
                Form::Rows(formats) => out.try_message(b'D', |body| {
                    body.put_i16(count(columns.len()));
                    columns.iter().enumerate().try_for_each(|(index, column)| {
                        put_sized((column, row), (format_at(formats, index), zone), body)?;
                        check(body)
                    })
                })?,
            }
            if out.0.len() >= PIECE_BYTES {
                return Ok((out.0.freeze(), row + 1 - rows.start));
            }
        }
        Ok((out.0.freeze(), rows.len()))
    }
}

fn not_taken() -> Refusal {
    let message = format!("canceling statement as its client took no rows for {} seconds", PATIENCE.as_secs());
    Refusal::new("57014", message)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray};

    use super::*;

    fn rows(count: usize) -> Rows {
        let texts: Vec<Vec<String>> = (0..count).map(|number| vec![number.to_string()]).collect();
        let columns = vec![ColumnInfo { name: "c".into(), data_type: PgType::TEXT }];
        Rows {
            columns,
            tag: None,
            waiting: VecDeque::from([of_texts(&texts)]),
            pieces: None,
            cut: Cut::default(),
            fate: Arc::default(),
        }
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

    #[tokio::test]
    async fn rows_that_were_ended_say_why() {
        let (sent, pieces) = mpsc::channel(1);
        let mut rows = Rows { pieces: Some(pieces), ..rows(0) };
        rows.waiting.clear();
        rows.fate.end(Refusal::new("53400", "others waited"));
        rows.fate.end(not_taken());
        drop(sent);
        assert_eq!(rows.next(9).await, Err(Refusal::new("53400", "others waited")));
    }

    #[test]
    fn a_piece_has_few_bytes_whatever_its_rows_are() {
        let texts: StringArray = (0..1000).map(|_| Some("x".repeat(64 << 10))).collect();
        let batch = RecordBatch::try_from_iter([("c", Arc::new(texts) as ArrayRef)]).expect("one column");
        let types = vec![PgType::TEXT];
        let form = Form::Rows(Vec::new());
        let mut encoder = Encoder { form, zone: Zone::Utc, cut: Cut::default(), types, fate: Arc::default() };
        let columns = encoder.ready(&batch).expect("texts");
        let (piece, rows) = encoder.piece(&columns, 0..1000).expect("rows");
        assert_eq!((rows, piece.len()), (4, 4 * (11 + (64 << 10))));
        let (_, rows) = encoder.piece(&columns, 998..1000).expect("rows");
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_row_that_is_too_large_is_refused_and_leaves_nothing() {
        let texts = StringArray::from(vec!["x".repeat(ROW_BYTES_MAX)]);
        let batch = RecordBatch::try_from_iter([("c", Arc::new(texts) as ArrayRef)]).expect("one column");
        let form = Form::Rows(Vec::new());
        let types = vec![PgType::TEXT];
        let mut encoder = Encoder { form, zone: Zone::Utc, cut: Cut::default(), types, fate: Arc::default() };
        let columns = encoder.ready(&batch).expect("texts");
        assert_eq!(encoder.piece(&columns, 0..1).map_err(|refusal| refusal.code), Err("54000"));
    }
}
