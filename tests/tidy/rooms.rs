//! The order of rooms: the `mod` lines of a package are the order of dependence.
//!
//! # Promises
//! - Every `crate::room` and every `super::` chain that leaves its room is looked at, in tests too: a test that needs a
//!   lower room belongs into that room, or into `tests/`.
//!
//! # Not here
//! - Paths made by macros: none of ours leave their room.

use crate::source::{Source, words};
use crate::workspace::Workspace;

/// A crate root: the folder its rooms lie in, and the rooms in order of declaration.
#[derive(Debug)]
struct Root {
    file: String,
    folder: String,
    rooms: Vec<String>,
}

/// Complaints about rooms that use rooms declared below them.
pub(crate) fn order(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for root in roots(workspace) {
        for (index, room) in root.rooms.iter().enumerate() {
            for source in files_of(workspace, &root, room) {
                for (name, offset) in names_used(source, &root) {
                    let used = root.rooms.iter().position(|other| *other == name);
                    if used.is_some_and(|used| used > index) {
                        let line = source.line_at(offset);
                        complaints
                            .push(format!("{}:{line}: room `{room}` uses `{name}`, declared below it", source.path));
                    }
                }
            }
        }
    }
    complaints
}

/// Complaints about rooms that do not begin with their promises.
pub(crate) fn promises(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for root in roots(workspace) {
        for room in &root.rooms {
            let candidates = [format!("{}/{room}.rs", root.folder), format!("{}/{room}/mod.rs", root.folder)];
            let Some(source) = candidates.iter().find_map(|path| workspace.source(path)) else {
                complaints.push(format!("{}: room `{room}` has no file", root.file));
                continue;
            };
            if !source.text.starts_with("//!") {
                complaints.push(format!("{}: does not begin with //!", source.path));
            } else if !source.text.lines().any(|line| line.trim_end() == "//! # Promises") {
                complaints.push(format!("{}: has no section `# Promises`", source.path));
            }
        }
    }
    complaints
}

fn roots(workspace: &Workspace) -> Vec<Root> {
    let mut roots = Vec::new();
    for (folder, manifest) in workspace.manifests() {
        let mut files = vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()];
        files.extend(manifest.lines().filter_map(|line| {
            let path = line.strip_prefix("path")?.trim_start().strip_prefix('=')?.trim().trim_matches('"');
            path.ends_with(".rs").then(|| path.to_owned())
        }));
        files.sort();
        files.dedup();
        for file in files.iter().map(|file| format!("{folder}/{file}")) {
            if let Some(source) = workspace.source(&file) {
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                roots.push(Root { rooms: declared(source), folder, file });
            }
        }
    }
    roots
}

/// The names of `mod name;` lines, in order; inline and test modules are not rooms.
fn declared(source: &Source) -> Vec<String> {
    let tests = source.test_regions();
    words(&source.code, "mod")
        .filter(|at| !tests.iter().any(|region| region.contains(at)))
        .filter_map(|at| {
            let rest = source.code[at + 3..].trim_start();
            let name = identifier(rest);
            rest[name.len()..].trim_start().starts_with(';').then(|| name.to_owned())
        })
        .collect()
}

fn files_of<'a>(workspace: &'a Workspace, root: &Root, room: &str) -> impl Iterator<Item = &'a Source> {
    let file = format!("{}/{room}.rs", root.folder);
    let folder = format!("{}/{room}/", root.folder);
    workspace.sources.iter().filter(move |source| source.path == file || source.path.starts_with(&folder))
}

/// Names that follow `crate::`, or a chain of `super::` long enough to leave the room, with where they stand.
fn names_used(source: &Source, root: &Root) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in words(&source.code, "crate") {
        found.extend(names_after(&source.code, at + "crate".len()));
    }
    let depth = depth(source, root);
    let tests = source.test_regions();
    for at in words(&source.code, "super") {
        let starts_a_chain = !source.code[..at].ends_with("super::");
        let in_test = tests.iter().any(|region| region.contains(&at));
        if starts_a_chain && !in_test {
            let mut rest = at;
            let mut count = 0;
            while source.code[rest..].starts_with("super::") {
                rest += "super::".len();
                count += 1;
            }
            if count >= depth {
                found.extend(names_after(&source.code, rest - 2));
            }
        }
    }
    found
}

/// How many `super::` lead from a file to the root of its crate.
fn depth(source: &Source, root: &Root) -> usize {
    let inner = source.path.strip_prefix(&format!("{}/", root.folder)).unwrap_or(&source.path);
    let slashes = inner.matches('/').count();
    if inner.ends_with("/mod.rs") { slashes } else { slashes + 1 }
}

/// The name or the group of names after `::` at `at`.
fn names_after(code: &str, at: usize) -> Vec<(String, usize)> {
    let Some(rest) = code[at..].strip_prefix("::") else { return Vec::new() };
    let start = at + 2;
    if !rest.starts_with('{') {
        return vec![(identifier(rest).to_owned(), start)];
    }
    let mut names = Vec::new();
    let mut depth = 0usize;
    let mut expects_name = false;
    for (offset, character) in rest.char_indices() {
        match character {
            '{' => (depth, expects_name) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => expects_name = depth == 1,
            _ if expects_name && !character.is_whitespace() => {
                names.push((identifier(&rest[offset..]).to_owned(), start + offset));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) = ("p/Cargo.toml", "[package]\nname = \"p\"\n");
    const LIB: (&str, &str) = ("p/src/lib.rs", "pub mod a;\nmod b;\n#[cfg(test)]\nmod tests;\n");

    #[track_caller]
    fn check_order(path: &str, text: &str, expected: &[&str]) {
        let workspace = Workspace::of(&[MANIFEST, LIB, (path, text)]);
        assert_eq!(order(&workspace), expected);
    }

    #[test]
    fn looking_up_is_allowed() {
        check_order("p/src/b.rs", "use crate::a::X;\nuse super::a;\n", &[]);
    }

    #[test]
    fn looking_down_is_found_however_it_is_written() {
        let complaint = ["p/src/a.rs:1: room `a` uses `b`, declared below it"];
        check_order("p/src/a.rs", "use crate::b::X;", &complaint);
        check_order("p/src/a.rs", "fn f() { crate::b::g() }", &complaint);
        check_order("p/src/a.rs", "use crate::{c::{d, e}, b};", &complaint);
        check_order("p/src/a.rs", "use super::b::X;", &complaint);
        check_order(
            "p/src/a/x.rs",
            "use super::super::b::X;",
            &["p/src/a/x.rs:1: room `a` uses `b`, declared below it"],
        );
    }

    #[test]
    fn a_name_in_a_comment_or_of_the_same_room_is_no_use() {
        check_order("p/src/a.rs", "// crate::b::X\nconst B: &str = \"crate::b\";", &[]);
        check_order("p/src/a/x.rs", "use super::b;", &[]);
    }

    #[test]
    fn a_room_without_promises_is_found() {
        let a = ("p/src/a.rs", "//! What a is.\n//!\n//! # Promises\n//! - To be.\n");
        let b = ("p/src/b.rs", "//! What b is.\n");
        let workspace = Workspace::of(&[MANIFEST, LIB, a, b]);
        assert_eq!(promises(&workspace), ["p/src/b.rs: has no section `# Promises`"]);
        let workspace = Workspace::of(&[MANIFEST, LIB, a]);
        assert_eq!(promises(&workspace), ["p/src/lib.rs: room `b` has no file"]);
    }
}
