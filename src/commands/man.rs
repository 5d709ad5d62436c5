//! `man`: manual pages, from the definitions of the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::{ErrorKind, Result, ResultExt};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the pages, one a command; created if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Writes those of `command` and of all commands in it.
///
/// # Errors
/// When the folder cannot be written.
pub fn run(args: &Args, command: clap::Command) -> Result<ExitCode> {
    let failed = || format!("cannot write manual pages into {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).or_fail(ErrorKind::Io, failed)?;
    clap_mangen::generate_to(command, &args.dir).or_fail(ErrorKind::Io, failed)?;
    Ok(ExitCode::SUCCESS)
}
