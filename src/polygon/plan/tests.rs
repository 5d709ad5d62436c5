use jiff::Span as Days;
use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::catalog::streams;
use crate::clock::Clock;

fn stream(name: &str) -> Stream {
    let sizes = ["1minute", "1hour", "1day", "1week"].map(|size| size.parse().unwrap());
    streams(&sizes).into_iter().find(|stream| stream.name == name).unwrap()
}

fn config(plan: &str, start: &str, end: Option<&str>) -> SourceConfig {
    let value = serde_json::json!({
        "api_key": "k", "plan": {"type": plan}, "start_date": start, "end_date": end, "tickers": ["AAPL", "BRK.B"],
    });
    SourceConfig::from_json(value, Clock::Fixed("2024-07-15T00:00:00Z".parse().unwrap())).unwrap()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// All slices of a plan, of which the estimate said how many there are.
fn slices(
    stream: &Stream,
    config: &SourceConfig,
    checkpoint: &Checkpoint,
    reading: Reading,
    as_of: Timestamp,
) -> Result<Vec<PlannedSlice>> {
    let mut plan = SlicePlan::new(stream, config, checkpoint, reading, as_of)?;
    let slices: Vec<_> = std::iter::from_fn(|| plan.next(&HashSet::new())).collect();
    assert_eq!(plan.estimate().slices, slices.len() as u64);
    assert_eq!(plan.estimate().rows, summed_rows(stream, &slices), "{}", stream.name);
    Ok(slices)
}

/// What the slices' days say one by one.
fn summed_rows(stream: &Stream, slices: &[PlannedSlice]) -> Option<u64> {
    let trading_days = |slice: &PlannedSlice| match slice.days {
        Some(Asked { from, to: Some(to) }) => Some(calendar::trading_days(from, to).count() as u64),
        _ => None,
    };
    slices.iter().map(|slice| estimate::rows(stream, 1, trading_days(slice))).sum()
}

fn plan(
    name: &str,
    config: &SourceConfig,
    checkpoint: &Checkpoint,
    reading: Reading,
    as_of: &str,
) -> Vec<PlannedSlice> {
    slices(&stream(name), config, checkpoint, reading, moment(as_of)).unwrap()
}

fn asked(slices: &[PlannedSlice]) -> Vec<(String, Option<String>)> {
    slices
        .iter()
        .filter_map(|slice| slice.days)
        .map(|days| (days.from.to_string(), days.to.map(|to| to.to_string())))
        .collect()
}

const FRIDAY_EVENING: &str = "2024-06-28T21:00:00Z";

#[test]
fn closed_days_cost_no_request_and_leave_no_gap() {
    let config = config("free", "2024-06-29", None);
    // Saturday to Friday, with the 4th of July.
    let planned =
        plan("stock_daily_bars", &config, &Checkpoint::default(), Reading::Mutable, "2024-07-07T12:00:00Z");
    let days: Vec<_> = asked(&planned).into_iter().map(|(from, _)| from).collect();
    assert_eq!(days, ["2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05"]);
    let mut checkpoint = Checkpoint::default();
    for slice in &planned {
        checkpoint.apply(&slice.cover).unwrap();
    }
    let position = checkpoint.position("").unwrap();
    assert_eq!((position.from, position.through), (date(2024, 6, 29), date(2024, 7, 6)));
}

#[test]
fn the_free_plan_waits_for_the_end_of_the_day() {
    let free = config("free", "2024-06-27", None);
    let planned = plan("stock_daily_bars", &free, &Checkpoint::default(), Reading::Mutable, FRIDAY_EVENING);
    assert_eq!(asked(&planned).len(), 1, "only Thursday");

    let paid = config("paid", "2024-06-27", None);
    let planned = plan("stock_daily_bars", &paid, &Checkpoint::default(), Reading::Mutable, FRIDAY_EVENING);
    assert_eq!(planned.len(), 2);
    assert_eq!(planned[1].cover, Cover::Part, "Friday is read and not over");

    let over =
        plan("stock_daily_bars", &paid, &Checkpoint::default(), Reading::Mutable, "2024-06-29T00:30:00Z");
    assert!(matches!(&over[1].cover, Cover::Slice(span) if span.through == date(2024, 6, 28)));
}

#[test]
fn a_sink_that_only_adds_gets_days_that_are_over_once() {
    let config = config("paid", "2024-06-03", None);
    let mut checkpoint = Checkpoint::default();
    for slice in plan("stock_bars_1_minute", &config, &checkpoint.clone(), Reading::Once, FRIDAY_EVENING) {
        assert!(matches!(slice.cover, Cover::Slice(_)));
        checkpoint.apply(&slice.cover).unwrap();
    }
    let later = plan("stock_bars_1_minute", &config, &checkpoint, Reading::Once, "2024-07-02T12:00:00Z");
    assert_eq!(asked(&later)[0], ("2024-06-28".to_owned(), Some("2024-07-01".to_owned())));
}

#[test]
fn young_days_are_read_again_and_only_once_for_a_moment() {
    let config = config("paid", "2024-01-02", None);
    let mut checkpoint = Checkpoint::default();
    for slice in plan("stock_bars_1_minute", &config, &checkpoint.clone(), Reading::Mutable, FRIDAY_EVENING) {
        checkpoint.apply(&slice.cover).unwrap();
    }
    assert!(plan("stock_bars_1_minute", &config, &checkpoint, Reading::Mutable, FRIDAY_EVENING).is_empty());
    let later = plan("stock_bars_1_minute", &config, &checkpoint, Reading::Mutable, "2024-07-01T12:00:00Z");
    // Five days before Friday are young: from Sunday the 23rd on.
    assert_eq!(asked(&later)[0].0, "2024-06-24");
}

#[test]
fn a_fixed_end_is_reached_and_stays() {
    let config = config("paid", "2024-01-02", Some("2024-03-01"));
    let mut checkpoint = Checkpoint::default();
    for slice in plan("stock_trades", &config, &checkpoint.clone(), Reading::Mutable, FRIDAY_EVENING) {
        checkpoint.apply(&slice.cover).unwrap();
    }
    assert_eq!(checkpoint.position("AAPL").unwrap().through, date(2024, 3, 1));
    assert!(plan("stock_trades", &config, &checkpoint, Reading::Mutable, "2024-07-10T12:00:00Z").is_empty());
}

#[test]
fn minutes_come_fifty_two_trading_days_a_request_and_days_all_at_once() {
    let config = config("paid", "2024-01-02", Some("2024-06-27"));
    let minutes =
        plan("stock_bars_1_minute", &config, &Checkpoint::default(), Reading::Mutable, FRIDAY_EVENING);
    let per_ticker = minutes.iter().filter(|slice| &*slice.partition == "AAPL").count();
    assert_eq!(per_ticker, 3, "123 trading days");
    let days = plan("stock_bars_1_day", &config, &Checkpoint::default(), Reading::Mutable, FRIDAY_EVENING);
    assert_eq!(days.len(), 2);
}

#[test]
fn an_earlier_start_is_filled_in_downwards() {
    let first = config("paid", "2024-05-01", Some("2024-06-27"));
    let mut checkpoint = Checkpoint::default();
    for slice in plan("stock_trades", &first, &checkpoint.clone(), Reading::Once, FRIDAY_EVENING) {
        checkpoint.apply(&slice.cover).unwrap();
    }
    let earlier = config("paid", "2024-03-29", Some("2024-06-27"));
    let planned = plan("stock_trades", &earlier, &checkpoint, Reading::Once, FRIDAY_EVENING);
    assert!(!planned.is_empty());
    for slice in planned {
        checkpoint.apply(&slice.cover).unwrap();
    }
    assert_eq!(checkpoint.position("AAPL").unwrap().from, date(2024, 3, 29));
    assert!(plan("stock_trades", &earlier, &checkpoint, Reading::Once, FRIDAY_EVENING).is_empty());
}

#[test]
fn announced_events_are_read_without_an_upper_bound() {
    let config = config("paid", "2024-01-02", None);
    let planned = plan("splits", &config, &Checkpoint::default(), Reading::Mutable, FRIDAY_EVENING);
    assert_eq!(asked(&planned), [("2024-01-02".to_owned(), None)]);
    assert!(
        matches!(&planned[0].cover, Cover::Slice(span) if span.through == date(2024, 6, 27)),
        "never past today"
    );
}

#[test]
fn announced_events_are_added_once() {
    let later = "2024-06-29T12:00:00Z";
    for (plan_name, reading) in
        [("paid", Reading::Once), ("paid", Reading::Snapshot), ("free", Reading::Snapshot)]
    {
        // Three windows of splits.
        let config = config(plan_name, "2004-01-02", None);
        let mut checkpoint = Checkpoint::default();
        let mut open = 0;
        // Each run is cut after a slice.
        for as_of in
            [FRIDAY_EVENING, "2024-06-28T21:00:01Z", "2024-06-28T21:00:02Z", "2024-06-28T21:00:03Z", later]
        {
            let planned = plan("splits", &config, &checkpoint, reading, as_of);
            let Some(slice) = planned.first() else { continue };
            open += usize::from(slice.days.unwrap().to.is_none());
            checkpoint.apply(&slice.cover).unwrap();
        }
        assert_eq!(open, usize::from(reading == Reading::Snapshot), "{plan_name} {reading:?}");
        assert!(plan("splits", &config, &checkpoint, reading, later).is_empty(), "{plan_name} {reading:?}");
    }
}

#[test]
fn a_snapshot_that_was_cut_short_goes_on_and_a_new_pass_reads_all() {
    let config = config("paid", "2024-01-02", None);
    let mut checkpoint = Checkpoint::default();
    let first = plan("tickers", &config, &checkpoint, Reading::Snapshot, FRIDAY_EVENING);
    assert_eq!(first.len(), 2);
    checkpoint.apply(&first[0].cover).unwrap();
    for reading in [Reading::Snapshot, Reading::Mutable, Reading::Once] {
        let rest = plan("tickers", &config, &checkpoint, reading, "2024-06-29T21:00:00Z");
        assert_eq!(rest, first[1..], "{reading:?}");
    }
    checkpoint.apply(&first[1].cover).unwrap();
    assert!(plan("tickers", &config, &checkpoint, Reading::Snapshot, "2024-06-29T21:00:00Z").is_empty());
    assert_eq!(plan("tickers", &config, &checkpoint, Reading::Mutable, "2024-06-29T21:00:00Z").len(), 2);
}

#[test]
fn a_future_position_reads_nothing() {
    let config = config("paid", "2024-01-02", None);
    let mut checkpoint = Checkpoint::default();
    for partition in ["AAPL", "BRK.B", ""] {
        let span = Span {
            partition: partition.into(),
            from: date(2024, 1, 2),
            through: date(2099, 1, 1),
            as_of: moment("2099-01-02T00:00:00Z"),
        };
        checkpoint.apply(&Cover::Slice(span)).unwrap();
    }
    for name in ["stock_bars_1_minute", "stock_trades", "stock_daily_bars", "news", "splits"] {
        assert!(plan(name, &config, &checkpoint, Reading::Mutable, FRIDAY_EVENING).is_empty(), "{name}");
    }
}

#[test]
fn a_ticker_that_was_added_is_read_from_the_start() {
    let mut config = config("paid", "2024-06-03", Some("2024-06-10"));
    let mut checkpoint = Checkpoint::default();
    for slice in plan("stock_trades", &config, &checkpoint.clone(), Reading::Mutable, FRIDAY_EVENING) {
        checkpoint.apply(&slice.cover).unwrap();
    }
    config.tickers.push("MSFT".into());
    let added = plan("stock_trades", &config, &checkpoint, Reading::Mutable, FRIDAY_EVENING);
    assert!(added.iter().all(|slice| &*slice.partition == "MSFT"));
    assert_eq!(asked(&added)[0].0, "2024-06-03");
}

#[test]
fn slices_of_a_partition_that_failed_are_left_out() {
    let mut config = config("paid", "2024-06-03", Some("2024-06-10"));
    config.tickers.push("MSFT".into());
    let stream = stream("stock_trades");
    let new = || {
        let checkpoint = Checkpoint::default();
        SlicePlan::new(&stream, &config, &checkpoint, Reading::Mutable, moment(FRIDAY_EVENING)).unwrap()
    };
    let mut failed = HashSet::from(["BRK.B".into()]);
    let mut plan = new();
    // The one under way fails too, after its first slice.
    assert_eq!(&*plan.next(&failed).unwrap().partition, "AAPL");
    failed.insert("AAPL".into());
    let rest: Vec<_> = std::iter::from_fn(|| plan.next(&failed)).map(|slice| slice.partition).collect();
    assert_eq!(rest, vec![Arc::<str>::from("MSFT"); 6]);

    let mut whole = new();
    assert!(std::iter::from_fn(|| whole.next(&HashSet::new())).count() > rest.len());
}

/// A walk over what such a plan counts would take minutes and gigabytes.
#[test]
fn billions_of_slices_are_planned_at_once() {
    let mut config = config("paid", "2003-09-10", None);
    config.tickers = (0..1_000_000).map(|number| format!("T{number:06}").into()).collect();
    let stream = stream("stock_trades");
    let mut plan =
        SlicePlan::new(&stream, &config, &Checkpoint::default(), Reading::Mutable, moment(FRIDAY_EVENING))
            .unwrap();
    let days = calendar::trading_days(config.start_date, date(2024, 6, 28)).count() as u64;
    assert_eq!(plan.estimate(), Estimate { slices: 1_000_000 * days, rows: None });
    assert_eq!(plan.next(&HashSet::new()).unwrap().days.unwrap().from, date(2003, 9, 10));
}

proptest! {
    /// Runs at growing moments, each cut short anywhere, with a start that may move
    /// back: every slice joins what was read, no trading day is left out, and the
    /// position never passes the last day that is over.
    #[test]
    fn whatever_is_cut_short_is_made_up_for(
        name in prop::sample::select(vec!["stock_daily_bars", "stock_bars_1_minute", "stock_bars_1_day", "stock_trades", "news", "dividends"]),
        runs in prop::collection::vec((0i64..200, 0usize..40, 0i64..30), 1..8),
    ) {
        let mut checkpoint = Checkpoint::default();
        let mut start = date(2024, 2, 1);
        let mut as_of = moment("2024-02-02T15:00:00Z");
        let mut read: std::collections::BTreeSet<Date> = std::collections::BTreeSet::new();
        let mut last_cut = true;
        for (hours, cut, back) in runs.into_iter().chain([(1, usize::MAX, 0)]) {
            as_of += jiff::SignedDuration::from_hours(hours);
            start = start.saturating_sub(Days::new().days(back));
            let config = config("paid", &start.to_string(), None);
            let planned = slices(&stream(name), &config, &checkpoint, Reading::Mutable, as_of).unwrap();
            last_cut = cut < planned.len();
            for slice in planned.into_iter().take(cut) {
                checkpoint.apply(&slice.cover).unwrap();
                if let (Cover::Slice(span), Some(days), "AAPL" | "") = (&slice.cover, slice.days, &*slice.partition) {
                    prop_assert!(span.through < calendar::day_of(as_of) || as_of >= calendar::at(span.through, DAY_ENDS));
                    read.extend(days.from.series(Days::new().days(1)).take_while(|day| *day <= span.through));
                }
            }
        }
        prop_assert!(!last_cut);
        let partition = if stream(name).spec.partition == Partition::Ticker { "AAPL" } else { "" };
        if let Some(position) = checkpoint.position(partition) {
            // Closed days at the very start are nobody's: there is nothing to ask for.
            for day in calendar::trading_days(start.min(position.from), position.through) {
                prop_assert!(read.contains(&day), "{} was not read", day);
            }
        }
    }
}
