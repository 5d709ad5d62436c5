use std::collections::BTreeSet;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

fn day(offset: i64) -> Date {
    date(2024, 1, 1) + jiff::Span::new().days(offset)
}

fn moment(hours: i64) -> Timestamp {
    "2024-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(hours)
}

fn slice(partition: &str, from: i64, through: i64, hours: i64) -> Cover {
    Cover::Slice(Span {
        partition: partition.into(),
        from: day(from),
        through: day(through),
        as_of: moment(hours),
    })
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.apply(&slice("A", 0, 9, 0)).unwrap();
    let before = checkpoint.clone();
    for bad in [slice("A", 11, 12, 0), slice("A", -5, -2, 0), slice("A", -5, 3, 0), slice("A", 5, 4, 0)] {
        assert_eq!(checkpoint.apply(&bad).unwrap_err().kind(), ErrorKind::Bug);
        assert_eq!(checkpoint, before);
    }
}

#[test]
fn spans_grow_at_both_ends() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.apply(&slice("A", 10, 19, 0)).unwrap();
    checkpoint.apply(&slice("A", 20, 29, 1)).unwrap();
    checkpoint.apply(&slice("A", 0, 9, 1)).unwrap();
    let position = checkpoint.position("A").unwrap();
    assert_eq!((position.from, position.through), (day(0), day(29)));
}

#[test]
fn young_days_are_read_again_and_old_ones_are_not() {
    let position = Position { as_of: moment(0), from: day(0), through: date(2024, 5, 31) };
    assert_eq!(position.resume_after(date(2024, 6, 1), 3), date(2024, 5, 28));
    let old = Position { through: date(2024, 2, 1), ..position };
    assert_eq!(old.resume_after(date(2024, 6, 1), 3), date(2024, 2, 1));
    let short = Position { from: date(2024, 5, 30), ..position };
    assert_eq!(short.resume_after(date(2024, 6, 1), 90), date(2024, 5, 29));
}

#[test]
fn a_state_of_another_version_or_other_options_is_refused() {
    let newer = r#"{"version":3,"anything":true}"#;
    let error = Checkpoint::from_json(newer, Options::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("version 3"));

    let raw = Options::from([("adjusted".to_owned(), "false".to_owned())]);
    let adjusted = Options::from([("adjusted".to_owned(), "true".to_owned())]);
    let text = Checkpoint::new(raw).to_json();
    assert!(Checkpoint::from_json(&text, adjusted).unwrap_err().to_string().contains("adjusted=false"));
}

#[test]
fn malformed_states_are_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"version":"1"}"#,
        r#"{"version":1,"flor":{}}"#,
        "{\"version\":1",
        r#"{"version":2,"partitions":["A"]}"#,
        r#"{"version":2,"complete":[{"as_of":"2024-06-01T00:00:00Z","partitions":"02A"}]}"#,
        r#"{"version":2,"floor":{"as_of":"2024-06-01T00:00:00Z","through":"2024-05-31","from":"2024-05-01"},"partitions":"9A"}"#,
    ] {
        let error = Checkpoint::from_json(text, Options::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{text}");
    }
}

/// Names as the exchanges give them: mostly four letters, some with a suffix.
fn tickers(count: usize) -> BTreeSet<String> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut names = BTreeSet::new();
    while names.len() < count {
        let letters = [1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4][random.usize(0..18)];
        let mut name: String = (0..letters).map(|_| random.uppercase()).collect();
        name.push_str(["", "", "", "", "", "W", "R", "U", ".A", ".WS", "pB"][random.usize(0..11)]);
        names.insert(name);
    }
    names
}

fn bytes(names: &BTreeSet<String>, cover: impl Fn(&str, usize) -> Cover) -> usize {
    let mut checkpoint = Checkpoint::default();
    for (index, name) in names.iter().enumerate() {
        checkpoint.apply(&cover(name, index)).unwrap();
    }
    let text = checkpoint.to_json();
    assert_eq!(Checkpoint::from_json(&text, Options::new()).unwrap(), checkpoint);
    text.len()
}

#[test]
fn progress_of_many_tickers_is_small() {
    let listed = tickers(12_000);
    let level = bytes(&listed, |name, _| slice(name, 0, 30, 0));
    assert!(level < 64_000, "{level}");
    let whole = bytes(&listed, |name, _| Cover::Whole { partition: name.into(), as_of: moment(0) });
    assert!(whole < 64_000, "{whole}");
    // In the middle of a run.
    let two_groups = bytes(&listed, |name, index| slice(name, 0, if index < 5_000 { 30 } else { 29 }, 0));
    assert!(two_groups < 65_000, "{two_groups}");
    let mut options = BTreeSet::new();
    for underlying in tickers(100) {
        for contract in 0..1_000 {
            let (expiry, strike) = (251_219 + contract / 100, 100_000 + contract % 100 * 2_500);
            options.insert(format!("O:{underlying}{expiry:06}C{strike:08}"));
        }
    }
    let chains = bytes(&options, |name, _| slice(name, 0, 30, 0));
    assert!(options.len() == 100_000 && chains < 800_000, "{chains}");
}

/// STATE lines that the program wrote while it wrote version 1: a sync of the
/// simulator's market, and for the streams of tickers one of the next week's sync
/// that was cut in the middle.
const VERSION_1: &str = include_str!("version_1.jsonl");

#[test]
fn what_version_1_wrote_is_taken_over() {
    let mut taken = BTreeMap::new();
    for line in VERSION_1.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let stream = &line["state"]["stream"];
        let state = &stream["stream_state"];
        assert_eq!(state["version"], 1);
        let options: Options = serde_json::from_value(state["options"].clone()).unwrap_or_default();
        let checkpoint = Checkpoint::from_json(&state.to_string(), options.clone()).unwrap();
        let text = checkpoint.to_json();
        assert!(text.starts_with("{\"version\":2,"), "{text}");
        assert_eq!(Checkpoint::from_json(&text, options).unwrap(), checkpoint);
        taken.insert(stream["stream_descriptor"]["name"].as_str().unwrap().to_owned(), checkpoint);
    }
    assert_eq!(taken.len(), 11);
    let through =
        |stream: &str, partition: &str| taken[stream].position(partition).unwrap().through.to_string();
    let trades = ["AAPL", "BRK.B", "NVDA", "TSLA"].map(|ticker| through("stock_trades", ticker));
    assert_eq!(trades, ["2024-06-27", "2024-06-27", "2024-06-23", "2024-06-20"]);
    assert_eq!(through("splits", ""), "2024-06-27");
    let as_of = "2024-06-28T21:00:00Z".parse().ok();
    for (stream, partition) in [("tickers", "false"), ("ticker_details", "TSLA"), ("exchanges", "")] {
        assert_eq!(taken[stream].whole_as_of(partition), as_of, "{stream}");
    }
    let mut other = Options::new();
    other.insert("adjusted".to_owned(), "true".to_owned());
    let bars = r#"{"version":1,"options":{"adjusted":"false"}}"#;
    assert_eq!(Checkpoint::from_json(bars, other).unwrap_err().kind(), ErrorKind::State);
}

/// Names that no exchange gives and a text must carry all the same.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-C]{0,4}",
        "\\PC{0,8}",
        Just(String::new()),
        Just(" ".to_owned()),
        Just("A,B \"C\" \\ \u{0} é\n".to_owned()),
    ]
}

proptest! {
    /// Whatever the partitions are called and wherever they are, the stored form
    /// gives them back, also after a platform has read and written it.
    #[test]
    fn the_stored_form_gives_everything_back(
        partitions in prop::collection::btree_map(any_name(), (0i64..3, 0i64..3, 0i64..2, any::<bool>()), 0..60),
    ) {
        let mut checkpoint = Checkpoint::new(Options::from([("adjusted".to_owned(), "true".to_owned())]));
        for (name, (from, length, hours, is_whole)) in &partitions {
            let cover = match is_whole {
                true => Cover::Whole { partition: name.as_str().into(), as_of: moment(*hours) },
                false => slice(name, *from, from + length, *hours),
            };
            checkpoint.apply(&cover).unwrap();
        }
        let text = checkpoint.to_json();
        let platform = serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string();
        for text in [text, platform] {
            prop_assert_eq!(&Checkpoint::from_json(&text, checkpoint.options.clone()).unwrap(), &checkpoint);
        }
    }
}

proptest! {
    /// Whatever order slices of several partitions finish in, as long as each
    /// partition's are contiguous, the position is exactly what was read, and the
    /// stored form gives it back.
    #[test]
    fn positions_are_what_was_read(steps in prop::collection::vec((0usize..4, 1i64..20, any::<bool>()), 1..60)) {
        let names = ["AAPL", "BRK.B", "NA", ""];
        let mut checkpoint = Checkpoint::default();
        let mut read: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for (hours, (name, days, upwards)) in steps.into_iter().enumerate() {
            let name = names[name];
            let (from, through) = match read.get(name) {
                None => (0, days - 1),
                Some((_, last)) if upwards => (last + 1, last + days),
                Some((first, _)) => (first - days, first - 1),
            };
            checkpoint.apply(&slice(name, from, through, hours as i64)).unwrap();
            let span = read.entry(name).or_insert((from, through));
            *span = (span.0.min(from), span.1.max(through));
        }
        for (name, (from, through)) in &read {
            let position = checkpoint.position(name).unwrap();
            prop_assert_eq!((position.from, position.through), (day(*from), day(*through)));
        }
        let stored = checkpoint.to_json();
        prop_assert_eq!(Checkpoint::from_json(&stored, Options::new()).unwrap(), checkpoint);
    }

    /// Reading again from any settled point to the old end never loses a day.
    #[test]
    fn reading_again_ends_where_it_was(length in 1i64..100, back in 0i64..100, step in 1i64..30) {
        let mut checkpoint = Checkpoint::default();
        checkpoint.apply(&slice("A", 0, length - 1, 0)).unwrap();
        let mut from = (length - back).max(0);
        while from < length {
            let through = (from + step - 1).min(length - 1);
            checkpoint.apply(&slice("A", from, through, 1)).unwrap();
            prop_assert_eq!(checkpoint.position("A").unwrap().through, day(through));
            from = through + 1;
        }
        prop_assert_eq!(checkpoint.position("A").unwrap().through, day(length - 1));
    }
}
