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

/// `2mb`, `1gb` or `10%`.
fn bytes(text: &str, whole: u64) -> Result<u64, String> {
    let units = [("%", whole as f64 / 100.0), ("mb", 1048576.0), ("gb", 1073741824.0)];
    let found = units.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, bytes) = found.ok_or("no unit")?;
    Ok((number.parse::<f64>().map_err(|error| error.to_string())? * bytes) as u64)
}

#[test]
fn a_size_is_judged_alike_everywhere_and_taken_as_far_as_the_memory_of_this_node_goes() {
    let knob = Knob::from(64 << 20);
    let read = ReadSize { whole: 1 << 30, bytes };
    let dial = Dial::Size { knob: knob.clone(), range: 1 << 20..=64 << 40, read };
    let held = Settings::new(Vec::new(), vec![Live { name: "wal-flush-interval", about: "", dial }]);
    let set = |value: &str| {
        let judged = held.judge("wal_flush_interval", Some(value)).map(|(_, value)| value.expect("one was given"));
        let value = judged.unwrap_or_else(|error| panic!("{value}: {error}"));
        held.follow(&state(&[(None, &value)]), &node("a"));
        let shown = held.shown().remove(0);
        (knob.get() >> 20, shown.value.expect("it has one"), shown.source.text(), shown.trouble)
    };
    assert_eq!(set("256mb"), (256, "256mb".into(), "cluster", None));
    assert_eq!(set("50%"), (512, "512mb".into(), "cluster", None));
    let less = Some("'4gb' was set: 921mb is the most that this machine has for it".into());
    assert_eq!(set("4096mb"), (921, "921mb".into(), "cluster", less));
    let little = Some("'0.01%' was set: that is 107374b here, and less than the least".into());
    assert_eq!(set("0.01%"), (1, "1mb".into(), "cluster", little));
    for wrong in ["0.5mb", "0%", "99999999mb", "8"] {
        let error = held.judge("wal_flush_interval", Some(wrong)).expect_err(wrong);
        assert!(error.contains("it is a size from 1mb to 64tb, such as '1mb', or a share of memory"), "{error}");
    }
    held.follow(&state(&[(None, "8")]), &node("a"));
    let shown = held.shown().remove(0);
    assert_eq!((knob.get() >> 20, shown.source.text()), (64, "default"), "another version took it");
    assert!(shown.trouble.is_some_and(|trouble| trouble.starts_with("'8' was set: it is a size from")));
    let live = shown.live.expect("it changes");
    assert_eq!(live.dial.range(), Some(("1mb".into(), "921mb".into())));
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
