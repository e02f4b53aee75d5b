//! Entries made by chance, most of them wrong: whatever they say, the state stays whole.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::deletes::tests::delete;
use super::tests::{
    audit, configure, create_database, create_table, create_token, describe, drop_database, drop_table, open, persist,
    register, replace, stop, take,
};
use super::*;
use crate::catalog::{Cache, CacheKind, Dropped};
use crate::model::{ColumnId, DatabaseId, Epoch, FileId, NodeId, TableId};

const ENTRIES: u64 = 4_000;

#[test]
fn whatever_entries_say_the_state_stays_whole_and_never_goes_back() {
    for seed in 0..20 {
        let mut chance = StdRng::seed_from_u64(seed);
        let (mut state, mut held) = (State::default(), 0);
        for _ in 0..ENTRIES {
            let changes: Vec<Change> =
                (0..chance.random_range(0..3)).map(|_| any_change(&mut chance, &state)).collect();
            let before = state.clone();
            match state.apply(before.version + 1, &changes) {
                Ok(()) => {
                    held += 1;
                    check_goes_on(&before, &state);
                }
                Err(_) => assert_eq!(state, before, "seed {seed}: {changes:?}"),
            }
            assert_eq!(state.check(), Ok(()), "seed {seed}: {changes:?}");
        }
        assert!(held > ENTRIES / 10, "seed {seed}: only {held} entries held, which proves little");
    }
}

fn check_goes_on(before: &State, after: &State) {
    assert!(after.settled() >= before.settled());
    assert!(after.next_database >= before.next_database && after.next_table >= before.next_table);
    assert!(after.deleted_stamp >= before.deleted_stamp);
    assert!(after.file_floor >= before.file_floor && after.compactor.term >= before.compactor.term);
    for (id, old) in &before.nodes {
        let new = &after.nodes[id];
        assert!(new.epoch >= old.epoch && new.persisted >= old.persisted && new.persisted_stamp >= old.persisted_stamp);
    }
    for (id, old) in &before.tables {
        let now = after.tables.get(id);
        assert!(now.is_none_or(|new| new.schema.columns.starts_with(&old.schema.columns)), "columns are only added");
        assert!(now.is_none_or(|new| new.last_delete >= old.last_delete));
        let kept = |file: &FileId| after.removed.contains_key(file) || now.is_some_and(|t| t.files.contains_key(file));
        // An entry of two changes can remove a file and forget it.
        let lost = old.files.keys().filter(|file| !kept(file)).count();
        assert!(lost == 0 || after.removed.len() <= before.removed.len(), "no file leaves without a trace");
    }
}

/// A change of any kind, about things that may or may not exist.
pub(in crate::catalog) fn any_change(chance: &mut StdRng, state: &State) -> Change {
    let (id, name) = (chance.random_range(0..6), ["a", "b", "c", "d", ""][chance.random_range(0..5)]);
    let near = |next: u32, chance: &mut StdRng| if chance.random_bool(0.8) { next } else { id };
    let dropped = Dropped { at_ms: u64::from(id % 2), hard_delete_at_ms: Some(9) };
    let file: u128 = chance.random_range(0..40);
    let node = |name: &str| NodeId::new(name).expect("the name is valid");
    let table = near(state.next_table, chance);
    let epoch = state.nodes.get(&node("n")).map_or(0, |n| n.epoch.0);
    match chance.random_range(0..32) {
        27 => delete(id, state.settled().max(state.deleted_stamp).0 + u64::from(id), &[]),
        28 => Change::ForgetDeletes {
            table: TableId(id),
            deletes: vec![state.tables.get(&TableId(id)).map_or(1, |t| t.last_delete)],
        },
        29 => delete(id, state.version, &[0]),
        30 => Change::CreateCache {
            table: TableId(id),
            name: name.into(),
            cache: Cache::Distinct { columns: vec![ColumnId(id as u16)], cardinality_max: 1, age_max_seconds: 1 },
        },
        31 => Change::DropCache { table: TableId(id), kind: CacheKind::Distinct, name: name.into() },
        24 => configure(name, None, (id % 3 != 0).then_some("1")),
        25 => configure(name, Some("n"), (id % 2 == 0).then_some("2")),
        26 => audit(name),
        19 => describe("n", near(epoch, chance), name),
        20 => stop("n", near(epoch, chance)),
        21 => Change::RemoveNode { node: node(["n", "m"][chance.random_range(0..2)]), at_ms: state.version },
        22 => take("n", near(epoch, chance), state.compactor.term + u64::from(id % 2)),
        23 => Change::LeaveCompactor { node: node("n"), term: state.compactor.term },
        18 => Change::RaiseFileFloor { floor: FileId(file / 8) },
        0 => create_database(near(state.next_database, chance), name),
        1 => drop_database(id, name, dropped),
        2 => Change::ForgetDatabase { id: DatabaseId(id) },
        3 | 4 => create_table(table, name, &["x", name]),
        5 => drop_table(id, name, dropped),
        6 => Change::ForgetTable { id: TableId(id) },
        7 => {
            Change::AddColumns { table: TableId(id), first: ColumnId(2), columns: super::tests::columns(&[name, "z"]) }
        }
        8 => create_token(u64::from(near(u32::try_from(state.next_token).unwrap_or(0), chance)), name, name),
        9 => Change::DeleteToken { id: TokenId(u64::from(id)) },
        10 => register(["n", "m"][chance.random_range(0..2)], 1, chance.random_range(0..4)),
        11 => open(["n", "n", "m"][chance.random_range(0..3)], near(epoch + 1, chance)),
        12 => Change::CloseEpoch { node: node("n"), epoch: Epoch(id) },
        13 | 14 => {
            let past = state.version / 10;
            persist(near(epoch, chance), past, past + u64::from(id), &[(id, file, past)])
        }
        15 => replace(&[file], &[file + 1]),
        16 => replace(&[], &[file]),
        _ => Change::ForgetFiles { files: vec![FileId(file)] },
    }
}
