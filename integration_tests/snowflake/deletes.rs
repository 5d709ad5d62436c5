//! Rows that are deletes, and rows that are older than what is there.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

#[path = "../../src/sink/model.rs"]
mod model;

use model::{Held, Row};

/// `k`, which is the key, `at` and `n`.
fn keyed(version: Option<&str>) -> Arc<Table> {
    Arc::new(Table {
        version: version.map(str::to_owned),
        ..Table::new(
            "trades",
            vec![
                column("k", ColumnType::Integer),
                column("at", ColumnType::Timestamp),
                column("n", ColumnType::Integer),
            ],
            &["k"],
        )
    })
}

fn batch_of(table: &Arc<Table>, rows: &[Row]) -> Batch {
    let mut all = Batch { table: Arc::clone(table), ..batch(&[]) };
    for Row { k, at, n, is_delete } in rows {
        let at = at.map_or("null".to_owned(), |at| format!("\"2024-01-02T03:04:0{at}Z\""));
        let n = if *is_delete { "null".to_owned() } else { n.to_string() };
        all.rows.push(format!(r#"{{"k":{k},"at":{at},"n":{n}}}"#).as_bytes());
        if *is_delete {
            all.rows.delete_last();
        }
    }
    all
}

async fn held(sink: &SnowflakeSink, schema: &str) -> Vec<(u8, usize)> {
    let sql = format!(
        "SELECT CAST(\"K\" AS VARCHAR), CAST(\"N\" AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"TRADES\" ORDER BY \"K\"",
        schema.to_uppercase()
    );
    let number = |cell: &Option<String>| cell.as_deref().expect("a number").parse::<usize>().unwrap();
    let rows = sink.query(&sql).await.unwrap();
    rows.iter().map(|row| (number(&row[0]) as u8, number(&row[1]))).collect()
}

/// Writes what the schedule says, and looks after each commit. What a commit holds is
/// taken together.
async fn judge(server: &str, commits: &[Vec<Vec<Row>>], mode: WriteMode, is_versioned: bool) {
    let (schema, table) = (schema(), keyed(is_versioned.then_some("at")));
    let mut expected = Held::new();
    for (index, batches) in commits.iter().enumerate() {
        let mut sink = SnowflakeSink::connect(&config_at(server, &schema)).await.unwrap();
        let target = Target::new("pipeline", "trades", Arc::clone(&table), mode);
        let (stream, _) = sink.open_one(&target).await.unwrap();
        for rows in batches {
            sink.write(stream, batch_of(&table, rows)).await.unwrap();
        }
        sink.commit_one(stream, &format!("p{index}")).await.unwrap();
        let is_last = index + 1 == commits.len();
        if is_last {
            sink.finish(&[stream]).await.unwrap();
        }
        model::write(&mut expected, batches.iter().flatten());
        if is_last || mode == WriteMode::AppendDedup {
            let expected: BTreeMap<u8, usize> = expected.iter().map(|(k, (_, n))| (*k, *n)).collect();
            let expected: Vec<(u8, usize)> = expected.into_iter().collect();
            assert_eq!(held(&sink, &schema).await, expected, "after commit {index}");
        }
    }
}

/// Of each kind one: what is older than the row, as old, newer, and of no version.
fn one_of_each() -> Vec<Vec<Vec<Row>>> {
    let row = |k, at, n, is_delete| Row { k, at, n, is_delete };
    let held = (0..8).map(|k| row(k, Some(2), usize::from(k), false)).collect();
    let versions = [Some(1), Some(2), Some(3), None];
    let then = |k: u8| row(k, versions[usize::from(k % 4)], 10 + usize::from(k), k < 4);
    vec![vec![held], vec![(0..8).map(then).collect()]]
}

/// Runs schedules against a server, which replaces rows in its way.
fn judge_all(server: &str) {
    let modes = prop::sample::select(vec![WriteMode::AppendDedup, WriteMode::OverwriteDedup]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for is_versioned in [true, false] {
        let commits = one_of_each();
        let commits = if is_versioned { commits } else { model::without_versions(commits) };
        runtime.block_on(judge(server, &commits, WriteMode::AppendDedup, is_versioned));
    }
    let config = Config { cases: 10, max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    let schedules = (model::schedule(), modes, prop::bool::ANY);
    let judged = TestRunner::new(config).run(&schedules, |(commits, mode, is_versioned)| {
        let commits = if is_versioned { commits } else { model::without_versions(commits) };
        runtime.block_on(judge(server, &commits, mode, is_versioned));
        Ok(())
    });
    judged.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
fn the_table_holds_what_the_model_says_by_delete_and_insert() {
    judge_all("TAPELINE_FAKESNOW");
}

#[test]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
fn the_table_holds_what_the_model_says_by_merge() {
    judge_all("TAPELINE_FAKESNOW_MENDED");
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn where_rows_are_added_a_delete_is_one_of_them() {
    let (schema, table) = (schema(), keyed(Some("at")));
    let mut sink = connect(&schema).await;
    let target = Target::new("pipeline", "trades", Arc::clone(&table), WriteMode::Append);
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let row = |at, is_delete| Row { k: 1, at: Some(at), n: usize::from(at), is_delete };
    sink.write(stream, batch_of(&table, &[row(4, false), row(3, true)])).await.unwrap();
    sink.commit_one(stream, "p").await.unwrap();
    let count = format!(
        "SELECT CAST(COUNT(*) || '/' || COUNT(\"N\") AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"TRADES\"",
        schema.to_uppercase()
    );
    assert_eq!(one(&sink, &count).await.as_deref(), Some("2/1"));
}
