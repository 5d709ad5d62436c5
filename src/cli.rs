//! The command line: parse arguments, run one command, map its error to an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::sync::watch;

use crate::commands::{self, signals};
use crate::error::{ErrorKind, Result};
use crate::terminal::Paint;
use crate::{outlet, secret, version};

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
    /// Try a pipeline, without loading a row; or, for Airbyte, the source's configuration.
    Check(commands::check::Args),
    /// Airbyte: print the catalogue of streams.
    Discover(commands::discover::Args),
    /// Airbyte: read streams to stdout.
    Read(commands::read::Args),
    /// Airbyte: the destination, with verbs of its own.
    Destination(commands::destination::Args),
    /// Run a pipeline: from the API into a warehouse.
    Sync(commands::sync::Args),
    /// Show how far each stream of a pipeline is, and what is due.
    Status(commands::status::Args),
    /// Have chosen parts of a pipeline's streams read again.
    Reset(commands::reset::Args),
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
    outlet::tell_panics();
    secret::learn_of_proxies();
    ended(match Cli::try_parse_from(arguments(std::env::args_os())) {
        Ok(cli) => run(cli.command),
        Err(usage) => explain(&usage),
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Spec => commands::spec::run(),
        Command::Check(args) => block_on(|stop| commands::check::run(args, stop)),
        Command::Discover(args) => commands::discover::run(&args),
        Command::Read(args) => block_on(|stop| commands::read::run(args, stop)),
        Command::Destination(args) => block_on(|stop| commands::destination::run(args, stop)),
        Command::Sync(args) => block_on(|stop| commands::sync::run(args, stop)),
        Command::Status(args) => block_on(|stop| commands::status::run(args, stop)),
        Command::Reset(args) => block_on(|stop| commands::reset::run(args, stop)),
        Command::Init(args) => commands::init::run(&args),
        Command::Simulate(args) => block_on(|stop| commands::simulate::run(args, stop)),
        Command::Demo(args) => block_on(|stop| commands::demo::run(args, stop)),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, Cli::command()),
    }
}

/// Says what is wrong with the arguments, or the help that was asked for.
fn explain(usage: &clap::Error) -> Result<ExitCode> {
    let is_mistake = usage.use_stderr();
    let paint = if is_mistake { Paint::stderr() } else { Paint::stdout() };
    let text = match paint.is_on() {
        true => usage.render().ansi().to_string(),
        false => usage.render().to_string(),
    };
    if is_mistake {
        outlet::tell(text.trim_end());
        return Ok(ExitCode::from(ErrorKind::Config.policy().exit_code));
    }
    outlet::print(&text).map(|()| ExitCode::SUCCESS)
}

/// Tells a failure, and that it was told: what stderr did not take would be missed.
fn ended(outcome: Result<ExitCode>) -> ExitCode {
    let of = |kind: ErrorKind| ExitCode::from(kind.policy().exit_code);
    let code = match outcome {
        Ok(code) => code,
        Err(error) => {
            if !outlet::is_reader_gone(&error) {
                let stream = error.stream().map(|stream| format!("{stream}: ")).unwrap_or_default();
                outlet::tell(format_args!("error: {stream}{}", error.report()));
            }
            of(error.kind())
        }
    };
    // A run stops for it, as for a signal.
    let says_nothing = code == ExitCode::SUCCESS || code == of(ErrorKind::Interrupted);
    if says_nothing && outlet::stderr_failure().is_some() { of(ErrorKind::Io) } else { code }
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

/// Runs a command, which is given what becomes true when it shall stop. Signals are
/// watched before it begins, so that there is no moment at which one ends it otherwise.
fn block_on<F: Future<Output = Result<ExitCode>>>(
    command: impl FnOnce(watch::Receiver<bool>) -> F,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| crate::error::Error::bug("cannot start the runtime").caused_by(error))?;
    let outcome = runtime.block_on(async { command(signals::stop_on_signal()?).await });
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
