//! Budgets: how long a file and a function may be, and what a function may ask for.
//!
//! # Promises
//! - A file has at most 500 lines of code, a function at most 70. Blank lines and comments do not count; test modules
//!   do not count for their file, but test functions have the same budget as all others.
//! - A function outside tests takes at most four parameters besides `self`, none of them a `bool`. What a foreign trait
//!   prescribes is not counted.

use std::ops::Range;

use crate::ratchet::Ratchet;
use crate::source::{Function, Source};
use crate::workspace::Workspace;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const PARAMETERS_MAX: usize = 4;

/// Complaints about long files and functions.
pub(crate) fn lengths(workspace: &Workspace) -> Vec<String> {
    let mut files = Ratchet::of(workspace, "file");
    let mut functions = Ratchet::of(workspace, "function");
    for source in &workspace.sources {
        let lines = file_lines(source);
        if lines > FILE_LINES_MAX {
            files.found(&source.path, lines, FILE_LINES_MAX);
        }
        for Function { name, start, body, .. } in source.functions() {
            let lines = body.map_or(0, |body| source.code_lines(start..body.end));
            if lines > FUNCTION_LINES_MAX {
                functions.found(&format!("{}::{name}", source.path), lines, FUNCTION_LINES_MAX);
            }
        }
    }
    let mut complaints = files.finish();
    complaints.extend(functions.finish());
    complaints
}

/// Complaints about functions that ask for too much.
pub(crate) fn parameters(workspace: &Workspace) -> Vec<String> {
    let mut counts = Ratchet::of(workspace, "parameters");
    let mut bools = Ratchet::of(workspace, "bool");
    for source in &workspace.sources {
        let mut exempt = source.test_regions();
        exempt.extend(source.trait_impls());
        for function in source.functions() {
            if exempt.iter().any(|region| region.contains(&function.start)) {
                continue;
            }
            let parameters = split_parameters(&source.code[function.parameters.clone()]);
            let what = format!("{}::{}", source.path, function.name);
            if parameters.len() > PARAMETERS_MAX {
                counts.found(&what, parameters.len(), PARAMETERS_MAX);
            }
            let count = parameters.iter().filter(|parameter| parameter.ends_with(": bool")).count();
            if count > 0 {
                bools.found(&what, count, 0);
            }
        }
    }
    let mut complaints = counts.finish();
    complaints.extend(bools.finish());
    complaints
}

fn file_lines(source: &Source) -> usize {
    // A file of tests is a file like any other: it counts as a whole.
    if source.is_test_file() {
        return source.code_lines(0..source.code.len());
    }
    let mut regions: Vec<Range<usize>> = source.test_regions();
    regions.sort_by_key(|region| region.start);
    let mut lines = 0;
    let mut from = 0;
    for region in regions {
        if region.start >= from {
            lines += source.code_lines(from..region.start);
        }
        from = from.max(region.end);
    }
    lines + source.code_lines(from..source.code.len())
}

/// The parameters without `self`, each trimmed.
fn split_parameters(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0i32;
    let mut start = 0;
    let mut before = ' ';
    for (offset, character) in text.char_indices() {
        match character {
            '(' | '[' | '<' | '{' => depth += 1,
            '>' if before == '-' => {}
            ')' | ']' | '>' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..offset].trim());
                start = offset + 1;
            }
            _ => {}
        }
        before = character;
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty() && !is_self(part));
    parts
}

fn is_self(parameter: &str) -> bool {
    parameter.split(':').next().is_some_and(|name| name.trim_end().ends_with("self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Workspace {
        Workspace::of(&[("a.rs", text)])
    }

    #[test]
    fn a_long_function_is_found_and_its_comments_do_not_count() {
        let body = "    f();\n".repeat(FUNCTION_LINES_MAX - 2);
        assert_eq!(lengths(&one(&format!("fn a() {{\n{body}}}\n"))), [""; 0]);
        assert_eq!(lengths(&one(&format!("fn a() {{\n    // why\n\n{body}}}\n"))), [""; 0]);
        assert_eq!(lengths(&one(&format!("fn a() {{\n    f();\n{body}}}\n"))), ["a.rs::a: 71, the budget is 70"]);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(FILE_LINES_MAX));
        assert_eq!(lengths(&one(&tests)), [""; 0]);
        let code = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(lengths(&one(&format!("{code}{tests}"))), ["a.rs: 501, the budget is 500"]);
    }

    #[track_caller]
    fn check_parameters(text: &str, expected: &[&str]) {
        assert_eq!(parameters(&one(text)), expected);
    }

    #[test]
    fn a_fifth_parameter_and_a_bool_are_found() {
        check_parameters("fn a(&mut self, b: u8, c: Vec<(u8, u8)>, d: impl Fn(u8) -> u8, e: u8) {}", &[]);
        check_parameters("fn a(b: u8, c: u8, d: u8, e: u8, f: u8) {}", &["a.rs::a: 5, the budget is 4"]);
        check_parameters("fn a(b: bool) {}", &["a.rs::a: 1, the budget is 0"]);
    }

    #[test]
    fn tests_and_foreign_traits_are_not_asked() {
        check_parameters("#[cfg(test)]\nmod tests { fn check(expected: bool) {} }", &[]);
        check_parameters("impl Foreign for Ours { fn set(&self, on: bool) {} }", &[]);
    }
}
