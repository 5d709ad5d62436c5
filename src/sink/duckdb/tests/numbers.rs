//! Columns of decimals that widen, and queries that multiply them.

use super::*;
use crate::sink::numbers::Numbers;

fn of_numbers(name: &str) -> Arc<Table> {
    Arc::new(Table::new(
        "numbers",
        vec![
            column("id", ColumnType::Integer),
            column(name, ColumnType::Decimal(Width::PRICE)),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        &["id"],
    ))
}

fn rows(numbers: &[(i64, &str)]) -> Vec<String> {
    numbers.iter().map(|(id, number)| format!(r#"{{"id":{id},"v":{number}}}"#)).collect()
}

const STORED: &str = "SELECT id::VARCHAR, v::VARCHAR FROM polygon.numbers ORDER BY id";
const TYPE: &str =
    "SELECT data_type, comment FROM duckdb_columns() WHERE table_name = 'numbers' AND column_name = 'v'";

#[tokio::test]
async fn a_column_widens_in_the_transaction_of_the_rows_that_need_it() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
        let (file, table) = (File::new(), of_numbers("v"));
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
        write(&mut sink, stream, &table, &rows(&[(1, "1.5"), (2, "999999999")])).await;
        commit(&mut sink, stream, "1").await;
        // Twice in one transaction, with rows of the narrower column in it; then it is undone.
        for _ in 0..2 {
            write(&mut sink, stream, &table, &rows(&[(3, "2")])).await;
            write(&mut sink, stream, &table, &rows(&[(4, "0.00000000000025")])).await;
            write(&mut sink, stream, &table, &rows(&[(5, "12345678901")])).await;
            write(&mut sink, stream, &table, &rows(&[(6, "3")])).await;
            sink.rollback(stream).await.unwrap();
        }
        write(&mut sink, stream, &table, &rows(&[(3, "2"), (4, "0.00000000000025")])).await;
        write(&mut sink, stream, &table, &rows(&[(5, "12345678901"), (1, "1.75")])).await;
        commit(&mut sink, stream, "2").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        assert_eq!(file.rows(TYPE), ["DECIMAL(25,14)|It's v."]);
        let kept = file.rows(STORED);
        let expected = [
            "1|1.75000000000000",
            "2|999999999.00000000000000",
            "3|2.00000000000000",
            "4|0.00000000000025",
            "5|12345678901.00000000000000",
        ];
        match mode.replaces_by_key() {
            true => assert_eq!(kept, expected),
            false => {
                assert_eq!(kept.len(), 6);
                assert_eq!(kept[2..], expected[1..]);
            }
        }
    }
}

/// What DuckDB refuses of another stream takes the room with it, and rows that wait for
/// the commit make it again.
#[tokio::test]
async fn room_that_another_stream_took_with_it_is_made_again() {
    for ahead in [false, true] {
        let (file, table) = (File::new(), of_numbers("v"));
        let mut other = (*bars()).clone();
        other.name = "other".to_owned();
        let other = Arc::new(other);
        let mut sink = file.sink().await;
        let targets = [target(&table, WriteMode::AppendDedup), target(&other, WriteMode::AppendDedup)];
        let ids = sink.open_all(&targets).await.unwrap();
        let wide = rows(&[(1, "12345678901"), (2, "0.00000000000025")]);
        sink.write(ids[0], Batch { ahead, ..batch(&table, &wide) }).await.unwrap();
        // No canonical row has half of a pair; DuckDB refuses it.
        let broken = r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
        write(&mut sink, ids[1], &other, &[broken]).await;
        write(&mut sink, ids[1], &other, &[bar("C", 1, 1)]).await;
        sink.write(ids[0], Batch { ahead, ..batch(&table, &rows(&[(3, "0.5")])) }).await.unwrap();
        let refused = commit_all(&mut sink, &ids, "1").await;
        assert_eq!(refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[1]]);
        // What was committed stays wide, and the next rows go there.
        write(&mut sink, ids[0], &table, &rows(&[(4, "99999999999")])).await;
        sink.rollback(ids[0]).await.unwrap();
        write(&mut sink, ids[0], &table, &rows(&[(4, "4")])).await;
        commit(&mut sink, ids[0], "2").await;
        drop(sink);
        assert_eq!(file.rows(TYPE), ["DECIMAL(25,14)|It's v."]);
        let expected = [
            "1|12345678901.00000000000000",
            "2|0.00000000000025",
            "3|0.50000000000000",
            "4|4.00000000000000",
        ];
        assert_eq!(file.rows(STORED), expected, "{ahead}");
    }
}

/// DuckDB commits no transaction that alters a table after it deleted rows of it.
#[tokio::test]
async fn a_column_widens_after_rows_of_its_table_were_replaced() {
    for (mode, ahead) in [
        (WriteMode::AppendDedup, false),
        (WriteMode::AppendDedup, true),
        (WriteMode::OverwriteDedup, false),
        (WriteMode::OverwriteDedup, true),
    ] {
        let (file, table) = (File::new(), of_numbers("v"));
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
        write(&mut sink, stream, &table, &rows(&[(1, "1.5"), (2, "2")])).await;
        commit(&mut sink, stream, "1").await;
        for row in [(1, "1.75"), (2, "12345678901"), (3, "3"), (1, "0.00000000000025")] {
            sink.write(stream, Batch { ahead, ..batch(&table, &rows(&[row])) }).await.unwrap();
        }
        commit(&mut sink, stream, "2").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        let expected = ["1|0.00000000000025", "2|12345678901.00000000000000", "3|3.00000000000000"];
        assert_eq!(file.rows(STORED), expected, "{mode:?} {ahead}");
    }
}

/// Streams that share a table share its columns: what one of them widens is as wide for
/// the others, also when theirs needs digits elsewhere.
#[tokio::test]
async fn streams_of_one_table_do_not_narrow_each_others_columns() {
    let (file, table) = (File::new(), of_numbers("v"));
    let mut sink = file.sink().await;
    let of = |stream: &str| Target {
        stream: stream.to_owned(),
        shared: true,
        ..target(&table, WriteMode::AppendDedup)
    };
    let (first, _) = sink.open_one(&of("first")).await.unwrap();
    let (second, _) = sink.open_one(&of("second")).await.unwrap();
    write(&mut sink, first, &table, &rows(&[(1, "0.00000000000025")])).await;
    write(&mut sink, second, &table, &rows(&[(2, "12345678901")])).await;
    assert!(commit_all(&mut sink, &[first, second], "1").await.is_empty());
    drop(sink);
    assert_eq!(file.rows(TYPE), ["DECIMAL(25,14)|It's v."]);
    assert_eq!(file.rows(STORED), ["1|0.00000000000025", "2|12345678901.00000000000000"]);
}

#[tokio::test]
async fn a_table_that_is_wider_is_loaded_into_as_it_is() {
    let (file, table) = (File::new(), of_numbers("v"));
    let mut before = (*table).clone();
    before.columns[1].ty = DECIMAL;
    load(&file, &Arc::new(before), WriteMode::AppendDedup, "1", &[&rows(&[(1, "1.5")])]).await;
    load(&file, &table, WriteMode::AppendDedup, "2", &[&rows(&[(2, "2"), (1, "0.000000000000000001")])])
        .await;
    assert_eq!(file.rows(TYPE), ["DECIMAL(38,18)|It's v."]);
    assert_eq!(file.rows(STORED), ["1|0.000000000000000001", "2|2.000000000000000000"]);
    load(&file, &table, WriteMode::AppendDedup, "3", &[&rows(&[(3, "0.0000000000000000001")])]).await;
    assert_eq!(file.rows(TYPE), ["DECIMAL(38,18)|It's v."], "no decimal has 20 and 19 digits");
    let kept = file.rows("SELECT v::VARCHAR, additional_properties::VARCHAR, _airbyte_meta::VARCHAR FROM polygon.numbers WHERE id = 3");
    assert_eq!(
        kept,
        [
            r#"NULL|{"v":0.0000000000000000001}|{"changes":[{"field":"v","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}]}"#
        ]
    );
}

#[tokio::test]
async fn a_table_that_is_narrower_is_widened_when_it_is_opened() {
    let (file, table) = (File::new(), of_numbers("v"));
    load(&file, &table, WriteMode::Append, "1", &[&rows(&[(1, "1.5")])]).await;
    let mut other = (*table).clone();
    other.columns[1].ty = ColumnType::Decimal(Width::new(18, 6));
    load(&file, &Arc::new(other), WriteMode::Append, "2", &[&rows(&[(2, "100000000000")])]).await;
    assert_eq!(file.rows(TYPE), ["DECIMAL(21,9)|It's v."]);
    assert_eq!(file.rows(STORED), ["1|1.500000000", "2|100000000000.000000000"]);
}

#[tokio::test]
async fn doubles_are_there_where_a_person_chooses_them() {
    let (file, table) = (File::new(), of_numbers("v"));
    let config = DuckDbConfig { numbers: Numbers::Double, ..file.config() };
    let sent =
        ["5e-05", "0.0012345678901234567", "1e20", "1.7976931348623157e308", "-0.5", "1e999", "1e-999"];
    let lines: Vec<(i64, &str)> = (0..).zip(sent).collect();
    for progress in ["1", "2"] {
        let mut sink = DuckDbSink::connect(&config).await.unwrap();
        let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
        write(&mut sink, stream, &table, &rows(&lines)).await;
        commit(&mut sink, stream, progress).await;
    }
    assert_eq!(file.rows(TYPE), ["DOUBLE|It's v."]);
    let stored = file.rows("SELECT v::VARCHAR FROM polygon.numbers ORDER BY id");
    let expected =
        ["5e-05", "0.0012345678901234567", "1e+20", "1.7976931348623157e+308", "-0.5", "NULL", "NULL"];
    assert_eq!(stored, expected);
    let beside =
        file.rows("SELECT additional_properties::VARCHAR FROM polygon.numbers WHERE id > 4 ORDER BY id");
    assert_eq!(beside, [r#"{"v":"1e999"}"#, r#"{"v":"1e-999"}"#]);
}

/// A million bars with columns as they are, and as they were before they had widths.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_macros, reason = "a person reads it")]
async fn bars_a_second() {
    let stream = crate::catalog::streams(&["1minute".parse().unwrap()])
        .into_iter()
        .find(|stream| stream.name == "stock_bars_1_minute")
        .unwrap();
    let mut wide = (*stream.table).clone();
    for column in &mut wide.columns {
        if let ColumnType::Decimal(_) = column.ty {
            column.ty = DECIMAL;
        }
    }
    let line = |n: u64| {
        let (hour, minute) = (n / 60 % 24, n % 60);
        let day = n / 1440 % 28 + 1;
        let cent = |k: u64| (n * 7919 + k) % 99_999;
        format!(
            r#"{{"ticker":"T{:03}","timestamp":"2024-06-{day:02}T{hour:02}:{minute:02}:00Z","volume":{},"vwap":{}.{:04},"open":{}.{:02},"close":{}.{:02},"high":{}.{:02},"low":{}.{:02},"transactions":{}}}"#,
            n / 40_320,
            cent(1) * 10,
            100 + cent(2) / 999,
            cent(3) % 9999,
            100 + cent(2) / 999,
            cent(4) % 99,
            100 + cent(2) / 999,
            cent(5) % 99,
            101 + cent(2) / 999,
            cent(6) % 99,
            99 + cent(2) / 999,
            cent(7) % 99,
            cent(8) % 500
        )
    };
    let batches: Vec<Vec<String>> =
        (0..20).map(|batch| (batch * 50_000..(batch + 1) * 50_000).map(line).collect()).collect();
    for round in 0..3 {
        for (what, table) in [("wide", Arc::new(wide.clone())), ("narrow", Arc::clone(&stream.table))] {
            let file = File::new();
            let began = std::time::Instant::now();
            let batches: Vec<&[String]> = batches.iter().map(Vec::as_slice).collect();
            load(&file, &table, WriteMode::AppendDedup, "1", &batches).await;
            let size = std::fs::metadata(file.path()).unwrap().len() / 1000;
            println!("{round} {what}: {:?} for a million bars, {size} kB", began.elapsed());
        }
    }
}
