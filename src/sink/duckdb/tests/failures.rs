use std::fs;

use super::*;
use crate::batch::Unit;
use crate::error::ErrorKind;

async fn message(path: &str, kind: ErrorKind) -> String {
    let error = refused(DuckDbSink::connect(&DuckDbConfig::of(path)).await);
    assert_eq!(error.kind(), kind, "{}", error.report());
    let message = error.user_message();
    assert!(message.contains("(hint: "), "{message}");
    assert!(!message.contains('\n'), "one sentence: {message}");
    message
}

#[tokio::test]
async fn a_path_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert!(message(&inside(""), ErrorKind::Sink).await.contains("is a directory"));
    assert!(message(&inside("no/x.duckdb"), ErrorKind::Sink).await.contains("/no does not exist"));
    fs::write(inside("text"), "ticker,open\nAAPL,1.5\n".repeat(1000)).unwrap();
    assert!(message(&inside("text"), ErrorKind::Sink).await.contains("text is not a DuckDB database"));
    for path in ["", ":memory:", "md:market"] {
        assert!(message(path, ErrorKind::Config).await.contains("is not a file"), "{path}");
    }
    assert_eq!(fs::read_to_string(inside("text")).unwrap().len(), 21_000, "and left as it was");
}

#[tokio::test]
async fn settings_out_of_range_are_named() {
    let file = File::new();
    for (change, part) in [
        ((|config| config.schema.clear()) as fn(&mut DuckDbConfig), "`schema` is empty"),
        (|config| config.memory_limit_mb = 1, "`memory_limit_mb` 1 is too small"),
        (|config| config.threads = Some(0), "`threads` is 0"),
    ] {
        let mut config = file.config();
        change(&mut config);
        let error = refused(DuckDbSink::connect(&config).await);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.user_message().starts_with(part), "{}", error.user_message());
    }
    assert!(!file.path().exists(), "nothing was created");
}

#[tokio::test]
async fn a_read_only_file_is_left_alone() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let before = fs::read(file.path()).unwrap();
    let mut permissions = fs::metadata(file.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(file.path(), permissions).unwrap();
    assert!(message(file.path().to_str().unwrap(), ErrorKind::Sink).await.contains("is read-only"));
    assert_eq!(fs::read(file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let mut bytes = fs::read(file.path()).unwrap();
    // After a checksum and the magic bytes `DUCK`.
    assert_eq!(&bytes[8..12], b"DUCK");
    bytes[12..20].copy_from_slice(&9999_u64.to_le_bytes());
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let checksum = bytes[8..4096]
        .chunks(8)
        .fold(5381, |sum, bytes| sum ^ word(bytes).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(file.path(), bytes).unwrap();
    let message = message(file.path().to_str().unwrap(), ErrorKind::Sink).await;
    assert!(message.contains("written by another version of DuckDB"), "{message}");
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let mut bytes = fs::read(file.path()).unwrap();
    // Of the two headers that alternate, both.
    bytes[5000] ^= 1;
    bytes[9000] ^= 1;
    fs::write(file.path(), bytes).unwrap();
    let message = message(file.path().to_str().unwrap(), ErrorKind::Sink).await;
    assert!(message.contains("is damaged"), "{message}");
}

#[tokio::test]
async fn one_process_opens_a_file_once() {
    let file = File::new();
    let sink = file.sink().await;
    let second = message(file.path().to_str().unwrap(), ErrorKind::Conflict).await;
    assert!(second.contains("this process already has"), "{second}");
    let detour = file.folder.path().join(".").join("market.duckdb");
    message(detour.to_str().unwrap(), ErrorKind::Conflict).await;
    drop(sink);
    file.sink().await;
}

#[tokio::test]
async fn a_failed_write_is_told_and_nothing_of_it_stays() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
    commit(&mut sink, stream, "1").await;
    write(&mut sink, stream, &table, &[bar("B", 1, 1)]).await;
    // No canonical row has half of a pair. The decoder does not look for it; DuckDB does.
    let broken = r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
    let unit = |row, shard: &str| Unit { row, shard: Arc::from(shard), slice: 0, before: 0 };
    let units = vec![unit(0, "C"), unit(1, "D")];
    sink.write(stream, Batch { units, ..batch(&table, &[broken, bar("D", 1, 1)]) }).await.unwrap();
    let error = refused(sink.commit_one(stream, "2").await);
    assert_eq!((error.kind(), error.stream()), (ErrorKind::Sink, Some("bars")));
    assert!(
        error.report().contains(r#"could not load rows of C, D into "market"."polygon"."bars""#),
        "{}",
        error.report()
    );
    refused(sink.commit_one(stream, "2").await);
    write(&mut sink, stream, &table, &[bar("D", 1, 1)]).await;
    refused(sink.commit_one(stream, "2").await);
    sink.rollback(stream).await.unwrap();
    write(&mut sink, stream, &table, &[bar("E", 1, 1)]).await;
    commit(&mut sink, stream, "3").await;
    drop(sink);
    assert_eq!(file.rows("SELECT ticker FROM polygon.bars ORDER BY 1"), ["A", "E"]);
}

/// What DuckDB refuses of one stream is of no concern to the others of its transaction.
#[tokio::test]
async fn a_refused_stream_leaves_the_others_their_rows() {
    let broken = || r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
    for ahead in [false, true] {
        let file = File::new();
        let named = |name: &str| Arc::new(Table { name: name.to_owned(), ..(*bars()).clone() });
        let tables = ["a", "b", "c"].map(named);
        let mut sink = file.sink().await;
        let targets = tables.each_ref().map(|table| target(table, WriteMode::AppendDedup));
        let ids = sink.open_all(&targets).await.unwrap();
        for (id, table) in ids.iter().zip(&tables) {
            write(&mut sink, *id, table, &[bar("A", 1, 1), bar("A", 2, 1)]).await;
            if ahead {
                commit(&mut sink, *id, "0").await;
            }
        }
        sink.write(ids[1], Batch { ahead, ..batch(&tables[1], &[broken()]) }).await.unwrap();
        write(&mut sink, ids[2], &tables[2], &[bar("A", 2, 2)]).await;
        let refused = commit_all(&mut sink, &ids, "1").await;
        let told: Vec<_> = refused.iter().map(|(id, error)| (*id, error.stream())).collect();
        assert_eq!(told, [(ids[1], Some("b"))]);
        drop(sink);
        let rows =
            |table: &str| file.rows(&format!("SELECT v::VARCHAR FROM polygon.{table} ORDER BY timestamp"));
        assert_eq!((rows("a"), rows("c")), (vec!["1".to_owned(); 2], vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(rows("b").len(), if ahead { 2 } else { 0 });
        let moved =
            file.rows("SELECT stream FROM polygon._tapeline_progress WHERE \"position\" = '1' ORDER BY 1");
        assert_eq!(moved, ["a", "c"]);
    }
}

/// A row that would be merged with others, because its key does not fit, is refused as such.
#[tokio::test]
async fn a_stream_with_a_key_that_does_not_fit_leaves_the_others_their_rows() {
    for alone in [false, true] {
        let (file, table) = (File::new(), bars());
        let other = Arc::new(Table { name: "other".to_owned(), ..(*table).clone() });
        let mut sink = file.sink().await;
        let targets = [target(&table, WriteMode::AppendDedup), target(&other, WriteMode::AppendDedup)];
        let ids = sink.open_all(&targets).await.unwrap();
        let of = |time: &str| format!(r#"{{"ticker":"A","timestamp":"{time}","v":1}}"#);
        write(&mut sink, ids[0], &table, &[of("2024-06-28T00:00:00.000000001Z")]).await;
        commit(&mut sink, ids[0], "1").await;
        write(&mut sink, ids[0], &table, &[of("9999-12-31T23:59:59Z")]).await;
        write(&mut sink, ids[0], &table, &[bar("A", 1, 1)]).await;
        if !alone {
            write(&mut sink, ids[1], &other, &[bar("A", 1, 1)]).await;
        }
        let refused = commit_all(&mut sink, &ids[..if alone { 1 } else { 2 }], "2").await;
        let told: Vec<_> = refused.iter().map(|(id, error)| (*id, error.kind(), error.stream())).collect();
        assert_eq!(told, [(ids[0], ErrorKind::Table, Some("bars"))]);
        assert!(
            refused[0].1.user_message().contains("`timestamp` of table bars"),
            "{}",
            refused[0].1.report()
        );
        if alone {
            write(&mut sink, ids[1], &other, &[bar("A", 1, 1)]).await;
            commit(&mut sink, ids[1], "2").await;
        }
        drop(sink);
        assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.bars"), ["1"]);
        assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.other"), ["1"]);
    }
}

/// Nor is a stream that somebody else took over.
#[tokio::test]
async fn a_stream_that_was_overtaken_leaves_the_others_alone() {
    for (overtaken, ahead) in [(0, false), (1, false), (0, true), (1, true)] {
        let file = File::new();
        let tables = ["a", "b"].map(|name| Arc::new(Table { name: name.to_owned(), ..(*bars()).clone() }));
        let modes = [WriteMode::Append, WriteMode::AppendDedup];
        let targets = [0, 1].map(|index| target(&tables[index], modes[index]));
        let mut sink = file.sink().await;
        let ids = sink.open_all(&targets).await.unwrap();
        for (id, table) in ids.iter().zip(&tables) {
            write(&mut sink, *id, table, &[bar("A", 1, 1)]).await;
        }
        assert!(commit_all(&mut sink, &ids, "1").await.is_empty());
        let rows = [bar("A", 2, 1)];
        if ahead {
            let batch = Batch { ahead, ..batch(&tables[overtaken], &rows) };
            sink.write(ids[overtaken], batch).await.unwrap();
        }
        let (theirs, progress) = sink.open_one(&targets[overtaken]).await.unwrap();
        assert_eq!(progress.as_deref(), Some("1"));
        for (index, id) in ids.iter().enumerate().filter(|(index, _)| *index != overtaken || !ahead) {
            write(&mut sink, *id, &tables[index], &rows).await;
        }
        let refused = commit_all(&mut sink, &ids, "2").await;
        let told: Vec<_> = refused.iter().map(|(id, error)| (*id, error.kind(), error.stream())).collect();
        let name = tables[overtaken].name.as_str();
        assert_eq!(told, [(ids[overtaken], ErrorKind::Conflict, Some(name))], "{ahead}");
        // Both go on, each with what is its own.
        let left = 1 - overtaken;
        write(&mut sink, ids[left], &tables[left], &[bar("A", 3, 1)]).await;
        write(&mut sink, theirs, &tables[overtaken], &[bar("A", 4, 1)]).await;
        assert!(commit_all(&mut sink, &[ids[left], theirs], "3").await.is_empty());
        drop(sink);
        let minutes = |table: &Table| {
            file.rows(&format!("SELECT minute(timestamp)::VARCHAR FROM polygon.{} ORDER BY 1", table.name))
        };
        assert_eq!(minutes(&tables[left]), ["1", "2", "3"], "{ahead}");
        assert_eq!(minutes(&tables[overtaken]), ["1", "4"], "{ahead}");
    }
}

/// Nor at its end: the tables of the others take their places.
#[tokio::test]
async fn a_stream_that_was_overtaken_is_not_ended_and_the_others_are() {
    let file = File::new();
    let tables = ["a", "b"].map(|name| Arc::new(Table { name: name.to_owned(), ..(*bars()).clone() }));
    let targets = tables.each_ref().map(|table| target(table, WriteMode::Overwrite));
    let mut sink = file.sink().await;
    let ids = sink.open_all(&targets).await.unwrap();
    for (id, table) in ids.iter().zip(&tables) {
        write(&mut sink, *id, table, &[bar("A", 1, 1)]).await;
    }
    assert!(commit_all(&mut sink, &ids, "1").await.is_empty());
    sink.open_one(&targets[1]).await.unwrap();
    assert_eq!(refused(sink.finish(&ids).await).kind(), ErrorKind::Conflict);
    sink.finish(&ids[..1]).await.unwrap();
    assert_eq!(refused(sink.finish(&ids[1..]).await).kind(), ErrorKind::Conflict);
    // What was ended may be ended again.
    sink.finish(&ids[..1]).await.unwrap();
    drop(sink);
    assert_eq!(file.rows("SELECT ticker FROM polygon.a"), ["A"]);
    assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM duckdb_tables() WHERE table_name = 'b'"), ["0"]);
}

#[tokio::test]
async fn rows_that_could_not_be_decoded_are_not_committed_past() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
    let error = refused(sink.write(stream, batch(&table, &[r#"{"no":1}"#.to_owned()])).await);
    assert_eq!(error.kind(), ErrorKind::Bug);
    refused(sink.commit_one(stream, "1").await);
    refused(sink.finish(&[stream]).await);
    sink.rollback(stream).await.unwrap();
    commit(&mut sink, stream, "2").await;
    drop(sink);
    assert_eq!(file.rows("SELECT ticker FROM polygon.bars"), Vec::<String>::new());
}

#[test]
fn a_write_that_was_dropped_is_not_committed_past() {
    // One thread decodes, and is kept from it: the write is under way when it is dropped.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (file, table) = (File::new(), bars());
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut future = sink.write(stream, batch(&table, &[bar("A", 1, 1)]));
        assert!(futures::poll!(&mut future).is_pending(), "decoding waits for a thread");
        drop(future);
        drop(release);
        busy.await.unwrap().unwrap_err();
        refused(sink.commit_one(stream, "1").await);
        sink.rollback(stream).await.unwrap();
        commit(&mut sink, stream, "1").await;
    });
}

#[tokio::test]
async fn finishing_needs_a_commit_first() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
    write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
    assert_eq!(refused(sink.finish(&[stream]).await).kind(), ErrorKind::Bug);
}
