use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::observe::Silent;

#[test]
fn a_next_url_keeps_path_and_query_only() {
    for (next_url, target) in [
        ("https://api.massive.com:443/v3/trades/A?cursor=YXA9", "/v3/trades/A?cursor=YXA9"),
        ("https://evil.example/v3/trades/A?apiKey=k&cursor=x&apikey=k", "/v3/trades/A?cursor=x"),
        ("/v3/reference/tickers?cursor=1", "/v3/reference/tickers?cursor=1"),
        ("https://user:pw@host/a?b#c", "/a?b"),
    ] {
        assert_eq!(continuation(next_url).unwrap(), target);
    }
    assert!(continuation("https://[").is_err());
}

/// A server that gives each connection the next of these texts and closes it.
async fn serve(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _request = connection.read(&mut [0; 4096]).await.unwrap();
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

fn answer(length: usize, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn client(base_url: &str) -> Client {
    let config =
        json!({"api_key": "k", "base_url": base_url, "plan": {"type": "paid"}, "start_date": "2024-01-02"});
    let clock = Clock::Fixed("2024-07-15T00:00:00Z".parse().unwrap());
    let config = SourceConfig::from_json(config, clock).unwrap();
    Client::new(config, ClockCheck::new(clock), Arc::new(Silent)).unwrap()
}

/// Keeps the text, and has no room for a while after each piece until it is alone.
#[derive(Default)]
struct Cramped {
    text: Whole,
    pause: Duration,
    alone: usize,
}

impl Intake for Cramped {
    type Output = Vec<u8>;

    fn begin(&mut self) {
        self.text.begin();
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.text.take(piece)
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        self.text.end()
    }

    async fn room(&mut self) {
        if self.alone == 0 {
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn alone(&mut self) {
        self.alone += 1;
    }
}

const WHOLE: &str = r#"{"status":"OK"}"#;
const AN_HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_room_is_not_late() {
    let url = serve(vec![answer(WHOLE.len(), WHOLE)]).await;
    let mut cramped = Cramped { pause: AN_HOUR, ..Cramped::default() };
    assert_eq!(client(&url).fetch("/x", None, &mut cramped).await.unwrap(), WHOLE.as_bytes());
    assert_eq!(cramped.alone, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_cut_while_it_waited_for_room_is_asked_for_again_when_it_need_not_wait() {
    // It breaks off after a pause again and again: only once that is our pause's fault.
    for (cut, pause, alone) in [(1, AN_HOUR, 1), (3, AN_HOUR, 1), (1, Duration::ZERO, 0)] {
        let mut answers = vec![answer(1000, "{"); cut];
        answers.push(answer(WHOLE.len(), WHOLE));
        let url = serve(answers).await;
        let mut cramped = Cramped { pause, ..Cramped::default() };
        assert_eq!(client(&url).fetch("/x", None, &mut cramped).await.unwrap(), WHOLE.as_bytes());
        assert_eq!(cramped.alone, alone, "cut {cut} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_given_its_time_and_no_more() {
    let mut wait = Wait::default();
    let after = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let mut room = Cramped { pause: AN_HOUR, ..Cramped::default() };
    for _ in 0..10 {
        assert!(wait.server(after(29)).await.is_some());
        wait.room(&mut room).await;
    }
    assert!(wait.server(after(29)).await.is_none(), "five minutes in all");
    assert!(Wait::default().server(after(31)).await.is_none());
    assert_eq!(wait.paused, 10 * AN_HOUR);
}
