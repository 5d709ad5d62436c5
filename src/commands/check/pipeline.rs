//! `check` of a pipeline: a line for each thing that was tried.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::commands::connect::{peek, place, try_rights};
use crate::commands::looked::{Looked, look};
use crate::commands::signals;
use crate::config::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::observe::Silent;
use crate::outlet;
use crate::polygon::PolygonSource;
use crate::sink::{Abilities, refuse};
use crate::terminal::{Paint, counted, wrapped};

/// Columns that nothing goes beyond but a word that is longer.
const WIDTH: usize = 80;

/// Columns before what is said of a thing.
const INDENT: usize = 9;

/// Tries everything that a run needs.
///
/// # Errors
/// When the pipeline cannot be read.
pub(super) async fn run(path: &Path, stop: &watch::Receiver<bool>) -> Result<ExitCode> {
    signals::unless_stopped(stop, tell(path)).await
}

async fn tell(path: &Path) -> Result<ExitCode> {
    let clock = Clock::from_environment()?;
    let pipeline = Pipeline::read(path, clock)?;
    let mut trial = Trial { paint: Paint::stdout(), failures: Vec::new(), unsaid: None };
    trial.ok("pipeline", &format!("{}, {}", pipeline.name, counted(pipeline.streams.len() as u64, "stream")));
    let source = PolygonSource::new(pipeline.source.clone(), clock, Arc::new(Silent))?;
    trial.key(&pipeline, &source).await;
    if let Err(error) = trial.warehouse(&pipeline, &source).await {
        trial.failed("sink", error);
    }
    if let Some(error) = trial.unsaid {
        return Err(error);
    }
    let worst = trial.failures.iter().max_by_key(|error| error.kind().policy().scope);
    Ok(worst.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.kind().policy().exit_code)))
}

/// What was tried.
struct Trial {
    paint: Paint,
    failures: Vec<Error>,
    /// Why stdout did not take a line.
    unsaid: Option<Error>,
}

impl Trial {
    /// A line on stdout, unless it took none before.
    fn say(&mut self, line: &str) {
        if self.unsaid.is_none() {
            self.unsaid = outlet::print(&format!("{line}\n")).err();
        }
    }

    fn ok(&mut self, what: &str, how: &str) {
        let text = wrapped(&format!("{what}: {how}"), WIDTH, INDENT);
        self.say(&format!("{}       {text}", self.paint.green("ok")));
    }

    fn failed(&mut self, what: &str, error: Error) {
        let text = wrapped(&format!("{what}: {}", error.user_message()), WIDTH, INDENT);
        self.say(&format!("{}   {text}", self.paint.red("FAILED")));
        self.failures.push(error);
    }

    /// The key, its tickers, and what its plan lacks.
    async fn key(&mut self, pipeline: &Pipeline, source: &PolygonSource) {
        let probe = match source.probe().await {
            Ok(probe) => probe,
            Err(error) => return self.failed("key", error),
        };
        self.ok("key", "the API takes it");
        for (stream, error) in probe.lacking {
            if pipeline.streams.iter().any(|choice| choice.stream.name == stream) {
                self.failed(&stream, error);
            }
        }
    }

    /// The sink, the rights in it, and each table.
    async fn warehouse(&mut self, pipeline: &Pipeline, source: &PolygonSource) -> Result<()> {
        let mut sink = peek(&pipeline.sink).await?;
        let looked = look(pipeline, source, &mut *sink).await?;
        let abilities = sink.abilities();
        drop(sink);
        self.ok("sink", &place(&pipeline.sink));
        match try_rights(&pipeline.sink).await {
            Ok(()) => self.ok("rights", "tables can be created"),
            Err(error) => self.failed("rights", error),
        }
        for looked in looked {
            self.table(looked, source, &abilities).await;
        }
        Ok(())
    }

    async fn table(&mut self, mut looked: Looked<'_>, source: &PolygonSource, abilities: &Abilities) {
        let name = &looked.choice.stream.name;
        let table = &looked.target.table.name;
        if let Some(error) = refuse(abilities, &looked.target).err().or(looked.look.obstacle.take()) {
            return self.failed(name, error);
        }
        let due = match looked.next() {
            Ok(have) => looked.due(source, &have),
            Err(error) => Err(error),
        };
        match due {
            Err(error) => self.failed(name, error),
            Ok(_) if looked.look.table => {
                let rows = counted(looked.look.rows, "row");
                self.ok(name, &format!("the table {table} can take its rows; it has {rows}"));
            }
            Ok(_) => self.ok(name, &format!("the table {table} is not there yet: sync creates it")),
        }
    }
}
