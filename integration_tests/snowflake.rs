//! The Snowflake sink against fakesnow, over its real wire protocol.
//!
//! `TAPELINE_FAKESNOW` says where it listens, such as `http://127.0.0.1:18080`,
//! `TAPELINE_FAKESNOW_MENDED` where `fakesnow_mended.py` does. Each test has a
//! schema of its own.

mod change;
mod crash;
mod cut;
mod deletes;
mod derived;
mod evolve;
mod gate;
mod grow;
mod joint;
mod meanwhile;
mod metadata;
mod ownership;
mod platform;
mod rejected;
mod shards;
mod version_1;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tapeline::batch::{Batch, Bound, Extent, ExtractedAt, Rows};
use tapeline::error::ErrorKind;
use tapeline::sink::snowflake::{SnowflakeConfig, SnowflakeSink};
use tapeline::sink::{Shardless, Sink, StreamId, Target, WriteMode};
use tapeline::table::{Column, ColumnType, Metadata, Table, Width};

const PASSWORD: &str = "hunter2-hunter2";

/// A schema that no other test uses.
pub(crate) fn schema() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn config(schema: &str) -> SnowflakeConfig {
    config_at("TAPELINE_FAKESNOW", schema)
}

fn config_at(variable: &str, schema: &str) -> SnowflakeConfig {
    config_to(&server(variable), schema)
}

/// The URL of a server.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names the URL of a running server"))
}

fn config_to(host: &str, schema: &str) -> SnowflakeConfig {
    serde_json::from_value(serde_json::json!({
        "account": "fakesnow",
        "user": "tester",
        "password": PASSWORD,
        "warehouse": "wh",
        "database": "integration",
        "schema": schema,
        "host": host,
    }))
    .unwrap()
}

async fn connect(schema: &str) -> SnowflakeSink {
    SnowflakeSink::connect(&config(schema)).await.unwrap()
}

fn column(name: &str, ty: ColumnType) -> Column {
    Column { name: name.to_owned(), ty, doc: String::new() }
}

fn table() -> Table {
    Table::new(
        "trades",
        vec![
            column("ticker", ColumnType::Text),
            column("id", ColumnType::Integer),
            column("price", ColumnType::Decimal(Width::new(38, 18))),
            column("day", ColumnType::Date),
            column("at", ColumnType::Timestamp),
            column("open", ColumnType::Boolean),
            column("additional_properties", ColumnType::Json),
        ],
        &["ticker", "id"],
    )
}

fn target(mode: WriteMode) -> Target {
    named("trades", mode)
}

/// A stream with a table of this name.
fn named(name: &str, mode: WriteMode) -> Target {
    Target::new("pipeline", name, Arc::new(Table { name: name.to_owned(), ..table() }), mode)
}

fn batch(rows: &[String]) -> Batch {
    let mut all = Rows::default();
    for row in rows {
        all.push(row.as_bytes());
    }
    Batch::new(Arc::new(table()), all, ExtractedAt::All(1_704_164_645_123))
}

fn row(ticker: &str, id: i64, price: &str) -> String {
    format!(r#"{{"ticker":"{ticker}","id":{id},"price":{price}}}"#)
}

async fn write(sink: &mut SnowflakeSink, stream: StreamId, rows: &[String]) {
    sink.write(stream, batch(rows)).await.unwrap();
}

async fn commit(sink: &mut SnowflakeSink, stream: StreamId, rows: &[String], progress: &str) {
    write(sink, stream, rows).await;
    sink.commit_one(stream, progress).await.unwrap();
}

/// `ticker/id/price` of every row, sorted.
async fn prices(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    prices_of(sink, schema, "trades").await
}

/// As [`prices`], of a table with this name.
async fn prices_of(sink: &SnowflakeSink, schema: &str, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT COALESCE(\"TICKER\", '-') || '/' || CAST(\"ID\" AS VARCHAR) || '/' || CAST(CAST(\"PRICE\" AS NUMBER(38,1)) AS VARCHAR) \
         FROM \"INTEGRATION\".\"{}\".\"{}\" ORDER BY 1",
        schema.to_uppercase(),
        table.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

async fn one(sink: &SnowflakeSink, sql: &str) -> Option<String> {
    sink.query(sql).await.unwrap().remove(0).remove(0)
}

/// Who has a stream open commits on, whoever looks meanwhile; and nothing is created.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_look_fences_nobody_and_creates_nothing() {
    let schema = schema();
    let mut looker = SnowflakeSink::peek(&config(&schema)).await.unwrap();
    let target = target(WriteMode::AppendDedup);
    let seen = looker.look(std::slice::from_ref(&target)).await.unwrap().remove(0);
    assert!(!seen.table && seen.owners.is_empty() && seen.progress.is_empty(), "{seen:?}");
    let schemas = "SELECT CAST(COUNT(*) AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = ";
    let schemas = format!("{schemas}'{}'", schema.to_uppercase());
    assert_eq!(one(&looker, &schemas).await.as_deref(), Some("0"));

    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1.5"), row("B", 1, "2.5")], "1").await;
    write(&mut sink, stream, &[row("C", 1, "3.5")]).await;
    let seen = looker.look(std::slice::from_ref(&target)).await.unwrap().remove(0);
    assert_eq!((seen.table, seen.rows, seen.progress.positions[""].as_str()), (true, 2, "1"));
    let other = Target { pipeline: "other".to_owned(), ..target.clone() };
    let obstacle = looker.look(&[other]).await.unwrap().remove(0).obstacle.expect("the table has an owner");
    assert!(
        obstacle.to_string().contains("is written by the pipeline pipeline (stream trades)"),
        "{obstacle}"
    );
    commit(&mut sink, stream, &[], "2").await;
    assert_eq!(looker.count(&target, &[]).await.unwrap(), 3);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn values_arrive_exactly() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, progress) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert_eq!(progress, None);
    let rows = [
        r#"{"ticker":"NA","id":9007199254740993,"price":12345678901234567890.123456789012345678,"day":"2024-02-29","at":"2024-02-29T23:59:59.123456789Z","open":true,"additional_properties":{"a":[1,null,"x"]}}"#,
        r#"{"ticker":"","id":-9223372036854775808,"price":-0.000000000000000001,"day":"1792-05-17","at":"1969-12-31T23:59:59Z","open":false,"additional_properties":null}"#,
        r#"{"ticker":"NULL","id":9223372036854775807,"price":0.1}"#,
        r#"{"ticker":"nan","id":1,"additional_properties":[]}"#,
        r#"{"ticker":"\\N 'quoted' \"double\" back\\slash\ttab\nline é 😀 $x ?","id":2,"additional_properties":"text"}"#,
        r#"{"ticker":null,"id":3,"price":null}"#,
    ]
    .map(str::to_owned);
    commit(&mut sink, stream, &rows, "{\"o'clock\": \"\\\\ 1\"}").await;
    let sql = format!(
        "SELECT \"TICKER\", CAST(\"ID\" AS VARCHAR), CAST(\"PRICE\" AS VARCHAR), CAST(\"DAY\" AS VARCHAR), \
         CAST(\"AT\" AS VARCHAR), CAST(\"OPEN\" AS VARCHAR), CAST(\"ADDITIONAL_PROPERTIES\" AS VARCHAR) \
         FROM \"INTEGRATION\".\"{}\".\"TRADES\" ORDER BY \"ID\"",
        schema.to_uppercase()
    );
    let rows = sink.query(&sql).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let nulls = |ticker: Option<&str>, id: &str, extra: Option<&str>| {
        vec![ticker.map(str::to_owned), text(id), None, None, None, None, extra.map(str::to_owned)]
    };
    assert_eq!(
        rows,
        [
            vec![
                text(""),
                text("-9223372036854775808"),
                text("-0.000000000000000001"),
                text("1792-05-17"),
                text("1969-12-31 23:59:59+00"),
                text("false"),
                None
            ],
            nulls(Some("nan"), "1", Some("[]")),
            nulls(Some("\\N 'quoted' \"double\" back\\slash\ttab\nline é 😀 $x ?"), "2", Some("\"text\"")),
            nulls(None, "3", None),
            vec![
                text("NA"),
                text("9007199254740993"),
                text("12345678901234567890.123456789012345678"),
                text("2024-02-29"),
                // fakesnow keeps microseconds, Snowflake all nine digits.
                text("2024-02-29 23:59:59.123456+00"),
                text("true"),
                text(r#"{"a":[1,null,"x"]}"#),
            ],
            vec![
                text("NULL"),
                text("9223372036854775807"),
                text("0.100000000000000000"),
                None,
                None,
                None,
                None
            ],
        ]
    );
    let meta = format!(
        "SELECT CAST(COUNT(DISTINCT \"_AIRBYTE_RAW_ID\") AS VARCHAR), CAST(MIN(\"_AIRBYTE_EXTRACTED_AT\") AS VARCHAR), \
         CAST(MIN(CAST(\"_AIRBYTE_META\" AS VARCHAR)) AS VARCHAR), CAST(MAX(\"_AIRBYTE_GENERATION_ID\") AS VARCHAR) \
         FROM \"INTEGRATION\".\"{}\".\"TRADES\"",
        schema.to_uppercase()
    );
    let meta = sink.query(&meta).await.unwrap().remove(0);
    assert_eq!(meta, [text("6"), text("2024-01-02 03:04:05.123+00"), text(r#"{"changes":[]}"#), text("0")]);
    drop(sink);
    let (_, progress) = connect(&schema).await.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("{\"o'clock\": \"\\\\ 1\"}"));
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn rows_that_the_source_has_no_more_go_with_the_part_that_is_replaced() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    let at = |ticker: &str, id: i64, second: i64| {
        format!(r#"{{"ticker":"{ticker}","id":{id},"price":1,"at":"2024-02-29T10:00:0{second}Z"}}"#)
    };
    let held =
        [at("A", 1, 1), at("A", 2, 2), at("A", 3, 3), at("O'B", 4, 2), at("C", 5, 2), row("A", 6, "1")];
    commit(&mut sink, stream, &held, "p1").await;
    let extent = |ticker: &str| Extent {
        partition: Some(("ticker".to_owned(), ticker.into())),
        cursor: "at".to_owned(),
        from: Bound::Time("2024-02-29T10:00:02Z".parse().unwrap()),
        until: Some(Bound::Time("2024-02-29T10:00:03Z".parse().unwrap())),
    };
    let parts = [("A", at("A", 7, 2)), ("O'B", at("O'B", 8, 2))];
    for rollback in [true, false] {
        for (ticker, row) in &parts {
            let batch = Batch { replaces: vec![extent(ticker)], ..batch(std::slice::from_ref(row)) };
            sink.write(stream, batch).await.unwrap();
        }
        if rollback {
            sink.rollback(stream).await.unwrap();
        }
    }
    commit(&mut sink, stream, &[], "p2").await;
    let left = ["A/1/1.0", "A/3/1.0", "A/6/1.0", "A/7/1.0", "C/5/1.0", "O'B/8/1.0"];
    assert_eq!(prices(&sink, &schema).await, left);
    // A transaction later nothing of it is left to be cleared again.
    commit(&mut sink, stream, &[at("C", 9, 2)], "p3").await;
    assert_eq!(prices(&sink, &schema).await.len(), left.len() + 1);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn the_last_row_of_a_key_wins() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    let null_key = |price: &str| format!(r#"{{"ticker":null,"id":1,"price":{price}}}"#);
    write(&mut sink, stream, &[row("A", 1, "1"), row("A", 2, "1"), row("A", 1, "2"), null_key("1")]).await;
    commit(&mut sink, stream, &[row("A", 1, "3"), row("a", 1, "1"), null_key("2")], "p1").await;
    assert_eq!(prices(&sink, &schema).await, ["-/1/2.0", "A/1/3.0", "A/2/1.0", "a/1/1.0"]);
    commit(&mut sink, stream, &[row("A", 2, "9"), null_key("7"), row("B", 1, "1"), row("A", 2, "10")], "p2")
        .await;
    assert_eq!(prices(&sink, &schema).await, ["-/1/7.0", "A/1/3.0", "A/2/10.0", "B/1/1.0", "a/1/1.0"]);
    sink.finish(&[stream]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn append_keeps_every_row() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::Append)).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1"), row("A", 1, "1")], "p1").await;
    commit(&mut sink, stream, &[row("A", 1, "2")], "p2").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/1/1.0", "A/1/2.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn rows_and_progress_move_together_or_not_at_all() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1")], "p1").await;
    write(&mut sink, stream, &[row("A", 2, "1")]).await;
    sink.rollback(stream).await.unwrap();
    commit(&mut sink, stream, &[row("A", 3, "1")], "p2").await;
    sink.commit_one(stream, "p3").await.unwrap();
    // This one is never committed: the process dies.
    write(&mut sink, stream, &[row("A", 4, "1")]).await;
    drop(sink);
    let mut sink = connect(&schema).await;
    let (stream, progress) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p3"));
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/3/1.0"]);
    commit(&mut sink, stream, &[row("A", 4, "1")], "p4").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/3/1.0", "A/4/1.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_process_that_was_overtaken_cannot_commit() {
    let schema = schema();
    let mut first = connect(&schema).await;
    let (old, _) = first.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    commit(&mut first, old, &[row("A", 1, "1")], "p1").await;
    write(&mut first, old, &[row("A", 2, "1")]).await;
    let mut second = connect(&schema).await;
    let (new, progress) = second.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p1"));
    let error = first.commit_one(old, "zombie").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    commit(&mut second, new, &[row("A", 3, "1")], "p2").await;
    assert_eq!(prices(&second, &schema).await, ["A/1/1.0", "A/3/1.0"]);
    let (_, progress) = connect(&schema).await.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p2"));
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn several_processes_that_begin_at_once_leave_one_progress() {
    let schema = schema();
    // The schema and the tables are there; the progress of the stream is not.
    let first = connect(&schema).await;
    let begin = |number: usize| {
        let schema = schema.clone();
        tokio::spawn(async move {
            let mut sink = SnowflakeSink::connect(&config(&schema)).await?;
            let (stream, _) = sink.open_one(&target(WriteMode::Append)).await?;
            let rows = [row("A", i64::try_from(number).unwrap(), "1")];
            sink.write(stream, batch(&rows)).await?;
            sink.commit_one(stream, &format!("p{number}")).await
        })
    };
    let tasks: Vec<_> = (0..6).map(begin).collect();
    let mut winners = Vec::new();
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(()) => winners.push(format!("A/{number}/1.0")),
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::Conflict | ErrorKind::SinkUnavailable),
                    "{}",
                    error.report()
                );
            }
        }
    }
    // A commit that was overtaken before it was read back is reported as unknown, and may be there.
    let there = prices(&first, &schema).await;
    assert!(winners.iter().all(|row| there.contains(row)), "{winners:?} {there:?}");
    assert!(there.windows(2).all(|pair| pair[0] != pair[1]), "{there:?}");
    let count = format!(
        "SELECT CAST(COUNT(*) AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"_TAPELINE_STREAMS\" WHERE \"PIPELINE\" <> ''",
        schema.to_uppercase()
    );
    assert_eq!(one(&first, &count).await.as_deref(), Some("1"));
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn overwriting_shows_the_old_rows_until_it_is_finished() {
    let schema = schema();
    let generation = format!(
        "SELECT CAST(MAX(\"_AIRBYTE_GENERATION_ID\") AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"TRADES\"",
        schema.to_uppercase()
    );
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::Overwrite)).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1"), row("A", 2, "1")], "p1").await;
    assert!(prices(&sink, &schema).await.is_empty());
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/2/1.0"]);
    assert_eq!(one(&sink, &generation).await.as_deref(), Some("1"));

    let (stream, progress) = sink.open_one(&target(WriteMode::Overwrite)).await.unwrap();
    assert_eq!(progress, None);
    commit(&mut sink, stream, &[row("B", 1, "1")], "p2").await;
    drop(sink);
    let mut sink = connect(&schema).await;
    let (stream, progress) = sink.open_one(&target(WriteMode::Overwrite)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p2"), "an unfinished run goes on");
    commit(&mut sink, stream, &[row("B", 2, "1")], "p3").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/2/1.0"]);
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["B/1/1.0", "B/2/1.0"]);
    assert_eq!(one(&sink, &generation).await.as_deref(), Some("2"));

    // A run that finds nothing empties the table.
    let (stream, progress) = sink.open_one(&target(WriteMode::Overwrite)).await.unwrap();
    assert_eq!(progress, None);
    sink.commit_one(stream, "p4").await.unwrap();
    sink.finish(&[stream]).await.unwrap();
    assert!(prices(&sink, &schema).await.is_empty());
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn progress_of_another_mode_is_not_continued() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::Append)).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1")], "p1").await;
    let (stream, progress) = sink.open_one(&target(WriteMode::Overwrite)).await.unwrap();
    assert_eq!(progress, None, "the rows of an append are not in the table that will replace it");
    commit(&mut sink, stream, &[row("B", 1, "1")], "p2").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["B/1/1.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn tables_are_widened_and_wrong_ones_refused() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let mut narrow = table();
    narrow.columns.retain(|column| column.name != "price");
    let mut first = target(WriteMode::Append);
    first.table = Arc::new(narrow);
    let (stream, _) = sink.open_one(&first).await.unwrap();
    commit(&mut sink, stream, &[r#"{"ticker":"A","id":1}"#.to_owned()], "p1").await;
    let (stream, progress) = sink.open_one(&target(WriteMode::Append)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p1"));
    commit(&mut sink, stream, &[row("A", 2, "1.5")], "p2").await;
    let full = format!("\"INTEGRATION\".\"{}\".\"TRADES\"", schema.to_uppercase());
    let count = format!("SELECT CAST(COUNT(\"PRICE\") AS VARCHAR) FROM {full}");
    assert_eq!(one(&sink, &count).await.as_deref(), Some("1"));

    sink.query(&format!("DROP TABLE {full}")).await.unwrap();
    let extra = "\"ADDITIONAL_PROPERTIES\" VARIANT";
    sink.query(&format!("CREATE TABLE {full} (\"TICKER\" VARCHAR, \"PRICE\" FLOAT, {extra})")).await.unwrap();
    let error = sink.open_one(&target(WriteMode::Append)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    assert_eq!(error.to_string(), "column PRICE of table TRADES is FLOAT, the rows need NUMBER(38,18)");
    sink.query(&format!("DROP TABLE {full}")).await.unwrap();
    let (_, progress) = sink.open_one(&target(WriteMode::Append)).await.unwrap();
    assert_eq!(progress, None, "a table that was dropped is read anew");
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_large_commit_goes_in_several_files() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    let mut random = 88_172_645_463_325_252_u64;
    let mut noise = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for chunk in 0..10 {
        let rows: Vec<String> = (0..5_000)
            .map(|n| {
                let noise: String = (0..60).map(|_| format!("{:x}", noise())).collect();
                format!(r#"{{"ticker":"{noise}","id":{},"price":1}}"#, chunk * 5_000 + n)
            })
            .collect();
        write(&mut sink, stream, &rows).await;
    }
    sink.commit_one(stream, "p1").await.unwrap();
    let sql = format!(
        "SELECT CAST(COUNT(DISTINCT \"ID\") AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"TRADES\"",
        schema.to_uppercase()
    );
    assert_eq!(one(&sink, &sql).await.as_deref(), Some("50000"));
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_failed_statement_is_one_clear_sentence_without_a_secret() {
    let sink = connect(&schema()).await;
    let error = sink.query("SELECT * FROM no_such_table").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert!(error.to_string().starts_with("snowflake answered 002003: "), "{error}");
    assert!(!error.report().contains(PASSWORD));
    assert!(!format!("{error:?} {:?}", config("x")).contains(PASSWORD));
}
