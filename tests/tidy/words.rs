//! Words that do not belong into the project, wherever they stand.
//!
//! # Promises
//! - Every text is read, documents and scripts too; this file spells the words in halves so as not to find itself.

use crate::source::words;
use crate::workspace::Workspace;

/// What must not stand anywhere, and why.
const FORBIDDEN: [(&str, &str); 5] = [
    (concat!("#[", "ignore"), "no ignored tests: assert today's answer and say why it is wrong"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("../sha", "red"), "nothing refers to what is not in the repository"),
    (concat!("allow(", "dead_code"), "code that nobody calls is taken out"),
];

/// What must not stand in code, whether the lints see it or not.
const FORBIDDEN_IN_CODE: [(&str, &str); 4] = [
    (concat!("to", "do!"), "a half-made function is not a commit"),
    (concat!("unimple", "mented!"), "a half-made function is not a commit"),
    (concat!("unbounded", "_channel"), "every queue has a limit"),
    (concat!("mpsc::", "channel()"), "every queue has a limit"),
];

const EMPTY_NAMES: [&str; 8] = ["manager", "helper", "helpers", "util", "utils", "common", "base", "impl"];

/// Complaints about forbidden words.
pub(crate) fn forbidden(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in &workspace.texts {
        if path == "Cargo.lock" {
            continue;
        }
        for (word, reason) in FORBIDDEN {
            complaints.extend(find(text, word).map(|line| format!("{path}:{line}: `{word}`: {reason}")));
        }
    }
    for source in &workspace.sources {
        for (word, reason) in FORBIDDEN_IN_CODE {
            complaints
                .extend(find(&source.code, word).map(|line| format!("{}:{line}: `{word}`: {reason}", source.path)));
        }
    }
    complaints
}

fn find<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| text[..at].matches('\n').count() + 1)
}

/// Complaints about rooms and types named after nothing.
pub(crate) fn names(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in &workspace.sources {
        for keyword in ["mod", "struct", "enum", "trait", "type"] {
            for at in words(&source.code, keyword) {
                let rest = source.code[at + keyword.len()..].trim_start();
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if parts(&name).iter().any(|part| EMPTY_NAMES.contains(&part.as_str())) {
                    complaints.push(format!("{}:{}: {keyword} `{name}`", source.path, source.line_at(at)));
                }
            }
        }
    }
    complaints
}

/// The words a name is made of, in either way of writing names.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for character in name.chars() {
        if character == '_' || character.is_uppercase() {
            parts.push(String::new());
        }
        if character != '_' {
            parts.last_mut().expect("there is always one").extend(character.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_words_are_found_in_code_and_documents() {
        let readme = ("README.md", concat!("see ../sha", "red/notes\n"));
        let code = ("a.rs", concat!("fn a() {\n    to", "do!()\n}\n// to", "do! in a comment is text\n"));
        let complaints = forbidden(&Workspace::of(&[readme, code]));
        let places: Vec<_> = complaints.iter().map(|complaint| complaint.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["README.md:1", "a.rs:2"]);
    }

    #[test]
    fn empty_names_are_found_as_words_only() {
        let workspace = Workspace::of(&[(
            "a.rs",
            "struct QueryManager;\nmod wal_utils;\nstruct Database;\nfn f(x: impl Fn()) {}\n",
        )]);
        assert_eq!(names(&workspace), ["a.rs:2: mod `wal_utils`", "a.rs:1: struct `QueryManager`"]);
    }
}
