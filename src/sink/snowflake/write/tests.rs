//! What a file holds.

use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::batch::{Cause, ExtractedAt, Rows};
use crate::sink::WriteMode;
use crate::table::{Column, EXTRA_COLUMN, Table};

fn table() -> Arc<Table> {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty, doc: String::new() };
    Arc::new(Table::new(
        "t",
        vec![
            column("ticker", ColumnType::Text),
            column("price", ColumnType::Decimal(Width::PRICE)),
            column("volume", ColumnType::Integer),
            column("extra", ColumnType::Json),
            column("rate", ColumnType::Double),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        &["ticker"],
    ))
}

fn target() -> Target {
    Target::new("p", "t", table(), WriteMode::AppendDedup)
}

fn batch(rows: &[&str]) -> Batch {
    let mut all = Rows::default();
    for row in rows {
        all.push(row.as_bytes());
    }
    Batch::new(table(), all, ExtractedAt::All(1_704_164_645_123))
}

fn text(file: &File) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(file.bytes.as_slice()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_line_says_that_it_is_a_delete() {
    let mut rows = batch(&[r#"{"ticker":"A"}"#, r#"{"ticker":"B"}"#, r#"{"ticker":"C"}"#]);
    rows.rows = rows.rows.iter().enumerate().fold(Rows::default(), |mut all, (index, row)| {
        all.push(row);
        if index != 1 {
            all.delete_last();
        }
        all
    });
    for (target, expected) in
        [(target(), [true, false, true]), (Target { mode: WriteMode::Append, ..target() }, [false; 3])]
    {
        let mut writer = Writer::new(&target);
        writer.push(&rows).unwrap();
        assert_eq!(writer.has_deletes(), expected[0]);
        let text = text(&writer.take().unwrap().unwrap());
        assert!(text.lines().map(|line| line.contains(r#""_tapeline_deleted":true,"#)).eq(expected));
        writer.reset();
        assert!(!writer.has_deletes());
    }
}

fn lines(rows: &[&str]) -> Vec<String> {
    let mut writer = Writer::new(&target());
    assert!(writer.push(&batch(rows)).unwrap().is_empty());
    let file = writer.take().unwrap().unwrap();
    assert_eq!(usize::try_from(file.lines).unwrap(), rows.len());
    let prefix = |number: usize| {
        format!(
            r#"{{"_tapeline_n":{number},"_tapeline_at":"2024-01-02T03:04:05.123Z","_tapeline_meta":{{"changes":[]}}"#
        )
    };
    let text = text(&file);
    text.lines()
        .enumerate()
        .map(|(number, line)| line.strip_prefix(&prefix(number)).expect(line).to_owned())
        .collect()
}

#[test]
fn decimals_are_text_and_nulls_are_absent() {
    let rows = [
        r#"{"ticker":"NA","price":12345678901234567890.123456789012345678,"volume":9223372036854775807,"extra":{"a":[1,{"b":"}\""}],"n":null}}"#,
        r#"{"ticker":null,"price":-0.5,"volume":null}"#,
        r"{}",
        r#" { "ticker" : "a\"}{\\" , "price" : null , "extra" : [ ] } "#,
        r#"{"extra":"price","ticker":""}"#,
    ];
    assert_eq!(
        lines(&rows),
        [
            r#","ticker":"NA","price":"12345678901234567890.123456789012345678","volume":9223372036854775807,"extra":{"a":[1,{"b":"}\""}],"n":null}}"#,
            r#","price":"-0.5"}"#,
            r"}",
            r#","ticker":"a\"}{\\","extra":[ ]}"#,
            r#","extra":"price","ticker":""}"#,
        ]
    );
}

#[test]
fn what_no_decimal_holds_beside_the_others_is_kept_beside() {
    let mut writer = Writer::new(&target());
    let batch = batch(&[
        r#"{"price":0.0000000000000000000000001,"rate":1e-300}"#,
        r#"{"price":1e300,"additional_properties":{"a":[1]}}"#,
        r#"{"ticker":"A","price":12345678901234567890,"rate":1e999}"#,
        r#"{"price":1234567890123,"rate":1e-999}"#,
    ]);
    writer.push(&batch).unwrap();
    assert_eq!(writer.widths()[1], Width::of(Need { whole: 13, scale: 25 }));
    let file = text(&writer.take().unwrap().unwrap());
    let line = |number: usize| -> serde_json::Value {
        serde_json::from_str(file.lines().nth(number).unwrap()).unwrap()
    };
    assert_eq!(line(0)["price"], "0.0000000000000000000000001");
    assert_eq!(line(0)["rate"], "1e-300");
    assert_eq!(line(1)["price"], serde_json::Value::Null);
    assert!(file.contains(r#""additional_properties":{"a":[1],"price":1e300}"#), "{file}");
    assert!(
        file.contains(r#""additional_properties":{"price":12345678901234567890,"rate":"1e999"}"#),
        "{file}"
    );
    assert!(file.contains(r#"{"field":"price","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}"#));
    assert_eq!(line(3)["price"], "1234567890123");
    assert!(file.contains(r#""additional_properties":{"rate":"1e-999"}"#), "{file}");
}

#[test]
fn a_change_is_named_in_the_metadata() {
    let mut batch = batch(&[r#"{"ticker":"A"}"#]);
    batch.rows.note_change(1, Cause::Source);
    batch.rows.note_change(2, Cause::Source);
    batch.rows.push(br#"{"ticker":"B"}"#);
    let mut writer = Writer::new(&target());
    writer.push(&batch).unwrap();
    let text = text(&writer.take().unwrap().unwrap());
    let second = text.lines().nth(1).unwrap();
    assert!(
        second.contains(r#""_tapeline_meta":{"changes":[{"field":"price","change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR"},{"field":"volume","#),
        "{second}"
    );
    serde_json::from_str::<serde_json::Value>(second).unwrap();
}

#[test]
fn files_are_bounded_and_their_lines_are_numbered_on() {
    let mut writer = Writer::with_files_of(&target(), 1);
    let rows: Vec<String> =
        (0..20_000).map(|n| format!(r#"{{"ticker":"T{n}","price":{n}.{}}}"#, fastrand::u32(..))).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let mut files = writer.push(&batch(&rows)).unwrap();
    assert!(files.len() > 1);
    files.extend(writer.take().unwrap());
    assert_eq!(files.iter().map(|file| file.lines).sum::<u64>(), 20_000);
    let all: String = files.iter().map(text).collect();
    for (number, line) in all.lines().enumerate() {
        assert!(line.starts_with(&format!("{{\"_tapeline_n\":{number},")), "{line}");
    }
    assert!(writer.take().unwrap().is_none());
}

#[test]
fn a_cut_row_is_an_error() {
    for row in ["", "{", r#"{"a""#, r#"{"a":"#, r#"{"a":1"#, r#"{"a":"b"#, r#"{"a":[1}"#, "[]"] {
        let mut writer = Writer::new(&target());
        assert!(writer.push(&batch(&[row])).is_err(), "{row}");
    }
}
