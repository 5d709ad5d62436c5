//! What a platform asks of the sink beyond a pipeline: runs that it counts itself,
//! schemas of its streams, and records of any source.

use super::*;

use tapeline::sink::Run;

fn run(mode: WriteMode, generation: i64) -> Target {
    Target { run: Some(Run { generation, sync: Some(10 + generation) }), ..target(mode) }
}

/// Opens a run as a new process does; returns whether it goes on with an unfinished one.
async fn begin(schema: &str, target: &Target) -> (SnowflakeSink, StreamId, bool) {
    let mut sink = connect(schema).await;
    let (stream, progress) = sink.open_one(target).await.unwrap();
    (sink, stream, progress.is_some())
}

/// Tables of the schema that are not the readers' business.
async fn staging(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT CAST(TABLE_NAME AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.TABLES \
         WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME LIKE '%NEXT%'",
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// Generation and metadata of every row, by id.
async fn metadata(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT CAST(\"_AIRBYTE_GENERATION_ID\" AS VARCHAR) || ' ' || CAST(\"_AIRBYTE_META\" AS VARCHAR) \
         FROM \"INTEGRATION\".\"{}\".\"TRADES\" ORDER BY \"ID\"",
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_namespace_is_a_schema_and_the_sessions_own_stays() {
    let (own, other) = (schema(), format!("{} größe é", schema()));
    let mut sink = connect(&own).await;
    let there = Target { schema: Some(other.clone()), ..run(WriteMode::AppendDedup, 1) };
    let there = Target { stream: "other/trades".to_owned(), ..there };
    let staged = run(WriteMode::Overwrite, 2);
    let staged = Target { mode: staged.mode, run: staged.run, ..there.clone() };
    let (here, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    let (away, progress) = sink.open_one(&there).await.unwrap();
    assert_eq!(progress, None);
    // Both take turns: neither has the other's rows, files or progress.
    for n in 1..=2 {
        commit(&mut sink, here, &[row("HERE", n, "1")], "here").await;
        commit(&mut sink, away, &[row("AWAY", n, "1")], "away").await;
    }
    assert_eq!(prices(&sink, &own).await, ["HERE/1/1.0", "HERE/2/1.0"]);
    assert_eq!(prices(&sink, &other).await, ["AWAY/1/1.0", "AWAY/2/1.0"]);
    drop(sink);

    // Now the schema is there, and the table that replaces is beside the one that is replaced.
    let mut sink = connect(&own).await;
    assert_eq!(sink.open_one(&there).await.unwrap().1.as_deref(), Some("away"));
    assert_eq!(sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap().1.as_deref(), Some("here"));
    let (away, _) = sink.open_one(&staged).await.unwrap();
    commit(&mut sink, away, &[row("NEW", 1, "1")], "p").await;
    assert_eq!(staging(&sink, &other).await.len(), 1);
    assert!(staging(&sink, &own).await.is_empty());
    sink.finish(&[away]).await.unwrap();
    assert_eq!(prices(&sink, &other).await, ["NEW/1/1.0"]);
    assert!(staging(&sink, &other).await.is_empty());
    assert_eq!(prices(&sink, &own).await, ["HERE/1/1.0", "HERE/2/1.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn runs_are_told_apart_by_the_number_that_the_platform_gives_them() {
    let schema = schema();
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::Overwrite, 4)).await;
    assert!(!goes_on);
    commit(&mut sink, stream, &[row("A", 1, "1")], "p1").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(metadata(&sink, &schema).await, [r#"4 {"sync_id":14,"changes":[]}"#]);

    // Left unfinished, and gone on with.
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::Overwrite, 6)).await;
    assert!(!goes_on);
    commit(&mut sink, stream, &[row("B", 1, "1")], "p2").await;
    write(&mut sink, stream, &[row("LOST", 1, "1")]).await;
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::Overwrite, 6)).await;
    assert!(goes_on);
    commit(&mut sink, stream, &[row("B", 2, "1")], "p3").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0"], "a reader sees the old rows");

    // Thrown away by the next one.
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::Overwrite, 7)).await;
    assert!(!goes_on);
    commit(&mut sink, stream, &[row("C", 1, "1")], "p4").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0"]);
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["C/1/1.0"]);

    // The same again after its end: its rows are there and get company.
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::Overwrite, 7)).await;
    assert!(goes_on);
    commit(&mut sink, stream, &[row("C", 2, "1")], "p5").await;
    assert_eq!(prices(&sink, &schema).await, ["C/1/1.0", "C/2/1.0"]);
    sink.finish(&[stream]).await.unwrap();
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::Overwrite, 7)).await;
    commit(&mut sink, stream, &[row("C", 3, "1")], "p6").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["C/1/1.0", "C/2/1.0", "C/3/1.0"]);
    assert!(staging(&sink, &schema).await.is_empty());
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn rows_of_other_generations_are_added_to_and_then_replaced() {
    let schema = schema();
    let meta = |generation: i64| format!(r#"{generation} {{"sync_id":{},"changes":[]}}"#, 10 + generation);
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::AppendDedup, 0)).await;
    commit(&mut sink, stream, &[row("A", 1, "1"), row("A", 2, "1")], "p1").await;
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::AppendDedup, 1)).await;
    assert!(goes_on);
    commit(&mut sink, stream, &[row("A", 2, "2"), row("A", 3, "2")], "p2").await;
    assert_eq!(metadata(&sink, &schema).await, [meta(0), meta(1), meta(1)]);

    // The table has rows of this generation and of others: it is replaced all the same.
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    commit(&mut sink, stream, &[row("A", 2, "3")], "p3").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/2/2.0", "A/3/2.0"]);
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["A/2/3.0"]);
    assert_eq!(metadata(&sink, &schema).await, [meta(1)]);

    // A refresh that was begun and is not wanted any more leaves the table as it is.
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 2)).await;
    commit(&mut sink, stream, &[row("B", 1, "1")], "p4").await;
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::AppendDedup, 2)).await;
    assert!(goes_on, "with the progress of the rows that are in the table");
    assert!(staging(&sink, &schema).await.is_empty(), "nobody goes on with them");
    commit(&mut sink, stream, &[row("A", 4, "1")], "p5").await;
    assert_eq!(prices(&sink, &schema).await, ["A/2/3.0", "A/4/1.0"]);
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::OverwriteDedup, 2)).await;
    assert!(!goes_on);
    commit(&mut sink, stream, &[row("D", 1, "1")], "p6").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["D/1/1.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn what_a_process_that_died_could_not_drop_is_dropped_by_the_next() {
    let schema = schema();
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::Overwrite, 1)).await;
    commit(&mut sink, stream, &[row("A", 1, "1")], "p1").await;
    let left = staging(&sink, &schema).await;
    sink.finish(&[stream]).await.unwrap();
    let next = format!("\"INTEGRATION\".\"{}\".\"{}\"", schema.to_uppercase(), left[0]);
    sink.query(&format!("CREATE TABLE {next} AS SELECT 1 AS A")).await.unwrap();
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::Overwrite, 1)).await;
    assert!(staging(&sink, &schema).await.is_empty());
    commit(&mut sink, stream, &[row("A", 2, "1")], "p2").await;
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.0", "A/2/1.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_refresh_keeps_the_last_row_of_a_key() {
    let schema = schema();
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    commit(&mut sink, stream, &[row("A", 1, "1"), row("A", 2, "1"), row("A", 1, "2")], "p1").await;
    // The platform did not hear of the commit, so the source sends its rows again.
    let (mut sink, stream, goes_on) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    assert!(goes_on);
    commit(&mut sink, stream, &[row("A", 1, "2"), row("A", 2, "3"), row("A", 3, "1")], "p2").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["A/1/2.0", "A/2/3.0", "A/3/1.0"]);
    // After it is finished too.
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    commit(&mut sink, stream, &[row("A", 3, "4")], "p3").await;
    sink.finish(&[stream]).await.unwrap();
    assert_eq!(prices(&sink, &schema).await, ["A/1/2.0", "A/2/3.0", "A/3/4.0"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_process_of_an_earlier_generation_cannot_commit() {
    let schema = schema();
    let (mut old, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    commit(&mut old, stream, &[row("OLD", 1, "1")], "p1").await;
    let (mut new, next, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 2)).await;
    commit(&mut new, next, &[row("NEW", 1, "1")], "p1").await;
    write(&mut old, stream, &[row("OLD", 2, "1")]).await;
    assert_eq!(old.commit_one(stream, "p2").await.unwrap_err().kind(), ErrorKind::Conflict);
    let (mut old, stream, _) = begin(&schema, &run(WriteMode::OverwriteDedup, 1)).await;
    assert_eq!(new.finish(&[next]).await.unwrap_err().kind(), ErrorKind::Conflict);
    old.finish(&[stream]).await.unwrap();
    assert!(
        prices(&old, &schema).await.is_empty(),
        "an empty run of the first generation was the last to end"
    );
}

/// Columns of a source that was not made for a warehouse.
const AWKWARD: [(&str, &str); 10] = [
    ("say \"hi\"", "1"),
    ("a b", "2"),
    ("MixedCase", "3"),
    ("größe ʼn", "4"),
    ("dotted.path[0]", "5"),
    ("it's", "6"),
    ("back\\slash", "7"),
    ("is it?", "8"),
    ("日本語", "9"),
    ("semi; --:colon", "10"),
];

/// A table of such columns, a row of it, and its values as [`awkward_rows`] gives them.
fn awkward() -> (Arc<Table>, String, Vec<Option<String>>) {
    // A text column with an apostrophe is more than fakesnow can create.
    let texts: Vec<_> = AWKWARD.iter().filter(|(name, _)| !name.contains('\'')).collect();
    let mut columns: Vec<_> = texts.iter().map(|(name, _)| column(name, ColumnType::Text)).collect();
    columns.extend(
        AWKWARD.iter().map(|(name, _)| column(&format!("{name} N"), ColumnType::Decimal(Width::new(38, 0)))),
    );
    let key = [AWKWARD[0].0, &format!("{} N", AWKWARD[3].0)];
    let table = Arc::new(Table::new("Awk\"ward täble", columns, &key));
    let number = |value: &str| serde_json::Value::from(value.parse::<i64>().unwrap());
    let strings = texts.iter().map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(*value)));
    let numbers = AWKWARD.iter().map(|(name, value)| (format!("{name} N"), number(value)));
    let row = serde_json::Value::Object(strings.chain(numbers).collect()).to_string();
    let values = texts.into_iter().chain(&AWKWARD).map(|(_, value)| Some((*value).to_owned()));
    (table, row, values.collect())
}

/// All rows of the table, whole numbers without their zeros.
async fn awkward_rows(schema: &str, table: &Table) -> Vec<Vec<Option<String>>> {
    let text = |column: &Column| {
        let name = column.name.to_uppercase().replace('"', "\"\"");
        match column.ty {
            ColumnType::Decimal(_) => format!("CAST(CAST(\"{name}\" AS NUMBER(38,0)) AS VARCHAR)"),
            _ => format!("\"{name}\""),
        }
    };
    let columns: Vec<_> = table.columns.iter().map(text).collect();
    let sql = format!(
        "SELECT {} FROM \"INTEGRATION\".\"{}\".\"AWK\"\"WARD TÄBLE\"",
        columns.join(", "),
        schema.to_uppercase()
    );
    connect(schema).await.query(&sql).await.unwrap()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn awkward_names_of_columns_survive() {
    let schema = schema();
    let (table, row, values) = awkward();
    for (mode, count) in [(WriteMode::AppendDedup, 1), (WriteMode::Append, 3), (WriteMode::Overwrite, 2)] {
        let target = Target::new("airbyte", "/awkward", Arc::clone(&table), mode);
        // Found again by the second process, and not created or widened anew.
        for is_second in [false, true] {
            let mut sink = connect(&schema).await;
            let (stream, progress) = sink.open_one(&target).await.unwrap();
            // An append goes on where the merge before it ended.
            assert_eq!(progress.is_some(), is_second || mode == WriteMode::Append, "{mode:?}");
            let mut rows = Rows::default();
            rows.push(row.as_bytes());
            let batch = Batch { table: Arc::clone(&table), rows, ..batch(&[]) };
            sink.write(stream, batch).await.unwrap();
            sink.commit_one(stream, "p").await.unwrap();
            if is_second {
                sink.finish(&[stream]).await.unwrap();
            }
        }
        assert_eq!(awkward_rows(&schema, &table).await, vec![values.clone(); count], "{mode:?}");
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn each_row_has_its_own_time_and_what_its_source_said_of_it() {
    let schema = schema();
    let (mut sink, stream, _) = begin(&schema, &run(WriteMode::AppendDedup, 3)).await;
    let note =
        |field: &str| format!(r#"{{"change":"NULLED","field":"{field}","reason":"SOURCE_RETRIEVAL_ERROR"}}"#);
    let mut rows = Rows::default();
    rows.push(row("A", 1, "1").as_bytes());
    rows.note(&note("a \\\"b\\\""));
    rows.push(row("A", 2, "1").as_bytes());
    // Two of the source's and one of ours.
    rows.note(&format!("{},{}", note("x"), note("y")));
    rows.note_change(2, tapeline::batch::Cause::Destination);
    rows.push(br#"{"ticker":"A","id":3}"#);
    let times = [1_704_164_645_123, 0, 1_795_226_036_999];
    let batch = Batch { rows, extracted_at: ExtractedAt::Each(times.to_vec()), ..batch(&[]) };
    sink.write(stream, batch).await.unwrap();
    sink.commit_one(stream, "p").await.unwrap();
    let ours = r#"{"field":"price","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}"#;
    assert_eq!(
        metadata(&sink, &schema).await,
        [
            r#"3 {"sync_id":13,"changes":[]}"#.to_owned(),
            format!(r#"3 {{"sync_id":13,"changes":[{}]}}"#, note("a \\\"b\\\"")),
            format!(r#"3 {{"sync_id":13,"changes":[{},{},{ours}]}}"#, note("x"), note("y")),
        ]
    );
    let sql = format!(
        "SELECT CAST(\"_AIRBYTE_EXTRACTED_AT\" AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"TRADES\" ORDER BY \"ID\"",
        schema.to_uppercase()
    );
    let times: Vec<_> =
        sink.query(&sql).await.unwrap().into_iter().filter_map(|mut row| row.remove(0)).collect();
    assert_eq!(times, ["2024-01-02 03:04:05.123+00", "1970-01-01 00:00:00+00", "2026-11-21 01:53:56.999+00"]);
}
