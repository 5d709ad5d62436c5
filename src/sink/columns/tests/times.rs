//! Times and days.

use super::*;

fn timestamp(value: &str) -> Option<i64> {
    let columns = decode_one(ColumnType::Timestamp, &format!("\"{value}\"")).ok()?;
    let Values::Timestamp(values) = columns.values(0) else { panic!("not a timestamp column") };
    columns.validity(0).get(1).then_some(values[1])
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

proptest! {
    #[test]
    fn any_time_is_the_one_that_jiff_reads(nanos in EARLIEST..i64::MAX) {
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
        prop_assert_eq!(timestamp(&time.to_string()), Some(nanos));
    }
}
