//! The rules of the house, checked over the text of the workspace: plain Rust, no parser, no query engine.
//!
//! The compiler and its lints watch what they can (`[workspace.lints]`, `clippy.toml`); the rooms here watch the rest.
//! Each rule is a function from texts to complaints and is tested on a small bad sample beside it.

mod source;
mod workspace;
mod ratchet;
mod rooms;
mod walls;
mod budgets;
mod words;

use workspace::Workspace;

/// Fails with every complaint at once, one a line.
#[track_caller]
fn check(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}\n", complaints.join("\n  "));
}

#[test]
fn a_room_uses_only_rooms_declared_above_it() {
    check("a room may use the rooms declared above it and none below:", &rooms::order(&Workspace::read()));
}

#[test]
fn a_room_begins_with_its_promises() {
    check("a room begins with //! and has a section `# Promises`:", &rooms::promises(&Workspace::read()));
}

#[test]
fn a_package_uses_only_what_its_walls_let_in() {
    check("packages use only those in the table:", &walls::manifests(&Workspace::read()));
}

#[test]
fn the_query_engine_stays_out_of_storage_metrics_and_tests() {
    check("heavy dependencies must not leak:", &walls::closures(&Workspace::read()));
}

#[test]
fn there_is_one_version_of_arrow_and_one_tls_provider() {
    check("never a second version of Arrow:", &walls::single_versions(&Workspace::read()));
}

#[test]
fn only_bucket_names_the_object_store() {
    check("the object store is named in one room:", &walls::object_store(&Workspace::read()));
}

#[test]
fn files_and_functions_stay_within_their_budgets() {
    check("a long file or function is asking to be two:", &budgets::lengths(&Workspace::read()));
}

#[test]
fn functions_ask_for_few_things_and_no_bools() {
    check("no bool parameters, more than four make a struct:", &budgets::parameters(&Workspace::read()));
}

#[test]
fn no_word_stands_that_the_house_does_not_use() {
    check("these words do not belong here:", &words::forbidden(&Workspace::read()));
}

#[test]
fn no_room_or_type_has_a_name_that_says_nothing() {
    check("manager, helper, util, common, base, impl say nobody knew what it does:", &words::names(&Workspace::read()));
}
