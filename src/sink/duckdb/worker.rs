//! The thread that owns the database: takes commands in order, one at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use super::DuckDbConfig;
use super::check;
use super::client::{Access, Database};
use super::feed::Load;
use super::look;
use super::write::{OpenedStream, OwnedPortion, Writer};
use crate::batch::Extent;
use crate::error::{Error, Result};
use crate::sink::{Look, Target};
use crate::table::Table;

/// Where the answer to a command goes.
type Reply<T> = oneshot::Sender<Result<T>>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Open {
        targets: Vec<Target>,
        reply: Reply<Vec<Result<OpenedStream>>>,
    },
    Look {
        targets: Vec<Target>,
        reply: Reply<Vec<Look>>,
    },
    Count {
        target: Box<Target>,
        parts: Vec<Extent>,
        reply: Reply<u64>,
    },
    TryRights {
        reply: Reply<()>,
    },
    /// Answered by the next command that has a reply.
    Write {
        stream: usize,
        /// Or why there is none.
        load: Result<Box<Load>>,
        ahead: bool,
    },
    /// Which of the columns can have microseconds in place of nanoseconds.
    InMicros {
        stream: usize,
        columns: Vec<usize>,
        ahead: bool,
        reply: Reply<Vec<usize>>,
    },
    Evolve {
        stream: usize,
        table: Arc<Table>,
        reply: Reply<(Arc<Target>, Table)>,
    },
    Flush {
        reply: Reply<()>,
    },
    Commit {
        portions: Vec<OwnedPortion>,
        reply: Reply<Vec<(usize, Error)>>,
    },
    Rollback {
        stream: usize,
        reply: Reply<()>,
    },
    Finish {
        streams: Vec<usize>,
        reply: Reply<()>,
    },
}

/// Opens the database, says so, and serves commands until their sender is gone.
pub(super) fn run(
    config: &DuckDbConfig,
    access: Access,
    failed: Arc<AtomicBool>,
    ready: Reply<()>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut writer = match Database::open(config, access).and_then(|database| Writer::new(database, failed)) {
        Ok(writer) => writer,
        Err(error) => return answer(ready, Err(error)),
    };
    answer(ready, Ok(()));
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::Open { targets, reply } => answer(reply, Ok(writer.open(&targets))),
            Command::Look { targets, reply } => answer(reply, look::look(writer.database(), &targets)),
            Command::Count { target, parts, reply } => {
                answer(reply, look::count(writer.database(), &target, &parts));
            }
            Command::TryRights { reply } => answer(reply, check::try_rights(writer.database())),
            Command::Write { stream, load, ahead } => writer.write(stream, load, ahead),
            Command::InMicros { stream, columns, ahead, reply } => {
                answer(reply, writer.in_micros(stream, &columns, ahead));
            }
            Command::Evolve { stream, table, reply } => answer(reply, writer.evolve(stream, &table)),
            Command::Flush { reply } => answer(reply, writer.flush()),
            Command::Commit { portions, reply } => answer(reply, writer.commit(&portions)),
            Command::Rollback { stream, reply } => answer(reply, writer.rollback(stream)),
            Command::Finish { streams, reply } => answer(reply, writer.finish(&streams)),
        }
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // Nobody waits any more: the caller's future was dropped.
    let _ = reply.send(result);
}
