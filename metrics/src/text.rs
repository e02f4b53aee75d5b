//! What scrapers read: every family as text, in format 0.0.4.
//!
//! # Promises
//! - Families are sorted by name, series by label values, labels by name; the text ends with `# EOF`.
//! - A family without series is left out.
//! - Each family stands once, with its help and type before its series, and no series stands twice.
//!
//! # Not here
//! - The rules for names: a name that breaks them is never registered.

use std::fmt::Write;

use crate::registry::{Distribution, Family, Numbers, Registry};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Registry {
    /// Brings the figures up to date and writes all of them down.
    #[must_use]
    pub fn text(&self) -> String {
        self.refresh();
        let mut text = String::new();
        for (name, family) in self.families() {
            Writer { text: &mut text, name: &name, labels: &family.labels }.family(&family);
        }
        text.push_str("# EOF\n");
        text
    }
}

/// Writes the lines of one family.
struct Writer<'a> {
    text: &'a mut String,
    name: &'a str,
    labels: &'a [String],
}

impl Writer<'_> {
    fn family(&mut self, family: &Family) {
        let start = self.text.len();
        self.line(&["# HELP ", self.name, " ", &escape(&family.help, Quotes::Plain), "\n"]);
        self.line(&["# TYPE ", self.name, " ", &family.numbers.kind().to_string(), "\n"]);
        let head = self.text.len();
        match &family.numbers {
            Numbers::Counter(vec) => vec.all().iter().for_each(|(values, n)| self.sample("", values, n.get())),
            Numbers::Gauge(vec) => vec.all().iter().for_each(|(values, n)| self.sample("", values, n.get())),
            Numbers::Histogram(vec) => vec.all().iter().for_each(|(values, n)| self.histogram(values, &n.read())),
        }
        if self.text.len() == head {
            self.text.truncate(start);
        }
    }

    fn histogram(&mut self, values: &[String], read: &Distribution) {
        let bounded = read.up_to.iter().map(|(bound, count)| (*bound, *count));
        for (bound, count) in bounded.chain([(f64::INFINITY, read.count)]) {
            let pairs = self.pairs(values, Some(&number(bound)));
            self.line(&[self.name, "_bucket", &pairs, " ", &count.to_string(), "\n"]);
        }
        self.sample("_sum", values, read.sum);
        self.sample("_count", values, read.count as f64);
    }

    fn sample(&mut self, suffix: &str, values: &[String], value: f64) {
        let pairs = self.pairs(values, None);
        self.line(&[self.name, suffix, &pairs, " ", &number(value), "\n"]);
    }

    /// `{a="1",b="2"}`, with the bound of a bucket at its place among the labels; empty when there are none.
    fn pairs(&self, values: &[String], bound: Option<&str>) -> String {
        let named = self.labels.iter().map(String::as_str).zip(values.iter().map(String::as_str));
        let mut pairs: Vec<(&str, &str)> = named.chain(bound.map(|b| ("le", b))).collect();
        pairs.sort_unstable();
        let mut text = String::new();
        for (label, value) in pairs {
            let before = if text.is_empty() { '{' } else { ',' };
            write!(text, "{before}{label}=\"{}\"", escape(value, Quotes::Escaped)).expect("a string takes any text");
        }
        if !text.is_empty() {
            text.push('}');
        }
        text
    }

    fn line(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Plain,
    Escaped,
}

fn escape(text: &str, quotes: Quotes) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes == Quotes::Escaped { escaped.replace('"', "\\\"") } else { escaped }
}

fn number(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "+Inf".into() } else { "-Inf".into() } } else { value.to_string() }
}

#[cfg(test)]
mod tests;
