use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::fetch::{Fetched, Fetcher};
use super::*;
use crate::batch::{ExtractedAt, Rows};
use crate::catalog::streams;
use crate::checkpoint::Cover;
use crate::error::{Error, ErrorKind};
use crate::observe::{self, Silent};
use crate::sink::abilities::tests::ALL;
use crate::sink::memory::Memory;
use crate::sink::{Abilities, Durability, Joins, Shardless};
use crate::source::scripted::{Script, Scripted, failing, slice, whole};
use crate::source::{AHEAD_BYTES_MAX, Estimate, Page, Pages, Plan, Slice};

mod grow;
mod model;
mod waiting;

const TRADES: &str = "stock_trades";
const NEWS: &str = "news";

fn job(name: &str, mode: WriteMode) -> Job {
    let stream = streams(&[]).into_iter().find(|stream| stream.name == name).unwrap();
    let target = Target::new("test", name, Arc::clone(&stream.table), mode);
    Job { stream: stream.name, target, reading: reading(mode) }
}

fn policy(rows: u64) -> CommitPolicy {
    CommitPolicy { rows, interval: Duration::from_secs(3600) }
}

/// Runs streams of these scripts, in this order.
async fn run_all(scripts: &[(&str, Vec<Script>)], sink: &mut Memory, commit_rows: u64) -> Report {
    let source = scripts.iter().map(|(name, scripts)| ((*name).to_owned(), scripts.clone())).collect();
    let source: Arc<dyn Source> = Arc::new(Scripted(source));
    let jobs: Vec<Job> = scripts.iter().map(|(name, _)| job(name, WriteMode::AppendDedup)).collect();
    let (_keep, stop) = watch::channel(false);
    Engine::new(Arc::new(Silent), policy(commit_rows), stop).read(&source, sink, &jobs).await
}

/// Runs one stream of a script in a mode.
async fn run_as(mode: WriteMode, scripts: Vec<Script>, sink: &mut Memory) -> Report {
    let source: Arc<dyn Source> = Arc::new(Scripted([(TRADES.to_owned(), scripts)].into()));
    let (_keep, stop) = watch::channel(false);
    Engine::new(Arc::new(Silent), policy(1), stop).read(&source, sink, &[job(TRADES, mode)]).await
}

async fn run(scripts: Vec<Script>, sink: &mut Memory, commit_rows: u64) -> Report {
    run_all(&[(TRADES, scripts)], sink, commit_rows).await
}

/// The first letter of each durable row.
fn rows(sink: &Memory) -> Vec<&str> {
    sink.of(TRADES).durable.iter().map(|row| &row[..1]).collect()
}

fn through(sink: &Memory, partition: &str) -> Option<i8> {
    let checkpoint = Checkpoint::from_positions(&sink.of(TRADES).positions, Options::new()).unwrap();
    checkpoint.position(partition).map(|position| position.through.day())
}

fn is_finished(sink: &Memory) -> bool {
    sink.of(TRADES).finished > 0
}

#[tokio::test]
async fn slices_are_committed_in_order_with_their_progress() {
    let mut sink = Memory::default();
    let scripts = vec![slice("A", 1, &[b"a", b"b"]), slice("A", 2, &[]), slice("A", 3, &[b"c"])];
    let report = run(scripts, &mut sink, 1).await;
    assert!(report.worst().is_none() && is_finished(&sink));
    assert_eq!(rows(&sink), ["a", "b", "c"]);
    assert_eq!(through(&sink, "A"), Some(3));
    assert_eq!((report.rows(), report.streams[0].slices), (3, 3));
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
    assert_eq!((rows(&sink), through(&sink, "A"), is_finished(&sink)), (vec!["a"], Some(1), false));

    let healed: Vec<_> = scripts.into_iter().map(|script| Script { failure: None, ..script }).collect();
    assert!(run(healed, &mut sink, 1000).await.worst().is_none());
    assert_eq!(rows(&sink), ["a", "x", "y", "c"]);
}

#[tokio::test]
async fn a_large_slice_that_fails_is_rolled_back_alone() {
    let mut sink = Memory::default();
    let large = vec![b'L'; STREAM_HELD_MAX / 2 + 1];
    let scripts =
        vec![slice("A", 1, &[b"a"]), failing(slice("A", 2, &[&large, &large, &large]), ErrorKind::Response)];
    let report = run(scripts, &mut sink, 1000).await;
    assert_eq!(report.worst().unwrap().kind(), ErrorKind::Response);
    assert_eq!((rows(&sink), sink.rollbacks), (vec!["a"], 1));
    assert!(!sink.of(TRADES).is_open());
}

#[tokio::test]
async fn a_large_slice_is_one_transaction_of_its_own() {
    let mut sink = Memory::default();
    let large = vec![b'L'; STREAM_HELD_MAX / 2 + 1];
    let scripts =
        vec![slice("A", 1, &[b"a"]), slice("A", 2, &[&large, &large, &large, b"m"]), slice("A", 3, &[b"z"])];
    assert!(run(scripts, &mut sink, 1000).await.worst().is_none());
    assert_eq!(rows(&sink), ["a", "L", "L", "L", "m", "z"]);
    assert_eq!((sink.commits, through(&sink, "A")), (3, Some(3)));
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
    assert_eq!(rows(&sink), ["b"]);
    // What does not pass does not keep the stream from its end either.
    assert_eq!((through(&sink, "A"), through(&sink, "B"), is_finished(&sink)), (None, Some(1), true));
}

#[tokio::test]
async fn a_stream_of_which_nothing_could_be_read_is_not_finished() {
    let mut sink = Memory::default();
    let scripts = vec![failing(slice("A", 1, &[]), ErrorKind::NotFound)];
    assert_eq!(run(scripts, &mut sink, 1000).await.worst().unwrap().kind(), ErrorKind::NotFound);
    assert!(!is_finished(&sink));
}

#[tokio::test]
async fn a_pass_does_not_wait_for_a_partition_that_fails_alone() {
    let mut sink = Memory::default();
    let scripts = vec![failing(whole("A", &[]), ErrorKind::NotFound), whole("B", &[b"b"])];
    assert_eq!(run(scripts, &mut sink, 1000).await.worst().unwrap().kind(), ErrorKind::NotFound);
    let shards: Vec<&str> = sink.of(TRADES).positions.keys().map(|shard| &**shard).collect();
    assert_eq!((shards, is_finished(&sink)), (vec!["A", "B"], true));
}

/// A table is not replaced by one that lacks what the source has. A partition that does not
/// exist lacks nothing.
#[tokio::test]
async fn a_run_that_would_replace_rows_ends_only_when_all_was_read() {
    for (kind, mode, ends) in [
        (ErrorKind::Mismatch, WriteMode::Overwrite, false),
        (ErrorKind::Refused, WriteMode::OverwriteDedup, false),
        (ErrorKind::NotFound, WriteMode::Overwrite, true),
        (ErrorKind::Mismatch, WriteMode::AppendDedup, true),
    ] {
        let mut sink = Memory::default();
        let cut = vec![whole("A", &[b"a"]), failing(whole("B", &[]), kind)];
        let report = run_as(mode, cut, &mut sink).await;
        let error = report.worst().unwrap();
        assert_eq!((error.kind(), is_finished(&sink)), (kind, ends));
        // What was read is; the partition that failed is tried again.
        let tried = sink.of(TRADES).positions.keys().map(|shard| &**shard).collect::<Vec<_>>();
        assert_eq!(tried, if ends { vec!["A", "B"] } else { vec!["A"] });
        if !ends {
            run_as(mode, vec![whole("B", &[b"b"])], &mut sink).await;
            assert_eq!((rows(&sink), is_finished(&sink)), (vec!["a", "b"], true));
        }
    }
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_run_and_moves_nothing() {
    let mut sink = Memory { fail_commit: Some(1), ..Memory::default() };
    let report = run(vec![slice("A", 1, &[b"a"])], &mut sink, 1).await;
    assert_eq!(report.error.as_ref().unwrap().kind(), ErrorKind::Sink);
    assert!(rows(&sink).is_empty() && sink.of(TRADES).positions.is_empty());
}

#[tokio::test]
async fn streams_that_fail_or_cannot_be_opened_hold_up_no_other() {
    let refused = vec![("splits".to_owned(), ErrorKind::Table), ("dividends".to_owned(), ErrorKind::Sink)];
    let mut sink = Memory { refused, ..Memory::default() };
    let scripts = [
        ("splits", vec![whole("", &[b"never"])]),
        ("dividends", vec![whole("", &[b"never"])]),
        (NEWS, vec![failing(whole("", &[b"n"]), ErrorKind::NotEntitled)]),
        (TRADES, vec![slice("A", 1, &[b"a"]), slice("A", 2, &[b"b"])]),
    ];
    let report = run_all(&scripts, &mut sink, 1).await;
    assert!(report.error.is_none());
    let kinds: Vec<Vec<ErrorKind>> =
        report.streams.iter().map(|stream| stream.errors.iter().map(Error::kind).collect()).collect();
    let expected = [ErrorKind::Table, ErrorKind::Sink, ErrorKind::NotEntitled].map(|kind| vec![kind]);
    assert_eq!((&kinds[..3], kinds[3].len()), (&expected[..], 0));
    assert_eq!(rows(&sink), ["a", "b"]);
    assert!(is_finished(&sink) && sink.of(NEWS).finished == 0 && sink.of(NEWS).durable.is_empty());
}

/// Whoever was taken over at its end holds up no other.
#[tokio::test]
async fn a_stream_that_cannot_be_ended_holds_up_no_other() {
    for (kind, concerns_all) in
        [(ErrorKind::Conflict, false), (ErrorKind::Sink, false), (ErrorKind::SinkUnavailable, true)]
    {
        let mut sink = Memory { unfinishable: vec![(NEWS.to_owned(), kind)], ..Memory::default() };
        let scripts = [(NEWS, vec![whole("", &[b"n"])]), (TRADES, vec![slice("A", 1, &[b"a"])])];
        let report = run_all(&scripts, &mut sink, 100).await;
        assert_eq!(report.error.is_some(), concerns_all);
        if !concerns_all {
            let kinds: Vec<_> = report.streams[0].errors.iter().map(Error::kind).collect();
            assert_eq!((kinds, report.streams[1].errors.len()), (vec![kind], 0));
            assert!(is_finished(&sink) && sink.of(NEWS).finished == 0);
        }
    }
}

/// A sink that opens none of them has something that is not theirs, and says it once.
#[tokio::test]
async fn a_sink_that_opens_no_stream_ends_the_run() {
    let refused = [NEWS, TRADES].map(|name| (name.to_owned(), ErrorKind::Sink));
    let mut sink = Memory { refused: refused.to_vec(), ..Memory::default() };
    let scripts = [(NEWS, vec![whole("", &[b"n"])]), (TRADES, vec![slice("A", 1, &[b"a"])])];
    let report = run_all(&scripts, &mut sink, 1).await;
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Sink);
    assert!(report.streams.iter().all(|stream| stream.errors.is_empty()));
}

#[tokio::test]
async fn a_stream_whose_rows_are_refused_holds_up_no_other() {
    let mut sink = Memory { unloadable: vec![NEWS.to_owned()], ..Memory::default() };
    let scripts =
        [(NEWS, vec![whole("", &[b"n"])]), (TRADES, vec![slice("A", 1, &[b"a"]), slice("A", 2, &[b"b"])])];
    let report = run_all(&scripts, &mut sink, 2).await;
    assert!(report.error.is_none());
    assert_eq!(report.streams[0].errors[0].kind(), ErrorKind::Sink);
    assert!(sink.of(NEWS).durable.is_empty() && sink.of(NEWS).finished == 0);
    assert!(rows(&sink) == ["a", "b"] && is_finished(&sink));
}

#[tokio::test]
async fn a_failure_that_concerns_all_streams_ends_all_and_keeps_what_is_covered() {
    let mut sink = Memory::default();
    let scripts = [
        (TRADES, vec![slice("A", 1, &[b"a"]), failing(slice("A", 2, &[b"x"]), ErrorKind::Credentials)]),
        (NEWS, vec![]),
    ];
    let report = run_all(&scripts, &mut sink, 1000).await;
    assert_eq!(report.error.as_ref().unwrap().kind(), ErrorKind::Credentials);
    assert_eq!(rows(&sink), ["a"]);
}

#[tokio::test]
async fn several_streams_are_one_commit_and_a_large_progress_waits_for_rows() {
    let scripts =
        [(TRADES, (1..=9).map(|day| slice("A", day, &[b"a"])).collect()), (NEWS, vec![whole("", &[b"n"])])];
    let mut sink = Memory::default();
    assert!(run_all(&scripts, &mut sink, 1000).await.worst().is_none());
    assert_eq!(sink.commits, 1);
    let mut sink = Memory { worth: 3, ..Memory::default() };
    assert!(run_all(&scripts[..1], &mut sink, 1).await.worst().is_none());
    assert_eq!((sink.commits, sink.of(TRADES).durable.len()), (3, 9));
}

/// A source that nobody may ask.
struct Unasked;

#[async_trait]
impl Source for Unasked {
    fn options(&self, _: &str) -> Options {
        panic!("asked for options");
    }

    fn concurrency(&self) -> usize {
        panic!("asked for slices");
    }

    async fn open(&self, stream: &str, _: &Checkpoint, _: Reading) -> Result<Box<dyn Plan>> {
        panic!("asked for {}", stream);
    }
}

#[tokio::test]
async fn what_the_sink_cannot_do_is_refused_before_a_row_is_read() {
    let lesser = [
        (WriteMode::AppendDedup, Abilities { replaces_by_key: false, ..ALL }),
        (WriteMode::AppendDedup, Abilities { deletes: false, ..ALL }),
        (WriteMode::Overwrite, Abilities { swaps: false, ..ALL }),
        (WriteMode::Overwrite, Abilities { durability: Durability::RowsFirst, ..ALL }),
    ];
    for (mode, abilities) in lesser {
        let mut sink = Memory { abilities, ..Memory::default() };
        let (_keep, stop) = watch::channel(false);
        let engine = Engine::new(Arc::new(Silent), policy(1), stop);
        let source: Arc<dyn Source> = Arc::new(Unasked);
        let jobs = [job(NEWS, WriteMode::AppendDedup), job(TRADES, mode)];
        let jobs = if mode == WriteMode::AppendDedup { &jobs[1..] } else { &jobs[..] };
        let error = engine.read(&source, &mut sink, jobs).await.error.unwrap();
        assert_eq!((error.kind(), error.stream()), (ErrorKind::Config, Some(TRADES)));
        assert!(error.to_string().contains(mode.as_str()) && error.to_string().contains("the memory"));
        assert_eq!((sink.opens, sink.writes, sink.commits), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_sink_that_joins_nothing_commits_each_stream_alone() {
    let scripts = [(TRADES, vec![slice("A", 1, &[b"a"])]), (NEWS, vec![whole("", &[b"n"])])];
    let abilities = Abilities { joins: Joins::One, ..ALL };
    let mut sink = Memory { abilities, ..Memory::default() };
    assert!(run_all(&scripts, &mut sink, 1000).await.worst().is_none());
    assert_eq!((rows(&sink), sink.of(NEWS).durable.len(), sink.commits), (vec!["a"], 1, 2));
    // A transaction of a few streams is full; one of each has no bound.
    for (joins, commits) in [(Joins::Many(1), 3), (Joins::One, 1)] {
        let mut sink = Memory { abilities: Abilities { joins, ..ALL }, ..Memory::default() };
        let days = (1..=3).map(|day| slice("A", day, &[b"a"])).collect();
        assert!(run_all(&[(TRADES, days)], &mut sink, 1000).await.worst().is_none());
        assert_eq!(sink.commits, commits);
    }
}

/// Says what it is given, then nothing more, or never again anything.
struct Scheduled {
    events: VecDeque<(usize, Event)>,
    waits: bool,
    /// How often it was told that all is durable.
    durable: usize,
}

impl Scheduled {
    fn new(events: Vec<(usize, Event)>, waits: bool) -> Self {
        Self { events: events.into(), waits, durable: 0 }
    }
}

#[async_trait]
impl Feed for Scheduled {
    async fn next(&mut self) -> Result<Option<(usize, Event)>> {
        match self.events.pop_front() {
            None if self.waits => std::future::pending().await,
            event => Ok(event),
        }
    }

    fn dropped(&mut self, _: usize) {}

    fn committed(&mut self) -> Result<()> {
        self.durable += 1;
        Ok(())
    }
}

fn row(text: &str) -> Event {
    let mut rows = Rows::default();
    rows.push(text.as_bytes());
    let extracted_at = ExtractedAt::All(0);
    Event::Rows(Box::new(Arrival { partition: Arc::from(""), rows, extracted_at, replaces: None }))
}

fn foreign(position: &str) -> Event {
    Event::Covered { partition: Arc::from(""), cover: Cover::Foreign(position.into()) }
}
