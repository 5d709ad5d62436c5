//! Tables that learn columns while their rows come.

use super::cut::{cut_everywhere, sink_to_cut};
use super::*;

/// `trades` with columns that it learns, as many as are named.
fn grown(more: usize) -> Arc<Table> {
    let columns = [
        column("t", ColumnType::Text),
        column("n", ColumnType::Decimal(Width::PRICE)),
        column("j", ColumnType::Json),
        column("b", ColumnType::Boolean),
    ];
    Arc::new(table().grown(&columns[..more]).unwrap())
}

fn growing(mode: WriteMode) -> Target {
    Target { grows: true, ..target(mode) }
}

async fn add(sink: &mut SnowflakeSink, stream: StreamId, more: usize, rows: &[&str], ahead: bool) {
    let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
    sink.write(stream, Batch { table: grown(more), ahead, ..batch(&rows) }).await.unwrap();
}

async fn evolve(sink: &mut SnowflakeSink, stream: StreamId, more: usize) {
    sink.evolve(stream, grown(more)).await.unwrap_or_else(|error| panic!("{}", error.report()));
}

const FIRST: &str = r#"{"ticker":"A","id":1,"price":1.5}"#;
const SECOND: &str = r#"{"ticker":"A","id":2,"price":2.5}"#;
/// With digits that the column that was learned has not, also when it learns another.
const THIRD: &str = r#"{"ticker":"A","id":3,"price":3.5,"t":"x","n":0.00000000000025,"j":{"y":[1]}}"#;
const FOURTH: &str = r#"{"ticker":"A","id":1,"price":4,"t":"z","n":0.25,"j":"text","b":true}"#;

/// Every row, sorted.
async fn all(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let text = |name: &str| format!("COALESCE(CAST(\"{name}\" AS VARCHAR), '-')");
    let number = |name: &str, scale: u8| {
        format!("COALESCE(CAST(CAST(\"{name}\" AS NUMBER(38,{scale})) AS VARCHAR), '-')")
    };
    let parts = [text("ID"), number("PRICE", 1), text("T"), number("N", 14), text("J"), text("B")];
    let sql = format!(
        "SELECT {} FROM \"INTEGRATION\".\"{}\".\"TRADES\" ORDER BY 1",
        parts.join(" || '|' || "),
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// Rows before, ahead or not, and rows that need wider columns than those that were learned.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn rows_before_and_after_are_there_in_every_mode() {
    let modes = [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite, WriteMode::OverwriteDedup];
    for (mode, ahead) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&growing(mode)).await.unwrap();
        add(&mut sink, stream, 0, &[FIRST], false).await;
        sink.commit_one(stream, "1").await.unwrap();
        if ahead {
            add(&mut sink, stream, 0, &[SECOND], true).await;
        }
        evolve(&mut sink, stream, 3).await;
        add(&mut sink, stream, 3, if ahead { &[THIRD] } else { &[SECOND, THIRD] }, ahead).await;
        if !ahead {
            sink.commit_one(stream, "2").await.unwrap();
        }
        evolve(&mut sink, stream, 4).await;
        add(&mut sink, stream, 4, &[FOURTH], ahead).await;
        sink.commit_one(stream, "3").await.unwrap();
        sink.finish(&[stream]).await.unwrap();
        let mut expected = vec![
            "1|1.5|-|-|-|-",
            "1|4.0|z|0.25000000000000|text|true",
            "2|2.5|-|-|-|-",
            "3|3.5|x|0.00000000000025|{\"y\":[1]}|-",
        ];
        if mode.replaces_by_key() {
            expected.remove(0);
        }
        let found: Vec<String> = all(&sink, &schema)
            .await
            .iter()
            .map(|row| row.replace("\"text\"", "text").replace(' ', ""))
            .collect();
        assert_eq!(found, expected, "{mode:?} {ahead}");
    }
}

/// They stay when rows that brought them are taken back, and for a run that does not know them.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn columns_stay_whatever_becomes_of_rows() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&growing(WriteMode::Append)).await.unwrap();
    add(&mut sink, stream, 0, &[FIRST], true).await;
    evolve(&mut sink, stream, 4).await;
    add(&mut sink, stream, 4, &[FOURTH], true).await;
    sink.rollback(stream).await.unwrap();
    add(&mut sink, stream, 4, &[THIRD], true).await;
    sink.commit_one(stream, "1").await.unwrap();
    for more in [0, 2] {
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&growing(WriteMode::Append)).await.unwrap();
        if more > 0 {
            evolve(&mut sink, stream, more).await;
        }
        add(&mut sink, stream, more, &[SECOND], false).await;
        sink.commit_one(stream, "2").await.unwrap();
    }
    let found = all(&sink, &schema).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[2].starts_with("3|3.5|x|0.00000000000025"), "{found:?}");
}

/// Whoever was overtaken changes no table, and a column that is another one is refused.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn who_may_not_changes_nothing() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&growing(WriteMode::AppendDedup)).await.unwrap();
    let mut other = connect(&schema).await;
    let (theirs, _) = other.open_one(&growing(WriteMode::AppendDedup)).await.unwrap();
    let error = sink.evolve(stream, grown(4)).await.unwrap_err();
    assert_eq!((error.kind(), error.stream()), (ErrorKind::Conflict, Some("trades")), "{}", error.report());
    let place = format!("\"INTEGRATION\".\"{}\"", schema.to_uppercase());
    let columns = "SELECT CAST(COUNT(*) AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.COLUMNS WHERE COLUMN_NAME = 'T' AND TABLE_SCHEMA =";
    let columns = format!("{columns} '{}'", schema.to_uppercase());
    assert_eq!(one(&other, &columns).await.as_deref(), Some("0"));

    other.query(&format!("ALTER TABLE {place}.\"TRADES\" ADD COLUMN \"T\" BINARY")).await.unwrap();
    let error = other.evolve(theirs, grown(4)).await.unwrap_err();
    assert_eq!((error.kind(), error.stream()), (ErrorKind::Table, Some("trades")), "{}", error.report());
    let added = columns.replace("'T'", "'B'");
    assert_eq!(one(&other, &added).await.as_deref(), Some("0"), "nothing was changed");
}

/// Reads again what no progress is past, as a source does.
async fn go_on(sink: &mut SnowflakeSink) {
    let (stream, progress) = sink.open_one(&growing(WriteMode::AppendDedup)).await.unwrap();
    if progress.is_none() {
        add(sink, stream, 0, &[FIRST, SECOND], false).await;
        sink.commit_one(stream, "1").await.unwrap();
    }
    if progress.as_deref() != Some("2") {
        add(sink, stream, 0, &[r#"{"ticker":"A","id":5,"price":5}"#], true).await;
        evolve(sink, stream, 4).await;
        add(sink, stream, 4, &[THIRD, FOURTH], true).await;
        sink.commit_one(stream, "2").await.unwrap();
    }
}

#[tokio::test]
#[ignore = "part of a_table_that_learns_can_be_cut_anywhere"]
async fn the_process_whose_table_learns() {
    if let Some((mut sink, _)) = sink_to_cut().await {
        go_on(&mut sink).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_table_that_learns_can_be_cut_anywhere() {
    let prepare = async |_: &SnowflakeSink, _: &str| {};
    let judge = async |mut sink: SnowflakeSink, schema: &str, point: u64| {
        go_on(&mut sink).await;
        let ids: Vec<String> = all(&sink, schema).await;
        let heads: Vec<&str> = ids.iter().map(|row| &row[..8.min(row.len())]).collect();
        assert_eq!(heads, ["1|4.0|z|", "2|2.5|-|", "3|3.5|x|", "5|5.0|-|"], "cut at {point}: {ids:?}");
    };
    let points = cut_everywhere("snowflake::grow::the_process_whose_table_learns", prepare, judge).await;
    assert!(points > 25, "{points} statements");
}
