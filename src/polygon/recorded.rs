//! The answers that the vendor recorded for its own client's tests, read the way a
//! slice reads them. They are beside the repository (`TAPELINE_SHARED`) and not in
//! it; where they are not, `build.rs` has these tests ignored.

use super::rows::transcoder;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use reqwest::StatusCode;
use serde_json::{Map, Value};

use super::client::{Intake, failure};
use super::continuation::Trail;
use super::page::{Answer, Asked, Days, PageReader};
use crate::calendar;
use crate::catalog::{Derived, Field, Partition, RowsAt, Stream, streams};
use crate::error::{ErrorKind, Result};
use crate::table::{EXTRA_COLUMN, Kind, TimeUnit};

/// A recorded answer of one of our streams.
struct Recorded {
    file: &'static str,
    stream: &'static str,
    rows: usize,
    /// Fields that the catalogue does not know, because the recording is older.
    unknown: &'static [&'static str],
}

const fn recorded(file: &'static str, stream: &'static str, rows: usize) -> Recorded {
    Recorded { file, stream, rows, unknown: &[] }
}

/// `/v3/reference/splits` and `dividends` are what `/stocks/v1` has replaced: their rows
/// have no `id`.
const OURS: &[Recorded] = &[
    recorded("v1/marketstatus/upcoming.json", "market_holidays", 14),
    recorded("v2/aggs/grouped/locale/us/market/stocks/2005-04-04&adjusted=true.json", "stock_daily_bars", 1),
    recorded("v2/aggs/ticker/AAPL/range/1/day/2005-04-01/2005-04-04.json", "stock_bars_1_day", 2),
    recorded("v2/aggs/ticker/AAPL/range/1/day/2005-04-02/2005-04-04.json", "stock_bars_1_day", 2),
    Recorded { unknown: &["dividend_type"], ..recorded("v3/reference/dividends.json", "dividends", 10) },
    recorded("v3/reference/exchanges.json", "exchanges", 24),
    recorded("v3/reference/splits.json", "splits", 10),
    recorded(
        "v3/reference/tickers&cursor=YWN0aXZlPXRydWUmZGF0ZT0yMDIyLTA0LTI3JmxpbWl0PTImb3JkZXI9YXNjJnBhZ2VfbWFya2VyPUFBJTdDZjEyMmJjYmY4YWQwNzRmZmJlMTZmNjkxOWQ0ZDc3NjZlMzA3MWNmNmU1Nzg3OGE0OGU1NjQ1YzQyM2U3NzJhOSZzb3J0PXRpY2tlcg.json",
        "tickers",
        2,
    ),
    recorded("v3/reference/tickers.json", "tickers", 2),
    recorded("v3/reference/tickers/AAPL&date=2020-10-01.json", "ticker_details", 1),
    recorded("v3/reference/tickers/AAPL.json", "ticker_details", 1),
    recorded("v3/trades/AAPL&limit=2.json", "stock_trades", 2),
];

/// A recording of one of our streams that was shortened by hand: it says that it has 10
/// rows, and has the first.
const SHORTENED: (&str, &str) = ("v2/reference/news&ticker=NFLX.json", "news");

/// Recordings of endpoints that no stream reads: what the file or folder begins with.
const OTHERS: &[&str] = &[
    "v1/conversion/",
    "v1/indicators/",
    "v1/last/",
    "v1/last_quote/",
    "v1/marketstatus/now.json",
    "v1/open-close/",
    "v1/summaries&",
    "v2/aggs/ticker/AAPL/prev.json",
    "v2/last/",
    "v2/snapshot/",
    "v3/quotes/",
    "v3/reference/conditions&",
    "v3/reference/options/",
    "v3/reference/tickers/types.json",
    "v3/snapshot",
    "vX/reference/financials.json",
    "vX/reference/tickers/",
];

fn shared() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("TAPELINE_SHARED").map_or_else(beside, PathBuf::from)
}

fn folder() -> PathBuf {
    shared().join("polygon/recorded/client-python")
}

fn body(file: &str) -> Vec<u8> {
    fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every recording, by its path in the folder.
fn files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

fn stream(name: &str) -> Stream {
    let streams = streams(&["1day".parse().unwrap()]);
    streams.into_iter().find(|stream| stream.name == name).unwrap_or_else(|| panic!("no stream {name}"))
}

/// What a request for the recording would have known.
fn constants(stream: &Stream) -> Vec<(&'static str, &'static str)> {
    let constant = |derived: &Derived| match derived {
        Derived::Ticker => ("ticker", "AAPL"),
        Derived::Date => ("date", "2005-04-04"),
    };
    stream.spec.derived.iter().map(constant).collect()
}

/// What the request for the recording asked for. The whole market's day of 2005 is
/// recorded with a row of 2020: it was put together by hand, and is judged by its row.
fn asked(stream: &Stream) -> Asked {
    let day = match stream.name.as_str() {
        "stock_daily_bars" => date(2020, 10, 14),
        "stock_bars_1_day" => date(2005, 4, 4),
        "stock_trades" => date(2022, 4, 28),
        _ => return Asked::default(),
    };
    let midnight = |day: Date| calendar::day_start(day).as_second();
    let is_of_one_day = stream.spec.derived.contains(&Derived::Date);
    let ticker = stream.spec.partition == Partition::Ticker;
    // The vendor begins with the Friday when it is asked from Saturday on.
    let from = day.saturating_sub(jiff::Span::new().days(3));
    Asked {
        ticker: ticker.then(|| "AAPL".to_owned()),
        days: Some(if is_of_one_day {
            Days::Of(day)
        } else {
            Days::Within(midnight(from)..=midnight(day.tomorrow().unwrap()))
        }),
    }
}

fn read(stream: &Stream, body: &[u8]) -> Result<Answer> {
    let transcoder = transcoder(stream.spec, &stream.table, &constants(stream));
    let mut reader = PageReader::new(stream.spec, transcoder, asked(stream));
    reader.begin();
    reader.take(body)?;
    reader.end()
}

/// The rows as another JSON reader finds them.
fn raw_rows(stream: &Stream, raw: &Value) -> Vec<Map<String, Value>> {
    let object = |value: &Value| value.as_object().expect("a row is an object").clone();
    match stream.spec.rows_at {
        RowsAt::Root => raw.as_array().unwrap().iter().map(object).collect(),
        RowsAt::Results => raw["results"].as_array().unwrap().iter().map(object).collect(),
        RowsAt::ResultsObject => vec![object(&raw["results"])],
    }
}

#[test]
#[cfg_attr(not(recorded_answers), ignore = "the vendor's recorded answers are not at TAPELINE_SHARED")]
fn every_recording_is_of_a_stream_or_known_not_to_be() {
    let ours = OURS.iter().map(|recorded| recorded.file).chain([SHORTENED.0]);
    let ours: BTreeSet<String> = ours.map(str::to_owned).collect();
    let (mapped, rest): (BTreeSet<_>, BTreeSet<_>) =
        files().into_iter().partition(|file| ours.contains(file));
    assert_eq!(mapped, ours, "recordings that are gone");
    let is_other = |file: &&String| OTHERS.iter().any(|other| file.starts_with(other));
    let unmapped: Vec<_> = rest.iter().filter(|file| !is_other(file)).collect();
    assert!(unmapped.is_empty(), "neither in OURS nor in OTHERS: {unmapped:#?}");
    for other in OTHERS {
        assert!(rest.iter().any(|file| file.starts_with(other)), "nothing begins with {other}");
    }
    let covered: BTreeSet<_> = OURS.iter().map(|recorded| recorded.stream).chain([SHORTENED.1]).collect();
    let all: BTreeSet<_> =
        streams(&["1day".parse().unwrap()]).into_iter().map(|stream| stream.name).collect();
    assert!(all.iter().all(|name| covered.contains(name.as_str())), "{all:?} by {covered:?}");
}

#[test]
#[cfg_attr(not(recorded_answers), ignore = "the vendor's recorded answers are not at TAPELINE_SHARED")]
fn every_value_of_our_streams_arrives() {
    for recorded in OURS {
        let stream = stream(recorded.stream);
        let body = body(recorded.file);
        let raw: Value = serde_json::from_slice(&body).unwrap();
        let answer =
            read(&stream, &body).unwrap_or_else(|error| panic!("{}: {}", recorded.file, error.report()));
        let raw_rows = raw_rows(&stream, &raw);
        assert_eq!((answer.rows.len(), raw_rows.len()), (recorded.rows, recorded.rows), "{}", recorded.file);
        assert_eq!(answer.repeated, 0, "{}", recorded.file);
        assert!(answer.rows.changes().is_empty(), "{}: a value fits no column", recorded.file);
        let is_replaced = ["dividends", "splits"].contains(&recorded.stream);
        let keyless = if is_replaced { recorded.rows } else { 0 };
        assert_eq!(answer.rows.keyless().len(), keyless, "{}: rows without a key", recorded.file);
        assert_eq!(answer.next_url.as_deref(), raw["next_url"].as_str(), "{}", recorded.file);
        if let Some(next_url) = &answer.next_url {
            let first = format!("/{}", recorded.file.split(['&', '.']).next().unwrap());
            let following = Trail::new(stream.spec, &first).follow(next_url).unwrap();
            assert!(next_url.ends_with(&following), "{next_url}");
        }
        let mut unknown = BTreeSet::new();
        for (row, raw) in answer.rows.iter().zip(&raw_rows) {
            let row: Map<String, Value> = serde_json::from_slice(row).unwrap();
            assert_row(&stream, row, raw, &mut unknown, recorded.file);
        }
        assert_eq!(
            unknown,
            recorded.unknown.iter().map(|name| (*name).to_owned()).collect(),
            "{}",
            recorded.file
        );
    }
}

#[test]
#[cfg_attr(not(recorded_answers), ignore = "the vendor's recorded answers are not at TAPELINE_SHARED")]
fn a_recording_with_fewer_rows_than_it_says_is_refused_and_read_when_it_says_them() {
    let (file, name) = SHORTENED;
    let stream = stream(name);
    let text = String::from_utf8(body(file)).unwrap();
    let error = read(&stream, text.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("1 rows of the 10 that its `count` says"), "{error}");
    let raw: Value = serde_json::from_str(&text).unwrap();
    let mended = text.replace("\"count\": 10", "\"count\": 1");
    let answer = read(&stream, mended.as_bytes()).unwrap();
    assert_eq!(answer.rows.len(), 1);
    let row: Map<String, Value> = serde_json::from_slice(answer.rows.iter().next().unwrap()).unwrap();
    let mut unknown = BTreeSet::new();
    assert_row(&stream, row, raw["results"][0].as_object().unwrap(), &mut unknown, file);
    assert!(unknown.is_empty());
}

/// Compares a row with what was sent; nothing may be left over on either side.
fn assert_row(
    stream: &Stream,
    mut row: Map<String, Value>,
    raw: &Map<String, Value>,
    unknown: &mut BTreeSet<String>,
    file: &str,
) {
    for (name, value) in constants(stream) {
        assert_eq!(row.remove(name), Some(value.into()), "{file}: {name}");
    }
    let mut extra = row.remove(EXTRA_COLUMN).unwrap_or_default();
    for (source, sent) in raw {
        match stream.spec.fields.iter().find(|field| field.source == source) {
            Some(_) if sent.is_null() => {}
            Some(field) => assert_value(field, &mut row, sent, file),
            None => {
                unknown.insert(source.clone());
                assert_eq!(
                    extra.as_object_mut().unwrap().remove(source).as_ref(),
                    Some(sent),
                    "{file}: {source}"
                );
            }
        }
    }
    assert!(row.is_empty() && extra.as_object().is_none_or(Map::is_empty), "{file}: more than sent: {row:?}");
}

/// The column holds the value that was sent; it is taken out of the row.
fn assert_value(field: &Field, row: &mut Map<String, Value>, sent: &Value, file: &str) {
    let place = || format!("{file}: {} of {sent}", field.name);
    let got = row.remove(field.name).unwrap_or_else(|| panic!("{}: is null", place()));
    let moment = |got: &Value| got.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match field.kind {
        Kind::Text | Kind::Boolean | Kind::Date | Kind::Json => assert_eq!(&got, sent, "{}", place()),
        // 1748755.0 may be 1748755, never another number.
        Kind::Decimal(_) | Kind::Integer => assert_eq!(got.as_f64(), sent.as_f64(), "{}", place()),
        Kind::Time(TimeUnit::Rfc3339 | TimeUnit::Iso8601) => {
            assert_eq!(moment(&got), moment(sent), "{}", place())
        }
        Kind::Time(TimeUnit::Millis) => {
            assert_eq!(moment(&got).map(Timestamp::as_millisecond), sent.as_i64(), "{}", place());
        }
        Kind::Time(TimeUnit::Nanos) => {
            assert_eq!(row.remove(&format!("{}_ns", field.name)).as_ref(), Some(sent), "{}", place());
            assert_eq!(
                moment(&got).map(Timestamp::as_nanosecond),
                sent.as_i64().map(i128::from),
                "{}",
                place()
            );
        }
    }
}

/// Half an answer is never taken for a whole one, wherever it ends.
#[test]
#[cfg_attr(not(recorded_answers), ignore = "the vendor's recorded answers are not at TAPELINE_SHARED")]
fn a_recording_that_is_cut_anywhere_is_refused() {
    for recorded in OURS {
        let stream = stream(recorded.stream);
        let whole = body(recorded.file);
        let length = whole.trim_ascii_end().len();
        for end in 0..length {
            let outcome = read(&stream, &whole[..end]);
            let kind = outcome.err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::Response), "{} cut after {end} of {length}", recorded.file);
        }
    }
}

/// No error was recorded as a file; the vendor's bodies are collected in API.md, a
/// line each: the status, the body.
#[test]
#[cfg_attr(not(recorded_answers), ignore = "the vendor's recorded answers are not at TAPELINE_SHARED")]
fn every_collected_error_body_has_its_kind() {
    let text = fs::read_to_string(shared().join("polygon/API.md")).unwrap();
    let expected = [
        (401, "Unknown API Key", ErrorKind::Credentials),
        (403, "You are not entitled", ErrorKind::NotEntitled),
        (404, "Ticker not found", ErrorKind::NotFound),
        (429, "maximum requests per minute", ErrorKind::RateLimited),
        (400, "cannot be a time that occurs before", ErrorKind::Refused),
        (504, "<html>", ErrorKind::Unavailable),
    ];
    let mut found = Vec::new();
    for (status, body) in text.lines().filter_map(error_body) {
        let kind = failure(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None).kind();
        let Some((.., expected)) =
            expected.iter().find(|(code, piece, _)| *code == status && body.contains(piece))
        else {
            panic!("no kind is expected for {status} {body}");
        };
        assert_eq!(kind, *expected, "{status} {body}");
        found.push(status);
    }
    assert_eq!(found, expected.map(|(status, ..)| status));
}

/// `401 {"status":…}` or `504 <html>…`, with what the line says after it left out.
fn error_body(line: &str) -> Option<(u16, &str)> {
    let (status, rest) = line.split_once(' ')?;
    let status = status.parse().ok().filter(|status| (400..600).contains(status))?;
    match rest.as_bytes().first()? {
        b'{' => {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            values.next()?.ok()?;
            Some((status, &rest[..values.byte_offset()]))
        }
        b'<' => Some((status, rest)),
        _ => None,
    }
}
