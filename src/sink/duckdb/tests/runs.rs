//! What a platform asks beyond a pipeline: runs that it counts itself, schemas of
//! its streams, and records of any source.

use super::*;
use crate::sink::Run;

const ALL: &str = "SELECT ticker, v::VARCHAR, _airbyte_generation_id::VARCHAR FROM polygon.bars ORDER BY ALL";

fn run(mode: WriteMode, generation: i64) -> Target {
    Target { run: Some(Run { generation, sync: Some(10 + generation) }), ..target(&bars(), mode) }
}

/// Opens a run as a new process does and commits a row; returns whether it goes on
/// with an unfinished one.
async fn commit_row(file: &File, target: &Target, row: String, finishes: bool) -> bool {
    let mut sink = file.sink().await;
    let (stream, progress) = sink.open_one(target).await.expect("the stream opens");
    write(&mut sink, stream, &target.table, &[row]).await;
    commit(&mut sink, stream, "p").await;
    if finishes {
        sink.finish(&[stream]).await.expect("the run finishes");
    }
    progress.is_some()
}

#[tokio::test]
async fn runs_are_told_apart_by_the_number_that_the_platform_gives_them() {
    let (file, overwrite) = (File::new(), |generation| run(WriteMode::Overwrite, generation));
    assert!(!commit_row(&file, &overwrite(4), bar("A", 1, 1), true).await);
    assert_eq!(file.rows(ALL), ["A|1|4"]);
    // Left unfinished, gone on with, and thrown away by the next one.
    assert!(!commit_row(&file, &overwrite(6), bar("B", 1, 2), false).await);
    assert!(commit_row(&file, &overwrite(6), bar("B", 2, 2), false).await);
    assert!(!commit_row(&file, &overwrite(7), bar("C", 1, 3), false).await);
    assert_eq!(file.rows(ALL), ["A|1|4"], "a reader sees the old rows");
    assert!(commit_row(&file, &overwrite(7), bar("C", 2, 4), true).await);
    assert_eq!(file.rows(ALL), ["C|3|7", "C|4|7"]);
    // The same again after its end: its rows are there and get company.
    assert!(commit_row(&file, &overwrite(7), bar("C", 3, 5), true).await);
    assert_eq!(file.rows(ALL), ["C|3|7", "C|4|7", "C|5|7"]);
    assert_eq!(
        file.rows("SELECT DISTINCT _airbyte_meta::VARCHAR FROM polygon.bars"),
        [r#"{"sync_id":17,"changes":[]}"#]
    );
}

#[tokio::test]
async fn a_table_with_rows_of_other_generations_is_replaced() {
    let file = File::new();
    commit_row(&file, &run(WriteMode::AppendDedup, 1), bar("A", 1, 1), true).await;
    commit_row(&file, &run(WriteMode::AppendDedup, 2), bar("A", 2, 2), true).await;
    assert_eq!(file.rows(ALL), ["A|1|1", "A|2|2"]);
    commit_row(&file, &run(WriteMode::OverwriteDedup, 2), bar("A", 3, 3), true).await;
    assert_eq!(file.rows(ALL), ["A|3|2"]);
}

#[tokio::test]
async fn a_refresh_can_keep_one_row_a_key() {
    let (file, target) = (File::new(), run(WriteMode::OverwriteDedup, 1));
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target).await.unwrap();
    write(&mut sink, stream, &target.table, &[bar("A", 1, 1), bar("A", 2, 1), bar("A", 1, 2)]).await;
    commit(&mut sink, stream, "1").await;
    write(&mut sink, stream, &target.table, &[bar("A", 2, 3)]).await;
    commit(&mut sink, stream, "2").await;
    sink.finish(&[stream]).await.unwrap();
    drop(sink);
    assert_eq!(file.rows(ALL), ["A|2|1", "A|3|1"]);
}

#[tokio::test]
async fn a_namespace_is_a_schema_and_progress_is_where_its_table_is() {
    let (file, table) = (File::new(), bars());
    let mut sink = file.sink().await;
    let away = Target {
        schema: Some("the \"other\"".to_owned()),
        ..Target::new("airbyte", "other/bars", Arc::clone(&table), WriteMode::Append)
    };
    let (here, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    let (there, _) = sink.open_one(&away).await.unwrap();
    write(&mut sink, here, &table, &[bar("HERE", 1, 1)]).await;
    commit(&mut sink, here, "1").await;
    write(&mut sink, there, &table, &[bar("THERE", 1, 2)]).await;
    commit(&mut sink, there, "2").await;
    drop(sink);
    assert_eq!(file.rows(ALL), ["HERE|1|0"]);
    assert_eq!(file.rows("SELECT ticker FROM \"the \"\"other\"\"\".bars"), ["THERE"]);
    let progress = |schema: &str| file.rows(&format!("SELECT \"position\" FROM {schema}._tapeline_progress"));
    assert_eq!(progress("polygon"), ["1"]);
    assert_eq!(progress("\"the \"\"other\"\"\""), ["2"]);
}

#[tokio::test]
async fn rows_keep_their_times_and_what_their_source_said_of_them() {
    let (file, table) = (File::new(), bars());
    let target =
        Target { run: Some(Run { generation: 3, sync: None }), ..target(&table, WriteMode::AppendDedup) };
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let mut batch = batch(&table, &[]);
    for (index, row) in [bar("A", 1, 1), bar("A", 2, 2), bar("A", 1, 3)].iter().enumerate() {
        batch.rows.buffer().extend_from_slice(row.as_bytes());
        batch.rows.note(&format!(
            r#"{{"field":"x{index}","change":"TRUNCATED","reason":"PLATFORM_FIELD_SIZE_LIMITATION"}}"#
        ));
        if index == 2 {
            batch.rows.note_change(2, Cause::Destination);
        }
        batch.rows.end_row();
    }
    batch.extracted_at = ExtractedAt::Each(vec![1_000, 2_000, 3_000]);
    sink.write(stream, batch).await.unwrap();
    commit(&mut sink, stream, "1").await;
    drop(sink);
    let said = |field: &str| {
        format!(r#"{{"field":"{field}","change":"TRUNCATED","reason":"PLATFORM_FIELD_SIZE_LIMITATION"}}"#)
    };
    let nulled = r#"{"field":"v","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}"#;
    assert_eq!(
        file.rows("SELECT v::VARCHAR, epoch_ms(_airbyte_extracted_at)::VARCHAR, _airbyte_meta::VARCHAR FROM polygon.bars ORDER BY v"),
        [
            format!(r#"2|2000|{{"changes":[{}]}}"#, said("x1")),
            format!(r#"3|3000|{{"changes":[{},{nulled}]}}"#, said("x2")),
        ]
    );
}

#[tokio::test]
async fn columns_have_the_names_that_they_have() {
    let file = File::new();
    let names = ["say \"hi\"", "Two Words", "größe", "it's", "back\\slash", "SELECT"];
    let table = Arc::new(Table::new(
        "Odd \"Names\"",
        names
            .iter()
            .map(|name| column(name, ColumnType::Integer))
            .chain([column(EXTRA_COLUMN, ColumnType::Json)])
            .collect(),
        &["Two Words"],
    ));
    let row = |names: &[&str]| {
        let members: Vec<String> =
            names.iter().map(|name| format!("{}:{}", serde_json::Value::from(*name), name.len())).collect();
        format!("{{{}}}", members.join(","))
    };
    let mut backwards = names;
    backwards.reverse();
    // Twice: the second run finds every column, and the keys come in another order.
    for (progress, row) in [("1", row(&names)), ("2", row(&backwards))] {
        load(&file, &table, WriteMode::AppendDedup, progress, &[&[row]]).await;
    }
    let columns = r#""say ""hi""", "Two Words", "größe", "it's", "back\slash", "SELECT""#;
    assert_eq!(
        file.rows(&format!(
            "SELECT COLUMNS(*)::VARCHAR FROM (SELECT {columns} FROM polygon.\"Odd \"\"Names\"\"\")"
        )),
        ["8|9|7|4|10|6"]
    );
}
