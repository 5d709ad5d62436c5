//! The sink over a warehouse that answers by rules: what fakesnow cannot do.

use std::sync::{Arc, Mutex};

use super::client::Answer;
use super::layer::server_code;
use super::layer::tests::refused_with;
use super::*;
use crate::batch::{ExtractedAt, Rows};
use crate::sink::quarantine::tests::reject;
use crate::sink::{Portion, Shardless};
use crate::table::{Column, ColumnType, Metadata, Table};

/// What a statement is answered with, if it is not as usual.
type Rule = Box<dyn Fn(&str) -> Option<Result<Answer>> + Send + Sync>;

/// Answers as Snowflake does when all is well, unless the rule says otherwise.
struct Scripted {
    log: Arc<Mutex<Vec<String>>>,
    /// Version and epoch of the stream's row.
    at: Mutex<(i64, i64)>,
    rule: Rule,
}

#[async_trait]
impl Warehouse for Scripted {
    async fn execute(&self, statement: Statement) -> Result<Answer> {
        let sql = statement.sql;
        self.log.lock().unwrap().push(sql.clone());
        if let Some(answer) = (self.rule)(&sql) {
            return answer;
        }
        let mut at = self.at.lock().unwrap();
        if sql.starts_with("UPDATE") {
            at.0 += 1;
            at.1 += i64::from(sql.contains(" \"EPOCH\" = ?, \"VERSION\" = ?"));
            return Ok(vec![vec![Some("1".to_owned()), Some("0".to_owned())]]);
        }
        if sql.starts_with("SELECT CAST(\"PIPELINE\"") {
            return Ok(vec![row(at.0, at.1)]);
        }
        Ok(Vec::new())
    }

    async fn upload(&self, place: &str, name: &str, _: Bytes) -> Result<()> {
        self.log.lock().unwrap().push(format!("PUT {place}{name}"));
        Ok(())
    }
}

/// A stream's row.
fn row(version: i64, epoch: i64) -> Vec<Option<String>> {
    let [version, epoch] = [version, epoch].map(|number| number.to_string());
    let cells = ["p", "t", "t", "false", &epoch, &version, "0"];
    cells.map(|cell| Some(cell.to_owned())).into_iter().chain([None]).collect()
}

fn table() -> Arc<Table> {
    Arc::new(Table::new(
        "t",
        vec![Column { name: "k".to_owned(), ty: ColumnType::Integer, doc: String::new() }],
        &["k"],
    ))
}

/// A sink with one open stream of two written rows, and the log from then on.
async fn written(rule: Rule) -> (SnowflakeSink, StreamId, Arc<Mutex<Vec<String>>>) {
    let (mut sink, stream, log) = opened(WriteMode::AppendDedup, rule).await;
    let mut rows = Rows::default();
    rows.push(br#"{"k":1}"#);
    rows.push(br#"{"k":2}"#);
    let batch = Batch::new(table(), rows, ExtractedAt::All(0));
    sink.write(stream, batch).await.unwrap();
    log.lock().unwrap().clear();
    (sink, stream, log)
}

/// A sink with one open stream, and the log.
async fn opened(mode: WriteMode, rule: Rule) -> (SnowflakeSink, StreamId, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let session = Scripted { log: Arc::clone(&log), at: Mutex::new((7, 3)), rule };
    let place = Place { database: "d".to_owned(), schema: "s".to_owned() };
    let mut sink = SnowflakeSink::over(Box::new(session), place, "w").await.unwrap();
    let (stream, _) = sink.open_one(&Target::new("p", "t", table(), mode)).await.unwrap();
    (sink, stream, log)
}

/// The first words of each statement.
fn heads(log: &Mutex<Vec<String>>) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter().map(|sql| sql.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

fn usual() -> Rule {
    Box::new(|_| None)
}

/// `answer` to every statement that begins with `head`.
fn when(head: &'static str, answer: impl Fn() -> Result<Answer> + Send + Sync + 'static) -> Rule {
    Box::new(move |sql| sql.starts_with(head).then(&answer))
}

#[tokio::test]
async fn rows_and_progress_are_one_transaction_without_ddl() {
    let (mut sink, stream, log) = written(usual()).await;
    sink.commit_one(stream, "next").await.unwrap();
    let heads = heads(&log);
    assert!(heads[0].starts_with("PUT @\"_TAPELINE_STAGE\"/"), "{heads:?}");
    assert_eq!(
        heads[1..10],
        [
            "BEGIN TRANSACTION",
            "COPY INTO",
            "MERGE INTO",
            "UPDATE \"D\".\"S\".\"_TAPELINE_STREAMS\"",
            "DELETE FROM",
            "INSERT INTO",
            "COMMIT",
            "SELECT CAST(\"PIPELINE\"",
            heads[9].as_str()
        ]
    );
    assert!(heads[9].starts_with("REMOVE @\"_TAPELINE_STAGE\"/"));
    let update = log.lock().unwrap()[4].clone();
    assert!(
        update.ends_with("AND \"VERSION\" = ? AND (SELECT COUNT(*) FROM \"_TAPELINE_LOAD\") = ?"),
        "{update}"
    );
}

/// Progress is past them only when they are there.
#[tokio::test]
async fn rejected_rows_are_in_the_transaction_of_the_progress_past_them() {
    let (mut sink, stream, log) = written(usual()).await;
    let text = String::new;
    let moves = vec![crate::sink::Move { shard: "".into(), position: Some("next".to_owned()) }];
    let rejected = ["1", "2", "2"].map(|row| reject("A", "none", row));
    let portion = Portion { rejected: &rejected, ..Portion::new(stream, moves, &text) };
    assert!(sink.commit(&[portion]).await.unwrap().is_empty());
    let heads = heads(&log);
    let expected = [
        "BEGIN TRANSACTION",
        "COPY INTO",
        "MERGE INTO",
        "INSERT INTO",
        "UPDATE \"D\".\"S\".\"_TAPELINE_STREAMS\"",
    ];
    assert_eq!(heads[1..6], expected);
    let log = log.lock().unwrap();
    assert!(log[4].starts_with("INSERT INTO \"D\".\"S\".\"_TAPELINE_REJECTED\" "), "{}", log[4]);
    let (_, kept) =
        log[5].split_once("= ? AND (SELECT COUNT(*) FROM \"D\".\"S\".\"_TAPELINE_REJECTED\"").unwrap();
    assert!(kept.ends_with(") >= 2") && kept.matches('\'').count() == 4, "{kept}");
}

#[tokio::test]
async fn nothing_is_committed_when_not_all_rows_were_loaded() {
    let none = || Ok(vec![vec![Some("0".to_owned()), Some("0".to_owned())]]);
    let armed = Arc::new(Mutex::new(false));
    let rule = {
        let armed = Arc::clone(&armed);
        Box::new(move |sql: &str| (sql.starts_with("UPDATE") && *armed.lock().unwrap()).then(none))
    };
    let (mut sink, stream, log) = written(rule).await;
    *armed.lock().unwrap() = true;
    let error = sink.commit_one(stream, "next").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable, "{}", error.report());
    assert!(error.to_string().contains("did not load all rows"), "{error}");
    let heads = heads(&log);
    assert!(heads.contains(&"ROLLBACK".to_owned()) && !heads.contains(&"COMMIT".to_owned()), "{heads:?}");
}

#[tokio::test]
async fn progress_that_someone_else_moved_is_a_conflict() {
    let armed = Arc::new(Mutex::new(false));
    let rule = {
        let armed = Arc::clone(&armed);
        Box::new(move |sql: &str| {
            if !*armed.lock().unwrap() {
                None
            } else if sql.starts_with("UPDATE") {
                Some(Ok(vec![vec![Some("0".to_owned())]]))
            } else if sql.starts_with("SELECT CAST(\"PIPELINE\"") {
                Some(Ok(vec![row(99, 3)]))
            } else {
                None
            }
        })
    };
    let (mut sink, stream, log) = written(rule).await;
    *armed.lock().unwrap() = true;
    let error = sink.commit_one(stream, "next").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(!heads(&log).contains(&"COMMIT".to_owned()));
}

/// `head` fails as where a table, which has its column until then, is gone; when `overtaken`, the stream's row has moved by then.
fn gone(head: &'static str, overtaken: bool) -> Rule {
    let failed = Mutex::new(false);
    Box::new(move |sql| {
        let mut failed = failed.lock().unwrap();
        if sql.starts_with(head) {
            *failed = true;
            return Some(Err(refused_with("002003")));
        }
        if sql.starts_with("SELECT CAST(TABLE_NAME") && sql.ends_with("AND TABLE_NAME = ?") {
            let column =
                |name: &str, ty| ["T", name, ty, "38", "0"].map(|cell| Some(cell.to_owned())).to_vec();
            let metadata = Metadata::ALL.map(|metadata| column(&metadata.column().to_uppercase(), "TEXT"));
            return Some(Ok([vec![column("K", "NUMBER")], metadata.to_vec()].concat()));
        }
        (*failed && overtaken && sql.starts_with("SELECT CAST(\"PIPELINE\"")).then(|| Ok(vec![row(99, 3)]))
    })
}

#[tokio::test]
async fn a_table_that_whoever_took_over_dropped_is_a_conflict() {
    for overtaken in [true, false] {
        let (mut sink, stream, log) = written(gone("MERGE", overtaken)).await;
        let at_commit = sink.commit_one(stream, "next").await.unwrap_err();
        assert!(heads(&log).contains(&"ROLLBACK".to_owned()));
        let (mut sink, stream, log) = opened(WriteMode::Overwrite, gone("INSERT OVERWRITE", overtaken)).await;
        let at_finish = sink.finish(&[stream]).await.unwrap_err();
        assert!(heads(&log).contains(&"ROLLBACK".to_owned()));
        for error in [at_commit, at_finish] {
            assert_eq!(error.kind() == ErrorKind::Conflict, overtaken, "{}", error.report());
            assert_eq!(server_code(&error).is_none(), overtaken, "{}", error.report());
            assert!(error.report().contains("002003"), "the cause is kept: {}", error.report());
        }
    }
}

#[tokio::test]
async fn a_commit_that_changed_nothing_is_an_error() {
    // The server gave up the transaction: COMMIT succeeds, the version is the old one.
    let armed = Arc::new(Mutex::new(false));
    let is_armed = Arc::clone(&armed);
    let rule = move |sql: &str| {
        let asks = sql.starts_with("SELECT CAST(\"PIPELINE\"") && *is_armed.lock().unwrap();
        asks.then(|| Ok(vec![row(7, 3)]))
    };
    let (mut sink, stream, _) = written(Box::new(rule)).await;
    *armed.lock().unwrap() = true;
    let error = sink.commit_one(stream, "next").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
    assert!(error.to_string().contains("gave up the transaction"), "{error}");
}

#[tokio::test]
async fn where_merge_is_impossible_rows_are_deleted_and_inserted() {
    let (mut sink, stream, log) = written(when("MERGE", || Err(refused_with("261000")))).await;
    sink.commit_one(stream, "next").await.unwrap();
    let heads = heads(&log);
    let begins = heads.iter().filter(|head| *head == "BEGIN TRANSACTION").count();
    assert_eq!(begins, 2, "{heads:?}");
    assert!(heads.contains(&"ROLLBACK".to_owned()) && heads.contains(&"INSERT INTO".to_owned()), "{heads:?}");
}

#[tokio::test]
async fn another_failure_of_merge_is_not_worked_around() {
    let (mut sink, stream, log) = written(when("MERGE", || Err(refused_with("100038")))).await;
    let error = sink.commit_one(stream, "next").await.unwrap_err();
    assert_eq!(server_code(&error), Some("100038"));
    let heads = heads(&log);
    assert!(heads.contains(&"ROLLBACK".to_owned()) && !heads.contains(&"COMMIT".to_owned()), "{heads:?}");
}

#[tokio::test]
async fn rows_are_forgotten_and_their_files_never_copied_after_a_rollback() {
    let (mut sink, stream, log) = written(usual()).await;
    sink.flush(stream).await.unwrap();
    let before = sink.files_of(stream).unwrap();
    sink.rollback(stream).await.unwrap();
    assert_ne!(sink.files_of(stream).unwrap(), before);
    log.lock().unwrap().clear();
    sink.commit_one(stream, "next").await.unwrap();
    let heads = heads(&log);
    assert!(heads.iter().all(|head| !head.starts_with("COPY")), "there is nothing to load: {heads:?}");
}

#[tokio::test]
async fn finishing_with_uncommitted_rows_is_a_fault() {
    let (mut sink, stream, _) = written(usual()).await;
    assert_eq!(sink.finish(&[stream]).await.unwrap_err().kind(), ErrorKind::Bug);
}

#[tokio::test]
async fn what_does_not_exist_is_named_by_its_field() {
    let cases = [
        ("USE WAREHOUSE", "002043", "snowflake's `warehouse` W does not exist, or the role may not use it"),
        (
            "SELECT CAST(SCHEMA_NAME",
            "002003",
            "snowflake's `database` D does not exist, or the role may not use it",
        ),
        ("CREATE SCHEMA", "003001", "the role may not use or create snowflake's `schema` S"),
    ];
    for (head, code, expected) in cases {
        let session = Scripted {
            log: Arc::default(),
            at: Mutex::new((0, 3)),
            rule: when(head, move || Err(refused_with(code))),
        };
        let place = Place { database: "d".to_owned(), schema: "s".to_owned() };
        let error = SnowflakeSink::over(Box::new(session), place, "w").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Sink);
        assert_eq!(error.to_string(), expected);
    }
}

/// The progress goes back only while the rows of the part are gone: a server that gave up
/// the transaction in between has them still.
#[tokio::test]
async fn parts_go_without_rows_in_their_place() {
    let (mut sink, stream, log) = written(usual()).await;
    sink.rollback(stream).await.unwrap();
    log.lock().unwrap().clear();
    let part = Extent {
        partition: Some(("ticker".to_owned(), "A".into())),
        cursor: "day".to_owned(),
        from: crate::batch::Bound::Day(jiff::civil::date(2024, 6, 28)),
        until: None,
    };
    let empty = Batch::new(table(), Rows::default(), ExtractedAt::All(0));
    let batch = Batch { replaces: vec![part], ..empty };
    sink.write(stream, batch).await.unwrap();
    let moves = vec![
        crate::sink::Move { shard: "A".into(), position: Some("back".to_owned()) },
        crate::sink::Move { shard: "never there".into(), position: None },
    ];
    let text = String::new;
    let refused = sink.commit(&[Portion::new(stream, moves, &text)]).await.unwrap();
    assert!(refused.is_empty());
    let log = log.lock().unwrap();
    let begins = |head: &str| log.iter().filter(|sql| sql.starts_with(head)).collect::<Vec<_>>();
    let condition = "t.\"DAY\" >= '2024-06-28'::DATE AND t.\"TICKER\" IN (?)";
    let [cleared] = begins("DELETE FROM \"D\".\"S\".\"T\"")[..] else { panic!("{log:?}") };
    let while_ours =
        format!(" AS t WHERE {condition} AND EXISTS (SELECT 1 FROM \"D\".\"S\".\"_TAPELINE_STREAMS\"");
    assert!(cleared.contains(&while_ours), "{cleared}");
    let [moved] = begins("UPDATE")[..] else { panic!("{log:?}") };
    assert!(
        moved.ends_with(&format!(" AND NOT EXISTS (SELECT 1 FROM \"D\".\"S\".\"T\" AS t WHERE {condition})")),
        "{moved}"
    );
    assert!(begins("COPY").is_empty() && begins("PUT").is_empty(), "{log:?}");
    let [added] = begins("INSERT INTO")[..] else { panic!("{log:?}") };
    assert_eq!(added.matches("SELECT ? AS").count(), 1, "{added}");
}

/// What a commit says is about the shards that it moves, however many are stored.
#[tokio::test]
async fn a_commit_of_ten_shards_says_the_same_whatever_else_is_stored() {
    let mut said = Vec::new();
    for stored in [10, 1_000, 12_000] {
        let shard = |number: usize| {
            vec![Some(format!("T{number:05}")), Some("before".to_owned()), Some("4".to_owned())]
        };
        let shards = move || Ok((0..stored).map(shard).collect());
        let (mut sink, stream, log) =
            opened(WriteMode::AppendDedup, when("SELECT CAST(\"SHARD\"", shards)).await;
        log.lock().unwrap().clear();
        let to = |number: usize| crate::sink::Move {
            shard: format!("T{number:05}").into(),
            position: Some("after".to_owned()),
        };
        let (moves, text) = ((0..10).map(to).collect(), String::new);
        sink.commit(&[Portion::new(stream, moves, &text)]).await.unwrap();
        said.push(log.lock().unwrap().clone());
    }
    let [few, more, many] = &said[..] else { unreachable!("three were made") };
    let added = few.iter().find(|sql| sql.starts_with("INSERT INTO")).expect("shards are moved");
    assert_eq!(added.matches("SELECT ? AS").count(), 10, "{added}");
    assert!(few == more && few == many, "{few:?}\n{many:?}");
}

/// A pipeline that began at the same time saw no owner either: the lock row's holder is first,
/// and the other one is told whose the table is.
#[tokio::test]
async fn a_table_that_got_its_owner_meanwhile_is_refused() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lists = Mutex::new(0);
    let rule: Rule = Box::new(move |sql| {
        if !sql.starts_with("SELECT CAST(\"PIPELINE\"") {
            return None;
        }
        let mut lists = lists.lock().unwrap();
        *lists += usize::from(sql.contains("<> ''"));
        Some(Ok(if *lists == 2 { vec![row(1, 3)] } else { Vec::new() }))
    });
    let session = Scripted { log: Arc::clone(&log), at: Mutex::new((7, 3)), rule };
    let place = Place { database: "d".to_owned(), schema: "s".to_owned() };
    let mut sink = SnowflakeSink::over(Box::new(session), place, "w").await.unwrap();
    let target = Target::new("other", "t", table(), WriteMode::AppendDedup);
    let error = sink.open_one(&target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    assert!(error.to_string().contains("is written by the pipeline p (stream t)"), "{error}");
    let log = log.lock().unwrap();
    let added = log.iter().find(|sql| sql.starts_with("INSERT INTO")).expect("a row is added");
    assert!(
        added.ends_with(
            "AND NOT EXISTS (SELECT 1 FROM \"D\".\"S\".\"_TAPELINE_STREAMS\" WHERE \"TABLE_NAME\" = ?)"
        ),
        "{added}"
    );
}
