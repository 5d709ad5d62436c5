mod numbers;
mod times;

use proptest::prelude::*;

use super::*;
use crate::batch::{Cause, Rows};
use crate::error::{ErrorKind, Result};
use crate::table::{Column, ColumnType, EXTRA_COLUMN, Table, Width};

fn table(columns: &[(&str, ColumnType)], key: &[&str]) -> Table {
    let column =
        |(name, ty): &(&str, ColumnType)| Column { name: (*name).to_owned(), ty: *ty, doc: String::new() };
    Table::new("things", columns.iter().map(column).collect(), key)
}

fn decode_as(table: &Table, lines: &[&str]) -> Result<Columns> {
    let mut rows = Rows::default();
    for line in lines {
        rows.push(line.as_bytes());
    }
    decode_with(&Decoder::new(table, true), table, &rows)
}

/// As a sink whose table has nanoseconds.
fn decode_with(decoder: &Decoder, table: &Table, rows: &Rows) -> Result<Columns> {
    match decoder.decode(rows)? {
        Decoded::Columns(columns) => Ok(columns),
        Decoded::Unsettled(columns) => {
            columns.iter().for_each(|column| decoder.settle(&table.columns[*column].name, false));
            let Decoded::Columns(columns) = decoder.decode(rows)? else { panic!("it was settled") };
            Ok(columns)
        }
    }
}

/// A table with the one column `v` and the column for the rest.
fn single(ty: ColumnType) -> Table {
    table(&[("v", ty), (EXTRA_COLUMN, ColumnType::Json)], &[])
}

/// Decodes a value alone, with a neighbour before and after it.
fn decode_one(ty: ColumnType, value: &str) -> Result<Columns> {
    let columns = decode_as(&single(ty), &["{}", &format!("{{\"v\":{value}}}"), "{}"])?;
    assert_eq!(columns.len(), 3);
    assert!(!columns.validity(0).get(0) && !columns.validity(0).get(2), "neighbours of {value} are NULL");
    Ok(columns)
}

/// As wide as all numbers were before columns had widths of their own.
const WIDE: ColumnType = ColumnType::Decimal(Width::new(38, 18));

fn text(value: &str) -> Option<String> {
    let columns = decode_one(ColumnType::Text, value).ok()?;
    let Values::Text(texts) = columns.values(0) else { panic!("not a text column") };
    Some(String::from_utf8(texts.get(1).to_vec()).expect("decoded text is UTF-8"))
}

fn json(value: &str) -> Option<String> {
    let columns = decode_one(ColumnType::Json, value).ok()?;
    let Values::Json(texts) = columns.values(0) else { panic!("not a JSON column") };
    Some(String::from_utf8(texts.get(1).to_vec()).expect("JSON is UTF-8"))
}

#[test]
fn a_key_is_never_cut() {
    let table = table(&[("v", ColumnType::TimestampMicros), (EXTRA_COLUMN, ColumnType::Json)], &["v"]);
    assert!(decode_as(&table, &[r#"{"v":"9999-12-31T23:59:59.999999Z"}"#]).is_ok());
    let error = decode_as(&table, &[r#"{"v":"2024-01-01T00:00:00.0000001Z"}"#]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    assert!(error.user_message().contains("`v` of table things holds a time"), "{}", error.user_message());
}

#[test]
fn a_key_never_becomes_null() {
    let table = table(&[("v", ColumnType::Timestamp), (EXTRA_COLUMN, ColumnType::Json)], &["v"]);
    let error = decode_as(&table, &[r#"{"v":"2300-01-01T00:00:00Z"}"#]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    assert!(error.user_message().contains("`v` of table things"), "{}", error.user_message());
}

/// Where rows are added as they are, a key tells nothing apart.
#[test]
fn what_does_not_fit_is_kept_beside_a_key_that_merges_nothing() {
    for (ty, value) in [
        (ColumnType::Timestamp, "\"2300-01-01T00:00:00Z\""),
        (ColumnType::TimestampMicros, "\"2024-01-01T00:00:00.0000001Z\""),
        (WIDE, "1e300"),
    ] {
        let table = table(&[("v", ty), (EXTRA_COLUMN, ColumnType::Json)], &["v"]);
        let line = format!(r#"{{"v":{value}}}"#);
        let mut rows = Rows::default();
        rows.push(line.as_bytes());
        let columns = decode_with(&Decoder::new(&table, false), &table, &rows).unwrap();
        let Values::Json(texts) = columns.values(1) else { panic!("not a JSON column") };
        assert_eq!(texts.get(0), line.as_bytes());
        let error = decode_as(&table, &[&line]).unwrap_err();
        assert_eq!((error.kind(), error.user_message().contains("append")), (ErrorKind::Table, true));
    }
}

#[test]
fn text_loses_its_escapes_and_nothing_else() {
    assert_eq!(text(r#""""#).as_deref(), Some(""));
    assert_eq!(text(r#""BRK.B""#).as_deref(), Some("BRK.B"));
    assert_eq!(text(r#""a\"b\\c\/d\b\f\n\r\t""#).as_deref(), Some("a\"b\\c/d\u{8}\u{c}\n\r\t"));
    assert_eq!(text(r#""\u0041\u00e9\u20AC\u0000""#).as_deref(), Some("Aé€\0"));
    assert_eq!(text(r#""\ud83d\ude00 😀""#).as_deref(), Some("😀 😀"));
    assert_eq!(text(r#""null""#).as_deref(), Some("null"));
    assert_eq!(text(r#""\ud83d""#).as_deref(), Some("\u{fffd}"), "half a pair is no character");
    assert_eq!(text(r#""\ude00\ud83dx\ud83d\u0041""#).as_deref(), Some("\u{fffd}\u{fffd}x\u{fffd}A"));
    for value in [r#""\x""#, r#""\u12""#, r#""\u12g4""#, r#""\"#, r#""open"#, "5", "{}", "nul"] {
        assert_eq!(text(value), None, "{value}");
    }
}

#[test]
fn json_stays_as_it_came() {
    for value in [
        r#"{"a":[1,2.50,{"b":null}],"c":"x\"}]"}"#,
        "[]",
        "{}",
        "1.2300",
        "true",
        r#""text""#,
        r#"[ 1, { "a" : 2 } ]"#,
        r#"["\ud83d\ude00","\\ud83d","\n"]"#,
        "123456789012345678901234567890.1e-5",
    ] {
        assert_eq!(json(value).as_deref(), Some(value));
    }
    for value in ["[1", "", ":", r#"{"a":"b}"#, "]"] {
        assert_eq!(json(value), None, "{value}");
    }
}

#[test]
fn keys_come_in_any_order_and_may_be_absent() {
    let table =
        table(&[("a", ColumnType::Integer), ("b", ColumnType::Integer), ("c", ColumnType::Integer)], &[]);
    let lines = [
        r#"{"c":3,"a":1,"b":2}"#,
        r#"{"c":3,"b":2}"#,
        r#"{"a":1}"#,
        "{}",
        r#"{"b":null,"c":3}"#,
        r#"{"a":1,"b":2,"c":3}"#,
    ];
    let columns = decode_as(&table, &lines).unwrap();
    let cells = |column: usize| -> Vec<Option<i64>> {
        let Values::Integer(values) = columns.values(column) else { panic!("not an integer column") };
        (0..lines.len()).map(|row| columns.validity(column).get(row).then_some(values[row])).collect()
    };
    assert_eq!(cells(0), [Some(1), None, Some(1), None, None, Some(1)]);
    assert_eq!(cells(1), [Some(2), Some(2), None, None, None, Some(2)]);
    assert_eq!(cells(2), [Some(3), Some(3), None, None, Some(3), Some(3)]);
}

#[test]
fn rows_that_are_not_canonical_are_a_bug_that_names_the_row() {
    let table = single(ColumnType::Integer);
    for line in [
        r#"{"w":1}"#,
        r#"{"v":1"#,
        r#"{"v":1}}"#,
        r#"{"v" :1}"#,
        r#"{v:1}"#,
        r#"{"v":}"#,
        r#"{"v"}"#,
        r#"{"v":1,}"#,
        "[1]",
        "",
        r#"{"v":nil}"#,
        "{",
    ] {
        let error = decode_as(&table, &["{}", line]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug, "{line}");
        assert!(error.to_string().contains("row 1"), "{line}: {error}");
        assert!(error.to_string().contains("table things"), "{line}: {error}");
    }
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let mut rows = Rows::default();
    rows.push(b"{\"v\":\"\xff\"}");
    assert!(Decoder::new(&single(ColumnType::Text), true).decode(&rows).is_err());
}

#[test]
fn the_last_row_of_a_key_stays() {
    let table = table(
        &[("a", ColumnType::Text), ("b", ColumnType::Integer), ("v", ColumnType::Integer)],
        &["a", "b"],
    );
    let lines = [
        r#"{"a":"x","b":1,"v":1}"#,
        r#"{"a":"x","v":2}"#,
        r#"{"a":"x","b":1,"v":3}"#,
        r#"{"b":1,"v":4}"#,
        r#"{"a":"x","b":null,"v":5}"#,
        r#"{"a":"","b":1,"v":6}"#,
        r#"{"a":null,"b":1,"v":7}"#,
    ];
    let mut columns = decode_as(&table, &lines).unwrap();
    columns.changes = vec![
        Change { row: 0, column: 1, cause: Cause::Source },
        Change { row: 4, column: 1, cause: Cause::Source },
    ];
    assert_eq!(columns.keep_last(&[0, 1], None), Some(vec![2, 4, 5, 6]));
    let Values::Integer(values) = columns.values(2) else { panic!("not an integer column") };
    assert_eq!(values, &[3, 5, 6, 7]);
    assert_eq!(columns.len(), 4);
    assert_eq!(columns.changes().len(), 1, "the change of a row that went is gone");
    assert_eq!(columns.changes()[0].row, 1, "and the other one moved with its row");
    let nulls: Vec<bool> = (0..4).map(|row| columns.validity(1).get(row)).collect();
    assert_eq!(nulls, [true, false, true, true]);
}

#[test]
fn extremes_skip_nulls_and_say_so() {
    let table = table(&[("a", ColumnType::Text), ("b", ColumnType::Integer)], &[]);
    let columns =
        decode_as(&table, &[r#"{"a":"m"}"#, r#"{"a":"z"}"#, "{}", r#"{"a":"é"}"#, r#"{"a":"A"}"#]).unwrap();
    assert_eq!(columns.extremes(0), Some(Extremes { min: 4, max: 3, has_null: true }));
    assert_eq!(columns.extremes(1), None);
}

proptest! {
    #[test]
    fn any_text_survives_serde_json(value: String) {
        prop_assert_eq!(text(&serde_json::to_string(&value).unwrap()), Some(value));
    }

    #[test]
    fn no_bytes_make_it_panic(line in "[\\PC\"{}\\[\\],:\\\\nulv0-9.-]{0,40}", ty in 0..9_usize) {
        let types = [
            ColumnType::Text, ColumnType::Boolean, ColumnType::Integer, WIDE,
            ColumnType::Decimal(Width::PRICE), ColumnType::Double, ColumnType::Date, ColumnType::Timestamp, ColumnType::Json,
        ];
        let _ = decode_as(&single(types[ty]), &[&line, &format!("{{\"v\":{line}}}")]);
    }

    #[test]
    fn keeping_the_last_is_what_a_map_does(rows in proptest::collection::vec((0..4_i64, 0..4_i64, any::<bool>()), 0..40)) {
        let table = table(&[("a", ColumnType::Integer), ("b", ColumnType::Integer), ("n", ColumnType::Integer)], &[]);
        let line = |(index, (a, b, null)): (usize, &(i64, i64, bool))| {
            if *null { format!(r#"{{"a":{a},"n":{index}}}"#) } else { format!(r#"{{"a":{a},"b":{b},"n":{index}}}"#) }
        };
        let lines: Vec<String> = rows.iter().enumerate().map(line).collect();
        let mut columns = decode_as(&table, &lines.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        columns.keep_last(&[0, 1], None);
        let last: std::collections::BTreeMap<_, _> =
            rows.iter().enumerate().map(|(index, (a, b, null))| ((*a, (!null).then_some(*b)), index as i64)).collect();
        let mut expected: Vec<i64> = last.into_values().collect();
        expected.sort_unstable();
        let Values::Integer(values) = columns.values(2) else { panic!("not an integer column") };
        prop_assert_eq!(values, &expected);
    }
}
