//! What another process of the same pipeline does between two statements of a run: each row of a
//! source is in the table once, whoever reads it. Who comes while the run has a transaction open
//! finds it idle, and the server gives it up: the run's later statements find themselves without.

use super::crash::MENDED;
use super::gate::Gate;
use super::*;

use tapeline::error::Result;

/// What the other process does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Other {
    /// A whole run.
    Reads,
    /// Opens the stream, and dies.
    Opens,
    /// Reads a row, and goes on once the run has ended.
    GoesOn,
}

/// The source's row, or where rows replace each other all up to it: each in the place of what was
/// there of its day, as those of slices are.
fn rows(mode: WriteMode, last: i64) -> Batch {
    let part = |id: i64| Extent {
        partition: Some(("ticker".to_owned(), "A".into())),
        cursor: "day".to_owned(),
        from: Bound::Day(day(id)),
        until: Some(Bound::Day(day(id + 1))),
    };
    let row = |id: i64| format!(r#"{{"ticker":"A","id":{id},"price":1,"day":"{}"}}"#, day(id));
    if !mode.replaces_by_key() {
        return batch(&[row(last)]);
    }
    let all: Vec<String> = (1..=last).map(row).collect();
    Batch { replaces: (1..=last).map(part).collect(), ..batch(&all) }
}

fn day(id: i64) -> jiff::civil::Date {
    jiff::civil::date(2024, 1, 1).saturating_add(jiff::Span::new().days(id))
}

/// How often the other process begins again. The server waits a second before it gives up a
/// transaction that is idle.
const TRIES_MAX: usize = 100;

/// What the table holds in the end.
const ROWS: [&str; 2] = ["A/1/1.0", "A/2/1.0"];

/// A run under way.
struct Reader {
    sink: SnowflakeSink,
    stream: StreamId,
    mode: WriteMode,
    /// How many of the source's rows it has.
    done: i64,
}

impl Reader {
    async fn open(config: &SnowflakeConfig, mode: WriteMode) -> Result<Self> {
        let mut sink = SnowflakeSink::connect(config).await?;
        let (stream, progress) = sink.open_one(&target(mode)).await?;
        let done = progress.map_or(0, |progress| progress.parse().unwrap());
        Ok(Self { sink, stream, mode, done })
    }

    /// Reads as far as this row, each with a commit.
    async fn through(&mut self, last: i64) -> Result<()> {
        while self.done < last {
            self.sink.write(self.stream, rows(self.mode, self.done + 1)).await?;
            self.done += 1;
            self.sink.commit_one(self.stream, &self.done.to_string()).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        self.through(2).await?;
        if self.mode.is_staged() { self.sink.finish(&[self.stream]).await } else { Ok(()) }
    }
}

/// A whole run.
async fn read(config: &SnowflakeConfig, mode: WriteMode) -> Result<()> {
    Reader::open(config, mode).await?.end().await
}

/// The other process, as often as it takes until the server has given up the transaction that is
/// in its way: in the middle of its own it is refused. Returns the run that goes on.
async fn come(config: &SnowflakeConfig, mode: WriteMode, other: Other) -> Result<Option<Reader>> {
    let mut tries = 0..TRIES_MAX;
    loop {
        let came = async {
            let mut reader = Reader::open(config, mode).await?;
            match other {
                Other::Reads => reader.end().await.map(|()| None),
                Other::Opens => Ok(None),
                Other::GoesOn => reader.through(1).await.map(|()| Some(reader)),
            }
        };
        match came.await {
            Err(error) if error.kind() == ErrorKind::SinkUnavailable && tries.next().is_some() => {}
            came => return came,
        }
    }
}

/// Lets the other process come at a statement of a run. Returns whether the run came to it.
async fn at_a_statement(mode: WriteMode, other: Other, point: usize) -> bool {
    let what = format!("{mode:?}, {other:?} at {point}");
    let schema = schema();
    let directly = config_at(MENDED, &schema);
    let mut gate = Gate::before(server(MENDED)).await;
    let config = config_to(&gate.url, &schema);
    let mut first = tokio::spawn(async move { read(&config, mode).await });
    let mut passed = 0;
    let mut under_way = None;
    let outcome = loop {
        let statement = tokio::select! {
            outcome = &mut first => break outcome.unwrap(),
            statement = gate.statements.recv() => statement.expect("the gate is open"),
        };
        // Nothing is known before it looks at what is there.
        passed += usize::from(passed > 0 || statement.text.contains("INFORMATION_SCHEMA.COLUMNS"));
        if passed == point {
            under_way = come(&directly, mode, other)
                .await
                .unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        }
        statement.go_on();
    };
    let sink = SnowflakeSink::connect(&directly).await.unwrap();
    if let Err(error) = &outcome {
        let kinds = [ErrorKind::Conflict, ErrorKind::SinkUnavailable];
        assert!(passed >= point && kinds.contains(&error.kind()), "{what}: {}", error.report());
    }
    let went_on = match under_way {
        Some(reader) => Some(reader.end().await),
        None => None,
    };
    // What the first one dropped of the other's, the other misses and says so.
    if outcome.is_ok() || matches!(went_on, Some(Ok(()))) {
        assert_eq!(prices(&sink, &schema).await, ROWS, "{what}: it said that all is there");
    }
    // Whoever comes next finds what is there.
    read(&directly, mode).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
    assert_eq!(prices(&sink, &schema).await, ROWS, "{what}");
    passed >= point
}

async fn at_every_statement(mode: WriteMode, other: Other) {
    let mut point = 1;
    while at_a_statement(mode, other, point).await {
        point += 1;
    }
    assert!(point > 20, "{point} statements");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_run_between_any_two_statements_of_another_leaves_every_row_once() {
    at_every_statement(WriteMode::Append, Other::Reads).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_stream_that_is_opened_between_any_two_statements_of_a_run_loses_no_row() {
    at_every_statement(WriteMode::Append, Other::Opens).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_run_that_replaces_a_table_is_done_only_when_its_rows_are_there() {
    at_every_statement(WriteMode::Overwrite, Other::Opens).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_run_that_goes_on_beside_what_is_left_of_another_loses_no_row_without_a_word() {
    at_every_statement(WriteMode::Overwrite, Other::GoesOn).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn what_is_left_of_a_run_deletes_nothing_of_another() {
    at_every_statement(WriteMode::AppendDedup, Other::Reads).await;
}
