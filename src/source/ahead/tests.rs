use std::time::Duration;

use futures::StreamExt;
use proptest::prelude::*;

use super::*;

/// The outcome once everything else has come to a stand.
async fn settled<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(1), future).await.ok()
}

async fn page(lane: &Arc<Lane>, slice: u64, bytes: usize) -> Option<Room> {
    settled(async {
        let mut room = lane.room(slice).await;
        room.grow(bytes).await;
        room.fit(bytes);
        room
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn many_small_pages_and_few_large_ones_are_under_way() {
    let lane = Arc::new(Ahead::default()).lane();
    for (bytes, expected) in [(64 << 10, 200..448), (8 << 20, 2..4)] {
        for _ in 0..60 {
            drop(page(&lane, 0, bytes).await.unwrap());
        }
        let mut rooms = Vec::new();
        while let Some(room) = settled(lane.room(rooms.len() as u64 + 1)).await {
            rooms.push(room);
        }
        assert!(expected.contains(&rooms.len()), "{} of {bytes}", rooms.len());
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_the_guess_go_when_a_page_is_known() {
    let lane = Arc::new(Ahead::default()).lane();
    let mut first = lane.room(0).await;
    let mut waiting: futures::stream::FuturesUnordered<_> = (1..=48).map(|slice| lane.room(slice)).collect();
    let mut rooms = Vec::new();
    while let Some(Some(room)) = settled(waiting.next()).await {
        rooms.push(room);
    }
    assert!(rooms.len() < 4, "{}", rooms.len());
    first.fit(10 << 10);
    while let Some(Some(room)) = settled(waiting.next()).await {
        rooms.push(room);
    }
    assert_eq!(rooms.len(), 48);
}

#[tokio::test(start_paused = true)]
async fn pages_that_turn_out_large_pause_at_the_bound() {
    let ahead = Arc::new(Ahead::default());
    let lane = ahead.lane();
    drop(page(&lane, 0, 1000).await.unwrap());
    let mut rooms = Vec::new();
    for slice in 1..=40 {
        rooms.push(settled(lane.room(slice)).await.unwrap());
    }
    for room in &mut rooms {
        // Piece by piece, as text comes in.
        for bytes in (1..=20).map(|pieces| pieces * 400_000) {
            if settled(room.grow(bytes)).await.is_none() {
                break;
            }
        }
    }
    assert!(ahead.bytes() <= AHEAD_BYTES_MAX && ahead.bytes() > AHEAD_BYTES_MAX - PAGE_GUESS);
    // The slice whose turn it is goes on, and no other.
    lane.turn(1);
    assert!(settled(rooms[0].grow(30 << 20)).await.is_some());
    assert!(settled(rooms[1].grow(30 << 20)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_slice_whose_turn_it_is_may_have_one_page_more() {
    let lane = Arc::new(Ahead::default()).lane();
    let much = page(&lane, 1, 20 << 20).await.unwrap();
    let more = settled(lane.room(2)).await;
    assert!(more.is_none(), "a page of the slice whose turn it is has room first");
    let own = page(&lane, 0, 25 << 20).await.unwrap();
    assert!(settled(lane.room(0)).await.is_none(), "one page, not two");
    lane.turn(1);
    assert!(settled(lane.room(1)).await.is_none(), "it has one");
    drop(own);
    drop(much);
    assert!(page(&lane, 1, 2 * AHEAD_BYTES_MAX).await.is_some(), "a page larger than the bound can be read");
}

#[tokio::test(start_paused = true)]
async fn room_for_the_slices_whose_turn_it_is_is_kept_free() {
    let ahead = Arc::new(Ahead::default());
    let lanes = [ahead.lane(), ahead.lane()];
    for lane in &lanes {
        for _ in 0..20 {
            drop(page(lane, 0, 4 << 20).await.unwrap());
        }
    }
    let mut held = Vec::new();
    while let Some(room) = page(&lanes[0], 1 + held.len() as u64, 4 << 20).await {
        held.push(room);
    }
    for lane in &lanes {
        held.push(page(lane, 0, 4 << 20).await.unwrap());
    }
    assert!(held.len() >= 6 && ahead.bytes() <= AHEAD_BYTES_MAX, "{} of {}", ahead.bytes(), held.len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_holds_everything_holds_up_no_other() {
    let ahead = Arc::new(Ahead::default());
    let (greedy, modest) = (ahead.lane(), ahead.lane());
    let mut held = Vec::new();
    for slice in 0.. {
        match page(&greedy, slice, 4 << 20).await {
            Some(room) => held.push(room),
            None => break,
        }
    }
    assert!(ahead.bytes() > AHEAD_BYTES_MAX / 2);
    // Its engine takes nothing. The other stream goes on page by page.
    for slice in 0..10 {
        modest.turn(slice);
        let taken = page(&modest, slice, 4 << 20).await;
        assert!(taken.is_some(), "slice {slice}");
    }
    // What becomes free goes to the one that has less.
    while let Some(room) = page(&greedy, 100 + held.len() as u64, 4 << 20).await {
        held.push(room);
    }
    let waiting = tokio::spawn({
        let (greedy, modest) = (Arc::clone(&greedy), Arc::clone(&modest));
        async move {
            tokio::select! {
                biased;
                room = greedy.room(1000) => (0, room),
                room = modest.room(1000) => (1, room),
            }
        }
    });
    assert!(settled(std::future::pending::<()>()).await.is_none());
    held.truncate(held.len() - 2);
    let (lane, _room) = settled(waiting).await.unwrap().unwrap();
    assert_eq!(lane, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_leaves_nothing() {
    let ahead = Arc::new(Ahead::default());
    let lane = ahead.lane();
    let room = page(&lane, 0, 5 << 20).await.unwrap();
    let cut = tokio::spawn({
        let lane = Arc::clone(&lane);
        async move { lane.room(7).await.grow(100 << 20).await }
    });
    assert!(settled(std::future::pending::<()>()).await.is_none());
    cut.abort();
    let _cancelled = cut.await;
    drop((lane, room));
    assert_eq!(ahead.bytes(), 0);
    assert!(ahead.lock().lanes.is_empty());
}

/// Slices of two streams, read at the same time as the streams' engines take them,
/// at random: everything ends, in whatever sizes pages come, and the bound is kept.
async fn run_streams(sizes: [Vec<Vec<usize>>; 2], concurrency: usize) -> usize {
    let ahead = Arc::new(Ahead::default());
    let mut engines = Vec::new();
    for slices in sizes {
        let lane = ahead.lane();
        let mut readers = std::collections::VecDeque::new();
        let mut slices = slices.into_iter().enumerate();
        engines.push(tokio::spawn(async move {
            let mut peak = 0;
            loop {
                for (slice, pages) in slices.by_ref().take(concurrency - readers.len()) {
                    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
                    tokio::spawn(read_slice(Arc::clone(&lane), slice as u64, pages, sender));
                    readers.push_back((slice as u64, receiver));
                }
                let Some((slice, mut pages)) = readers.pop_front() else { return peak };
                lane.turn(slice);
                while let Some(room) = pages.recv().await {
                    peak = peak.max(lane.ahead.bytes());
                    tokio::time::sleep(Duration::from_millis(slice % 7)).await;
                    drop(room);
                }
            }
        }));
    }
    let mut peak = 0;
    for engine in engines {
        peak = peak.max(engine.await.unwrap());
    }
    assert_eq!(ahead.bytes(), 0);
    peak
}

async fn read_slice(
    lane: Arc<Lane>,
    slice: u64,
    pages: Vec<usize>,
    sender: tokio::sync::mpsc::UnboundedSender<Room>,
) {
    for bytes in pages {
        let mut room = lane.room(slice).await;
        for held in (0..bytes).step_by(256 << 10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            room.grow(held).await;
        }
        room.fit(bytes);
        sender.send(room).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_slice_ends_and_the_bound_is_kept(
        first in prop::collection::vec(prop::collection::vec(0usize..12 << 20, 0..4), 1..40),
        second in prop::collection::vec(prop::collection::vec(0usize..3 << 20, 0..4), 1..40),
        concurrency in 1usize..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let peak = runtime.block_on(async {
            let whole = run_streams([first, second], concurrency);
            // Of the paused clock: it only passes when nothing moves any more.
            tokio::time::timeout(Duration::from_secs(3600), whole).await.expect("all slices end")
        });
        // One page a stream beyond the bound.
        prop_assert!(peak <= AHEAD_BYTES_MAX + (12 << 20) + PAGE_GUESS, "{peak}");
    }
}
