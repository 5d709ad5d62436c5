//! The server over real connections.

use std::io::Read;
use std::time::Duration;

use flate2::read::{GzDecoder, MultiGzDecoder};

use serde_json::Value;

use super::super::{Config, Plan, parse_faults, serve};
use super::at;

const DAY: &str = "/v2/aggs/ticker/AAPL/range/1/minute/2024-06-27/2024-06-27";

fn client() -> reqwest::Client {
    // Only so that an answer that never comes fails its test by name.
    reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap()
}

async fn get(client: &reqwest::Client, url: String) -> reqwest::Result<reqwest::Response> {
    client.get(url).bearer_auth("key").send().await
}

async fn with_fault(fault: &str) -> super::super::Running {
    let faults =
        parse_faults(&format!("- match: {{path_prefix: /v, nth: [1]}}\n  fault: {fault}\n")).unwrap();
    serve(Config { faults, ..Config::default() }).await.unwrap()
}

#[tokio::test]
async fn keys_counters_and_time() {
    let running = serve(Config { plan: Plan::Free, ..Config::default() }).await.unwrap();
    let (base, client) = (running.url(), client());
    let url = format!("{base}/v3/reference/exchanges");
    let body = client.get(&url).send().await.unwrap();
    assert_eq!(body.status(), 401);
    assert!(body.text().await.unwrap().contains("API Key was not provided"));
    let body = client.get(format!("{url}?apiKey=invalid")).send().await.unwrap();
    assert!(body.text().await.unwrap().contains("Unknown API Key"));
    let statuses = [200, 200, 200, 200, 200, 429, 429];
    for expected in statuses {
        assert_eq!(get(&client, url.clone()).await.unwrap().status(), expected);
    }
    assert_eq!((running.requests(), running.rate_limited()), (9, 2));
    let moved = client.post(format!("{base}/__now?at=2024-07-01T12:00:00Z")).send().await.unwrap();
    assert_eq!(moved.json::<Value>().await.unwrap()["now"], "2024-07-01T12:00:00Z");
    assert_eq!(running.now(), at("2024-07-01T12:00:00Z"));
    let stats: Value = client.get(format!("{base}/__stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!(stats["requests"], 9);
    assert_eq!(stats["rate_limited"], 2);
    assert_eq!(stats["paths"]["/v3/reference/exchanges"], 9);
    let wrong = client.get(format!("{base}/__truth?stream=prices")).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    running.shutdown().await;
}

#[tokio::test]
async fn answers_look_like_the_vendors() {
    let running = serve(Config::default()).await.unwrap();
    let (base, client) = (running.url(), client());
    for _ in 0..6 {
        let answer = get(&client, format!("{base}{DAY}?limit=100")).await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(answer.headers().contains_key("x-polygon-cluster-name"));
        let body: Value = answer.json().await.unwrap();
        assert_ne!(body["request_id"], id.as_str());
        assert_eq!(body["queryCount"], 100);
        assert!(body["next_url"].as_str().unwrap().starts_with("https://api.massive.com"));
    }
    running.shutdown().await;
}

#[tokio::test]
async fn faults_break_answers_as_they_say() {
    let client = client();
    for (fault, check) in [
        ("{type: rate_limited, retry_after: 3}", "429 exceeded"),
        ("{type: rate_limited_empty}", "429 "),
        ("{type: server_error, status: 503}", "503 ERROR"),
        ("{type: bad_gateway_html}", "504 <html>"),
        ("{type: status_error}", "200 \"status\":\"ERROR\""),
        ("{type: slow_headers, delay_ms: 10}", "200 \"status\":\"OK\""),
    ] {
        let running = with_fault(fault).await;
        let answer = get(&client, format!("{}{DAY}", running.url())).await.unwrap();
        assert_eq!(answer.headers().contains_key("retry-after"), fault.contains("retry_after"));
        let text = format!("{} {}", answer.status().as_u16(), answer.text().await.unwrap());
        let (status, part) = check.split_once(' ').unwrap();
        assert!(text.starts_with(status) && text.contains(part), "{fault}: {text}");
        let again = get(&client, format!("{}{DAY}", running.url())).await.unwrap();
        assert!(again.json::<Value>().await.unwrap()["results"].is_array(), "{fault}");
        running.shutdown().await;
    }
}

#[tokio::test]
async fn faults_break_bodies_as_they_say() {
    let client = client();
    for fault in [
        "{type: truncated_json}",
        "{type: short_body}",
        "{type: reset}",
        "{type: bad_gzip}",
        "{type: stall, delay_ms: 100}",
    ] {
        let running = with_fault(fault).await;
        let answer = get(&client, format!("{}{DAY}", running.url())).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await;
        let is_json = body.as_ref().is_ok_and(|body| serde_json::from_slice::<Value>(body).is_ok());
        assert!(!is_json, "{fault}");
        assert_eq!(body.is_ok(), fault.contains("truncated_json"), "{fault}: {body:?}");
        running.shutdown().await;
    }
}

/// What is slow, packed in two members, or has another clock is whole all the same.
#[tokio::test]
async fn answers_differ_in_how_and_when_they_come() {
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let whole = |body: &Value| body["results"].as_array().unwrap().len();
    for fault in [
        "{type: two_members}",
        "{type: slow_drip, delay_ms: 0}",
        "{type: no_date}",
        "{type: wrong_date, ahead_s: -86400}",
        "{type: wrong_date}",
        "{type: foreign_encoding}",
    ] {
        let running = with_fault(fault).await;
        let url = format!("{}{DAY}?limit=20", running.url());
        let answer = get(&client, url.clone()).await.unwrap();
        let date = answer.headers().get("date").map(|date| date.to_str().unwrap().to_owned());
        let ahead = date.map(|date| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date).unwrap();
            date.duration_since(jiff::Timestamp::now()).as_hours()
        });
        let expected = match fault {
            "{type: no_date}" => None,
            "{type: wrong_date, ahead_s: -86400}" => Some(-24),
            "{type: wrong_date}" => Some(90 * 24 - 1),
            _ => Some(0),
        };
        assert_eq!(ahead, expected, "{fault}");
        assert_eq!(answer.headers()["x-simulated-now"], "2024-06-28T21:00:00Z");
        let is_foreign = answer.headers().get("content-encoding").is_some_and(|encoding| encoding == "br");
        assert_eq!(is_foreign, fault == "{type: foreign_encoding}");
        // reqwest would leave out what follows the first member.
        let mut body = Vec::new();
        let bytes = answer.bytes().await.unwrap();
        match fault {
            "{type: two_members}" => {
                MultiGzDecoder::new(&*bytes).read_to_end(&mut body).unwrap();
                let mut first = Vec::new();
                GzDecoder::new(&*bytes).read_to_end(&mut first).unwrap();
                assert!(first.len() < body.len());
            }
            _ => body.extend_from_slice(&bytes),
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let again: Value = get(&client, url).await.unwrap().json().await.unwrap();
        assert_eq!(whole(&body), whole(&again), "{fault}");
        running.shutdown().await;
    }
}

#[tokio::test]
async fn answers_are_not_what_was_asked_for() {
    let client = client();
    for (fault, part) in [
        ("results_object", r#""results":{"rows":[]}"#),
        ("results_text", r#""results":"none""#),
        ("results_number", r#""results":0"#),
        ("results_numbers", r#""results":[1,2]"#),
        ("no_results", r#""adjusted":true,"status""#),
        ("results_twice", r#"],"results":[{"#),
        ("second_status", r#"{"status":"ERROR","#),
        ("next_url_number", r#""next_url":2"#),
        ("next_url_object", r#""next_url":{"cursor""#),
        ("other_ticker", r#""ticker":"ZZZZZ""#),
        ("next_url_text", r#""next_url":"https://[no host]/"#),
        ("next_url_elsewhere", r#""next_url":"https://api.massive.com/v3/quotes/AAPL?"#),
        ("other_days", r#""t":1000000000000"#),
        ("keyless_rows", r#"{"none":true}"#),
        ("fewer_rows", r#""resultsCount":10"#),
        ("missing_next_url", r#""count":10}"#),
    ] {
        let running = with_fault(&format!("{{type: {fault}}}")).await;
        let url = format!("{}{DAY}?limit=10", running.url());
        let text = get(&client, url.clone()).await.unwrap().text().await.unwrap();
        assert!(text.contains(part), "{fault}: {text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        let rows = body["results"].as_array().map(Vec::len);
        let expected = match fault {
            "results_object" | "results_text" | "results_number" | "no_results" => None,
            "results_numbers" => Some(2),
            "fewer_rows" => Some(9),
            _ => Some(10),
        };
        assert_eq!(rows, expected, "{fault}");
        let again = get(&client, url).await.unwrap().text().await.unwrap();
        assert!(!again.contains(part) || fault == "fewer_rows", "{fault}: {again}");
        running.shutdown().await;
    }
}

#[tokio::test]
async fn a_delisted_ticker_has_details_as_of_a_day_when_it_lived() {
    let running = serve(Config::default()).await.unwrap();
    let (base, client) = (running.url(), client());
    let url = format!("{base}/v3/reference/tickers?active=false&ticker=FB");
    let listed: Value = get(&client, url).await.unwrap().json().await.unwrap();
    let day = &listed["results"][0]["delisted_utc"].as_str().unwrap()[..10];
    for (query, status) in [("", 404), (&*format!("?date={day}"), 200), ("?date=1999-01-04", 404)] {
        let answer = get(&client, format!("{base}/v3/reference/tickers/FB{query}")).await.unwrap();
        assert_eq!(answer.status(), status, "{query}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn faults_lead_paging_astray() {
    let client = client();
    let next = |body: &Value| body["next_url"].as_str().unwrap().to_owned();
    let local = |base: &str, url: &str| {
        let path = url.split_once("//").unwrap().1.split_once('/').unwrap().1;
        format!("{base}/{path}")
    };
    let json = async |url: String| get(&client, url).await.unwrap().json::<Value>().await.unwrap();

    let running = with_fault("{type: duplicate_last_row}").await;
    let base = running.url();
    let first = json(format!("{base}{DAY}?limit=10")).await;
    let second = json(local(&base, &next(&first))).await;
    assert_eq!(second["results"][0], first["results"][9]);
    assert_eq!(second["results"].as_array().unwrap().len(), 11);
    running.shutdown().await;

    let running = with_fault("{type: cursor_loop}").await;
    let base = running.url();
    let first = json(format!("{base}{DAY}?limit=10")).await;
    assert_eq!(local(&base, &next(&first)), format!("{base}{DAY}?limit=10"));
    running.shutdown().await;

    let running = with_fault("{type: foreign_next_url}").await;
    let first = json(format!("{}{DAY}?limit=10", running.url())).await;
    assert!(next(&first).contains("attacker.invalid"));
    running.shutdown().await;

    let running = with_fault("{type: continuation_400}").await;
    let base = running.url();
    let first = json(format!("{base}{DAY}?limit=10")).await;
    assert_eq!(get(&client, local(&base, &next(&first))).await.unwrap().status(), 400);
    running.shutdown().await;
}

#[tokio::test]
async fn recordings_are_replayed_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("v3/trades")).unwrap();
    std::fs::write(folder.path().join("v3/trades/AAPL&limit=2.json"), "{ \"results\" : [] }\n").unwrap();
    let running =
        serve(Config { replay: Some(folder.path().to_owned()), ..Config::default() }).await.unwrap();
    let (base, client) = (running.url(), client());
    let body = get(&client, format!("{base}/v3/trades/AAPL?limit=2")).await.unwrap().text().await.unwrap();
    assert_eq!(body, "{ \"results\" : [] }\n");
    assert_eq!(get(&client, format!("{base}/v3/trades/AAPL")).await.unwrap().status(), 404);
    running.shutdown().await;
}
