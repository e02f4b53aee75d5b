//! Exceptions that were there before a rule, or that somebody argued for: a list that may only shrink.
//!
//! # Promises
//! - An entry allows exactly what it says; when the thing got better, the entry must be lowered or taken out.
//! - The list has at most `ENTRIES_MAX` lines, so a new exception changes this file too and is seen in review.

use std::collections::BTreeMap;

use crate::workspace::Workspace;

/// Lower this with the list.
const ENTRIES_MAX: usize = 0;

/// `rule what number` by line, for example `function daemon/src/node.rs::start 75`.
const LIST: &str = "tests/tidy/ratchet.txt";

/// What is measured against the list: a rule's findings, each with its size.
#[derive(Debug)]
pub(crate) struct Ratchet {
    rule: &'static str,
    allowed: BTreeMap<String, usize>,
    complaints: Vec<String>,
}

impl Ratchet {
    pub(crate) fn of(workspace: &Workspace, rule: &'static str) -> Self {
        let list = workspace.text(LIST).unwrap_or_default();
        let entries: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let mut complaints = Vec::new();
        if entries.len() > ENTRIES_MAX {
            complaints.push(format!("{LIST}: {} entries, it may only shrink from {ENTRIES_MAX}", entries.len()));
        }
        let of_rule = entries.iter().filter_map(|entry| {
            let mut words = entry.strip_prefix(rule)?.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        Self { rule, allowed: of_rule.collect(), complaints }
    }

    /// Something over its budget was found.
    pub(crate) fn found(&mut self, what: &str, size: usize, budget: usize) {
        let rule = self.rule;
        match self.allowed.remove(what) {
            Some(allowed) if allowed == size => {}
            Some(allowed) if allowed > size => {
                self.complaints.push(format!("{LIST}: `{rule} {what}` is {size} now, lower it from {allowed}"));
            }
            _ => self.complaints.push(format!("{what}: {size}, the budget is {budget}")),
        }
    }

    /// Everything was looked at: what is still on the list is no longer needed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let rule = self.rule;
        let left = self.allowed.keys().map(|what| format!("{LIST}: take out `{rule} {what}`, it is within its budget"));
        self.complaints.extend(left);
        self.complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(list: &str, found: &[(&str, usize)]) -> Vec<String> {
        let mut ratchet = Ratchet::of(&Workspace::of(&[(LIST, list)]), "file");
        ratchet.complaints.clear(); // the length of the list has its own test
        for (what, size) in found {
            ratchet.found(what, *size, 10);
        }
        ratchet.finish()
    }

    #[test]
    fn the_list_allows_what_it_says_and_no_more() {
        assert_eq!(complaints("file a.rs 12\n", &[("a.rs", 12)]), [""; 0]);
        assert_eq!(complaints("file a.rs 12\n", &[("a.rs", 13)]), ["a.rs: 13, the budget is 10"]);
        assert_eq!(complaints("", &[("a.rs", 11)]), ["a.rs: 11, the budget is 10"]);
    }

    #[test]
    fn what_got_better_must_be_written_down() {
        assert_eq!(
            complaints("file a.rs 12\n", &[("a.rs", 11)]),
            [format!("{LIST}: `file a.rs` is 11 now, lower it from 12")]
        );
        assert_eq!(
            complaints("file a.rs 12\n", &[]),
            [format!("{LIST}: take out `file a.rs`, it is within its budget")]
        );
    }

    #[test]
    fn the_list_cannot_grow() {
        let long = "file a.rs 12\n".repeat(ENTRIES_MAX + 1);
        let ratchet = Ratchet::of(&Workspace::of(&[(LIST, &long)]), "file");
        assert_eq!(ratchet.complaints.len(), 1);
    }
}
