//! What of the input is durable whenever it ends, and what is echoed.

use std::io::Cursor;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::airbyte::output::tests::Captured;
use crate::sink::abilities::tests::ALL;
use crate::sink::memory::Memory;
use crate::sink::{Abilities, Durability};

const EPOCH: i64 = 1_700_000_000_000;

const NAMES: [&str; 2] = ["a", "b"];

fn record(stream: usize, number: i64) -> Value {
    json!({"type": "RECORD", "record": {"stream": NAMES[stream], "data": {"n": number}, "emitted_at": EPOCH + number}})
}

fn state(stream: usize, number: i64) -> Value {
    json!({"type": "STATE", "state": {"type": "STREAM", "stream":
        {"stream_descriptor": {"name": NAMES[stream]}, "stream_state": {"at": number}}}})
}

fn global(number: i64) -> Value {
    json!({"type": "STATE", "state": {"type": "GLOBAL", "global": {"shared_state": {"at": number}, "stream_states": []}}})
}

fn status(stream: usize, status: &str) -> Value {
    json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.5,
        "stream_status": {"stream_descriptor": {"name": NAMES[stream]}, "status": status}}})
}

fn complete() -> [Value; 2] {
    [status(0, "COMPLETE"), status(1, "COMPLETE")]
}

fn catalog() -> Vec<Configured> {
    let stream = |name: &str| {
        json!({"stream": {"name": name, "json_schema": {"properties": {"n": {"type": "integer"}}}},
            "destination_sync_mode": "append"})
    };
    catalog::configured(json!({"streams": NAMES.map(stream)}), "main").unwrap()
}

/// What became of an input: the outcome and the lines of stdout.
struct Ran {
    outcome: Result<()>,
    lines: Vec<Value>,
}

impl Ran {
    /// The echoed states: their number and count, in order.
    fn echoed(&self) -> Vec<(i64, f64)> {
        let of = |line: &Value| {
            let state = &line["state"];
            let at = state["stream"]["stream_state"]["at"].as_i64();
            let number = at.or(state["global"]["shared_state"]["at"].as_i64()).unwrap();
            (number, state["destinationStats"]["recordCount"].as_f64().unwrap())
        };
        self.lines.iter().filter(|line| line["type"] == "STATE").map(of).collect()
    }

    fn message(&self) -> String {
        self.outcome.as_ref().unwrap_err().user_message()
    }
}

async fn run_text(sink: &mut Memory, text: Vec<u8>, rows: u64, stream_bytes_max: usize) -> Ran {
    let (output, captured) = Captured::output();
    let policy = CommitPolicy { rows, interval: Duration::from_secs(3600) };
    let mut destination = Destination::open(sink, Arc::clone(&output), catalog()).await.unwrap();
    destination.page_bytes = stream_bytes_max;
    let (_keep, stop) = watch::channel(false);
    let engine = Engine::new(Arc::new(Told(Arc::clone(&output))), policy, stop).holding(stream_bytes_max);
    let outcome = destination.run_in(engine, Blocks::of(Cursor::new(text)).unwrap()).await;
    Ran { outcome, lines: captured.lines(&output) }
}

fn text(messages: &[Value]) -> Vec<u8> {
    messages.iter().flat_map(|message| format!("{message}\n").into_bytes()).collect()
}

async fn run(sink: &mut Memory, messages: &[Value]) -> Ran {
    run_text(sink, text(messages), 1, PAGE_BYTES).await
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{{\"n\":{number}}}")).collect()
}

fn durable(sink: &Memory) -> Vec<Vec<String>> {
    sink.streams.iter().map(|stream| stream.durable.clone()).collect()
}

fn finished(sink: &Memory) -> Vec<bool> {
    sink.streams.iter().map(|stream| stream.finished == 1).collect()
}

fn progress(sink: &Memory) -> Vec<Option<String>> {
    sink.streams.iter().map(|stream| stream.positions.get("").cloned()).collect()
}

#[tokio::test]
async fn a_state_is_echoed_after_its_records_with_their_count() {
    let mut sink = Memory::default();
    let mut messages =
        vec![record(0, 1), record(1, 2), record(0, 3), state(0, 10), state(0, 11), state(1, 12)];
    messages.extend(complete());
    let ran = run(&mut sink, &messages).await;
    ran.outcome.as_ref().unwrap();
    assert_eq!(ran.echoed(), [(10, 2.0), (11, 0.0), (12, 1.0)]);
    assert_eq!(durable(&sink), [rows([1, 3]), rows([2])]);
    assert_eq!(finished(&sink), [true, true]);
    let last = |stream, number| Some(state(stream, number)["state"].to_string());
    assert_eq!(progress(&sink), [last(0, 11), last(1, 12)]);
}

#[tokio::test]
async fn progress_is_the_last_state_also_when_rows_come_after_it() {
    let mut sink = Memory::default();
    let messages =
        [record(0, 1), state(0, 10), state(0, 11), record(0, 2), status(0, "COMPLETE"), record(1, 3)];
    run(&mut sink, &[messages.to_vec(), vec![status(1, "COMPLETE")]].concat()).await.outcome.unwrap();
    let text = |number| state(0, number)["state"].to_string();
    assert_eq!(progress(&sink), [Some(text(11)), None]);
}

#[tokio::test]
async fn a_state_of_all_streams_covers_all() {
    let mut sink = Memory::default();
    let ran = run(&mut sink, &[record(0, 1), record(1, 2), global(10), record(1, 3)]).await;
    assert_eq!(ran.echoed(), [(10, 2.0)]);
    assert_eq!(durable(&sink), [rows([1]), rows([2])]);
}

#[tokio::test]
async fn few_states_are_not_committed_one_by_one() {
    let mut sink = Memory::default();
    let mut messages: Vec<Value> =
        (0..100).flat_map(|number| [record(0, number), state(0, number)]).collect();
    messages.extend(complete());
    let ran = run_text(&mut sink, text(&messages), 1000, PAGE_BYTES).await;
    assert_eq!(ran.echoed().len(), 100);
    assert_eq!((sink.writes, sink.commits), (1, 1));
}

#[tokio::test]
async fn what_came_after_the_last_state_of_a_source_that_died_is_not_kept() {
    for bytes_max in [1, 40, PAGE_BYTES] {
        let mut sink = Memory::default();
        let messages = [
            record(0, 1),
            state(0, 10),
            record(0, 2),
            record(0, 3),
            status(0, "INCOMPLETE"),
            status(1, "COMPLETE"),
        ];
        let ran = run_text(&mut sink, text(&messages), 100, bytes_max).await;
        assert_eq!(ran.outcome.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(ran.message().contains("did not say that stream a is complete"), "{}", ran.message());
        assert_eq!(ran.echoed(), [(10, 1.0)]);
        assert_eq!((&sink.streams[0].durable, sink.streams[0].is_open()), (&rows([1]), false), "{bytes_max}");
        assert_eq!(finished(&sink), [false, true]);
        let told = ran.lines.iter().any(|line| {
            line["log"]["message"].as_str().is_some_and(|log| log.contains("2 records after the last STATE"))
        });
        assert!(told, "{:?}", ran.lines);
    }
}

#[tokio::test]
async fn a_complete_stream_needs_no_state() {
    let mut sink = Memory::default();
    let ran = run(&mut sink, &[vec![record(0, 1)], complete().to_vec()].concat()).await;
    ran.outcome.unwrap();
    assert_eq!(sink.streams[0].durable, rows([1]));
}

#[tokio::test]
async fn nothing_is_echoed_when_the_commit_failed() {
    let mut sink = Memory { fail_commit: Some(1), ..Memory::default() };
    let ran = run(&mut sink, &[record(0, 1), state(0, 10)]).await;
    assert_eq!(ran.outcome.as_ref().unwrap_err().kind(), ErrorKind::Sink);
    assert!(ran.echoed().is_empty());
}

#[tokio::test]
async fn a_commit_that_leaves_a_stream_out_does_not_echo_its_states() {
    let mut sink = Memory { worth: 3, fail_commit: Some(2), ..Memory::default() };
    let mut messages = vec![record(1, 0), state(1, 10)];
    messages.extend((1..=3).map(|number| record(0, number)));
    messages.push(state(0, 11));
    let ran = run(&mut sink, &messages).await;
    assert!(ran.message().contains("scripted"), "{}", ran.message());
    assert_eq!(durable(&sink), [rows([1, 2, 3]), vec![]]);
    assert!(ran.echoed().iter().all(|(number, _)| *number != 10), "{:?}", ran.echoed());
}

#[tokio::test]
async fn states_of_a_stream_that_was_refused_are_not_echoed() {
    for rows in [1, 1000] {
        let mut sink = Memory { unloadable: vec!["main/a".to_owned()], ..Memory::default() };
        let mut messages = vec![record(0, 1), state(0, 10), record(1, 2), state(1, 11)];
        messages.extend([record(0, 3), state(0, 12), record(1, 4), global(13), state(1, 14)]);
        messages.extend(complete());
        let ran = run_text(&mut sink, text(&messages), rows, PAGE_BYTES).await;
        assert!(ran.message().contains("scripted"), "{}", ran.message());
        assert_eq!(ran.echoed().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [11, 14]);
        assert_eq!(durable(&sink), [vec![], self::rows([2, 4])]);
        assert_eq!(finished(&sink), [false, true]);
    }
}

#[tokio::test]
async fn bad_input_ends_the_run_and_keeps_what_states_cover() {
    let whole = text(&[record(0, 1), state(0, 10)]);
    let key = json!({"type": "RECORD", "record": {"stream": "other", "data": {}, "emitted_at": 1}});
    let late = text(&[status(0, "COMPLETE"), record(0, 2)]);
    let cut = text(&[record(0, 2)])[..30].to_vec();
    let no_message = b"{\"type\":\"RECORD\"}".to_vec();
    for (rest, expected) in [
        (cut, "!line 3 of the input: a message of the source breaks off"),
        // Of a line that is whole the source is to blame, be it the last or not.
        (no_message, "line 3 of the input: a message of the source has no `record`"),
        (b"{\"type\":\"RECO\n{}".to_vec(), "line 3 of the input: a message of the source breaks off"),
        (b"{\"type\":\n{}\n".to_vec(), "line 3 of the input: a message of the source breaks off"),
        (text(&[key]), "line 3 of the input: the source names a stream \"other\""),
        (late, "line 4 of the input: a record came after the end of its stream"),
        (
            b"{\"type\":\"RECORD\",\"record\":{\"stream\":\"a\",\"data\":[],\"emitted_at\":1}}\n".to_vec(),
            "line 3 of the input: the data of a record cannot be read",
        ),
    ] {
        let mut sink = Memory::default();
        let ran = run_text(&mut sink, [whole.clone(), rest].concat(), 100, PAGE_BYTES).await;
        let kind = match expected.starts_with('!') {
            true => ErrorKind::Unavailable,
            false => ErrorKind::Response,
        };
        assert_eq!(ran.outcome.as_ref().unwrap_err().kind(), kind, "{}", ran.message());
        assert!(ran.message().contains(expected.trim_start_matches('!')), "{}", ran.message());
        assert_eq!(ran.echoed(), [(10, 1.0)]);
        assert_eq!((&sink.streams[0].durable, sink.streams[0].is_open()), (&rows([1]), false));
    }
}

#[tokio::test]
async fn what_is_no_message_is_passed_over() {
    let mut sink = Memory::default();
    let input = [b"Picked up JAVA_OPTS\n\n".to_vec(), text(&[record(0, 1)]), text(&complete())].concat();
    run_text(&mut sink, input, 1, PAGE_BYTES).await.outcome.unwrap();
    assert_eq!(sink.streams[0].durable, rows([1]));
}

/// Records whose key is none are kept apart, with the reason, by the STATE that covers
/// them; more than a sync may have fail it.
#[tokio::test]
async fn records_without_a_key_are_kept_apart() {
    let keyed = json!({"stream": {"name": "a", "json_schema": {"properties":
        {"n": {"type": "integer"}, "v": {"type": "string"}}}}, "destination_sync_mode": "append_dedup",
        "primary_key": [["n"]]});
    let data =
        |data: Value| json!({"type": "RECORD", "record": {"stream": "a", "data": data, "emitted_at": EPOCH}});
    let messages = [
        data(json!({"n": 1})),
        data(json!({"v": "none"})),
        data(json!({"n": null, "v": "null"})),
        data(json!({"n": "text", "v": "misfit"})),
        state(0, 10),
        data(json!({"v": "of no STATE"})),
    ];
    for rejected_max in [4, 2] {
        let mut sink = Memory::default();
        let (output, captured) = Captured::output();
        let mut configured = catalog::configured(json!({"streams": [keyed]}), "main").unwrap();
        configured[0].target.rejected_max = rejected_max;
        let destination = Destination::open(&mut sink, Arc::clone(&output), configured).await.unwrap();
        let (_keep, stop) = watch::channel(false);
        let policy = CommitPolicy { rows: 1, interval: Duration::from_secs(3600) };
        let input = Blocks::of(Cursor::new(text(&messages))).unwrap();
        let outcome = destination.run(input, policy, stop).await;
        let message = outcome.unwrap_err().user_message();
        let ran = Ran { outcome: Ok(()), lines: captured.lines(&output) };
        if rejected_max == 2 {
            assert!(message.contains("of 3 rows that is so in this run, and at most 2 may"), "{message}");
            let stream = &sink.streams[0];
            assert!(ran.echoed().is_empty() && stream.durable.is_empty() && stream.rejected.is_empty());
            continue;
        }
        assert_eq!(ran.echoed(), [(10, 4.0)], "they count");
        assert_eq!(sink.streams[0].durable, [r#"{"n":1}"#]);
        let absent = "`n` of the primary key is absent or null";
        let misfit = "`n` of the primary key is not of the type that the stream's schema says";
        let expected = [
            ["", absent, r#"{"v":"none"}"#],
            ["", absent, r#"{"v":"null"}"#],
            ["", misfit, r#"{"v":"misfit","additional_properties":{"n":"text"}}"#],
        ];
        assert_eq!(sink.streams[0].rejected, expected.map(|row| row.map(str::to_owned)).into());
        let told = [
            format!("a: {absent}: the row goes into _tapeline_rejected"),
            "a: 3 rows have no primary key".to_owned(),
        ];
        assert!(
            told.iter().all(|told| ran.lines.iter().any(|line| line.to_string().contains(told))),
            "{:?}",
            ran.lines
        );
    }
}

/// A source of change data: `_ab_cdc_deleted_at` is anything but null in a delete.
#[tokio::test]
async fn a_record_that_says_when_its_row_was_deleted_is_a_delete() {
    let properties = json!({"n": {"type": "integer"}, "v": {"type": "string"},
        "_ab_cdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}});
    let keyed = json!({"stream": {"name": "a", "json_schema": {"properties": properties}},
        "destination_sync_mode": "append_dedup", "primary_key": [["n"]]});
    let data = |data: &str| {
        let data: Box<serde_json::value::RawValue> = serde_json::from_str(data).unwrap();
        format!(r#"{{"type":"RECORD","record":{{"stream":"a","data":{data},"emitted_at":{EPOCH}}}}}"#) + "\n"
    };
    let day = r#""_ab_cdc_deleted_at":"2024-01-02T00:00:00Z""#;
    let input: String = [
        r#"{"n":1,"v":"a","_ab_cdc_deleted_at":null}"#.to_owned(),
        format!(r#"{{"n":1,{day}}}"#),
        r#"{"n":1,"v":"b"}"#.to_owned(),
        r#"{"_ab_cdc_deleted_at":"no moment","n":2}"#.to_owned(),
        // Whose row, nobody can tell.
        format!("{{{day}}}"),
        r#"{"n":3,"_ab_cdc_deleted_at":"twice","_ab_cdc_deleted_at":null}"#.to_owned(),
        format!(r#"{{"n":3,"_ab_cdc_deleted_at":null,{day}}}"#),
    ]
    .iter()
    .map(|row| data(row))
    .collect();
    for is_kept in [false, true] {
        let mut sink = Memory::default();
        let (output, _) = Captured::output();
        let mut configured = catalog::configured(json!({"streams": [keyed]}), "main").unwrap();
        if is_kept {
            configured[0].keep_deleted();
        }
        let destination = Destination::open(&mut sink, Arc::clone(&output), configured).await.unwrap();
        let (_keep, stop) = watch::channel(false);
        let policy = CommitPolicy { rows: 1, interval: Duration::from_secs(3600) };
        let whole = [input.clone().into_bytes(), text(&[status(0, "COMPLETE")])].concat();
        destination.run(Blocks::of(Cursor::new(whole)).unwrap(), policy, stop).await.unwrap();
        let sign = if is_kept { "" } else { "-" };
        assert_eq!(
            sink.streams[0].durable,
            [
                r#"{"n":1,"v":"a"}"#.to_owned(),
                format!(r#"{sign}{{"n":1,{day}}}"#),
                r#"{"n":1,"v":"b"}"#.to_owned(),
                format!(r#"{sign}{{"n":2,"additional_properties":{{"_ab_cdc_deleted_at":"no moment"}}}}"#),
                r#"{"n":3}"#.to_owned(),
                format!(r#"{sign}{{"n":3,{day}}}"#),
            ]
        );
        assert_eq!(sink.streams[0].rejected.len(), 1);
    }
}

#[tokio::test]
async fn a_stop_keeps_what_states_cover() {
    let mut sink = Memory::default();
    let (output, captured) = Captured::output();
    let policy = CommitPolicy { rows: 100, interval: Duration::from_secs(3600) };
    let destination = Destination::open(&mut sink, Arc::clone(&output), catalog()).await.unwrap();
    let (stopper, stop) = watch::channel(false);
    /// Asks for the end once all was read, and never ends itself.
    struct Endless(Cursor<Vec<u8>>, watch::Sender<bool>);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => {
                    self.1.send_replace(true);
                    std::thread::park();
                    Ok(0)
                }
                count => Ok(count),
            }
        }
    }
    let input = Endless(Cursor::new(text(&[record(0, 1), state(0, 10), record(0, 2)])), stopper);
    let outcome = destination.run(Blocks::of(input).unwrap(), policy, stop).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Interrupted);
    let ran = Ran { outcome: Ok(()), lines: captured.lines(&output) };
    // The stop may come before the block was taken; a STATE is echoed only with its rows.
    assert_eq!(sink.streams[0].durable.len(), ran.echoed().len());
}

/// A step of a source.
#[derive(Debug, Clone)]
enum Step {
    Record(usize),
    State(usize),
    Global,
    Complete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..2_usize).prop_map(Step::Record),
        4 => (0..2_usize).prop_map(Step::State),
        1 => Just(Step::Global),
        1 => (0..2_usize).prop_map(Step::Complete),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Wherever the input ends: durable is exactly what echoed states cover, and the
    /// whole of the streams that are complete.
    #[test]
    fn durable_is_what_is_covered(steps in steps(), rows_max in 1_u64..20, bytes_max in 1_usize..80) {
        let mut messages = Vec::new();
        let mut ended = [false; 2];
        let mut written: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
        let mut covered = [0; 2];
        let mut states = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Record(stream) if !ended[stream] => {
                    messages.push(record(stream, number));
                    written[stream].push(number);
                }
                Step::State(stream) => {
                    messages.push(state(stream, number));
                    states.push(number);
                    covered[stream] = written[stream].len();
                }
                Step::Global => {
                    messages.push(global(number));
                    states.push(number);
                    covered = [written[0].len(), written[1].len()];
                }
                Step::Complete(stream) => {
                    messages.push(status(stream, "COMPLETE"));
                    ended[stream] = true;
                    covered[stream] = written[stream].len();
                }
                Step::Record(_) => {}
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut sink = Memory::default();
        let ran = runtime.block_on(run_text(&mut sink, text(&messages), rows_max, bytes_max));
        prop_assert_eq!(ran.outcome.is_ok(), ended == [true; 2]);
        let echoed: Vec<i64> = ran.echoed().into_iter().map(|(number, _)| number).collect();
        prop_assert_eq!(echoed, states);
        for stream in 0..2 {
            let kept = &sink.streams[stream];
            prop_assert_eq!(&kept.durable, &rows(written[stream][..covered[stream]].iter().copied()));
            let numbers = written[stream][..covered[stream]].iter().map(|number| EPOCH + number);
            prop_assert!(kept.extracted_at.iter().copied().eq(numbers), "each record has its own moment");
            prop_assert!(!kept.is_open());
            prop_assert_eq!(kept.finished == 1, ended[stream]);
        }
    }
}

#[tokio::test]
async fn what_the_sink_cannot_do_is_refused_before_a_table_is_opened() {
    let abilities = Abilities { durability: Durability::RowsFirst, ..ALL };
    let mut sink = Memory { abilities, ..Memory::default() };
    let (output, _captured) = Captured::output();
    let error = Destination::open(&mut sink, output, catalog()).await.err().unwrap();
    let message = error.user_message();
    assert!(
        message.starts_with(&format!("the stream {} is to be kept by the mode append", NAMES[0])),
        "{message}"
    );
    assert!(message.ends_with("(hint: choose another sink)"), "{message}");
    assert_eq!(sink.opens, 0);
}

#[test]
fn a_sink_keeps_what_the_specification_promises_or_check_refuses_it() {
    assert!(assert_able(&ALL).is_ok());
    for lesser in [
        Abilities { replaces_by_key: false, ..ALL },
        Abilities { deletes: false, ..ALL },
        Abilities { swaps: false, ..ALL },
        Abilities { durability: Durability::RowsFirst, ..ALL },
    ] {
        assert!(assert_able(&lesser).unwrap_err().user_message().contains(" by the mode "));
    }
}
