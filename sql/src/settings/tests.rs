use std::time::Duration;

use storage::catalog::Change;
use storage::knob::Knob;
use storage::model::{NodeId, Writer};

use super::*;

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a good name")
}

fn every(knob: &Knob<Duration>) -> Live {
    let range = Duration::from_millis(10)..=Duration::from_secs(60);
    let dial = Dial::Interval { knob: knob.clone(), range };
    Live { name: "wal-flush-interval", about: "", dial }
}

fn flag(name: &str, value: &str, is_said: bool) -> Flag {
    Flag { name: name.to_owned(), value: Some(value.to_owned()), is_said }
}

/// A state in which nodes `a` and `b` are, and this is set.
fn state(settings: &[(Option<&str>, &str)]) -> State {
    let register = |name: &str, slot: u16| Change::RegisterNode {
        node: node(name),
        instance: u128::from(slot),
        writer: Writer::new(slot).expect("a slot"),
        core_count: 1,
        at_ms: 1,
    };
    let configure = |(of, value): &(Option<&str>, &str)| Change::Configure {
        name: "wal_flush_interval".into(),
        node: of.map(node),
        value: Some((*value).into()),
    };
    let changes: Vec<Change> =
        [register("a", 0), register("b", 1)].into_iter().chain(settings.iter().map(configure)).collect();
    let mut state = State::default();
    state.apply(1, &changes).expect("it holds");
    state
}

#[test]
fn what_is_said_at_the_start_wins_over_the_node_that_over_the_cluster_and_that_over_the_default() {
    let second = Duration::from_secs(1);
    let set = [(None, "2s"), (Some("a"), "3s")];
    for (is_said, settings, expected, source) in [
        (false, &set[..0], 1, "default"),
        (false, &set[..1], 2, "cluster"),
        (false, &set[..], 3, "node"),
        (true, &set[..], 1, "flag"),
    ] {
        let knob = Knob::from(second);
        let held = Settings::new(vec![flag("wal-flush-interval", "1s", is_said)], vec![every(&knob)]);
        held.follow(&state(settings), &node("a"));
        assert_eq!(knob.get(), expected * second, "{source}");
        let [shown] = &held.shown()[..] else { panic!("there is one") };
        assert_eq!((shown.source.text(), shown.value.as_deref()), (source, Some(format!("{expected}s").as_str())));
        held.follow(&state(&[]), &node("a"));
        assert_eq!(knob.get(), second, "what was set is reset");
    }
}

#[test]
fn a_value_that_another_version_took_is_as_none() {
    let knob = Knob::from(Duration::from_secs(1));
    let held = Settings::new(Vec::new(), vec![every(&knob)]);
    for (value, expected, source) in [("2s", 2, "cluster"), ("2h", 1, "default"), ("3s", 3, "cluster")] {
        held.follow(&state(&[(None, value)]), &node("a"));
        let shown = held.shown();
        assert_eq!((knob.get(), shown[0].source.text()), (Duration::from_secs(expected), source), "{value}");
    }
}

#[test]
fn wrong_names_and_values_are_told_what_is_right() {
    let held = Settings::new(vec![flag("num-cores", "2", false)], vec![every(&Knob::from(Duration::from_secs(1)))]);
    for (name, value, expected) in [
        ("wal_flush_intervall", "1s", "there is no setting wal_flush_intervall; there is wal_flush_interval"),
        ("nonsense", "1s", "there is no setting nonsense; system.settings has all of them"),
        ("num_cores", "1", "num_cores is said at the start of a node, as --num-cores, and does not change"),
        (
            "WAL-flush-interval",
            "1",
            "wal_flush_interval cannot be '1': it is a duration from 10ms to 1m, such as '10ms'",
        ),
        ("wal_flush_interval", "2h", "wal_flush_interval cannot be '2h': it is a duration from 10ms to 1m"),
    ] {
        let error = held.judge(name, Some(value)).expect_err(name);
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(
        held.judge("WAL-flush-interval", Some("1500 ms")),
        Ok(("wal_flush_interval".into(), Some("1s 500ms".into())))
    );
    assert_eq!(held.judge("wal_flush_interval", None), Ok(("wal_flush_interval".into(), None)));
}
