//! `spec`: prints the specification of the source.

use std::process::ExitCode;

use crate::airbyte::messages::Message;
use crate::airbyte::output::Output;
use crate::airbyte::spec;
use crate::error::Result;

use super::protocol;

/// Prints it.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run() -> Result<ExitCode> {
    let output = Output::to_stdout()?;
    output.message(&Message::Spec { spec: &spec::source() });
    protocol::finish(&output, Ok(()))
}
