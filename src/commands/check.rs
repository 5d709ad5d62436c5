//! `check`: tries a pipeline, or, as Airbyte does, the configuration of the source.
//!
//! In Airbyte's form a problem that the user can mend is an answer: status FAILED, exit
//! code 0. Any other failure is no answer: an error and its exit code.

mod pipeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use crate::airbyte::messages::Level;
use crate::airbyte::observer::AirbyteObserver;
use crate::airbyte::output::Output;
use crate::airbyte::status::Statuses;
use crate::clock::Clock;
use crate::config::source::SourceConfig;
use crate::config::{JsonFile, read_json};
use crate::error::Result;
use crate::polygon::{PolygonSource, Probe};

use super::{protocol, signals};

/// Arguments.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// The pipeline to try, without loading a row.
    #[arg(value_name = "PIPELINE.YAML")]
    pipeline: Option<PathBuf>,
    /// Airbyte: the source's configuration, a JSON file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Tries it.
///
/// # Errors
/// When it could not be tried; in Airbyte's form it was told on stdout.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let config = match (args.pipeline, args.config) {
        (Some(pipeline), _) => return pipeline::run(&pipeline, &stop).await,
        (None, config) => config.unwrap_or_default(),
    };
    let output = Output::to_stdout()?;
    let outcome = signals::unless_stopped(&stop, answer(&config, &output)).await;
    protocol::finish_telling(&output, outcome)
}

async fn answer(config: &Path, output: &Arc<Output>) -> Result<()> {
    // A file that is not there is a mistake of the caller, not of the configuration.
    let config = read_json(config, JsonFile::Source)?;
    let probe = probe(config, output).await;
    protocol::answer_check(output, probe.map(|probe| lacking(&probe, output)))
}

async fn probe(config: serde_json::Value, output: &Arc<Output>) -> Result<Probe> {
    let clock = Clock::from_environment()?;
    let config = SourceConfig::from_json(config, clock)?;
    let statuses = Arc::new(Statuses::new(Arc::clone(output), []));
    let observer = Arc::new(AirbyteObserver::new(Arc::clone(output), statuses));
    PolygonSource::new(config, clock, observer)?.probe().await
}

/// Names what the key's plan does not include: the rest works.
fn lacking(probe: &Probe, output: &Output) -> Option<String> {
    for (stream, reason) in &probe.lacking {
        output.log(Level::Warn, &format!("{stream} cannot be read: {}", reason.user_message()));
    }
    let names: Vec<_> = probe.lacking.iter().map(|(stream, _)| stream.as_str()).collect();
    (!names.is_empty()).then(|| format!("the key's plan does not include {}", names.join(", ")))
}
