use proptest::prelude::*;

use super::*;
use crate::batch::{Cause, Lack};
use crate::catalog::{Stream, streams};
use crate::polygon::rows::transcoder;

fn stream(name: &str) -> Stream {
    streams(&["1minute".parse().unwrap()]).into_iter().find(|stream| stream.name == name).unwrap()
}

fn reader(name: &str) -> PageReader {
    reader_of(name, Asked::default())
}

fn reader_of(name: &str, asked: Asked) -> PageReader {
    let stream = stream(name);
    let constants: &[(&str, &str)] = if stream.spec.derived.is_empty() { &[] } else { &[("ticker", "A")] };
    PageReader::new(stream.spec, transcoder(stream.spec, &stream.table, constants), asked)
}

/// Reads `text` in pieces that end at `cuts`.
fn read(reader: &mut PageReader, text: &[u8], cuts: &[usize]) -> Result<(String, Option<String>)> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    reader.begin();
    let mut start = 0;
    for cut in cuts {
        reader.take(&text[start..cut])?;
        start = cut;
    }
    let answer = reader.end()?;
    let rows: Vec<u8> = answer.rows.texts().collect::<Vec<_>>().concat();
    Ok((String::from_utf8(rows).unwrap(), answer.next_url))
}

const PAGES: [(&str, &str); 5] = [
    (
        "stock_bars_1_minute",
        r#" {"ticker":"A","queryCount":2 ,"results":[{"o":1.50,"t":1577941200000} , {"o":2,"t":1577941260000}],"status":"OK","count":2,"next_url":"https://x/\u00e9?cursor=é"} "#,
    ),
    ("stock_bars_1_minute", r#"{"status":"OK","resultsCount":0,"new":{"a":[1,null,{"b":"]}"}]}}"#),
    ("stock_bars_1_minute", r#"{"results":[],"status":"DELAYED","nothing":null,"n":-1.5e3}"#),
    ("ticker_details", r#"{"status":"OK","results":{"ticker":"A","name":"Ä \"\\"},"request_id":"1"}"#),
    (
        "market_holidays",
        r#" [ {"date":"2024-07-04","exchange":"NYSE"} , {"date":"2024-07-04","exchange":"é"} ] "#,
    ),
];

proptest! {
    #[test]
    fn pieces_do_not_matter(page in 0..PAGES.len(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let (name, text) = PAGES[page];
        let whole = read(&mut reader(name), text.as_bytes(), &[]).unwrap();
        prop_assert_eq!(read(&mut reader(name), text.as_bytes(), &cuts).unwrap(), whole);
    }
}

#[test]
fn byte_by_byte_and_cut_at_every_byte() {
    for (name, text) in PAGES {
        let text = text.as_bytes();
        let every: Vec<usize> = (0..text.len()).collect();
        let whole = read(&mut reader(name), text, &[]).unwrap();
        assert_eq!(read(&mut reader(name), text, &every).unwrap(), whole);
        for cut in 0..text.trim_ascii_end().len() {
            let error = read(&mut reader(name), &text[..cut], &every).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Response, "{name} {cut}");
        }
    }
}

#[test]
fn what_is_not_json_says_where() {
    let text = br#"{"status":"OK","results":[{"o":1},{"o":x}]}"#;
    let error = read(&mut reader("stock_bars_1_minute"), text, &[20, 30, 34]).unwrap_err();
    let told = "the answer of 43 bytes is cut or not JSON: expected a JSON value at byte 39";
    assert_eq!(error.user_message(), told);
    for bad in [
        &br#"{"status":"OK"} x"#[..],
        br#"{"status":"OK"}{}"#,
        b"",
        b"null",
        b"{\"status\":\"\xff\"}",
        b"{\"status\":\"OK\"\xff}",
        b"{\"status\":\"OK\"}\xff",
        b"{\"status\":\"OK\"}\xc3",
    ] {
        assert_eq!(read(&mut reader("splits"), bad, &[]).unwrap_err().kind(), ErrorKind::Response);
    }
}

#[test]
fn a_repeated_row_is_left_out_also_of_the_next_page_and_not_of_a_retry() {
    let mut reader = reader("stock_bars_1_minute");
    let text = br#"{"status":"OK","results":[{"o":1},{"o":2},{"o":1}]}"#;
    let two = "{\"ticker\":\"A\",\"open\":1}\n{\"ticker\":\"A\",\"open\":2}\n";
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, two);
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, two, "the page was not accepted");
    reader.accept();
    let next = br#"{"status":"OK","results":[{"o":2},{"o":3}]}"#;
    assert_eq!(read(&mut reader, next, &[]).unwrap().0, "{\"ticker\":\"A\",\"open\":3}\n");
    reader.accept();
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, "{\"ticker\":\"A\",\"open\":1}\n");
}

/// Asked for the ticker AAPL and the 4th and 5th of January 2024, give or take a day.
fn asked() -> Asked {
    let second = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    let days = second("2024-01-03T05:00:00Z")..=second("2024-01-07T05:00:00Z");
    Asked { ticker: Some("AAPL".to_owned()), days: Some(Days::Within(days)) }
}

fn told(name: &str, text: &str) -> (Option<ErrorKind>, String) {
    match read(&mut reader_of(name, asked()), text.as_bytes(), &[]) {
        Ok((rows, _)) => (None, rows),
        Err(error) => (Some(error.kind()), error.to_string()),
    }
}

/// What is whole and readable JSON and no answer to what was asked for.
#[test]
fn an_answer_to_something_else_is_none() {
    use ErrorKind::{Mismatch, Response};
    let bar = |day: &str| {
        let moment: jiff::Timestamp = format!("{day}T15:00:00Z").parse().unwrap();
        format!("{{\"t\":{},\"o\":1}}", moment.as_millisecond())
    };
    let one = bar("2024-01-04");
    let (early, late, old) = (bar("2024-01-03"), bar("2024-01-06"), bar("2021-01-04"));
    let bars = "stock_bars_1_minute";
    for (name, text, kind, says) in [
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"resultsCount":1,"count":1,"queryCount":9}}"#),
            None,
            "",
        ),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"resultsCount":"1","count":null,"ticker":"AAPL"}}"#),
            None,
            "",
        ),
        (bars, format!(r#"{{"status":"OK","results":[{one},{one}],"resultsCount":2}}"#), None, ""),
        (bars, format!(r#"{{"status":"OK","results":[{one}],"resultsCount":0}}"#), None, ""),
        (bars, format!(r#"{{"status":"OK","results":[{early},{late}]}}"#), None, ""),
        (
            bars,
            r#"{"status":"OK","results":null,"next_url":"","request_id":"1","request_id":"2"}"#.to_owned(),
            None,
            "",
        ),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"resultsCount":2}}"#),
            Some(Response),
            "1 rows of the 2 that its `resultsCount` says",
        ),
        (
            bars,
            format!(r#"{{"count":3,"status":"OK","results":[{one}],"resultsCount":1}}"#),
            Some(Response),
            "1 rows of the 3 that its `count` says",
        ),
        (bars, r#"{"status":"OK","resultsCount":7}"#.to_owned(), Some(Response), "0 rows of the 7"),
        (
            "tickers",
            r#"{"status":"OK","results":[],"count":7}"#.to_owned(),
            Some(Response),
            "0 rows of the 7",
        ),
        (
            bars,
            r#"{"status":"OK","results":{}}"#.to_owned(),
            Some(Mismatch),
            "`results` is an object where rows are due",
        ),
        (
            bars,
            r#"{"results":"none","status":"OK"}"#.to_owned(),
            Some(Mismatch),
            "`results` is a text where rows are due",
        ),
        (bars, r#"{"results":0}"#.to_owned(), Some(Mismatch), "`results` is a number"),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one},[{one}]]}}"#),
            Some(Mismatch),
            "`results` holds an array where rows, which are objects, are due",
        ),
        (
            bars,
            r#"{"status":"OK","results":[12,null]}"#.to_owned(),
            Some(Mismatch),
            "`results` holds a number",
        ),
        (bars, r#"{"status":"OK","results":["x"]}"#.to_owned(), Some(Mismatch), "`results` holds a text"),
        ("market_holidays", r#"[{},null]"#.to_owned(), Some(Mismatch), "array holds null where rows"),
        (bars, r#"{"status":"OK","results":[12"#.to_owned(), Some(Response), "is cut"),
        (bars, r#"{"status":"OK","results":[tru]}"#.to_owned(), Some(Response), "cut or not JSON"),
        (bars, r#"{"status":"ERROR","results":[1]}"#.to_owned(), Some(Response), "status ERROR"),
        (bars, r#"{"status":"OK","results":false}"#.to_owned(), Some(Mismatch), "`results` is true or false"),
        (
            bars,
            r#"{"status":"ERROR","results":"none","error":"no"}"#.to_owned(),
            Some(Response),
            "status ERROR: no",
        ),
        (
            "ticker_details",
            r#"{"status":"OK","results":[{"ticker":"AAPL"}]}"#.to_owned(),
            Some(Mismatch),
            "`results` is an array where an object is due",
        ),
        (
            "ticker_details",
            r#"{"status":"OK","results":{"ticker":"MSFT"}}"#.to_owned(),
            Some(Mismatch),
            "AAPL was asked for, and the answer is of MSFT",
        ),
        ("ticker_details", r#"{"status":"OK"}"#.to_owned(), Some(Mismatch), "the answer has no `results`"),
        (
            "ticker_details",
            r#"{"status":"OK","results":null}"#.to_owned(),
            Some(Mismatch),
            "the answer has no `results`",
        ),
        ("ticker_details", r#"{"status":"OK","count":1,"results":{"ticker":"AAPL"}}"#.to_owned(), None, ""),
        (
            "market_holidays",
            r#"{"status":"OK","results":[]}"#.to_owned(),
            Some(Mismatch),
            "an object where an array of rows is due",
        ),
        (bars, r#"{"status":"OK","next_url":5}"#.to_owned(), Some(Mismatch), "`next_url` is a number"),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"next_url":{{"cursor":"x"}}}}"#),
            Some(Mismatch),
            "`next_url` is an object",
        ),
        (
            bars,
            r#"{"status":"OK","next_url":"https://h/\ud800"}"#.to_owned(),
            Some(Mismatch),
            "`next_url` holds what is no character",
        ),
        (bars, r#"{"status":200}"#.to_owned(), Some(Mismatch), "`status` is a number"),
        (
            bars,
            r#"{"status":"OK","ticker":"AAP"}"#.to_owned(),
            Some(Mismatch),
            "AAPL was asked for, and the answer is of AAP",
        ),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one},{old},{one}]}}"#),
            Some(Mismatch),
            "a row of 2021-01-04",
        ),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"results":[{one}]}}"#),
            Some(Mismatch),
            "`results` twice",
        ),
        (
            bars,
            format!(r#"{{"status":"OK","results":[{one}],"re\u0073ults":null}}"#),
            Some(Mismatch),
            "`results` twice",
        ),
        (
            bars,
            r#"{"status":"ERROR","error":"x","status":"OK"}"#.to_owned(),
            Some(Mismatch),
            "`status` twice",
        ),
        (
            bars,
            r#"{"status":"OK","next_url":"","next_url":"https://h/a"}"#.to_owned(),
            Some(Mismatch),
            "`next_url` twice",
        ),
        (bars, r#"{"status":"OK","count":0,"count":5}"#.to_owned(), Some(Mismatch), "`count` twice"),
        (
            "splits",
            r#"{"status":"OK","results":[{"execution_date":"2024-01-03"},{"execution_date":"2024-01-04"}]}"#
                .to_owned(),
            Some(Mismatch),
            "a row of 2024-01-03",
        ),
        (
            "splits",
            r#"{"status":"OK","results":[{"execution_date":"2024-01-04"}],"ticker":"AAPL"}"#.to_owned(),
            None,
            "",
        ),
    ] {
        let (got, message) = told(name, &text);
        assert_eq!(got, kind, "{text}: {message}");
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn a_page_is_full_by_its_rows_or_by_the_bars_that_they_are_made_of() {
    let is_full = |name: &str, text: &str| {
        let mut reader = reader(name);
        reader.begin();
        reader.take(text.as_bytes()).unwrap();
        reader.end().unwrap().is_full
    };
    let rows = |count: usize| {
        let rows: Vec<String> = (0..count).map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
        format!(r#"{{"status":"OK","results":[{}]}}"#, rows.join(","))
    };
    assert!(is_full("news", &rows(1000)) && !is_full("news", &rows(999)));
    assert!(!is_full("exchanges", &rows(1000)), "it has no limit");
    let bars = |base: u32| format!(r#"{{"status":"OK","queryCount":{base},"results":[{{"o":1}}]}}"#);
    assert!(is_full("stock_bars_1_minute", &bars(50_000)) && !is_full("stock_bars_1_minute", &bars(49_999)));
}

proptest! {
    /// Whatever the counts say: fewer rows than that is no answer, and no other is refused.
    #[test]
    fn counts_are_kept(rows in 0_usize..20, told in prop::option::of(0_u64..20), count in prop::option::of(0_u64..20)) {
        let list: Vec<String> = (0..rows).map(|at| format!(r#"{{"o":{at}}}"#)).collect();
        let member = |name: &str, value: Option<u64>| value.map_or(String::new(), |value| format!(r#","{name}":{value}"#));
        let text = format!(
            r#"{{"status":"OK","results":[{}]{}{}}}"#,
            list.join(","), member("resultsCount", told), member("count", count)
        );
        let most = told.max(count).unwrap_or(0);
        let outcome = read(&mut reader("stock_bars_1_minute"), text.as_bytes(), &[]);
        prop_assert_eq!(outcome.is_err(), most > rows as u64, "{}", text);
    }
}

#[test]
fn a_row_whose_key_is_not_what_it_always_was_is_marked() {
    let page = |time: &str| format!(r#"{{"status":"OK","results":[{{"t":2,"o":1}},{{{time}"o":1}}]}}"#);
    let mut reader = reader("stock_bars_1_minute");
    for (text, lack) in [
        ("\"t\":1,", None),
        ("\"t\":\"soon\",", Some(Lack::Misfit)),
        ("\"t\":null,", Some(Lack::Absent)),
        ("", Some(Lack::Absent)),
        ("\"t\":1,", None),
    ] {
        reader.begin();
        reader.take(page(text).as_bytes()).unwrap();
        let rows = reader.end().unwrap().rows;
        let found: Vec<_> = rows.keyless().iter().map(|keyless| (keyless.row, keyless.lack)).collect();
        assert_eq!(found, lack.map(|lack| (1, lack)).into_iter().collect::<Vec<_>>(), "{text}");
        assert_eq!(rows.len(), 2, "{text}");
    }
}

/// The whole market's day says by its rows' times which day it is of, and by nothing else.
#[test]
fn a_day_that_was_not_asked_for_is_none() {
    let millis = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let told = |day: &str, times: &[&str]| {
        let row = |time: &&str| match time.parse::<jiff::Timestamp>() {
            Ok(_) => format!(r#"{{"T":"A","t":{}}}"#, millis(time)),
            Err(_) => format!(r#"{{"T":"A","t":{time}}}"#),
        };
        let rows: Vec<String> = times.iter().map(row).collect();
        let text = format!(r#"{{"status":"OK","results":[{}]}}"#, rows.join(","));
        let asked = Asked { ticker: None, days: Some(Days::Of(day.parse().unwrap())) };
        read(&mut reader_of("stock_daily_bars", asked), text.as_bytes(), &[]).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
            error.to_string()
        })
    };
    for (day, times) in [
        // 16:00 in New York in summer and winter, 13:00 on a half day, the day's first and last moment.
        ("2020-10-14", &["2020-10-14T20:00:00Z"][..]),
        ("2024-01-05", &["2024-01-05T21:00:00Z", "2024-01-05T21:00:00Z"]),
        ("2024-07-03", &["2024-07-03T17:00:00Z"]),
        ("2024-01-05", &["2024-01-05T05:00:00Z", "2024-01-06T04:59:59.999Z"]),
        // Who says no time contradicts nobody.
        ("2024-01-05", &["null"]),
        ("2024-01-05", &[]),
    ] {
        told(day, times).unwrap();
    }
    for (day, times, says) in [
        ("2024-01-05", &["2024-01-04T21:00:00Z"][..], "a row of 2024-01-04, and 2024-01-05 was asked for"),
        ("2024-01-05", &["2024-01-08T21:00:00Z"], "a row of 2024-01-08, and 2024-01-05 was asked for"),
        ("2024-01-05", &["2024-01-05T04:59:59.999Z"], "a row of 2024-01-04"),
        ("2024-01-05", &["2024-01-06T05:00:00Z"], "a row of 2024-01-06"),
        ("2024-01-05", &["2024-01-05T21:00:00Z", "2024-01-06T21:00:00Z", "null"], "a row of 2024-01-06"),
        // Written as hardly anybody does.
        ("2024-01-05", &["17044020e+0005"], "a row of 2024-01-04"),
    ] {
        let error = told(day, times).unwrap_err();
        assert!(error.contains(says), "{times:?}: {error}");
    }
}

/// As in a record of a destination: what is no UTF-8 is mended where it is, and noted.
#[test]
fn bytes_that_are_not_utf_8_are_mended_in_their_row_alone() {
    let text: &[u8] = b"{\"status\":\"OK\",\"note\":\"\xff\",\"results\":[\
        {\"id\":\"1\",\"title\":\"\xc3\xa9 \xf0\x9f\x98\x80\",\"published_utc\":\"2024-01-04T10:00:00Z\"},\
        {\"id\":\"2\",\"title\":\"a\xffb\",\"tickers\":[\"\xc3\"],\"new\":\"\xf0\x9f\",\"published_utc\":\"2024-01-04T10:00:00Z\"},\
        {\"id\":\"3\xff\",\"title\":\"c\"},{\"id\":\"4\",\"title\":\"\xc3\xa9\"}]}";
    let stream = stream("news");
    let every: Vec<usize> = (0..text.len()).collect();
    for cuts in [&[][..], &[text.len() / 2], &every] {
        let mut reader = reader_of("news", asked());
        reader.begin();
        let mut start = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            reader.take(&text[start..cut]).unwrap();
            start = cut;
        }
        let rows = reader.end().unwrap().rows;
        let found: Vec<String> = rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect();
        let time = r#""published_utc":"2024-01-04T10:00:00Z""#;
        assert_eq!(
            found,
            [
                format!(r#"{{"id":"1","title":"é 😀",{time}}}"#),
                format!(
                    "{{\"id\":\"2\",\"title\":\"a\u{fffd}b\",\"tickers\":[\"\u{fffd}\"],{time},\"additional_properties\":{{\"new\":\"\u{fffd}\"}}}}"
                ),
                "{\"id\":\"3\u{fffd}\",\"title\":\"c\"}".to_owned(),
                r#"{"id":"4","title":"é"}"#.to_owned(),
            ]
        );
        let noted: Vec<(usize, &str)> = rows
            .changes()
            .iter()
            .inspect(|change| assert_eq!(change.cause, Cause::Mended))
            .map(|change| (change.row, stream.table.columns[change.column].name.as_str()))
            .collect();
        assert_eq!(noted, [(1, "title"), (1, "tickers"), (1, "additional_properties"), (2, "id")]);
        let keyless: Vec<_> = rows.keyless().iter().map(|keyless| (keyless.row, keyless.lack)).collect();
        assert_eq!(keyless, [(2, Lack::Mended)], "two keys that were not the same may be now");
    }
}

/// Rows beside bytes that are not UTF-8 are of days as any others.
#[test]
fn a_mended_answer_is_judged_as_any_other() {
    for (text, says) in [
        (&b"{\"status\":\"OK\",\"results\":[{\"id\":\"\xff\",\"published_utc\":\"2021-01-04T10:00:00Z\"}]}"[..], "a row of 2021-01-04"),
        (b"{\"status\":\"OK\",\"next_url\":\"https://h/v2/reference/news?cursor=\xff\"}", "`next_url` holds what is no character"),
        (b"{\"status\":\"OK\",\"ticker\":\"AAPL\xff\"}", "AAPL was asked for"),
    ] {
        let error = read(&mut reader_of("news", asked()), text, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
