//! Made-up bodies, thousands of them: nothing panics, and a second parser reads the same rows.
//!
//! `WEIR_FUZZ_SECONDS` lets them run longer. A failure prints the seed and the body.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::reference::Reference;
use super::*;
use crate::fuzz::for_seeds;

#[test]
fn a_second_parser_reads_the_same_rows() {
    for_seeds(|random| check_same(&good_body(random)));
}

#[test]
fn a_second_parser_refuses_the_same_lines() {
    for_seeds(|random| {
        let body = good_body(random);
        check_same(&damaged(body, random));
    });
}

#[test]
fn a_second_parser_agrees_on_noise() {
    const SIGNS: &[char] = &[
        'm', 'a', ',', ',', '=', '=', ' ', ' ', '"', '\\', '\n', '\n', '\r', '\t', '1', '9', 'i', 'u', 't', '.', 'e',
        '-', '#', '\0', 'é', '€',
    ];
    for_seeds(|random| {
        let len = random.random_range(0..60);
        check_same(&pick_many(SIGNS, len, random).into_iter().collect::<String>());
    });
}

#[test]
fn random_bytes_do_not_panic() {
    for_seeds(|random| {
        let bytes: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
        check_same(&String::from_utf8_lossy(&bytes));
        let ascii: String = bytes.iter().map(|b| char::from(b & 0x7f)).collect();
        check_same(&ascii);
    });
}

#[test]
fn lines_mean_the_same_alone_as_among_others() {
    for_seeds(|random| {
        // One table, one kind for each name: then no line depends on another.
        let line = |i: u64| format!("m,t=\\ {},u=x a={i},b={i}i,c=\"{i}\\\"\" {i}", i % 3);
        let short = |i: u64| format!("m,u=x,t=\\ {} c=\"\n\",a=-{i}.25 {i}", i % 3);
        let lines: Vec<_> = (0..20).map(|i| if random.random() { line(i) } else { short(i) }).collect();
        let alone = lines.iter().flat_map(|l| rows(&parsed(l, &options(), &Known::default())));
        assert_eq!(rows(&parsed(&lines.join("\n"), &options(), &Known::default())), alone.collect::<Vec<_>>());
    });
}

#[track_caller]
fn check_same(body: &str) {
    let parsed = parsed(body, &options(), &Known::default());
    let reference = Reference::read(body);
    let bad: Vec<_> = parsed.rejected.iter().map(|e| e.line_number).collect();
    assert_eq!(bad, reference.bad, "bad lines of {body:?}: {:?}", parsed.rejected);
    let order = |row: &Row| parsed.tables.iter().position(|t| *t.name == *row.table);
    let mut expected = reference.rows;
    expected.sort_by_key(order);
    assert_eq!(rows(&parsed), expected, "rows of {body:?}");

    let refuse = Options { bad_lines: BadLines::Refuse, ..options() };
    let refused = parse(body, &refuse, &Known::default());
    assert_eq!(refused.err(), parsed.rejected.first().cloned(), "the first bad line of {body:?}");
}

fn pick_many<T: Clone>(from: &[T], count: usize, random: &mut StdRng) -> Vec<T> {
    (0..count).map(|_| from.choose(random).expect("there is one").clone()).collect()
}

const TABLES: &[&str] = &["m", "n", "größe", "a\\,b", "a=b", "a\\ \\\\b", "x\\y", "m\\=", "\"q\""];
const TAGS: &[&str] = &["t", "u", "host", "a\\ b", "c\\=d", "e\\,f", "g\\\\h", "i\\j", "ö"];
const TAG_VALUES: &[&str] = &["1", "a", "\\ ", "x\\,y", "z\\=", "\"", "\\\\w", "v\\w", "日本", "b\\\nc"];
const FIELDS: &[&str] = &["f", "usage", "p\\ q", "r\\=s", "t\\,u2", "v\\\\", "\\w", "\"x\"", "é"];

/// Lines that are good but for columns of another type, a few of them.
fn good_body(random: &mut StdRng) -> String {
    let ends = ["\n", "\n", "\n", "\r\n", "  \n", "\n\n", "\n# \"comment=\" v=\"\n", "\n \t"];
    let mut shape = pick_many(FIELDS, 3, random);
    let mut body = String::new();
    for _ in 0..random.random_range(1..12) {
        if random.random_bool(0.3) {
            let len = random.random_range(1..5);
            shape = pick_many(FIELDS, len, random);
        }
        body.push_str(&good_line(&shape, random));
        body.push_str(ends.choose(random).expect("there is one"));
    }
    body
}

fn good_line(shape: &[&str], random: &mut StdRng) -> String {
    let tables = if random.random_bool(0.7) { &TABLES[..1] } else { TABLES };
    let mut line = (*tables.choose(random).expect("there is one")).to_owned();
    let count = random.random_range(0..4);
    let keys: Vec<_> = TAGS.choose_multiple(random, count).collect();
    for key in keys {
        let value = TAG_VALUES.choose(random).expect("there is one");
        line.push_str(&format!(",{key}={value}"));
    }
    let spaces = [" ", " ", "  "];
    line.push_str(spaces.choose(random).expect("there is one"));
    let fields: Vec<_> = shape.iter().map(|name| format!("{name}={}", value_for(name, random))).collect();
    line.push_str(&fields.join(","));
    if random.random_bool(0.8) {
        line.push_str(&format!(" {}", random.random::<i64>() >> random.random_range(0..64)));
    }
    line
}

/// A value of a type that goes with the name, most of the time.
fn value_for(name: &str, random: &mut StdRng) -> String {
    let strings = ["", "a", "a b,c=d", "\n", "\\\"", "\\\\", "x\\y", "m f=1 1\nm f=2", "日本", "\r\n"];
    let kind = if random.random_bool(0.03) { random.random_range(0..5) } else { name.len() % 5 };
    let bits: i64 = random.random::<i64>() >> random.random_range(0..64);
    match kind {
        0 => format!("{bits}i"),
        1 => match random.random_range(0..3) {
            0 => format!("{}", bits as f64 / 100.0),
            1 => format!("{:e}", bits as f64 * 1e-30),
            _ => format!("{bits}.{:03}", random.random_range(0..1000)),
        },
        2 => format!("{}u", bits.unsigned_abs()),
        3 => (*["t", "false", "TRUE", "F"].choose(random).expect("there is one")).to_owned(),
        _ => format!("\"{}\"", strings.choose(random).expect("there is one")),
    }
}

/// `body` with a few characters put in, taken out or doubled.
fn damaged(body: String, random: &mut StdRng) -> String {
    const SIGNS: &[char] = &[' ', ',', '=', '"', '\\', '\n', '\r', '\t', 'i', 'u', '.', '-', '0', '#', '\0', 'é', 't'];
    let mut chars: Vec<char> = body.chars().collect();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=chars.len());
        match random.random_range(0..3) {
            0 => chars.insert(at, *SIGNS.choose(random).expect("there is one")),
            1 if at < chars.len() => drop(chars.remove(at)),
            _ => {
                let end = (at + random.random_range(0..20)).min(chars.len());
                let piece = chars[at..end].to_vec();
                chars.splice(at..at, piece);
            }
        }
    }
    chars.into_iter().collect()
}
