//! The command line: parse arguments, run one command, map its error to an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::error::Result;
use crate::version;

/// Market data from Polygon.io (now Massive) into a warehouse, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tapeline", version = version::text(), arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Airbyte: print the specification of the source's configuration.
    Spec,
    /// Airbyte: check a configuration against the API.
    Check(commands::check::Args),
    /// Airbyte: print the catalogue of streams.
    Discover(commands::discover::Args),
    /// Airbyte: read streams to stdout.
    Read(commands::read::Args),
    /// Airbyte: the destination, with verbs of its own.
    Destination(commands::destination::Args),
    /// Run a pipeline: from the API into a warehouse.
    Sync(commands::sync::Args),
    /// Write a commented pipeline.yaml to start from.
    Init(commands::init::Args),
    /// Serve a synthetic market that looks like the API.
    Simulate(commands::simulate::Args),
    /// Show what it does: no key, no network, a minute.
    Demo(commands::demo::Args),
    /// Print the completions of a shell.
    Completions(commands::completions::Args),
    /// Write manual pages.
    Man(commands::man::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments(std::env::args_os()));
    let outcome = match cli.command {
        Command::Spec => commands::spec::run(),
        Command::Check(args) => block_on(commands::check::run(args)),
        Command::Discover(args) => commands::discover::run(&args),
        Command::Read(args) => block_on(commands::read::run(args)),
        Command::Destination(args) => block_on(commands::destination::run(args)),
        Command::Sync(args) => block_on(commands::sync::run(args)),
        Command::Init(args) => commands::init::run(&args),
        Command::Simulate(args) => block_on(commands::simulate::run(args)),
        Command::Demo(args) => block_on(commands::demo::run(args)),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, Cli::command()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let stream = error.stream().map(|stream| format!("{stream}: ")).unwrap_or_default();
            eprintln!("error: {stream}{}", error.report());
            ExitCode::from(error.kind().policy().exit_code)
        }
    }
}

/// The name under which the program is the destination alone. A platform calls a
/// connector with a verb and says nothing of its role.
const DESTINATION_NAME: &str = "tapeline-destination";

/// The arguments, with the command that the program's name stands for.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_stem);
    let asks_version = arguments.get(1).is_some_and(|argument| argument == "--version" || argument == "-V");
    if name.is_some_and(|name| name == DESTINATION_NAME) && !asks_version {
        arguments.insert(1, "destination".into());
    }
    arguments
}

fn block_on(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| crate::error::Error::bug("cannot start the runtime").caused_by(error))?;
    let outcome = runtime.block_on(command);
    // A blocking read (of a closed stdin, say) must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_can_be_its_role() {
        let given = |name: &str, verb: &str| arguments([name, verb].into_iter().map(OsString::from));
        let arguments = |name: &str| given(name, "spec");
        assert_eq!(
            arguments("/airbyte/tapeline-destination"),
            ["/airbyte/tapeline-destination", "destination", "spec"]
        );
        assert_eq!(arguments("tapeline"), ["tapeline", "spec"]);
        assert_eq!(given(DESTINATION_NAME, "--version"), [DESTINATION_NAME, "--version"]);
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
