//! Whose a table is, when its owner goes to another one, or it is gone.

use super::crash::MENDED;
use super::cut::{cut_everywhere, sink_to_cut};
use super::gate::Gate;
use super::*;

use tapeline::error::{Error, Result};

const MODES: [WriteMode; 3] = [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite];

/// The stream `trades` of a pipeline, into a table with this name.
fn into(pipeline: &str, table: &str, mode: WriteMode) -> Target {
    let target = named(table, mode);
    Target { pipeline: pipeline.to_owned(), stream: "trades".to_owned(), ..target }
}

/// A run of one row, from its beginning to its end; returns the progress that it found.
async fn run(schema: &str, target: &Target, ticker: &str) -> Result<Option<String>> {
    let mut sink = connect(schema).await;
    let (stream, before) = sink.open_one(target).await?;
    commit(&mut sink, stream, &[row(ticker, 1, "1")], "1").await;
    sink.finish(&[stream]).await.unwrap_or_else(|error| panic!("{}", error.report()));
    Ok(before)
}

async fn refused(schema: &str, target: &Target) -> Error {
    run(schema, target, "X").await.expect_err("the table is refused")
}

/// What `check` would say.
async fn obstacle(schema: &str, target: &Target) -> Option<String> {
    let mut sink = SnowflakeSink::peek(&config(schema)).await.unwrap();
    let look = sink.look(std::slice::from_ref(target)).await.unwrap().remove(0);
    look.obstacle.map(|error| error.user_message())
}

/// Runs SQL about a table.
async fn execute(schema: &str, sql: &str) {
    let place = format!("\"INTEGRATION\".\"{}\"", schema.to_uppercase());
    connect(schema).await.query(&sql.replace("{}", &place)).await.unwrap();
}

async fn tickers(schema: &str, table: &str) -> Vec<String> {
    let prices = prices_of(&connect(schema).await, schema, table).await;
    prices.iter().map(|price| price[..1].to_owned()).collect()
}

/// Its rows would be doubled, or replaced. The stream that wrote them went to another table,
/// or they are of version 1 of another pipeline.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_table_with_rows_that_nobody_is_known_to_write_is_refused() {
    for mode in MODES {
        let schema = schema();
        run(&schema, &into("first", "old", mode), "A").await.unwrap();
        run(&schema, &into("first", "new", mode), "A").await.unwrap();
        for target in [into("second", "old", mode), into("first", "old", mode)] {
            let told = obstacle(&schema, &target).await.unwrap();
            let error = refused(&schema, &target).await;
            assert_eq!((error.kind(), &error.user_message()), (ErrorKind::Table, &told));
            assert!(told.contains("has rows that this stream is not known to have written"), "{told}");
            assert_eq!(tickers(&schema, "old").await, ["A"]);
        }
        execute(&schema, "DELETE FROM {}.\"OLD\"").await;
        // What is stored speaks of the table that its rows went to.
        let back = if mode == WriteMode::Append { "first" } else { "second" };
        assert_eq!(obstacle(&schema, &into(back, "old", mode)).await, None);
        assert_eq!(run(&schema, &into(back, "old", mode), "B").await.unwrap(), None);
        assert_eq!(tickers(&schema, "old").await, ["B"]);
    }
}

/// Not even when a run that would replace the rows of the other table was not finished.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn what_is_stored_of_another_table_is_gone_however_the_mode_changes() {
    let schema = schema();
    run(&schema, &into("first", "old", WriteMode::Append), "A").await.unwrap();
    execute(&schema, "CREATE TABLE {}.\"NEW\" AS SELECT * FROM {}.\"OLD\" WHERE FALSE").await;
    connect(&schema).await.open_one(&into("first", "new", WriteMode::Overwrite)).await.unwrap();
    assert_eq!(run(&schema, &into("first", "new", WriteMode::Append), "A").await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn streams_of_a_table_that_is_gone_have_no_say() {
    for mode in MODES {
        let schema = schema();
        run(&schema, &into("first", "trades", mode), "A").await.unwrap();
        let second = into("second", "trades", mode);
        assert!(obstacle(&schema, &second).await.unwrap().contains("the pipeline first"));
        execute(&schema, "DROP TABLE {}.\"TRADES\"").await;
        assert_eq!(obstacle(&schema, &second).await, None);
        assert_eq!(run(&schema, &second, "B").await.unwrap(), None);
        let error = refused(&schema, &into("first", "trades", mode)).await;
        assert!(error.user_message().contains("the pipeline second"), "{}", error.report());
        run(&schema, &second, "B").await.unwrap();
    }
}

/// One that shares the table reads its part again, whoever made the table anew.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn of_a_shared_table_that_is_gone_everything_is_read_again() {
    let schema = schema();
    let shared = |pipeline| Target { shared: true, ..into(pipeline, "trades", WriteMode::AppendDedup) };
    run(&schema, &shared("first"), "A").await.unwrap();
    run(&schema, &shared("second"), "B").await.unwrap();
    execute(&schema, "DROP TABLE {}.\"TRADES\"").await;
    assert_eq!(run(&schema, &shared("first"), "A").await.unwrap(), None);
    assert_eq!(run(&schema, &shared("second"), "B").await.unwrap(), None);
    assert_eq!(tickers(&schema, "trades").await, ["A", "B"]);
}

/// A first run that replaces a table has its rows beside it: the table of its own has none.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn whoever_collects_rows_for_a_table_has_a_say() {
    let schema = schema();
    let first = into("first", "trades", WriteMode::Overwrite);
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&first).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1")], "1").await;
    drop(sink);
    execute(&schema, "DROP TABLE IF EXISTS {}.\"TRADES\"").await;
    for mode in MODES {
        let second = into("second", "trades", mode);
        assert!(obstacle(&schema, &second).await.unwrap().contains("the pipeline first"));
        assert!(refused(&schema, &second).await.user_message().contains("the pipeline first"));
    }
    let beside = format!(
        "SELECT CAST(COUNT(*) AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.TABLES \
         WHERE TABLE_SCHEMA = '{}' AND STARTSWITH(TABLE_NAME, '_TAPELINE_NEXT_TRADES_')",
        schema.to_uppercase()
    );
    assert_eq!(one(&connect(&schema).await, &beside).await.as_deref(), Some("1"));
}

/// What a stream that was dispossessed does between two statements of its successor.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_process_whose_table_was_dropped_commits_no_more() {
    let schema = schema();
    let first = into("first", "trades", WriteMode::Append);
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&first).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1")], "1").await;
    execute(&schema, "DROP TABLE {}.\"TRADES\"").await;
    run(&schema, &into("second", "trades", WriteMode::Append), "B").await.unwrap();
    write(&mut sink, stream, &[row("A", 2, "1")]).await;
    let error = sink.commit_one(stream, "2").await.expect_err("the stream is another's");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert_eq!(tickers(&schema, "trades").await, ["B"]);
}

/// Whoever opens a stream meanwhile is told of a process that writes it, not of columns.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_commit_between_a_look_and_the_opening_is_told_as_what_it_is() {
    let schema = schema();
    let target = into("first", "trades", WriteMode::Append);
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let mut gate = Gate::before(server("TAPELINE_FAKESNOW")).await;
    let config = config_to(&gate.url, &schema);
    let mut opening = tokio::spawn(async move {
        SnowflakeSink::connect(&config).await.unwrap().open_one(&target).await.map(drop)
    });
    let mut committed = 0;
    let opened = loop {
        let statement = tokio::select! {
            opened = &mut opening => break opened.unwrap(),
            statement = gate.statements.recv() => statement.expect("the gate is open"),
        };
        if committed == 0 && statement.text.contains("SET \\\"TABLE_NAME\\\"") {
            committed += 1;
            commit(&mut sink, stream, &[row("A", 1, "1")], "1").await;
        }
        statement.go_on();
    };
    let error = opened.expect_err("the stream moved on");
    assert_eq!((committed, error.kind()), (1, ErrorKind::Conflict), "{}", error.report());
    assert!(error.to_string().contains("moved the progress of trades"), "{}", error.report());
    commit(&mut sink, stream, &[row("A", 2, "1")], "2").await;
    assert_eq!(tickers(&schema, "trades").await, ["A", "A"]);
}

#[tokio::test]
#[ignore = "part of a_release_can_be_cut_anywhere"]
async fn the_process_that_releases() {
    if let Some((mut sink, _)) = sink_to_cut().await {
        let second = into("second", "trades", WriteMode::AppendDedup);
        let (stream, _) = sink.open_one(&second).await.unwrap();
        commit(&mut sink, stream, &[row("B", 1, "1")], "1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_release_can_be_cut_anywhere() {
    let prepare = async |sink: &SnowflakeSink, schema: &str| {
        let mut first = SnowflakeSink::connect(&config_at(MENDED, schema)).await.unwrap();
        let target = into("first", "trades", WriteMode::AppendDedup);
        let (stream, _) = first.open_one(&target).await.unwrap();
        commit(&mut first, stream, &[row("A", 1, "1")], "1").await;
        let sql = format!("DROP TABLE \"INTEGRATION\".\"{}\".\"TRADES\"", schema.to_uppercase());
        sink.query(&sql).await.unwrap();
    };
    // Whoever comes next, of the two, begins at the beginning or where the process stopped.
    let judge = async |mut sink: SnowflakeSink, schema: &str, point: u64| {
        let pipeline = if point.is_multiple_of(2) { "first" } else { "second" };
        match sink.open_one(&into(pipeline, "trades", WriteMode::AppendDedup)).await {
            Ok((stream, before)) => {
                let there = prices(&sink, schema).await;
                assert_eq!(before.is_some(), !there.is_empty(), "{pipeline} cut at {point}");
                commit(&mut sink, stream, &[row("B", 1, "1")], "1").await;
            }
            Err(error) => {
                assert!(error.user_message().contains("the pipeline second"), "{}", error.report());
                assert_eq!(pipeline, "first");
                let second = into("second", "trades", WriteMode::AppendDedup);
                let (stream, _) = sink.open_one(&second).await.unwrap();
                commit(&mut sink, stream, &[row("B", 1, "1")], "1").await;
            }
        }
        assert_eq!(prices(&sink, schema).await, ["B/1/1.0"], "cut at {point}");
    };
    let points = cut_everywhere("snowflake::ownership::the_process_that_releases", prepare, judge).await;
    assert!(points > 10, "{points} statements");
}
