//! A pipeline's streams as they are in the warehouse, without touching them.

use super::connect::target;
use crate::checkpoint::{Checkpoint, Options};
use crate::config::pipeline::{Choice, Pipeline};
use crate::engine::{checkpoint, reading};
use crate::error::Result;
use crate::polygon::PolygonSource;
use crate::sink::{Look, Sink, Target};
use crate::source::{Estimate, Source};

/// A stream of the pipeline and what the sink knows of it.
#[derive(Debug)]
pub(super) struct Looked<'a> {
    pub choice: &'a Choice,
    pub target: Target,
    pub look: Look,
    options: Options,
}

/// Looks at all streams of a pipeline.
///
/// # Errors
/// As [`Sink::look`].
pub(super) async fn look<'a>(
    pipeline: &'a Pipeline,
    source: &PolygonSource,
    sink: &mut dyn Sink,
) -> Result<Vec<Looked<'a>>> {
    let targets: Vec<Target> = pipeline.streams.iter().map(|choice| target(&pipeline.name, choice)).collect();
    let looks = sink.look(&targets).await?;
    let looked = pipeline.streams.iter().zip(targets).zip(looks).map(|((choice, target), look)| {
        let options = source.options(&choice.stream.name);
        Looked { choice, target, look, options }
    });
    Ok(looked.collect())
}

impl Looked<'_> {
    /// How far the rows are that readers see.
    ///
    /// # Errors
    /// When the progress cannot be gone on with.
    pub fn held(&self) -> Result<Checkpoint> {
        checkpoint(&self.look.progress, self.options.clone())
    }

    /// Where the next run begins.
    ///
    /// # Errors
    /// As [`Looked::held`].
    pub fn next(&self) -> Result<Checkpoint> {
        match &self.look.unfinished {
            _ if !self.choice.mode.is_staged() => self.held(),
            Some(unfinished) => checkpoint(unfinished, self.options.clone()),
            None => Ok(self.nothing()),
        }
    }

    /// No progress, under the options of now.
    pub fn nothing(&self) -> Checkpoint {
        Checkpoint::new(self.options.clone())
    }

    /// What is to be read beyond what `have` says, told without a request.
    ///
    /// # Errors
    /// When the stream cannot be read with this configuration, or not on from there.
    pub fn due(&self, source: &PolygonSource, have: &Checkpoint) -> Result<Estimate> {
        source.estimate(&self.choice.stream, have, reading(self.choice.mode))
    }
}
