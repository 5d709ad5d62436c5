//! What the four Airbyte verbs share: their files, and how they end.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::airbyte::messages::{ConnectionStatus, Message, Outcome};
use crate::airbyte::output::Output;
use crate::airbyte::state::{self, PassedStates};
use crate::clock::Clock;
use crate::config::source::SourceConfig;
use crate::config::{JsonFile, read_json, read_source, read_text};
use crate::error::{Error, FailureType, Result};
use crate::outlet;

/// Reads the source's configuration.
///
/// # Errors
/// [`ErrorKind::Config`], naming the file or the field.
pub(super) fn load_config(path: &Path, clock: Clock) -> Result<SourceConfig> {
    read_source(path, clock)
}

/// Reads the configured catalogue.
///
/// # Errors
/// [`ErrorKind::Config`], naming the file.
pub(super) fn load_catalog(path: &Path) -> Result<Value> {
    let catalog = read_json(path, JsonFile::Catalog)?;
    let streams = catalog.get("catalog").unwrap_or(&catalog).get("streams").and_then(Value::as_array);
    let is_plain = |stream: &Value| stream.get("stream").is_none() && stream.get("name").is_some();
    if streams.into_iter().flatten().any(is_plain) {
        return Err(Error::config(format!(
            "the configured catalogue {} is a plain one, as `discover` prints it",
            path.display()
        ))
        .hint(
            "put each stream that is wanted into `{\"stream\": …, \"sync_mode\": \"incremental\", \
                 \"destination_sync_mode\": \"append_dedup\"}`; catalogs/ has examples",
        ));
    }
    Ok(catalog)
}

/// Reads the state file; none means no state.
///
/// # Errors
/// [`ErrorKind::Config`] when there is no such file, [`ErrorKind::State`] when it
/// does not hold states.
pub(super) fn load_state(path: Option<&Path>) -> Result<PassedStates> {
    let Some(path) = path else { return Ok(PassedStates::new()) };
    let text = read_text(path, "the state")?;
    state::parse(&text).map_err(|error| error.context(path.display()))
}

/// Answers a check: a problem that the user can mend is an answer. `outcome` may hold
/// a remark on a configuration that works.
///
/// # Errors
/// Any other problem is no answer.
pub(super) fn answer_check(output: &Output, outcome: Result<Option<String>>) -> Result<()> {
    let connection_status = match outcome {
        Ok(message) => ConnectionStatus { status: Outcome::Succeeded, message },
        Err(error) if error.kind().policy().failure_type == FailureType::Config => {
            ConnectionStatus { status: Outcome::Failed, message: Some(error.user_message()) }
        }
        Err(error) => return Err(error),
    };
    output.message(&Message::ConnectionStatus { connection_status });
    Ok(())
}

/// Writes what is left on stdout and turns the outcome into an exit code.
///
/// # Errors
/// The outcome's, or that stdout could not be written to.
pub(super) fn finish(output: &Output, outcome: Result<()>) -> Result<ExitCode> {
    output.lines().close().map_err(|error| outlet::stdout_failed(&error))?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// As [`finish`], for an outcome that no message has told yet.
///
/// # Errors
/// As [`finish`].
pub(super) fn finish_telling(output: &Output, outcome: Result<()>) -> Result<ExitCode> {
    if let Err(error) = &outcome {
        output.error(error, None);
    }
    finish(output, outcome)
}
