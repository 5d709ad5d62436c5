//! A server that repeats the key in every place that an answer has, and everything
//! that leaves the program: nothing of the key may be in it, in any form.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// With characters that each encoding changes.
const KEY: &str = "zK-9f8e7d6c+of/the=Proof~Q_1";

/// A password that a terminal's lines could be broken in.
const PHRASE: &str = "correct horse battery staple";

/// Streams that are read in different ways, and of which an answer without rows is one:
/// a wrong answer is tried again for half a minute.
const STREAMS: [&str; 4] = ["splits", "exchanges", "stock_daily_bars", "stock_bars_1_minute"];

/// The key in the forms that a server may give it.
fn forms() -> Vec<String> {
    let percent = utf8_percent_encode(KEY, NON_ALPHANUMERIC).to_string();
    let mut forms = vec![
        KEY.to_owned(),
        percent.to_lowercase(),
        utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(),
        url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect(),
        KEY.replace('/', "\\/"),
        KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect(),
        KEY.to_ascii_lowercase(),
        percent,
    ];
    for before in ["", "x", "xy"] {
        for text in
            [format!("{before}{KEY}"), format!("{before}{KEY} and more"), format!("Bearer {before}{KEY}")]
        {
            forms.extend([STANDARD.encode(&text), URL_SAFE.encode(&text).trim_end_matches('=').to_owned()]);
        }
    }
    forms
}

/// What of the key is looked for: its forms, and the middle of it in base64 at each of
/// the three places. Half of it is as bad as all of it.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = forms().iter().map(|form| form.to_lowercase()).collect();
    for half in [&KEY[2..14], &KEY[14..]] {
        pieces.push(half.to_lowercase());
        for offset in 0..3 {
            let text = format!("{}{half}", &"\0\0"[..offset]);
            let (first, cut) = ([0, 2, 3][offset], text.len() % 3);
            for engine in [STANDARD, URL_SAFE] {
                let encoded = engine.encode(&text);
                let core = encoded.trim_end_matches('=');
                pieces.push(core[first..core.len() - usize::from(cut != 0)].to_lowercase());
            }
        }
    }
    pieces
}

/// A place of an answer where the key is, by the first word of the path.
const PLACES: [&str; 15] = [
    "reason",
    "request-id",
    "header",
    "header-name",
    "content-type",
    "error",
    "message",
    "not-found",
    "html",
    "redirect",
    "next-host",
    "next-parameter",
    "next-path",
    "envelope",
    "row",
];

/// In the query of a next page.
const FOLLOWED: &str = "cursor=x";

/// The answer that has the key in a place, whole.
fn answer(place: &str, form: &str, path: &str) -> Vec<u8> {
    let quoted = Value::from(form).to_string();
    // As it stands where that is JSON already.
    let quoted = if form.contains('\\') { format!("\"{form}\"") } else { quoted };
    let plain =
        || json!({"status": "OK", "results": [], "resultsCount": 0, "queryCount": 0, "count": 0}).to_string();
    let error = |status: &str, field: &str| format!(r#"{{"status":"{status}","{field}":{quoted}}}"#);
    let next = |url: &str| json!({"status": "OK", "results": [], "next_url": url}).to_string();
    let sentence = format!("X-Said: {form}");
    let (status, headers, body) = match place {
        "reason" => (format!("403 {form}"), String::new(), error("NOT_AUTHORIZED", "message")),
        "request-id" => {
            ("400 Bad".to_owned(), format!("X-Request-Id: {}{form}", "x".repeat(50)), error("ERROR", "error"))
        }
        "header" => ("401 No".to_owned(), sentence, error("ERROR", "error")),
        "header-name" => ("403 No".to_owned(), format!("{}: x", name_of(form)), error("ERROR", "error")),
        "content-type" => ("200 OK".to_owned(), format!("Content-Type: {form}"), plain()),
        "error" => ("400 Bad".to_owned(), String::new(), error("ERROR", "error")),
        "message" => ("403 No".to_owned(), String::new(), error("NOT_AUTHORIZED", "message")),
        "not-found" => ("404 Not".to_owned(), String::new(), error("NOT_FOUND", "message")),
        "html" => ("403 No".to_owned(), String::new(), format!("<html>{form}</html>")),
        "redirect" => (
            "302 Found".to_owned(),
            format!("Location: http://{}.invalid/{form}?k={form}", name_of(form)),
            String::new(),
        ),
        "next-host" => (
            "200 OK".to_owned(),
            String::new(),
            next(&format!("https://{}.invalid{path}?apiKey={form}&{FOLLOWED}", name_of(form))),
        ),
        "next-parameter" => (
            "200 OK".to_owned(),
            String::new(),
            next(&format!("https://h.invalid{path}?token={form}&{FOLLOWED}")),
        ),
        "next-path" => ("200 OK".to_owned(), String::new(), next(&format!("/v3/{form}/x?cursor=1"))),
        "envelope" => {
            let body = format!(
                r#"{{"status":"OK","request_id":{quoted},"message":{quoted},"results":[],"ticker":{quoted}}}"#
            );
            ("200 OK".to_owned(), String::new(), body)
        }
        "row" => ("200 OK".to_owned(), String::new(), rows(&quoted)),
        "status" => ("200 OK".to_owned(), String::new(), error(form, "error")),
        other => panic!("{other}"),
    };
    let headers = if headers.is_empty() { headers } else { format!("{headers}\r\n") };
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Rows of each of the streams: with the text in fields of text and of numbers, in one that
/// no stream has, in keys and deep inside, and in the primary key.
fn rows(quoted: &str) -> String {
    let own = r#""o":1.5,"h":1.5,"l":1.5,"c":1.5,"v":7,"ticker":"AAPL""#;
    let key = r#""t":1718890200000,"id":1,"execution_date":"2024-06-20""#;
    let said = format!(
        r#""name":{quoted},"n":{quoted},"vw":{quoted},"x":[{quoted},1.10],"y":{{{quoted}:{quoted}}},{quoted}:2"#
    );
    let as_key = format!(r#""t":{quoted},"id":{quoted},"execution_date":{quoted}"#);
    format!(
        r#"{{"status":"OK","results":[{{{own},{key},{said}}},{{{own},{as_key}}}],"resultsCount":2,"queryCount":2,"count":2}}"#
    )
}

/// The form as far as a name of a header or host can have it.
fn name_of(form: &str) -> String {
    form.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>() + "-" + &KEY[..12]
}

/// Answers `/place/number of a form/…`.
async fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut parts = text.split(['/', ' ']).skip(2);
    let (place, number) = (parts.next().unwrap(), parts.next().unwrap());
    let form = &forms()[number.parse::<usize>().unwrap()];
    // A page that is gone on with is the last one.
    let place = if text.contains(FOLLOWED) { "content-type" } else { place };
    let path =
        text.split([' ', '?']).nth(1).and_then(|target| target.splitn(4, '/').nth(3)).unwrap_or_default();
    let answer = match place {
        "snowflake" => login(form),
        // What stands before it puts it at another place of a line.
        "phrase" if !text.contains("login-request") => answer("error", PHRASE, ""),
        "phrase" => login(&format!("{}{PHRASE}", "x".repeat(number.parse().unwrap()))),
        place => answer(place, form, &format!("/{path}")),
    };
    // A client that hung up has its answer.
    let _sent = stream.write_all(&answer).await;
}

/// What a warehouse says that repeats the password.
fn login(form: &str) -> Vec<u8> {
    let body = json!({"success": false, "code": "390100", "message": format!("Incorrect {form}"), "data": {"said": form}});
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nX-Said: {form}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    url
}

/// Writes the files that the commands are given.
fn prepare(folder: &Path, base_url: &str, password: &str) {
    let source = json!({"api_key": KEY, "base_url": base_url, "start_date": "2024-06-20", "end_date": "2024-06-21",
        "tickers": ["AAPL"], "bar_sizes": ["1minute"], "plan": {"type": "custom", "requests_per_minute": 6_000_000}});
    let configured: Vec<_> = STREAMS
        .iter()
        .map(|name| {
            json!({"stream": {"name": name, "json_schema": {}}, "sync_mode": "incremental",
            "destination_sync_mode": "append_dedup"})
        })
        .collect();
    let snowflake = json!({"account": "a", "user": "u", "warehouse": "w", "database": "d", "password": password, "host": base_url});
    let destination = json!({"sink": {"type": "snowflake", "account": "a", "user": "u", "warehouse": "w",
        "database": "d", "password": password, "host": base_url}});
    let duckdb = json!({"name": "p", "source": {"polygon": source}, "sink": {"duckdb": {"path": "market.duckdb"}}, "streams": STREAMS});
    let into_snowflake = json!({"name": "p", "source": {"polygon": source}, "sink": {"snowflake": snowflake}, "streams": STREAMS});
    for (name, content) in [
        ("config.json", &source),
        ("catalog.json", &json!({"streams": configured})),
        ("pipeline.yaml", &duckdb),
        ("snowflake.yaml", &into_snowflake),
        ("destination.json", &destination),
    ] {
        std::fs::write(folder.join(name), content.to_string()).unwrap();
    }
}

const SOURCE: [&[&str]; 7] = [
    &["discover", "--config", "config.json"],
    &["check", "--config", "config.json"],
    &["read", "--config", "config.json", "--catalog", "catalog.json"],
    &["check", "pipeline.yaml"],
    &["status", "pipeline.yaml"],
    &["sync", "pipeline.yaml"],
    &["sync", "pipeline.yaml", "--log-format", "json"],
];

const WAREHOUSE: [&[&str]; 5] = [
    &["destination", "check", "--config", "destination.json"],
    &["destination", "write", "--config", "destination.json", "--catalog", "catalog.json"],
    &["check", "snowflake.yaml"],
    &["status", "snowflake.yaml"],
    &["sync", "snowflake.yaml"],
];

/// Runs a command in a folder of its own; everything that it left, by name.
fn run(url: &str, place: &str, number: usize, arguments: &[&str], level: &str) -> Vec<(String, Vec<u8>)> {
    run_with(KEY, url, place, number, arguments, level)
}

/// As [`run`], with another password of the warehouse.
fn run_with(
    password: &str,
    url: &str,
    place: &str,
    number: usize,
    arguments: &[&str],
    level: &str,
) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &format!("{url}/{place}/{number}"), password);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapeline"));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    command.env("TAPELINE_NOW", "2024-06-28T21:00:00Z").env("RUST_BACKTRACE", "full");
    command.env("TAPELINE_LOG", level).env("RUST_LOG", level);
    let output = command.output().unwrap();
    let mut left = vec![("stdout".to_owned(), output.stdout), ("stderr".to_owned(), output.stderr)];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let is_ours = path.extension().is_some_and(|extension| extension == "json" || extension == "yaml");
        if !is_ours {
            left.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    left
}

/// A line of `text` in which the key is.
fn leak(text: &[u8], pieces: &[String]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let is_in = |line: &str| pieces.iter().any(|piece| line.contains(piece.as_str()));
    text.lines().find(|line| is_in(&line.to_lowercase())).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_key_that_is_repeated_everywhere_leaves_the_program() {
    let url = server().await;
    // A status that is none is tried again for half a minute: once is enough.
    let mut cases: Vec<(&str, usize, &[&str], &str)> = vec![("status", 0, SOURCE[1], "trace")];
    for number in 0..forms().len() {
        for (index, place) in PLACES.iter().enumerate() {
            // Each form in a third of the places, and below each place in each command.
            if (number + index) % 3 == 0 {
                cases.push((place, number, SOURCE[(number / 3) % SOURCE.len()], "trace"));
            }
        }
        cases.push(("snowflake", number, WAREHOUSE[number % WAREHOUSE.len()], "trace"));
    }
    for (index, place) in PLACES.iter().enumerate() {
        cases.extend(
            SOURCE.map(|command| (*place, index, command, if index % 2 == 0 { "info" } else { "trace" })),
        );
    }
    let pieces = std::sync::Arc::new(pieces());
    let mut runs = JoinSet::new();
    let mut leaks = Vec::new();
    let (mut bytes, mut count) = (0, 0);
    for (place, number, arguments, level) in cases {
        let (url, pieces) = (url.clone(), std::sync::Arc::clone(&pieces));
        let work = move || {
            let left = run(&url, place, number, arguments, level);
            let found = left.iter().filter_map(|(what, text)| {
                leak(text, &pieces)
                    .map(|line| format!("{place} {number} {arguments:?} {level}: {what}: {line}"))
            });
            (left.iter().map(|(_, text)| text.len()).sum::<usize>(), found.collect::<Vec<_>>())
        };
        if runs.len() >= 4 {
            collect(runs.join_next().await, &mut bytes, &mut count, &mut leaks);
        }
        runs.spawn_blocking(work);
    }
    while let Some(done) = runs.join_next().await {
        collect(Some(done), &mut bytes, &mut count, &mut leaks);
    }
    assert!(leaks.is_empty(), "{} leaks\n{}", leaks.len(), leaks[..leaks.len().min(20)].join("\n"));
    assert!(count > 180 && bytes > 1_000_000, "{count} runs left {bytes} bytes: were they runs?");
}

/// Rows with the key come through without it, and what became of them is told.
#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_key_lose_the_key_and_nothing_else() {
    let url = server().await;
    let read = SOURCE[2];
    let left = tokio::task::spawn_blocking(move || run(&url, "row", 0, read, "info")).await.unwrap();
    let stdout = String::from_utf8_lossy(&left[0].1).into_owned();
    let records = stdout.lines().filter(|line| line.contains("RECORD"));
    let told = records.filter(|line| line.contains("***") && line.contains("SOURCE")).count();
    assert_eq!(told, 2 * STREAMS.len(), "{stdout}\n{}", String::from_utf8_lossy(&left[1].1));
    assert!(stdout.contains(r#""x":["***",1.10]"#), "{stdout}");
}

/// What is laid out for a terminal: a phrase must be gone before its line is broken.
#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_not_shown_over_two_lines() {
    let url = server().await;
    let mut runs = JoinSet::new();
    for number in [0, 5, 10, 15] {
        for command in ["check", "status"] {
            let url = url.clone();
            runs.spawn_blocking(move || {
                run_with(PHRASE, &url, "phrase", number, &[command, "snowflake.yaml"], "info")
            });
        }
    }
    while let Some(left) = runs.join_next().await {
        let left = left.unwrap();
        let all: Vec<_> = left.iter().map(|(_, text)| String::from_utf8_lossy(text)).collect();
        let words: Vec<_> = all.iter().flat_map(|text| text.split_whitespace()).collect();
        let line = words.join(" ");
        let mut halves = ["correct horse", "horse battery", "battery staple"].iter();
        assert!(!halves.any(|half| line.contains(half)), "{all:?}");
        assert!(line.contains("***"), "was it repeated? {all:?}");
    }
}

type Done = Option<Result<(usize, Vec<String>), tokio::task::JoinError>>;

fn collect(done: Done, bytes: &mut usize, count: &mut usize, leaks: &mut Vec<String>) {
    let (left, found) = done.unwrap().unwrap();
    *bytes += left;
    *count += 1;
    leaks.extend(found);
}
