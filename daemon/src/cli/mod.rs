//! The command line: one file for each command. `serve` starts a node, the others are thin clients of its HTTP API.
//!
//! # Promises
//! - A flag beats its variable, a variable beats the default (`variables`).
//! - A command line that is wrong ends the process with status 2, a command that fails with status 1; both say why on
//!   standard error.
//!
//! # Not here
//! - What a node does with its configuration: `node`.

mod caches;
mod client;
mod create;
mod delete;
mod flags;
mod logging;
mod no_effect;
mod nodes;
mod options;
mod query;
mod serve;
mod show;
mod store;
#[cfg(test)]
mod tests;
mod variables;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Host};
use flags::ServeFlags;
use serve::{Kind, Surroundings};
pub(crate) use serve::{Start, announce};
use variables::Findings;

/// A time-series database on an object store
///
/// Without a command, a server starts that keeps its rows under ~/.weir. It takes the options of `weir serve`.
#[derive(Parser)]
#[command(name = "weir", version, after_help = "`weir COMMAND --help-all` shows every option of a command.")]
struct CommandLine {
    #[command(flatten)]
    quick_start: Box<ServeFlags>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve(Box<ServeFlags>),
    #[command(flatten)]
    Client(ClientCommand),
}

/// A question to a running node.
#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    /// Write line protocol
    #[command(visible_alias = "w")]
    Write(write::WriteCommand),
    /// Ask in SQL
    #[command(visible_alias = "q")]
    Query(query::QueryCommand),
    /// Make a database, table or token, define a cache
    #[command(subcommand)]
    Create(create::CreateCommand),
    /// Show what there is
    #[command(subcommand)]
    Show(show::ShowCommand),
    /// Delete a database, table, token or cache
    #[command(subcommand)]
    Delete(delete::DeleteCommand),
    /// Change a database or table
    #[command(subcommand)]
    Update(delete::UpdateCommand),
    /// Stop a node
    #[command(subcommand)]
    Stop(nodes::StopCommand),
    /// Remove a node that has stopped
    #[command(subcommand)]
    Remove(nodes::RemoveCommand),
}

/// Runs a client command to its end.
pub(crate) fn run(command: ClientCommand) -> Result<(), String> {
    match command {
        ClientCommand::Write(command) => write::run(command),
        ClientCommand::Query(command) => query::run(command),
        ClientCommand::Create(command) => create::run(command),
        ClientCommand::Show(command) => show::run(command),
        ClientCommand::Delete(command) => delete::delete(command),
        ClientCommand::Update(command) => delete::update(command),
        ClientCommand::Stop(command) => nodes::stop(command),
        ClientCommand::Remove(command) => nodes::remove(command),
    }
}

/// What the user asked for.
pub(crate) enum Task {
    Serve(Box<Start>),
    Ask(ClientCommand),
}

/// Reads the command line. Help and errors are for `clap::Error::exit`, which knows their status.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    read_variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Task, clap::Error> {
    let mut findings = Findings::default();
    let args = variables::modernise(args, &mut findings.warnings);
    let mut command = variables::apply(no_effect::add(CommandLine::command()), read_variable, &mut findings);
    command = hide_quick_start(command);
    let args = show_all(args, &mut command);
    let matches = command.try_get_matches_from_mut(args).map_err(|error| name_variable(error, &findings))?;
    let mut line = CommandLine::from_arg_matches(&matches)?;
    if line.command.is_some() {
        check_place(&matches, &mut command)?;
    }
    let served = (command.find_subcommand("serve"), matches.subcommand_matches("serve"));
    let given = match served {
        (Some(serve), Some(said)) => options::all(serve, said, &findings),
        _ => options::all(&command, &matches, &findings),
    };
    let (flags, kind) = match line.command {
        None => (line.quick_start, Kind::QuickStart),
        Some(Command::Client(command)) => return Ok(Task::Ask(command)),
        Some(Command::Serve(mut flags)) => {
            flags.threads.num_io_threads =
                flags.threads.num_io_threads.or(line.quick_start.threads.num_io_threads.take());
            (flags, Kind::Serve)
        }
    };
    let of_node = matches.subcommand_matches("serve").unwrap_or(&matches);
    let idle = no_effect::judge(of_node, &findings);
    findings.warnings.extend(no_effect::removed(read_variable).chain(idle));
    let (host, host_name) = (Host::detect(), config::host_name());
    let around = Surroundings { host, host_name, home: home(), read_variable, given };
    let mut start = serve::resolve(*flags, kind, &around).map_err(|message| wrong(&mut command, message))?;
    findings.warnings.append(&mut start.warnings);
    start.warnings = findings.warnings;
    Ok(Task::Serve(Box::new(start)))
}

fn wrong(command: &mut clap::Command, message: String) -> clap::Error {
    command.error(ErrorKind::ValueValidation, message)
}

/// Says on standard error why the command failed.
#[expect(clippy::print_stderr, reason = "this is what a command line is for")]
pub(crate) fn complain(message: &str) {
    eprintln!("weir: {message}");
}

/// The options of the quick start are those of `serve`, whose help shows them.
fn hide_quick_start(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide(true))
}

/// `--help-all` is `--help` with nothing hidden.
fn show_all(mut args: Vec<OsString>, command: &mut clap::Command) -> Vec<OsString> {
    fn reveal(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide(false)).mut_subcommands(reveal)
    }
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    if let Some(wish) = args[..end].iter_mut().find(|arg| *arg == "--help-all") {
        *wish = "--help".into();
        *command = reveal(std::mem::take(command));
    }
    args
}

/// Before a command only `--num-io-threads` may stand, as scripts for the original have it.
fn check_place(matches: &ArgMatches, command: &mut clap::Command) -> Result<(), clap::Error> {
    let misplaced = matches
        .ids()
        .map(clap::Id::as_str)
        .filter(|id| matches.try_contains_id(id).is_ok() && *id != "num_io_threads")
        .filter(|id| command.get_arguments().any(|arg| arg.get_id() == *id))
        .find(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
    match misplaced {
        Some(id) => {
            let message = format!("--{} belongs after the command", id.replace('_', "-"));
            Err(command.error(ErrorKind::UnknownArgument, message))
        }
        None => Ok(()),
    }
}

/// A wrong value that nobody typed came from a variable; says from which.
fn name_variable(mut error: clap::Error, findings: &Findings) -> clap::Error {
    let wrong = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.clone(),
        _ => return error,
    };
    if let Some(applied) = findings.applied.iter().find(|applied| applied.value.split(',').any(|v| v == wrong)) {
        let tip = format!("the value may come from the environment variable {}", applied.variable);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|path| !path.as_os_str().is_empty())
}
