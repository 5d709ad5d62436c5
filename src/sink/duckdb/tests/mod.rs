//! The sink against the database itself, through its production path.

mod ahead;
mod crash;
mod deletes;
mod derived;
mod failures;
mod grow;
mod look;
mod metadata;
mod modes;
mod moments;
mod numbers;
mod ownership;
mod rejected;
mod rewrite;
mod runs;
mod schema;
mod types;

use std::path::PathBuf;
use std::sync::Arc;

use duckdb::Connection;
use tempfile::TempDir;

use super::{DuckDbConfig, DuckDbSink};
use crate::batch::{Batch, Cause, ExtractedAt, Rows};
use crate::error::{Error, Result};
use crate::sink::{Shardless, Sink, StreamId, Target, WriteMode};
use crate::table::{Column, ColumnType, EXTRA_COLUMN, Metadata, Table, Width};

/// As wide as all numbers were before columns had widths of their own.
const DECIMAL: ColumnType = ColumnType::Decimal(Width::new(38, 18));

/// A database file that is gone after the test.
struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("market.duckdb")
    }

    fn config(&self) -> DuckDbConfig {
        DuckDbConfig { threads: Some(1), ..DuckDbConfig::of(self.path().to_str().expect("a path in UTF-8")) }
    }

    async fn sink(&self) -> DuckDbSink {
        DuckDbSink::connect(&self.config()).await.expect("the sink opens")
    }

    /// What a reader sees of the closed file: rows as text, columns joined by `|`.
    fn rows(&self, query: &str) -> Vec<String> {
        self.answers(&[query])
    }

    /// The same of several queries, one behind the other.
    fn answers(&self, queries: &[&str]) -> Vec<String> {
        let connection = Connection::open(self.path()).expect("the file opens");
        queries.iter().flat_map(|query| Self::answer(&connection, query)).collect()
    }

    fn answer(connection: &Connection, query: &str) -> Vec<String> {
        let mut statement = connection.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut rows = statement.query([]).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut lines = Vec::new();
        while let Some(row) = rows.next().expect("a row") {
            let width = row.as_ref().column_count();
            let cell = |index| {
                row.get::<_, Option<String>>(index).unwrap_or_else(|error| panic!("{query}: {error}"))
            };
            let cells: Vec<String> =
                (0..width).map(|index| cell(index).unwrap_or("NULL".to_owned())).collect();
            lines.push(cells.join("|"));
        }
        lines
    }

    /// What a crash at this moment would leave, while a sink has the file open: the file
    /// and its log.
    fn crashed(&self) -> Self {
        let copy = Self::new();
        let log = |file: &Self| file.folder.path().join("market.duckdb.wal");
        std::fs::copy(self.path(), copy.path()).expect("the file is copied");
        std::fs::copy(log(self), log(&copy)).expect("the log is copied");
        copy
    }

    fn execute(&self, sql: &str) {
        let connection = Connection::open(self.path()).expect("the file opens");
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn column(name: &str, ty: ColumnType) -> Column {
    Column { name: name.to_owned(), ty, doc: format!("It's {name}.") }
}

/// `ticker`, `timestamp`, `v` and the rest; the first two are the key.
fn bars() -> Arc<Table> {
    Arc::new(Table {
        cursor: Some("timestamp".to_owned()),
        ..Table::new(
            "bars",
            vec![
                column("ticker", ColumnType::Text),
                column("timestamp", ColumnType::Timestamp),
                column("v", ColumnType::Integer),
                column(EXTRA_COLUMN, ColumnType::Json),
            ],
            &["ticker", "timestamp"],
        )
    })
}

fn target(table: &Arc<Table>, mode: WriteMode) -> Target {
    Target::new("test", &table.name, Arc::clone(table), mode)
}

fn batch(table: &Arc<Table>, lines: &[String]) -> Batch {
    let mut rows = Rows::default();
    for line in lines {
        rows.push(line.as_bytes());
    }
    Batch::new(Arc::clone(table), rows, ExtractedAt::All(1_719_581_400_123))
}

/// A row of `bars`, `minute` minutes into a day.
fn bar(ticker: &str, minute: u32, v: i64) -> String {
    let (hour, minute) = (minute / 60, minute % 60);
    format!(r#"{{"ticker":"{ticker}","timestamp":"2024-06-28T{hour:02}:{minute:02}:00Z","v":{v}}}"#)
}

async fn write(sink: &mut DuckDbSink, stream: StreamId, table: &Arc<Table>, lines: &[String]) {
    sink.write(stream, batch(table, lines)).await.expect("the rows are taken");
}

async fn commit(sink: &mut DuckDbSink, stream: StreamId, progress: &str) {
    sink.commit_one(stream, progress).await.expect("the commit succeeds");
}

/// Commits several streams with the same progress; returns those that were refused.
async fn commit_all(sink: &mut DuckDbSink, streams: &[StreamId], progress: &str) -> Vec<(StreamId, Error)> {
    sink.commit_all(streams, progress).await.expect("the commit succeeds")
}

/// One sink's life: opens, writes each batch, commits once, finishes, closes.
async fn load(
    file: &File,
    table: &Arc<Table>,
    mode: WriteMode,
    progress: &str,
    batches: &[&[String]],
) -> Option<String> {
    let mut sink = file.sink().await;
    let (stream, before) = sink.open_one(&target(table, mode)).await.expect("the stream opens");
    for lines in batches {
        write(&mut sink, stream, table, lines).await;
    }
    commit(&mut sink, stream, progress).await;
    sink.finish(&[stream]).await.expect("the stream finishes");
    before
}

fn refused<T>(result: Result<T>) -> Error {
    result.err().expect("an error was due")
}
