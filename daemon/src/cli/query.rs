//! `weir query`: SQL in, rows out, streamed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::client::{Call, Connection, Payload};

#[derive(Args)]
pub(crate) struct QueryCommand {
    #[command(flatten)]
    connection: Connection,
    /// Database to ask
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME")]
    database: Option<String>,
    /// Language of the query
    #[arg(short, long, default_value = "sql")]
    language: Language,
    #[command(flatten)]
    output: Output,
    /// File that holds the query
    #[arg(short, long, value_name = "PATH", conflicts_with = "query")]
    file: Option<PathBuf>,
    /// The query; read from standard input when it is not given
    query: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Sql,
}

/// How rows are shown, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// How rows look
    #[arg(long, default_value = "pretty")]
    format: OutputFormat,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Pretty,
    Json,
    Jsonl,
    Csv,
    Parquet,
}

impl Output {
    #[must_use]
    pub(crate) fn to_terminal(format: OutputFormat) -> Self {
        Self { format, output: None }
    }

    /// The word the server knows.
    pub(crate) fn format(&self) -> &'static str {
        match self.format {
            OutputFormat::Pretty => "pretty",
            OutputFormat::Json => "json",
            OutputFormat::Jsonl => "jsonl",
            OutputFormat::Csv => "csv",
            OutputFormat::Parquet => "parquet",
        }
    }

    /// Copies the rows as they come. A file that could not be filled is left as it is.
    pub(crate) fn write(&self, mut rows: impl Read) -> Result<(), String> {
        let copied = match &self.output {
            Some(path) => {
                let file = File::create(path).map_err(|error| format!("create {}: {error}", path.display()))?;
                let mut file = BufWriter::new(file);
                io::copy(&mut rows, &mut file).and_then(|_| file.flush())
            }
            None => {
                let mut out = io::stdout().lock();
                let line_end = matches!(self.format, OutputFormat::Pretty | OutputFormat::Json);
                io::copy(&mut rows, &mut out)
                    .and_then(|_| if line_end { out.write_all(b"\n") } else { Ok(()) })
                    .and_then(|()| out.flush())
            }
        };
        match copied {
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| format!("copy the rows: {error}")),
        }
    }

    /// Parquet is not for terminals.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.format == OutputFormat::Parquet && self.output.is_none() {
            return Err("format parquet needs --output".to_owned());
        }
        Ok(())
    }
}

pub(crate) fn run(command: QueryCommand) -> Result<(), String> {
    let QueryCommand { connection, database, language: Language::Sql, output, file, query } = command;
    let database = database.ok_or("--database is missing")?;
    output.check()?;
    let text = text(file, &query)?;
    ask(&connection, (&database, &text), &output)
}

/// Asks `question`, which is a database and a text, and shows the rows.
pub(crate) fn ask(connection: &Connection, question: (&str, &str), output: &Output) -> Result<(), String> {
    let (database, text) = question;
    let body = json!({ "db": database, "q": text, "format": output.format() });
    let call = Call { method: "POST", path: "/api/v3/query_sql", parameters: &[] };
    let response = connection.open()?.call(&call, &Payload::Json(&body))?;
    output.write(response.into_body().into_reader())
}

fn text(file: Option<PathBuf>, words: &[String]) -> Result<String, String> {
    match file {
        Some(path) => std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display())),
        None if !words.is_empty() => Ok(words.join(" ")),
        None => io::read_to_string(io::stdin()).map_err(|error| format!("read the query from standard input: {error}")),
    }
}
