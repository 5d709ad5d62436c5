use jiff::civil::date;
use proptest::prelude::*;

use super::*;

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
    let newer = r#"{"version":2,"anything":true}"#;
    let error = Checkpoint::from_json(newer, Options::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("version 2"));

    let raw = Options::from([("adjusted".to_owned(), "false".to_owned())]);
    let adjusted = Options::from([("adjusted".to_owned(), "true".to_owned())]);
    let text = Checkpoint::new(raw).to_json();
    assert!(Checkpoint::from_json(&text, adjusted).unwrap_err().to_string().contains("adjusted=false"));
}

#[test]
fn malformed_states_are_refused() {
    for text in ["", "null", "[]", "{}", r#"{"version":"1"}"#, r#"{"version":1,"flor":{}}"#, "{\"version\":1"]
    {
        let error = Checkpoint::from_json(text, Options::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{text}");
    }
}

#[test]
fn ten_thousand_tickers_stay_far_below_a_megabyte() {
    let mut checkpoint = Checkpoint::default();
    for ticker in 0..10_000 {
        checkpoint
            .apply(&slice(&format!("T{ticker:04}"), 0, if ticker < 5_000 { 30 } else { 29 }, 0))
            .unwrap();
    }
    assert!(checkpoint.to_json().len() < 100_000, "{}", checkpoint.to_json().len());
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

proptest! {
    /// What is left was read, ends before the day, and joins what is read next.
    #[test]
    fn a_rewound_position_ends_before_the_day(first in 0i64..50, length in 0i64..50, from in -60i64..120) {
        let position = Position { as_of: moment(0), from: day(first), through: day(first + length) };
        let left = position.rewound(day(from));
        if from <= first {
            prop_assert_eq!(left, None);
        } else {
            let through = day((from - 1).min(first + length));
            prop_assert_eq!(left, Some(Position { through, ..position }));
            let mut checkpoint = Checkpoint::default();
            checkpoint.apply(&slice("A", first, first + length, 0)).unwrap();
            prop_assert_eq!(checkpoint.rewind("A", Some(day(from))), from <= first + length);
            checkpoint.apply(&slice("A", from.min(first + length + 1), 200, 1)).unwrap();
            prop_assert_eq!(checkpoint.position("A").unwrap().from, day(first));
        }
    }
}

#[test]
fn shards_are_rewound_one_by_one() {
    let mut checkpoint = Checkpoint::default();
    for shard in ["A", "B"] {
        checkpoint.apply(&slice(shard, 0, 9, 0)).unwrap();
    }
    checkpoint.apply(&Cover::Whole { partition: "W".into(), as_of: moment(0) }).unwrap();
    assert!(!checkpoint.rewind("unknown", None));
    assert!(!checkpoint.rewind("B", Some(day(10))), "nothing was read from that day on");
    assert!(checkpoint.rewind("A", None) && checkpoint.rewind("W", Some(day(5))));
    let shards: Vec<_> = checkpoint.shards().collect();
    assert_eq!(shards, ["B".into()]);
    assert_eq!(checkpoint.stored_position("A"), None);
}
