//! Tables have the columns about their rows that they were asked to have.

use super::*;
use crate::error::ErrorKind;

const COLUMNS: &str = "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'polygon' \
    AND table_name = 'bars' AND starts_with(column_name, '_') ORDER BY column_index";
const ROWS: &str = "SELECT ticker, v::VARCHAR FROM polygon.bars ORDER BY ALL";

fn with(metadata: &[Metadata]) -> Arc<Table> {
    Arc::new(Table { metadata: metadata.to_vec(), ..(*bars()).clone() })
}

fn names(metadata: &[Metadata]) -> Vec<&'static str> {
    metadata.iter().map(|metadata| metadata.column()).collect()
}

const MODES: [WriteMode; 4] =
    [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite, WriteMode::OverwriteDedup];

#[tokio::test]
async fn a_table_has_the_columns_about_its_rows_that_are_asked_for() {
    use Metadata::{Changes, ExtractedAt, Generation, RawId};
    for asked in [&[][..], &[ExtractedAt], &[Changes, Generation], &[RawId, ExtractedAt, Changes, Generation]]
    {
        for mode in MODES {
            let (file, table) = (File::new(), with(asked));
            let before = load(&file, &table, mode, "1", &[&[bar("A", 0, 1)], &[bar("B", 0, 2)]]).await;
            assert_eq!(before, None);
            assert_eq!(file.rows(COLUMNS), names(asked), "{mode:?}");
            assert_eq!(file.rows(ROWS), ["A|1", "B|2"]);
            // It is ours, whatever it has, and goes on.
            let before = load(&file, &table, mode, "2", &[&[bar("A", 0, 3)]]).await;
            assert_eq!(before.is_some(), !mode.is_staged());
            let expected: &[&str] = match mode {
                WriteMode::Append => &["A|1", "A|3", "B|2"],
                WriteMode::AppendDedup => &["A|3", "B|2"],
                WriteMode::Overwrite | WriteMode::OverwriteDedup => &["A|3"],
            };
            assert_eq!(file.rows(ROWS), expected, "{mode:?} {asked:?}");
            assert_eq!(file.rows(COLUMNS), names(asked), "{mode:?}");
        }
    }
}

/// One that nobody asks for any more is filled all the same; one that was not there is
/// NULL in the rows before it. A run that replaces the table brings its own.
#[tokio::test]
async fn a_table_that_is_there_keeps_its_columns_and_gets_those_that_it_lacks() {
    let filled = "SELECT count(_airbyte_raw_id)::VARCHAR, count(_airbyte_extracted_at)::VARCHAR, \
        count(_airbyte_meta)::VARCHAR, count(_airbyte_generation_id)::VARCHAR FROM polygon.bars";
    for (first, second, rows) in [(&Metadata::ALL[..], &[][..], "2|2|2|2"), (&[], &Metadata::ALL, "1|1|1|1")]
    {
        let file = File::new();
        for mode in [WriteMode::Append, WriteMode::AppendDedup] {
            let file = File::new();
            load(&file, &with(first), mode, "1", &[&[bar("A", 0, 1)]]).await;
            load(&file, &with(second), mode, "2", &[&[bar("B", 0, 2)]]).await;
            assert_eq!(file.rows(COLUMNS), names(&Metadata::ALL));
            assert_eq!(file.rows(filled), [rows], "{mode:?}");
            assert_eq!(file.rows(ROWS), ["A|1", "B|2"]);
        }
        for asked in [first, second] {
            load(&file, &with(asked), WriteMode::Overwrite, "1", &[&[bar("A", 0, 1)]]).await;
            assert_eq!(file.rows(COLUMNS), names(asked));
        }
    }
}

/// Rows that come ahead wait beside the table, and what is derived of them may be there
/// without a time of fetching.
#[tokio::test]
async fn rows_ahead_and_statements_over_them_do_without() {
    for asked in [&[][..], &[Metadata::ExtractedAt]] {
        for mode in [WriteMode::Append, WriteMode::AppendDedup] {
            let (file, table) = (File::new(), with(asked));
            let sql = [
                "CREATE TABLE IF NOT EXISTS polygon.seen AS SELECT * FROM {batch} AS b LIMIT 0",
                "INSERT INTO polygon.seen SELECT * FROM {batch} AS b",
            ];
            let target = Target { derived: sql.map(Arc::from).to_vec(), ..target(&table, mode) };
            let mut sink = file.sink().await;
            let (stream, _) = sink.open_one(&target).await.unwrap();
            for (minute, ahead) in [(0, true), (1, false), (2, true)] {
                let batch = Batch { ahead, ..batch(&table, &[bar("A", minute, 1)]) };
                sink.write(stream, batch).await.unwrap();
                commit(&mut sink, stream, &minute.to_string()).await;
            }
            drop(sink);
            assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.seen"), ["3"]);
            assert_eq!(file.rows(ROWS).len(), 3);
            let seen = file.rows("SELECT column_name FROM (DESCRIBE polygon.seen)");
            assert_eq!(seen[4..], names(asked), "{mode:?}");
        }
    }
}

/// A table without them that no stream wrote is somebody else's, as it was.
#[tokio::test]
async fn a_table_that_no_stream_wrote_is_refused() {
    for mode in MODES {
        let (file, table) = (File::new(), with(&[]));
        file.execute("CREATE SCHEMA polygon; CREATE TABLE polygon.bars (ticker VARCHAR, v BIGINT)");
        let mut sink = file.sink().await;
        let error = refused(sink.open_one(&target(&table, mode)).await);
        assert_eq!(error.kind(), ErrorKind::Table);
        assert!(error.to_string().contains("was not made by tapeline"), "{error}");
        let obstacle = sink.look(&[target(&table, mode)]).await.unwrap().remove(0).obstacle.unwrap();
        assert_eq!(obstacle.to_string(), error.to_string());
        drop(sink);
        assert_eq!(
            file.rows("SELECT count(*)::VARCHAR FROM duckdb_columns() WHERE table_name = 'bars'"),
            ["2"]
        );
        let (ours, lines) = (File::new(), [bar("A", 0, 1)]);
        load(&ours, &table, mode, "1", &[&lines]).await;
        let looked = ours.sink().await.look(&[target(&table, mode)]).await.unwrap().remove(0);
        assert!(looked.obstacle.is_none() && looked.rows == 1);
        // Nor is one that somebody put in the place of ours.
        ours.execute("CREATE OR REPLACE TABLE polygon.bars AS SELECT 'mine' AS ticker");
        for asked in [&[][..], &Metadata::ALL] {
            let mut sink = ours.sink().await;
            let error = refused(sink.open_one(&target(&with(asked), mode)).await);
            assert!(error.to_string().contains("was not made by tapeline"), "{mode:?}: {error}");
            drop(sink);
            assert_eq!(ours.rows("FROM polygon.bars"), ["mine"]);
        }
    }
}
