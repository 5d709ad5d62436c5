//! What `read` holds in memory does not grow with the stream, however slow its
//! reader is.
#![cfg(target_os = "linux")]

use std::fmt::Write;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::routing::get;
use jiff::civil::Date;
use serde_json::json;

/// What the documentation promises.
const PEAK_KB_MAX: u64 = 100_000_000 / 1024;

/// A bar less than fill a page: a full one would have another behind it.
const BARS: i64 = 49_999;

/// A page of minutes of a ticker from a day on, longer than bars usually are.
fn page(ticker: &str, from: Date, bars: i64) -> String {
    let mut page = format!(r#"{{"ticker":"{ticker}","status":"OK","results":["#);
    let start = from.in_tz("America/New_York").unwrap().timestamp().as_millisecond();
    for index in 0..bars {
        let comma = if index == 0 { "" } else { "," };
        let time = start + index * 60_000;
        let price = format!("{}.{:04}", 400 + index % 90, index % 10_000);
        write!(page, r#"{comma}{{"v":{index}.0,"vw":{price},"o":{price},"c":{price},"h":{price},"l":{price},"t":{time},"n":{index}}}"#)
            .unwrap();
    }
    page.push_str("]}");
    page
}

/// Serves so many pages of one bar and then pages of [`BARS`], of the ticker and days that
/// are asked for, each after `latency`, and tells of each request.
async fn serve(small: usize, latency: Duration) -> (String, mpsc::Receiver<()>) {
    let served = Arc::new(AtomicUsize::new(0));
    let (tell, requests) = mpsc::channel();
    let answer = move |uri: Uri| async move {
        // Nobody listens any more once enough slices are under way.
        let _ = tell.send(());
        tokio::time::sleep(latency).await;
        let is_small = served.fetch_add(1, Ordering::Relaxed) < small;
        let parts: Vec<&str> = uri.path().split('/').collect();
        page(parts[4], parts[8].parse().unwrap(), if is_small { 1 } else { BARS })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), requests)
}

/// The most that the process ever had in memory, in kilobytes.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads a year of minutes of each ticker, six pages, after small ones; nothing is
/// taken from `read` before it has asked for `ahead` pages. Returns the bytes of its
/// records and its peak in kilobytes.
async fn read(tickers: usize, small: usize, latency: Duration, ahead: usize) -> (usize, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (url, requests) = serve(small, latency).await;
    let tickers: Vec<String> = (0..tickers).map(|number| format!("T{number}")).collect();
    let config = json!({
        "api_key": "key-of-no-one", "base_url": url, "plan": {"type": "custom", "requests_per_minute": 6_000_000},
        "start_date": "2022-01-03", "end_date": "2022-12-30", "tickers": tickers, "bar_sizes": ["1minute"],
    });
    let stream =
        json!({"name": "stock_bars_1_minute", "json_schema": {}, "supported_sync_modes": ["full_refresh"]});
    let catalog = json!({"streams": [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    let file = |name: &str, value: serde_json::Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_tapeline"))
        .args(["read".as_ref(), "--config".as_ref(), file("config.json", config).as_os_str()])
        .args(["--catalog".as_ref(), file("catalog.json", catalog).as_os_str()])
        .env("TAPELINE_NOW", "2024-06-28T20:00:00Z")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let measure = move || {
        let (mut bytes, mut peak) = (0, 0);
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 1 << 20];
        (0..ahead).for_each(|_| requests.recv().unwrap());
        while let count @ 1.. = stdout.read(&mut buffer).unwrap() {
            bytes += count;
            peak = peak_kb(child.id()).unwrap_or(peak);
        }
        assert!(child.wait().unwrap().success());
        (bytes, peak)
    };
    tokio::task::spawn_blocking(measure).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_stays_below_100_mb_while_its_reader_waits_and_then_reads_everything() {
    let (bytes, peak) = read(8, 0, Duration::ZERO, 3).await;
    assert!(bytes > 400_000_000, "{bytes} bytes of records");
    assert!(peak > 10_000 && peak < PEAK_KB_MAX, "{peak} kB");
}

/// Many small pages are read at once. When all that follow them are large, those
/// that are under way are larger than anyone could know.
#[tokio::test(flavor = "multi_thread")]
async fn read_stays_below_100_mb_when_pages_turn_out_a_thousand_times_larger_than_before() {
    let (bytes, peak) = read(24, 80, Duration::from_millis(100), 80 + 16).await;
    assert!(bytes > 400_000_000, "{bytes} bytes of records");
    assert!(peak > 10_000 && peak < PEAK_KB_MAX, "{peak} kB");
}
