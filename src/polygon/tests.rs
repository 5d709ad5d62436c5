//! The source against the simulator, whose answers are not what they should be.

use jiff::civil::date;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::catalog::streams;
use crate::checkpoint::{Cover, Span};
use crate::clock::Clock;
use crate::observe::Silent;
use crate::simulator::{self, Config, Running, parse_faults};
use crate::source::{Ahead, Pages};

/// As in the simulator's default.
const NOW: &str = "2024-06-28T21:00:00Z";

async fn market(faults: &str) -> Running {
    simulator::serve(Config { faults: parse_faults(faults).unwrap(), ..Config::default() }).await.unwrap()
}

fn fault(kind: &str, path: &str) -> String {
    format!("- match: {{path_prefix: {path}}}\n  fault: {{type: {kind}}}\n")
}

fn config(url: &str, tickers: &[&str]) -> SourceConfig {
    let config = json!({
        "api_key": "key-of-no-one", "base_url": url, "plan": {"type": "custom", "requests_per_minute": 6_000_000},
        "start_date": "2024-06-24", "tickers": tickers, "bar_sizes": ["1minute"],
    });
    SourceConfig::from_json(config, Clock::Fixed(NOW.parse().unwrap())).unwrap()
}

fn source(url: &str, tickers: &[&str]) -> PolygonSource {
    source_at(url, tickers, Clock::Fixed(NOW.parse().unwrap()), Arc::new(Silent))
}

fn source_at(url: &str, tickers: &[&str], clock: Clock, observer: Arc<dyn Observer>) -> PolygonSource {
    PolygonSource::new(config(url, tickers), clock, observer).unwrap()
}

fn stream(name: &str) -> Stream {
    streams(&["1minute".parse().unwrap()]).into_iter().find(|stream| stream.name == name).unwrap()
}

fn blank(source: &PolygonSource, stream: &Stream) -> Checkpoint {
    Checkpoint::new(source.options(&stream.name))
}

/// The rows of the first slice.
async fn read(source: &PolygonSource, name: &str) -> Result<Vec<Value>> {
    let stream = stream(name);
    let mut plan = source.open(&stream.name, &blank(source, &stream), Reading::Mutable).await?;
    let (pages, mut receiver) = Pages::channel(&Arc::<Ahead>::default().lane(), 0);
    plan.next(&HashSet::new()).await?.expect("a slice").read(&pages).await?;
    drop(pages);
    let mut rows = Vec::new();
    while let Some((page, _room)) = receiver.next().await {
        rows.extend(page.rows.iter().map(|row| serde_json::from_slice(row).unwrap()));
    }
    Ok(rows)
}

/// Requests that are made for an answer that is wrong each time: a few, not nine.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_something_else_is_asked_for_three_times() {
    for (kind, stream, path, says) in [
        (
            "results_object",
            "stock_bars_1_minute",
            "/v2/aggs/ticker",
            "`results` is an object where rows are due",
        ),
        ("results_text", "stock_trades", "/v3/trades", "`results` is a text"),
        ("results_number", "splits", "/stocks/v1/splits", "`results` is a number"),
        (
            "results_numbers",
            "news",
            "/v2/reference/news",
            "`results` holds a number where rows, which are objects, are due",
        ),
        ("no_results", "ticker_details", "/v3/reference/tickers", "the answer has no `results`"),
        ("results_twice", "news", "/v2/reference/news", "`results` twice"),
        ("second_status", "stock_daily_bars", "/v2/aggs/grouped", "`status` twice"),
        ("next_url_number", "tickers", "/v3/reference/tickers", "`next_url` is a number"),
        ("next_url_object", "stock_bars_1_minute", "/v2/aggs/ticker", "`next_url` is an object"),
        ("next_url_text", "dividends", "/stocks/v1/dividends", "`next_url` is not a URL"),
        (
            "next_url_elsewhere",
            "stock_trades",
            "/v3/trades",
            "`next_url` leads to /v3/quotes/AAPL, and /v3/trades/AAPL was asked for",
        ),
        ("cursor_loop", "splits", "/stocks/v1/splits", "`next_url` leads back to a page that was read"),
        (
            "foreign_encoding",
            "exchanges",
            "/v3/reference/exchanges",
            "is packed as br, and gzip was asked for",
        ),
        (
            "other_ticker",
            "stock_bars_1_minute",
            "/v2/aggs/ticker",
            "AAPL was asked for, and the answer is of ZZZZZ",
        ),
        ("other_ticker", "ticker_details", "/v3/reference/tickers", "the answer is of ZZZZZ"),
        (
            "other_days",
            "stock_bars_1_minute",
            "/v2/aggs/ticker",
            "a row of 2001-09-09, far outside of the days asked for",
        ),
        (
            "other_days",
            "stock_daily_bars",
            "/v2/aggs/grouped",
            "a row of 2001-09-08, and 2024-06-24 was asked for",
        ),
        (
            "day_before",
            "stock_daily_bars",
            "/v2/aggs/grouped",
            "a row of 2024-06-23, and 2024-06-24 was asked for",
        ),
        ("other_days", "stock_trades", "/v3/trades", "a row of 2001-09-09"),
        ("other_days", "news", "/v2/reference/news", "a row of 2001-09-09"),
        ("other_days", "dividends", "/stocks/v1/dividends", "a row of 2001-09-0"),
    ] {
        let market = market(&fault(kind, path)).await;
        let error = read(&source(&market.url(), &["AAPL"]), stream).await.unwrap_err();
        assert!(error.to_string().contains(says), "{kind} {stream}: {error}");
        let of_ticker = ["stock_bars_1_minute", "stock_trades", "ticker_details"].contains(&stream);
        let kinds = (error.kind(), error.stream());
        let expected = if of_ticker { ErrorKind::Mismatch } else { ErrorKind::Response };
        assert_eq!(kinds, (expected, Some(stream)), "{kind}: {error}");
        assert_eq!(market.requests(), 3, "{kind} {stream}");
        market.shutdown().await;
    }
}

/// Bars that are longer than the calendar begin with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_bars_are_read() {
    let market = market("").await;
    let mut config = config(&market.url(), &["AAPL"]);
    config.bar_sizes = vec!["9999year".parse().unwrap()];
    let source =
        PolygonSource::new(config.clone(), Clock::Fixed(NOW.parse().unwrap()), Arc::new(Silent)).unwrap();
    let stream = streams(&config.bar_sizes).into_iter().find(|stream| stream.size.is_some()).unwrap();
    let mut plan = source.open(&stream.name, &blank(&source, &stream), Reading::Mutable).await.unwrap();
    let (pages, _receiver) = Pages::channel(&Arc::<Ahead>::default().lane(), 0);
    plan.next(&HashSet::new()).await.unwrap().expect("a slice").read(&pages).await.unwrap();
}

/// Tries that failed for another reason do not count as those of a wrong answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_after_failures_that_pass_is_tried_again() {
    let market = market(
        "- match: {nth: [1, 2, 4]}\n  fault: {type: server_error}\n\
         - match: {nth: [3, 5]}\n  fault: {type: other_ticker}\n",
    )
    .await;
    assert_eq!(read(&source(&market.url(), &["AAPL"]), "ticker_details").await.unwrap().len(), 1);
    assert_eq!(market.requests(), 6);
}

/// What may be an answer that was cut is tried again, and whole the next time.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_missing_are_asked_for_again() {
    for (stream, path) in [("stock_bars_1_minute", "/v2/aggs/ticker"), ("tickers", "/v3/reference/tickers")] {
        let whole = market("").await;
        let rows = read(&source(&whole.url(), &["AAPL"]), stream).await.unwrap();
        let fewer = format!("- match: {{path_prefix: {path}, nth: [1, 2]}}\n  fault: {{type: fewer_rows}}\n");
        let market = market(&fewer).await;
        assert_eq!(read(&source(&market.url(), &["AAPL"]), stream).await.unwrap(), rows, "{stream}");
        assert_eq!(market.requests(), whole.requests() + 2);
    }
}

/// The simulator has two gzip members in each answer here, and leaves out dates.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_two_members_is_one() {
    let whole = market("").await;
    let rows = read(&source(&whole.url(), &["AAPL"]), "stock_trades").await.unwrap();
    for kind in ["two_members", "no_date"] {
        let market = market(&fault(kind, "/v")).await;
        assert_eq!(read(&source(&market.url(), &["AAPL"]), "stock_trades").await.unwrap(), rows, "{kind}");
        assert_eq!(market.requests(), 1);
    }
}

/// Whoever is asked whether a ticker exists may be wrong as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_may_read_is_judged_by_answers_to_what_was_asked() {
    let whole = market("").await;
    source(&whole.url(), &["AAPL"]).probe().await.unwrap();
    // Status ERROR with HTTP 200 is no answer, and passes here.
    for path in ["/v1/marketstatus", "/v3/reference/tickers/AAPL", "/v2/aggs/ticker", "/v3/trades"] {
        let twice =
            format!("- match: {{path_prefix: {path}, in_a_row: 2}}\n  fault: {{type: status_error}}\n");
        let market = market(&twice).await;
        source(&market.url(), &["AAPL"]).probe().await.unwrap();
        assert_eq!(market.requests(), whole.requests() + 2, "{path}");
    }
    for path in ["/v3/reference/tickers/AAPL", "/v2/aggs/ticker"] {
        let market = market(&fault("other_ticker", path)).await;
        let error = source(&market.url(), &["AAPL"]).probe().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{path}: {error}");
        assert!(error.to_string().contains("AAPL was asked for, and the answer is of ZZZZZ"), "{error}");
    }
}

/// The list of tickers is asked for one that has no details, and is one of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_other_tickers_says_nothing_of_one() {
    let listed = async |row: &'static str| {
        let url = answering(move |path| match path.starts_with("/v3/reference/tickers/") {
            true => r#"{"status":"NOT_FOUND","message":"Ticker not found."}"#.to_owned(),
            false => format!(r#"{{"status":"OK","count":1,"results":[{row}]}}"#),
        })
        .await;
        super::probe::ticker_exists(&source(&url, &[]).client, "FB").await
    };
    listed(r#"{"ticker":"FB","delisted_utc":"2022-06-08T00:00:00Z"}"#).await.unwrap();
    for (row, says) in [
        (r#"{"ticker":"META","active":true}"#, "FB was asked for, and the answer is of META"),
        (r#"{"active":true}"#, "FB was asked for, and the answer is of no ticker"),
    ] {
        let error = listed(row).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A server that answers a request's path and query with what `answer` says.
async fn answering(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") && stream.read_line(&mut request).await.unwrap() > 0 {}
            let body = answer(request.split(' ').nth(1).unwrap());
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    url
}

fn articles(ids: std::ops::Range<usize>) -> String {
    let rows: Vec<String> = ids
        .map(|id| {
            format!(
                r#"{{"id":"{id}","published_utc":"2024-06-24T{:02}:{:02}:{:02}Z"}}"#,
                10 + id / 3600,
                id / 60 % 60,
                id % 60
            )
        })
        .collect();
    format!(r#"{{"status":"OK","count":{},"results":[{}]}}"#, rows.len(), rows.join(","))
}

/// Whether a full page that names no next one is the last is asked from its last row on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_page_is_the_end_only_when_nothing_follows_it() {
    let resumed = "published_utc.gte=2024-06-24T10%3A16%3A39Z";
    let news = async |then: fn() -> String| {
        let url =
            answering(move |path| if path.contains(resumed) { then() } else { articles(0..1_000) }).await;
        read(&source(&url, &[]), "news").await.map(|rows| rows.len())
    };
    assert_eq!(news(|| articles(999..1_000)).await.unwrap(), 1_000, "by chance it was full");
    assert_eq!(news(|| articles(999..1_234)).await.unwrap(), 1_234, "its next_url was lost");
    for (what, then) in [
        ("the same page, whatever is asked", (|| articles(0..1_000)) as fn() -> String),
        ("nothing, not even the row that was asked for", || articles(0..0)),
        ("other rows", || articles(1_000..1_100)),
    ] {
        let error = news(then).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Response, "{what}");
        assert!(error.to_string().contains("full with its 1000 rows, names no next page"), "{what}: {error}");
    }
}

/// Every page but the last is full, and loses its address.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_lose_their_next_url_are_found() {
    let config = || Config { tickers: 2_600, ..Config::default() };
    let whole = simulator::serve(config()).await.unwrap();
    let rows = read(&source(&whole.url(), &[]), "tickers").await.unwrap();
    assert!(rows.len() > 2_000, "{}", rows.len());
    let faults = parse_faults(&fault("missing_next_url", "/v3/reference/tickers")).unwrap();
    let market = simulator::serve(Config { faults, ..config() }).await.unwrap();
    assert_eq!(read(&source(&market.url(), &[]), "tickers").await.unwrap(), rows);
    assert_eq!(market.requests(), whole.requests());
}

/// A row of one of many tickers that the API refuses is that ticker's; when it refuses
/// them all it is not theirs.
#[tokio::test(flavor = "multi_thread")]
async fn many_tickers_that_are_refused_are_no_matter_of_theirs() {
    let market = market(&fault("results_text", "/v2/aggs/ticker")).await;
    let names: Vec<String> = (0..25).map(|number| format!("T{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let source = source(&market.url(), &names);
    let stream = stream("stock_bars_1_minute");
    let mut plan = source.open(&stream.name, &blank(&source, &stream), Reading::Mutable).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..21 {
        let slice = plan.next(&HashSet::new()).await.unwrap().expect("a slice");
        let (pages, _receiver) = Pages::channel(&Arc::<Ahead>::default().lane(), 0);
        kinds.push(slice.read(&pages).await.unwrap_err().kind());
    }
    assert!(kinds[..19].iter().all(|kind| *kind == ErrorKind::Mismatch), "{kinds:?}");
    assert!(kinds[19..].iter().all(|kind| *kind == ErrorKind::Response), "{kinds:?}");
}

/// Answers that may get better take their time to be tried: fewer of them, all at once here,
/// say that it is not the ticker.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticker_whose_answers_do_not_get_better_fails_alone() {
    let kinds = async |name: &str| {
        let market = market(&fault(name, "/v2/aggs/ticker")).await;
        let source = source(&market.url(), &["AAPL", "MSFT", "NVDA", "AMZN"]);
        let stream = stream("stock_bars_1_minute");
        let mut plan = source.open(&stream.name, &blank(&source, &stream), Reading::Mutable).await.unwrap();
        let mut slices = Vec::new();
        for _ in 0..4 {
            slices.push(plan.next(&HashSet::new()).await.unwrap().expect("a slice"));
        }
        let read = async |slice: Box<dyn Slice>| {
            let (pages, _receiver) = Pages::channel(&Arc::<Ahead>::default().lane(), 0);
            slice.read(&pages).await.unwrap_err().kind()
        };
        futures::future::join_all(slices.into_iter().map(read)).await
    };
    let (incomplete, failing) = futures::future::join(kinds("fewer_rows"), kinds("server_error")).await;
    for (kinds, alone, all) in [
        (incomplete, ErrorKind::Mismatch, ErrorKind::Response),
        (failing, ErrorKind::Unanswered, ErrorKind::Unavailable),
    ] {
        let count = |wanted: ErrorKind| kinds.iter().filter(|kind| **kind == wanted).count();
        assert_eq!((count(alone), count(all)), (3, 1), "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delisted_tickers_details_are_those_of_its_last_day() {
    let market = market("").await;
    let rows = read(&source(&market.url(), &["FB"]), "ticker_details").await.unwrap();
    assert_eq!((rows.len(), &rows[0]["ticker"]), (1, &json!("FB")));
    let error = read(&source(&market.url(), &["NOSUCH"]), "ticker_details").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("`tickers` names \"NOSUCH\", which does not exist"), "{error}");
    // An answer without the row that it counts does not say that there is none.
    let short = |times: &str| {
        format!("- match: {{path_prefix: /v3/reference/tickers{times}}}\n  fault: {{type: fewer_rows}}\n")
    };
    let passes = self::market(&short(", in_a_row: 2")).await;
    assert_eq!(read(&source(&passes.url(), &["FB"]), "ticker_details").await.unwrap(), rows);
    let stays = self::market(&short("")).await;
    let error = read(&source(&stays.url(), &["FB"]), "ticker_details").await.unwrap_err();
    assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
    // Bars of its time are read without a word.
    assert!(read(&source(&market.url(), &["FB"]), "stock_bars_1_minute").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_the_apis_reads_nothing() {
    let market = market(&fault("wrong_date", "/")).await;
    let url = market.url();
    let machine = source_at(&url, &["AAPL"], Clock::System, Arc::new(Silent));
    let error = read(&machine, "stock_trades").await.unwrap_err();
    assert_eq!((error.kind(), market.requests()), (ErrorKind::Config, 1));
    assert!(error.to_string().contains("this machine's clock says"), "{error}");
    for (now, is_ahead) in [("2024-09-28T21:00:00Z", true), ("2024-06-20T21:00:00Z", false)] {
        let fixed = source_at(&url, &["AAPL"], Clock::Fixed(now.parse().unwrap()), Arc::new(Silent));
        let outcome = fixed.client.confirm_clock().await;
        assert_eq!(outcome.map_err(|error| error.kind()).is_err(), is_ahead, "{now}");
    }
}

/// Progress of a machine whose clock was ahead is not believed, and that of another
/// machine's clock not blamed for this one's.
#[tokio::test(flavor = "multi_thread")]
async fn progress_that_was_made_in_the_future_is_refused() {
    let market = market("").await;
    let source = source(&market.url(), &["AAPL", "FB"]);
    let stream = stream("stock_trades");
    let of = |as_of: &str| {
        let mut checkpoint = blank(&source, &stream);
        let (from, through) = (date(2024, 6, 24), date(2024, 6, 27));
        let span = Span { partition: "FB".into(), from, through, as_of: as_of.parse().unwrap() };
        checkpoint.apply(&Cover::Slice(span)).unwrap();
        checkpoint
    };
    for (as_of, is_refused) in [
        ("2024-06-27T21:00:00Z", false),
        (NOW, false),
        ("2024-06-28T21:09:00Z", false),
        ("2024-09-01T21:00:00Z", true),
    ] {
        let outcome = source.open(&stream.name, &of(as_of), Reading::Mutable).await;
        let error = outcome.err();
        assert_eq!(error.is_some(), is_refused, "{as_of}: {error:?}");
        if let Some(error) = error {
            assert_eq!(error.kind(), ErrorKind::State);
            assert!(error.to_string().contains(
                "made as of 2024-09-01T21:00:00Z, which is later than TAPELINE_NOW, 2024-06-28T21:00:00Z"
            ));
        }
    }
    assert_eq!(market.requests(), 1, "only doubt asks for the time");
}

/// All tries together wait so long and no longer, however many they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_its_time_each_time_is_given_up() {
    let slow = "- match: {}\n  fault: {type: stall, delay_ms: 60}\n";
    let market = market(slow).await;
    let mut source = source(&market.url(), &["AAPL"]);
    Arc::get_mut(&mut source.client).unwrap().wait_at_most(std::time::Duration::from_millis(100));
    let error = read(&source, "stock_trades").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unanswered);
    assert!(error.user_message().contains("given up after 0 s of waiting for the server"), "{error}");
    assert!(market.requests() <= 2, "{}", market.requests());
}

/// `https` to a port that does not speak TLS, and `http` to one that does, or that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_scheme_is_told() {
    let market = market("").await;
    let https = market.url().replace("http:", "https:");
    let error = read(&source(&https, &["AAPL"]), "stock_trades").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.to_string().contains("`base_url` says https, and the port does not speak TLS"), "{error}");

    let alert = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", alert.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = alert.accept().await {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            // What a TLS server sends for a record that is none: a fatal alert.
            stream.write_all(&[0x15, 3, 3, 0, 2, 2, 0x46]).await.unwrap();
        }
    });
    let error = read(&source(&url, &["AAPL"]), "stock_trades").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.to_string().contains("`base_url` says http, and the port speaks TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_need_tickers_are_named_before_they_begin() {
    let all = ["news", "stock_trades", "ticker_details"].map(stream);
    let error = source("http://127.0.0.1:9", &[]).assert_ready(&all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let told = "`tickers` is empty, and stock_trades and ticker_details are read ticker by ticker";
    assert_eq!(error.to_string(), told);
    source("http://127.0.0.1:9", &["A"]).assert_ready(&all).unwrap();
    source("http://127.0.0.1:9", &[]).assert_ready(&all[..1]).unwrap();
}
