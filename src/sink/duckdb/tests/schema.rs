use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn a_column_that_the_catalogue_gained_is_added() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let mut wider = (*table).clone();
    wider.columns.insert(1, column("price", ColumnType::Decimal));
    let wider = Arc::new(wider);
    let row = r#"{"ticker":"B","price":1.5}"#.to_owned();
    let before = load(&file, &wider, WriteMode::Append, "2", &[&[row]]).await;
    assert_eq!(before.as_deref(), Some("1"));
    assert_eq!(
        file.rows("SELECT ticker, v::VARCHAR, price::VARCHAR FROM polygon.bars ORDER BY ticker"),
        ["A|1|NULL", "B|NULL|1.500000000000000000"]
    );
    load(&file, &table, WriteMode::AppendDedup, "3", &[&[bar("C", 1, 1)]]).await;
    assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.bars"), ["3"], "a narrower table fits, too");
}

#[tokio::test]
async fn a_column_of_another_type_is_refused_and_nothing_is_changed() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let mut other = (*table).clone();
    other.columns.insert(0, column("fresh", ColumnType::Text));
    other.columns[3].ty = ColumnType::Decimal;
    let mut sink = file.sink().await;
    let error = refused(sink.open_one(&target(&Arc::new(other), WriteMode::Append)).await);
    assert_eq!(error.kind(), ErrorKind::Table);
    let message = error.user_message();
    assert!(
        message.contains(r#"the column v of "polygon"."bars" is BIGINT, but its rows need DECIMAL(38,18)"#),
        "{message}"
    );
    assert!(message.contains(r#"ALTER TABLE "polygon"."bars" ALTER "v" TYPE DECIMAL(38,18)"#), "{message}");
    let (_, before) = sink.open_one(&target(&table, WriteMode::Append)).await.expect("the sink goes on");
    assert_eq!(before.as_deref(), Some("1"));
    drop(sink);
    assert_eq!(
        file.rows("SELECT count(*)::VARCHAR FROM duckdb_columns() WHERE column_name = 'fresh'"),
        ["0"]
    );
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    for (sql, part) in [
        ("CREATE TABLE polygon.Bars (ticker VARCHAR)", "was not made by tapeline"),
        ("CREATE VIEW polygon.bars AS SELECT 1 AS x", "is a view"),
    ] {
        let file = File::new();
        file.execute(&format!("CREATE SCHEMA polygon; {sql}"));
        for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
            let mut sink = file.sink().await;
            let error = refused(sink.open_one(&target(&bars(), mode)).await);
            assert_eq!(error.kind(), ErrorKind::Table);
            assert!(error.user_message().contains(part), "{}", error.user_message());
            assert!(error.user_message().contains("choose another `schema`"), "{}", error.user_message());
        }
        assert_eq!(
            file.rows(
                "SELECT count(*)::VARCHAR FROM duckdb_columns() WHERE schema_name = 'polygon' \
                 AND NOT starts_with(table_name, '_tapeline_')"
            ),
            ["1"]
        );
    }
}

#[tokio::test]
async fn names_with_quotes_are_names() {
    let file = File::new();
    let mut config = file.config();
    config.schema = "it's \"mine\"; --".to_owned();
    let table = bars();
    for _ in 0..2 {
        for mode in [WriteMode::AppendDedup, WriteMode::Overwrite] {
            let mut sink = DuckDbSink::connect(&config).await.unwrap();
            let mut own = target(&table, mode);
            own.pipeline = "it's".to_owned();
            let (stream, _) = sink.open_one(&own).await.unwrap();
            write(&mut sink, stream, &table, &[bar("it's", 1, 1)]).await;
            commit(&mut sink, stream, "1").await;
            sink.finish(&[stream]).await.unwrap();
        }
    }
    assert_eq!(file.rows(r#"SELECT count(*)::VARCHAR FROM "it's ""mine""; --".bars"#), ["1"]);
}

#[tokio::test]
async fn a_table_that_an_overwrite_replaces_may_have_other_columns() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Overwrite, "1", &[&[bar("A", 1, 1)]]).await;
    let mut other = (*table).clone();
    other.columns[2].ty = ColumnType::Decimal;
    let other = Arc::new(other);
    load(&file, &other, WriteMode::Overwrite, "2", &[&[bar("B", 1, 2)]]).await;
    assert_eq!(file.rows("SELECT ticker, v::VARCHAR FROM polygon.bars"), ["B|2.000000000000000000"]);
}

#[tokio::test]
async fn an_unfinished_overwrite_whose_columns_changed_begins_anew() {
    let (file, table) = (File::new(), bars());
    {
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, WriteMode::Overwrite)).await.unwrap();
        write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
        commit(&mut sink, stream, "half").await;
    }
    let mut other = (*table).clone();
    other.columns[2].ty = ColumnType::Decimal;
    assert_eq!(load(&file, &Arc::new(other), WriteMode::Overwrite, "1", &[&[bar("B", 1, 2)]]).await, None);
    assert_eq!(file.rows("SELECT ticker, v::VARCHAR FROM polygon.bars"), ["B|2.000000000000000000"]);
}

#[tokio::test]
async fn a_view_over_an_overwritten_table_goes_on_working() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Overwrite, "1", &[&[bar("A", 1, 1)]]).await;
    file.execute("CREATE VIEW polygon.latest AS SELECT ticker FROM polygon.bars");
    load(&file, &table, WriteMode::Overwrite, "2", &[&[bar("B", 1, 2)]]).await;
    assert_eq!(file.rows("SELECT * FROM polygon.latest"), ["B"]);
}

#[test]
fn the_configuration_is_strict_and_has_defaults() {
    let config: DuckDbConfig = serde_json::from_str(r#"{"path":"x.duckdb"}"#).unwrap();
    assert_eq!((config.schema.as_str(), config.memory_limit_mb, config.threads), ("polygon", 512, None));
    let error = serde_json::from_str::<DuckDbConfig>(r#"{"path":"x","shema":"y"}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `shema`"), "{error}");
    let schema = serde_json::to_value(schemars::schema_for!(DuckDbConfig)).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["path"]));
    assert_eq!(schema["properties"]["memory_limit_mb"]["default"], 512);
    assert_eq!(schema["properties"]["path"]["title"], "File");
}
