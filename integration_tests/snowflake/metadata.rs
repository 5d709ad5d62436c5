//! Tables have the columns about their rows that they were asked to have.

use super::crash::MENDED;
use super::cut::{cut_everywhere, sink_to_cut};
use super::*;

fn with(metadata: &[Metadata], mode: WriteMode) -> Target {
    Target { table: Arc::new(Table { metadata: metadata.to_vec(), ..table() }), ..target(mode) }
}

fn names(metadata: &[Metadata]) -> Vec<String> {
    metadata.iter().map(|metadata| metadata.column().to_uppercase()).collect()
}

/// The columns about its rows that the table has, in order.
async fn columns(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT COLUMN_NAME FROM \"INTEGRATION\".INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = '{}' \
         AND TABLE_NAME = 'TRADES' AND STARTSWITH(COLUMN_NAME, '_') ORDER BY ORDINAL_POSITION",
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// A run with these rows, from its beginning to its end; says whether it found progress.
async fn run(schema: &str, target: &Target, rows: &[String]) -> bool {
    let mut sink = connect(schema).await;
    let (stream, stored) = sink.open_one(target).await.unwrap();
    commit(&mut sink, stream, rows, "p").await;
    sink.finish(&[stream]).await.unwrap_or_else(|error| panic!("{}", error.report()));
    stored.is_some()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_table_has_the_columns_about_its_rows_that_are_asked_for() {
    use Metadata::{Changes, ExtractedAt, Generation};
    for asked in [&[][..], &[ExtractedAt], &[Changes, Generation]] {
        for mode in
            [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite, WriteMode::OverwriteDedup]
        {
            let (schema, target) = (schema(), with(asked, mode));
            let sink = connect(&schema).await;
            assert!(!run(&schema, &target, &[row("A", 1, "1"), row("B", 2, "2")]).await);
            assert_eq!(columns(&sink, &schema).await, names(asked), "{mode:?}");
            assert_eq!(run(&schema, &target, &[row("A", 1, "3")]).await, !mode.is_staged());
            let expected: &[&str] = match mode {
                WriteMode::Append => &["A/1/1.0", "A/1/3.0", "B/2/2.0"],
                WriteMode::AppendDedup => &["A/1/3.0", "B/2/2.0"],
                WriteMode::Overwrite | WriteMode::OverwriteDedup => &["A/1/3.0"],
            };
            assert_eq!(prices(&sink, &schema).await, expected, "{mode:?} {asked:?}");
            assert_eq!(columns(&sink, &schema).await, names(asked), "{mode:?}");
        }
    }
}

/// One that nobody asks for any more is filled all the same: it may not be NULL. One that
/// was not there is NULL in the rows before it. A run that replaces the table brings its own.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_table_that_is_there_keeps_its_columns_and_gets_those_that_it_lacks() {
    for (first, second, expected) in [(&Metadata::ALL[..], &[][..], "2"), (&[], &Metadata::ALL, "1")] {
        for mode in [WriteMode::Append, WriteMode::AppendDedup] {
            let schema = schema();
            let sink = connect(&schema).await;
            run(&schema, &with(first, mode), &[row("A", 1, "1")]).await;
            run(&schema, &with(second, mode), &[row("B", 2, "2")]).await;
            assert_eq!(columns(&sink, &schema).await, names(&Metadata::ALL));
            for metadata in names(&Metadata::ALL) {
                let schema = schema.to_uppercase();
                let sql = format!(
                    "SELECT CAST(COUNT(\"{metadata}\") AS VARCHAR) FROM \"INTEGRATION\".\"{schema}\".\"TRADES\""
                );
                assert_eq!(one(&sink, &sql).await.unwrap(), expected, "{metadata} {mode:?}");
            }
            assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "B/2/2.0"]);
        }
        let schema = schema();
        let sink = connect(&schema).await;
        for (id, asked) in [first, second].into_iter().enumerate() {
            let target = with(asked, WriteMode::Overwrite);
            run(&schema, &target, &[row("A", id.try_into().unwrap(), "1")]).await;
            assert_eq!(columns(&sink, &schema).await, names(asked));
            assert_eq!(prices(&sink, &schema).await, [format!("A/{id}/1.0")]);
        }
    }
}

/// A table of the user's is refused and stays as it is; so is one put in the place of ours.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_table_that_no_stream_wrote_is_refused() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite, WriteMode::OverwriteDedup] {
        for ours_was_there in [false, true] {
            let schema = schema();
            let sink = connect(&schema).await;
            let full = format!("\"INTEGRATION\".\"{}\".\"TRADES\"", schema.to_uppercase());
            if ours_was_there {
                run(&schema, &with(&[], mode), &[row("A", 1, "1")]).await;
                sink.query(&format!("DROP TABLE {full}")).await.unwrap();
            }
            sink.query(&format!("CREATE TABLE {full} AS SELECT 'mine' AS \"TICKER\"")).await.unwrap();
            for asked in [&[][..], &Metadata::ALL] {
                let target = with(asked, mode);
                let mut sink = connect(&schema).await;
                let error = sink.open_one(&target).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Table);
                assert!(error.to_string().contains("was not made by tapeline"), "{mode:?}: {error}");
                let obstacle = sink.look(&[target]).await.unwrap().remove(0).obstacle.unwrap();
                assert_eq!(obstacle.to_string(), error.to_string());
            }
            let rows = sink.query(&format!("SELECT * FROM {full}")).await.unwrap();
            assert_eq!(rows, [[Some("mine".to_owned())]], "{mode:?}");
        }
    }
}

fn plain() -> Target {
    with(&[], WriteMode::Append)
}

/// The process that is cut while it opens a stream for the first time.
#[tokio::test]
#[ignore = "part of a_table_that_was_begun_is_ours"]
async fn the_opening_to_be_cut() {
    let Some((mut sink, _)) = sink_to_cut().await else { return };
    let (stream, _) = sink.open_one(&plain()).await.unwrap();
    commit(&mut sink, stream, &[row("A", 1, "1")], "p").await;
}

/// Its columns alone do not say so: those about its rows were not asked for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_table_that_was_begun_is_ours() {
    let judge = async |_: SnowflakeSink, schema: &str, point: u64| {
        let mut sink = SnowflakeSink::connect(&config_at(MENDED, schema)).await.unwrap();
        let (stream, stored) =
            sink.open_one(&plain()).await.unwrap_or_else(|error| panic!("{point}: {error}"));
        if stored.is_none() {
            commit(&mut sink, stream, &[row("A", 1, "1")], "p").await;
        }
        assert_eq!(prices(&sink, schema).await, ["A/1/1.0"], "cut before statement {point}");
    };
    let process = "snowflake::metadata::the_opening_to_be_cut";
    let points = cut_everywhere(process, async |_, _| {}, judge).await;
    assert!(points > 10, "{points} statements");
}
