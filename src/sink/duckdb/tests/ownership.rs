//! Whose a table is, when its owner goes to another one, or it is gone.

use super::*;
use crate::error::ErrorKind;

const MODES: [WriteMode; 3] = [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite];

/// The stream `bars` of a pipeline, into a table with this name.
fn into(pipeline: &str, table: &str, mode: WriteMode) -> Target {
    let table = Arc::new(Table { name: table.to_owned(), ..(*bars()).clone() });
    Target::new(pipeline, "bars", table, mode)
}

/// A run of one row, from its beginning to its end; returns the progress that it found.
async fn run(file: &File, target: &Target, ticker: &str) -> Result<Option<String>> {
    let mut sink = file.sink().await;
    let (stream, before) = sink.open_one(target).await?;
    write(&mut sink, stream, &target.table, &[bar(ticker, 1, 1)]).await;
    commit(&mut sink, stream, "1").await;
    sink.finish(&[stream]).await.expect("the stream finishes");
    Ok(before)
}

/// What `check` would say.
async fn obstacle(file: &File, target: &Target) -> Option<String> {
    let mut sink = DuckDbSink::peek(&file.config()).await.expect("the sink opens");
    let look = sink.look(std::slice::from_ref(target)).await.expect("a look").remove(0);
    look.obstacle.map(|error| error.user_message())
}

fn tickers(file: &File, table: &str) -> Vec<String> {
    file.rows(&format!("SELECT ticker FROM polygon.{table} ORDER BY ALL"))
}

/// Its rows would be doubled, or replaced. The stream that wrote them went to another table,
/// or they are of version 1 of another pipeline.
#[tokio::test]
async fn a_table_with_rows_that_nobody_is_known_to_write_is_refused() {
    for mode in MODES {
        let file = File::new();
        run(&file, &into("first", "old", mode), "A").await.unwrap();
        run(&file, &into("first", "new", mode), "A").await.unwrap();
        for target in [into("second", "old", mode), into("first", "old", mode), into("airbyte", "OLD", mode)]
        {
            let told = obstacle(&file, &target).await.unwrap();
            let error = refused(run(&file, &target, "B").await);
            assert_eq!((error.kind(), &error.user_message()), (ErrorKind::Table, &told));
            assert!(told.contains("has rows that this stream is not known to have written"), "{told}");
            let way_out = if target.pipeline == "airbyte" { "stream prefix" } else { "`table_prefix`" };
            assert!(told.contains(way_out), "{told}");
            assert_eq!(tickers(&file, "old"), ["A"]);
        }
        file.execute("DELETE FROM polygon.old");
        assert_eq!(obstacle(&file, &into("second", "old", mode)).await, None);
        assert_eq!(run(&file, &into("second", "old", mode), "B").await.unwrap(), None);
        assert_eq!(tickers(&file, "old"), ["B"]);
    }
}

/// What is stored of a stream speaks of the table that its rows went to.
#[tokio::test]
async fn a_stream_that_comes_back_to_a_table_begins_anew() {
    for mode in MODES {
        let file = File::new();
        run(&file, &into("first", "old", mode), "A").await.unwrap();
        run(&file, &into("first", "new", mode), "A").await.unwrap();
        file.execute("DELETE FROM polygon.old");
        let back = into("first", "old", mode);
        let seen = DuckDbSink::peek(&file.config()).await.unwrap().look(std::slice::from_ref(&back)).await;
        assert!(seen.unwrap()[0].progress.is_empty());
        assert_eq!(run(&file, &back, "A").await.unwrap(), None, "{mode:?}");
        assert_eq!(
            run(&file, &into("first", "old", WriteMode::Append), "B").await.unwrap().as_deref(),
            Some("1")
        );
        assert_eq!(tickers(&file, "old"), ["A", "B"]);
    }
}

/// Not even when a run that would replace the rows of the other table was not finished.
#[tokio::test]
async fn what_is_stored_of_another_table_is_gone_however_the_mode_changes() {
    let file = File::new();
    run(&file, &into("first", "old", WriteMode::Append), "A").await.unwrap();
    file.execute("CREATE TABLE polygon.new AS FROM polygon.old LIMIT 0");
    let mut sink = file.sink().await;
    sink.open_one(&into("first", "new", WriteMode::Overwrite)).await.unwrap();
    drop(sink);
    assert_eq!(run(&file, &into("first", "new", WriteMode::Append), "A").await.unwrap(), None);
}

#[tokio::test]
async fn streams_of_a_table_that_is_gone_have_no_say() {
    for (index, mode) in MODES.into_iter().enumerate() {
        let file = File::new();
        run(&file, &into("first", "bars", mode), "A").await.unwrap();
        assert!(obstacle(&file, &into("second", "bars", mode)).await.unwrap().contains("the pipeline first"));
        file.execute(["DROP TABLE polygon.bars", "ALTER TABLE polygon.bars RENAME TO kept"][index % 2]);
        assert_eq!(obstacle(&file, &into("second", "bars", mode)).await, None);
        assert_eq!(run(&file, &into("second", "bars", mode), "B").await.unwrap(), None);
        let error = refused(run(&file, &into("first", "bars", mode), "A").await);
        assert!(error.user_message().contains("the pipeline second"), "{}", error.report());
        run(&file, &into("second", "bars", mode), "B").await.unwrap();
        assert_eq!(file.rows("SELECT pipeline FROM polygon._tapeline_streams"), ["second"]);
        assert_eq!(file.rows("SELECT pipeline FROM polygon._tapeline_progress"), ["second"]);
    }
}

/// One that shares the table reads its part again, whoever made the table anew.
#[tokio::test]
async fn of_a_shared_table_that_is_gone_everything_is_read_again() {
    let file = File::new();
    let shared = |pipeline| Target { shared: true, ..into(pipeline, "bars", WriteMode::AppendDedup) };
    run(&file, &shared("first"), "A").await.unwrap();
    run(&file, &shared("second"), "B").await.unwrap();
    file.execute("DROP TABLE polygon.bars");
    assert_eq!(run(&file, &shared("first"), "A").await.unwrap(), None);
    assert_eq!(run(&file, &shared("second"), "B").await.unwrap(), None);
    assert_eq!(tickers(&file, "bars"), ["A", "B"]);
}

/// A first run that replaces a table has its rows beside it, and no table yet.
#[tokio::test]
async fn whoever_collects_rows_for_a_table_has_a_say() {
    let file = File::new();
    let first = into("first", "bars", WriteMode::Overwrite);
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&first).await.unwrap();
    write(&mut sink, stream, &first.table, &[bar("A", 1, 1)]).await;
    commit(&mut sink, stream, "1").await;
    drop(sink);
    for mode in MODES {
        let second = into("second", "bars", mode);
        assert!(obstacle(&file, &second).await.unwrap().contains("the pipeline first"));
        assert!(refused(run(&file, &second, "B").await).user_message().contains("the pipeline first"));
    }
    assert_eq!(run(&file, &first, "B").await.unwrap().as_deref(), Some("1"));
    assert_eq!(tickers(&file, "bars"), ["A", "B"]);
}
