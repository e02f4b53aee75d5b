//! What a node was started with, as others are shown it.
//!
//! Names are those of the flags, wherever a value came from. A value whose type is that of secrets is not shown; whoever
//! adds a flag for a key gives it that type for the same reason.

use std::any::TypeId;
use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use storage::bucket::Secret;

use super::variables::Findings;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// The flags and variables that were said for `command`, as a JSON object of texts.
pub(super) fn said(command: &Command, matches: &ArgMatches, findings: &Findings) -> String {
    let is_said = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        matches.value_source(id) == Some(ValueSource::CommandLine) || findings.flags.contains(id)
    };
    let named = |arg: &Arg| Some((arg.get_long()?.to_owned(), value(arg, matches)?));
    let options: BTreeMap<String, String> = command.get_arguments().filter(is_said).filter_map(named).collect();
    serde_json::to_string(&options).expect("texts have a JSON form")
}

fn value(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    if arg.get_value_parser().type_id() == TypeId::of::<Secret>() {
        return Some(HIDDEN.to_owned());
    }
    let values: Vec<_> = matches.get_raw(arg.get_id().as_str())?.map(|value| value.to_string_lossy()).collect();
    Some(values.join(","))
}
