//! Requests to the API: authorised, rate-limited, bounded in time and size, and
//! repeated when that may help.

mod answer;
mod clock;
mod encoding;

#[cfg(test)]
pub(super) use answer::failure;
pub(super) use answer::{mismatch, shortened};

pub(super) use clock::{CLOCKS_DIFFER_MAX, ClockCheck};

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use tokio::time::Instant;
use url::Url;

use crate::config::source::SourceConfig;
use crate::error::{Error, ErrorKind, Result, ResultExt, Retry};
use crate::limit::{Limiter, Permit};
use crate::observe::{Event, Observer};
use crate::retry::{self, Tries, WAITED_MAX};

use encoding::Encoding;

/// Opening a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until an answer begins, and between two pieces of it: a server that stalls is left.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For all pieces of an answer together. A page of 50,000 bars has 6 MB.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections kept for the next request: as many as a limit lets wait for it.
const IDLE_MAX: usize = 16;
/// A larger answer, decompressed, is not a page: the largest known has 20 MB.
const BODY_MAX: usize = 256 << 20;

/// Tries of a server that has never answered, after the first: an address that is
/// wrong is told within seconds. One that did answer gets all of [`retry::policy`].
const RETRIES_BEFORE_AN_ANSWER: usize = 4;

/// A server may leave a client that reads nothing for so long. nginx waits a minute.
const PAUSE_HARMLESS: Duration = Duration::from_secs(5);

/// Tries after the first of what will hardly pass: [`Retry::Few`].
const RETRIES_FEW: usize = 2;

/// Takes an answer's text as it comes in, once for each attempt at a request.
pub(super) trait Intake: Send {
    /// What comes of an answer.
    type Output;

    /// An answer begins; what came of an earlier one is forgotten.
    fn begin(&mut self);

    /// Takes the next piece.
    ///
    /// # Errors
    /// When it can already be told that the answer is none.
    fn take(&mut self, piece: &[u8]) -> Result<()>;

    /// The answer is complete.
    ///
    /// # Errors
    /// When it is none.
    fn end(&mut self) -> Result<Self::Output>;

    /// Waits until what was taken may be held in memory, and more be read.
    fn room(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Waits until [`Intake::room`] never has to wait again.
    fn alone(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// An answer's text as it is.
#[derive(Debug, Default)]
pub(super) struct Whole(Vec<u8>);

impl Intake for Whole {
    type Output = Vec<u8>;

    fn begin(&mut self) {
        self.0.clear();
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.0.extend_from_slice(piece);
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }
}

/// A client under one key.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    config: SourceConfig,
    authorization: HeaderValue,
    limiter: Arc<Limiter>,
    observer: Arc<dyn Observer>,
    /// Whether the API itself has answered: then `base_url` is right.
    has_answered: AtomicBool,
    clock: ClockCheck,
    waited_max: Duration,
}

impl Client {
    pub(super) fn new(config: SourceConfig, clock: ClockCheck, observer: Arc<dyn Observer>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("tapeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // The streams of one HTTP/2 connection share a window: those whose reading
            // pauses would fill it, and hold up the one that they wait for.
            .http1_only()
            // One that is kept keeps what it needed for the largest answer.
            .pool_max_idle_per_host(IDLE_MAX)
            // A redirect could take the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            // Bodies are unpacked by `encoding`.
            .no_gzip()
            .build()
            .or_fail(ErrorKind::Io, || "cannot set up TLS with this machine's certificates".to_owned())?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", config.api_key.expose()))
            .map_err(|_| Error::config("`api_key` holds a character that a header cannot carry"))?;
        authorization.set_sensitive(true);
        let limiter = Limiter::new(config.plan);
        let has_answered = AtomicBool::new(false);
        let waited_max = WAITED_MAX;
        Ok(Self { http, config, authorization, limiter, observer, has_answered, clock, waited_max })
    }

    #[cfg(test)]
    pub(super) fn wait_at_most(&mut self, waited_max: Duration) {
        self.waited_max = waited_max;
    }

    /// Whether somebody chose the moment as of which everything is read.
    pub(super) fn is_as_of_chosen(&self) -> bool {
        self.clock.is_fixed()
    }

    /// The moment as of which everything is read.
    pub(super) fn as_of(&self) -> Timestamp {
        self.clock.as_of()
    }

    /// Asks the API for no more than an answer, which says what time it is.
    ///
    /// # Errors
    /// When it does not answer, or its clock is another one than this run's.
    pub(super) async fn confirm_clock(&self) -> Result<()> {
        self.fetch("/v1/marketstatus/upcoming", None, &mut Whole::default()).await.map(drop)
    }

    pub(super) fn config(&self) -> &SourceConfig {
        &self.config
    }

    pub(super) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Fetches `target` (path and query) into `intake`. Failures of either that may
    /// pass are tried again.
    ///
    /// # Errors
    /// The last failure.
    pub(super) async fn fetch<I: Intake>(
        &self,
        target: &str,
        stream: Option<&str>,
        intake: &mut I,
    ) -> Result<I::Output> {
        let url = self.url(target)?;
        let mut tries = Tries::new(retry::policy(), self.waited_max);
        let mut hopeless = 0;
        let mut is_alone = false;
        loop {
            let permit = self.permit(stream).await;
            let mut wait = Wait::default();
            let error = match self.once(&url, permit, stream, intake, &mut wait).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            tries.failed(wait.server);
            let error = error.context(format_args!("GET {}", without_query(target)));
            if !error.is_retryable() {
                return Err(error);
            }
            // The server may have left for our pause. Without one it is its own fault.
            if wait.paused > PAUSE_HARMLESS && !is_alone {
                intake.alone().await;
                is_alone = true;
                continue;
            }
            if error.kind().policy().retry == Retry::Few {
                hopeless += 1;
                if hopeless > RETRIES_FEW {
                    return Err(error);
                }
            }
            if tries.is_over() {
                return Err(error.hint(format!(
                    "given up after {} s of waiting for the server; check the network, and try again later",
                    tries.waited().as_secs()
                )));
            }
            let Some(delay) = tries.delay().filter(|_| self.is_patient(&error, tries.count())) else {
                return Err(error.or_hint(|| "it was tried several times; try again later".to_owned()));
            };
            self.observer.event(&Event::Retry { error: &error, delay });
            tokio::time::sleep(delay).await;
        }
    }

    fn is_patient(&self, error: &Error, tries: usize) -> bool {
        error.kind() != ErrorKind::Unreachable
            || self.has_answered.load(Ordering::Relaxed)
            || tries <= RETRIES_BEFORE_AN_ANSWER
    }

    async fn permit(&self, stream: Option<&str>) -> Permit {
        self.limiter
            .acquire(stream.unwrap_or_default(), |until| {
                let delay = until.saturating_duration_since(Instant::now());
                self.observer.event(&Event::RateLimited { stream, delay });
            })
            .await
    }

    async fn once<I: Intake>(
        &self,
        url: &Url,
        permit: Permit,
        stream: Option<&str>,
        intake: &mut I,
        wait: &mut Wait,
    ) -> Result<I::Output> {
        let request = self
            .http
            .get(url.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT_ENCODING, "gzip");
        let response = match wait.server(request.send()).await {
            None => return Err(self.unanswered()),
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                if error.is_connect() {
                    self.limiter.give_back(permit);
                }
                return Err(self.transport(error));
            }
        };
        let status = response.status();
        let pause = answer::retry_after(response.headers());
        let request_id = answer::request_id(response.headers());
        // What a gateway says in place of the API has a clock of its own.
        if status.is_success() || status.is_client_error() {
            self.clock.check(response.headers())?;
        }
        if status.is_success() {
            self.body(response, stream, intake, wait).await?;
            return intake.end();
        }
        let mut body = Whole::default();
        // However a gateway packs its words: its status says what matters.
        if !answer::is_gateways(status) || Encoding::of(response.headers()).is_ok() {
            self.body(response, stream, &mut body, wait).await?;
        }
        let error = answer::failure(status, &body.0, request_id.as_deref());
        if error.kind() == ErrorKind::RateLimited {
            self.limiter.pause(pause.unwrap_or_else(|| self.limiter.default_pause()));
        }
        Err(error)
    }

    /// Refuses what a proxy, a login page or another site says in place of the API.
    /// Before the API ever answered that is a mistake in the configuration.
    fn assert_of_the_api(&self, status: reqwest::StatusCode, first: Option<u8>) -> Result<()> {
        match answer::foreign(status, first) {
            None => {
                self.has_answered.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(error) if self.has_answered.load(Ordering::Relaxed) => Err(error),
            Some(error) => Err(error.of_kind(ErrorKind::Config)),
        }
    }

    /// Reads the whole of an answer's body into `intake`.
    async fn body(
        &self,
        mut response: reqwest::Response,
        stream: Option<&str>,
        intake: &mut impl Intake,
        wait: &mut Wait,
    ) -> Result<()> {
        let status = response.status();
        let mut encoding = Some(Encoding::of(response.headers())?);
        let mut first = None;
        let mut bytes = 0;
        intake.begin();
        while let Some(mut coming) = encoding.take() {
            let piece = wait.server(response.chunk()).await.ok_or_else(|| self.unanswered())?;
            let piece = match piece.map_err(|error| self.transport(error))? {
                Some(piece) => {
                    let text = coming.decode(piece);
                    encoding = Some(coming);
                    text?
                }
                None => coming.end()?,
            };
            bytes += piece.len();
            if bytes > BODY_MAX {
                return Err(mismatch(format!("the answer is larger than {} MB", BODY_MAX >> 20)));
            }
            if first.is_none() {
                first = answer::first_character(&piece);
                if let Some(error) = answer::speaks_tls(status, &piece) {
                    return Err(error);
                }
                if first.is_some() {
                    self.assert_of_the_api(status, first)?;
                }
            }
            intake.take(&piece)?;
            wait.room(intake).await;
        }
        if first.is_none() {
            self.assert_of_the_api(status, None)?;
        }
        self.observer.event(&Event::Request { stream, bytes: bytes as u64 });
        Ok(())
    }

    /// The server does not answer, or stalls in the middle.
    fn unanswered(&self) -> Error {
        self.below_http(ErrorKind::Unavailable, "the API did not answer in time")
    }

    fn below_http(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("{what} at {}", self.config.base_url.authority()))
            .hint("check `base_url` and the network, and try again later")
    }

    /// A failure below HTTP. The URL is left out: it can hold what a proxy put there.
    fn transport(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        if let Some(told) = answer::wrong_scheme(&error, self.config.base_url.scheme()) {
            return told.caused_by(error);
        }
        let (kind, what) = if error.is_connect() {
            (ErrorKind::Unreachable, "the API cannot be reached")
        } else if error.is_timeout() {
            (ErrorKind::Unavailable, "the API did not answer in time")
        } else {
            (ErrorKind::Unavailable, "the connection to the API broke")
        };
        self.below_http(kind, what).caused_by(error)
    }

    /// `target` on the configured host.
    fn url(&self, target: &str) -> Result<Url> {
        let base = self.config.base_url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{target}"))
            .or_fail(ErrorKind::Bug, || "a request's address is not a URL".to_owned())
    }
}

/// What an attempt at a request waits for. The server is given so much time; what
/// passes while there is no room for its answer is not its fault.
#[derive(Debug, Default)]
struct Wait {
    server: Duration,
    paused: Duration,
}

impl Wait {
    /// Waits for the server; none when it takes too long.
    async fn server<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let left = READ_TIMEOUT.min(TOTAL_TIMEOUT.saturating_sub(self.server));
        let answer = tokio::time::timeout(left, answer).await.ok();
        self.server += begun.elapsed();
        answer
    }

    /// Waits until there is room.
    async fn room(&mut self, intake: &mut impl Intake) {
        let begun = Instant::now();
        intake.room().await;
        self.paused += begun.elapsed();
    }
}

fn without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

#[cfg(test)]
mod tests;
