use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn a_column_that_the_catalogue_gained_is_added() {
    let (file, table) = (File::new(), bars());
    load(&file, &table, WriteMode::Append, "1", &[&[bar("A", 1, 1)]]).await;
    let mut wider = (*table).clone();
    wider.columns.insert(1, column("price", DECIMAL));
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
    other.columns[3].ty = ColumnType::Date;
    let mut sink = file.sink().await;
    let error = refused(sink.open_one(&target(&Arc::new(other), WriteMode::Append)).await);
    assert_eq!(error.kind(), ErrorKind::Table);
    let message = error.user_message();
    assert!(
        message.contains(r#"the column v of "market"."polygon"."bars" is BIGINT, but its rows need DATE"#),
        "{message}"
    );
    assert!(message.contains(r#"ALTER TABLE "market"."polygon"."bars" ALTER "v" TYPE DATE"#), "{message}");
    let (_, before) = sink.open_one(&target(&table, WriteMode::Append)).await.expect("the sink goes on");
    assert_eq!(before.as_deref(), Some("1"));
    drop(sink);
    assert_eq!(
        file.rows("SELECT count(*)::VARCHAR FROM duckdb_columns() WHERE column_name = 'fresh'"),
        ["0"]
    );
}

/// What becomes of values when their column gets another type under `append` and `append_dedup`.
#[tokio::test]
async fn a_column_changes_its_type_where_nothing_is_lost() {
    let price = ColumnType::Decimal(Width::PRICE);
    let cases = [
        (
            ColumnType::Integer,
            "-9223372036854775808",
            price,
            "0.5",
            "DECIMAL(28,9)",
            "-9223372036854775808.000000000",
        ),
        (price, "1.25", ColumnType::Integer, "9223372036854775807", "DECIMAL(28,9)", "1.250000000"),
        (
            ColumnType::Integer,
            "-9007199254740992",
            ColumnType::Double,
            "1e-300",
            "DOUBLE",
            "-9007199254740992.0",
        ),
        (
            ColumnType::Date,
            r#""9999-12-31""#,
            ColumnType::Timestamp,
            r#""2024-06-28T13:30:00.5Z""#,
            "TIMESTAMP",
            "9999-12-31 00:00:00",
        ),
        (
            ColumnType::Timestamp,
            r#""9999-12-31T00:00:00Z""#,
            ColumnType::Text,
            r#""x""#,
            "VARCHAR",
            "9999-12-31T00:00:00Z",
        ),
        (
            ColumnType::Date,
            r#""2024-06-28""#,
            ColumnType::Timestamp,
            r#""2024-06-28T13:30:00.5Z""#,
            "TIMESTAMP_NS",
            "2024-06-28 00:00:00",
        ),
        (ColumnType::Integer, "5", ColumnType::Text, r#""five""#, "VARCHAR", "5"),
        (price, "1.50", ColumnType::Text, r#""x""#, "VARCHAR", "1.5"),
        (price, "100", ColumnType::Text, r#""x""#, "VARCHAR", "100"),
        (ColumnType::Boolean, "true", ColumnType::Text, r#""x""#, "VARCHAR", "true"),
        (ColumnType::Date, r#""2024-06-28""#, ColumnType::Text, r#""x""#, "VARCHAR", "2024-06-28"),
        (
            ColumnType::Timestamp,
            r#""2024-06-28T13:30:00.5Z""#,
            ColumnType::Text,
            r#""x""#,
            "VARCHAR",
            "2024-06-28T13:30:00.5Z",
        ),
        (ColumnType::Json, r#"{"a":[1.50]}"#, ColumnType::Text, r#""x""#, "VARCHAR", r#"{"a":[1.50]}"#),
        (ColumnType::Json, r#""say \"é\"""#, ColumnType::Text, r#""x""#, "VARCHAR", r#"say "é""#),
        (ColumnType::Json, "1.50", ColumnType::Text, r#""x""#, "VARCHAR", "1.50"),
        (ColumnType::Integer, "5", ColumnType::Json, "[1]", "JSON", "5"),
        (price, "1.50", ColumnType::Json, "{}", "JSON", "1.5"),
        (ColumnType::Boolean, "false", ColumnType::Json, "{}", "JSON", "false"),
        (ColumnType::Text, r#""say \"hi\"""#, ColumnType::Json, "{}", "JSON", r#""say \"hi\"""#),
        (ColumnType::Text, r#""5""#, ColumnType::Json, "{}", "JSON", r#""5""#),
        (ColumnType::Date, r#""2024-06-28""#, ColumnType::Json, "{}", "JSON", r#""2024-06-28""#),
    ];
    for (before, old, after, new, ty, expected) in cases {
        let of = |ty| {
            let mut table = (*bars()).clone();
            table.columns[2].ty = ty;
            Arc::new(table)
        };
        let row = |ticker: &str, v: &str| {
            format!(r#"{{"ticker":"{ticker}","timestamp":"2024-06-28T00:00:00Z","v":{v}}}"#)
        };
        let file = File::new();
        load(&file, &of(before), WriteMode::AppendDedup, "1", &[&[row("A", old), row("B", "null")]]).await;
        let progress = load(&file, &of(after), WriteMode::AppendDedup, "2", &[&[row("C", new)]]).await;
        assert_eq!(progress.as_deref(), Some("1"), "{before:?} to {after:?} goes on");
        let types = "SELECT data_type FROM duckdb_columns() WHERE table_name = 'bars' AND column_name = 'v'";
        assert_eq!(file.rows(types), [ty], "{before:?} to {after:?}");
        let stored = file.rows("SELECT v::VARCHAR FROM polygon.bars ORDER BY ticker");
        assert_eq!(stored[..2], [expected, "NULL"], "{before:?} to {after:?}");
        assert_ne!(stored[2], "NULL", "{before:?} to {after:?}");
    }
}

/// As text one value can be written in several ways: a row that comes again would be there twice.
#[tokio::test]
async fn a_key_that_would_become_text_of_what_has_many_is_refused() {
    let price = ColumnType::Decimal(Width::PRICE);
    for (before, old, after, refuses) in [
        (ColumnType::Timestamp, r#""2024-06-28T09:30:00Z""#, ColumnType::Text, true),
        (price, "1.50", ColumnType::Text, true),
        (price, "1.50", ColumnType::Json, true),
        (ColumnType::Double, "0.1", ColumnType::Text, true),
        (ColumnType::Integer, "5", ColumnType::Text, false),
        (ColumnType::Text, r#""5""#, ColumnType::Json, false),
    ] {
        for (part, mode) in
            [("key", WriteMode::AppendDedup), ("version", WriteMode::AppendDedup), ("key", WriteMode::Append)]
        {
            let of = |ty| {
                let mut table = (*bars()).clone();
                table.columns[2].ty = ty;
                match part {
                    "key" => table.key = vec!["v".to_owned()],
                    _ => table.version = Some("v".to_owned()),
                }
                Arc::new(table)
            };
            let file = File::new();
            load(&file, &of(before), mode, "1", &[&[format!(r#"{{"ticker":"A","v":{old}}}"#)]]).await;
            let next = target(&of(after), mode);
            let seen =
                DuckDbSink::peek(&file.config()).await.unwrap().look(std::slice::from_ref(&next)).await;
            let told = seen.unwrap().remove(0).obstacle.map(|error| error.user_message());
            let opened = file.sink().await.open_one(&next).await;
            let refused = refuses && mode == WriteMode::AppendDedup;
            assert_eq!(opened.is_err(), refused, "{before:?} to {after:?} in {mode:?}");
            assert_eq!(told, opened.err().map(|error| error.user_message()));
            if let Some(told) = told {
                assert!(told.contains("the column v of") && told.contains("loaded anew"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_of_type_that_would_lose_something_is_refused_with_its_statement() {
    for (before, old, after, statement) in [
        (ColumnType::Integer, "9007199254740993", ColumnType::Double, "TYPE DOUBLE"),
        (ColumnType::Decimal(Width::PRICE), "0.1", ColumnType::Double, "TYPE DOUBLE"),
        (ColumnType::Double, "0.1", ColumnType::Decimal(Width::PRICE), "set `numbers: double`"),
        (ColumnType::Text, r#""5""#, ColumnType::Integer, "TYPE BIGINT"),
        (ColumnType::Json, "[5]", ColumnType::Integer, r#"TYPE BIGINT USING ("v" ->> '$')::BIGINT"#),
        (ColumnType::Timestamp, r#""2024-06-28T13:30:00Z""#, ColumnType::Date, "TYPE DATE"),
    ] {
        let of = |ty| {
            let mut table = (*bars()).clone();
            table.columns[2].ty = ty;
            Arc::new(table)
        };
        let file = File::new();
        load(&file, &of(before), WriteMode::Append, "1", &[&[format!(r#"{{"v":{old}}}"#)]]).await;
        let stored = file.rows("SELECT v::VARCHAR FROM polygon.bars");
        let mut sink = file.sink().await;
        let error = refused(sink.open_one(&target(&of(after), WriteMode::Append)).await);
        drop(sink);
        let message = error.user_message();
        assert!(message.contains(r#"ALTER TABLE "market"."polygon"."bars" ALTER "v""#), "{message}");
        assert!(message.contains(statement), "{message}");
        assert_eq!(file.rows("SELECT v::VARCHAR FROM polygon.bars"), stored);
    }
}

#[tokio::test]
async fn schemas_that_duckdb_could_take_for_databases_work() {
    for schema in ["market", "Market", "temp", "system", "main", "memory", "select"] {
        let table = bars();
        for mode in [WriteMode::AppendDedup, WriteMode::Overwrite] {
            let file = File::new();
            let mut config = file.config();
            config.schema = schema.to_owned();
            for progress in ["1", "2"] {
                let mut sink = DuckDbSink::connect(&config).await.unwrap();
                let (stream, before) = sink.open_one(&target(&table, mode)).await.unwrap();
                let goes_on = mode == WriteMode::AppendDedup && progress == "2";
                assert_eq!(before.as_deref(), goes_on.then_some("1"));
                write(&mut sink, stream, &table, &[bar("A", 1, 1)]).await;
                commit(&mut sink, stream, progress).await;
                sink.finish(&[stream]).await.unwrap();
            }
            let count = format!(r#"SELECT count(*)::VARCHAR FROM market."{schema}".bars"#);
            assert_eq!(file.rows(&count), ["1"], "{schema}");
        }
    }
    for schema in ["information_schema", "PG_CATALOG"] {
        let file = File::new();
        let config = DuckDbConfig { schema: schema.to_owned(), ..file.config() };
        let error = refused(DuckDbSink::connect(&config).await);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.user_message().contains("is DuckDB's own"), "{}", error.user_message());
        let mut sink = file.sink().await;
        let of_namespace = Target { schema: Some(schema.to_owned()), ..target(&bars(), WriteMode::Append) };
        let error = refused(sink.open_one(&of_namespace).await);
        assert!(error.user_message().contains("is DuckDB's own"), "{}", error.user_message());
    }
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
            let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
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
    other.columns[2].ty = DECIMAL;
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
    other.columns[2].ty = ColumnType::Date;
    let row = r#"{"ticker":"B","v":"2024-06-28"}"#.to_owned();
    assert_eq!(load(&file, &Arc::new(other), WriteMode::Overwrite, "1", &[&[row]]).await, None);
    assert_eq!(file.rows("SELECT ticker, v::VARCHAR FROM polygon.bars"), ["B|2024-06-28"]);
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
