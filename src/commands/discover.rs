//! `discover`: prints the streams of a configuration. Asks nothing of the API: the
//! catalogue is the program's own.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::airbyte::catalog::AirbyteCatalog;
use crate::airbyte::messages::Message;
use crate::airbyte::output::Output;
use crate::catalog;
use crate::clock::Clock;
use crate::error::Result;

use super::protocol;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source's configuration, a JSON file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Prints them.
///
/// # Errors
/// When the configuration is wrong; it was told on stdout.
pub fn run(args: &Args) -> Result<ExitCode> {
    let output = Output::to_stdout()?;
    let outcome = print(args, &output);
    protocol::finish_telling(&output, outcome)
}

fn print(args: &Args, output: &Output) -> Result<()> {
    let config = protocol::load_config(&args.config, Clock::from_environment()?)?;
    let catalog = AirbyteCatalog::of(&catalog::streams(&config.bar_sizes));
    output.message(&Message::Catalog { catalog: &catalog });
    Ok(())
}
