//! `read`: reads the streams of a configured catalogue to stdout.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::airbyte::catalog::{self, Selected, SyncMode};
use crate::airbyte::messages::Level;
use crate::airbyte::observer::AirbyteObserver;
use crate::airbyte::output::Output;
use crate::airbyte::sink::{AirbyteSink, StreamSetup};
use crate::airbyte::state::PassedStates;
use crate::airbyte::status::Statuses;
use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::engine::{self, CommitPolicy, Engine, Job, Report};
use crate::error::Result;
use crate::observe::Observer;
use crate::polygon::PolygonSource;
use crate::sink::{Target, WriteMode};
use crate::source::Source;

use super::protocol;

/// A STATE after each slice that had rows: little is read twice after a failure.
/// A slice took a request at least, so they cannot be many.
const COMMIT_POLICY: CommitPolicy = CommitPolicy { rows: 1, interval: Duration::from_secs(15) };

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source's configuration, a JSON file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The configured catalogue: which streams, and how. A JSON file.
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// The states of the last sync, a JSON file; without it everything is read.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

/// Reads them.
///
/// # Errors
/// What kept it from reading everything; it was told on stdout.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let output = Output::to_stdout()?;
    let report = match start(&args, &output, stop).await {
        Ok(report) => report,
        Err(error) => return protocol::finish_telling(&output, Err(error)),
    };
    // The observer told each failure when it happened.
    protocol::finish(&output, report.into_worst().map_or(Ok(()), Err))
}

/// Runs the streams once everything that was given has been checked.
async fn start(args: &Args, output: &Arc<Output>, stop: watch::Receiver<bool>) -> Result<Report> {
    let clock = Clock::from_environment()?;
    let config = protocol::load_config(&args.config, clock)?;
    let streams = crate::catalog::streams(&config.bar_sizes);
    let selected = catalog::select(protocol::load_catalog(&args.catalog)?, &streams)?;
    let passed = protocol::load_state(args.state.as_deref())?;
    let connect = |observer, selected: &[Selected]| {
        let source = PolygonSource::new(config, clock, observer)?;
        source.assert_ready(selected.iter().map(|selected| &selected.stream))?;
        Ok(source)
    };
    run_streams(output, selected, passed, stop, connect).await
}

/// Reads `selected` from the source that `connect` makes.
///
/// # Errors
/// Only when there is no source; what happens to streams is in the report.
async fn run_streams<S: Source + 'static>(
    output: &Arc<Output>,
    selected: Vec<Selected>,
    passed: PassedStates,
    stop: watch::Receiver<bool>,
    connect: impl FnOnce(Arc<dyn Observer>, &[Selected]) -> Result<S>,
) -> Result<Report> {
    if selected.is_empty() {
        output.log(Level::Warn, "the configured catalogue selects no stream: nothing is read");
    }
    for stream in passed.keys().filter(|name| selected.iter().all(|selected| selected.stream.name != **name))
    {
        output.log(Level::Info, &format!("the state of stream {stream} is not used: it is not selected"));
    }
    let descriptors = selected.iter().map(|selected| selected.descriptor.clone());
    let statuses = Arc::new(Statuses::new(Arc::clone(output), descriptors));
    let observer: Arc<dyn Observer> =
        Arc::new(AirbyteObserver::new(Arc::clone(output), Arc::clone(&statuses)));
    let source: Arc<dyn Source> = Arc::new(connect(Arc::clone(&observer), &selected)?);
    let jobs: Vec<Job> = selected.iter().map(job).collect();
    let setups = setups(selected, &*source, passed);
    let mut sink = AirbyteSink::new(Arc::clone(output), statuses, setups);
    Ok(Engine::new(observer, COMMIT_POLICY, stop).read(&source, &mut sink, &jobs).await)
}

/// Stdout only adds; what becomes of the records is the destination's, and how much is
/// read for it follows from its mode.
fn job(selected: &Selected) -> Job {
    let Selected { stream, mode, .. } = selected;
    let target = Target::new("", &stream.name, Arc::clone(&stream.table), WriteMode::Append);
    Job { stream: stream.name.clone(), target, reading: engine::reading(*mode) }
}

fn setups(selected: Vec<Selected>, source: &dyn Source, mut passed: PassedStates) -> Vec<StreamSetup> {
    let setup = |selected: Selected| StreamSetup {
        initial: Checkpoint::new(source.options(&selected.stream.name)).to_json(),
        passed: passed.remove(&selected.stream.name).filter(|_| goes_on(&selected)),
        descriptor: selected.descriptor,
    };
    selected.into_iter().map(setup).collect()
}

/// Whether a passed state is gone on with. In a full refresh it is that of an
/// earlier attempt of the same job; a stream that is not resumable begins anew,
/// or it would be read once and never again.
fn goes_on(selected: &Selected) -> bool {
    match selected.sync_mode {
        SyncMode::Incremental => true,
        SyncMode::FullRefresh => selected.stream.spec.is_incremental(),
    }
}

#[cfg(test)]
mod tests;
