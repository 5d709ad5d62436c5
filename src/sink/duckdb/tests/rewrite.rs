//! Tables that change while a crash may come: what is in the log has to open.

use super::*;
use crate::batch::{Bound, Extent};
use crate::error::ErrorKind;

/// Types that a column may have, with a value.
const TYPES: [(&str, &str); 14] = [
    ("VARCHAR", r"'it''s'"),
    ("BOOLEAN", "true"),
    ("BIGINT", "-5"),
    ("INTEGER", "5"),
    ("SMALLINT", "5"),
    ("DOUBLE", "0.1"),
    ("FLOAT", "0.5"),
    ("DECIMAL(18,9)", "1.50"),
    ("DECIMAL(30,4)", "100"),
    ("DATE", "'2024-06-28'"),
    ("DATE", "'9999-12-31'"),
    ("TIMESTAMP", "'2024-06-28 13:30:00.5'"),
    ("TIMESTAMP_NS", "'2024-06-28 13:30:00.000000001'"),
    ("JSON", r#"'{"a":[1.50]}'"#),
];

/// And what rows may need of it.
const WANTED: [ColumnType; 9] = [
    ColumnType::Text,
    ColumnType::Boolean,
    ColumnType::Integer,
    ColumnType::Decimal(Width::PRICE),
    DECIMAL,
    ColumnType::Double,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Json,
];

/// `bars` with a column `v` of a type.
fn bars_with(ty: ColumnType) -> Arc<Table> {
    let mut table = (*bars()).clone();
    table.columns[2].ty = ty;
    Arc::new(table)
}

/// A file with two rows, whose column `v` has a type of DuckDB's.
async fn file_with(ty: &str, value: &str) -> File {
    let (file, table) = (File::new(), bars());
    let rows =
        ["A", "B"].map(|ticker| format!(r#"{{"ticker":"{ticker}","timestamp":"2024-06-28T00:00:00Z"}}"#));
    load(&file, &table, WriteMode::AppendDedup, "1", &[&rows]).await;
    let (table, column) = ("polygon.bars", "COMMENT ON COLUMN polygon.bars");
    file.execute(&format!(
        "ALTER TABLE {table} ALTER v TYPE {ty}; UPDATE {table} SET v = {value} WHERE ticker = 'A'; \
         ALTER TABLE {table} ALTER ticker SET DEFAULT 'Z'; {column}.ticker IS 'it''s own'; \
         COMMENT ON TABLE {table} IS 'of bars'"
    ));
    file
}

/// What a table is, with its rows in their order; but for `v`.
const TOLD: [&str; 3] = [
    "SELECT column_name, if(column_name = 'v', '', data_type), column_default, comment \
        FROM duckdb_columns() WHERE table_name = 'bars' ORDER BY column_index",
    "SELECT comment FROM duckdb_tables() WHERE table_name = 'bars'",
    "SELECT ticker, timestamp::VARCHAR, _airbyte_raw_id::VARCHAR FROM polygon.bars",
];

/// And of `v`.
const V: &str = "SELECT ticker, v::VARCHAR, typeof(v) FROM polygon.bars ORDER BY ALL";

/// A crash leaves the change with all that the table was, and after a commit its rows.
#[tokio::test]
async fn a_crash_behind_any_change_of_type_leaves_a_file_that_opens() {
    let mut changed = Vec::new();
    for (have, value) in TYPES {
        let original = file_with(have, value).await;
        let before = original.answers(&TOLD);
        for want in WANTED {
            let (file, table) = (File::new(), bars_with(want));
            std::fs::copy(original.path(), file.path()).unwrap();
            let mut sink = file.sink().await;
            let Ok((stream, _)) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await else {
                continue;
            };
            let opened = file.crashed();
            let row = r#"{"ticker":"C","timestamp":"2024-06-28T00:00:00Z"}"#.to_owned();
            write(&mut sink, stream, &table, &[row]).await;
            commit(&mut sink, stream, "2").await;
            let committed = file.crashed();
            drop(sink);
            let what = format!("{have} to {want:?}");
            let all = [&TOLD[..], &[V]].concat();
            let after = file.answers(&all);
            assert_eq!(committed.answers(&all), after, "{what}");
            let opened = opened.answers(&all);
            let is_new = |line: &&String| !line.starts_with("C|");
            assert_eq!(
                opened.iter().collect::<Vec<_>>(),
                after.iter().filter(is_new).collect::<Vec<_>>(),
                "{what}"
            );
            assert_eq!(opened[..before.len()], before, "{what}");
            if opened.last().is_some_and(|v| !v.ends_with(&format!("|{have}"))) {
                changed.push(what);
            }
        }
    }
    assert_eq!(changed.len(), 37, "{changed:?}");
}

/// What cannot be made anew is told with a statement that does it.
#[tokio::test]
async fn a_table_that_would_lose_something_is_refused_and_can_be_changed_by_hand() {
    let wanted = bars_with(ColumnType::Json);
    for (sql, lost) in [
        ("CREATE INDEX by_v ON polygon.bars (v)", "the index by_v"),
        ("ALTER TABLE polygon.bars ALTER ticker SET NOT NULL", "the constraint NOT NULL"),
    ] {
        let file = file_with("BIGINT", "5").await;
        file.execute(sql);
        let before = file.answers(&TOLD);
        let mut sink = file.sink().await;
        let error = refused(sink.open_one(&target(&wanted, WriteMode::AppendDedup)).await);
        drop(sink);
        assert_eq!(error.kind(), ErrorKind::Table);
        let message = error.user_message();
        assert!(message.contains(&format!("to change its column v, and would lose {lost}")), "{message}");
        assert_eq!(file.answers(&TOLD), before);
        let statements =
            r#"ALTER TABLE "market"."polygon"."bars" ALTER "v" TYPE JSON USING to_json("v"); CHECKPOINT"#;
        assert!(message.contains(statements), "{message}");
        if lost.contains("index") {
            file.execute("DROP INDEX polygon.by_v");
        }
        file.execute(statements);
        load(&file, &wanted, WriteMode::AppendDedup, "2", &[]).await;
    }
}

/// A default that calls a function is in the way of any ALTER of its table.
#[tokio::test]
async fn a_table_with_a_default_that_no_log_brings_back_is_not_altered() {
    let file = file_with("BIGINT", "5").await;
    file.execute("ALTER TABLE polygon.bars ADD COLUMN loaded TIMESTAMP DEFAULT now()::TIMESTAMP");
    let same = bars_with(ColumnType::Integer);
    load(&file, &same, WriteMode::AppendDedup, "2", &[&[bar("C", 1, 1)]]).await;
    assert_eq!(file.rows("SELECT count(loaded)::VARCHAR FROM polygon.bars"), ["3"], "nothing is altered");
    let mut more = (*same).clone();
    more.columns.insert(0, column("fresh", ColumnType::Text));
    let price = bars_with(ColumnType::Decimal(Width::PRICE));
    for table in [Arc::new(more), bars_with(ColumnType::Text), bars_with(ColumnType::Json), price] {
        let mut sink = file.sink().await;
        let error = refused(sink.open_one(&target(&table, WriteMode::AppendDedup)).await);
        assert_eq!(error.kind(), ErrorKind::Table);
        let message = error.user_message();
        assert!(message.contains("its column loaded has the default"), "{message}");
        assert!(message.contains(r#"ALTER "loaded" DROP DEFAULT; CHECKPOINT"#), "{message}");
    }
}

/// Rows of numbers, with a text of about a megabyte in each.
fn large(table: &Arc<Table>, ids: std::ops::Range<u32>, v: &str) -> Batch {
    let mut batch = batch(table, &[]);
    let text = "x".repeat(1 << 20);
    for id in ids {
        batch.rows.push(format!(r#"{{"id":{id},"day":"2024-06-28","t":"{text}","v":{v}}}"#).as_bytes());
    }
    batch
}

fn numbers(key: &[&str]) -> Arc<Table> {
    Arc::new(Table {
        cursor: Some("day".to_owned()),
        ..Table::new(
            "numbers",
            vec![
                column("id", ColumnType::Integer),
                column("day", ColumnType::Date),
                column("t", ColumnType::Text),
                column("v", ColumnType::Decimal(Width::PRICE)),
                column(EXTRA_COLUMN, ColumnType::Json),
            ],
            key,
        )
    })
}

const NUMBERS: &str = "SELECT v::VARCHAR, count(*)::VARCHAR, count(DISTINCT id)::VARCHAR, \
    min(length(t))::VARCHAR FROM polygon.numbers GROUP BY 1 ORDER BY 1";

/// More than is kept to be loaded again: the table is made anew with its column wider.
#[tokio::test]
async fn a_column_is_widened_behind_many_rows_that_replaced_others() {
    let derived = "INSERT INTO polygon.derived SELECT id, v::VARCHAR FROM {batch} AS b";
    for derives in [false, true] {
        let (file, table) = (File::new(), numbers(&["id"]));
        let mut target = target(&table, WriteMode::AppendDedup);
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target).await.unwrap();
        sink.write(stream, large(&table, 0..4, "0.5")).await.unwrap();
        commit(&mut sink, stream, "1").await;
        drop(sink);
        if derives {
            file.execute("CREATE TABLE polygon.derived (id BIGINT, v VARCHAR)");
            target.derived.push(derived.into());
        }
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target).await.unwrap();
        for first in (0..66).step_by(22) {
            sink.write(stream, large(&table, first..first + 22, "1.5")).await.unwrap();
        }
        sink.write(stream, large(&table, 65..67, "2.00000000000025")).await.unwrap();
        sink.write(stream, large(&table, 66..67, "12345678901.5")).await.unwrap();
        commit(&mut sink, stream, "2").await;
        let crashed = file.crashed();
        drop(sink);
        let expected = [
            "1.50000000000000|65|65|1048576",
            "12345678901.50000000000000|1|1|1048576",
            "2.00000000000025|1|1|1048576",
        ];
        assert_eq!(file.rows(NUMBERS), expected);
        assert_eq!(crashed.rows(NUMBERS), expected);
        if derives {
            assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.derived"), ["67"]);
        }
    }
}

/// Rows ahead wait in the table itself where none has a key, and parts of it may go.
#[tokio::test]
async fn a_column_is_widened_behind_a_part_that_rows_ahead_replaced() {
    let (file, table) = (File::new(), numbers(&[]));
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    let row = |id: u8, v: &str| vec![format!(r#"{{"id":{id},"day":"2024-06-28","t":"x","v":{v}}}"#)];
    write(&mut sink, stream, &table, &row(1, "0.5")).await;
    commit(&mut sink, stream, "1").await;
    let from = Bound::Day(jiff::civil::date(2024, 6, 28));
    let part = Extent { partition: None, cursor: "day".to_owned(), from, until: None };
    let first = Batch { ahead: true, replaces: vec![part], ..batch(&table, &row(2, "1.5")) };
    sink.write(stream, first).await.unwrap();
    let second = Batch { ahead: true, ..batch(&table, &row(3, "12345678901.5")) };
    sink.write(stream, second).await.unwrap();
    commit(&mut sink, stream, "2").await;
    drop(sink);
    assert_eq!(file.rows(NUMBERS), ["1.500000000|1|1|1", "12345678901.500000000|1|1|1"]);
}
