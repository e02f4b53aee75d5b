//! Whatever bytes a write carries, the node answers and lives.
//!
//! # Promises
//! - No body, however damaged, is answered with 5xx or not at all, and none costs the sentinel's rows.
//! - The bodies come from a seed, which is printed; `WEIR_FUZZ_SEED` and `WEIR_FUZZ_SECONDS` repeat and prolong a run.

use std::time::{Duration, Instant};

use harness::http::{Request, gzip};
use harness::node::{Node, Options};
use harness::random::{Random, seed_from};

/// What bodies are made of: good lines, and what parsers stumble over.
const PIECES: [&str; 30] = [
    "t,site=a v=1 1\n",
    "t,site=b v=2i 2",
    "u,k=ä s=\"x\ny\" 3\n",
    "v b=t",
    "m\\ n,a\\,b=c\\=d e=1u 4\n",
    ",",
    "=",
    " ",
    "\n",
    "\\",
    "\"",
    "\t",
    "\r\n",
    "\0",
    "#",
    "i",
    "u",
    "t",
    "-",
    "1e308",
    "1e309",
    "9223372036854775808",
    "-9223372036854775808",
    "NaN",
    "time",
    "__seq",
    "ß",
    "\u{1F300}",
    "=\"",
    "\" ",
];

#[test]
fn damaged_writes_are_answered_and_hurt_nobody() {
    let seed = seed_from("WEIR_FUZZ_SEED");
    let seconds: u64 = std::env::var("WEIR_FUZZ_SECONDS").map_or(5, |text| text.parse().expect("WEIR_FUZZ_SECONDS"));
    println!("WEIR_FUZZ_SEED={seed} WEIR_FUZZ_SECONDS={seconds}");
    let node = Node::start(Options::open());
    let client = node.client();
    client.write("safe", "keep,site=a v=1 1\nkeep,site=b v=2 2");

    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut tried = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        let request = request(&mut random);
        let what = format!("WEIR_FUZZ_SEED={seed}: {} {:?}", request.target, String::from_utf8_lossy(&request.body));
        let answer = client.send(request).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
        tried += 1;
    }
    println!("{tried} bodies");
    assert_eq!(client.number("safe", "SELECT count(*) AS n FROM keep"), 2);
}

fn request(random: &mut Random) -> Request {
    let paths = [
        "/api/v3/write_lp?db=fuzz",
        "/api/v3/write_lp?db=fuzz&accept_partial=false",
        "/api/v2/write?bucket=fuzz",
        "/write?db=fuzz",
    ];
    let body = body(random);
    let request = Request::post(paths[random.below(paths.len() as u64) as usize]);
    match random.below(8) {
        0 => request.header("Content-Encoding", "gzip").body(gzip(&body)),
        1 => request.header("Content-Encoding", "gzip").body(damaged(gzip(&body), random)),
        _ => request.body(body),
    }
}

fn body(random: &mut Random) -> Vec<u8> {
    let count = 1 + random.below(20);
    let body: String = (0..count).map(|_| PIECES[random.below(PIECES.len() as u64) as usize]).collect();
    if random.below(3) == 0 { damaged(body.into_bytes(), random) } else { body.into_bytes() }
}

/// Up to three bytes changed, and perhaps the end cut off.
fn damaged(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..random.below(4) {
        let place = random.below(bytes.len() as u64) as usize;
        bytes[place] = random.next_u64() as u8;
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len() as u64) as usize);
    }
    bytes
}

#[test]
fn a_seed_gives_the_same_bodies() {
    let bodies = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| request(&mut random).body).collect::<Vec<_>>()
    };
    assert_eq!(bodies(7), bodies(7));
    assert_ne!(bodies(7), bodies(8));
}
