use serde_json::{Value, json};

use super::*;
use crate::airbyte::output::tests::Captured;
use crate::airbyte::state;
use crate::catalog::streams;
use crate::error::ErrorKind;
use crate::source::scripted::{Script, Scripted, failing, slice, unfinished, whole};

struct Run {
    report: Report,
    lines: Vec<Value>,
}

/// `(stream, sync_mode, destination_sync_mode)` of each configured stream.
type Configured<'a> = &'a [(&'a str, &'a str, &'a str)];

fn catalog_of(configured: Configured<'_>) -> Value {
    let stream = |(name, sync_mode, destination): &(&str, &str, &str)| {
        json!({"stream": {"name": name, "namespace": "market"}, "sync_mode": sync_mode,
            "destination_sync_mode": destination, "cursor_field": null})
    };
    json!({"streams": configured.iter().map(stream).collect::<Vec<_>>()})
}

async fn read(scripts: &[(&str, Vec<Script>)], configured: Configured<'_>, state: &Value) -> Run {
    let (output, captured) = Captured::output();
    let selected = catalog::select(catalog_of(configured), &streams(&[])).unwrap();
    let passed = state::parse(&state.to_string()).unwrap();
    let source = Scripted(scripts.iter().map(|(name, list)| ((*name).to_owned(), list.clone())).collect());
    let (_keep, stop) = watch::channel(false);
    let report = run_streams(&output, selected, passed, stop, |_, _| Ok(source)).await.unwrap();
    Run { report, lines: captured.lines(&output) }
}

const TRADES: Configured<'_> = &[("stock_trades", "incremental", "append_dedup")];

impl Run {
    /// The lines in short: `STARTED`, a record's `n`, `STATE 2`, `ERROR`.
    fn story(&self) -> String {
        let words: Vec<String> = self.lines.iter().filter_map(short).collect();
        words.join(" ")
    }

    /// The part of the story that is of one stream, without the failure of the run.
    fn story_of(&self, stream: &str) -> String {
        let names = |line: &&Value| {
            let places = ["/record/stream", "/state/stream/stream_descriptor/name"];
            let status =
                ["/trace/stream_status/stream_descriptor/name", "/trace/error/stream_descriptor/name"];
            places.iter().chain(&status).any(|place| line.pointer(place) == Some(&json!(stream)))
        };
        let words: Vec<String> = self.lines.iter().filter(names).filter_map(short).collect();
        words.join(" ")
    }

    fn states(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line["type"] == "STATE").map(|line| &line["state"])
    }

    fn records(&self) -> Vec<i64> {
        let records = self.lines.iter().filter(|line| line["type"] == "RECORD");
        records.map(|line| line["record"]["data"]["n"].as_i64().unwrap()).collect()
    }

    fn errors(&self) -> Vec<&Value> {
        let traces = self.lines.iter().filter(|line| line["trace"]["type"] == "ERROR");
        traces.map(|line| &line["trace"]["error"]).collect()
    }
}

fn short(line: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match line["type"].as_str().unwrap() {
        "RECORD" => Some(line["record"]["data"]["n"].to_string()),
        "STATE" => Some(format!("STATE {}", line["state"]["sourceStats"]["recordCount"])),
        "TRACE" => match line["trace"]["type"].as_str().unwrap() {
            "STREAM_STATUS" => Some(text(&line["trace"]["stream_status"]["status"])),
            kind => Some(kind.to_owned()),
        },
        "LOG" => (line["log"]["level"] != "INFO").then(|| text(&line["log"]["level"])),
        other => Some(other.to_owned()),
    }
}

#[tokio::test]
async fn a_stream_begins_runs_and_completes_with_a_state_after_its_records() {
    let estimated = |script| Script { rows_estimate: Some(2), ..script };
    let trades = vec![
        estimated(slice("A", 1, &[b"{\"n\":1}\n{\"n\":2}", b"{\"n\":3}"])),
        estimated(slice("A", 2, &[b"{\"n\":4}"])),
    ];
    let run = read(&[("stock_trades", trades)], TRADES, &json!([])).await;
    assert_eq!(run.story(), "STARTED ESTIMATE RUNNING 1 2 3 STATE 3.0 4 STATE 1.0 COMPLETE");
    assert!(run.report.worst().is_none());
    let estimate = run.lines.iter().find(|line| line["trace"]["type"] == "ESTIMATE").unwrap();
    let expected =
        json!({"name": "stock_trades", "type": "STREAM", "namespace": "market", "row_estimate": 4});
    assert_eq!(estimate["trace"]["estimate"], expected);
    let descriptor = json!({"name": "stock_trades", "namespace": "market"});
    assert_eq!(run.states().next().unwrap()["stream"]["stream_descriptor"], descriptor);
}

#[tokio::test]
async fn a_stream_without_rows_still_says_where_it_stands() {
    let run = read(&[], TRADES, &json!(null)).await;
    assert_eq!(run.story(), "STARTED ESTIMATE RUNNING STATE 0.0 COMPLETE");
    assert_eq!(run.states().next().unwrap()["stream"]["stream_state"], json!({"version": 2}));

    let read_days = vec![slice("A", 1, &[]), slice("A", 2, &[])];
    let run = read(&[("stock_trades", read_days)], TRADES, &json!([])).await;
    assert_eq!(run.story(), "STARTED RUNNING STATE 0.0 COMPLETE");
}

/// Reads everything that a state lacks, and nothing of what it has.
#[tokio::test]
async fn reading_goes_on_from_every_state() {
    let days: Vec<Vec<u8>> = (1..=9_u8).map(|day| format!("{{\"n\":{day}}}").into_bytes()).collect();
    let scripts: Vec<Script> = days.iter().zip(1..).map(|(row, day)| slice("A", day, &[&row[..]])).collect();
    let mut all_states = Vec::new();
    for finished in 1..=days.len() {
        let part = scripts[..finished].to_vec();
        let run = read(&[("stock_trades", part)], TRADES, &json!([])).await;
        all_states.push(run.states().last().unwrap().clone());
    }
    for (state, finished) in all_states.iter().zip(1..) {
        let run = read(&[("stock_trades", scripts.clone())], TRADES, &json!([state])).await;
        assert_eq!(run.records(), (finished + 1..=9).collect::<Vec<i64>>());
    }
    let last = all_states.last().unwrap();
    let run = read(&[("stock_trades", scripts)], TRADES, &json!([last])).await;
    assert_eq!(run.story(), "STARTED ESTIMATE RUNNING STATE 0.0 COMPLETE");
    assert_eq!(run.states().next().unwrap()["stream"], last["stream"]);
}

#[tokio::test]
async fn states_count_their_records_and_never_repeat_after_some() {
    // Enough rows for a state, then a day under way that moves no progress.
    let row = "{\"n\":0}\n".repeat(1000);
    let page = row.trim_end().as_bytes();
    let trades = vec![
        slice("A", 1, &[page]),
        unfinished("A", &[page]),
        unfinished("A", &[page]),
        slice("B", 1, &[page]),
        unfinished("B", &[b"{\"n\":1}"]),
    ];
    let run = read(&[("stock_trades", trades)], TRADES, &json!([])).await;
    let counts: Vec<_> = run.states().map(|state| state["sourceStats"]["recordCount"].to_string()).collect();
    assert_eq!(counts, ["1000.0", "1000.0", "1000.0", "1000.0", "1.0"]);
    let repeats: Vec<_> = run.states().map(|state| &state["stream"]["stream_state"]["repeat"]).collect();
    assert_eq!(repeats, [&json!(null), &json!(1), &json!(2), &json!(null), &json!(1)]);
    let again = read(&[], TRADES, &json!([run.states().last().unwrap()])).await;
    assert_eq!(again.states().next().unwrap()["stream"]["stream_state"]["repeat"], json!(null));
}

#[tokio::test]
async fn a_stream_that_fails_keeps_its_finished_slices_and_lets_the_next_one_run() {
    let trades = vec![
        slice("A", 1, &[b"{\"n\":1}"]),
        failing(slice("A", 2, &[b"{\"n\":2}"]), ErrorKind::Unavailable),
        slice("A", 3, &[b"{\"n\":3}"]),
    ];
    let exchanges = vec![whole("", &[b"{\"n\":7}"])];
    let configured =
        &[("stock_trades", "incremental", "append_dedup"), ("exchanges", "full_refresh", "overwrite")];
    let run = read(&[("stock_trades", trades), ("exchanges", exchanges)], configured, &json!([])).await;
    assert_eq!(run.story_of("stock_trades"), "STARTED RUNNING 1 STATE 1.0 INCOMPLETE ERROR");
    assert_eq!(run.story_of("exchanges"), "STARTED RUNNING 7 STATE 1.0 COMPLETE");
    let descriptor = json!({"name": "stock_trades", "namespace": "market"});
    assert_eq!(
        run.errors(),
        [&json!({"message": "scripted", "failure_type": "transient_error", "stream_descriptor": descriptor})]
    );
    assert_eq!(run.report.into_worst().unwrap().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_large_slice_that_fails_has_no_state_and_is_read_again() {
    let large = format!("{{\"n\":2,\"pad\":\"{}\"}}", "x".repeat(13 << 20));
    let first = slice("A", 1, &[b"{\"n\":1}"]);
    let second = slice("A", 2, &[large.as_bytes(), b"{\"n\":3}"]);
    let failed = vec![first.clone(), failing(second.clone(), ErrorKind::Response)];
    let run = read(&[("stock_trades", failed)], TRADES, &json!([])).await;
    assert_eq!(run.story(), "STARTED RUNNING 1 STATE 1.0 2 INCOMPLETE ERROR");
    let state = run.states().last().unwrap();
    let healed = read(&[("stock_trades", vec![first, second])], TRADES, &json!([state])).await;
    assert_eq!(healed.records(), [2, 3]);
}

#[tokio::test]
async fn a_ticker_that_does_not_exist_is_named_and_the_others_are_read() {
    let trades = vec![
        slice("A", 1, &[b"{\"n\":1}"]),
        failing(slice("NOPE", 1, &[]), ErrorKind::NotFound),
        slice("NOPE", 2, &[b"{\"n\":9}"]),
        slice("Z", 1, &[b"{\"n\":2}"]),
    ];
    let run = read(&[("stock_trades", trades)], TRADES, &json!([])).await;
    assert_eq!(run.story(), "STARTED RUNNING 1 STATE 1.0 WARN 2 STATE 1.0 COMPLETE ERROR");
    assert_eq!(run.errors()[0]["message"], "NOPE could not be read: scripted");
    assert_eq!(run.errors()[0]["failure_type"], "config_error");
}

/// A platform would put what was read in the place of what there is.
#[tokio::test]
async fn a_refresh_that_lacks_a_part_is_not_complete() {
    let refresh = &[("stock_trades", "full_refresh", "overwrite")];
    for (kind, story) in [
        (ErrorKind::Mismatch, "STARTED RUNNING 1 STATE 1.0 WARN WARN INCOMPLETE ERROR"),
        (ErrorKind::NotFound, "STARTED RUNNING 1 STATE 1.0 WARN COMPLETE ERROR"),
    ] {
        let trades = vec![slice("A", 1, &[b"{\"n\":1}"]), failing(slice("B", 1, &[]), kind)];
        let run = read(&[("stock_trades", trades.clone())], refresh, &json!([])).await;
        assert_eq!(run.story(), story);
        let run = read(&[("stock_trades", trades)], TRADES, &json!([])).await;
        assert_eq!(
            run.story(),
            "STARTED RUNNING 1 STATE 1.0 WARN COMPLETE ERROR",
            "rows are added to others"
        );
    }
}

#[tokio::test]
async fn a_failure_of_the_key_ends_the_run() {
    let trades = vec![failing(slice("A", 1, &[]), ErrorKind::Credentials)];
    let configured =
        &[("stock_trades", "incremental", "append_dedup"), ("exchanges", "full_refresh", "overwrite")];
    let endless = vec![failing(slice("B", 1, &[]), ErrorKind::Credentials)];
    let run = read(&[("stock_trades", trades), ("exchanges", endless)], configured, &json!([])).await;
    let stories = ["stock_trades", "exchanges"].map(|stream| run.story_of(stream));
    // One of them says why, the other one only ends.
    assert!(stories.contains(&"STARTED INCOMPLETE ERROR".to_owned()), "{stories:?}");
    assert!(stories.contains(&"STARTED INCOMPLETE".to_owned()), "{stories:?}");
    assert_eq!(run.report.into_worst().unwrap().kind(), ErrorKind::Credentials);
}

#[tokio::test]
async fn a_state_of_another_version_fails_its_stream_before_a_record() {
    let state = json!([{"type": "STREAM", "stream": {
        "stream_descriptor": {"name": "stock_trades"}, "stream_state": {"version": 999}}}]);
    let trades = vec![slice("A", 1, &[b"{\"n\":1}"])];
    let run = read(&[("stock_trades", trades)], TRADES, &state).await;
    assert_eq!(run.story(), "STARTED INCOMPLETE ERROR");
    assert_eq!(run.errors()[0]["failure_type"], "config_error");
    assert!(run.errors()[0]["message"].as_str().unwrap().contains("version 999"));
}

/// A full refresh goes on where an earlier attempt stopped, if the stream can; one
/// that cannot is read in full, or its second sync would read nothing.
#[tokio::test]
async fn a_full_refresh_goes_on_only_where_it_can() {
    let scripts = [
        ("stock_trades", vec![slice("A", 1, &[b"{\"n\":1}"]), slice("A", 2, &[b"{\"n\":2}"])]),
        ("exchanges", vec![whole("", &[b"{\"n\":7}"])]),
    ];
    let configured =
        &[("stock_trades", "full_refresh", "append"), ("exchanges", "full_refresh", "overwrite")];
    let first = read(&scripts[..1], &configured[..1], &json!([])).await;
    assert_eq!(first.records(), [1, 2]);
    let both = read(&scripts, configured, &json!([])).await;
    let states: Vec<_> = both.states().cloned().collect();
    assert_eq!(both.records().into_iter().collect::<std::collections::BTreeSet<_>>(), [1, 2, 7].into());
    let again = read(&scripts, configured, &json!(states)).await;
    assert_eq!(again.records(), [7]);
    assert!(again.states().all(|state| state["stream"]["stream_state"]["version"] == 2));
}
