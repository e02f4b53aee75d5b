//! What a node was started with, as others are shown it.
//!
//! Names are those of the flags, wherever a value came from. A value whose type is that of secrets is not shown; whoever
//! adds a flag for a key gives it that type for the same reason.

use std::any::TypeId;
use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use sql::Flag;
use storage::bucket::Secret;

use super::variables::Findings;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Those that were said, as a JSON object of texts.
pub(super) fn said(flags: &[Flag]) -> String {
    let said = flags.iter().filter(|flag| flag.is_said);
    let options: BTreeMap<&str, &str> =
        said.filter_map(|flag| Some((flag.name.as_str(), flag.value.as_deref()?))).collect();
    serde_json::to_string(&options).expect("texts have a JSON form")
}

/// All flags of `command`, with what was said, by flag or variable, or the default.
pub(super) fn all(command: &Command, matches: &ArgMatches, findings: &Findings) -> Vec<Flag> {
    let flag = |arg: &Arg| {
        let id = arg.get_id().as_str();
        let is_said = matches.value_source(id) == Some(ValueSource::CommandLine) || findings.flags.contains(id);
        let name = arg.get_long().filter(|name| !["help", "version"].contains(name))?.to_owned();
        let value = value(arg, matches);
        // Hidden and without a value is what has no effect here.
        let is_of_use = is_said || value.is_some() || !arg.is_hide_set();
        is_of_use.then_some(Flag { name, value, is_said })
    };
    command.get_arguments().filter_map(flag).collect()
}

fn value(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let values: Vec<_> = matches.get_raw(arg.get_id().as_str())?.map(|value| value.to_string_lossy()).collect();
    let is_secret = arg.get_value_parser().type_id() == TypeId::of::<Secret>();
    Some(if is_secret { HIDDEN.to_owned() } else { values.join(",") })
}
