//! How long the server and its storage are waited for, and answers read within it.
//!
//! Bytes that trickle are no sign of life: each try ends, and so does a request.

use std::future::Future;
use std::io::Read;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use reqwest::header::CONTENT_ENCODING;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use crate::retry::{Tries, WAITED_MAX};

/// Until an answer begins, and between two pieces of it. Snowflake answers after 45
/// seconds at the latest, if only to say "not yet".
const READ_MAX: Duration = Duration::from_secs(120);
/// For the whole of an answer: the first rows of a result at most, the others come in parts.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// For a part of a result, which has some 20 MB and shares the line with the other parts.
const PART_MAX: Duration = Duration::from_secs(3600);
/// Bytes a second that a body must have brought on average once [`READ_MAX`] is over.
const RATE_MIN: u64 = 1 << 10;
/// Bytes a second at which a file goes to a stage, beside [`READ_MAX`]: a slower line
/// could not follow the source anyway.
const UPLOAD_RATE_MIN: u64 = 32 << 10;
/// A larger answer or part, unpacked, is none.
const BODY_MAX: usize = 1 << 30;

/// The bounds, which tests draw closer.
#[derive(Debug, Clone, Copy)]
pub(in crate::sink::snowflake) struct Patience {
    pub read: Duration,
    pub answer: Duration,
    pub part: Duration,
    pub waited: Duration,
    pub rate: u64,
    pub upload_rate: u64,
    pub body: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            read: READ_MAX,
            answer: ANSWER_MAX,
            part: PART_MAX,
            waited: WAITED_MAX,
            rate: RATE_MIN,
            upload_rate: UPLOAD_RATE_MIN,
            body: BODY_MAX,
        }
    }
}

/// Why a try gave no answer.
pub(super) struct Missed {
    pub reason: String,
    /// Whether another try may help.
    pub again: bool,
    pub wait: Option<Duration>,
    pub status: Option<StatusCode>,
}

impl Missed {
    /// Something that may pass.
    pub fn below_http(reason: String) -> Self {
        Self { reason, again: true, wait: None, status: None }
    }

    /// What a status says.
    pub fn status(status: StatusCode) -> Self {
        let again = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        Self { reason: format!("HTTP status {status}"), again, wait: None, status: Some(status) }
    }
}

impl Patience {
    /// Time for all tries to put a file of so many bytes on a stage; each has it too.
    pub fn upload(&self, bytes: usize) -> Duration {
        self.read + at_rate(bytes, self.upload_rate)
    }

    /// Waits until an answer begins.
    pub(super) async fn begin(
        &self,
        answer: impl Future<Output = reqwest_middleware::Result<Response>>,
    ) -> Result<Response, Missed> {
        let begun = tokio::time::timeout(self.read, answer).await;
        let response = begun.map_err(|_| Missed::below_http(silent(self.read)))?;
        response.map_err(|error| {
            Missed::below_http(match &error {
                reqwest_middleware::Error::Reqwest(error) => root_cause(error),
                reqwest_middleware::Error::Middleware(error) => error.root_cause().to_string(),
            })
        })
    }

    /// Reads a body, which began to be asked for at `asked`, within `whole`.
    pub(super) async fn body(
        &self,
        mut response: Response,
        asked: Instant,
        whole: Duration,
    ) -> Result<Vec<u8>, Missed> {
        let mut packed = Vec::new();
        let outcome = loop {
            let allowed = whole.min(self.read + at_rate(packed.len(), self.rate));
            let left = self.read.min(allowed.saturating_sub(asked.elapsed()));
            match tokio::time::timeout(left, response.chunk()).await {
                Ok(Ok(Some(piece))) => packed.extend_from_slice(&piece),
                Ok(Ok(None)) => break self.unpack(&response, packed),
                Ok(Err(error)) => break Err(format!("the answer broke off: {}", root_cause(&error))),
                Err(_) => break Err(slow(packed.len(), asked.elapsed())),
            }
            if packed.len() > self.body {
                break Err(self.too_large());
            }
        };
        outcome.map_err(|reason| Missed { status: Some(response.status()), ..Missed::below_http(reason) })
    }

    /// The text of a body. reqwest's own decoder ends with the first gzip member and
    /// drops what follows; in a part of a result that may be rows, and nothing tells.
    fn unpack(&self, response: &Response, packed: Vec<u8>) -> Result<Vec<u8>, String> {
        let encoding = response.headers().get(CONTENT_ENCODING).map(|name| name.as_bytes());
        match encoding.map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"" | b"identity") => Ok(packed),
            // The body of an error may be empty, and then has no member.
            Some(b"gzip" | b"x-gzip") if packed.is_empty() => Ok(packed),
            Some(b"gzip" | b"x-gzip") => {
                let mut text = Vec::new();
                let mut members = MultiGzDecoder::new(packed.as_slice()).take(self.body as u64 + 1);
                members
                    .read_to_end(&mut text)
                    .map_err(|error| format!("the answer is not the gzip that it says it is: {error}"))?;
                if text.len() > self.body { Err(self.too_large()) } else { Ok(text) }
            }
            Some(_) => Err("the answer is packed in another way than gzip, which was asked for".to_owned()),
        }
    }

    fn too_large(&self) -> String {
        format!("the answer is larger than {} MB", self.body >> 20)
    }
}

fn at_rate(bytes: usize, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

fn silent(waited: Duration) -> String {
    format!("nothing came in {} s", waited.as_secs())
}

fn slow(bytes: usize, waited: Duration) -> String {
    format!("the answer came too slowly: {bytes} bytes in {} s", waited.as_secs())
}

/// The innermost cause: it says what happened, and it never holds the URL.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        // Without an inner cause reqwest's own text would name the URL.
        Some(_) if error.is_timeout() => "time-out".to_owned(),
        Some(_) => "the connection failed".to_owned(),
        None => cause.to_string(),
    }
}

/// Waits until the time for another try, after one that waited for so long. None when there is
/// no other.
pub(super) async fn again(tries: &mut Tries, missed: &Missed, waited: Duration) -> Option<()> {
    tries.failed(waited);
    if !missed.again {
        return None;
    }
    let drawn = tries.delay()?;
    let delay = missed.wait.unwrap_or(drawn);
    tracing::debug!(reason = missed.reason, ?delay, "snowflake request again");
    tokio::time::sleep(delay).await;
    Some(())
}

/// What was tried, to put behind the reason of the last failure.
pub(super) fn told(tries: &Tries) -> String {
    let times = (tries.count() > 1).then(|| format!("{} tries", tries.count()));
    let waited = tries.is_over().then(|| format!("given up after {} s of waiting", tries.waited().as_secs()));
    let told: Vec<String> = times.into_iter().chain(waited).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}
