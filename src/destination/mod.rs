//! The Airbyte destination: records of any source from stdin into a sink.
//!
//! # Guarantees
//! A STATE is echoed, byte for byte and in its order, once the records before it
//! are durable, and never otherwise. Records that no STATE covers are committed
//! only when their stream is complete; when the source dies they are rolled back,
//! because it sends them again. A process that dies between a commit and its echo
//! has the source send those records again too: `append` then holds them twice, as
//! the protocol has it, and so does a refresh without a key; `append_dedup`, and a
//! refresh that goes on with a key, hold them once.
//!
//! In `append_dedup` the record with the greatest cursor wins, and of those with the
//! same one the last, so that a correction whose cursor did not move is not lost. Without
//! a cursor that has an order the last wins. A record that says that its row was deleted
//! takes it away.

pub mod catalog;
mod columns;
mod records;
mod routing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

use crate::airbyte::messages::Level;
use crate::airbyte::output::Output;
use crate::airbyte::stdin::Blocks;
use crate::engine::{CommitPolicy, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{Event, Observer};
use crate::sink::{AIRBYTE, Abilities, Sink, StreamId, Target, WriteMode, refuse};
use crate::table::Table;

use catalog::Configured;
use records::{PAGE_BYTES, Records};

/// Writes the records of one sync.
pub struct Destination<'a> {
    sink: &'a mut dyn Sink,
    output: Arc<Output>,
    configured: Vec<Configured>,
    /// Of the configured streams.
    ids: Vec<StreamId>,
    page_bytes: usize,
}

impl<'a> Destination<'a> {
    /// Opens the streams in the sink.
    ///
    /// # Errors
    /// When a table cannot be created or cannot take the stream's records, or the sink
    /// cannot keep it by its mode.
    pub async fn open(
        sink: &'a mut dyn Sink,
        output: Arc<Output>,
        mut configured: Vec<Configured>,
    ) -> Result<Self> {
        let targets: Vec<Target> = configured.iter().map(|stream| stream.target.clone()).collect();
        let abilities = sink.abilities();
        targets.iter().try_for_each(|target| refuse(&abilities, target))?;
        let mut ids = Vec::new();
        for (opened, configured) in sink.open(&targets).await?.into_iter().zip(&mut configured) {
            let name = &configured.descriptor.name;
            let opened = opened.map_err(|error| error.in_stream(name))?;
            if configured.target.mode.is_staged() && !opened.progress.is_empty() {
                output.log(
                    Level::Info,
                    &format!("{name}: rows of this generation are kept, and more are added"),
                );
            }
            configured.target.mode = opened.mode;
            ids.push(opened.id);
        }
        Ok(Self { sink, output, configured, ids, page_bytes: PAGE_BYTES })
    }

    /// Writes what comes until the input ends or `stop` becomes true, then says what
    /// became of each stream.
    ///
    /// # Errors
    /// What kept it from writing everything. What the echoed STATEs cover is durable.
    pub async fn run(self, input: Blocks, policy: CommitPolicy, stop: watch::Receiver<bool>) -> Result<()> {
        let observer = Arc::new(Told(Arc::clone(&self.output)));
        let engine = Engine::new(observer, policy, stop);
        self.run_in(engine, input).await
    }

    async fn run_in(self, engine: Engine, input: Blocks) -> Result<()> {
        let Self { sink, output, configured, ids, page_bytes } = self;
        let of_stream = |stream: &Configured| (stream.descriptor.name.clone(), stream.target.clone());
        let known: Vec<(String, Target)> = configured.iter().map(of_stream).collect();
        let streams: Vec<_> =
            ids.into_iter().zip(&known).map(|(id, (name, target))| (id, name.as_str(), target)).collect();
        let mut records = Records::new(input, output, configured, page_bytes);
        let report = engine.take(&mut records, sink, &streams).await;
        match report.into_worst() {
            Some(error) if error.kind() == ErrorKind::Interrupted => Err(interrupted()),
            Some(error) => Err(error),
            None => records.judge(),
        }
    }
}

/// Refuses a sink that cannot do what the specification promises of every stream.
///
/// # Errors
/// As [`refuse`].
pub fn assert_able(abilities: &Abilities) -> Result<()> {
    use WriteMode::{Append, AppendDedup, Overwrite, OverwriteDedup};
    let table = Arc::new(Table::new("<any>", Vec::new(), &["id"]));
    [Append, AppendDedup, Overwrite, OverwriteDedup]
        .into_iter()
        .try_for_each(|mode| refuse(abilities, &Target::new(AIRBYTE, "<any>", Arc::clone(&table), mode)))
}

/// Tells the platform what became of streams.
#[derive(Debug)]
struct Told(Arc<Output>);

impl Observer for Told {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::StreamFinished { stream, rows } => {
                self.0.log(Level::Info, &format!("{stream}: {rows} records written"));
            }
            Event::Forgotten { stream, rows } => self.0.log(
                Level::Warn,
                &format!(
                    "{stream}: {rows} records after the last STATE are not kept: the source sends them again"
                ),
            ),
            Event::Warning { stream: Some(stream), message } => {
                self.0.log(Level::Warn, &format!("{stream}: {message}"));
            }
            // The error is what the run returns, and the rest is a source's business.
            _ => {}
        }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped on request")
        .hint("what the echoed STATEs cover is kept; the next sync goes on from there")
}
