use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use jiff::Timestamp;

use super::*;
use crate::batch::Rows;
use crate::catalog::streams;
use crate::checkpoint::Options;
use crate::observe::Silent;
use crate::sink::Receipt;
use crate::source::scripted::{Script, Scripted, failing, slice, whole};
use crate::source::{AHEAD_BYTES_MAX, Pages, Slice};

fn of_trades(scripts: Vec<Script>) -> Scripted {
    Scripted([("stock_trades".to_owned(), scripts)].into())
}

/// Keeps what is durable apart from what is not.
#[derive(Default)]
struct Memory {
    durable: Vec<Vec<u8>>,
    open: Vec<Vec<u8>>,
    progress: Option<String>,
    finished: bool,
    rollbacks: usize,
    fail_commit: bool,
}

#[async_trait]
impl Sink for Memory {
    async fn open(&mut self, _: &Target) -> Result<(StreamId, Option<String>)> {
        self.open.clear();
        Ok((StreamId(0), self.progress.clone()))
    }

    async fn write(&mut self, _: StreamId, batch: Batch) -> Result<Receipt> {
        self.open.extend(batch.rows.iter().map(<[u8]>::to_vec));
        Ok(Receipt::Accepted)
    }

    async fn commit(&mut self, _: StreamId, progress: &str) -> Result<Receipt> {
        if self.fail_commit {
            return Err(Error::new(ErrorKind::Sink, "scripted"));
        }
        self.durable.append(&mut self.open);
        self.progress = Some(progress.to_owned());
        Ok(Receipt::Durable)
    }

    async fn rollback(&mut self, _: StreamId) -> Result<()> {
        self.open.clear();
        self.rollbacks += 1;
        Ok(())
    }

    async fn finish(&mut self, _: StreamId) -> Result<()> {
        self.finished = true;
        Ok(())
    }
}

impl Memory {
    fn rows(&self) -> Vec<String> {
        self.durable.iter().map(|row| String::from_utf8_lossy(&row[..1]).into_owned()).collect()
    }

    fn through(&self, partition: &str) -> Option<i8> {
        let checkpoint = Checkpoint::from_json(self.progress.as_ref()?, Options::new()).unwrap();
        checkpoint.position(partition).map(|position| position.through.day())
    }
}

async fn run(scripts: Vec<Script>, sink: &mut Memory, commit_rows: u64) -> Report {
    let stream = streams(&[]).into_iter().find(|stream| stream.name == "stock_trades").unwrap();
    let target = Target::new("test/stock_trades", Arc::clone(&stream.table), WriteMode::AppendDedup);
    let policy = CommitPolicy { rows: commit_rows, interval: Duration::from_secs(3600) };
    let (_keep, stop) = watch::channel(false);
    let source = of_trades(scripts);
    Engine::new(&source, Arc::new(Silent), policy, stop).run(sink, &[Job { stream, target }]).await
}

#[tokio::test]
async fn slices_are_committed_in_order_with_their_progress() {
    let mut sink = Memory::default();
    let scripts = vec![slice("A", 1, &[b"a", b"b"]), slice("A", 2, &[]), slice("A", 3, &[b"c"])];
    let report = run(scripts, &mut sink, 1).await;
    assert!(report.worst().is_none() && sink.finished);
    assert_eq!(sink.rows(), ["a", "b", "c"]);
    assert_eq!(sink.through("A"), Some(3));
    assert_eq!(report.rows(), 3);
}

#[tokio::test]
async fn a_failed_slice_leaves_nothing_and_keeps_what_was_before() {
    let mut sink = Memory::default();
    let scripts = vec![
        slice("A", 1, &[b"a"]),
        failing(slice("A", 2, &[b"x", b"y"]), ErrorKind::Unavailable),
        slice("A", 3, &[b"c"]),
    ];
    let report = run(scripts.clone(), &mut sink, 1000).await;
    assert_eq!(report.worst().unwrap().kind(), ErrorKind::Unavailable);
    assert_eq!((sink.rows(), sink.through("A"), sink.finished), (vec!["a".to_owned()], Some(1), false));

    let healed: Vec<_> = scripts.into_iter().map(|script| Script { failure: None, ..script }).collect();
    assert!(run(healed, &mut sink, 1000).await.worst().is_none());
    assert_eq!(sink.rows(), ["a", "x", "y", "c"]);
}

#[tokio::test]
async fn a_large_slice_that_fails_is_rolled_back_alone() {
    let mut sink = Memory::default();
    let large = vec![b'L'; SLICE_HELD_MAX / 2 + 1];
    let scripts =
        vec![slice("A", 1, &[b"a"]), failing(slice("A", 2, &[&large, &large, &large]), ErrorKind::Response)];
    let report = run(scripts, &mut sink, 1000).await;
    assert_eq!(report.worst().unwrap().kind(), ErrorKind::Response);
    assert_eq!((sink.rows(), sink.rollbacks), (vec!["a".to_owned()], 1));
    assert!(sink.open.is_empty());
}

#[tokio::test]
async fn a_failed_partition_does_not_stop_the_others() {
    let mut sink = Memory::default();
    let scripts = vec![
        failing(slice("A", 1, &[]), ErrorKind::NotFound),
        slice("A", 2, &[b"gap"]),
        slice("B", 1, &[b"b"]),
    ];
    let report = run(scripts, &mut sink, 1000).await;
    assert_eq!(report.worst().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(sink.rows(), ["b"]);
    assert_eq!((sink.through("A"), sink.through("B"), sink.finished), (None, Some(1), true));
}

/// It would never be whole: what fails a partition alone does not pass.
#[tokio::test]
async fn a_pass_ends_without_a_partition_that_fails_alone() {
    let mut sink = Memory::default();
    let scripts = vec![failing(whole("A", &[]), ErrorKind::Mismatch), whole("B", &[b"b"])];
    let report = run(scripts, &mut sink, 1000).await;
    assert_eq!(report.worst().unwrap().kind(), ErrorKind::Mismatch);
    let checkpoint = Checkpoint::from_json(sink.progress.as_ref().unwrap(), Options::new()).unwrap();
    let tried = ["A", "B"].map(|partition| checkpoint.whole_as_of(partition));
    assert_eq!((tried, sink.finished), ([Some(Timestamp::UNIX_EPOCH); 2], true));

    let mut sink = Memory::default();
    let scripts = vec![failing(whole("A", &[]), ErrorKind::Unavailable), whole("B", &[b"b"])];
    run(scripts, &mut sink, 1000).await;
    assert_eq!((sink.progress, sink.finished), (None, false), "this one may pass");
}

/// An empty table in the place of a full one would be worse than an old one.
#[tokio::test]
async fn a_stream_of_which_nothing_could_be_read_is_not_finished() {
    let mut sink = Memory::default();
    let scripts = ["A", "B"].map(|name| failing(whole(name, &[]), ErrorKind::NotFound)).to_vec();
    let report = run(scripts, &mut sink, 1000).await;
    assert_eq!((report.worst().unwrap().kind(), sink.finished), (ErrorKind::NotFound, false));
    assert_eq!(sink.progress, None, "the next run would take it for read");
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_run_and_moves_nothing() {
    let mut sink = Memory { fail_commit: true, ..Memory::default() };
    let report = run(vec![slice("A", 1, &[b"a"])], &mut sink, 1).await;
    assert_eq!(report.error.as_ref().unwrap().kind(), ErrorKind::Sink);
    assert_eq!((sink.rows(), sink.progress), (Vec::<String>::new(), None));
}

#[derive(Debug, Default)]
struct StopAfterFirst(Mutex<Option<watch::Sender<bool>>>);

impl Observer for StopAfterFirst {
    fn event(&self, event: &Event<'_>) {
        if let Event::SliceRead { .. } = event
            && let Some(stop) = &*self.0.lock().unwrap()
        {
            stop.send_replace(true);
        }
    }
}

#[tokio::test]
async fn a_stop_keeps_what_is_complete() {
    let mut sink = Memory::default();
    let (sender, stop) = watch::channel(false);
    let observer = StopAfterFirst(Mutex::new(Some(sender)));
    let stream = streams(&[]).into_iter().find(|stream| stream.name == "stock_trades").unwrap();
    let target = Target::new("t", Arc::clone(&stream.table), WriteMode::Append);
    let policy = CommitPolicy { rows: 1000, interval: Duration::from_secs(3600) };
    let source = of_trades(vec![slice("A", 1, &[b"a"]), slice("A", 2, &[b"b"])]);
    let engine = Engine::new(&source, Arc::new(observer), policy, stop);
    let report = engine.run(&mut sink, &[Job { stream, target }]).await;
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Interrupted);
    assert_eq!((sink.rows(), sink.through("A")), (vec!["a".to_owned()], Some(1)));
}

/// A slice that reads pages for as long as there is room.
struct Greedy {
    partition: Arc<str>,
    read: Arc<AtomicUsize>,
}

const GREEDY_PAGE: usize = 3 << 20;

#[async_trait]
impl Slice for Greedy {
    fn partition(&self) -> &Arc<str> {
        &self.partition
    }

    async fn read(self: Box<Self>, pages: &Pages) -> Result<Cover> {
        loop {
            let room = pages.room().await;
            let mut rows = Rows::default();
            rows.push(&vec![b'x'; GREEDY_PAGE - 1]);
            self.read.fetch_add(rows.bytes(), Ordering::Relaxed);
            pages.send(room, Page { rows, extracted_at_ms: 0, replaces: None })?;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_bounded_in_bytes_while_nobody_takes_it() {
    let read = Arc::new(AtomicUsize::new(0));
    let slice = |name: &str| -> Box<dyn Slice> {
        Box::new(Greedy { partition: name.into(), read: Arc::clone(&read) })
    };
    let mut fetcher = Fetcher::new(["A", "B", "C", "D"].map(slice).into(), 3);
    assert!(fetcher.start_next(&HashSet::new()));
    // The clock moves on once there is nothing left to do.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ahead = read.load(Ordering::Relaxed);
    assert!(ahead > AHEAD_BYTES_MAX / 2 && ahead <= AHEAD_BYTES_MAX + GREEDY_PAGE, "{ahead}");
    for taken in 1..=20 {
        assert!(matches!(fetcher.next().await, Ok(Fetched::Page(_))), "the current slice goes on");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ahead = read.load(Ordering::Relaxed) - taken * GREEDY_PAGE;
        assert!(ahead <= AHEAD_BYTES_MAX + GREEDY_PAGE, "{ahead}");
    }
    fetcher.abort().await;
}
