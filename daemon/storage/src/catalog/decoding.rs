//! Entries and checkpoints, whole and damaged, thousands of them: what was written is read, and nothing panics.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt;
use rand::Rng;
use rand::rngs::StdRng;

use super::apply::chance::any_change;
use super::checkpoint::{self, Root};
use super::format::{decode_entry, encode_entry, made_at_ms};
use super::{Change, State};
use crate::fuzz::{allocated, damaged, for_seeds};
use crate::model::{NodeId, TableId};

fn any_changes(state: &State, random: &mut StdRng) -> Vec<Change> {
    (0..random.random_range(1..4)).map(|_| any_change(random, state)).collect()
}

fn any_state(random: &mut StdRng) -> State {
    let mut state = State::default();
    for _ in 0..random.random_range(1..100) {
        let changes = any_changes(&state, random);
        // Most entries of chance contradict the state, which is then left as it was.
        let _ = state.apply(state.version + 1, &changes);
    }
    state
}

#[test]
fn entries_are_read_as_they_were_written() {
    for_seeds(|random| {
        let changes = any_changes(&State::default(), random);
        let payload = encode_entry(&changes, 7);
        assert_eq!(decode_entry(&payload).as_deref(), Ok(&changes[..]));
        assert_eq!(made_at_ms(&payload), Ok(7));
    });
}

#[test]
fn a_mode_that_only_a_newer_program_knows_is_kept_and_the_rest_is_understood() {
    let nodes = r#"{"at_ms":7,"changes":[
        {"change":"register_node","node":"n","instance":"1","writer":0,"core_count":1,"at_ms":7},
        {"change":"open_epoch","node":"n","epoch":1,"process":"1","at_ms":7},
        {"change":"describe_node","node":"n","epoch":1,"description":
            {"modes":["webui","query"],"http":null,"internode":null,"version":"9","options":"{}"}}]}"#;
    let mut state = State::default();
    state.apply(1, &decode_entry(nodes.as_bytes()).expect("a mode is no reason to refuse an entry")).unwrap();
    let read_back = read(&encode(&state)).expect("a mode is no reason to refuse a checkpoint");
    assert_eq!(read_back, state);
    let description = &read_back.nodes[&NodeId::new("n").unwrap()].description;
    assert_eq!(
        (description.modes.to_string(), &description.newer_modes[..]),
        ("query".to_owned(), &["webui".into()][..])
    );
}

#[test]
fn no_bytes_panic_the_decoder_of_entries() {
    for_seeds(|random| {
        let payload = damaged(&encode_entry(&any_changes(&State::default(), random), 7), random);
        check_bounded(payload.len(), || {
            if let Ok(changes) = decode_entry(&payload) {
                assert_eq!(decode_entry(&encode_entry(&changes, 7)).as_deref(), Ok(&changes[..]));
            }
            let _ = made_at_ms(&payload);
        });
    });
}

#[test]
fn checkpoints_are_read_as_they_were_written() {
    for_seeds(|random| {
        let state = any_state(random);
        assert_eq!(read(&encode(&state)), Ok(state));
    });
}

#[test]
fn no_bytes_panic_the_decoder_of_checkpoints() {
    for_seeds(|random| {
        let mut encoded = encode(&any_state(random));
        let mut damage = |payload: &mut Bytes| {
            let json = inflate(payload);
            // Behind the compression most of the time, or nothing but the compression is looked at.
            *payload = if random.random_bool(0.8) {
                checkpoint::compress(&damaged(&json, random))
            } else {
                damaged(payload, random).into()
            };
            json.len()
        };
        let mut bytes = damage(&mut encoded.root);
        for payload in encoded.parts.values_mut() {
            bytes += damage(payload);
        }
        check_bounded(bytes, || drop(read(&encoded)));
    });
}

#[test]
fn a_window_that_nobody_writes_gets_no_memory() {
    // A frame without a length, with a window of 128 MiB, and one empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    let error =
        read(&Encoded { parts: BTreeMap::new(), root: Bytes::copy_from_slice(&frame) }).expect_err("no checkpoint");
    assert!(error.contains("memory"), "{error}");
}

/// A checkpoint in memory.
struct Encoded {
    parts: BTreeMap<TableId, Bytes>,
    root: Bytes,
}

fn encode(state: &State) -> Encoded {
    let parts: BTreeMap<_, _> = state.tables.iter().map(|(id, table)| (*id, checkpoint::encode_part(table))).collect();
    let names = parts.iter().map(|(id, (hash, _))| (id.0, hash.clone())).collect();
    let root = checkpoint::encode_root(state, names);
    Encoded { parts: parts.into_iter().map(|(id, (_, payload))| (id, payload)).collect(), root }
}

fn read(Encoded { parts, root }: &Encoded) -> Result<State, String> {
    let part = |table, _name| std::future::ready(parts.get(&table).cloned().ok_or_else(|| "no such part".to_owned()));
    Root::decode(root)?.load(part).now_or_never().expect("nothing is waited for")
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(payload).unwrap()
}

/// What is read takes a few times its text.
fn check_bounded(bytes: usize, work: impl FnOnce()) {
    let taken = allocated(work);
    assert!(taken < 300 * bytes + 200_000, "{taken} bytes were allocated for {bytes} bytes");
}
