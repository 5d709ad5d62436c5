//! What of the input is durable whenever it ends, and what is echoed.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::airbyte::output::tests::Captured;
use crate::batch::Batch;
use crate::sink::Target;

/// Keeps what is durable apart from what is not, by stream.
#[derive(Debug, Default)]
struct Memory {
    durable: Vec<Vec<String>>,
    open: Vec<Vec<String>>,
    finished: BTreeSet<usize>,
    writes: usize,
    commits: usize,
    /// What was committed as progress, in order.
    progress: Vec<(usize, String)>,
    fail_commit: bool,
}

#[async_trait]
impl Sink for Memory {
    async fn open(&mut self, _: &Target) -> Result<(StreamId, Option<String>)> {
        self.durable.push(Vec::new());
        self.open.push(Vec::new());
        Ok((StreamId(self.open.len() - 1), None))
    }

    async fn write(&mut self, stream: StreamId, batch: Batch) -> Result<Receipt> {
        self.writes += 1;
        for (index, row) in batch.rows.iter().enumerate() {
            let row = std::str::from_utf8(row).unwrap();
            // Every record was emitted at the moment of its number.
            assert_eq!(row, format!("{{\"n\":{}}}", batch.extracted_at.of(index) - EPOCH));
            self.open[stream.0].push(row.to_owned());
        }
        Ok(Receipt::Accepted)
    }

    async fn commit(&mut self, stream: StreamId, progress: &str) -> Result<Receipt> {
        if self.fail_commit {
            return Err(Error::new(ErrorKind::Sink, "scripted"));
        }
        self.commits += 1;
        self.progress.push((stream.0, progress.to_owned()));
        let mut rows = std::mem::take(&mut self.open[stream.0]);
        self.durable[stream.0].append(&mut rows);
        Ok(Receipt::Durable)
    }

    async fn rollback(&mut self, stream: StreamId) -> Result<()> {
        self.open[stream.0].clear();
        Ok(())
    }

    async fn finish(&mut self, stream: StreamId) -> Result<()> {
        assert!(self.open[stream.0].is_empty(), "finished with rows that were not committed");
        self.finished.insert(stream.0);
        Ok(())
    }
}

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
    let mut destination = Destination::open(sink, Arc::clone(&output), policy, catalog()).await.unwrap();
    destination.stream_bytes_max = stream_bytes_max;
    let (_keep, stop) = watch::channel(false);
    let outcome = destination.run(Blocks::of(Cursor::new(text)).unwrap(), stop).await;
    Ran { outcome, lines: captured.lines(&output) }
}

fn text(messages: &[Value]) -> Vec<u8> {
    messages.iter().flat_map(|message| format!("{message}\n").into_bytes()).collect()
}

async fn run(sink: &mut Memory, messages: &[Value]) -> Ran {
    run_text(sink, text(messages), 1, STREAM_BYTES_MAX).await
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{{\"n\":{number}}}")).collect()
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
    assert_eq!(sink.durable, [rows([1, 3]), rows([2])]);
    assert_eq!(sink.finished, BTreeSet::from([0, 1]));
    // Progress is the last STATE before the commit: that of stream 0 came with its rows.
    let last = |stream, number| (stream, state(stream, number)["state"].to_string());
    assert_eq!(sink.progress, [last(0, 10), last(1, 12)]);
}

#[tokio::test]
async fn progress_is_the_last_state_also_when_rows_come_after_it() {
    let mut sink = Memory::default();
    let messages =
        [record(0, 1), state(0, 10), state(0, 11), record(0, 2), status(0, "COMPLETE"), record(1, 3)];
    run(&mut sink, &[messages.to_vec(), vec![status(1, "COMPLETE")]].concat()).await.outcome.unwrap();
    let text = |number| state(0, number)["state"].to_string();
    assert_eq!(sink.progress, [(0, text(10)), (0, text(11)), (1, "{}".to_owned())]);
}

#[tokio::test]
async fn a_state_of_all_streams_covers_all() {
    let mut sink = Memory::default();
    let ran = run(&mut sink, &[record(0, 1), record(1, 2), global(10), record(1, 3)]).await;
    assert_eq!(ran.echoed(), [(10, 2.0)]);
    assert_eq!(sink.durable, [rows([1]), rows([2])]);
}

#[tokio::test]
async fn few_states_are_not_committed_one_by_one() {
    let mut sink = Memory::default();
    let mut messages: Vec<Value> =
        (0..100).flat_map(|number| [record(0, number), state(0, number)]).collect();
    messages.extend(complete());
    let ran = run_text(&mut sink, text(&messages), 1000, STREAM_BYTES_MAX).await;
    assert_eq!(ran.echoed().len(), 100);
    assert_eq!((sink.writes, sink.commits), (1, 1));
}

#[tokio::test]
async fn what_came_after_the_last_state_of_a_source_that_died_is_not_kept() {
    for bytes_max in [1, 40, STREAM_BYTES_MAX] {
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
        assert_eq!((&sink.durable[0], &sink.open[0]), (&rows([1]), &rows([])), "{bytes_max}");
        assert_eq!(sink.finished, BTreeSet::from([1]));
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
    assert_eq!(sink.durable[0], rows([1]));
}

#[tokio::test]
async fn nothing_is_echoed_when_the_commit_failed() {
    let mut sink = Memory { fail_commit: true, ..Memory::default() };
    let ran = run(&mut sink, &[record(0, 1), state(0, 10)]).await;
    assert_eq!(ran.outcome.as_ref().unwrap_err().kind(), ErrorKind::Sink);
    assert!(ran.echoed().is_empty());
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
        let ran = run_text(&mut sink, [whole.clone(), rest].concat(), 100, STREAM_BYTES_MAX).await;
        let kind = match expected.starts_with('!') {
            true => ErrorKind::Unavailable,
            false => ErrorKind::Response,
        };
        assert_eq!(ran.outcome.as_ref().unwrap_err().kind(), kind, "{}", ran.message());
        assert!(ran.message().contains(expected.trim_start_matches('!')), "{}", ran.message());
        assert_eq!(ran.echoed(), [(10, 1.0)]);
        assert_eq!((&sink.durable[0], &sink.open[0]), (&rows([1]), &rows([])));
    }
}

#[tokio::test]
async fn what_is_no_message_is_passed_over() {
    let mut sink = Memory::default();
    let input = [b"Picked up JAVA_OPTS\n\n".to_vec(), text(&[record(0, 1)]), text(&complete())].concat();
    run_text(&mut sink, input, 1, STREAM_BYTES_MAX).await.outcome.unwrap();
    assert_eq!(sink.durable[0], rows([1]));
}

#[tokio::test]
async fn a_stop_keeps_what_states_cover() {
    let mut sink = Memory::default();
    let (output, captured) = Captured::output();
    let policy = CommitPolicy { rows: 100, interval: Duration::from_secs(3600) };
    let destination = Destination::open(&mut sink, Arc::clone(&output), policy, catalog()).await.unwrap();
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
    let outcome = destination.run(Blocks::of(input).unwrap(), stop).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Interrupted);
    let ran = Ran { outcome: Ok(()), lines: captured.lines(&output) };
    // The stop may come before the block was taken; a STATE is echoed only with its rows.
    assert_eq!(sink.durable[0].len(), ran.echoed().len());
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
            prop_assert_eq!(&sink.durable[stream], &rows(written[stream][..covered[stream]].iter().copied()));
            prop_assert!(sink.open[stream].is_empty());
            prop_assert_eq!(sink.finished.contains(&stream), ended[stream]);
        }
    }
}
