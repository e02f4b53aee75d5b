//! Record batches become bytes: JSON, JSON lines, CSV, a table to look at, Parquet.
//!
//! # Promises
//! - Rows are encoded as they come; only the table, whose columns need the widest value, waits for all of them, and
//!   therefore has a limit, and Parquet, whose row groups are sent when they have 32 MiB.
//! - Values look as in InfluxDB 3: nulls are left out of JSON rows, times have no zone and only the digits they need.

use std::io::Write;
use std::mem;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::writer::{JsonArray, LineDelimited};
use arrow_schema::{ArrowError, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::errors::Refusal;
use super::pretty::Table;

/// A row group is sent when about so much of it is encoded, since it waits in memory until then.
const PARQUET_GROUP_BYTES: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    JsonLines,
    Csv,
    Pretty,
    Parquet,
}

impl Format {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "json" => Ok(Self::Json),
            "jsonl" | "json_lines" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "pretty" => Ok(Self::Pretty),
            "parquet" => Ok(Self::Parquet),
            other => {
                let shown: String = other.escape_debug().take(40).collect();
                Err(Refusal::bad_request(format!("format '{shown}' is none of json, jsonl, csv, pretty and parquet")))
            }
        }
    }

    /// The first format of an `Accept` header that is known here.
    pub(super) fn accepted(accept: &str) -> Result<Self, Refusal> {
        let kinds = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        for kind in kinds {
            match kind {
                "" | "*/*" | "application/*" | "application/json" | "text/html" => return Ok(Self::Json),
                "application/jsonl" | "application/x-ndjson" => return Ok(Self::JsonLines),
                "text/csv" | "application/csv" => return Ok(Self::Csv),
                "text/plain" => return Ok(Self::Pretty),
                "application/vnd.apache.parquet" => return Ok(Self::Parquet),
                _ => {}
            }
        }
        let shown: String = accept.escape_debug().take(100).collect();
        Err(Refusal::bad_request(format!("invalid mime type ({shown})")))
    }

    #[must_use]
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::Csv => "text/csv",
            Self::Pretty => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Turns batches of one schema into bytes.
pub(super) struct Encoder {
    format: Inner,
    out: Bytes,
}

enum Inner {
    Json(Box<arrow_json::Writer<Bytes, JsonArray>>),
    JsonLines(Box<arrow_json::Writer<Bytes, LineDelimited>>),
    Csv(Box<arrow_csv::Writer<Bytes>>),
    Pretty(Table),
    Parquet(Box<ArrowWriter<Bytes>>),
}

/// Where the writers write, and where what they wrote is taken from.
#[derive(Debug, Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.0.lock())
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let out = Bytes::default();
        let to = out.clone();
        let json = arrow_json::WriterBuilder::new().with_explicit_nulls(false);
        let format = match format {
            Format::Json => Inner::Json(Box::new(json.build(to))),
            Format::JsonLines => Inner::JsonLines(Box::new(json.build(to))),
            Format::Csv => Inner::Csv(Box::new(arrow_csv::WriterBuilder::new().with_header(true).build(to))),
            Format::Pretty => Inner::Pretty(Table::new(schema)),
            Format::Parquet => {
                let compression = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder().set_compression(compression).build();
                Inner::Parquet(Box::new(ArrowWriter::try_new(to, Arc::clone(schema), Some(properties))?))
            }
        };
        Ok(Self { format, out })
    }

    /// Encodes one more batch; what is ready to be sent is returned.
    pub(super) fn write(&mut self, batch: RecordBatch) -> Result<Vec<u8>, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        match &mut self.format {
            Inner::Json(writer) => writer.write(&batch)?,
            Inner::JsonLines(writer) => writer.write(&batch)?,
            Inner::Csv(writer) => writer.write(&batch)?,
            Inner::Parquet(writer) => {
                writer.write(&batch)?;
                if writer.in_progress_size() >= PARQUET_GROUP_BYTES {
                    writer.flush()?;
                }
            }
            Inner::Pretty(table) => table.push(batch)?,
        }
        Ok(self.out.take())
    }

    /// Ends the answer.
    pub(super) fn finish(self) -> Result<Vec<u8>, ArrowError> {
        let Self { format, out } = self;
        match format {
            Inner::Json(mut writer) => writer.finish()?,
            Inner::JsonLines(mut writer) => writer.finish()?,
            Inner::Csv(writer) => drop(writer),
            Inner::Parquet(writer) => drop(writer.close()?),
            Inner::Pretty(table) => return table.draw(),
        }
        Ok(out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, DictionaryArray, DurationNanosecondArray, Float64Array, Int64Array, StringArray,
        TimestampNanosecondArray,
    };

    fn encode(format: Format, batch: RecordBatch) -> Vec<u8> {
        let mut encoder = Encoder::new(format, &batch.schema()).expect("the schema can be encoded");
        let mut bytes = encoder.write(batch).expect("the batch can be encoded");
        bytes.extend(encoder.finish().expect("the end can be encoded"));
        bytes
    }

    #[track_caller]
    fn check(format: Format, batch: RecordBatch, expected: &str) {
        assert_eq!(String::from_utf8(encode(format, batch)).expect("text"), expected);
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .expect("a batch")
    }

    fn rows() -> RecordBatch {
        let host: DictionaryArray<Int32Type> = [Some("a"), None].into_iter().collect();
        let micros = 1_737_392_500_690_067_000;
        let time = TimestampNanosecondArray::from(vec![micros, 1_737_392_500_000_000_000]);
        let value = Float64Array::from(vec![Some(1.5), Some(f64::NAN)]);
        batch(vec![("host", Arc::new(host)), ("time", Arc::new(time)), ("v", Arc::new(value))])
    }

    #[test]
    fn json_leaves_nulls_out_and_writes_times_with_the_digits_they_need() {
        let first = r#"{"host":"a","time":"2025-01-20T17:01:40.690067","v":1.5}"#;
        let second = r#"{"time":"2025-01-20T17:01:40","v":null}"#;
        check(Format::Json, rows(), &format!("[{first},{second}]"));
        check(Format::JsonLines, rows(), &format!("{first}\n{second}\n"));
    }

    #[test]
    fn csv_has_one_header_and_empty_nulls() {
        let expected = "host,time,v\na,2025-01-20T17:01:40.690067,1.5\n,2025-01-20T17:01:40,NaN\n";
        check(Format::Csv, rows(), expected);
    }

    #[test]
    fn durations_are_iso_8601_and_zones_are_shown() {
        let duration = DurationNanosecondArray::from(vec![32_689_000, 0]);
        let zoned = TimestampNanosecondArray::from(vec![0, 1_500_000_000]).with_timezone("UTC");
        let batch = batch(vec![("d", Arc::new(duration)), ("z", Arc::new(zoned))]);
        let first = r#"{"d":"PT0.032689S","z":"1970-01-01T00:00:00Z"}"#;
        let second = r#"{"d":"P0D","z":"1970-01-01T00:00:01.500Z"}"#;
        check(Format::JsonLines, batch, &format!("{first}\n{second}\n"));
    }

    #[test]
    fn answers_without_rows_are_what_clients_expect() {
        let none = batch(vec![("v", Arc::new(Int64Array::from(Vec::<i64>::new())))]);
        check(Format::Json, none.clone(), "[]");
        check(Format::JsonLines, none.clone(), "");
        check(Format::Csv, none.clone(), "");
        check(Format::Pretty, none, "+---+\n| v |\n+---+\n+---+");
    }

    #[test]
    fn strings_are_escaped_in_every_format() {
        let text = StringArray::from(vec!["a\"b,\nc"]);
        let batch = batch(vec![("s", Arc::new(text))]);
        check(Format::Json, batch.clone(), r#"[{"s":"a\"b,\nc"}]"#);
        check(Format::Csv, batch, "s\n\"a\"\"b,\nc\"\n");
    }

    #[test]
    fn parquet_is_one_whole_file() {
        let bytes = encode(Format::Parquet, rows());
        assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    }

    #[test]
    fn parquet_waits_for_no_more_than_a_row_group_of_bounded_size() {
        let mut next: u64 = 1;
        let mut random = || {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from((next >> 57) as u8)
        };
        let text: String = (0..(8 << 20)).map(|_| random()).collect();
        let none = StringArray::from(Vec::<&str>::new());
        let mut encoder =
            Encoder::new(Format::Parquet, &batch(vec![("s", Arc::new(none))]).schema()).expect("a schema");
        let mut sent = Vec::new();
        let (mut waiting, mut groups) = (0, 0);
        for _ in 0..10 {
            // As many rows as other limits would let wait by the hundred.
            let texts = StringArray::from_iter_values((0..8192).map(|row| &text[row * 1024..(row + 1) * 1024]));
            let bytes = encoder.write(batch(vec![("s", Arc::new(texts))])).expect("the batch can be encoded");
            groups += usize::from(bytes.len() > 1024);
            waiting = if bytes.len() > 1024 { 0 } else { waiting + text.len() };
            assert!(waiting <= PARQUET_GROUP_BYTES * 5 / 4, "{waiting}");
            sent.extend(bytes);
        }
        sent.extend(encoder.finish().expect("the end can be encoded"));
        assert_eq!(groups, 2);
        assert_eq!(&sent[sent.len() - 4..], b"PAR1");
    }

    #[test]
    fn formats_are_chosen_by_the_first_kind_that_is_known() {
        for (accept, expected) in [
            ("*/*", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("text/plain; q=0.5", Some(Format::Pretty)),
            ("application/jsonl", Some(Format::JsonLines)),
            ("image/png, text/html;q=0.9", Some(Format::Json)),
            ("application/vnd.apache.parquet", Some(Format::Parquet)),
            ("image/png", None),
        ] {
            assert_eq!(Format::accepted(accept).ok(), expected, "{accept}");
        }
    }
}
