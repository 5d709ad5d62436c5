//! What resetting a stream means, and what it costs.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, date};

use super::Parts;
use crate::batch::Extent;
use crate::catalog::{Partition, Window};
use crate::checkpoint::Checkpoint;
use crate::commands::looked::Looked;
use crate::config::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result, listed};
use crate::polygon::{self, PolygonSource};
use crate::sink::{Move, Sink, Stored, Target, WriteMode};
use crate::terminal::{counted, duration, wrapped};

/// Tickers that a line names.
const NAMED_MAX: usize = 5;

/// No row is of a day before it, and every warehouse knows it.
const FIRST_DAY: Date = date(1, 1, 1);

/// Columns that nothing goes beyond.
const WIDTH: usize = 80;

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing: there is no progress that could go back.
    Nothing,
    /// Parts of the stream, whose progress goes back.
    Parts,
    /// All of a stream whose progress cannot be gone on with.
    All,
    /// All that an unfinished run of an overwritten stream read.
    Run,
}

/// A stream's reset.
#[derive(Debug)]
pub(super) struct Reset {
    pub target: Target,
    pub again: Again,
    /// As the sink stores it.
    pub before: Stored,
    pub after: Checkpoint,
    /// Parts of the table whose rows go, because they would be there twice.
    pub replaces: Vec<Extent>,
    /// The shards that move.
    shards: Vec<Arc<str>>,
    /// Tickers that were named and have no progress.
    unknown: Vec<Arc<str>>,
    is_named: bool,
    from: Option<Date>,
    /// Slices that the next run reads because of it.
    slices: u64,
    /// Rows of `replaces`.
    gone: u64,
}

impl Reset {
    /// What resetting these parts of a stream means. Nothing is changed.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn plan(
        mut looked: Looked<'_>,
        pipeline: &Pipeline,
        source: &PolygonSource,
        sink: &mut dyn Sink,
        parts: &Parts,
    ) -> Result<Self> {
        if let Some(obstacle) = looked.look.obstacle.take() {
            return Err(obstacle);
        }
        let is_whole = parts.tickers.is_empty() && parts.from.is_none();
        let known = looked.next().and_then(|next| Ok((looked.due(source, &next)?.slices, next)));
        let (due, next, is_usable) = match known {
            Ok((due, next)) => (due, next, true),
            // Made under other options, by another version or in the future: that is what a
            // reset mends.
            Err(error) if is_whole && error.kind() == ErrorKind::State => (0, looked.nothing(), false),
            Err(error) => return Err(error),
        };
        let mut reset = Self {
            target: looked.target.clone(),
            again: Again::Nothing,
            before: looked.look.progress.clone(),
            after: next.clone(),
            replaces: Vec::new(),
            shards: Vec::new(),
            unknown: Vec::new(),
            is_named: !parts.tickers.is_empty(),
            from: parts.from,
            slices: 0,
            gone: 0,
        };
        if looked.choice.mode.is_staged() {
            if looked.look.unfinished.is_some() {
                reset.again = Again::Run;
                reset.after = looked.nothing();
            }
        } else {
            match is_usable {
                true => reset.rewind(&looked, pipeline, parts)?,
                false => reset.begin_anew(&looked),
            }
            reset.gone = match reset.replaces.as_slice() {
                [] => 0,
                replaces => sink.count(&looked.target, replaces).await?,
            };
        }
        if reset.again != Again::Nothing {
            let after = looked.due(source, &reset.after)?.slices;
            reset.slices = after.saturating_sub(due);
        }
        Ok(reset)
    }

    /// Moves the checkpoint back. Days before the configured start stay read: nothing would
    /// read them again.
    fn rewind(&mut self, looked: &Looked<'_>, pipeline: &Pipeline, parts: &Parts) -> Result<()> {
        let (stream, config) = (&looked.choice.stream, &pipeline.source);
        let from = parts.from.unwrap_or(config.start_date).max(config.start_date);
        let before = self.after.clone();
        let of_ticker = stream.spec.partition == Partition::Ticker;
        let shards: Vec<Arc<str>> = match (parts.tickers.as_slice(), of_ticker) {
            ([], false) => before.shards().collect(),
            ([], true) => config.tickers.clone(),
            (tickers, _) => tickers.to_vec(),
        };
        let has_progress =
            |shard: &Arc<str>| before.position(shard).is_some() || before.whole_as_of(shard).is_some();
        for shard in shards {
            if !has_progress(&shard) {
                self.unknown.push(shard);
            } else if self.after.rewind(&shard, Some(from)) {
                self.shards.push(shard);
            }
        }
        if self.shards.is_empty() {
            return Ok(());
        }
        self.again = Again::Parts;
        // A stream without days is added anew by each run, whatever was read before.
        if looked.choice.mode == WriteMode::Append && !matches!(stream.spec.window, Window::Whole) {
            let last =
                self.shards.iter().filter_map(|shard| before.position(shard)).map(|at| at.through).max();
            if let (Some(end), Some(last)) = (config.end_date, last)
                && last > end
            {
                let message = format!(
                    "rows up to {last} were read, and `end_date` is {end}: those after it would not come back"
                );
                return Err(Error::config(message)
                    .hint(format!("set `end_date` to {last} or later, or leave it out")));
            }
            let part = |shard| polygon::part(stream, shard, from, None);
            self.replaces = self.shards.iter().filter_map(part).collect();
        }
        if self.before.text.is_some() {
            // The first commit after version 1 moves every shard.
            self.shards = before.shards().collect();
        }
        Ok(())
    }

    /// Forgets all of a stream, and in append all of its rows with it.
    fn begin_anew(&mut self, looked: &Looked<'_>) {
        self.again = Again::All;
        self.shards = self.before.positions.keys().cloned().collect();
        if looked.choice.mode == WriteMode::Append {
            let all = polygon::part(&looked.choice.stream, &Arc::from(""), FIRST_DAY, None);
            self.replaces = all.map(|all| Extent { partition: None, ..all }).into_iter().collect();
        }
    }

    /// Where the shards are afterwards.
    pub fn moves(&self) -> Vec<Move> {
        let moved =
            |shard: &Arc<str>| Move { shard: Arc::clone(shard), position: self.after.stored_position(shard) };
        self.shards.iter().map(moved).collect()
    }

    /// What is read again, for people.
    pub fn text(&self) -> String {
        let mode = self.target.mode;
        let mut lines = Vec::new();
        let since = self.from.map(|from| format!(" from {from} on")).unwrap_or_default();
        match self.again {
            Again::Nothing if mode.is_staged() => {
                lines.push("nothing to reset: each run reads all of it, and none is unfinished".to_owned());
            }
            Again::Nothing => lines.push(format!("nothing to reset: nothing was read{since}")),
            Again::All => {
                lines.push("everything again: what is stored of it cannot be gone on with".to_owned());
            }
            Again::Run => {
                lines.push("the unfinished run is given up, and the next one begins anew".to_owned())
            }
            Again::Parts if self.is_named => {
                lines.push(format!("{}{since} again", listed(&self.shards, NAMED_MAX)))
            }
            Again::Parts => lines
                .push(format!("everything{since} again, of {}", counted(self.shards.len() as u64, "shard"))),
        }
        if self.is_named && !self.unknown.is_empty() {
            lines.push(format!("{}: no progress, and nothing to reset", listed(&self.unknown, NAMED_MAX)));
        }
        if self.again != Again::Nothing {
            lines.push(format!(
                "{0}, at least {1}",
                counted(self.slices, "more slice"),
                counted(self.slices, "request")
            ));
            lines.push(match mode {
                WriteMode::Append => format!("{} out of the table, to be read again", go(self.gone)),
                WriteMode::AppendDedup => {
                    "no row goes: those that come again replace the old ones".to_owned()
                }
                WriteMode::Overwrite | WriteMode::OverwriteDedup => {
                    "no row that readers see goes until the new run is complete".to_owned()
                }
            });
        }
        let mut text = format!("{} ({})\n", self.target.stream, mode.as_str());
        for line in lines {
            text += &format!("  {}\n", wrapped(&line, WIDTH, 2));
        }
        text
    }
}

fn go(rows: u64) -> String {
    if rows == 1 { "1 row goes".to_owned() } else { format!("{} go", counted(rows, "row")) }
}

/// What all of it costs.
pub(super) fn total(resets: &[Reset], per_minute: u32) -> String {
    let slices: u64 = resets.iter().map(|reset| reset.slices).sum();
    let gone: u64 = resets.iter().map(|reset| reset.gone).sum();
    let time = duration(Duration::from_secs_f64(slices as f64 * 60.0 / f64::from(per_minute.max(1))));
    format!("in all: at least {}, {time} at {per_minute} a minute; {}", counted(slices, "request"), go(gone))
}
