use crate::polygon::transcoder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::catalog::streams;
use crate::secret::Secret;

fn transcode(stream: &str, text: &str) -> (String, Rows) {
    let streams = streams(&["1minute".parse().unwrap()]);
    let stream = streams.iter().find(|candidate| candidate.name == stream).unwrap();
    let constants: &[(&str, &str)] =
        if stream.spec.derived.is_empty() { &[] } else { &[("ticker", "BRK.B")] };
    let mut transcoder = transcoder(stream.spec, &stream.table, constants);
    let mut rows = Rows::default();
    transcoder.row(&mut Scanner::new(text.as_bytes()), &mut rows).unwrap();
    let row = String::from_utf8(rows.iter().next().unwrap().to_vec()).unwrap();
    (row, rows)
}

#[test]
fn a_bar_is_renamed_and_its_numbers_keep_their_text() {
    let (row, rows) = transcode(
        "stock_bars_1_minute",
        r#"{"v": 1748755.0, "vw":74.6099,"o":74.06,"c":75.0875,"h":75.15,"l":73.7975,"t":1577941200000,"n":1}"#,
    );
    assert_eq!(
        row,
        r#"{"ticker":"BRK.B","volume":1748755.0,"vwap":74.6099,"open":74.06,"close":75.0875,"high":75.15,"low":73.7975,"timestamp":"2020-01-02T05:00:00Z","transactions":1}"#
    );
    assert!(rows.changes().is_empty());
}

#[test]
fn nanoseconds_stand_beside_their_moment() {
    let (row, _) = transcode(
        "stock_trades",
        r#"{"sip_timestamp":1651181822461979401,"conditions":[ 12 , 37 ],"decimal_size":"10.25"}"#,
    );
    assert_eq!(
        row,
        r#"{"ticker":"BRK.B","sip_timestamp":"2022-04-28T21:37:02.461979401Z","sip_timestamp_ns":1651181822461979401,"conditions":[12,37],"decimal_size":10.25}"#
    );
}

#[test]
fn unknown_fields_and_misfits_are_kept() {
    let (row, rows) = transcode(
        "stock_bars_1_minute",
        r#"{"o":"abc","n":1.5,"c":1e300,"new":{"a": [1, null]},"h":null,"t":"soon"}"#,
    );
    assert_eq!(
        row,
        r#"{"ticker":"BRK.B","close":1e300,"additional_properties":{"o":"abc","n":1.5,"new":{"a":[1,null]},"t":"soon"}}"#
    );
    assert_eq!(rows.changes().len(), 3);
}

#[test]
fn a_secret_that_the_server_repeats_is_in_no_row() {
    const KEY: &str = "sK/every+where9";
    let _known = Secret::new(KEY);
    let base64 = STANDARD.encode(KEY);
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let row =
        r#"{"id":"of K","price":"a K","size":1.10,"conditions":["K",1.10],"K":1,"x":{"K":[1.10]},"y":"z"}"#;
    for form in [KEY, &KEY.replace('/', "\\/"), &escaped, &KEY.to_uppercase(), &base64] {
        let (found, rows) = transcode("stock_trades", &row.replace('K', form));
        assert_eq!(
            found,
            r#"{"ticker":"BRK.B","id":"of ***","size":1.10,"conditions":["***",1.10],"additional_properties":{"price":"a ***","***":1,"x":{"***":[1.10]},"y":"z"}}"#
        );
        let causes: Vec<Cause> = rows.changes().iter().map(|change| change.cause).collect();
        assert_eq!(causes, [Cause::Mended, Cause::Source, Cause::Mended, Cause::Mended]);
        // Two that differed may be the same now.
        assert_eq!(rows.keyless()[0].lack, Lack::Mended);
    }
    let (_, rows) = transcode("stock_trades", &row.replace('K', "key"));
    assert_eq!(rows.changes().len(), 1, "the price that is none");
}

/// What rows of a stream lack of their keys, each read by itself.
fn lacks(stream: &str, rows: &[&str]) -> Vec<Option<(String, Lack)>> {
    let streams = streams(&["1minute".parse().unwrap()]);
    let stream = streams.iter().find(|candidate| candidate.name == stream).unwrap();
    let mut transcoder = transcoder(stream.spec, &stream.table, &[]);
    let lack = |row: &&str| {
        let mut read = Rows::default();
        transcoder.row(&mut Scanner::new(row.as_bytes()), &mut read).unwrap();
        let name = |column: usize| stream.table.columns[column].name.clone();
        read.keyless().first().map(|keyless| (name(keyless.column), keyless.lack))
    };
    rows.iter().map(lack).collect()
}

#[test]
fn a_key_that_is_none_is_told() {
    let mended = |column: &str| Some((column.to_owned(), Lack::Mended));
    let misfit = |column: &str| Some((column.to_owned(), Lack::Misfit));
    let absent = |column: &str| Some((column.to_owned(), Lack::Absent));
    let whole = r#"{"price":"x","sip_timestamp":1,"sequence_number":2,"exchange":3,"id":"4"}"#;
    let found = lacks(
        "stock_trades",
        &[
            whole,
            &whole.replace(":1,", ":1.5,"),
            &whole.replace(":2", ":\"soon\""),
            &whole.replace("\"4\"", r#""\ud800""#),
            &whole.replace("\"4\"", r#""\u00e9""#),
            &whole.replace("\"4\"", "NaN"),
            &whole.replace(":1,", ":null,"),
            &whole.replace("\"sequence_number\"", "\"none\""),
            // Not every trade has one: NULL is a value there.
            &whole.replace("\"id\"", "\"none\""),
            whole,
        ],
    );
    let expected = [
        None,
        misfit("sip_timestamp"),
        misfit("sequence_number"),
        mended("id"),
        None,
        mended("id"),
        absent("sip_timestamp"),
        absent("sequence_number"),
        None,
        None,
    ];
    assert_eq!(found, expected);
    // It is NULL there for whatever is not delisted.
    let ticker = r#"{"ticker":"A","market":"stocks","delisted_utc":null,"active":true}"#;
    assert_eq!(lacks("tickers", &[ticker, "{}"])[0], None, "{:?}", lacks("tickers", &[ticker]));
}

#[test]
fn a_number_in_a_key_has_digits_that_a_column_can_be_widened_to() {
    let streams = streams(&[]);
    let stream = streams.iter().find(|stream| stream.name == "stock_trades").unwrap();
    let mut table = (*stream.table).clone();
    table.key = vec!["price".to_owned()];
    let mut transcoder = transcoder(stream.spec, &table, &[]);
    let mut of = |price: &str| {
        let mut rows = Rows::default();
        let row = format!(r#"{{"price":{price},"size":{price}}}"#);
        transcoder.row(&mut Scanner::new(row.as_bytes()), &mut rows).unwrap();
        let is_there = rows.iter().next().unwrap().windows(6).any(|part| part == br#""size""#);
        (rows.keyless().first().map(|keyless| keyless.lack), is_there)
    };
    for price in ["0", "-1.5", "1e19", "\"12345678901234567890.123456789012345678\"", "1e-18"] {
        assert_eq!(of(price), (None, true), "{price}");
    }
    for price in ["1e20", "1e-19", "1e300", "-1e-300", "1111111111222222222233333333334444444444"] {
        assert_eq!(of(price), (Some(Lack::Digits), true), "{price}");
    }
    for (price, lack) in [("true", Lack::Misfit), ("\"x\"", Lack::Misfit), ("null", Lack::Absent)] {
        assert_eq!(of(price).0, Some(lack), "{price}");
    }
}

/// The row, and what was noted: columns that are NULL with `-`, mended ones with `~`.
fn noted(text: &[u8]) -> (String, Vec<String>) {
    let streams = streams(&[]);
    let stream = streams.iter().find(|stream| stream.name == "stock_trades").unwrap();
    let mut transcoder = transcoder(stream.spec, &stream.table, &[]);
    let mut rows = Rows::default();
    rows.note("{\"field\":\"theirs\"}");
    transcoder.row(&mut Scanner::foreign(text), &mut rows).unwrap();
    assert_eq!((rows.len(), rows.notes().len()), (1, 1));
    let row = String::from_utf8(rows.iter().next().unwrap().to_vec()).unwrap();
    let note = |change: &crate::batch::Change| {
        let mark = if change.cause == Cause::Mended { "~" } else { "-" };
        format!("{mark}{}", stream.table.columns[change.column].name)
    };
    (row, rows.changes().iter().map(note).collect())
}

#[test]
fn of_a_field_that_comes_twice_the_last_counts() {
    for (text, row, notes) in [
        (r#"{"price":1,"size":3,"price":2}"#, r#"{"size":3,"price":2}"#, &["~price"][..]),
        (
            r#"{"price":1,"\u0070rice":"x"}"#,
            r#"{"additional_properties":{"price":"x"}}"#,
            &["~price", "-price"],
        ),
        (
            r#"{"u":1,"size":3,"u":2}"#,
            r#"{"size":3,"additional_properties":{"u":2}}"#,
            &["~additional_properties"],
        ),
        (
            r#"{"u":1,"price":1,"u":{"a":1,"a":2},"price":2,"price":3}"#,
            r#"{"price":3,"additional_properties":{"u":{"a":2}}}"#,
            &["~price", "~price", "~additional_properties", "~additional_properties"],
        ),
        (
            r#"{"additional_properties":{"u":1,"price":0},"u":2,"price":"x"}"#,
            r#"{"additional_properties":{"u":2,"price":"x"}}"#,
            &["-price", "~additional_properties"],
        ),
        (r#"{"conditions":[{"a":1,"a":2}]}"#, r#"{"conditions":[{"a":2}]}"#, &["~conditions"]),
    ] {
        let (found, mut noted) = noted(text.as_bytes());
        let mut notes = notes.to_vec();
        notes.sort_unstable();
        noted.sort_unstable();
        assert_eq!(
            (found.as_str(), noted),
            (row, notes.iter().map(|note| (*note).to_owned()).collect()),
            "{text}"
        );
    }
}

#[test]
fn what_not_all_warehouses_take_is_mended_and_noted() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let in_a_column = format!("{{\"conditions\":{deep}}}");
    let beside = format!("{{\"u\":{deep}}}");
    for (text, row, notes) in [
        (&br#"{"id":"a\ud800"}"#[..], r#"{"id":"a\ufffd"}"#.to_owned(), &["~id"][..]),
        (br#"{"id":"\ud83d\ude00\u0000"}"#, r#"{"id":"\ud83d\ude00\u0000"}"#.to_owned(), &[]),
        (b"{\"id\":\"a\xff\"}", "{\"id\":\"a\u{fffd}\"}".to_owned(), &["~id"]),
        (b"{\"id\":\"a\x01\nb\"}", r#"{"id":"a\u0001\u000ab"}"#.to_owned(), &[]),
        (
            br#"{"price":NaN,"id":-Infinity}"#,
            r#"{"id":"-Infinity","additional_properties":{"price":"NaN"}}"#.to_owned(),
            &["-price", "~id"],
        ),
        // Whether a column holds it is the sink's to say.
        (br#"{"price":1e400}"#, r#"{"price":1e400}"#.to_owned(), &[]),
        (br#"{"size":1e-999999999999}"#, r#"{"size":1e-999999999999}"#.to_owned(), &[]),
        (
            br#"{"u":[1e400]}"#,
            r#"{"additional_properties":{"u":["1e400"]}}"#.to_owned(),
            &["~additional_properties"],
        ),
        (
            br#"{"u\ud800":1}"#,
            "{\"additional_properties\":{\"u\u{fffd}\":1}}".to_owned(),
            &["~additional_properties"],
        ),
        (in_a_column.as_bytes(), format!(r#"{{"conditions":"{deep}"}}"#), &["~conditions"]),
        (
            beside.as_bytes(),
            format!(r#"{{"additional_properties":{{"u":"{deep}"}}}}"#),
            &["~additional_properties"],
        ),
    ] {
        let (found, mut noted) = noted(text);
        noted.sort_unstable_by_key(|note| note.starts_with('~'));
        let row = row.replace("\u{fffd}", r"\ufffd");
        assert_eq!(found.replace("\u{fffd}", r"\ufffd"), row, "{}", text.escape_ascii());
        assert_eq!(noted, notes, "{}", text.escape_ascii());
    }
}

#[test]
fn the_days_of_rows_are_told_once() {
    let streams = streams(&["1minute".parse().unwrap()]);
    let of = |name: &str, rows: &[&str]| {
        let stream = streams.iter().find(|stream| stream.name == name).unwrap();
        let mut transcoder = transcoder(stream.spec, &stream.table, &[]);
        let mut read = Rows::default();
        for row in rows {
            transcoder.row(&mut Scanner::new(row.as_bytes()), &mut read).unwrap();
        }
        let days = transcoder.take_days();
        assert_eq!(transcoder.take_days(), None);
        days
    };
    assert_eq!(of("stock_bars_1_minute", &[r#"{"t":3999}"#, r#"{"t":-1}"#, r#"{"t":null}"#]), Some(-1..=3));
    assert_eq!(
        of("splits", &[r#"{"execution_date":"1970-01-03"}"#, r#"{"execution_date":"soon"}"#]),
        Some(172_800..=172_800)
    );
    assert_eq!(of("stock_daily_bars", &[r#"{"t":5000,"T":"A"}"#]), Some(5..=5));
    assert_eq!(of("news", &[r#"{"published_utc":"1970-01-01T00:01:00Z"}"#, "{}"]), Some(60..=60));
    assert_eq!(
        of(
            "stock_trades",
            &[
                r#"{"participant_timestamp":9000000000,"sip_timestamp":8000000000,"trf_timestamp":7000000000}"#
            ]
        ),
        Some(8..=8)
    );
    assert_eq!(of("tickers", &[r#"{"last_updated_utc":"1970-01-01T00:01:00Z"}"#]), None);
    // Also when it is written as hardly anybody does.
    assert_eq!(of("stock_bars_1_minute", &[r#"{"t":4000e+000}"#]), Some(4..=4));

    // A row that is cut says nothing: its number may be cut as well.
    let stream = streams.iter().find(|stream| stream.name == "stock_bars_1_minute").unwrap();
    let mut transcoder = transcoder(stream.spec, &stream.table, &[]);
    let mut scanner = Scanner::new(br#"{"t":3"#);
    assert!(transcoder.row(&mut scanner, &mut Rows::default()).is_err());
    transcoder.row(&mut Scanner::new(br#"{"o":1}"#), &mut Rows::default()).unwrap();
    assert_eq!(transcoder.take_days(), None);
}

#[test]
fn an_empty_row_and_a_row_cut_short() {
    assert_eq!(transcode("exchanges", "{}").0, "{}");
    let streams = streams(&[]);
    let stream = streams.iter().find(|stream| stream.name == "exchanges").unwrap();
    let mut transcoder = transcoder(stream.spec, &stream.table, &[]);
    let mut rows = Rows::default();
    for bad in [r#"{"id":1"#, r#"{"id":1,}"#, r#"{"id":1,"id":2"#, r#"{"id":1,"id":2]"#, "[]"] {
        assert!(transcoder.row(&mut Scanner::new(bad.as_bytes()), &mut rows).is_err(), "{bad}");
        assert!(rows.is_empty() && rows.bytes() == 0 && rows.changes().is_empty());
    }
}
