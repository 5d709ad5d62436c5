//! How much is read ahead of the slice that is being committed: a bound in
//! bytes, however large pages are and however slow the sink is.
//!
//! A slice takes room before it requests a page, when nobody knows the page's
//! size yet: as much as the largest page so far had. The room is free again when
//! the engine takes the page. So that a run always goes on, the slice whose turn
//! it is may have one page beyond the bound.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes of rows that were read and that the engine did not take yet: three
/// pages of 50,000 bars, the longest that they come.
pub const AHEAD_BYTES_MAX: usize = 28 << 20;

/// What a page is taken for before one is known.
const PAGE_GUESS: usize = 8 << 20;

/// What the slices of a run share.
#[derive(Debug, Default)]
pub struct Ahead {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of all rooms.
    bytes: usize,
    /// How many each slice has.
    rooms: BTreeMap<usize, usize>,
    /// The slice that the engine reads.
    turn: usize,
    /// Bytes of the largest page so far.
    page: Option<usize>,
}

impl Ahead {
    /// The engine reads `slice` now.
    pub(super) fn turn(&self, slice: usize) {
        self.lock().turn = slice;
        self.changed.notify_waiters();
    }

    /// Waits until `slice` may read a page.
    pub(super) async fn room(self: &Arc<Self>, slice: usize) -> Room {
        loop {
            let changed = self.changed.notified();
            if let Some(bytes) = self.lock().take(slice) {
                return Room { ahead: Arc::clone(self), slice, bytes };
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, slice: usize) -> Option<usize> {
        let page = self.page.unwrap_or(PAGE_GUESS);
        let must_go_on = self.turn == slice && !self.rooms.contains_key(&slice);
        if self.bytes + page > AHEAD_BYTES_MAX && !must_go_on {
            return None;
        }
        self.bytes += page;
        *self.rooms.entry(slice).or_default() += 1;
        Some(page)
    }
}

/// Room for one page, until it is dropped.
#[derive(Debug)]
pub struct Room {
    ahead: Arc<Ahead>,
    slice: usize,
    bytes: usize,
}

impl Room {
    /// The page turned out to have this many bytes.
    pub(super) fn fit(&mut self, bytes: usize) {
        let mut state = self.ahead.lock();
        state.page = state.page.max(Some(bytes));
        state.bytes = state.bytes - self.bytes + bytes;
        self.bytes = bytes;
        drop(state);
        self.ahead.changed.notify_waiters();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.ahead.lock();
        state.bytes -= self.bytes;
        if let Some(rooms) = state.rooms.get_mut(&self.slice) {
            *rooms -= 1;
            if *rooms == 0 {
                state.rooms.remove(&self.slice);
            }
        }
        drop(state);
        self.ahead.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn has_room(ahead: &Arc<Ahead>, slice: usize) -> Option<Room> {
        tokio::time::timeout(std::time::Duration::from_secs(1), ahead.room(slice)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn pages_take_what_the_largest_took_and_no_more_than_the_bound() {
        let ahead = Arc::new(Ahead::default());
        let mut first = has_room(&ahead, 0).await.unwrap();
        first.fit(AHEAD_BYTES_MAX / 2);
        let second = has_room(&ahead, 1).await.unwrap();
        assert!(has_room(&ahead, 2).await.is_none(), "a third page of this size is too much");
        first.fit(1);
        assert!(has_room(&ahead, 2).await.is_none(), "the next one may be as large as the first");
        drop(second);
        assert!(has_room(&ahead, 2).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_slice_whose_turn_it_is_may_have_one_page_more() {
        let ahead = Arc::new(Ahead::default());
        let mut much = has_room(&ahead, 1).await.unwrap();
        much.fit(2 * AHEAD_BYTES_MAX);
        let own = has_room(&ahead, 0).await.unwrap();
        assert!(has_room(&ahead, 0).await.is_none(), "one page, not two");
        ahead.turn(1);
        assert!(has_room(&ahead, 1).await.is_none(), "it has one");
        drop(own);
        drop(much);
        assert!(has_room(&ahead, 1).await.is_some(), "a page larger than the bound can be read");
    }
}
