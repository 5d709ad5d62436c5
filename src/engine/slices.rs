//! The streams of a [`Source`] as a feed: each is read by a task of its own, so that
//! none holds up another.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::feed::{Arrival, Event, Feed};
use super::fetch::{Fetched, Fetcher};
use crate::checkpoint::Checkpoint;
use crate::error::{Result, Scope};
use crate::source::{Ahead, Reading, Room, Source};

/// A stream to read.
pub(super) struct Wanted {
    /// By what the engine knows it.
    pub index: usize,
    pub stream: String,
    pub have: Checkpoint,
    pub reading: Reading,
}

/// Something that a source says of a stream, and the room that it takes until the engine
/// has it: from there on the engine bounds what it holds itself.
type Told = (usize, Event, Option<Room>);

/// Streams under way. Dropping it ends them.
pub(super) struct Slices {
    events: mpsc::Receiver<Told>,
    tasks: HashMap<usize, AbortHandle>,
    _all: JoinSet<()>,
}

impl Slices {
    /// Begins to read all of `wanted`.
    pub fn start(source: &Arc<dyn Source>, wanted: Vec<Wanted>) -> Self {
        // What waits here, one event and one more of each stream, is bounded by `Ahead`.
        let (sender, events) = mpsc::channel(1);
        let ahead = Arc::new(Ahead::default());
        let mut all = JoinSet::new();
        let mut tasks = HashMap::new();
        for wanted in wanted {
            let index = wanted.index;
            let (source, sender, ahead) = (Arc::clone(source), sender.clone(), Arc::clone(&ahead));
            let task = all.spawn(async move {
                let ended = read(&*source, wanted, &sender, &ahead).await;
                // The engine is gone when nobody listens.
                if let Some(ended) = ended {
                    let _ = sender.send((index, Event::Ended(ended), None)).await;
                }
            });
            tasks.insert(index, task);
        }
        Self { events, tasks, _all: all }
    }
}

/// Reads a stream to its end; none when nobody listens any more.
async fn read(
    source: &dyn Source,
    wanted: Wanted,
    events: &mpsc::Sender<Told>,
    ahead: &Arc<Ahead>,
) -> Option<Result<()>> {
    let Wanted { index, stream, have, reading } = wanted;
    let plan = match source.open(&stream, &have, reading).await {
        Ok(plan) => plan,
        Err(error) => return Some(Err(error)),
    };
    drop(have);
    events.send((index, Event::Started(plan.estimate()), None)).await.ok()?;
    let mut fetcher = Fetcher::new(plan, source.concurrency(), ahead);
    let mut failed = HashSet::new();
    loop {
        match fetcher.start_next(&failed).await {
            Ok(true) => {}
            Ok(false) => return Some(Ok(())),
            Err(error) => return Some(Err(error)),
        }
        let (partition, given_up) = (Arc::clone(fetcher.partition()), fetcher.given_up());
        loop {
            match fetcher.next().await {
                Ok(Fetched::Page(page, room)) => {
                    let arrival = Arrival::of(Arc::clone(&partition), *page);
                    events.send((index, Event::Rows(Box::new(arrival)), Some(room))).await.ok()?;
                }
                Ok(Fetched::End(cover)) => {
                    events.send((index, Event::Covered { partition, cover }, None)).await.ok()?;
                    break;
                }
                Err(error) if error.kind().policy().scope == Scope::Partition => {
                    failed.insert(Arc::clone(&partition));
                    let event = Event::PartitionFailed { partition, error, given_up };
                    events.send((index, event, None)).await.ok()?;
                    break;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[async_trait]
impl Feed for Slices {
    async fn next(&mut self) -> Result<Option<(usize, Event)>> {
        Ok(self.events.recv().await.map(|(index, event, _room)| (index, event)))
    }

    fn dropped(&mut self, index: usize) {
        if let Some(task) = self.tasks.get(&index) {
            task.abort();
        }
    }
}
