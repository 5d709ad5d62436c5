//! `demo`: shows what the program does, without a key and without the network.
//!
//! A simulated market runs in this process. Its data is synchronised into a
//! DuckDB file, the market's clock moves on by a week, and it is synchronised
//! again: only what is new moves. Then the file is compared with what the market
//! knows to be true, and shown.

mod chart;
mod show;
mod truth;
mod warehouse;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{signals, sync};
use crate::calendar;
use crate::clock::Clock;
use crate::config::pipeline::{Choice, Pipeline};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::progress::{Progress, When};
use crate::simulator::{self, Running};
use crate::telemetry::LogFormat;
use crate::terminal::Paint;

use truth::Difference;

/// The pipeline that is run; the variables are filled in here.
const PIPELINE: &str = include_str!("demo/pipeline.yaml");

/// The name of the file in the demo's folder.
const FILE: &str = "market.duckdb";

/// How many tickers the market has: enough for the grouped bars to be a market.
const TICKERS: usize = 250;

/// The market's time of the first run: Friday, 21 June 2024, an hour after the
/// close. Some of the day's trades will be corrected.
const FIRST: Timestamp = Timestamp::constant(1_719_003_600, 0);

/// And of the second run: Friday, 28 June, an hour after the close.
const SECOND: Timestamp = Timestamp::constant(1_719_608_400, 0);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the DuckDB file; created if need be. An earlier demo's file in
    /// it is replaced, anything else stays.
    #[arg(long, value_name = "DIR", default_value = "tapeline-demo")]
    dir: PathBuf,
}

/// What a run of the pipeline did.
#[derive(Debug)]
struct Run {
    rows: u64,
    /// Rows of each stream, in the pipeline's order.
    rows_of: Vec<u64>,
    requests: u64,
    took: Duration,
}

/// A table at the end.
#[derive(Debug)]
struct Held {
    name: String,
    extent: warehouse::Extent,
    /// Rows that the second run moved.
    moved: u64,
    difference: Difference,
}

/// Runs it and shows what came of it.
///
/// # Errors
/// When the folder cannot be written, or a run fails.
pub async fn run(args: Args) -> Result<ExitCode> {
    let file = args.dir.join(FILE);
    std::fs::create_dir_all(&args.dir)
        .or_fail(ErrorKind::Io, || format!("cannot create the folder {}", args.dir.display()))?;
    warehouse::remove_earlier(&file)?;
    let stop = signals::stop_on_signal()?;
    let paint = Paint::stdout();

    show::opening(paint);
    let market =
        simulator::serve(simulator::Config { now: FIRST, tickers: TICKERS, ..Default::default() }).await?;
    show::begin("first run", FIRST, paint);
    let first = run_pipeline(&market, &file, FIRST, "first run", stop.clone()).await?;
    show::run(&first, paint);
    market.set_now(SECOND);
    show::begin("second run", SECOND, paint);
    let second = run_pipeline(&market, &file, SECOND, "second run", stop).await?;
    show::run(&second, paint);

    let pipeline = pipeline(&market, &file, SECOND)?;
    show::market(&file, calendar::day_of(SECOND), &pipeline.source.tickers, paint)?;
    show::judging(pipeline.streams.len(), paint);
    let held = judge(&market, &file, &pipeline, &second).await?;
    market.shutdown().await;
    show::tables(&held, paint);
    // What is left on a screen of 24 lines: nothing long after the verdict.
    show::farewell(&absolute(&file), paint);
    let equal = held.iter().all(|held| held.difference == Difference::default());
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same file from wherever the person stands; `make -C` stands elsewhere.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

fn pipeline(market: &Running, file: &Path, now: Timestamp) -> Result<Pipeline> {
    let lookup = |name: &str| match name {
        "MARKET" => Some(market.url()),
        "FILE" => Some(file.display().to_string()),
        _ => None,
    };
    Pipeline::parse(Path::new("the demo's pipeline"), PIPELINE, &lookup, Clock::Fixed(now))
}

async fn run_pipeline(
    market: &Running,
    file: &Path,
    now: Timestamp,
    name: &str,
    stop: watch::Receiver<bool>,
) -> Result<Run> {
    let pipeline = pipeline(market, file, now)?;
    let began = Instant::now();
    let requests_before = market.requests();
    let progress = Progress::new(name, pipeline.streams.len(), u32::MAX, When::Auto, LogFormat::Text);
    let outcome = sync::run_pipeline(&pipeline, Clock::Fixed(now), &progress, stop).await;
    progress.finish();
    let report = outcome?;
    let took = began.elapsed();
    let rows_of = report.streams.iter().map(|stream| stream.rows).collect();
    let rows = report.rows();
    if let Some(error) = report.into_worst() {
        return Err(error.context(format_args!("the {name} failed")));
    }
    // The market's own count: it is the one that a plan's limit goes by.
    Ok(Run { rows, rows_of, requests: market.requests() - requests_before, took })
}

/// Compares every table with the truth.
async fn judge(market: &Running, file: &Path, pipeline: &Pipeline, second: &Run) -> Result<Vec<Held>> {
    let mut held = Vec::with_capacity(pipeline.streams.len());
    for (choice, moved) in pipeline.streams.iter().zip(&second.rows_of) {
        let truth = truth_of(market, choice, pipeline).await?;
        // Opened anew each time: a connection must not be held across an await.
        let connection = warehouse::open(file)?;
        let table = &choice.stream.table;
        held.push(Held {
            name: table.name.clone(),
            extent: warehouse::extent(&connection, table)?,
            moved: *moved,
            difference: truth::compare(&connection, warehouse::SCHEMA, table, &truth)?,
        });
    }
    Ok(held)
}

/// The rows that a perfect warehouse holds, from the market itself.
async fn truth_of(market: &Running, choice: &Choice, pipeline: &Pipeline) -> Result<String> {
    // What has no days was seen at the first run and at the second.
    let start = match choice.stream.spec.is_incremental() {
        true => pipeline.source.start_date,
        false => calendar::day_of(FIRST),
    };
    let tickers = pipeline.source.tickers.join(",");
    let url = format!(
        "{}/__truth?stream={}&as_of={SECOND}&start_date={start}&tickers={tickers}",
        market.url(),
        choice.stream.name
    );
    let failed = || format!("cannot ask the market for the truth about {}", choice.stream.name);
    let answer = reqwest::get(url).await.or_fail(ErrorKind::Unavailable, failed)?;
    let answer = answer.error_for_status().or_fail(ErrorKind::Bug, failed)?;
    answer.text().await.or_fail(ErrorKind::Unavailable, failed)
}
