//! The connection: one session of a warehouse, through the crate `snowflake-api`.
//!
//! Everything else in this module tree sees only [`Warehouse`], so that another
//! client can take the crate's place.

use std::sync::Arc;

use arrow57::{Array, StringArray};
use async_trait::async_trait;
use backon::ExponentialBuilder;
use bytes::Bytes;
use serde_json::Value;
use snowflake_api::{
    AuthArgs, AuthType, CertificateArgs, PasswordArgs, QueryResult, SnowflakeApi, SnowflakeApiBuilder,
};
use tokio::time::Instant;

use super::SnowflakeConfig;
use super::config::Credential;
use super::layer::{Call, Layer, Patience, Upload};
use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::failpoint;

/// Times that an upload asks the server for a new place when the storage refused
/// the old one: its credentials last an hour, and a file takes minutes at most.
const UPLOAD_PLACES_MAX: usize = 3;

/// The rows of an answer. A query casts its columns to VARCHAR; the counts of a
/// DML statement come as text anyway.
pub(super) type Answer = Vec<Vec<Option<String>>>;

/// One session of a warehouse. Statements run one after the other.
#[async_trait]
pub(super) trait Warehouse: Send + Sync {
    /// Runs one statement.
    ///
    /// # Errors
    /// [`super::layer::server_code`] tells the code when the server refused it.
    async fn execute(&self, statement: Statement) -> Result<Answer>;

    /// Puts a file on a stage: `place` is `@"STAGE"/folder/`. The same name again
    /// replaces the file.
    async fn upload(&self, place: &str, name: &str, bytes: Bytes) -> Result<()>;
}

/// [`Warehouse`] over `snowflake-api`, unmodified, and the [`Layer`].
pub(super) struct Client {
    api: SnowflakeApi,
    patience: Patience,
}

impl Client {
    /// Prepares a session; the first statement opens it.
    pub fn new(config: &SnowflakeConfig, retries: ExponentialBuilder, patience: Patience) -> Result<Self> {
        let credential = config.credential()?;
        let auth_type = match &credential {
            Credential::Key(key) => {
                AuthType::Certificate(CertificateArgs { private_key_pem: key.expose().to_owned() })
            }
            Credential::Password(password) => {
                AuthType::Password(PasswordArgs { password: password.expose().to_owned() })
            }
        };
        let auth = AuthArgs {
            // The region is part of the host, not of the name that is signed.
            account_identifier: config.account_name().to_owned(),
            warehouse: Some(config.warehouse.clone()),
            database: Some(config.database.clone()),
            // The server refuses a session whose schema does not exist yet.
            schema: None,
            username: config.user.clone(),
            role: config.role.clone(),
            auth_type,
        };
        let layer = Layer::new(config, retries, patience)?;
        let client = reqwest_middleware::ClientBuilder::new(Layer::http_client()?).with(layer).build();
        let api = SnowflakeApiBuilder::new(auth)
            .with_client(client)
            .build()
            .or_fail(ErrorKind::Bug, || "cannot build the Snowflake client".to_owned())?;
        Ok(Self { api, patience })
    }

    async fn call(&self, sql: &str, call: Arc<Call>) -> Result<Answer> {
        // Between any two statements: inside a transaction, and between COMMIT and its reading back.
        failpoint::pass();
        let outcome = Call::scope(Arc::clone(&call), self.api.exec(sql)).await;
        match outcome {
            Ok(result) => rows(result),
            Err(error) => Err(call.take_failure().unwrap_or_else(|| foreign(error))),
        }
    }
}

#[async_trait]
impl Warehouse for Client {
    async fn execute(&self, statement: Statement) -> Result<Answer> {
        tracing::debug!(sql = statement.sql, "snowflake statement");
        self.call(&statement.sql, Arc::new(Call::with_binds(statement.binds))).await
    }

    async fn upload(&self, place: &str, name: &str, bytes: Bytes) -> Result<()> {
        // The line comment keeps the crate's own, partial PUT from taking the statement.
        let sql = format!(
            "--\nPUT 'file:///{name}' {place} AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=GZIP OVERWRITE=TRUE"
        );
        let mut tries = 0;
        let begun = Instant::now();
        // A storage that let one place wait in vain has the next one at the same address.
        let patience = self.patience.upload(bytes.len());
        loop {
            tries += 1;
            let upload = Upload { name: name.to_owned(), bytes: bytes.clone() };
            match self.call(&sql, Arc::new(Call::with_upload(upload))).await {
                Ok(_) => return Ok(()),
                Err(error)
                    if tries < UPLOAD_PLACES_MAX && error.is_retryable() && begun.elapsed() < patience =>
                {
                    tracing::debug!(error = error.report(), "asking for a new upload place");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// An error that the crate made itself: nothing came from the server.
fn foreign(error: snowflake_api::SnowflakeApiError) -> Error {
    match &error {
        snowflake_api::SnowflakeApiError::AuthError(_) => {
            Error::new(ErrorKind::Sink, "snowflake's `private_key` cannot be used to sign in")
                .hint("it must be an RSA key in PKCS#8 PEM form")
                .caused_by(error)
        }
        _ => Error::new(ErrorKind::SinkUnavailable, "cannot read the answer of Snowflake").caused_by(error),
    }
}

fn rows(result: QueryResult) -> Result<Answer> {
    match result {
        QueryResult::Empty => Ok(Vec::new()),
        QueryResult::Json(json) => json_rows(&json.value),
        QueryResult::Arrow(batches) => {
            let mut rows = Vec::new();
            for batch in &batches {
                let columns: Vec<Option<&StringArray>> =
                    batch.columns().iter().map(|column| column.as_any().downcast_ref()).collect();
                for row in 0..batch.num_rows() {
                    let cell = |column: &Option<&StringArray>| {
                        let column = column.filter(|column| column.is_valid(row))?;
                        Some(column.value(row).to_owned())
                    };
                    rows.push(columns.iter().map(cell).collect());
                }
            }
            Ok(rows)
        }
    }
}

fn json_rows(value: &Value) -> Result<Answer> {
    let unexpected = || Error::new(ErrorKind::Sink, "the answer of Snowflake is not a table of values");
    let cell = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let rows = value.as_array().ok_or_else(unexpected)?;
    rows.iter().map(|row| Ok(row.as_array().ok_or_else(unexpected)?.iter().map(cell).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rowset_becomes_text() {
        let rows = json_rows(&serde_json::json!([["1", null], [2, "x"]])).unwrap();
        assert_eq!(rows, [[Some("1".to_owned()), None], [Some("2".to_owned()), Some("x".to_owned())]]);
        assert!(json_rows(&serde_json::json!({})).is_err());
    }
}
