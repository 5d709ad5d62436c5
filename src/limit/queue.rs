//! Who is next where one at a time may pass: each lane in its order, and of the
//! lanes the one that was served least recently.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;

/// A queue with lanes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// Turns that were given.
    turns: u64,
    /// One for each name that ever was: streams are few.
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    name: Box<str>,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// The number of its last turn; 0 for none.
    served: u64,
}

/// The turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// None when nobody was there to take it.
    queue: Option<Arc<Queue>>,
}

impl Queue {
    /// Waits for the turn.
    ///
    /// # Cancel safety
    /// A dropped future leaves the queue, or passes its turn on.
    pub(super) async fn turn(self: &Arc<Self>, lane: &str) -> Turn {
        let receiver = {
            let mut state = lock(&self.state);
            let turns = state.turns + 1;
            let is_taken = std::mem::replace(&mut state.is_taken, true);
            let lane = state.lane(lane);
            if !is_taken {
                lane.served = turns;
                state.turns = turns;
                return Turn { queue: Some(Arc::clone(self)) };
            }
            let (sender, receiver) = oneshot::channel();
            lane.waiting.push_back(sender);
            receiver
        };
        receiver.await.expect("the one before passes its turn on when it ends, however it ends")
    }
}

impl State {
    fn lane(&mut self, name: &str) -> &mut Lane {
        let index = self.lanes.iter().position(|lane| *lane.name == *name).unwrap_or_else(|| {
            self.lanes.push(Lane { name: name.into(), waiting: VecDeque::new(), served: 0 });
            self.lanes.len() - 1
        });
        &mut self.lanes[index]
    }

    /// Gives the turn to the next one that still waits for it.
    fn pass(&mut self, queue: &Arc<Queue>) {
        while let Some(lane) =
            self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty()).min_by_key(|lane| lane.served)
            && let Some(next) = lane.waiting.pop_front()
        {
            match next.send(Turn { queue: Some(Arc::clone(queue)) }) {
                Ok(()) => {
                    self.turns += 1;
                    lane.served = self.turns;
                    return;
                }
                // It left: its turn must not be passed on from here.
                Err(mut turn) => turn.queue = None,
            }
        }
        self.is_taken = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            lock(&queue.state).pass(&queue);
        }
    }
}
