//! What is logged, how it looks and where it goes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter, reload};

use crate::config::TurnLog;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogFlags {
    /// A level (error, warn, info, debug, trace), or level,component=level,...
    #[arg(long, value_name = "FILTER", env = "INFLUXDB3_LOG_FILTER", default_value = "info")]
    pub(crate) log_filter: String,
    /// How a line looks
    #[arg(long, env = "INFLUXDB3_LOG_FORMAT", default_value = "full")]
    pub(crate) log_format: LogFormat,
    /// Where lines go
    #[arg(long, env = "INFLUXDB3_LOG_DESTINATION", default_value = "stdout")]
    pub(crate) log_destination: LogDestination,
    /// Log what the rooms of this server do in detail
    #[arg(long, short = 'v', action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[value(alias = "text")]
    Full,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogDestination {
    Stdout,
    Stderr,
}

/// Component names of the original, and the rooms that do that work here.
const COMPONENTS: [(&str, &[&str]); 6] = [
    ("influxdb3", &["weir"]),
    ("influxdb3_write_buffer", &["storage::ingest", "storage::buffer", "storage::snapshot"]),
    ("influxdb3_wal", &["storage::wal"]),
    ("influxdb3_catalog", &["storage::catalog"]),
    ("influxdb3_cache", &["storage::caches"]),
    ("influxdb3_enterprise", &["weir", "storage", "sql"]),
];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Our own packages; `--verbose` shows their details and spares those of the libraries.
const VERBOSE: &str = "weir=debug,storage=debug,sql=debug,metrics=debug";

/// The clients of object stores tell of every attempt; the bucket tells when an operation as a whole goes on failing.
const QUIET: &str = "object_store=warn";

impl LogFlags {
    fn besides(&self) -> Option<&'static str> {
        self.verbose.then_some(VERBOSE)
    }
}

/// Starts logging for the life of the process. What is logged can be changed with what is returned.
pub(crate) fn start(flags: &LogFlags) -> Result<TurnLog, String> {
    let filter = filter(&flags.log_filter, flags.besides())?;
    let writer = match flags.log_destination {
        LogDestination::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogDestination::Stderr => BoxMakeWriter::new(std::io::stderr),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let (started, turn) = match flags.log_format {
        LogFormat::Full => {
            let subscriber = subscriber.with_filter_reloading();
            let turn = turn(subscriber.reload_handle(), flags.besides());
            (subscriber.try_init(), turn)
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_filter_reloading();
            let turn = turn(subscriber.reload_handle(), flags.besides());
            (subscriber.try_init(), turn)
        }
    };
    started.map_err(|error| format!("start logging: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(turn)
}

fn turn<S: 'static>(handle: reload::Handle<EnvFilter, S>, besides: Option<&'static str>) -> TurnLog {
    Box::new(move |text| handle.reload(filter(text, besides)?).map_err(|error| error.to_string()))
}

/// A filter as it is kept; the error is what it must be.
pub(crate) fn judged(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    // A level that is misspelt would be taken for the name of a component, and silence all others.
    let wrong = text.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part));
    match (wrong, filter(text, None)) {
        (None, Ok(_)) => Ok(text.to_owned()),
        _ => Err(format!("it is a level ({}), or level,component=level,...", LEVELS.join(", "))),
    }
}

/// A panic is one entry of the log like any other, in the form and at the place that was asked for.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let stack = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let message = panic.payload_as_str().unwrap_or("without a message");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    // Tools that watch logs look for these words.
    tracing::error!(thread = thread.name(), stack, "panicked at {at}: {message}");
}

/// `besides` is logged whatever the text says.
fn filter(text: &str, besides: Option<&str>) -> Result<EnvFilter, String> {
    let mut directives: Vec<String> = text.split(',').flat_map(in_our_words).collect();
    let wants_more =
        |directive: &String| ["debug", "trace"].contains(&directive.as_str()) || directive.contains("object_store");
    if !directives.iter().any(wants_more) {
        directives.push(QUIET.to_owned());
    }
    directives.extend(besides.map(str::to_owned));
    EnvFilter::builder().parse(directives.join(",")).map_err(|error| format!("log filter '{text}': {error}"))
}

fn in_our_words(directive: &str) -> Vec<String> {
    let (component, level) = directive.split_once('=').unwrap_or((directive, ""));
    match COMPONENTS.iter().find(|(name, _)| *name == component.trim()) {
        Some((_, rooms)) if level.is_empty() => rooms.iter().map(|room| (*room).to_owned()).collect(),
        Some((_, rooms)) => rooms.iter().map(|room| format!("{room}={level}")).collect(),
        None => vec![directive.trim().to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_names_of_the_original_mean_our_rooms() {
        check_filter("info,influxdb3_wal=debug", "storage::wal=debug,info,object_store=warn");
        check_filter(
            "influxdb3_write_buffer=trace",
            "storage::snapshot=trace,storage::ingest=trace,storage::buffer=trace,object_store=warn",
        );
        check_filter("warn,hyper=error", "hyper=error,warn,object_store=warn");
    }

    #[test]
    fn clients_of_object_stores_are_quiet_unless_asked() {
        check_filter("debug", "debug");
        check_filter("info,object_store=info", "info,object_store=info");
        check_filter("storage=debug", "storage=debug,object_store=warn");
    }

    #[track_caller]
    fn check_filter(text: &str, expected: &str) {
        let sorted = |text: &str| {
            let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(sorted(&filter(text, None).expect("the filter is valid").to_string()), sorted(expected));
    }

    #[test]
    fn a_panic_is_one_entry_of_the_log() {
        // Hooks and logs are those of the process, so this panic happens in one of its own.
        const INNER: &str = "WEIR_TEST_PANICS";
        if std::env::var_os(INNER).is_some() {
            let _turn = start(&LogFlags { log_format: LogFormat::Json, ..flags("info") }).expect("logging starts");
            let _ = std::panic::catch_unwind(|| panic!("the {} is broken", "pump"));
            return;
        }
        let this = std::env::current_exe().expect("a program has a path");
        let name = "cli::logging::tests::a_panic_is_one_entry_of_the_log";
        let output = std::process::Command::new(this).args([name, "--exact", "--nocapture"]).env(INNER, "1").output();
        let output = output.expect("it can be run again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let told: Vec<_> = text.lines().filter(|line| line.contains("the pump is broken")).collect();
        let [line] = told[..] else { panic!("one entry: {text}") };
        assert!(line.starts_with('{') && line.contains("\"level\":\"ERROR\""), "{line}");
        assert!(line.contains("panicked at daemon/src/cli/logging.rs:"), "{line}");
        assert!(output.status.success(), "{text}");
    }

    #[test]
    fn a_filter_with_an_unknown_level_is_refused() {
        assert!(filter("storage=loud", None).is_err());
        for text in ["loud", "storage=loud", "", "inof", "info,debgu"] {
            let error = judged(text).expect_err(text);
            assert!(error.starts_with("it is a level (off, error, warn,"), "{error}");
        }
        assert_eq!(judged(" warn,influxdb3_wal=debug ").as_deref(), Ok("warn,influxdb3_wal=debug"));
    }

    fn flags(text: &str) -> LogFlags {
        let (log_format, log_destination) = (LogFormat::Full, LogDestination::Stdout);
        LogFlags { log_filter: text.to_owned(), log_format, log_destination, verbose: false }
    }
}
