//! How much is read ahead of what is being committed: a bound in bytes for all
//! streams of a run together, however large pages are and however slow the sink is.
//!
//! A page needs room from before its request until the engine takes it. Nobody
//! knows its size before it came, so a request is let go when there is room for a
//! page as they have been of late; while the text comes in, the room grows with it,
//! and where there is none left the reading of the socket pauses.
//!
//! So that a run always goes on, one slice of each stream, the one whose turn it
//! is, may have one page beyond the bound. Room for these pages is kept free.
//! Of those that wait, pages under way go before requests, earlier slices before
//! later ones, and streams that hold little before those that hold much.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes of rows that were read and that the engine did not take yet: three
/// pages of 50,000 bars, the longest that they come.
pub const AHEAD_BYTES_MAX: usize = 28 << 20;

/// What a page is taken for before one is known.
const PAGE_GUESS: usize = 8 << 20;

/// And the least that one is taken for: what a request needs besides its rows.
const PAGE_MIN: usize = 16 << 10;

/// A page that is larger than expected is taken for so many times as much.
const GROWS_BY: usize = 4;

/// What the streams of a run share.
#[derive(Debug, Default)]
pub struct Ahead {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of all rooms.
    bytes: usize,
    /// A stream's share, by the number of its lane.
    lanes: BTreeMap<u64, Share>,
    /// Lanes that there have been.
    opened: u64,
}

/// What the slices of one stream have.
#[derive(Debug, Default)]
struct Share {
    /// The slice that the engine reads.
    turn: u64,
    /// Bytes of its rooms.
    bytes: usize,
    /// How many rooms a slice has.
    rooms: HashMap<u64, usize>,
    page: PageSize,
    waiting: BTreeMap<Place, Waiting>,
}

/// A place in a stream's queue: pages under way first, then by the slice.
type Place = (bool, u64);

#[derive(Debug)]
struct Waiting {
    wants: Wants,
    bell: Arc<Notify>,
}

/// What room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// That of a new page, which is what pages are when it is granted: those that wait
    /// since before one was known must not wait for the guess.
    Page,
    /// So many bytes more for a page that is under way.
    More(usize),
}

/// How large pages are: a mean and how far they are from it, both of late.
#[derive(Debug, Default)]
struct PageSize {
    known: Option<(usize, usize)>,
}

/// The slices of one stream, numbered in the order in which they are committed.
#[derive(Debug)]
pub struct Lane {
    ahead: Arc<Ahead>,
    number: u64,
    /// Told when a slice may have become the only one that must go on.
    turned: Notify,
}

/// Room for one page, until it is dropped.
#[derive(Debug)]
pub struct Room {
    lane: Arc<Lane>,
    slice: u64,
    bytes: usize,
    /// Whether the page turned out larger than it was taken for.
    has_grown: bool,
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
struct Request {
    lane: u64,
    slice: u64,
    wants: Wants,
}

impl Ahead {
    /// A lane for the slices of one more stream.
    pub fn lane(self: &Arc<Self>) -> Arc<Lane> {
        let mut state = self.lock();
        let number = state.opened;
        state.opened += 1;
        state.lanes.insert(number, Share::default());
        drop(state);
        Arc::new(Lane { ahead: Arc::clone(self), number, turned: Notify::new() })
    }

    /// Bytes that are taken, for the tests.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole after a panic too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the request is granted, and says how many bytes it got.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    async fn take(&self, request: Request) -> usize {
        let bell = {
            let mut state = self.lock();
            if let Some(bytes) = state.grant(request) {
                return bytes;
            }
            let bell = Arc::new(Notify::new());
            let waiting = Waiting { wants: request.wants, bell: Arc::clone(&bell) };
            state.share(request.lane).waiting.insert(request.place(), waiting);
            bell
        };
        let queued = Queued { ahead: self, request };
        let bytes = loop {
            bell.notified().await;
            if let Some(bytes) = self.lock().grant(request) {
                break bytes;
            }
        };
        drop(queued);
        bytes
    }
}

/// Leaves the queue when it is dropped.
struct Queued<'a> {
    ahead: &'a Ahead,
    request: Request,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.ahead.lock();
        state.share(self.request.lane).waiting.remove(&self.request.place());
        // Who was behind it may be first now.
        state.ring();
    }
}

impl Request {
    fn is_new(&self) -> bool {
        self.wants == Wants::Page
    }

    fn place(&self) -> Place {
        (self.is_new(), self.slice)
    }
}

impl State {
    fn share(&mut self, lane: u64) -> &mut Share {
        self.lanes.entry(lane).or_default()
    }

    /// Gives what is asked for, if it can be had, and says how much it was.
    fn grant(&mut self, request: Request) -> Option<usize> {
        let share = &self.lanes[&request.lane];
        let bytes = share.wanted(request.wants);
        let is_granted =
            share.must_go_on(request.slice, request.is_new()) || (self.fits(bytes) && self.is_next(request));
        is_granted.then(|| {
            self.bytes += bytes;
            let share = self.share(request.lane);
            share.bytes += bytes;
            if request.is_new() {
                *share.rooms.entry(request.slice).or_default() += 1;
            }
            bytes
        })
    }

    /// Whether so much is within the bound, beside what slices need that must go on.
    fn fits(&self, bytes: usize) -> bool {
        let kept: usize = self.lanes.values().map(Share::kept_for_turn).sum();
        self.bytes + bytes + kept <= AHEAD_BYTES_MAX
    }

    /// Whether nobody waits who goes before it.
    fn is_next(&self, request: Request) -> bool {
        self.next().is_none_or(|(lane, place)| {
            if lane == request.lane {
                request.place() <= place
            } else {
                self.lanes[&request.lane].bytes < self.lanes[&lane].bytes
            }
        })
    }

    /// Who gets the next bytes that are free.
    fn next(&self) -> Option<(u64, Place)> {
        let first = |(lane, share): (&u64, &Share)| Some((share.bytes, *lane, *share.waiting.keys().next()?));
        self.lanes.iter().filter_map(first).min().map(|(_, lane, place)| (lane, place))
    }

    /// Wakes those that may go on now; each of them rings again once it has.
    fn ring(&self) {
        for share in self.lanes.values() {
            for is_new in [false, true] {
                if let Some(waiting) = share.waiting.get(&(is_new, share.turn))
                    && share.must_go_on(share.turn, is_new)
                {
                    waiting.bell.notify_one();
                }
            }
        }
        if let Some((lane, place)) = self.next() {
            let share = &self.lanes[&lane];
            let waiting = &share.waiting[&place];
            if self.fits(share.wanted(waiting.wants)) {
                waiting.bell.notify_one();
            }
        }
    }
}

impl Share {
    fn wanted(&self, wants: Wants) -> usize {
        match wants {
            Wants::Page => self.page.expected(),
            Wants::More(bytes) => bytes,
        }
    }

    /// Whether the slice goes on whatever the bound says: it is its turn, and it has
    /// no page that the engine can take.
    fn must_go_on(&self, slice: u64, is_new: bool) -> bool {
        let own = usize::from(!is_new);
        self.turn == slice && self.rooms.get(&slice).copied().unwrap_or_default() <= own
    }

    /// Bytes that are kept for the slice whose turn it is.
    fn kept_for_turn(&self) -> usize {
        if self.rooms.contains_key(&self.turn) { 0 } else { self.page.expected() }
    }
}

impl PageSize {
    /// What a page is taken for: the mean and as much more as they differ from it.
    fn expected(&self) -> usize {
        self.known.map_or(PAGE_GUESS, |(mean, deviation)| (mean + deviation).max(PAGE_MIN))
    }

    /// As TCP learns how long an answer takes [RFC 6298].
    fn learn(&mut self, bytes: usize) {
        let (mean, deviation) = self.known.unwrap_or((bytes, bytes / 8));
        let deviation = (3 * deviation + bytes.abs_diff(mean)) / 4;
        self.known = Some(((7 * mean + bytes) / 8, deviation));
    }
}

impl Lane {
    /// The engine reads `slice` now.
    pub(super) fn turn(&self, slice: u64) {
        let mut state = self.ahead.lock();
        state.share(self.number).turn = slice;
        state.ring();
        drop(state);
        self.turned.notify_waiters();
    }

    /// Waits until `slice` may request a page.
    pub(super) async fn room(self: &Arc<Self>, slice: u64) -> Room {
        let bytes = self.ahead.take(Request { lane: self.number, slice, wants: Wants::Page }).await;
        Room { lane: Arc::clone(self), slice, bytes, has_grown: false }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.ahead.lock();
        state.lanes.remove(&self.number);
        state.ring();
    }
}

impl Room {
    /// Waits until the page may have `bytes`: as its text comes in it has more and
    /// more.
    pub async fn grow(&mut self, bytes: usize) {
        if bytes <= self.bytes {
            return;
        }
        // One much larger than expected may be of any size. It gets room for all of it
        // or pauses here: many that are paused far on hold as much in their sockets.
        let ample = if self.has_grown { PAGE_GUESS } else { PAGE_GUESS.min(GROWS_BY * self.bytes) };
        let bytes = bytes.max(ample);
        let wants = Wants::More(bytes - self.bytes);
        self.bytes +=
            self.lane.ahead.take(Request { lane: self.lane.number, slice: self.slice, wants }).await;
        self.has_grown = true;
    }

    /// Waits until the page never has to wait for room, whatever else is read.
    pub async fn alone(&self) {
        loop {
            let mut turned = std::pin::pin!(self.lane.turned.notified());
            turned.as_mut().enable();
            if self.lane.ahead.lock().share(self.lane.number).must_go_on(self.slice, false) {
                return;
            }
            turned.await;
        }
    }

    /// The page is complete and has this many bytes.
    pub(super) fn fit(&mut self, bytes: usize) {
        let mut state = self.lane.ahead.lock();
        state.bytes = state.bytes - self.bytes + bytes;
        let share = state.share(self.lane.number);
        share.bytes = share.bytes - self.bytes + bytes;
        share.page.learn(bytes);
        self.bytes = bytes;
        state.ring();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.lane.ahead.lock();
        state.bytes -= self.bytes;
        let share = state.share(self.lane.number);
        share.bytes -= self.bytes;
        if let Some(rooms) = share.rooms.get_mut(&self.slice) {
            *rooms -= 1;
            if *rooms == 0 {
                share.rooms.remove(&self.slice);
            }
        }
        state.ring();
        drop(state);
        self.lane.turned.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
