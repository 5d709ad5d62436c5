use super::*;
use crate::sink::{Look, WrittenBy};

async fn look(sink: &mut DuckDbSink, target: &Target) -> Look {
    sink.look(std::slice::from_ref(target)).await.expect("a look").remove(0)
}

async fn peek(file: &File, target: &Target) -> Look {
    let mut sink = DuckDbSink::peek(&file.config()).await.expect("the sink opens");
    look(&mut sink, target).await
}

fn of(pipeline: &str, mode: WriteMode) -> Target {
    Target { pipeline: pipeline.to_owned(), ..target(&bars(), mode) }
}

#[tokio::test]
async fn what_is_not_there_is_not_created() {
    let file = File::new();
    let seen = peek(&file, &of("test", WriteMode::Append)).await;
    assert!(!seen.table && seen.obstacle.is_none() && seen.owners.is_empty() && seen.progress.is_empty());
    assert!(!file.path().exists(), "a look creates no file");
    file.execute("CREATE SCHEMA other");
    let mut sink = file.sink().await;
    sink.try_rights().await.unwrap();
    assert!(!look(&mut sink, &of("test", WriteMode::Append)).await.table);
    drop(sink);
    assert_eq!(
        file.rows(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database() AND NOT internal"
        ),
        ["other"]
    );
    assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM duckdb_tables()"), ["0"]);
}

/// Who has a stream open goes on as if nobody had looked.
#[tokio::test]
async fn a_look_tells_what_is_there_and_fences_nobody() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&of("test", WriteMode::AppendDedup)).await.unwrap();
    write(&mut sink, stream, &table, &[bar("A", 1, 1), bar("B", 1, 1)]).await;
    commit(&mut sink, stream, "1").await;
    write(&mut sink, stream, &table, &[bar("C", 1, 1)]).await;
    let seen = look(&mut sink, &of("test", WriteMode::AppendDedup)).await;
    commit(&mut sink, stream, "2").await;
    assert!(seen.table && seen.obstacle.is_none() && seen.unfinished.is_none());
    assert_eq!((seen.rows, seen.progress.positions[""].as_str()), (2, "1"));
    assert!(seen.updated_at.unwrap().ends_with('Z'));
    let own = WrittenBy { pipeline: "test".to_owned(), stream: "bars".to_owned(), shared: false };
    assert_eq!(seen.owners, std::slice::from_ref(&own));
    drop(sink);

    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
        let other = peek(&file, &of("other", mode)).await;
        let obstacle = other.obstacle.expect("the table has an owner").to_string();
        assert_eq!(obstacle, "the table polygon.bars is written by the pipeline test (stream bars)");
        assert_eq!((other.owners, other.progress.is_empty()), (vec![own.clone()], true));
    }
    file.execute("ALTER TABLE polygon.bars ALTER v TYPE VARCHAR");
    let misfit = peek(&file, &of("test", WriteMode::AppendDedup)).await.obstacle.expect("a misfit");
    assert!(misfit.to_string().contains("the column v of"), "{misfit}");
    assert_eq!(file.rows("SELECT epoch::VARCHAR FROM polygon._tapeline_streams"), ["1"]);
}

#[tokio::test]
async fn an_unfinished_run_is_told_apart_from_the_table() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Overwrite, "first", &[&[bar("A", 1, 1)]]).await;
    let overwritten = of("test", WriteMode::Overwrite);
    let seen = peek(&file, &overwritten).await;
    assert_eq!((seen.rows, seen.unfinished, seen.progress.positions[""].as_str()), (1, None, "first"));
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&overwritten).await.unwrap();
    write(&mut sink, stream, &table, &[bar("B", 1, 1), bar("C", 1, 1)]).await;
    commit(&mut sink, stream, "second").await;
    drop(sink);
    let seen = peek(&file, &overwritten).await;
    assert_eq!((seen.rows, seen.progress.positions[""].as_str()), (1, "first"));
    assert_eq!(seen.unfinished.unwrap().positions[""], "second");
}
