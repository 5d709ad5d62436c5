//! Streams that wait for each other, for time, for room or for a stop.

use super::*;

/// Stops the run at the first slice that was read.
#[derive(Debug, Default)]
struct StopAfterFirst(Mutex<Option<watch::Sender<bool>>>);

impl Observer for StopAfterFirst {
    fn event(&self, event: &observe::Event<'_>) {
        if let observe::Event::SliceRead { .. } = event
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
    let scripts = vec![slice("A", 1, &[b"a"]), slice("A", 2, &[b"b"])];
    let source: Arc<dyn Source> = Arc::new(Scripted([(TRADES.to_owned(), scripts)].into()));
    let engine = Engine::new(Arc::new(observer), policy(1000), stop);
    let report = engine.read(&source, &mut sink, &[job(TRADES, WriteMode::Append)]).await;
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Interrupted);
    assert_eq!((rows(&sink), through(&sink, "A")), (vec!["a"], Some(1)));
}

/// A stream that never says anything.
struct Silence;

#[async_trait]
impl Slice for Silence {
    fn partition(&self) -> &Arc<str> {
        static EMPTY: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from(""));
        &EMPTY
    }

    async fn read(self: Box<Self>, _: &Pages) -> Result<Cover> {
        std::future::pending().await
    }
}

/// As [`Scripted`], but news never comes.
struct NoNews(Scripted);

#[async_trait]
impl Source for NoNews {
    fn options(&self, stream: &str) -> Options {
        self.0.options(stream)
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency()
    }

    async fn open(&self, stream: &str, have: &Checkpoint, reading: Reading) -> Result<Box<dyn Plan>> {
        match stream {
            NEWS => Ok(Box::new(Listed(VecDeque::from([Box::new(Silence) as Box<dyn Slice>])))),
            _ => self.0.open(stream, have, reading).await,
        }
    }
}

/// Stops the run once a stream is finished.
#[derive(Debug)]
struct StopAtFinish(watch::Sender<bool>);

impl Observer for StopAtFinish {
    fn event(&self, event: &observe::Event<'_>) {
        if let observe::Event::StreamFinished { .. } = event {
            self.0.send_replace(true);
        }
    }
}

#[tokio::test]
async fn an_endless_stream_holds_up_no_other() {
    let mut sink = Memory::default();
    let (sender, stop) = watch::channel(false);
    let scripts = Scripted([(TRADES.to_owned(), vec![slice("A", 1, &[b"a"])])].into());
    let source: Arc<dyn Source> = Arc::new(NoNews(scripts));
    let engine = Engine::new(Arc::new(StopAtFinish(sender)), policy(1), stop);
    let jobs = [job(NEWS, WriteMode::Append), job(TRADES, WriteMode::Append)];
    let report = engine.read(&source, &mut sink, &jobs).await;
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Interrupted);
    assert!(is_finished(&sink) && rows(&sink) == ["a"]);
}

/// The age of what is covered is enough for a commit, and nothing else moves the clock.
#[tokio::test(start_paused = true)]
async fn what_is_covered_is_committed_after_a_while_although_nothing_comes() {
    #[derive(Debug)]
    struct StopAtCommit(watch::Sender<bool>);
    impl Observer for StopAtCommit {
        fn event(&self, event: &observe::Event<'_>) {
            if let observe::Event::Committed { .. } = event {
                self.0.send_replace(true);
            }
        }
    }
    let mut sink = Memory::default();
    let (sender, stop) = watch::channel(false);
    let mut feed = Scheduled::new(vec![(0, row("a")), (0, foreign("1"))], true);
    let engine = Engine::new(Arc::new(StopAtCommit(sender)), policy(1000), stop);
    let target = job(TRADES, WriteMode::Append).target;
    let id = sink.open(std::slice::from_ref(&target)).await.unwrap().remove(0).unwrap().id;
    let report = engine.take(&mut feed, &mut sink, &[(id, TRADES, &target)]).await;
    assert_eq!(report.error.unwrap().kind(), ErrorKind::Interrupted);
    assert_eq!((rows(&sink), feed.durable > 0), (vec!["a"], true));
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

/// Slices that were made beforehand.
struct Listed(VecDeque<Box<dyn Slice>>);

#[async_trait]
impl Plan for Listed {
    fn estimate(&self) -> Estimate {
        Estimate { slices: self.0.len() as u64, rows: None }
    }

    async fn next(&mut self, _: &HashSet<Arc<str>>) -> Result<Option<Box<dyn Slice>>> {
        Ok(self.0.pop_front())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_bounded_in_bytes_while_nobody_takes_it() {
    let read = Arc::new(AtomicUsize::new(0));
    let slice = |name: &str| -> Box<dyn Slice> {
        Box::new(Greedy { partition: name.into(), read: Arc::clone(&read) })
    };
    let plan = Listed(["A", "B", "C", "D"].map(slice).into());
    let mut fetcher = Fetcher::new(Box::new(plan), 3, &Arc::default());
    assert!(fetcher.start_next(&HashSet::new()).await.unwrap());
    // The clock moves on once there is nothing left to do.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ahead = read.load(Ordering::Relaxed);
    assert!(ahead > AHEAD_BYTES_MAX / 2 && ahead <= AHEAD_BYTES_MAX + GREEDY_PAGE, "{ahead}");
    for taken in 1..=20 {
        assert!(matches!(fetcher.next().await, Ok(Fetched::Page(..))), "the current slice goes on");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ahead = read.load(Ordering::Relaxed) - taken * GREEDY_PAGE;
        assert!(ahead <= AHEAD_BYTES_MAX + GREEDY_PAGE, "{ahead}");
    }
}
