//! `destination`: the Airbyte verbs of the destination.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use crate::airbyte::descriptor::StreamDescriptor;
use crate::airbyte::log;
use crate::airbyte::messages::Message;
use crate::airbyte::output::Output;
use crate::airbyte::spec;
use crate::airbyte::stdin::Blocks;
use crate::config::destination::{CdcDeletionMode, DestinationConfig};
use crate::config::{JsonFile, read_json};
use crate::destination::catalog::{self, Configured};
use crate::destination::{self, Destination};
use crate::engine::CommitPolicy;
use crate::error::{Error, Result};

use super::connect::{abilities, connect, try_rights};
use super::{protocol, signals};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the specification of the destination's configuration.
    Spec,
    /// Check a configuration against the warehouse.
    Check {
        /// The destination's configuration, a JSON file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the records on stdin to the warehouse.
    Write {
        /// The destination's configuration, a JSON file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The configured catalogue: which streams, and how. A JSON file.
        #[arg(long, value_name = "FILE")]
        catalog: PathBuf,
    },
}

/// Runs the verb.
///
/// # Errors
/// What it failed with; it was told on stdout.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let output = Output::to_stdout()?;
    log::tell(&output);
    let outcome = match args.verb {
        Verb::Spec => {
            output.message(&Message::Spec { spec: &spec::destination() });
            Ok(())
        }
        Verb::Check { config } => signals::unless_stopped(&stop, check(&config, &output)).await,
        Verb::Write { config, catalog } => {
            let mut streams = Vec::new();
            let outcome = write(&config, &catalog, &output, &mut streams, stop).await;
            if let Err(error) = &outcome {
                output.error(error, stream_of(error, &streams));
            }
            return protocol::finish(&output, outcome);
        }
    };
    protocol::finish_telling(&output, outcome)
}

async fn check(config: &Path, output: &Output) -> Result<()> {
    let config = read_json(config, JsonFile::Destination)?;
    protocol::answer_check(output, try_out(config).await.map(|()| None))
}

/// Connects and writes: what a run would need is tried, and gone again.
async fn try_out(config: serde_json::Value) -> Result<()> {
    let config = DestinationConfig::from_json(config)?;
    destination::assert_able(&abilities(&config.sink))?;
    try_rights(&config.sink).await
}

/// Notes the catalogue's streams in `names` as soon as it is read.
async fn write(
    config: &Path,
    catalog: &Path,
    output: &Arc<Output>,
    names: &mut Vec<StreamDescriptor>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let config = DestinationConfig::from_json(read_json(config, JsonFile::Destination)?)?;
    let mut streams = catalog::configured(protocol::load_catalog(catalog)?, config.schema())?;
    if config.cdc_deletion_mode == CdcDeletionMode::Soft {
        streams.iter_mut().for_each(Configured::keep_deleted);
    }
    streams.iter_mut().for_each(|stream| stream.target.rejected_max = config.rejected_max);
    names.extend(streams.iter().map(|stream| stream.descriptor.clone()));
    let mut sink = signals::unless_stopped(&stop, connect(&config.sink)).await?;
    let destination = Destination::open(&mut *sink, Arc::clone(output), streams).await?;
    let policy = CommitPolicy { rows: config.commit_rows, interval: config.commit_interval };
    destination.run(Blocks::of_stdin()?, policy, stop).await
}

/// The stream that an error is about, unless streams of several namespaces have its name.
fn stream_of<'a>(error: &Error, streams: &'a [StreamDescriptor]) -> Option<&'a StreamDescriptor> {
    let mut named = streams.iter().filter(|stream| error.stream() == Some(&stream.name));
    let first = named.next();
    first.filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_of_the_stream_that_alone_has_its_name() {
        let stream = |name: &str, namespace: Option<&str>| StreamDescriptor {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        let streams = [stream("a", Some("n")), stream("b", None), stream("b", Some("n"))];
        let of = |name: &str| stream_of(&Error::config("wrong").in_stream(name), &streams);
        assert_eq!(of("a"), Some(&streams[0]));
        assert_eq!((of("b"), of("c"), stream_of(&Error::config("wrong"), &streams)), (None, None, None));
    }
}
