//! Tables that learn columns while their rows come.

use super::*;
use crate::error::ErrorKind;

/// `k` and `a`, of which `k` is the key.
fn narrow() -> Arc<Table> {
    Arc::new(Table::new(
        "grown",
        vec![
            column("k", ColumnType::Integer),
            column("a", ColumnType::Decimal(Width::PRICE)),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        &["k"],
    ))
}

/// With a column of each type that is stored in a way of its own.
fn wide() -> Arc<Table> {
    let more = [
        column("t", ColumnType::Text),
        column("n", ColumnType::Decimal(Width::PRICE)),
        column("j", ColumnType::Json),
        column("at", ColumnType::Timestamp),
    ];
    Arc::new(narrow().grown(&more).unwrap())
}

/// Wider still.
fn widest() -> Arc<Table> {
    Arc::new(wide().grown(&[column("b", ColumnType::Boolean)]).unwrap())
}

const ALL: &str = "SELECT k::VARCHAR, rtrim(rtrim(a::VARCHAR, '0'), '.'), t, rtrim(rtrim(n::VARCHAR, '0'), '.'), \
    j::VARCHAR, \"at\"::VARCHAR, b::VARCHAR FROM polygon.grown ORDER BY k";

fn growing(table: &Arc<Table>, mode: WriteMode) -> Target {
    Target { grows: true, ..target(table, mode) }
}

async fn add(sink: &mut DuckDbSink, stream: StreamId, table: &Arc<Table>, rows: &[&str], ahead: bool) {
    let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
    sink.write(stream, Batch { ahead, ..batch(table, &rows) }).await.expect("the rows are taken");
}

const FIRST: &str = r#"{"k":1,"a":1.5}"#;
const SECOND: &str = r#"{"k":2,"a":2.5}"#;
const THIRD: &str =
    r#"{"k":3,"a":0.00000000000025,"t":"x","n":0.00000000000025,"j":{"y":[1]},"at":"2024-01-02T03:04:05Z"}"#;
const FOURTH: &str =
    r#"{"k":1,"a":4,"t":"z","n":12345678901,"j":"text","at":"9999-12-31T00:00:00Z","b":true}"#;

/// Rows before, ahead or not, rows that wait beside, and rows that need wider columns than
/// those that were learned.
#[tokio::test]
async fn rows_before_and_after_are_there_in_every_mode() {
    let modes = [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite, WriteMode::OverwriteDedup];
    for (mode, ahead) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let file = File::new();
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&growing(&narrow(), mode)).await.unwrap();
        add(&mut sink, stream, &narrow(), &[FIRST], false).await;
        commit(&mut sink, stream, "1").await;
        if ahead {
            add(&mut sink, stream, &narrow(), &[SECOND], true).await;
        }
        sink.evolve(stream, wide()).await.unwrap();
        let rows: &[&str] = if ahead { &[THIRD] } else { &[SECOND, THIRD] };
        add(&mut sink, stream, &wide(), rows, ahead).await;
        if !ahead {
            commit(&mut sink, stream, "2").await;
        }
        sink.evolve(stream, widest()).await.unwrap();
        add(&mut sink, stream, &widest(), &[FOURTH], ahead).await;
        // The times that wait have microseconds by now, and what is finer has no room.
        if !ahead {
            commit(&mut sink, stream, "3").await;
        }
        let last = Arc::new(widest().grown(&[column("last", ColumnType::Date)]).unwrap());
        sink.evolve(stream, Arc::clone(&last)).await.unwrap();
        add(&mut sink, stream, &last, &[r#"{"k":5,"at":"2024-01-02T03:04:05.000000001Z"}"#], ahead).await;
        commit(&mut sink, stream, "4").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        let mut expected = vec![
            "1|1.5|NULL|NULL|NULL|NULL|NULL",
            "1|4|z|12345678901|\"text\"|9999-12-31 00:00:00|true",
            "2|2.5|NULL|NULL|NULL|NULL|NULL",
            "3|0.00000000000025|x|0.00000000000025|{\"y\":[1]}|2024-01-02 03:04:05|NULL",
        ];
        expected.push("5|NULL|NULL|NULL|NULL|2024-01-02 03:04:05|NULL");
        if mode.replaces_by_key() {
            expected.remove(0);
        }
        let mut found = file.rows(ALL);
        found.sort();
        assert_eq!(found, expected, "{mode:?} {ahead}");
    }
}

/// They stay when rows that brought them are taken back, and for a run that does not know them.
#[tokio::test]
async fn columns_stay_whatever_becomes_of_rows() {
    let file = File::new();
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&growing(&narrow(), WriteMode::Append)).await.unwrap();
    add(&mut sink, stream, &narrow(), &[FIRST], true).await;
    sink.evolve(stream, widest()).await.unwrap();
    add(&mut sink, stream, &widest(), &[FOURTH], true).await;
    sink.rollback(stream).await.unwrap();
    add(&mut sink, stream, &widest(), &[THIRD], true).await;
    commit(&mut sink, stream, "1").await;
    drop(sink);
    load(&file, &narrow(), WriteMode::Append, "2", &[&[SECOND.to_owned()]]).await;
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&growing(&narrow(), WriteMode::Append)).await.unwrap();
    sink.evolve(stream, wide()).await.unwrap();
    add(&mut sink, stream, &wide(), &[r#"{"k":4,"t":"again"}"#], false).await;
    commit(&mut sink, stream, "3").await;
    drop(sink);
    let expected = [
        "2|2.5|NULL|NULL|NULL|NULL|NULL",
        "3|0.00000000000025|x|0.00000000000025|{\"y\":[1]}|2024-01-02 03:04:05|NULL",
        "4|NULL|again|NULL|NULL|NULL|NULL",
    ];
    assert_eq!(file.rows(ALL), expected);
}

/// A crash after it leaves a file that opens, also where a column is JSON.
#[tokio::test]
async fn a_crash_leaves_a_file_that_opens() {
    let file = File::new();
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&growing(&narrow(), WriteMode::AppendDedup)).await.unwrap();
    add(&mut sink, stream, &narrow(), &[FIRST, SECOND], false).await;
    commit(&mut sink, stream, "1").await;
    sink.evolve(stream, widest()).await.unwrap();
    let count = "SELECT count(*)::VARCHAR, count(b)::VARCHAR FROM polygon.grown";
    assert_eq!(file.crashed().rows(count), ["2|0"]);
    add(&mut sink, stream, &widest(), &[FOURTH, THIRD], false).await;
    assert_eq!(file.crashed().rows(count), ["2|0"]);
    commit(&mut sink, stream, "2").await;
    assert_eq!(file.crashed().rows(count), ["3|1"]);
}

/// A column of that name that cannot be it is refused, and what was committed stays.
#[tokio::test]
async fn a_column_that_is_another_one_is_refused() {
    for ahead in [false, true] {
        let file = File::new();
        load(&file, &narrow(), WriteMode::AppendDedup, "1", &[&[FIRST.to_owned()]]).await;
        file.execute("ALTER TABLE polygon.grown ADD COLUMN t BLOB");
        let mut sink = file.sink().await;
        let other = Arc::new(Table { name: "other".to_owned(), ..(*bars()).clone() });
        let targets = [growing(&narrow(), WriteMode::AppendDedup), target(&other, WriteMode::Append)];
        let ids = sink.open_all(&targets).await.unwrap();
        if ahead {
            add(&mut sink, ids[0], &narrow(), &[SECOND], true).await;
        }
        let error = refused(sink.evolve(ids[0], wide()).await);
        assert_eq!((error.kind(), error.stream()), (ErrorKind::Table, Some("grown")), "{}", error.report());
        assert!(error.to_string().contains("the column t of"), "{error}");
        if ahead {
            sink.rollback(ids[0]).await.unwrap();
        }
        write(&mut sink, ids[1], &other, &[bar("A", 1, 1)]).await;
        commit(&mut sink, ids[1], "1").await;
        drop(sink);
        assert_eq!(file.rows("SELECT k::VARCHAR FROM polygon.grown"), ["1"]);
        assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.other"), ["1"]);
    }
}

/// Streams that share a table: one learns a column, and the other, whose rows wait ahead,
/// does not.
#[tokio::test]
async fn another_stream_of_the_table_goes_on_without_the_column() {
    for own in [false, true] {
        let file = File::new();
        let mut sink = file.sink().await;
        let of = |stream: &str| Target {
            stream: stream.to_owned(),
            shared: true,
            ..growing(&narrow(), WriteMode::AppendDedup)
        };
        let ids = sink.open_all(&[of("first"), of("second")]).await.unwrap();
        add(&mut sink, ids[1], &narrow(), &[FIRST], true).await;
        if own {
            add(&mut sink, ids[0], &narrow(), &[r#"{"k":7,"a":7}"#], true).await;
        }
        sink.evolve(ids[0], widest()).await.unwrap();
        add(&mut sink, ids[0], &widest(), &[THIRD], own).await;
        add(&mut sink, ids[1], &narrow(), &[SECOND], true).await;
        assert!(commit_all(&mut sink, &ids, "1").await.is_empty());
        drop(sink);
        let mut expected = vec![
            "1|1.5|NULL|NULL|NULL|NULL|NULL",
            "2|2.5|NULL|NULL|NULL|NULL|NULL",
            "3|0.00000000000025|x|0.00000000000025|{\"y\":[1]}|2024-01-02 03:04:05|NULL",
        ];
        expected.extend(own.then_some("7|7|NULL|NULL|NULL|NULL|NULL"));
        assert_eq!(file.rows(ALL), expected, "{own}");
    }
}

/// Where numbers are doubles, those of new columns are too.
#[tokio::test]
async fn what_is_learned_is_kept_as_a_person_chose() {
    let file = File::new();
    let config = DuckDbConfig { numbers: crate::sink::numbers::Numbers::Double, ..file.config() };
    let mut sink = DuckDbSink::connect(&config).await.unwrap();
    let (stream, _) = sink.open_one(&growing(&narrow(), WriteMode::Append)).await.unwrap();
    sink.evolve(stream, wide()).await.unwrap();
    add(&mut sink, stream, &wide(), &[r#"{"k":1,"n":5e-05}"#], false).await;
    commit(&mut sink, stream, "1").await;
    drop(sink);
    assert_eq!(file.rows("SELECT typeof(n), n::VARCHAR FROM polygon.grown"), ["DOUBLE|5e-05"]);
}
