//! Requests to the API: authorised, rate-limited, bounded in time and size, and
//! repeated when that may help.

mod answer;

#[cfg(test)]
pub(super) use answer::failure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::BackoffBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use url::Url;

use crate::config::source::SourceConfig;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::limit::Limiter;
use crate::observe::{Event, Observer};
use crate::{retry, secret};

/// Opening a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer: a server that stalls is left.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A whole answer. A page of 50,000 bars has 6 MB.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(300);
/// A larger answer, decompressed, is not a page: the largest known has 20 MB.
const BODY_MAX: usize = 256 << 20;

/// Tries of a server that has never answered, after the first: an address that is
/// wrong is told within seconds. One that did answer gets all of [`retry::policy`].
const RETRIES_BEFORE_AN_ANSWER: usize = 4;

/// Takes an answer's text as it comes in, once for each attempt at a request.
pub(super) trait Intake {
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
}

impl Client {
    pub(super) fn new(config: SourceConfig, observer: Arc<dyn Observer>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("tapeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            // A redirect could take the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .gzip(true)
            .build()
            .or_fail(ErrorKind::Io, || "cannot set up TLS with this machine's certificates".to_owned())?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", config.api_key.expose()))
            .map_err(|_| Error::config("`api_key` holds a character that a header cannot carry"))?;
        authorization.set_sensitive(true);
        let limiter = Limiter::new(config.plan);
        let has_answered = AtomicBool::new(false);
        Ok(Self { http, config, authorization, limiter, observer, has_answered })
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
        let mut delays = retry::policy().build();
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.once(&url, stream, intake).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let error = error.context(format_args!("GET {}", without_query(target)));
            if !error.is_retryable() {
                return Err(error);
            }
            let Some(bound) = delays.next().filter(|_| self.is_patient(&error, tries)) else {
                return Err(error.or_hint(|| "it was tried several times; try again later".to_owned()));
            };
            let delay = retry::jittered(bound);
            self.observer.event(&Event::Retry { error: &error, delay });
            tokio::time::sleep(delay).await;
        }
    }

    fn is_patient(&self, error: &Error, tries: usize) -> bool {
        error.kind() != ErrorKind::Unreachable
            || self.has_answered.load(Ordering::Relaxed)
            || tries <= RETRIES_BEFORE_AN_ANSWER
    }

    async fn once<I: Intake>(&self, url: &Url, stream: Option<&str>, intake: &mut I) -> Result<I::Output> {
        let permit = self
            .limiter
            .acquire(|until| {
                let delay = until.saturating_duration_since(tokio::time::Instant::now());
                self.observer.event(&Event::RateLimited { stream, delay });
            })
            .await;
        let request = self.http.get(url.clone()).header(AUTHORIZATION, self.authorization.clone());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                if error.is_connect() {
                    self.limiter.give_back(permit);
                }
                return Err(self.transport(error));
            }
        };
        let status = response.status();
        let pause = answer::retry_after(response.headers());
        let request_id = answer::request_id(response.headers());
        if status.is_success() {
            self.body(response, stream, intake).await?;
            return intake.end();
        }
        let mut body = Whole::default();
        self.body(response, stream, &mut body).await?;
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
    ) -> Result<()> {
        let status = response.status();
        let mut first = None;
        let mut bytes = 0;
        intake.begin();
        while let Some(piece) = response.chunk().await.map_err(|error| self.transport(error))? {
            bytes += piece.len();
            if bytes > BODY_MAX {
                return Err(Error::new(
                    ErrorKind::Response,
                    format!("the answer is larger than {} MB", BODY_MAX >> 20),
                ));
            }
            if first.is_none() {
                first = answer::first_character(&piece);
                if first.is_some() {
                    self.assert_of_the_api(status, first)?;
                }
            }
            intake.take(&piece)?;
        }
        if first.is_none() {
            self.assert_of_the_api(status, None)?;
        }
        self.observer.event(&Event::Request { stream, bytes: bytes as u64 });
        Ok(())
    }

    /// A failure below HTTP. The URL is left out: it can hold what a proxy put there.
    fn transport(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let (kind, what) = if error.is_connect() {
            (ErrorKind::Unreachable, "the API cannot be reached")
        } else if error.is_timeout() {
            (ErrorKind::Unavailable, "the API did not answer in time")
        } else if error.is_decode() {
            (ErrorKind::Unavailable, "the answer is not what its encoding says")
        } else {
            (ErrorKind::Unavailable, "the connection to the API broke")
        };
        Error::new(kind, format!("{what} at {}", self.config.base_url.authority()))
            .hint("check `base_url` and the network, and try again later")
            .caused_by(error)
    }

    /// `target` on the configured host.
    fn url(&self, target: &str) -> Result<Url> {
        let base = self.config.base_url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{target}"))
            .or_fail(ErrorKind::Bug, || "a request's address is not a URL".to_owned())
    }
}

/// Path and query of a `next_url`, whatever its host: the key goes to the
/// configured host only. A parameter in which the server put the key is left out.
///
/// # Errors
/// [`ErrorKind::Response`] when it is not a URL, [`ErrorKind::Refused`] when it has the
/// key in another place: an address is written into logs on its way.
pub(super) fn continuation(next_url: &str) -> Result<String> {
    let any_host = Url::parse("http://host.invalid/").expect("a constant URL");
    let url = any_host
        .join(next_url)
        .or_fail(ErrorKind::Response, || "the answer's `next_url` is not a URL".to_owned())?;
    let query: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.to_ascii_lowercase().starts_with("apikey="))
        .collect();
    let target =
        if query.is_empty() { url.path().to_owned() } else { format!("{}?{}", url.path(), query.join("&")) };
    if secret::is_in(&target) {
        // It would come again with every try.
        return Err(Error::new(
            ErrorKind::Refused,
            "the answer's `next_url` holds the key, so it is not followed",
        )
        .hint("check `base_url`: the API does not repeat keys, a proxy may"));
    }
    Ok(target)
}

fn without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

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
        let key = Secret::new("k-client.rs+0123456789");
        for target in ["/v3/a?token=k-client.rs%2b0123456789", "/k-client.rs+0123456789?cursor=x"] {
            let error = continuation(target).unwrap_err().user_message();
            assert!(error.contains("holds the key") && !error.contains(key.expose()), "{error}");
        }
    }
}
