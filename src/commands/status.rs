//! `status`: how far each stream of a pipeline is, and what is due. Nothing is requested
//! from the API and nothing is changed. A DuckDB file that a run has open cannot be
//! looked at meanwhile: its lock lets nobody else read.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::connect::{peek, place};
use super::looked::{Looked, look};
use super::signals;
use crate::calendar;
use crate::catalog::Window;
use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::config::pipeline::Pipeline;
use crate::error::Result;
use crate::observe::Silent;
use crate::outlet;
use crate::polygon::PolygonSource;
use crate::sink::{AIRBYTE, WrittenBy};
use crate::source::Estimate;
use crate::terminal::{Paint, count, counted, wrapped};

/// Columns that nothing goes beyond but a word that is longer.
const WIDTH: usize = 80;

/// Columns of what a line is about.
const LABEL: usize = 12;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline.
    #[arg(value_name = "PIPELINE.YAML")]
    pipeline: PathBuf,
    /// Only this stream of the pipeline; can be given several times.
    #[arg(long, value_name = "STREAM")]
    select: Vec<String>,
    /// List how far each ticker, or other part of a stream, is.
    #[arg(long)]
    shards: bool,
    /// How it looks.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Prints it on stdout.
///
/// # Errors
/// When the pipeline or the warehouse cannot be read. What is wrong with a stream is
/// part of the answer.
pub async fn run(args: Args, stop: watch::Receiver<bool>) -> Result<ExitCode> {
    signals::unless_stopped(&stop, tell(args)).await
}

async fn tell(args: Args) -> Result<ExitCode> {
    let clock = Clock::from_environment()?;
    let mut pipeline = Pipeline::read(&args.pipeline, clock)?;
    pipeline.select("--select", &args.select)?;
    let source = PolygonSource::new(pipeline.source.clone(), clock, Arc::new(Silent))?;
    let mut sink = peek(&pipeline.sink).await?;
    let mut standings = Vec::new();
    for looked in look(&pipeline, &source, &mut *sink).await? {
        standings.push(Standing::of(looked, &source));
    }
    match args.format {
        Format::Text => {
            let paint = Paint::stdout();
            let mut text = format!("{}\n{}\n", paint.bold(&pipeline.name), place(&pipeline.sink));
            for standing in &standings {
                text += &format!("\n{}", standing.text(&pipeline.name, args.shards, paint));
            }
            outlet::print(&text)?;
        }
        Format::Json => {
            let streams: Vec<_> = standings.iter().map(|standing| standing.json(args.shards)).collect();
            let answer =
                json!({ "pipeline": pipeline.name, "sink": place(&pipeline.sink), "streams": streams });
            outlet::print(&format!("{answer}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a stream stands.
struct Standing<'a> {
    looked: Looked<'a>,
    /// Nothing when it cannot be read.
    held: Checkpoint,
    due: Option<Estimate>,
    /// Sentences.
    problems: Vec<String>,
}

impl<'a> Standing<'a> {
    fn of(looked: Looked<'a>, source: &PolygonSource) -> Self {
        let mut problems = Vec::new();
        problems.extend(looked.look.obstacle.as_ref().map(|error| error.user_message()));
        let held = looked.held();
        let due = match looked.next() {
            Ok(have) => looked.due(source, &have),
            Err(error) => Err(error),
        };
        problems.extend(due.as_ref().err().map(|error| error.user_message()));
        Self { held: held.unwrap_or_default(), due: due.ok(), looked, problems }
    }

    fn text(&self, pipeline: &str, shards: bool, paint: Paint) -> String {
        let Self { looked, due, problems, .. } = self;
        let look = &looked.look;
        let mut lines =
            vec![("table", looked.target.table.name.clone()), ("owner", owner(pipeline, &look.owners))];
        match look.table {
            true => lines.push(("rows", count(look.rows))),
            false => lines.push(("rows", "none: the table is not there yet".to_owned())),
        }
        lines.push(("reached", self.reached_text()));
        lines.extend(look.updated_at.as_ref().map(|at| ("committed", at.clone())));
        lines.extend(due.map(|due| ("due", self.due_text(due))));
        if look.unfinished.is_some() {
            let next = looked.next().ok().and_then(|next| next.reached());
            let reached = next.map(|day| format!(", reached {}", self.trading(day))).unwrap_or_default();
            lines.push(("run", format!("unfinished{reached}: the next sync goes on with it")));
        }
        lines.extend(problems.iter().map(|problem| ("problem", problem.clone())));
        let mode =
            format!("{}{}", looked.choice.mode.as_str(), if looked.choice.shared { ", shared" } else { "" });
        let mut text = format!("{} ({mode})\n", paint.bold(&looked.choice.stream.name));
        for (label, value) in lines {
            text += &format!("  {label:<0$}{1}\n", LABEL - 2, wrapped(&value, WIDTH, LABEL));
        }
        if shards {
            for (shard, reached) in self.shards() {
                let name = if shard.is_empty() { "(all)" } else { &shard };
                text += &format!("    {name:<10} {reached}\n");
            }
        }
        text
    }

    fn due_text(&self, due: Estimate) -> String {
        let rows = due.rows.map(|rows| format!(", about {}", counted(rows, "row"))).unwrap_or_default();
        match due.slices {
            0 => "nothing".to_owned(),
            slices if self.looked.choice.mode.is_staged() && self.looked.look.unfinished.is_none() => {
                format!("{}{rows}: each run reads all of it", counted(slices, "slice"))
            }
            slices => format!("{}{rows}", counted(slices, "slice")),
        }
    }

    fn reached_text(&self) -> String {
        let shards = counted(self.held.shards().count() as u64, "shard");
        let days = || self.held.positions().map(|(_, position)| self.trading(position.through));
        match (days().min(), days().max()) {
            (Some(first), Some(last)) if first == last => format!("{first}, {shards}"),
            (Some(first), Some(last)) => format!("{first} to {last}, {shards}"),
            _ => match self.shards().into_iter().next() {
                Some(_) => format!("read whole, {shards}"),
                None => "nothing yet".to_owned(),
            },
        }
    }

    /// The last day up to `day` that has rows, where the exchange's calendar tells.
    fn trading(&self, day: Date) -> Date {
        match self.looked.choice.stream.spec.window {
            Window::TradingDays(_) | Window::BarsPerPage if !calendar::is_trading_day(day) => {
                calendar::previous_trading_day(day)
            }
            _ => day,
        }
    }

    /// Each shard and how far it is.
    fn shards(&self) -> Vec<(String, String)> {
        let second = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ");
        let reached = |shard: &str| match (self.held.position(shard), self.held.whole_as_of(shard)) {
            (Some(at), _) => format!("{} to {} as of {}", at.from, at.through, second(at.as_of)),
            (None, Some(as_of)) => format!("as of {}", second(as_of)),
            (None, None) => String::new(),
        };
        self.held.shards().map(|shard| (shard.to_string(), reached(&shard))).collect()
    }

    fn json(&self, shards: bool) -> Value {
        let Self { looked, held, due, problems } = self;
        let look = &looked.look;
        let owners: Vec<_> = look
            .owners
            .iter()
            .map(|owner| json!({"pipeline": owner.pipeline, "stream": owner.stream, "shared": owner.shared}))
            .collect();
        let mut value = json!({
            "stream": looked.choice.stream.name,
            "table": looked.target.table.name,
            "mode": looked.choice.mode.as_str(),
            "shared": looked.choice.shared,
            "exists": look.table,
            "owners": owners,
            "rows": look.rows,
            "shards": held.shards().count(),
            "reached": held.reached().map(|day| self.trading(day).to_string()),
            "updated_at": look.updated_at,
            "due": due.map(|due| json!({"slices": due.slices, "rows": due.rows})),
            "unfinished": look.unfinished.is_some(),
            "problems": problems,
        });
        if shards {
            let position = |shard: &Arc<str>| match (held.position(shard), held.whole_as_of(shard)) {
                (Some(at), _) => {
                    json!({"shard": &**shard, "from": at.from, "through": at.through, "as_of": at.as_of})
                }
                (None, as_of) => json!({"shard": &**shard, "as_of": as_of}),
            };
            value["progress"] = held.shards().map(|shard| position(&shard)).collect();
        }
        value
    }
}

/// Who writes to a table, from the pipeline's point of view.
fn owner(pipeline: &str, owners: &[WrittenBy]) -> String {
    let name = |owner: &WrittenBy| match owner.pipeline.as_str() {
        own if own == pipeline => "this pipeline".to_owned(),
        AIRBYTE => "an Airbyte connection".to_owned(),
        other => format!("the pipeline {other} (stream {})", owner.stream),
    };
    match owners {
        [] => "nobody yet".to_owned(),
        owners => owners.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}
