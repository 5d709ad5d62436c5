//! Tables that are there already, and rows that need other columns.

use super::*;

use tapeline::sink::Run;

/// `id` and `v` of this type, under this name.
pub(super) fn table_of(name: &str, ty: ColumnType) -> Arc<Table> {
    Arc::new(Table::new(
        "trades",
        vec![
            column("id", ColumnType::Integer),
            column(name, ty),
            column("additional_properties", ColumnType::Json),
        ],
        &["id"],
    ))
}

fn target_of(ty: ColumnType, mode: WriteMode) -> Target {
    Target::new("pipeline", "trades", table_of("v", ty), mode)
}

pub(super) fn value(id: i64, v: &str) -> String {
    format!(r#"{{"id":{id},"v":{v}}}"#)
}

pub(super) fn full(schema: &str) -> String {
    format!("\"INTEGRATION\".\"{}\".\"TRADES\"", schema.to_uppercase())
}

/// The values of `v` by id.
pub(super) async fn values(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql =
        format!("SELECT COALESCE(CAST(\"V\" AS VARCHAR), 'NULL') FROM {} ORDER BY \"ID\"", full(schema));
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// The table's columns, sorted, with the type of `v`.
pub(super) async fn columns(sink: &SnowflakeSink, schema: &str) -> (Vec<String>, String) {
    let sql = format!(
        "SELECT CAST(COLUMN_NAME AS VARCHAR), CAST(DATA_TYPE AS VARCHAR), CAST(NUMERIC_SCALE AS VARCHAR) \
         FROM \"INTEGRATION\".INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = 'TRADES' ORDER BY 1",
        schema.to_uppercase()
    );
    let rows = sink.query(&sql).await.unwrap();
    let v = rows.iter().find(|row| row[0].as_deref() == Some("V")).expect("the column v is there");
    let ty = format!("{} {}", v[1].as_deref().unwrap(), v[2].as_deref().unwrap_or("-"));
    let names = rows.iter().map(|row| row[0].clone().unwrap()).filter(|name| !name.starts_with("_AIRBYTE"));
    (names.collect(), ty)
}

pub(super) const PRICE: ColumnType = ColumnType::Decimal(Width::PRICE);

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_column_of_decimals_widens_with_its_numbers() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&target_of(PRICE, mode)).await.unwrap();
        commit(&mut sink, stream, &[value(1, "1.5")], "p1").await;
        let rows = [value(2, "0.0000000000025"), value(3, "12345678901234567890"), value(4, "1e300")];
        let rows = Batch { table: table_of("v", PRICE), ..batch(&rows) };
        sink.write(stream, rows).await.unwrap();
        sink.commit_one(stream, "p2").await.unwrap();
        sink.finish(&[stream]).await.unwrap();
        let expected = ["1.5000000000000", "0.0000000000025", "12345678901234567890.0000000000000", "NULL"];
        assert_eq!(values(&sink, &schema).await, expected, "{mode:?}");
        let (names, ty) = columns(&sink, &schema).await;
        assert_eq!(ty, "NUMBER 13");
        assert_eq!(names, ["ADDITIONAL_PROPERTIES", "ID", "V"]);
        let beside = format!(
            "SELECT CAST(\"ADDITIONAL_PROPERTIES\" AS VARCHAR), CAST(\"_AIRBYTE_META\" AS VARCHAR) FROM {} WHERE \"ID\" = 4",
            full(&schema)
        );
        let beside = sink.query(&beside).await.unwrap().remove(0);
        assert!(beside[0].as_deref().unwrap().starts_with("{\"v\":1"), "{beside:?}");
        assert!(beside[1].as_deref().unwrap().contains("\"field\":\"v\""), "{beside:?}");
        // The next process goes on with the wider column.
        drop(sink);
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&target_of(PRICE, WriteMode::Append)).await.unwrap();
        commit(&mut sink, stream, &[value(6, "0.0000000000001")], "p4").await;
        assert_eq!(values(&sink, &schema).await[4], "0.0000000000001");
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn digits_that_a_column_cannot_hold_together_are_told() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target_of(PRICE, WriteMode::Append)).await.unwrap();
    commit(&mut sink, stream, &[value(1, "100000000000000000000")], "p1").await;
    drop(sink);
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target_of(PRICE, WriteMode::Append)).await.unwrap();
    write(&mut sink, stream, &[value(2, "0.00000000000000000001")]).await;
    let error = sink.commit_one(stream, "p2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    assert!(error.to_string().contains("is NUMBER(38,9), the rows need NUMBER(38,20)"), "{error}");
    assert_eq!(values(&sink, &schema).await, ["100000000000000000000.000000000"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_change_of_a_column_that_was_cut_is_taken_up() {
    for cut in 1..=4 {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&target_of(PRICE, WriteMode::AppendDedup)).await.unwrap();
        commit(&mut sink, stream, &[value(1, "1.5")], "p1").await;
        let statements = [
            "ADD COLUMN \"_TAPELINE_NEXT_V\" NUMBER(38,12)",
            "UPDATE",
            "DROP COLUMN \"V\"",
            "RENAME COLUMN \"_TAPELINE_NEXT_V\" TO \"V\"",
        ];
        for statement in &statements[..cut] {
            let sql = match *statement {
                "UPDATE" => format!("UPDATE {} SET \"_TAPELINE_NEXT_V\" = \"V\"", full(&schema)),
                alter => format!("ALTER TABLE {} {alter}", full(&schema)),
            };
            sink.query(&sql).await.unwrap();
        }
        drop(sink);
        let mut sink = connect(&schema).await;
        let (stream, progress) = sink.open_one(&target_of(PRICE, WriteMode::AppendDedup)).await.unwrap();
        assert_eq!(progress.as_deref(), Some("p1"));
        commit(&mut sink, stream, &[value(2, "0.000000000001")], "p2").await;
        assert_eq!(values(&sink, &schema).await, ["1.500000000000", "0.000000000001"], "cut after {cut}");
        assert_eq!(columns(&sink, &schema).await.0, ["ADDITIONAL_PROPERTIES", "ID", "V"]);
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_column_changes_its_type_where_nothing_is_lost() {
    let cases = [
        (ColumnType::Integer, "9007199254740993", PRICE, "0.5", "NUMBER 9", "9007199254740993.000000000"),
        (PRICE, "1.25", ColumnType::Integer, "9223372036854775807", "NUMBER 9", "1.250000000"),
        (ColumnType::Integer, "-5", ColumnType::Double, "1e-300", "FLOAT -", "-5.0"),
        (
            ColumnType::Date,
            "\"2024-06-28\"",
            ColumnType::Timestamp,
            "\"2024-06-28T13:30:00Z\"",
            "TIMESTAMP_TZ -",
            "2024-06-28 00:00:00+00",
        ),
        (ColumnType::Integer, "5", ColumnType::Text, "\"five\"", "TEXT -", "5"),
        (PRICE, "1.50", ColumnType::Text, "\"x\"", "TEXT -", "1.5"),
        (PRICE, "1200", ColumnType::Text, "\"x\"", "TEXT -", "1200"),
        (ColumnType::Boolean, "true", ColumnType::Text, "\"x\"", "TEXT -", "true"),
        (ColumnType::Date, "\"2024-06-28\"", ColumnType::Text, "\"x\"", "TEXT -", "2024-06-28"),
        (
            ColumnType::Double,
            "0.30000000000000004",
            ColumnType::Text,
            "\"x\"",
            "TEXT -",
            "0.30000000000000004",
        ),
        (ColumnType::Integer, "5", ColumnType::Json, "[1]", "VARIANT -", "5"),
        (ColumnType::Text, "\"say hi\"", ColumnType::Json, "{}", "VARIANT -", "\"say hi\""),
        (ColumnType::Json, "\"say hi\"", ColumnType::Text, "\"x\"", "TEXT -", "say hi"),
        (ColumnType::Json, "[1,{\"a\":null}]", ColumnType::Text, "\"x\"", "TEXT -", "[1,{\"a\":null}]"),
        (
            ColumnType::Timestamp,
            "\"2024-06-28T13:30:00.5Z\"",
            ColumnType::Text,
            "\"x\"",
            "TEXT -",
            "2024-06-28T13:30:00.5Z",
        ),
        (
            ColumnType::Timestamp,
            "\"2024-06-28T13:30:00Z\"",
            ColumnType::Text,
            "\"x\"",
            "TEXT -",
            "2024-06-28T13:30:00Z",
        ),
    ];
    for (before, old, after, new, ty, expected) in cases {
        let what = format!("{before:?} to {after:?}");
        let schema = schema();
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&target_of(before, WriteMode::AppendDedup)).await.unwrap();
        commit(&mut sink, stream, &[value(1, old), value(2, "null")], "p1").await;
        let mut sink = connect(&schema).await;
        let opened = sink.open_one(&target_of(after, WriteMode::AppendDedup)).await;
        let (stream, progress) = opened.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        assert_eq!(progress.as_deref(), Some("p1"), "{what}");
        commit(&mut sink, stream, &[value(3, new)], "p2").await;
        assert_eq!(columns(&sink, &schema).await.1, ty, "{what}");
        let stored = values(&sink, &schema).await;
        assert_eq!(stored[..2], [expected, "NULL"], "{what}");
        assert_ne!(stored[2], "NULL", "{what}");
    }
}

/// As text one value can be written in several ways: a row that comes again would be there twice.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_key_that_would_become_text_of_what_has_many_is_refused() {
    for (before, old, refuses) in [
        (ColumnType::Timestamp, "\"2024-06-28T09:30:00Z\"", true),
        (PRICE, "1.50", true),
        (ColumnType::Double, "0.5", true),
        (ColumnType::Integer, "5", false),
    ] {
        for mode in [WriteMode::AppendDedup, WriteMode::Append] {
            let of = |ty| {
                let mut target = target_of(ty, mode);
                Arc::make_mut(&mut target.table).key = vec!["v".to_owned()];
                target
            };
            let schema = schema();
            let mut sink = connect(&schema).await;
            let (stream, _) = sink.open_one(&of(before)).await.unwrap();
            commit(&mut sink, stream, &[value(1, old)], "p1").await;
            let next = of(ColumnType::Text);
            let mut looker = SnowflakeSink::peek(&config(&schema)).await.unwrap();
            let seen = looker.look(std::slice::from_ref(&next)).await.unwrap().remove(0);
            let told = seen.obstacle.map(|error| error.user_message());
            let opened = sink.open_one(&next).await;
            assert_eq!(opened.is_err(), refuses && mode == WriteMode::AppendDedup, "{before:?} in {mode:?}");
            assert_eq!(told, opened.err().map(|error| error.user_message()));
        }
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_change_of_type_that_would_lose_something_is_refused_with_its_statements() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target_of(ColumnType::Text, WriteMode::Append)).await.unwrap();
    commit(&mut sink, stream, &[value(1, "\"5\"")], "p1").await;
    let error = sink.open_one(&target_of(ColumnType::Integer, WriteMode::Append)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Table);
    let message = error.user_message();
    assert!(message.contains("column V of table TRADES is TEXT, the rows need NUMBER(38,0)"), "{message}");
    // The statements are what they say.
    let statements = message.split_once("convert it with: ").unwrap().1;
    for statement in
        statements.split("; ").filter(|part| part.starts_with("ALTER") || part.starts_with("UPDATE"))
    {
        sink.query(statement).await.unwrap_or_else(|error| panic!("{statement}: {}", error.report()));
    }
    let (stream, progress) = sink.open_one(&target_of(ColumnType::Integer, WriteMode::Append)).await.unwrap();
    assert_eq!(progress.as_deref(), Some("p1"));
    commit(&mut sink, stream, &[value(2, "6")], "p2").await;
    assert_eq!(values(&sink, &schema).await, ["5", "6"]);
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_refresh_and_an_overwrite_take_new_types() {
    for mode in [WriteMode::Overwrite, WriteMode::OverwriteDedup] {
        let of = |ty, generation| Target { run: Some(Run { generation, sync: None }), ..target_of(ty, mode) };
        let schema = schema();
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&of(ColumnType::Text, 1)).await.unwrap();
        commit(&mut sink, stream, &[value(1, "\"old\""), value(2, "\"older\"")], "p1").await;
        sink.finish(&[stream]).await.unwrap();
        let (stream, progress) = sink.open_one(&of(PRICE, 2)).await.unwrap();
        assert_eq!(progress, None);
        commit(&mut sink, stream, &[value(1, "1.5")], "p2").await;
        // Readers have the old table until the new one is complete.
        assert_eq!(values(&sink, &schema).await, ["old", "older"]);
        assert_eq!(columns(&sink, &schema).await.1, "TEXT -");
        sink.finish(&[stream]).await.unwrap();
        assert_eq!(values(&sink, &schema).await, ["1.500000000"]);
        assert_eq!(columns(&sink, &schema).await.1, "NUMBER 9");
        // And an unfinished one whose types change begins anew.
        let (stream, _) = sink.open_one(&of(PRICE, 3)).await.unwrap();
        commit(&mut sink, stream, &[value(7, "7")], "half").await;
        let (stream, progress) = sink.open_one(&of(ColumnType::Boolean, 3)).await.unwrap();
        assert_eq!(progress, None);
        commit(&mut sink, stream, &[value(8, "true")], "whole").await;
        sink.finish(&[stream]).await.unwrap();
        assert_eq!(values(&sink, &schema).await, ["true"]);
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn columns_whose_names_snowflake_cannot_have_have_others() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let long = "n".repeat(300);
    let mut table = (*table_of("current_date", ColumnType::Text)).clone();
    for name in ["LocalTime", "_current_date", "current_user", &long] {
        table.columns.insert(2, column(name, ColumnType::Text));
    }
    table.key = vec!["current_date".to_owned()];
    let target = Target::new("pipeline", "trades", Arc::new(table), WriteMode::AppendDedup);
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let row = |user: &str| {
        format!(
            r#"{{"id":1,"current_date":"a","LocalTime":"b","_current_date":"c","current_user":"{user}","{long}":"e"}}"#
        )
    };
    commit(&mut sink, stream, &[row("d")], "p1").await;
    commit(&mut sink, stream, &[row("d2")], "p2").await;
    let held = format!("{}_", "N".repeat(238));
    let sql = format!(
        "SELECT CAST(COLUMN_NAME AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.COLUMNS \
         WHERE TABLE_SCHEMA = '{}' AND COLUMN_NAME LIKE '{held}%'",
        schema.to_uppercase()
    );
    let held = one(&sink, &sql).await.unwrap();
    assert_eq!(held.len(), 255);
    let sql = format!(
        "SELECT \"_CURRENT_DATE\", \"_LOCALTIME\", \"__CURRENT_DATE\", \"_CURRENT_USER\", \"{held}\" FROM {}",
        full(&schema)
    );
    let rows = sink.query(&sql).await.unwrap();
    let texts = |row: &Vec<Option<String>>| row.iter().map(|cell| cell.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(rows.iter().map(texts).collect::<Vec<_>>(), [["a", "b", "c", "d2", "e"]]);
}
