//! The thread that owns the database: takes commands in order, one at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use super::client::Database;
use super::feed::Load;
use super::write::Stream;
use super::{DuckDbConfig, StreamId, Target};
use crate::catalog::Table;
use crate::error::Result;

/// Where the answer to a command goes.
type Reply<T> = oneshot::Sender<Result<T>>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Open {
        target: Target,
        failed: Arc<AtomicBool>,
        reply: Reply<(Option<String>, Table)>,
    },
    /// Answered by the next command that has a reply.
    Write {
        stream: StreamId,
        load: Box<Load>,
    },
    Flush {
        stream: StreamId,
        reply: Reply<()>,
    },
    Commit {
        stream: StreamId,
        progress: String,
        reply: Reply<()>,
    },
    Rollback {
        stream: StreamId,
        reply: Reply<()>,
    },
    Finish {
        stream: StreamId,
        reply: Reply<()>,
    },
}

/// Opens the database, says so, and serves commands until their sender is gone.
pub(super) fn run(config: &DuckDbConfig, ready: Reply<()>, mut commands: mpsc::Receiver<Command>) {
    let database = match Database::open(config) {
        Ok(database) => database,
        Err(error) => return answer(ready, Err(error)),
    };
    answer(ready, Ok(()));
    let mut streams: Vec<Stream> = Vec::new();
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::Open { target, failed, reply } => {
                let name = target.table.name.clone();
                let opened = Stream::open(&database, streams.len(), target, failed);
                let opened = opened.map_err(|error| error.in_stream(&name)).map(|(stream, progress)| {
                    let held = stream.held().clone();
                    streams.push(stream);
                    (progress, held)
                });
                answer(reply, opened);
            }
            Command::Write { stream, load } => streams[stream.0].write(*load),
            Command::Flush { stream, reply } => streams[stream.0].answer(reply, |stream| stream.flush()),
            Command::Commit { stream, progress, reply } => {
                streams[stream.0].answer(reply, |stream| stream.commit(&progress))
            }
            Command::Rollback { stream, reply } => {
                streams[stream.0].answer(reply, |stream| stream.rollback())
            }
            Command::Finish { stream, reply } => streams[stream.0].answer(reply, |stream| stream.finish()),
        }
    }
}

impl Stream {
    fn answer(&mut self, reply: Reply<()>, act: impl FnOnce(&mut Self) -> Result<()>) {
        let result = act(self);
        answer(reply, result.map_err(|error| error.in_stream(self.name())));
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // Nobody waits any more: the caller's future was dropped.
    let _ = reply.send(result);
}
