//! One Rust file as the rules see it: its text, and its code with comments and literals blanked out.
//!
//! # Promises
//! - `code` has the same lines as `text`; what stands in comments, strings and characters is spaces there.
//! - Braces in `code` therefore match, and a word found in it is a word of the program.
//!
//! # Not here
//! - A parser: macros are read as they stand, and nothing is resolved.

use std::ops::Range;

#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

/// A function: where its signature and body stand in `code`.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) start: usize,
    pub(crate) parameters: Range<usize>,
    /// `None` for a promise without a body, as in a trait.
    pub(crate) body: Option<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Lines of code in a range: blank lines and lines that hold only comments do not count.
    pub(crate) fn code_lines(&self, range: Range<usize>) -> usize {
        // A multi-line string is blank in `code` but is code: count a line that has anything but a comment.
        let text = &self.text[range.clone()];
        let code = &self.code[range];
        text.lines().zip(code.lines()).filter(|(text, code)| is_code_line(text, code)).count()
    }

    /// The regions that exist only for tests: items under `#[cfg(test)]` or `#[test]`.
    pub(crate) fn test_regions(&self) -> Vec<Range<usize>> {
        if self.is_test_file() {
            return std::iter::once(0..self.code.len()).collect();
        }
        let mut regions = Vec::new();
        for marker in ["#[cfg(test)]", "#[test]", "#[tokio::test"] {
            for (start, _) in self.code.match_indices(marker) {
                regions.push(start..self.end_of_item(start + marker.len()));
            }
        }
        regions
    }

    /// A room's tests may have a file or a folder of their own.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The end of the item that starts at `from`: its matching brace, or its semicolon.
    pub(crate) fn end_of_item(&self, from: usize) -> usize {
        let mut depth = 0usize;
        for (offset, byte) in self.code.bytes().enumerate().skip(from) {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b';' if depth == 0 => return offset + 1,
                b'{' if depth == 0 => return closing_brace(&self.code, offset) + 1,
                _ => {}
            }
        }
        self.code.len()
    }

    /// The bodies of `impl Trait for Type`: their signatures are somebody else's decision.
    pub(crate) fn trait_impls(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for start in words(&self.code, "impl") {
            let Some(open) = self.code[start..].find('{').map(|at| start + at) else { continue };
            let head = &self.code[start..open];
            if head.contains(" for ") {
                found.push(open..closing_brace(&self.code, open));
            }
        }
        found
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        words(&self.code, "fn").filter_map(|at| self.function_at(at)).collect()
    }

    fn function_at(&self, start: usize) -> Option<Function> {
        let code = &self.code;
        let rest = code[start + 2..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            return None; // a function type: `fn(u32) -> u32`
        }
        let open = start + code[start..].find('(')?;
        let close = closing(code, open, (b'(', b')'));
        let end = self.end_of_item(close + 1);
        let body = code[close..end].find('{').map(|at| close + at..end);
        Some(Function { name, start, parameters: open + 1..close, body })
    }
}

fn is_code_line(text: &str, code: &str) -> bool {
    let text = text.trim_start();
    !code.trim().is_empty()
        || !(text.is_empty() || text.starts_with("//") || text.starts_with("/*") || text.starts_with('*'))
}

/// Where `word` stands as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).map(|at| code.as_bytes()[at]);
        let after = code.as_bytes().get(at + word.len()).copied();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn closing_brace(code: &str, open: usize) -> usize {
    closing(code, open, (b'{', b'}'))
}

/// The bracket that closes the one at `open`, or the end of the text.
fn closing(code: &str, open: usize, pair: (u8, u8)) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        if byte == pair.0 {
            depth += 1;
        } else if byte == pair.1 {
            depth -= 1;
            if depth == 0 {
                return offset;
            }
        }
    }
    code.len().saturating_sub(1)
}

/// The text with comments and literals replaced by spaces, byte for byte.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).min(bytes.len());
        if end > at {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("only whole literals were replaced, by ASCII")
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts here.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let before = at.checked_sub(1).map(|at| bytes[at]);
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !in_word => at + raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => at + raw_string(rest, 2),
        // `'\n'`, `'a'` and `'é'` are characters; `'a` without a closing quote is a lifetime.
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        [b'\'', ..] => at + character(rest),
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn character(rest: &[u8]) -> usize {
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let mut characters = text.char_indices().skip(2);
    match characters.next() {
        Some((at, '\'')) => at + 1,
        _ => 0,
    }
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0; // a raw identifier: `r#type`
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[open + 1..];
    open + 1 + body.windows(end.len()).position(|window| window == end).map_or(body.len(), |at| at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_blank(text: &str, expected: &str) {
        assert_eq!(blank(text), expected);
    }

    #[test]
    fn comments_and_literals_are_blank() {
        check_blank("a // b {\nc", "a       \nc");
        check_blank("a /* { /* } */ */ b", "a                 b");
        check_blank(r#"f("}\"", 'x', '\'')"#, "f(     ,    ,     )");
        check_blank("r#\"{\"# + br\"}\"", "       +      ");
        check_blank("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check_blank("r#type", "r#type");
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let source = Source::new(
            "a.rs",
            "fn a(x: [u8; 4],\n y: fn(u8)) {\n  // only a comment\n\n  b();\n}\ntrait T { fn c(); }",
        );
        let functions = source.functions();
        let found: Vec<_> = functions
            .iter()
            .map(|function| {
                (function.name.as_str(), function.body.clone().map(|body| source.code_lines(function.start..body.end)))
            })
            .collect();
        assert_eq!(found, [("a", Some(4)), ("c", None)]);
    }

    #[test]
    fn test_regions_end_with_their_item() {
        let source = Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}");
        let [region] = &source.test_regions()[..] else { panic!("one region") };
        assert_eq!(&source.code[region.end..], "\nfn c() {}");
    }
}
