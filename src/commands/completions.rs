//! `completions`: a shell's completions, from the definitions of the commands.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::error::{ErrorKind, Result, ResultExt};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell; for bash: `source <(tapeline completions bash)`.
    #[arg(value_name = "SHELL")]
    shell: Supported,
}

/// The shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Supported {
    Bash,
    Zsh,
    Fish,
}

/// Prints those of `command`.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run(args: &Args, mut command: clap::Command) -> Result<ExitCode> {
    let shell = match args.shell {
        Supported::Bash => Shell::Bash,
        Supported::Zsh => Shell::Zsh,
        Supported::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&text).and_then(|()| stdout.flush());
    written.or_fail(ErrorKind::Io, || "cannot write to stdout".to_owned())?;
    Ok(ExitCode::SUCCESS)
}
