//! Columns of times that have nanoseconds, or all years and microseconds.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::batch::{Bound, Extent};

fn contracts() -> Arc<Table> {
    Arc::new(Table::new(
        "contracts",
        vec![
            column("id", ColumnType::Integer),
            column("until", ColumnType::Timestamp),
            column("sent", ColumnType::Text),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        &["id"],
    ))
}

fn rows(times: &[(i64, &str)]) -> Vec<String> {
    times.iter().map(|(id, time)| format!(r#"{{"id":{id},"until":"{time}","sent":"{time}"}}"#)).collect()
}

const STORED: &str = "SELECT id::VARCHAR, until::VARCHAR FROM polygon.contracts ORDER BY id";
const NOTED: &str = "SELECT id::VARCHAR, until::VARCHAR, additional_properties::VARCHAR, \
    (_airbyte_meta->'changes')::VARCHAR FROM polygon.contracts WHERE _airbyte_meta::VARCHAR <> '{\"changes\":[]}' ORDER BY id";
const TYPE: &str = "SELECT data_type, comment FROM duckdb_columns() WHERE table_name = 'contracts' AND column_name = 'until'";

const FOREVER: &str = "9999-12-31T23:59:59.999999Z";

async fn refused_of(sink: &mut DuckDbSink, streams: &[StreamId]) -> Vec<StreamId> {
    commit_all(sink, streams, "1").await.into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn the_first_time_beyond_nanoseconds_makes_microseconds_of_its_column() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup, WriteMode::Overwrite] {
        let (file, table) = (File::new(), contracts());
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, mode)).await.unwrap();
        let usual = rows(&[(1, "2024-06-28T13:30:00Z"), (2, "1969-12-31T23:59:59.999999Z")]);
        write(&mut sink, stream, &table, &usual).await;
        commit(&mut sink, stream, "1").await;
        // With rows of the other kind in the transaction; then it is undone.
        for _ in 0..2 {
            write(&mut sink, stream, &table, &rows(&[(3, "2262-04-11T23:47:16.854775Z")])).await;
            write(&mut sink, stream, &table, &rows(&[(4, FOREVER)])).await;
            write(&mut sink, stream, &table, &rows(&[(5, "2024-06-28T13:30:00.25Z")])).await;
            sink.rollback(stream).await.unwrap();
        }
        write(&mut sink, stream, &table, &rows(&[(3, "2262-04-11T23:47:16.854775Z")])).await;
        write(&mut sink, stream, &table, &rows(&[(4, FOREVER), (5, "0001-01-01T00:00:00Z")])).await;
        commit(&mut sink, stream, "2").await;
        sink.finish(&[stream]).await.unwrap();
        drop(sink);
        assert_eq!(file.rows(TYPE), ["TIMESTAMP|It's until."]);
        let stored = [
            "1|2024-06-28 13:30:00",
            "2|1969-12-31 23:59:59.999999",
            "3|2262-04-11 23:47:16.854775",
            "4|9999-12-31 23:59:59.999999",
            "5|0001-01-01 00:00:00",
        ];
        assert_eq!(file.rows(STORED), stored);
        assert!(file.rows(NOTED).is_empty());
        let running = "SELECT id::VARCHAR FROM polygon.contracts WHERE until > now() ORDER BY id";
        assert_eq!(file.rows(running), ["3", "4"]);
        // The next run finds it so, and what is finer is cut, kept and noted.
        load(&file, &table, mode, "3", &[&rows(&[(4, "2024-06-28T13:30:00.123456789Z"), (6, FOREVER)])])
            .await;
        if mode == WriteMode::AppendDedup {
            assert_eq!(
                file.rows(STORED)[3..],
                ["4|2024-06-28 13:30:00.123456", stored[4], "6|9999-12-31 23:59:59.999999"]
            );
            let noted = [concat!(
                r#"4|2024-06-28 13:30:00.123456|{"until":"2024-06-28T13:30:00.123456789Z"}|"#,
                r#"[{"field":"until","change":"TRUNCATED","reason":"DESTINATION_FIELD_SIZE_LIMITATION"}]"#
            )];
            assert_eq!(file.rows(NOTED), noted);
        }
    }
}

#[tokio::test]
async fn beside_nanoseconds_a_time_that_they_do_not_reach_is_null_kept_and_noted() {
    let null = |id: i64, time: &str| {
        format!(
            r#"{id}|NULL|{{"until":"{time}"}}|[{{"field":"until","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}}]"#
        )
    };
    let fine = "2024-06-28T13:30:00.123456789Z";
    let batches: [&[&[(i64, &str)]]; 3] = [
        // In one batch, whichever comes first; in one transaction; or stored before.
        &[&[(1, FOREVER), (2, fine)]],
        &[&[(2, fine)], &[(1, FOREVER)]],
        &[&[], &[(2, fine)], &[], &[(1, FOREVER)]],
    ];
    for batches in batches {
        let (file, table) = (File::new(), contracts());
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
        for times in batches {
            match times {
                [] => commit(&mut sink, stream, "1").await,
                times => write(&mut sink, stream, &table, &rows(times)).await,
            }
        }
        commit(&mut sink, stream, "2").await;
        drop(sink);
        assert_eq!(file.rows(TYPE), ["TIMESTAMP_NS|It's until."]);
        assert_eq!(file.rows(STORED), ["1|NULL", "2|2024-06-28 13:30:00.123456789"]);
        assert_eq!(file.rows(NOTED), [null(1, FOREVER)]);
    }
}

/// DuckDB does not compare the two kinds of columns: what replaces rows asks in the right one.
#[tokio::test]
async fn rows_are_replaced_by_keys_and_days_beyond_nanoseconds() {
    let mut table = (*contracts()).clone();
    table.key = vec!["until".to_owned()];
    let table = Arc::new(table);
    let file = File::new();
    let times =
        ["0001-01-01T00:00:00Z", "2024-06-28T13:30:00.000001Z", "2024-06-28T13:30:00.000002Z", FOREVER];
    let all: Vec<(i64, &str)> = (1..).zip(times).collect();
    load(&file, &table, WriteMode::AppendDedup, "1", &[&rows(&all)]).await;
    load(&file, &table, WriteMode::AppendDedup, "2", &[&rows(&[(5, times[0])]), &rows(&[(6, FOREVER)])])
        .await;
    let stored = |expected: &[&str]| {
        assert_eq!(file.rows("SELECT id::VARCHAR FROM polygon.contracts ORDER BY until"), expected)
    };
    stored(&["5", "2", "3", "6"]);
    let time = |time: &str| Bound::Time(time.parse().unwrap());
    let within = |from: &str, until: &str| Extent {
        partition: None,
        cursor: "until".to_owned(),
        from: time(from),
        until: Some(time(until)),
    };
    // A nanosecond on either side of a microsecond.
    let part = within("2024-06-28T13:30:00.000001001Z", "2024-06-28T13:30:00.000002001Z");
    let mut sink = file.sink().await;
    let target = target(&table, WriteMode::AppendDedup);
    assert_eq!(sink.count(&target, std::slice::from_ref(&part)).await.unwrap(), 1);
    let (stream, _) = sink.open_one(&target).await.unwrap();
    let lines = rows(&[(7, "2024-06-28T13:30:00.000002Z")]);
    sink.write(stream, Batch { replaces: vec![part], ..batch(&table, &lines) }).await.unwrap();
    commit(&mut sink, stream, "3").await;
    let last = Extent { until: None, ..within("9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z") };
    sink.write(
        stream,
        Batch { replaces: vec![last], ..batch(&table, &rows(&[(8, "9999-12-31T00:00:00Z")])) },
    )
    .await
    .unwrap();
    commit(&mut sink, stream, "4").await;
    drop(sink);
    stored(&["5", "2", "7", "8"]);
}

/// What DuckDB refuses of another stream takes the change with it, and rows that wait for
/// the commit make it again.
#[tokio::test]
async fn a_change_that_another_stream_took_with_it_is_made_again() {
    for ahead in [false, true] {
        let (file, table) = (File::new(), contracts());
        let mut sink = file.sink().await;
        let targets = [target(&table, WriteMode::AppendDedup), target(&bars(), WriteMode::AppendDedup)];
        let ids = sink.open_all(&targets).await.unwrap();
        sink.write(ids[0], Batch { ahead, ..batch(&table, &rows(&[(1, FOREVER)])) }).await.unwrap();
        // No canonical row has half of a pair; DuckDB refuses it.
        let broken = r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
        write(&mut sink, ids[1], &bars(), &[broken]).await;
        write(&mut sink, ids[1], &bars(), &[bar("C", 1, 1)]).await;
        sink.write(ids[0], Batch { ahead, ..batch(&table, &rows(&[(2, "2024-06-28T13:30:00Z")])) })
            .await
            .unwrap();
        assert_eq!(refused_of(&mut sink, &ids).await, [ids[1]]);
        write(&mut sink, ids[0], &table, &rows(&[(3, FOREVER)])).await;
        sink.rollback(ids[0]).await.unwrap();
        write(&mut sink, ids[0], &table, &rows(&[(3, "2024-06-28T13:30:00.5Z")])).await;
        commit(&mut sink, ids[0], "2").await;
        drop(sink);
        assert_eq!(file.rows(TYPE), ["TIMESTAMP|It's until."]);
        let stored = ["1|9999-12-31 23:59:59.999999", "2|2024-06-28 13:30:00", "3|2024-06-28 13:30:00.5"];
        assert_eq!(file.rows(STORED), stored, "{ahead}");
    }
}

#[tokio::test]
async fn streams_of_one_table_have_the_same_kind_of_column() {
    let (file, table) = (File::new(), contracts());
    let mut sink = file.sink().await;
    let of = |stream: &str| Target {
        stream: stream.to_owned(),
        shared: true,
        ..target(&table, WriteMode::AppendDedup)
    };
    let (first, _) = sink.open_one(&of("first")).await.unwrap();
    let (second, _) = sink.open_one(&of("second")).await.unwrap();
    write(&mut sink, first, &table, &rows(&[(1, FOREVER)])).await;
    write(
        &mut sink,
        second,
        &table,
        &rows(&[(2, "2024-06-28T13:30:00.1234567Z"), (1, "9999-12-31T00:00:00Z")]),
    )
    .await;
    assert!(refused_of(&mut sink, &[first, second]).await.is_empty());
    drop(sink);
    assert_eq!(file.rows(TYPE), ["TIMESTAMP|It's until."]);
    assert_eq!(file.rows(STORED), ["1|9999-12-31 00:00:00", "2|2024-06-28 13:30:00.123456"]);
    assert_eq!(file.rows(NOTED).len(), 1);
}

/// Nanoseconds that are replaced in the transaction count until it is committed: the column
/// would have to change before they go.
#[tokio::test]
async fn a_column_whose_nanoseconds_are_being_replaced_keeps_its_type() {
    for is_ahead in [false, true] {
        let (file, table) = (File::new(), contracts());
        load(&file, &table, WriteMode::AppendDedup, "1", &[&rows(&[(1, "2024-06-28T13:30:00.123456789Z")])])
            .await;
        let mut sink = file.sink().await;
        let (stream, _) = sink.open_one(&target(&table, WriteMode::AppendDedup)).await.unwrap();
        for times in [&rows(&[(1, "2024-06-28T13:30:00Z")]), &rows(&[(2, FOREVER)])] {
            sink.write(stream, Batch { ahead: is_ahead, ..batch(&table, times) }).await.unwrap();
        }
        assert!(refused_of(&mut sink, &[stream]).await.is_empty());
        drop(sink);
        assert_eq!(file.rows(STORED), ["1|2024-06-28 13:30:00", "2|NULL"]);
        assert_eq!(file.rows(NOTED).len(), 1);
        load(&file, &table, WriteMode::AppendDedup, "2", &[&rows(&[(2, FOREVER)])]).await;
        assert_eq!(file.rows(STORED), ["1|2024-06-28 13:30:00", "2|9999-12-31 23:59:59.999999"]);
    }
}

/// Times of the years 1 to 9999 with up to nine digits, many of them near an edge.
fn time() -> impl Strategy<Value = String> {
    let edges = prop::sample::select(vec![
        (1677, 9, 21, 0),
        (1677, 9, 21, 86_399),
        (1677, 9, 22, 0),
        (2262, 4, 11, 85_636),
        (2262, 4, 12, 0),
        (1, 1, 1, 0),
        (9999, 12, 31, 86_399),
        (1969, 12, 31, 86_399),
        (1970, 1, 1, 0),
    ]);
    let any = (1..=9999_i32, 1..=12, 1..=28, 0..86_400);
    let near = (1900..=2100_i32, 1..=12, 1..=28, 0..86_400);
    let fraction = prop_oneof![
        3 => "([0-9]{0,5}[1-9])?",
        1 => "[0-9]{6,8}[1-9]",
        1 => prop::sample::select(vec!["999999", "999999999", "854775806", "854775807", "000000001"])
            .prop_map(str::to_owned),
    ];
    (prop_oneof![edges, any, near], fraction).prop_map(|((year, month, day, second), fraction)| {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}{fraction}Z")
    })
}

/// Whatever comes in whatever order: each time is there as DuckDB itself reads it, or as
/// much of it as the column holds, and then it is noted and kept.
#[test]
fn any_time_is_there_or_kept_as_sent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 60,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    // Each batch with times of nanoseconds, or without any.
    let batch = (any::<bool>(), proptest::collection::vec(time(), 1..8)).prop_map(|(fine, mut times)| {
        times.retain(|time| fine || time.len() <= "2024-06-28T13:30:00.123456Z".len());
        times
    });
    let runs = proptest::collection::vec(proptest::collection::vec(batch, 1..3), 1..3);
    let check = |runs: Vec<Vec<Vec<String>>>| {
        let (file, table) = (File::new(), contracts());
        let mut id = 0;
        for batches in &runs {
            let mut lines: Vec<Vec<String>> = Vec::new();
            for times in batches {
                let numbered: Vec<(i64, &str)> = times
                    .iter()
                    .map(|time| {
                        id += 1;
                        (id, time.as_str())
                    })
                    .collect();
                lines.push(rows(&numbered));
            }
            let lines: Vec<&[String]> = lines.iter().map(Vec::as_slice).collect();
            runtime.block_on(load(&file, &table, WriteMode::AppendDedup, "1", &lines));
        }
        let is_fine = |time: &String| time.len() > "2024-06-28T13:30:00.123456Z".len();
        let ty = file.rows(TYPE).remove(0);
        let kept = "json_extract_string(additional_properties, '$.until') IS NOT DISTINCT FROM sent";
        let noted = |change: &str| {
            format!(
                "json_extract_string(_airbyte_meta, '$.changes[0].change') IS NOT DISTINCT FROM '{change}'"
            )
        };
        let plain = "additional_properties IS NULL AND json_array_length(_airbyte_meta, 'changes') = 0";
        let right = if ty.starts_with("TIMESTAMP_NS") {
            format!(
                "CASE WHEN until IS NULL THEN {kept} AND {} AND NOT (sent >= '1677-09-22' AND sent < '2262-04-11T23:47:16.854775807') \
                 ELSE until = sent::TIMESTAMP_NS AND {plain} END",
                noted("NULLED")
            )
        } else {
            format!(
                "until = (CASE WHEN length(sent) > 27 THEN sent[1:26] ELSE rtrim(sent, 'Z') END)::TIMESTAMP AND \
                 CASE WHEN length(sent) > 27 THEN {kept} AND {} ELSE {plain} END",
                noted("TRUNCATED")
            )
        };
        let wrong = format!(
            "SELECT sent, until::VARCHAR, additional_properties::VARCHAR, _airbyte_meta::VARCHAR FROM polygon.contracts WHERE NOT coalesce({right}, false)"
        );
        prop_assert_eq!(file.rows(&wrong), Vec::<String>::new(), "{}", ty);
        prop_assert_eq!(file.rows("SELECT count(*)::VARCHAR FROM polygon.contracts"), [id.to_string()]);
        if !runs.iter().flatten().flatten().any(is_fine) {
            let lost = file.rows("SELECT sent FROM polygon.contracts WHERE until IS NULL");
            prop_assert!(lost.is_empty(), "nothing needed nanoseconds: {:?}", lost);
        }
        Ok(())
    };
    runner.run(&runs, check).unwrap();
}
