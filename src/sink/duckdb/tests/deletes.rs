//! Rows that are deletes, and rows that are older than what is there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sink::model::{self, Held, Row};

/// A version as JSON.
type Version = fn(u8) -> String;

/// Types that have an order, and a version of each.
const VERSIONS: [(ColumnType, Version); 7] = [
    (ColumnType::Integer, |at| (i64::from(at) - 2).to_string()),
    (ColumnType::Decimal(Width::new(18, 9)), |at| format!("{at}e{at}").replace("e", "0000000000.0")),
    (ColumnType::Double, |at| format!("-1.5e-{at}")),
    (ColumnType::Date, |at| format!("\"20{at}9-01-02\"")),
    (ColumnType::Timestamp, |at| format!("\"2024-01-02T03:04:05.00000000{}Z\"", at + 1)),
    // The first that nanoseconds do not reach makes microseconds of the column.
    (ColumnType::Timestamp, |at| format!("\"{:04}-01-02T00:00:00Z\"", 1 + u16::from(at) * 1600)),
    (ColumnType::Text, |at| format!("\"é{at}\"")),
];

/// `k`, which is the key, `at` and `n`.
fn table(at: ColumnType, version: Option<&str>) -> Arc<Table> {
    named("things", at, version)
}

fn named(name: &str, at: ColumnType, version: Option<&str>) -> Arc<Table> {
    Arc::new(Table {
        version: version.map(str::to_owned),
        ..Table::new(
            name,
            vec![
                column("k", ColumnType::Integer),
                column("at", at),
                column("n", ColumnType::Integer),
                column(EXTRA_COLUMN, ColumnType::Json),
            ],
            &["k"],
        )
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

fn held(file: &File, table: &str) -> BTreeMap<u8, usize> {
    let rows = file.rows(&format!("SELECT k::VARCHAR, n::VARCHAR FROM polygon.{table}"));
    let pair = |row: &String| {
        let (k, n) = row.split_once('|').unwrap();
        (k.parse().unwrap(), n.parse().unwrap())
    };
    let pairs: Vec<_> = rows.iter().map(pair).collect();
    assert_eq!(pairs.iter().map(|(k, _)| k).collect::<std::collections::BTreeSet<_>>().len(), pairs.len());
    pairs.into_iter().collect()
}

/// What one of the streams that commit together is written.
#[derive(Debug, Clone)]
struct Writes {
    commits: Vec<Vec<Vec<Row>>>,
    /// Of which type the versions are, if there are any.
    version: Option<usize>,
    mode: WriteMode,
    /// Of each commit whether its rows come ahead.
    ahead: Vec<bool>,
}

fn writes() -> impl Strategy<Value = Writes> {
    let modes = prop::sample::select(vec![WriteMode::AppendDedup, WriteMode::OverwriteDedup]);
    let ahead = prop::collection::vec(any::<bool>(), 5);
    (model::schedule(), prop::option::of(0..VERSIONS.len()), modes, ahead).prop_map(
        |(commits, version, mode, ahead)| {
            let commits = if version.is_some() { commits } else { model::without_versions(commits) };
            Writes { commits, version, mode, ahead }
        },
    )
}

impl Writes {
    fn table(&self, name: &str) -> Arc<Table> {
        named(name, VERSIONS[self.version.unwrap_or(0)].0, self.version.map(|_| "at"))
    }

    /// Writes the rows of a commit, if it is one of the stream's.
    async fn write(&self, sink: &mut DuckDbSink, stream: StreamId, table: &Arc<Table>, commit: usize) {
        let (_, version) = VERSIONS[self.version.unwrap_or(0)];
        for rows in self.commits.get(commit).into_iter().flatten() {
            let batch = Batch { ahead: self.ahead[commit], ..batch_of(table, rows, version) };
            sink.write(stream, batch).await.unwrap();
        }
    }

    /// What is there after a commit.
    fn expected(&self, commit: usize) -> BTreeMap<u8, usize> {
        let mut held = Held::new();
        let batches = self.commits.iter().take(commit + 1).flatten();
        batches.for_each(|rows| model::write(&mut held, rows));
        held.into_iter().map(|(k, (_, n))| (k, n)).collect()
    }
}

/// Streams whose rows and deletes are committed together, by a sink of its own each time. Of
/// some commits a third stream is refused, and with it the transaction that it was in.
async fn check(file: &File, all: &[Writes; 2], refusals: &[bool]) {
    let names = ["things", "others"];
    let tables = [0, 1].map(|index| all[index].table(names[index]));
    let mut targets = [0, 1].map(|index| target(&tables[index], all[index].mode)).to_vec();
    targets.push(target(&bars(), WriteMode::AppendDedup));
    let commits = all.iter().map(|writes| writes.commits.len()).max().unwrap();
    for (commit, is_refused) in refusals.iter().enumerate().take(commits) {
        let mut sink = file.sink().await;
        let streams = sink.open_all(&targets).await.unwrap();
        all[0].write(&mut sink, streams[0], &tables[0], commit).await;
        if *is_refused {
            let broken = r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
            sink.write(streams[2], batch(&bars(), &[broken])).await.unwrap();
        }
        all[1].write(&mut sink, streams[1], &tables[1], commit).await;
        let refused = commit_all(&mut sink, &streams, "p").await;
        assert_eq!(refused.len(), usize::from(*is_refused), "{refused:?}");
        let is_last = commit + 1 == commits;
        if is_last {
            sink.finish(&streams[..2]).await.unwrap();
        }
        drop(sink);
        for (name, writes) in names.iter().zip(all) {
            if is_last || writes.mode == WriteMode::AppendDedup {
                assert_eq!(held(file, name), writes.expected(commit), "{name}, commit {commit}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What is there is what the model says, after each commit, whoever opened the sink
    /// and wherever rows waited.
    #[test]
    fn tables_hold_what_the_model_says(
        first in writes(), second in writes(), refusals in prop::collection::vec(prop::bool::weighted(0.3), 5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&File::new(), &[first, second], &refusals));
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
    assert_eq!(held(&file, "things"), BTreeMap::from([(1, 1)]));
}
