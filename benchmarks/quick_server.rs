//! A server with the vendor's endpoints of bars and trades that answers at once, or
//! after a given time, so that what is measured is never the server: it costs some
//! microseconds a request.
//!
//! `quick_server [--latency-ms N] [--rows N] [--bytes N]` prints its port, and serves
//! until it is ended. Each answer has so many rows, on the first day asked for, and a
//! row is filled up to so many bytes; `--trades-latency-ms N` and `--trades-rows N` are for
//! answers with trades alone. Tickers that end in `.NONE` do not exist.
//! `/__stats` says how many requests came, when, and how many in the fullest second;
//! `/__reset` begins anew.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The end of the names of tickers that do not exist.
const UNKNOWN: &str = ".NONE";

#[derive(Debug, Clone, Copy)]
struct Options {
    trades: Answers,
    others: Answers,
    bytes: usize,
}

/// What answers are like.
#[derive(Debug, Clone, Copy)]
struct Answers {
    latency: Duration,
    rows: usize,
}

impl Options {
    fn of(&self, path: &str) -> Answers {
        if is_trades(path) { self.trades } else { self.others }
    }
}

/// The stream, as far as paths tell it.
fn is_trades(path: &str) -> bool {
    path.starts_with("/v3/trades/")
}

/// What came.
#[derive(Debug, Default)]
struct Stats {
    requests: u64,
    trades: u64,
    first: Option<SystemTime>,
    last: Option<SystemTime>,
    /// Those of the last second.
    second: VecDeque<Instant>,
    fullest_second: usize,
}

impl Stats {
    fn count(&mut self, path: &str) {
        self.requests += 1;
        self.trades += u64::from(is_trades(path));
        let now = SystemTime::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        let now = Instant::now();
        self.second.push_back(now);
        while self.second.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
            self.second.pop_front();
        }
        self.fullest_second = self.fullest_second.max(self.second.len());
    }

    fn json(&self) -> String {
        let seconds = |moment: Option<SystemTime>| {
            moment
                .and_then(|moment| moment.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map_or(0.0, |since| since.as_secs_f64())
        };
        format!(
            r#"{{"requests":{},"trades":{},"first":{:.6},"last":{:.6},"fullest_second":{}}}"#,
            self.requests,
            self.trades,
            seconds(self.first),
            seconds(self.last),
            self.fullest_second
        )
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let options = options();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::disallowed_macros, reason = "the benchmark reads it, and there is no secret here")]
    {
        println!("{}", listener.local_addr()?.port());
    }
    let stats = Arc::new(Mutex::new(Stats::default()));
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let stats = Arc::clone(&stats);
        tokio::spawn(async move {
            // A client that left is no failure.
            let _left = serve(connection, options, &stats).await;
        });
    }
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(otherwise, |place| arguments[place + 1].parse().expect("a number after each option"))
    };
    let (latency, rows) = (number("--latency-ms", 0), number("--rows", 1));
    let answers = |latency, rows| Answers { latency: Duration::from_millis(latency as u64), rows };
    Options {
        trades: answers(number("--trades-latency-ms", latency), number("--trades-rows", rows)),
        others: answers(latency, rows),
        bytes: number("--bytes", 0),
    }
}

/// Answers the requests of a connection, one after the other.
async fn serve(mut connection: TcpStream, options: Options, stats: &Mutex<Stats>) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(4096);
    loop {
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else {
            if connection.read_buf(&mut text).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let line = String::from_utf8_lossy(&text[..head]).into_owned();
        text.drain(..head + 4);
        let target = line.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match target {
            "/__stats" => ("200 OK", stats.lock().expect("no panic").json()),
            "/__reset" => {
                *stats.lock().expect("no panic") = Stats::default();
                ("200 OK", "{}".to_owned())
            }
            _ => {
                stats.lock().expect("no panic").count(target);
                let latency = options.of(target).latency;
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                answer(target, options)
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
}

fn answer(target: &str, options: Options) -> (&'static str, String) {
    let path = target.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let is_unknown = parts.iter().any(|part| part.ends_with(UNKNOWN));
    match parts.as_slice() {
        ["", "v3", "reference", "tickers", _] if is_unknown => (
            "404 Not Found",
            r#"{"status":"NOT_FOUND","request_id":"1","message":"Ticker not found."}"#.to_owned(),
        ),
        ["", "v3", "reference", "tickers", ticker] => {
            ("200 OK", format!(r#"{{"status":"OK","results":{{"ticker":"{ticker}"}}}}"#))
        }
        ["", "v3", "trades", _] if !is_unknown => ("200 OK", trades(target, options)),
        ["", "v2", "aggs", "ticker", _, "range", _, _, from, _] if !is_unknown => {
            ("200 OK", bars(from, options))
        }
        _ => ("200 OK", r#"{"status":"OK","results":[]}"#.to_owned()),
    }
}

/// The first seconds of trading of the day that the request begins with.
fn trades(target: &str, options: Options) -> String {
    let from = target.split("timestamp.gte=").nth(1).unwrap_or_default();
    let from: u64 = from.split('&').next().unwrap_or_default().parse().unwrap_or_default();
    let open = from + 34_200_000_000_000;
    rows(options, options.trades.rows, |index| {
        let at = open + index as u64 * 1_000_000;
        format!(
            r#"{{"id":"{index}","exchange":4,"price":17.5,"size":100,"participant_timestamp":{at},"sip_timestamp":{at},"sequence_number":{index}"#
        )
    })
}

fn bars(from: &str, options: Options) -> String {
    let open = days_since_1970(from) * 86_400_000 + 52_200_000;
    rows(options, options.others.rows, |index| {
        let at = open + index as u64 * 60_000;
        format!(r#"{{"v":100,"vw":17.5,"o":17.5,"c":17.5,"h":17.5,"l":17.5,"t":{at},"n":1"#)
    })
}

/// An answer with so many rows, which `begin` begins.
fn rows(options: Options, count: usize, begin: impl Fn(usize) -> String) -> String {
    let mut text = r#"{"status":"OK","results":["#.to_owned();
    for index in 0..count {
        let row = begin(index);
        let comma = if index == 0 { "" } else { "," };
        let filled = "x".repeat(options.bytes.saturating_sub(row.len()));
        let filled = if filled.is_empty() { filled } else { format!(r#","filled":"{filled}""#) };
        write!(text, "{comma}{row}{filled}}}").expect("a text takes everything");
    }
    text.push_str("]}");
    text
}

/// Days since 1970 of `YYYY-MM-DD` [Howard Hinnant, days_from_civil].
fn days_since_1970(date: &str) -> u64 {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().unwrap_or_default());
    let (year, month, day) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
