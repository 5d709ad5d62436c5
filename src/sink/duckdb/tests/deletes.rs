//! Rows that are deletes, and rows that are older than what is there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sink::model::{self, Held, Row};

/// A version as JSON.
type Version = fn(u8) -> String;

/// Types that have an order, and a version of each.
const VERSIONS: [(ColumnType, Version); 6] = [
    (ColumnType::Integer, |at| (i64::from(at) - 2).to_string()),
    (ColumnType::Decimal(Width::new(18, 9)), |at| format!("{at}e{at}").replace("e", "0000000000.0")),
    (ColumnType::Double, |at| format!("-1.5e-{at}")),
    (ColumnType::Date, |at| format!("\"20{at}9-01-02\"")),
    (ColumnType::Timestamp, |at| format!("\"2024-01-02T03:04:05.00000000{}Z\"", at + 1)),
    (ColumnType::Text, |at| format!("\"é{at}\"")),
];

/// `k`, which is the key, `at` and `n`.
fn table(at: ColumnType, version: Option<&str>) -> Arc<Table> {
    Arc::new(Table {
        name: "things".to_owned(),
        columns: vec![
            column("k", ColumnType::Integer),
            column("at", at),
            column("n", ColumnType::Integer),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        key: vec!["k".to_owned()],
        cursor: None,
        version: version.map(str::to_owned),
    })
}

fn batch_of(table: &Arc<Table>, rows: &[Row], version: Version) -> Batch {
    let mut all = batch(table, &[]);
    for Row { k, at, n, is_delete } in rows {
        let at = at.map_or("null".to_owned(), version);
        match is_delete {
            true => all.rows.push(format!(r#"{{"k":{k},"at":{at}}}"#).as_bytes()),
            false => all.rows.push(format!(r#"{{"k":{k},"at":{at},"n":{n}}}"#).as_bytes()),
        }
        if *is_delete {
            all.rows.delete_last();
        }
    }
    all
}

fn held(file: &File) -> BTreeMap<u8, usize> {
    let rows = file.rows("SELECT k::VARCHAR, n::VARCHAR FROM polygon.things");
    let pair = |row: &String| {
        let (k, n) = row.split_once('|').unwrap();
        (k.parse().unwrap(), n.parse().unwrap())
    };
    let pairs: Vec<_> = rows.iter().map(pair).collect();
    assert_eq!(pairs.iter().map(|(k, _)| k).collect::<std::collections::BTreeSet<_>>().len(), pairs.len());
    pairs.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is there is what the model says, after each commit, whoever opened the sink.
    #[test]
    fn the_table_holds_what_the_model_says(
        commits in model::schedule(), ty in 0..VERSIONS.len(), is_versioned: bool,
        mode in prop::sample::select(vec![WriteMode::AppendDedup, WriteMode::OverwriteDedup]), ahead: bool,
    ) {
        let commits = if is_versioned { commits } else { model::without_versions(commits) };
        let (ty, version) = VERSIONS[ty];
        let table = table(ty, is_versioned.then_some("at"));
        let file = File::new();
        let mut expected = Held::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (index, batches) in commits.iter().enumerate() {
            runtime.block_on(async {
                let mut sink = file.sink().await;
                let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
                for rows in batches {
                    let batch = Batch { ahead, ..batch_of(&table, rows, version) };
                    sink.write(stream, batch).await.unwrap();
                }
                commit(&mut sink, stream, "p").await;
                if index + 1 == commits.len() {
                    sink.finish(&[stream]).await.unwrap();
                }
            });
            batches.iter().for_each(|rows| model::write(&mut expected, rows));
            if index + 1 == commits.len() || mode == WriteMode::AppendDedup {
                let expected: BTreeMap<u8, usize> = expected.iter().map(|(k, (_, n))| (*k, *n)).collect();
                prop_assert_eq!(held(&file), expected);
            }
        }
    }
}

fn row(k: u8, at: Option<u8>, n: usize, is_delete: bool) -> Row {
    Row { k, at, n, is_delete }
}

#[tokio::test]
async fn where_rows_are_added_a_delete_is_one_of_them() {
    for (mode, key) in [
        (WriteMode::Append, vec!["k".to_owned()]),
        (WriteMode::Overwrite, vec!["k".to_owned()]),
        (WriteMode::AppendDedup, Vec::new()),
    ] {
        let (ty, version) = VERSIONS[0];
        let (file, table) = (File::new(), Arc::new(Table { key, ..(*table(ty, Some("at"))).clone() }));
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
        let rows = [row(1, Some(4), 1, false), row(1, Some(3), 2, true)];
        sink.write(stream, batch_of(&table, &rows, version)).await.unwrap();
        commit(&mut sink, stream, "p").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        let all = "SELECT \"at\"::VARCHAR, coalesce(n::VARCHAR, 'NULL') FROM polygon.things ORDER BY ALL";
        assert_eq!(file.rows(all), ["1|NULL", "2|1"], "{mode:?}");
    }
}

/// The rest of a batch with deletes has its own metadata, and nothing of the deletes' is left.
#[tokio::test]
async fn what_was_said_of_rows_stays_with_them_beside_deletes() {
    let (file, table) = (File::new(), table(ColumnType::Integer, None));
    let mut batch = batch(&table, &[]);
    for (k, is_delete) in [(1, true), (2, false), (1, false), (3, true), (4, false)] {
        batch.rows.note(&format!(r#"{{"of":{k}}}"#));
        batch.rows.push(format!(r#"{{"k":{k}}}"#).as_bytes());
        if is_delete {
            batch.rows.delete_last();
        }
    }
    batch.extracted_at = ExtractedAt::Each(vec![1000, 2000, 3000, 4000, 5000]);
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    sink.write(stream, batch).await.unwrap();
    commit(&mut sink, stream, "p").await;
    drop(sink);
    let all = "SELECT k::VARCHAR, epoch_ms(_airbyte_extracted_at)::VARCHAR, _airbyte_meta::VARCHAR FROM polygon.things ORDER BY k";
    assert_eq!(
        file.rows(all),
        [
            r#"1|3000|{"changes":[{"of":1}]}"#,
            r#"2|2000|{"changes":[{"of":2}]}"#,
            r#"4|5000|{"changes":[{"of":4}]}"#
        ]
    );
}

#[tokio::test]
async fn deletes_that_were_not_committed_took_nothing() {
    let (file, table) = (File::new(), table(ColumnType::Integer, None));
    let number = |at: u8| at.to_string();
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
    sink.write(stream, batch_of(&table, &[row(1, None, 1, false)], number)).await.unwrap();
    commit(&mut sink, stream, "p").await;
    sink.write(stream, batch_of(&table, &[row(1, None, 2, true)], number)).await.unwrap();
    drop(sink);
    assert_eq!(held(&file), BTreeMap::from([(1, 1)]));
}
