//! What the four Airbyte verbs share: their files, and how they end.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::airbyte::messages::{ConnectionStatus, Message, Outcome};
use crate::airbyte::output::Output;
use crate::airbyte::state::{self, PassedStates};
use crate::clock::Clock;
use crate::config::source::SourceConfig;
use crate::config::{read_json, read_text};
use crate::error::{Error, ErrorKind, FailureType, Result};

/// Reads the source's configuration and hides its key from every message that follows.
///
/// # Errors
/// [`ErrorKind::Config`], naming the file or the field.
pub(super) fn load_config(path: &Path, clock: Clock, output: &Output) -> Result<SourceConfig> {
    let config = SourceConfig::from_json(read_json(path, "the configuration")?, clock)?;
    output.hide([&config.api_key]);
    Ok(config)
}

/// Reads the configured catalogue.
///
/// # Errors
/// [`ErrorKind::Config`], naming the file.
pub(super) fn load_catalog(path: &Path) -> Result<Value> {
    read_json(path, "the configured catalogue")
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
        Err(error) if error.kind().policy().failure_type == FailureType::Config => ConnectionStatus {
            status: Outcome::Failed,
            message: Some(output.shown(&error.user_message()).into_owned()),
        },
        Err(error) => return Err(error),
    };
    output.message(&Message::ConnectionStatus { connection_status });
    Ok(())
}

/// Writes what is left on stdout and turns the outcome into an exit code. A reader
/// that went away ends the program without a word, as it does in any pipe.
///
/// # Errors
/// The outcome's, or that stdout could not be written to.
pub(super) fn finish(output: &Output, outcome: Result<()>) -> Result<ExitCode> {
    match output.lines().close() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::from(ErrorKind::Io.policy().exit_code))
        }
        Err(error) => Err(Error::new(ErrorKind::Io, "cannot write to stdout").caused_by(error)),
        Ok(()) => outcome.map(|()| ExitCode::SUCCESS),
    }
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
