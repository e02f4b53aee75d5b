//! Whatever sessions of Postgres clients consist of, the node answers and lives.
//!
//! # Promises
//! - Messages in any order, whole or damaged, end no node and hang no session; one whose messages are whole is ready
//!   again after its Sync.
//! - The sessions come from a seed, which is printed; `WEIR_FUZZ_SEED` and `WEIR_FUZZ_SECONDS` repeat and prolong a run.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use harness::http::Request;
use harness::postgres::{Postgres, bind, describe, execute, flush, message, opening, parse, query, sync};
use harness::random::{Random, seed_from};
use harness::wait::eventually;

use crate::postgres::with_rows;

/// Names of statements, portals and cursors; few, so that they meet.
const NAMES: [&str; 4] = ["", "a", "b", "C c"];

/// What sessions say: of each kind something, right and wrong.
const TEXTS: [&str; 40] = [
    "SELECT 1",
    "SELECT v FROM seq LIMIT 3000",
    "SELECT v, $1 FROM seq WHERE v < $2 LIMIT 10",
    "SELECT * FROM room",
    "SELECT * FROM nope",
    "SELECT 1/0",
    "SELEKT",
    "",
    ";;",
    "SELECT 1; SELECT 2",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "DECLARE a CURSOR FOR SELECT v FROM seq",
    "DECLARE b BINARY CURSOR WITH HOLD FOR SELECT time FROM seq",
    "FETCH 100 FROM a",
    "FETCH ALL FROM b",
    "MOVE 10 FROM a",
    "CLOSE a",
    "CLOSE ALL",
    "COPY room TO STDOUT",
    "COPY (SELECT v FROM seq LIMIT 10) TO STDOUT (FORMAT binary)",
    "COPY room FROM STDIN",
    "SET application_name = 'x'",
    "SET LOCAL search_path = a, \"B\"",
    "SET a.b TO DEFAULT",
    "SHOW ALL",
    "SHOW nope",
    "RESET ALL",
    "DISCARD ALL",
    "PREPARE a AS SELECT $1",
    "EXECUTE a(1)",
    "DEALLOCATE ALL",
    "SELECT set_config('a.b', 'c', true)",
    "SELECT 'open",
    "SELECT $$ -- /* ' \" é",
    "INSERT INTO room VALUES (1)",
];

fn one<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

/// A message that a client could send.
fn whole(random: &mut Random) -> Vec<u8> {
    let (name, other, text) = (one(random, &NAMES), one(random, &NAMES), one(random, &TEXTS));
    let target = one(random, b"SP");
    match random.below(16) {
        0..3 => query(text),
        3..6 => parse(name, text, &[0, 20, 25, 1009, 1700, 1184][..random.below(3) as usize]),
        6..9 => {
            let values: [Option<&[u8]>; 6] =
                [None, Some(b"7"), Some(b"{1,2}"), Some(&[0; 8]), Some(&[255; 16]), Some(b"")];
            let values: Vec<_> = (0..random.below(4)).map(|_| one(random, &values)).collect();
            bind((name, other), &values, random.below(2) as u8)
        }
        9..11 => describe(target, name),
        11..13 => execute(name, one(random, &[0, 1, 100, u32::MAX])),
        13 => message(b'C', &[&[target], name.as_bytes(), b"\0"].concat()),
        14 => one(random, &[sync, flush])(),
        _ => message(one(random, b"dcf"), b"\0"),
    }
}

/// What a client says after its login.
#[derive(Debug, PartialEq)]
struct Session {
    bytes: Vec<u8>,
    /// Each message is one that clients may send.
    is_whole: bool,
}

fn session(random: &mut Random) -> Session {
    let count = 1 + random.below(12);
    let mut messages: Vec<Vec<u8>> = (0..count).map(|_| whole(random)).collect();
    let is_whole = random.below(2) == 0;
    if !is_whole {
        for _ in 0..=random.below(3) {
            let place = random.below(messages.len() as u64) as usize;
            damage(&mut messages[place], random);
        }
    }
    messages.push(sync());
    Session { bytes: messages.concat(), is_whole }
}

/// Other bytes, fewer or more of them, another length.
fn damage(message: &mut Vec<u8>, random: &mut Random) {
    if message.len() < 5 {
        // It was damaged before.
        return;
    }
    let place = random.below(message.len() as u64) as usize;
    match random.below(5) {
        0 => message[place] = random.next_u64() as u8,
        1 => message.truncate(place),
        2 => message.insert(place, one(random, &[0, 1, 127, 128, 255, b'\''])),
        // Its length says so, too.
        3 => *message = self::message(message[0], &message[5..][..place.min(message.len() - 5)]),
        _ => message[4] = message[4].wrapping_add(random.below(9) as u8),
    }
}

#[test]
fn sessions_of_any_messages_end_in_order_and_hurt_nobody() {
    let seed = seed_from("WEIR_FUZZ_SEED");
    let seconds: u64 = std::env::var("WEIR_FUZZ_SECONDS").map_or(15, |text| text.parse().expect("WEIR_FUZZ_SECONDS"));
    println!("WEIR_FUZZ_SEED={seed} WEIR_FUZZ_SECONDS={seconds}");
    let served = with_rows();
    let mut random = Random::new(seed);
    let (start, mut tried) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let session = session(&mut random);
        let what = format!("WEIR_FUZZ_SEED={seed}, session {tried}: {:?}", String::from_utf8_lossy(&session.bytes));
        check(served.port, session).unwrap_or_else(|error| panic!("{what}: {error}"));
        tried += 1;
    }
    println!("{tried} sessions");
    assert_eq!(Postgres::session(served.port, ("plant", "x")).value("SELECT count(*) FROM seq"), "20000");
    let log = served.node.log();
    assert!(!log.contains("panicked"), "{log}");
    eventually("all sessions to end", || {
        let metrics = served.node.client().ask(Request::get("/metrics")).text();
        if metrics.contains("\npg_sessions 0\n") { Ok(()) } else { Err("some are open") }
    });
}

/// Says it, and hears the session to its end.
fn check(port: u16, session: Session) -> Result<(), String> {
    let Session { bytes, is_whole } = session;
    let mut client = Postgres::session(port, ("plant", "x"));
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        // The node may have hung up by then, as it should.
        let _ = writer.write_all(&bytes);
        let _ = writer.write_all(&message(b'X', b""));
        if !is_whole {
            let _ = writer.shutdown(Shutdown::Write);
        }
    });
    let mut last = b'Z';
    loop {
        match client.hear() {
            Ok(Some(said)) => last = said.kind,
            Ok(None) => break,
            Err(error) if is_whole || error.kind() == std::io::ErrorKind::WouldBlock => return Err(error.to_string()),
            // What was not read when it hung up.
            Err(_) => break,
        }
    }
    writing.join().expect("writing ends with the connection");
    if is_whole && last != b'Z' { Err(format!("it ended with {}", char::from(last))) } else { Ok(()) }
}

#[test]
fn beginnings_of_any_bytes_end_in_order() {
    let seed = seed_from("WEIR_FUZZ_SEED");
    println!("WEIR_FUZZ_SEED={seed}");
    let served = with_rows();
    let mut random = Random::new(seed);
    for _ in 0..200 {
        let mut bytes = opening("plant");
        for _ in 0..random.below(4) {
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] = one(&mut random, &[0, 1, 3, 4, 127, 210, 255]);
        }
        bytes.truncate(bytes.len() - random.below(3) as usize);
        let mut client = Postgres::silent(served.port);
        client.send(&bytes);
        client.rest();
    }
    assert_eq!(Postgres::session(served.port, ("plant", "x")).value("SELECT 1"), "1");
    assert!(!served.node.log().contains("panicked"));
}

#[test]
fn a_seed_gives_the_same_sessions() {
    let sessions = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| session(&mut random)).collect::<Vec<_>>()
    };
    assert_eq!(sessions(7), sessions(7));
    assert_ne!(sessions(7), sessions(8));
}
