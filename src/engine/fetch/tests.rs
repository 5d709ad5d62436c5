use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::batch::Rows;
use crate::error::ErrorKind;
use crate::source::Estimate;

/// Slices by their number, and what they have in common.
#[derive(Debug, Default)]
struct Shared {
    reading: AtomicUsize,
    most: AtomicUsize,
    page_bytes: usize,
}

struct Numbered {
    partition: Arc<str>,
    number: usize,
    shared: Arc<Shared>,
}

#[async_trait]
impl Slice for Numbered {
    fn partition(&self) -> &Arc<str> {
        &self.partition
    }

    async fn read(self: Box<Self>, pages: &Pages) -> Result<Cover> {
        let reading = self.shared.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.most.fetch_max(reading, Ordering::SeqCst);
        for _ in 0..2 {
            let mut room = pages.room().await;
            tokio::time::sleep(Duration::from_millis(self.number as u64 * 7 % 5)).await;
            room.grow(self.shared.page_bytes).await;
            let mut rows = Rows::default();
            rows.push(self.number.to_string().as_bytes());
            rows.push(&vec![b'x'; self.shared.page_bytes]);
            pages.send(room, Page { rows, extracted_at_ms: 0, replaces: None })?;
        }
        self.shared.reading.fetch_sub(1, Ordering::SeqCst);
        Ok(Cover::Part)
    }
}

/// Plans slices of one partition each, as many as it is told, and then fails.
struct Numbers {
    next: usize,
    end: usize,
    shared: Arc<Shared>,
}

#[async_trait]
impl Plan for Numbers {
    fn estimate(&self) -> Estimate {
        Estimate::default()
    }

    async fn next(&mut self, failed: &HashSet<Arc<str>>) -> Result<Option<Box<dyn Slice>>> {
        while self.next < self.end {
            let number = self.next;
            self.next += 1;
            let partition: Arc<str> = (number / 10).to_string().into();
            if !failed.contains(&partition) {
                return Ok(Some(Box::new(Numbered { partition, number, shared: Arc::clone(&self.shared) })));
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "scripted"))
    }
}

fn fetcher(slices: usize, page_bytes: usize, concurrency: usize) -> (Fetcher, Arc<Shared>) {
    let shared = Arc::new(Shared { page_bytes, ..Shared::default() });
    let plan = Numbers { next: 0, end: slices, shared: Arc::clone(&shared) };
    (Fetcher::new(Box::new(plan), concurrency, &Arc::default()), shared)
}

/// The numbers of the slices that come, and what ends them.
async fn take_all(fetcher: &mut Fetcher, failed: &HashSet<Arc<str>>) -> (Vec<usize>, Result<bool>) {
    let mut numbers = Vec::new();
    loop {
        match fetcher.start_next(failed).await {
            Ok(true) => {}
            end => return (numbers, end),
        }
        let mut pages = Vec::new();
        while let Fetched::Page(page, _room) = fetcher.next().await.unwrap() {
            let number = page.rows.iter().next().unwrap();
            pages.push(std::str::from_utf8(number).unwrap().parse::<usize>().unwrap());
        }
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[0], pages[1]);
        numbers.push(pages[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_slices_are_read_at_a_time_as_the_source_wants() {
    for concurrency in [1, 5, 64] {
        let (mut fetcher, shared) = fetcher(2 * BEGUN_MAX + 10, 100, concurrency);
        let (numbers, end) = take_all(&mut fetcher, &HashSet::new()).await;
        assert!(numbers.iter().copied().eq(0..2 * BEGUN_MAX + 10), "in the plan's order");
        assert_eq!(shared.most.load(Ordering::SeqCst), concurrency);
        assert_eq!(
            end.unwrap_err().kind(),
            ErrorKind::Unavailable,
            "told once the slices before it are taken"
        );
        assert!(!fetcher.start_next(&HashSet::new()).await.unwrap());
    }
}

/// Tasks run in any order on several threads. None of those that are read may keep
/// the one from being read that all of them wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_slice_waits_behind_those_that_wait_for_it() {
    for concurrency in [1, 2, 7] {
        let (mut fetcher, _) = fetcher(60, 11 << 20, concurrency);
        let (numbers, _) = take_all(&mut fetcher, &HashSet::new()).await;
        assert!(numbers.into_iter().eq(0..60));
    }
}

#[tokio::test(start_paused = true)]
async fn slices_of_a_partition_that_failed_are_dropped_wherever_they_are() {
    let (mut fetcher, _) = fetcher(BEGUN_MAX + 100, 100, 8);
    let none = HashSet::new();
    assert!(fetcher.start_next(&none).await.unwrap());
    // Those of the first partition are under way, those of the last are not planned.
    let failed = HashSet::from(["0".into(), "1".into(), (BEGUN_MAX / 10 + 9).to_string().into()]);
    let (numbers, _) = take_all(&mut fetcher, &failed).await;
    let left = (20..BEGUN_MAX + 100).filter(|number| number / 10 != BEGUN_MAX / 10 + 9);
    assert!(numbers.into_iter().eq(left));
}
