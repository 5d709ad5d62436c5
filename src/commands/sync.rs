//! `sync`: runs a pipeline, from the API into a warehouse.

mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use super::connect::{connect, target};
use super::signals;
use crate::clock::Clock;
use crate::config::pipeline::{Choice, Pipeline};
use crate::engine::{CommitPolicy, Engine, Job, Report, reading};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::Limiter;
use crate::outlet;
use crate::polygon::PolygonSource;
use crate::progress::{Progress, When};
use crate::source::Source;
use crate::telemetry::{self, LogFormat};
use crate::terminal::{Paint, counted};

use summary::Summary;

/// Failures shown in full; a thousand unknown tickers are one mistake.
const ERRORS_SHOWN_MAX: usize = 10;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline; `tapeline init` writes one to start from.
    #[arg(value_name = "PIPELINE.YAML")]
    pipeline: PathBuf,
    /// Only this stream of the pipeline; can be given several times.
    #[arg(long, value_name = "STREAM")]
    select: Vec<String>,
    /// How the log on stderr and the summary on stdout look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// When to draw progress bars.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    progress: When,
}

/// Runs the pipeline and prints a summary on stdout.
///
/// # Errors
/// What kept it from beginning. What happens later is in the exit code, and told
/// on stderr.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    if args.progress == When::Always && args.log_format == LogFormat::Json {
        return Err(Error::config("`--progress always` draws among the lines of `--log-format json`")
            .hint("leave one of them out"));
    }
    match args.log_format {
        LogFormat::Text => run_told(args, stop).await,
        LogFormat::Json => {
            telemetry::init(LogFormat::Json, None)?;
            run_told(args, stop).await.or_else(|error| {
                tell(&error, LogFormat::Json);
                Ok(exit_code(&error))
            })
        }
    }
}

async fn run_told(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let clock = Clock::from_environment()?;
    let mut pipeline = Pipeline::read(&args.pipeline, clock)?;
    pipeline.select("--select", &args.select)?;
    let progress = Progress::new(
        &pipeline.name,
        pipeline.streams.len(),
        Limiter::new(pipeline.source.plan).per_minute(),
        args.progress,
        args.log_format,
    );
    if args.log_format == LogFormat::Text {
        telemetry::init(LogFormat::Text, progress.screen())?;
    }
    announce_stop(stop.clone());

    let outcome = run_pipeline(&pipeline, clock, &progress, stop).await;
    progress.finish();
    let report = outcome?;
    let summary = Summary::of(&pipeline, &report, &progress.tally());
    let printed = match args.log_format {
        LogFormat::Text => outlet::print(&summary.text(Paint::stdout())),
        LogFormat::Json => {
            let mut summary = summary.json();
            if let Some(error) = outlet::stderr_failure() {
                summary["error"] = error.user_message().into();
            }
            outlet::print(&format!("{summary}\n"))
        }
    };
    tell_errors(&report, args.log_format);
    if args.log_format == LogFormat::Text {
        tell_of_stderr()?;
    }
    match report.worst() {
        None => printed.map(|()| ExitCode::SUCCESS),
        Some(worst) => {
            if let Err(error) = printed {
                tell(&error, args.log_format);
            }
            Ok(exit_code(worst))
        }
    }
}

fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(error.kind().policy().exit_code)
}

/// Says on stdout that stderr takes no words, if that is so: it cannot be said there.
///
/// # Errors
/// When it cannot be said here either.
pub(super) fn tell_of_stderr() -> Result<()> {
    outlet::stderr_failure().map_or(Ok(()), |error| outlet::print(&format!("error: {}\n", error.report())))
}

pub(super) async fn run_pipeline(
    pipeline: &Pipeline,
    clock: Clock,
    progress: &Arc<Progress>,
    stop: watch::Receiver<bool>,
) -> Result<Report> {
    let source = PolygonSource::new(pipeline.source.clone(), clock, Arc::<Progress>::clone(progress))?;
    source.assert_ready(pipeline.streams.iter().map(|choice| &choice.stream))?;
    let job = |choice: &Choice| Job {
        stream: choice.stream.name.clone(),
        target: target(&pipeline.name, choice),
        reading: reading(choice.mode),
    };
    let jobs: Vec<_> = pipeline.streams.iter().map(job).collect();
    let policy = CommitPolicy { rows: pipeline.commit_rows, interval: pipeline.commit_interval };
    let mut sink = signals::unless_stopped(&stop, connect(&pipeline.sink)).await?;
    let source: Arc<dyn Source> = Arc::new(source);
    let engine = Engine::new(Arc::<Progress>::clone(progress), policy, stop);
    Ok(engine.read(&source, &mut *sink, &jobs).await)
}

/// Says that the first signal was heard.
fn announce_stop(mut stop: watch::Receiver<bool>) {
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            tracing::warn!("stopping: what was read is being committed (again to end at once)");
        }
    });
}

/// Each failure as one sentence with what to do about it.
fn tell_errors(report: &Report, format: LogFormat) {
    let errors: Vec<_> =
        report.streams.iter().flat_map(|stream| &stream.errors).chain(&report.error).collect();
    for error in errors.iter().take(ERRORS_SHOWN_MAX) {
        tell(error, format);
    }
    if let Some(more) = errors.len().checked_sub(ERRORS_SHOWN_MAX).filter(|more| *more > 0) {
        tracing::error!("and {} more", counted(more as u64, "error"));
    }
}

fn tell(error: &Error, format: LogFormat) {
    if outlet::is_reader_gone(error) {
        return;
    }
    let stream = error.stream().unwrap_or_default();
    match format {
        LogFormat::Json => {
            let exit_code = error.kind().policy().exit_code;
            tracing::error!(stream, exit_code, "{}", error.report());
        }
        LogFormat::Text if error.kind() == ErrorKind::Interrupted => outlet::tell(error.user_message()),
        LogFormat::Text if stream.is_empty() => outlet::tell(format_args!("error: {}", error.report())),
        LogFormat::Text => outlet::tell(format_args!("error: {stream}: {}", error.report())),
    }
}
