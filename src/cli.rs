//! The command line: parse arguments, run one command, map its error to an exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::error::Result;

/// Market data from Polygon.io (now Massive) into a warehouse, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tapeline", version, arg_required_else_help = true, disable_help_subcommand = true)]
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
    /// Run a pipeline: from the API into a warehouse.
    Sync(commands::sync::Args),
    /// Write a commented pipeline.yaml to start from.
    Init(commands::init::Args),
    /// Serve a synthetic market that looks like the API.
    Simulate(commands::simulate::Args),
    /// Show what it does: no key, no network, a minute.
    Demo(commands::demo::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Spec => commands::spec::run(),
        Command::Check(args) => block_on(commands::check::run(args)),
        Command::Discover(args) => commands::discover::run(&args),
        Command::Read(args) => block_on(commands::read::run(args)),
        Command::Sync(args) => block_on(commands::sync::run(args)),
        Command::Init(args) => commands::init::run(&args),
        Command::Simulate(args) => block_on(commands::simulate::run(args)),
        Command::Demo(args) => block_on(commands::demo::run(args)),
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
