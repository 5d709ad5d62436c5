//! What the crate `snowflake-api` lacks, as one middleware between it and the
//! server, with the crate unmodified:
//!
//! - a host other than the account's own ([`Layer::handle`]);
//! - retries that keep the `requestId`, by which Snowflake recognises a statement
//!   that it already ran ([`exchange`]);
//! - statements that take longer than 45 seconds, and renewal of an expired
//!   session ([`session`]);
//! - values for question marks, and uploads to a stage ([`Call`], [`stage`]);
//! - fields that the crate requires and a server may leave out ([`patch`]);
//! - bounds of the time that an answer takes, and all of its gzip members ([`patience`]);
//! - an error's code and message, instead of "did not match any variant" ([`error`]).
//!
//! The session's tokens stay here: the crate gets a placeholder, because it logs
//! the answer to a login.

mod encryption;
mod error;
mod exchange;
mod given;
mod patch;
mod patience;
mod session;
mod stage;

#[cfg(test)]
pub(super) mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backon::ExponentialBuilder;
use bytes::Bytes;
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};
use url::Url;

pub(super) use self::error::{is_about_a_name, server_code};
use self::exchange::Exchange;
pub(super) use self::patience::Patience;
use self::session::Session;
use super::SnowflakeConfig;
use super::statement::Bind;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A server that cannot be reached should be noticed within seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// What goes beside the SQL text of one statement, and what comes back beside
/// the crate's own error.
pub(super) struct Call {
    binds: Vec<Bind>,
    upload: Option<Upload>,
    failure: Mutex<Option<Error>>,
}

/// A file for a stage.
#[derive(Clone)]
pub(super) struct Upload {
    pub name: String,
    pub bytes: Bytes,
}

impl Call {
    pub fn with_binds(binds: Vec<Bind>) -> Self {
        Self { binds, upload: None, failure: Mutex::new(None) }
    }

    pub fn with_upload(upload: Upload) -> Self {
        Self { binds: Vec::new(), upload: Some(upload), failure: Mutex::new(None) }
    }

    /// Runs `work`, whose requests belong to `call`.
    pub async fn scope<T>(call: Arc<Self>, work: impl Future<Output = T>) -> T {
        CALL.scope(call, work).await
    }

    /// The error that ended the call, if it came from the layer.
    pub fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn current() -> Result<Arc<Self>> {
        CALL.try_with(Arc::clone).or_fail(ErrorKind::Bug, || "a Snowflake request outside a call".to_owned())
    }

    /// Keeps the typed error; the crate gets one that says nothing.
    fn fail(&self, error: Error) -> reqwest_middleware::Error {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        reqwest_middleware::Error::middleware(std::io::Error::other("see the layer's own error"))
    }
}

/// The middleware.
pub(super) struct Layer {
    session: Session,
    exchange: Exchange,
    uploads: stage::Uploader,
}

impl Layer {
    pub fn new(config: &SnowflakeConfig, retries: ExponentialBuilder, patience: Patience) -> Result<Self> {
        let host = config.url()?;
        Ok(Self {
            uploads: stage::Uploader::new(config.host.is_some(), retries, patience)?,
            exchange: Exchange::new(host, retries, patience),
            session: Session::default(),
        })
    }

    /// The client below the layer. It follows no redirect: a redirected login
    /// would carry the password to another host. The layer bounds and unpacks answers.
    pub fn http_client() -> Result<reqwest::Client> {
        reqwest::Client::builder()
            .user_agent(concat!("tapeline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .or_fail(ErrorKind::Bug, || "cannot build the HTTP client".to_owned())
    }

    async fn answer(
        &self,
        call: &Call,
        request: &Request,
        extensions: &mut http::Extensions,
        next: &Next<'_>,
    ) -> Result<Response> {
        let mut wire = exchange::Wire { exchange: &self.exchange, next: next.clone(), extensions };
        if !is_for_server(request.url()) {
            // A part of a large result, at a signed URL of the cloud's storage.
            return wire.part(request).await.map(|part| Response::from(http::Response::new(part)));
        }
        match request.url().path().trim_start_matches('/') {
            "session/v1/login-request" => self.session.login(&mut wire, request).await,
            "queries/v1/query-request" => {
                let data = self.session.query(&mut wire, request, &call.binds).await?;
                given::learn(&data);
                match &call.upload {
                    None => patch::query(data),
                    Some(upload) => {
                        self.uploads.upload(&data, upload).await?;
                        patch::query(serde_json::json!({ "rowset": [], "total": 0 }))
                    }
                }
            }
            "session" => self.session.close(&mut wire, request).await,
            path => Err(Error::bug(format!("unexpected request of the Snowflake client to {path}"))),
        }
    }
}

#[async_trait]
impl Middleware for Layer {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let call = Call::current().map_err(reqwest_middleware::Error::middleware)?;
        self.answer(&call, &request, extensions, &next).await.map_err(|error| call.fail(error))
    }
}

/// Whether the crate means Snowflake itself, by the host that it always writes.
fn is_for_server(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(".snowflakecomputing.com"))
}
