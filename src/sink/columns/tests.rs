use proptest::prelude::*;

use super::*;
use crate::batch::{Cause, Rows};
use crate::catalog::{Column, ColumnType, EXTRA_COLUMN, Metadata, Table, Width};
use crate::error::{ErrorKind, Result};

fn table(columns: &[(&str, ColumnType)], key: &[&str]) -> Table {
    let column =
        |(name, ty): &(&str, ColumnType)| Column { name: (*name).to_owned(), ty: *ty, doc: String::new() };
    Table {
        name: "things".to_owned(),
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        cursor: None,
        version: None,
        metadata: Metadata::ALL.to_vec(),
    }
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

/// A number and the width of its column, which began with `width`.
fn decimal_in(width: Width, value: &str) -> Option<(i128, Width)> {
    let columns = decode_one(ColumnType::Decimal(width), value).unwrap();
    let (value, width) = match columns.values(0) {
        Values::Decimal(width, values) => (i128::from(values[1]), *width),
        Values::WideDecimal(width, values) => (values[1], *width),
        _ => panic!("not a decimal column"),
    };
    assert_eq!(width.is_narrow(), matches!(columns.values(0), Values::Decimal(..)));
    columns.validity(0).get(1).then_some((value, width))
}

/// A number in a column that does not widen for it.
fn decimal(value: &str) -> Option<i128> {
    let wide = Width::new(38, 18);
    decimal_in(wide, value).filter(|(_, width)| *width == wide).map(|(value, _)| value)
}

fn timestamp(value: &str) -> Option<i64> {
    let columns = decode_one(ColumnType::Timestamp, &format!("\"{value}\"")).ok()?;
    let Values::Timestamp(values) = columns.values(0) else { panic!("not a timestamp column") };
    columns.validity(0).get(1).then_some(values[1])
}

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
fn decimals_are_exact_to_the_last_digit() {
    const ONE: i128 = 1_000_000_000_000_000_000;
    assert_eq!(decimal("0"), Some(0));
    assert_eq!(decimal("-0"), Some(0));
    assert_eq!(decimal("1"), Some(ONE));
    assert_eq!(decimal("-1.5"), Some(-ONE * 3 / 2));
    assert_eq!(decimal("0.000000000000000001"), Some(1));
    // 0.1 + 0.2 as a double prints it: 17 digits, as APIs send them.
    assert_eq!(decimal("0.30000000000000004"), Some(300_000_000_000_000_040));
    let most = 10_i128.pow(38) - 1;
    assert_eq!(decimal("99999999999999999999.999999999999999999"), Some(most));
    assert_eq!(decimal("-99999999999999999999.999999999999999999"), Some(-most));
    assert_eq!(decimal("9999999999999999999"), Some(9_999_999_999_999_999_999 * ONE), "19 digits");
    assert_eq!(decimal("18446744073709551616"), Some((1_i128 << 64) * ONE), "one more than 64 bits");
    assert_eq!(decimal("000000000000000000000000000001.5"), Some(ONE * 3 / 2));
}

#[test]
fn what_is_no_number_is_refused() {
    for value in [".5", "5.", "-", "--1", "+1", "1.2.3", "\"1\"", "NaN", "1 ", "0x10", "1e", "1e+", "1e5.0"] {
        for ty in [WIDE, ColumnType::Decimal(Width::PRICE), ColumnType::Double] {
            assert!(decode_one(ty, value).is_err(), "{value}");
        }
    }
}

#[test]
fn a_column_widens_with_its_numbers_and_stays_wide() {
    let table = single(ColumnType::Decimal(Width::PRICE));
    let decoder = Decoder::new(&table, true);
    let decode = |values: &[&str]| {
        let mut rows = Rows::default();
        values.iter().for_each(|value| rows.push(format!("{{\"v\":{value}}}").as_bytes()));
        decode_with(&decoder, &table, &rows).unwrap()
    };
    let columns = decode(&["999999999.999999999", "-0.5", "1.0000000000"]);
    assert_eq!(
        *columns.values(0),
        Values::Decimal(Width::PRICE, vec![999_999_999_999_999_999, -500_000_000, 1_000_000_000])
    );
    let columns = decode(&["1", "0.0000000000025", "-12345678901"]);
    let width = Width::new(24, 13);
    let one = 10_i128.pow(13);
    assert_eq!(*columns.values(0), Values::WideDecimal(width, vec![one, 25, -12_345_678_901 * one]));
    assert!(columns.changes().is_empty());
    assert_eq!(*decode(&["1"]).values(0), Values::WideDecimal(width, vec![one]), "it never narrows");
}

#[test]
fn what_no_decimal_holds_beside_the_others_is_kept_beside() {
    let lines = [
        r#"{"v":0.00000000000000000001}"#,
        r#"{"v":100000000000000000000}"#,
        r#"{"v":1e300,"additional_properties":{"a":1}}"#,
        r#"{"v":1234567890}"#,
    ];
    let columns = decode_as(&single(ColumnType::Decimal(Width::PRICE)), &lines).unwrap();
    let scale = 10_i128.pow(20);
    let values = vec![1, 0, 0, 1_234_567_890 * scale];
    assert_eq!(*columns.values(0), Values::WideDecimal(Width::new(30, 20), values));
    let there: Vec<bool> = (0..4).map(|row| columns.validity(0).get(row)).collect();
    assert_eq!(there, [true, false, false, true]);
    let Values::Json(extra) = columns.values(1) else { panic!("not a JSON column") };
    assert_eq!(extra.get(1), br#"{"v":100000000000000000000}"#);
    assert_eq!(extra.get(2), br#"{"a":1,"v":1e300}"#);
    let noted: Vec<_> = columns.changes().iter().map(|change| (change.row, change.cause)).collect();
    assert_eq!(noted, [(1, Cause::Destination), (2, Cause::Destination)]);
    let key = table(&[("v", ColumnType::Decimal(Width::PRICE)), (EXTRA_COLUMN, ColumnType::Json)], &["v"]);
    let error = decode_as(&key, &[r#"{"v":1e300}"#]).unwrap_err();
    assert!(error.user_message().contains("`v` of table things holds a number"), "{}", error.user_message());
}

#[test]
fn doubles_are_the_nearest_ones() {
    let double = |value: &str| {
        let columns = decode_one(ColumnType::Double, value).unwrap();
        let Values::Double(values) = columns.values(0) else { panic!("not a column of doubles") };
        columns.validity(0).get(1).then_some(values[1])
    };
    for value in [5e-5, 0.001_234_567_890_123_456_7, 1e20, f64::MAX, f64::MIN_POSITIVE, -2.5] {
        assert_eq!(double(&format!("{value:?}")), Some(value));
        assert_eq!(double(&format!("{value}")), Some(value));
    }
    for value in ["0", "-0.0", "0e-999", "5e-324"] {
        assert!(double(value).is_some(), "{value}");
    }
    for value in ["1e999", "1e-999"] {
        assert_eq!(double(value), None, "{value}");
    }
}

#[test]
fn integers_reach_the_limits_of_64_bits() {
    let integer = |value: &str| {
        let columns = decode_one(ColumnType::Integer, value).ok()?;
        let Values::Integer(values) = columns.values(0) else { panic!("not an integer column") };
        Some(values[1])
    };
    assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
    assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(integer("-999999999999999999"), Some(-999_999_999_999_999_999));
    assert_eq!(integer("0"), Some(0));
    for value in ["9223372036854775808", "-9223372036854775809", "1.0", "1e3", "", "-", "\"5\"", "true"] {
        assert_eq!(integer(value), None, "{value}");
    }
}

#[test]
fn times_are_read_to_the_nanosecond() {
    assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(timestamp("1969-12-31T23:59:59.999999999Z"), Some(-1));
    assert_eq!(timestamp("2024-02-29T14:30:00.5Z"), Some(1_709_217_000_500_000_000));
    assert_eq!(timestamp("2024-06-28T13:30:00.123456789Z"), Some(1_719_581_400_123_456_789));
    // The limits: a whole first day, and less the value that stands for infinity.
    assert_eq!(timestamp("2262-04-11T23:47:16.854775806Z"), Some(i64::MAX - 1));
    assert_eq!(timestamp("1677-09-22T00:00:00Z"), Some(EARLIEST));
    assert_eq!(timestamp("1677-09-21T23:59:59.999999999Z"), None);
    assert_eq!(timestamp("2262-04-11T23:47:16.854775807Z"), None);
}

#[test]
fn what_is_no_time_is_refused() {
    for value in [
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00+00:00",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z",
        "2024-01-01 00:00:00Z",
        "2024-01-01",
        "",
    ] {
        assert!(decode_one(ColumnType::Timestamp, &format!("\"{value}\"")).is_err(), "{value}");
    }
    assert!(decode_one(ColumnType::Timestamp, "1719581400").is_err());
}

#[test]
fn a_time_beyond_64_bits_is_kept_beside_and_noted() {
    let table = single(ColumnType::Timestamp);
    let columns = decode_as(
        &table,
        &[
            r#"{"v":"2262-04-11T23:47:16.854775807Z"}"#,
            r#"{"v":"0001-01-01T00:00:00Z","additional_properties":{"q":[1,{"x":"}"}]}}"#,
            r#"{"additional_properties":{},"v":"9999-12-31T23:59:59.999999999Z"}"#,
            r#"{"v":"2024-01-01T00:00:00Z"}"#,
        ],
    )
    .unwrap();
    let Values::Json(extra) = columns.values(1) else { panic!("not a JSON column") };
    let kept: Vec<&str> = (0..4).map(|row| std::str::from_utf8(extra.get(row)).unwrap()).collect();
    assert_eq!(
        kept,
        [
            r#"{"v":"2262-04-11T23:47:16.854775807Z"}"#,
            r#"{"q":[1,{"x":"}"}],"v":"0001-01-01T00:00:00Z"}"#,
            r#"{"v":"9999-12-31T23:59:59.999999999Z"}"#,
            "",
        ]
    );
    let nulls: Vec<bool> = (0..4).map(|row| columns.validity(0).get(row)).collect();
    assert_eq!(nulls, [false, false, false, true]);
    let noted: Vec<_> = columns.changes().iter().map(|change| (change.row, change.cause)).collect();
    assert_eq!(noted, [(0, Cause::Destination), (1, Cause::Destination), (2, Cause::Destination)]);
}

#[test]
fn a_column_of_nanoseconds_asks_for_microseconds_where_they_would_do() {
    let table = table(
        &[
            ("v", ColumnType::Timestamp),
            ("w", ColumnType::Timestamp),
            ("x", ColumnType::Timestamp),
            (EXTRA_COLUMN, ColumnType::Json),
        ],
        &[],
    );
    let rows = |lines: &[&str]| {
        let mut rows = Rows::default();
        lines.iter().for_each(|line| rows.push(line.as_bytes()));
        rows
    };
    let lines = rows(&[
        r#"{"v":"2024-01-01T00:00:00.000001Z","w":"9999-12-31T23:59:59Z","x":"2024-01-01T00:00:00.1Z"}"#,
        r#"{"v":"0001-01-01T00:00:00Z","w":"2024-01-01T00:00:00.000000001Z","x":null}"#,
        r#"{"v":"9999-12-31T23:59:59.9999999Z"}"#,
    ]);
    let decoder = Decoder::new(&table, true);
    assert_eq!(decoder.decode(&lines).unwrap(), Decoded::Unsettled(vec![0]), "w has a nanosecond");
    decoder.settle("v", true);
    let Decoded::Columns(columns) = decoder.decode(&lines).unwrap() else { panic!("it was settled") };
    let micros = vec![1_704_067_200_000_001, -62_135_596_800_000_000, 253_402_300_799_999_999];
    assert_eq!(*columns.values(0), Values::Micros(micros));
    let Values::Json(extra) = columns.values(3) else { panic!("not a JSON column") };
    assert_eq!(extra.get(0), br#"{"w":"9999-12-31T23:59:59Z"}"#);
    assert_eq!(extra.get(2), br#"{"v":"9999-12-31T23:59:59.9999999Z"}"#);
    assert!(columns.validity(0).get(2), "what is left of a time that was cut is there");
    let noted: Vec<_> =
        columns.changes().iter().map(|change| (change.row, change.column, change.cause)).collect();
    assert_eq!(noted, [(0, 1, Cause::Destination), (2, 0, Cause::Cut)]);
    // It is asked once, and microseconds stay.
    let far = rows(&[r#"{"w":"9999-12-31T23:59:59Z"}"#]);
    assert_eq!(decoder.decode(&far).unwrap(), Decoded::Unsettled(vec![1]));
    decoder.settle("w", false);
    for _ in 0..2 {
        let Decoded::Columns(columns) = decoder.decode(&far).unwrap() else { panic!("it was settled") };
        assert!(!columns.validity(1).get(0));
        assert_eq!(*columns.values(0), Values::Micros(vec![0]));
    }
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
fn dates_are_days() {
    let date = |value: &str| {
        let columns = decode_one(ColumnType::Date, value).ok()?;
        let Values::Date(values) = columns.values(0) else { panic!("not a date column") };
        Some(values[1])
    };
    assert_eq!(date("\"1970-01-01\""), Some(0));
    assert_eq!(date("\"2000-02-29\""), Some(11_016));
    assert_eq!(date("\"0001-01-01\""), Some(-719_162));
    assert_eq!(date("\"9999-12-31\""), Some(2_932_896));
    for value in [
        "\"2001-02-29\"",
        "\"2024-1-1\"",
        "\"24-01-01\"",
        "\"2024/01/01\"",
        "20240101",
        "\"\"",
        "\"2024-01-011\"",
    ] {
        assert_eq!(date(value), None, "{value}");
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
    fn any_decimal_is_what_its_digits_say(
        negative: bool,
        whole in "[1-9][0-9]{0,19}|0",
        fraction in "[0-9]{0,18}",
    ) {
        let point = if fraction.is_empty() { "" } else { "." };
        let sign = if negative { "-" } else { "" };
        let digits = format!("{whole}{fraction:0<18}");
        let expected: i128 = format!("{sign}{digits}").parse().unwrap();
        prop_assert_eq!(decimal(&format!("{sign}{whole}{point}{fraction}")), Some(expected));
    }

    #[test]
    fn a_decimal_of_any_size_is_exact_in_a_column_of_any_width(
        negative: bool,
        whole in "[1-9][0-9]{0,21}|0",
        fraction in "[0-9]{0,22}",
        scale in 0..=18_u8,
        precision in 18..=38_u8,
    ) {
        let have = Width::new(precision, scale);
        let point = if fraction.is_empty() { "" } else { "." };
        let sign = if negative { "-" } else { "" };
        let number = format!("{sign}{whole}{point}{fraction}");
        match decimal_in(have, &number) {
            Some((value, width)) => {
                prop_assert!(width.covers(have));
                let scale = usize::from(width.scale());
                let digits = fraction.trim_end_matches('0');
                let expected: i128 = format!("{sign}{whole}{digits:0<scale$}").parse().unwrap();
                prop_assert_eq!(value, expected, "{} in {}", number, width);
            }
            None => {
                let whole = whole.trim_start_matches('0').len().max(have.whole().into());
                let scale = fraction.trim_end_matches('0').len().max(have.scale().into());
                prop_assert!(whole + scale > 38, "{} beside {}", number, have);
            }
        }
    }

    #[test]
    fn any_integer_is_itself(value: i64) {
        let columns = decode_one(ColumnType::Integer, &value.to_string()).unwrap();
        let Values::Integer(values) = columns.values(0) else { panic!("not an integer column") };
        prop_assert_eq!(values[1], value);
    }

    #[test]
    fn any_time_is_the_one_that_jiff_reads(nanos in EARLIEST..i64::MAX) {
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
        prop_assert_eq!(timestamp(&time.to_string()), Some(nanos));
    }

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
