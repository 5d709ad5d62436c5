//! `reset`: has chosen parts of a pipeline's streams read again, and says what that costs
//! before anything is changed.

mod plan;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::civil::Date;
use tokio::sync::watch;

use super::connect::{connect, peek, place};
use super::looked::look;
use super::signals;
use crate::batch::{Batch, ExtractedAt, Rows};
use crate::catalog::{Partition, Window};
use crate::clock::Clock;
use crate::config::explain::suggest;
use crate::config::pipeline::{Choice, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Silent;
use crate::outlet;
use crate::polygon::PolygonSource;
use crate::sink::{Joins, Portion, Sink, Target, WriteMode, refuse};
use crate::terminal::shell;

use plan::{Again, Reset};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline.
    #[arg(value_name = "PIPELINE.YAML")]
    pipeline: PathBuf,
    /// The stream to read again; can be given several times.
    #[arg(long, value_name = "STREAM", required = true)]
    stream: Vec<String>,
    /// Only this ticker of it; can be given several times.
    #[arg(long, value_name = "TICKER")]
    ticker: Vec<String>,
    /// Only from this day on, in New York.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<String>,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

/// Says what it costs, asks, and does it.
///
/// # Errors
/// What keeps it from being done; nothing is changed then.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let clock = Clock::from_environment()?;
    let mut pipeline = Pipeline::read(&args.pipeline, clock)?;
    pipeline.select("--stream", &args.stream)?;
    let parts = Parts::new(&args, &pipeline)?;
    for choice in &pipeline.streams {
        parts.must_fit(choice)?;
    }
    let source = PolygonSource::new(pipeline.source.clone(), clock, Arc::new(Silent))?;
    let resets = signals::unless_stopped(&stop, plan_all(&pipeline, &source, &parts)).await?;

    let mut text = format!("{}\n{}\n", pipeline.name, place(&pipeline.sink));
    for reset in &resets {
        text += &format!("\n{}", reset.text());
    }
    if resets.iter().all(|reset| reset.again == Again::Nothing) {
        outlet::print(&format!("{text}\nnothing to reset\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    outlet::print(&format!("{text}\n{}\n", plan::total(&resets, source.requests_per_minute())))?;
    confirm(args.yes)?;
    let mut sink = connect(&pipeline.sink).await?;
    apply(&mut *sink, &resets).await?;
    let path = args.pipeline.display().to_string();
    outlet::print(&format!("reset; `{} sync {}` reads it again\n", shell::program(), shell::word(&path)))?;
    Ok(ExitCode::SUCCESS)
}

/// The parts that were chosen on the command line.
pub(super) struct Parts {
    tickers: Vec<Arc<str>>,
    from: Option<Date>,
}

impl Parts {
    fn new(args: &Args, pipeline: &Pipeline) -> Result<Self> {
        let known = &pipeline.source.tickers;
        let find = |ticker: &String| {
            known.iter().find(|known| ***known == **ticker).cloned().ok_or_else(|| {
                let path = pipeline.path.display();
                Error::config(format!("`--ticker {ticker}`: the source of {path} has no such ticker"))
                    .hint(suggest(ticker, known.iter().map(|known| &**known)))
            })
        };
        let date = |text: &String| {
            text.parse::<Date>().map_err(|_| {
                Error::config(format!("`--from {text}` is not a date"))
                    .hint("write YYYY-MM-DD, such as 2024-06-28")
            })
        };
        Ok(Self {
            tickers: args.ticker.iter().map(find).collect::<Result<_>>()?,
            from: args.from.as_ref().map(date).transpose()?,
        })
    }

    /// Refuses a part that a stream does not have.
    fn must_fit(&self, choice: &Choice) -> Result<()> {
        let name = &choice.stream.name;
        let spec = choice.stream.spec;
        let refused = |option: &str, why: &str| {
            Err(Error::config(format!("`{option}`: the stream {name} {why}"))
                .hint(format!("leave `{option}` out, or reset {name} by itself")))
        };
        match (self.tickers.is_empty(), self.from) {
            (true, None) => Ok(()),
            (false, _) if spec.partition != Partition::Ticker => {
                refused("--ticker", "is not read ticker by ticker")
            }
            (false, _) if choice.mode.is_staged() => refused("--ticker", "is overwritten as a whole"),
            (_, Some(_)) if choice.mode.is_staged() => refused("--from", "is overwritten as a whole"),
            (_, Some(_)) if matches!(spec.window, Window::Whole) => {
                refused("--from", "is not read day by day")
            }
            _ => Ok(()),
        }
    }
}

async fn plan_all(pipeline: &Pipeline, source: &PolygonSource, parts: &Parts) -> Result<Vec<Reset>> {
    let mut sink = peek(&pipeline.sink).await?;
    let mut resets = Vec::new();
    for looked in look(pipeline, source, &mut *sink).await? {
        let name = looked.choice.stream.name.clone();
        let reset = Reset::plan(looked, pipeline, source, &mut *sink, parts).await;
        resets.push(reset.map_err(|error| error.in_stream(&name))?);
    }
    Ok(resets)
}

/// Asks whoever sits at the terminal.
fn confirm(yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::config("nothing was changed: nobody can be asked whether this is meant")
            .hint("add `--yes` to do it"));
    }
    let cannot = |error: io::Error| Error::new(ErrorKind::Io, "cannot ask at the terminal").caused_by(error);
    outlet::print("go on? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(cannot)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::new(ErrorKind::Interrupted, "stopped on request: nothing was changed")),
    }
}

/// Moves progress back, and takes out rows that would come a second time: all in one
/// transaction, where the sink has one.
async fn apply(sink: &mut dyn Sink, resets: &[Reset]) -> Result<()> {
    let resets: Vec<&Reset> = resets.iter().filter(|reset| reset.again != Again::Nothing).collect();
    // Rows of append go by parts, as in append_dedup; a run that is collected beside
    // its table is given up by whoever opens the stream in another mode.
    let target = |reset: &&Reset| Target { mode: WriteMode::AppendDedup, ..reset.target.clone() };
    let targets: Vec<Target> = resets.iter().map(target).collect();
    let abilities = sink.abilities();
    targets.iter().try_for_each(|target| refuse(&abilities, target))?;
    let opened = sink.open(&targets).await?;
    let mut streams = Vec::new();
    for (reset, opened) in resets.iter().zip(opened) {
        let opened = opened?;
        if reset.again != Again::Run {
            if opened.progress != reset.before {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the progress moved meanwhile: nothing was changed",
                )
                .hint("wait until no other process writes the stream, and start again")
                .in_stream(&reset.target.stream));
            }
            streams.push((opened.id, *reset));
        }
    }
    for (stream, reset) in &streams {
        if !reset.replaces.is_empty() {
            let table = Arc::clone(&reset.target.table);
            let batch = Batch::new(table, Rows::default(), ExtractedAt::All(0));
            sink.write(*stream, Batch { replaces: reset.replaces.clone(), ..batch }).await?;
        }
    }
    let texts: Vec<_> = streams.iter().map(|(_, reset)| || reset.after.to_json()).collect();
    let portions: Vec<Portion<'_>> = streams
        .iter()
        .zip(&texts)
        .map(|((stream, reset), text)| Portion::new(*stream, reset.moves(), text))
        .collect();
    let together = if abilities.joins == Joins::One { 1 } else { portions.len().max(1) };
    for portions in portions.chunks(together) {
        if let Some((_, error)) = sink.commit(portions).await?.into_iter().next() {
            return Err(error);
        }
    }
    Ok(())
}
