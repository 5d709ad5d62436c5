use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::observe::Silent;

/// A server that gives each connection the next of these texts and closes it.
async fn serve(answers: Vec<impl AsRef<[u8]> + Send + Sync + 'static>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _request = connection.read(&mut [0; 4096]).await.unwrap();
            // Who has enough of an answer hangs up.
            let _sent = connection.write_all(answer.as_ref()).await;
        }
    });
    format!("http://{address}")
}

fn answer(length: usize, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn client(base_url: &str) -> Client {
    let config = json!({"api_key": "key-of-no-one", "base_url": base_url, "plan": {"type": "paid"}, "start_date": "2024-01-02"});
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

/// Takes any text and keeps none.
struct Nothing;

impl Intake for Nothing {
    type Output = ();

    fn begin(&mut self) {}

    fn take(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What comes of these answers, one after the other.
async fn outcome(answers: Vec<Vec<u8>>) -> Option<(ErrorKind, String)> {
    let url = serve(answers).await;
    let outcome = client(&url).fetch("/x", None, &mut Nothing).await;
    outcome.err().map(|error| (error.kind(), error.user_message()))
}

#[tokio::test]
async fn an_answer_that_has_no_end_is_asked_for_three_times() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"{").unwrap();
    for _ in 0..=(BODY_MAX >> 20) {
        encoder.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    let endless = [head.as_bytes(), &body].concat();
    let whole = answer(WHOLE.len(), WHOLE).into_bytes();
    let twice = vec![endless.clone(), endless.clone(), whole.clone()];
    assert_eq!(outcome(twice).await, None, "it passed");
    let thrice = vec![endless.clone(), endless.clone(), endless, whole];
    let (kind, message) = outcome(thrice).await.unwrap();
    assert_eq!(kind, ErrorKind::Mismatch, "{message}");
    assert!(message.contains("the answer is larger than 256 MB"), "{message}");
}

/// A gateway's failure is one however it is packed; what the API itself says must be readable.
#[tokio::test]
async fn only_what_matters_must_be_packed_as_it_was_asked_for() {
    let packed = |status: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Encoding: br\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\x0b\x02").into_bytes()
    };
    let whole = answer(WHOLE.len(), WHOLE).into_bytes();
    let then_whole = |status: &str| [vec![packed(status); 3], vec![whole.clone()]].concat();
    assert_eq!(outcome(then_whole("503 Service Unavailable")).await, None, "it passed");
    for status in ["200 OK", "403 Forbidden"] {
        let (kind, message) = outcome(then_whole(status)).await.unwrap();
        assert_eq!(kind, ErrorKind::Mismatch, "{status}: {message}");
        assert!(message.contains("is packed as br, and gzip was asked for"), "{status}: {message}");
    }
}
