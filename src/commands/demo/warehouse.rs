//! What the demo reads back from its DuckDB file.

use std::path::Path;

use duckdb::{AccessMode, Config, Connection};
use jiff::civil::Date;

use super::chart::Candle;
use crate::calendar;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::table::Table;

/// The schema that holds the tables.
pub const SCHEMA: &str = "polygon";

/// The demo's pipeline.
const PIPELINE: &str = "demo";

/// A table's size and span.
#[derive(Debug)]
pub struct Extent {
    /// Rows.
    pub rows: u64,
    /// First and last day of the cursor column, where there is one.
    pub days: Option<(String, String)>,
}

/// Opens the file for reading.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> Result<Connection> {
    let config = Config::default()
        .access_mode(AccessMode::ReadOnly)
        .and_then(|config| config.enable_autoload_extension(false));
    config
        .and_then(|config| Connection::open_with_flags(path, config))
        .or_fail(ErrorKind::Sink, || format!("cannot open {}", path.display()))
}

/// Takes away the file of an earlier demo.
///
/// # Errors
/// [`ErrorKind::Config`] when the file is not a demo's: it stays.
pub fn remove_earlier(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let foreign = |error: Option<Error>| {
        let refusal = Error::config(format!("{} was not made by the demo", path.display()))
            .hint("choose another folder with `--dir`, or move the file away");
        match error {
            Some(error) => refusal.caused_by(error),
            None => refusal,
        }
    };
    match open(path).and_then(|connection| is_own(&connection)) {
        Ok(true) => {}
        Ok(false) => return Err(foreign(None)),
        Err(error) => return Err(foreign(Some(error))),
    }
    for suffix in ["", ".wal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(
                    Error::new(ErrorKind::Io, format!("cannot remove {}", path.display())).caused_by(error)
                );
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether a database holds nothing but what a demo wrote, or nothing at all.
fn is_own(connection: &Connection) -> Result<bool> {
    let one = |sql: &str| -> Result<u64> {
        connection
            .query_row(sql, [], |row| row.get(0))
            .or_fail(ErrorKind::Sink, || "cannot list the tables".to_owned())
    };
    let elsewhere = one(&format!("SELECT count(*) FROM duckdb_tables() WHERE schema_name <> '{SCHEMA}'"))?;
    let progress = format!(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = '{SCHEMA}' AND table_name = '_tapeline_streams'"
    );
    let tables = one(&format!("SELECT count(*) FROM duckdb_tables() WHERE schema_name = '{SCHEMA}'"))?;
    if elsewhere > 0 || (one(&progress)? == 0 && tables > 0) {
        return Ok(false);
    }
    if tables == 0 {
        return Ok(true);
    }
    let others = format!("SELECT count(*) FROM {SCHEMA}._tapeline_streams WHERE pipeline <> '{PIPELINE}'");
    Ok(one(&others)? == 0)
}

/// How large a table is and what it spans.
///
/// # Errors
/// When it cannot be read.
pub fn extent(connection: &Connection, table: &Table) -> Result<Extent> {
    let failed = || format!("cannot read the table {}", table.name);
    let name = &table.name;
    let rows = connection
        .query_row(&format!("SELECT count(*) FROM {SCHEMA}.\"{name}\""), [], |row| row.get(0))
        .or_fail(ErrorKind::Sink, failed)?;
    let Some(cursor) = &table.cursor else { return Ok(Extent { rows, days: None }) };
    let day = |aggregate: &str| format!("CAST(CAST({aggregate}(\"{cursor}\") AS DATE) AS VARCHAR)");
    let sql = format!("SELECT {}, {} FROM {SCHEMA}.\"{name}\"", day("min"), day("max"));
    let span = |row: &duckdb::Row<'_>| -> duckdb::Result<(Option<String>, Option<String>)> {
        Ok((row.get(0)?, row.get(1)?))
    };
    let (first, last) = connection.query_row(&sql, [], span).or_fail(ErrorKind::Sink, failed)?;
    Ok(Extent { rows, days: first.zip(last) })
}

/// The daily bars of a ticker, oldest first.
///
/// # Errors
/// When they cannot be read.
pub fn daily_candles(connection: &Connection, ticker: &str) -> Result<Vec<Candle>> {
    let sql = format!(
        "SELECT CAST(date AS VARCHAR), CAST(open AS DOUBLE), CAST(high AS DOUBLE), CAST(low AS DOUBLE), \
         CAST(close AS DOUBLE), CAST(volume AS DOUBLE) FROM {SCHEMA}.stock_daily_bars WHERE ticker = ? ORDER BY date"
    );
    let candle = |row: &duckdb::Row<'_>| {
        Ok(Candle {
            day: row.get(0)?,
            open: row.get(1)?,
            high: row.get(2)?,
            low: row.get(3)?,
            close: row.get(4)?,
            volume: row.get(5)?,
        })
    };
    let read = || -> duckdb::Result<Vec<Candle>> {
        connection.prepare(&sql)?.query_map([ticker], candle)?.collect()
    };
    read().or_fail(ErrorKind::Sink, || "cannot read stock_daily_bars".to_owned())
}

/// The closes of a ticker's minute bars in the regular session of a day, oldest first.
///
/// # Errors
/// When they cannot be read.
pub fn minute_closes(connection: &Connection, ticker: &str, day: Date) -> Result<Vec<f64>> {
    let Some(session) = calendar::session(day) else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT CAST(close AS DOUBLE) FROM {SCHEMA}.stock_bars_1_minute WHERE ticker = ? \
         AND timestamp >= make_timestamp_ns(?) AND timestamp < make_timestamp_ns(?) ORDER BY timestamp"
    );
    let nanos = |moment: jiff::Timestamp| moment.as_second() * 1_000_000_000;
    let (open, close) = (nanos(session.open), nanos(session.close));
    let read = || -> duckdb::Result<Vec<f64>> {
        connection.prepare(&sql)?.query_map(duckdb::params![ticker, open, close], |row| row.get(0))?.collect()
    };
    read().or_fail(ErrorKind::Sink, || "cannot read stock_bars_1_minute".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_demo_s_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            (
                "own",
                "CREATE SCHEMA polygon; CREATE TABLE polygon._tapeline_streams AS SELECT 'demo' AS pipeline",
                true,
            ),
            ("empty", "SELECT 1", true),
            (
                "other_pipeline",
                "CREATE SCHEMA polygon; CREATE TABLE polygon._tapeline_streams AS SELECT 'us' AS pipeline",
                false,
            ),
            ("no_progress", "CREATE SCHEMA polygon; CREATE TABLE polygon.splits (id INTEGER)", false),
            ("foreign", "CREATE TABLE mine (id INTEGER)", false),
        ];
        for (name, sql, removed) in cases {
            let path = folder.path().join(name);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            assert_eq!(remove_earlier(&path).is_ok(), removed, "{name}");
            assert_eq!(path.exists(), !removed, "{name}");
        }
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "not a database").unwrap();
        assert_eq!(remove_earlier(&text).unwrap_err().kind(), ErrorKind::Config);
        assert!(text.exists());
        remove_earlier(&folder.path().join("absent")).unwrap();
    }
}
