//! To come.

use std::process::ExitCode;

use crate::error::{Error, Result};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<ExitCode> {
    Err(Error::bug("not there yet"))
}
