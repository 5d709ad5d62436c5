use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::airbyte::output::tests::Captured;
use crate::airbyte::stdout::Lines;
use crate::batch::{Cause, Rows};
use crate::catalog::{Stream, streams};
use crate::sink::Shardless;
use crate::sink::WriteMode;

fn bars() -> Stream {
    streams(&["1minute".parse().unwrap()]).into_iter().find(|stream| stream.size.is_some()).unwrap()
}

fn batch(rows: Rows) -> Batch {
    Batch::new(bars().table, rows, ExtractedAt::All(1_719_000_000_123))
}

async fn opened(output: Arc<Output>, namespace: Option<&str>) -> (AirbyteSink, StreamId) {
    let stream = bars();
    let descriptor =
        StreamDescriptor { name: stream.name.clone(), namespace: namespace.map(ToOwned::to_owned) };
    let statuses = Arc::new(Statuses::new(Arc::clone(&output), [descriptor.clone()]));
    let setup = StreamSetup { descriptor, passed: None, initial: "{}".to_owned() };
    let mut sink = AirbyteSink::new(output, statuses, vec![setup]);
    let target = Target::new("", stream.name, stream.table, WriteMode::Append);
    let (id, stored) = sink.open_one(&target).await.unwrap();
    assert_eq!(stored, None);
    (sink, id)
}

#[test]
fn a_record_is_its_row_between_two_constants() {
    let table = bars().table;
    let column = |name: &str| table.position(name).unwrap();
    let mut rows = Rows::default();
    rows.push(br#"{"ticker":"A","open":1.10}"#);
    rows.note_change(column("open"), Cause::Source);
    rows.note_change(column("high"), Cause::Source);
    rows.push(br#"{"ticker":"B"}"#);
    rows.push(br#"{"ticker":"C"}"#);
    rows.note_change(column("low"), Cause::Source);
    rows.push(br#"{"ticker":"D"}"#);
    let batch = batch(rows);
    let descriptor = StreamDescriptor { name: "s".to_owned(), namespace: Some("quoted \" name".to_owned()) };
    let mut buffer = Vec::new();
    // One byte at a time is one record at a time.
    let prefix = record_prefix(&descriptor);
    let mut records = records(&prefix, &batch.table, &batch.rows, 0, &batch.extracted_at);
    while records.append(&mut buffer, 1) {}
    let record = |row: &str, meta: &str| {
        format!(
            "{{\"type\":\"RECORD\",\"record\":{{\"namespace\":\"quoted \\\" name\",\"stream\":\"s\",\
             \"data\":{row}{meta},\"emitted_at\":1719000000123}}}}\n"
        )
    };
    let change = |name: &str| {
        format!(r#"{{"field":"{name}","change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR"}}"#)
    };
    let expected = [
        record(r#"{"ticker":"A","open":1.10}"#, ""),
        record(
            r#"{"ticker":"B"}"#,
            &format!(",\"meta\":{{\"changes\":[{},{}]}}", change("open"), change("high")),
        ),
        record(r#"{"ticker":"C"}"#, ""),
        record(r#"{"ticker":"D"}"#, &format!(",\"meta\":{{\"changes\":[{}]}}", change("low"))),
    ];
    assert_eq!(String::from_utf8(buffer.clone()).unwrap(), expected.concat());
    let lines = std::str::from_utf8(&buffer).unwrap().lines();
    assert!(
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).all(|line| line["type"] == "RECORD")
    );
    assert_eq!(
        record_prefix(&StreamDescriptor { name: "s".to_owned(), namespace: None }),
        br#"{"type":"RECORD","record":{"stream":"s","data":"#
    );
}

/// A minute bar as the transcoder writes it.
const BAR: &str = r#"{"ticker":"AAPL","timestamp":"2024-06-28T13:30:00Z","open":215.77,"high":216.07,"low":215.5,"close":215.86,"volume":1342011.0,"vwap":215.7745,"transactions":13041}"#;

/// Rows of a page of bars.
const PAGE: usize = 50_000;

async fn records_per_second(output: impl Write + Send + 'static) -> f64 {
    let output = Arc::new(Output::new(Lines::to(output).unwrap()));
    let (mut sink, id) = opened(Arc::clone(&output), None).await;
    let mut rows = Rows::default();
    (0..PAGE).for_each(|_| rows.push(BAR.as_bytes()));
    let pages: Vec<Batch> = (0..100).map(|_| batch(rows.clone())).collect();
    let begin = Instant::now();
    for (page, number) in pages.into_iter().zip(0..) {
        sink.write(id, page).await.unwrap();
        sink.commit_one(id, &format!("{{\"page\":{number}}}")).await.unwrap();
    }
    output.lines().close().unwrap();
    (100 * PAGE) as f64 / begin.elapsed().as_secs_f64()
}

/// Run it with `cargo test --release -- --ignored --nocapture records_a_second`.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_macros, reason = "a person reads it")]
async fn records_a_second() {
    let to_null = records_per_second(File::create("/dev/null").unwrap()).await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let drain = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while reader.read(&mut buffer).unwrap() > 0 {}
    });
    let to_pipe = records_per_second(writer).await;
    drain.join().unwrap();
    println!("records a second: {to_null:.0} to /dev/null, {to_pipe:.0} to a pipe");
}

#[tokio::test]
async fn a_delete_is_refused_because_no_record_says_so() {
    let (output, captured) = Captured::output();
    let (mut sink, id) = opened(Arc::clone(&output), None).await;
    let mut rows = Rows::default();
    rows.push(br#"{"ticker":"A"}"#);
    rows.delete_last();
    let error = sink.write(id, batch(rows)).await.unwrap_err();
    assert_eq!(error.stream(), Some(bars().name.as_str()));
    assert!(error.user_message().contains("no deletes"), "{}", error.user_message());
    assert!(captured.lines(&output).iter().all(|line| line["type"] != "RECORD"));
}
