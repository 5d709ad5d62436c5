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
}

/// What the table holds in the end.
const ROWS: [&str; 2] = ["A/1/1.0", "A/2/1.0"];

/// A run: reads the source's rows, each with a commit, from the one that it is stored to be at.
async fn read(config: &SnowflakeConfig, mode: WriteMode, only_opens: bool) -> Result<()> {
    let mut sink = SnowflakeSink::connect(config).await?;
    let (stream, progress) = sink.open_one(&target(mode)).await?;
    if only_opens {
        return Ok(());
    }
    let done: i64 = progress.map_or(0, |progress| progress.parse().unwrap());
    for next in done + 1..=2 {
        sink.write(stream, batch(&[row("A", next, "1")])).await?;
        sink.commit_one(stream, &next.to_string()).await?;
    }
    if mode.is_staged() { sink.finish(&[stream]).await } else { Ok(()) }
}

/// Lets the other process come at a statement of a run. Returns whether the run came to it.
async fn at_a_statement(mode: WriteMode, other: Other, point: usize) -> bool {
    let what = format!("{mode:?}, {other:?} at {point}");
    let schema = schema();
    let directly = config_at(MENDED, &schema);
    let mut gate = Gate::before(server(MENDED)).await;
    let config = config_to(&gate.url, &schema);
    let mut first = tokio::spawn(async move { read(&config, mode, false).await });
    let mut passed = 0;
    let outcome = loop {
        let statement = tokio::select! {
            outcome = &mut first => break outcome.unwrap(),
            statement = gate.statements.recv() => statement.expect("the gate is open"),
        };
        // Nothing is known before it looks at what is there.
        passed += usize::from(passed > 0 || statement.text.contains("INFORMATION_SCHEMA.COLUMNS"));
        if passed == point {
            let came = read(&directly, mode, other == Other::Opens).await;
            came.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        }
        statement.go_on();
    };
    let sink = SnowflakeSink::connect(&directly).await.unwrap();
    if let Err(error) = outcome {
        let kinds = [ErrorKind::Conflict, ErrorKind::SinkUnavailable];
        assert!(passed >= point && kinds.contains(&error.kind()), "{what}: {}", error.report());
    } else {
        assert_eq!(prices(&sink, &schema).await, ROWS, "{what}: it said that all is there");
    }
    // Whoever comes next finds what is there.
    read(&directly, mode, false).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
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
