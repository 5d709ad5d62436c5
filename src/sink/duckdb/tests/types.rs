use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::sink::columns::EARLIEST;

const TYPES: [(&str, ColumnType); 7] = [
    ("t", ColumnType::Text),
    ("b", ColumnType::Boolean),
    ("i", ColumnType::Integer),
    ("n", DECIMAL),
    ("d", ColumnType::Date),
    ("w", ColumnType::Timestamp),
    ("j", ColumnType::Json),
];

fn everything() -> Arc<Table> {
    let columns = TYPES.map(|(name, ty)| column(name, ty));
    let more = [column("seq", ColumnType::Integer), column(EXTRA_COLUMN, ColumnType::Json)];
    Arc::new(Table::new("everything", columns.into_iter().chain(more).collect(), &["seq"]))
}

/// Loads values of one column and returns what DuckDB says they are.
async fn stored(name: &str, values: &[&str]) -> Vec<String> {
    let (file, table) = (File::new(), everything());
    let row = |(index, value): (usize, &&str)| format!(r#"{{"{name}":{value},"seq":{index}}}"#);
    let lines: Vec<String> = values.iter().enumerate().map(row).collect();
    load(&file, &table, WriteMode::Append, "1", &[&lines]).await;
    file.rows(&format!("SELECT CAST({name} AS VARCHAR) FROM polygon.everything ORDER BY seq"))
}

#[tokio::test]
async fn columns_have_the_types_of_the_catalogue() {
    let (file, table) = (File::new(), everything());
    load(&file, &table, WriteMode::Append, "1", &[]).await;
    assert_eq!(
        file.rows(
            "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 'everything'"
        ),
        [
            "t|VARCHAR|It's t.",
            "b|BOOLEAN|It's b.",
            "i|BIGINT|It's i.",
            "n|DECIMAL(38,18)|It's n.",
            "d|DATE|It's d.",
            "w|TIMESTAMP_NS|It's w.",
            "j|JSON|It's j.",
            "seq|BIGINT|It's seq.",
            "additional_properties|JSON|It's additional_properties.",
            "_airbyte_raw_id|UUID|NULL",
            "_airbyte_extracted_at|TIMESTAMP WITH TIME ZONE|NULL",
            "_airbyte_meta|JSON|NULL",
            "_airbyte_generation_id|BIGINT|NULL",
        ]
    );
}

#[tokio::test]
async fn extremes_are_exact() {
    let decimals = [
        "99999999999999999999.999999999999999999",
        "-99999999999999999999.999999999999999999",
        "0.000000000000000001",
        "0.1",
        "null",
    ];
    let expected = [
        "99999999999999999999.999999999999999999",
        "-99999999999999999999.999999999999999999",
        "0.000000000000000001",
        "0.100000000000000000",
        "NULL",
    ];
    assert_eq!(stored("n", &decimals).await, expected);
    let integers = ["9223372036854775807", "-9223372036854775808", "0", "null"];
    assert_eq!(stored("i", &integers).await, ["9223372036854775807", "-9223372036854775808", "0", "NULL"]);
    assert_eq!(stored("b", &["true", "null", "false"]).await, ["true", "NULL", "false"]);
    let dates = [r#""0001-01-01""#, r#""9999-12-31""#, r#""2024-02-29""#, "null"];
    assert_eq!(stored("d", &dates).await, ["0001-01-01", "9999-12-31", "2024-02-29", "NULL"]);
    let times = [
        r#""2024-06-28T13:30:00.123456789Z""#,
        r#""1677-09-22T00:00:00Z""#,
        r#""2262-04-11T23:47:16.854775806Z""#,
        r#""1969-12-31T23:59:59.999999999Z""#,
        r#""2024-06-28T13:30:00Z""#,
        "null",
    ];
    let expected = [
        "2024-06-28 13:30:00.123456789",
        "1677-09-22 00:00:00",
        "2262-04-11 23:47:16.854775806",
        "1969-12-31 23:59:59.999999999",
        "2024-06-28 13:30:00",
        "NULL",
    ];
    assert_eq!(stored("w", &times).await, expected);
}

#[tokio::test]
async fn text_and_json_are_what_was_sent() {
    let texts = [
        r#""BRK.B""#,
        r#""""#,
        r#""line\nbreak \"quoted\" it's \\ \/ \t""#,
        r#""\ud83d\ude00 é 漢字""#,
        r#""nul \u0000 inside""#,
        r#""half \ud83d pair""#,
        r#""longer than the twelve bytes that are kept in place""#,
        "null",
    ];
    let expected = [
        "BRK.B",
        "",
        "line\nbreak \"quoted\" it's \\ / \t",
        "😀 é 漢字",
        "nul \0 inside",
        "half \u{fffd} pair",
        "longer than the twelve bytes that are kept in place",
        "NULL",
    ];
    assert_eq!(stored("t", &texts).await, expected);
    let values = [
        r#"{"a":[1,2.50,123456789012345678901234567890],"b":{"c":null}}"#,
        r#""a string\nwith \u0000 and \ud83d\ude00""#,
        "1.10",
        "true",
        "[]",
        "null",
    ];
    let expected = [
        r#"{"a":[1,2.50,123456789012345678901234567890],"b":{"c":null}}"#,
        r#""a string\nwith \u0000 and \ud83d\ude00""#,
        "1.10",
        "true",
        "[]",
        "NULL",
    ];
    assert_eq!(stored("j", &values).await, expected);
}

#[tokio::test]
async fn a_time_beyond_nanoseconds_is_null_kept_and_noted() {
    let (file, table) = (File::new(), everything());
    let lines = [
        r#"{"seq":1,"w":"2300-01-01T00:00:00Z","additional_properties":{"q":1}}"#.to_owned(),
        r#"{"seq":2,"w":"2024-01-01T00:00:00.000000001Z"}"#.to_owned(),
    ];
    load(&file, &table, WriteMode::AppendDedup, "1", &[&lines]).await;
    assert_eq!(
        file.rows(
            "SELECT w::VARCHAR, additional_properties, _airbyte_meta FROM polygon.everything ORDER BY seq"
        ),
        [
            r#"NULL|{"q":1,"w":"2300-01-01T00:00:00Z"}|{"changes":[{"field":"w","change":"NULLED","reason":"DESTINATION_TYPECAST_ERROR"}]}"#,
            r#"2024-01-01 00:00:00.000000001|NULL|{"changes":[]}"#,
        ]
    );
}

/// DuckDB takes 2048 rows at a time: each chunk has its own values and nulls.
#[tokio::test]
async fn every_chunk_of_a_batch_has_its_own_rows() {
    let (file, table) = (File::new(), everything());
    let line = |seq: i64| {
        let chunk = seq / 2048;
        // NULL at other rows in each chunk, and in the second nowhere.
        let text = if chunk != 1 && seq % 7 == chunk { "null".to_owned() } else { format!("\"row {seq}\"") };
        let flag = if seq % 3 == chunk % 3 { "null" } else { "true" };
        format!(r#"{{"seq":{seq},"t":{text},"b":{flag},"n":{seq}.5}}"#)
    };
    let lines: Vec<String> = (0..2 * 2048 + 131).map(line).collect();
    load(&file, &table, WriteMode::Append, "1", &[&lines]).await;
    let wrong = "SELECT count(*)::VARCHAR FROM (SELECT *, seq // 2048 AS chunk FROM polygon.everything) \
        WHERE t IS DISTINCT FROM (CASE WHEN chunk <> 1 AND seq % 7 = chunk THEN NULL ELSE 'row ' || seq END) \
        OR b IS DISTINCT FROM (CASE WHEN seq % 3 = chunk % 3 THEN NULL ELSE true END) OR n <> seq + 0.5";
    assert_eq!(file.rows(wrong), ["0"]);
    assert_eq!(
        file.rows("SELECT count(DISTINCT seq)::VARCHAR FROM polygon.everything"),
        [lines.len().to_string()]
    );
}

#[tokio::test]
async fn rows_carry_airbytes_columns() {
    let (file, table) = (File::new(), everything());
    let mut batch = batch(&table, &[]);
    for index in 0..5000 {
        if index == 4097 {
            batch.rows.note_change(1, Cause::Source);
            batch.rows.note_change(3, Cause::Source);
        }
        batch.rows.push(format!(r#"{{"seq":{index}}}"#).as_bytes());
    }
    let mut sink = file.sink().await;
    let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
    sink.write(stream, batch.clone()).await.unwrap();
    sink.write(stream, batch).await.unwrap();
    commit(&mut sink, stream, "1").await;
    drop(sink);
    let ids = "SELECT count(DISTINCT _airbyte_raw_id)::VARCHAR, \
        min(id[1:13]), max(id[1:13]), bool_and(id[15] = '7' AND id[20] IN ('8','9','a','b'))::VARCHAR \
        FROM (SELECT *, _airbyte_raw_id::VARCHAR AS id FROM polygon.everything)";
    // 1719581400123 ms are 0190 5f07 043b hexadecimal.
    let time = format!("{:012x}", 1_719_581_400_123_i64);
    let time = format!("{}-{}", &time[..8], &time[8..]);
    assert_eq!(file.rows(ids), [format!("10000|{time}|{time}|true")]);
    assert_eq!(
        file.rows(
            "SELECT DISTINCT epoch_ms(_airbyte_extracted_at)::VARCHAR, _airbyte_generation_id::VARCHAR \
             FROM polygon.everything"
        ),
        ["1719581400123|0"]
    );
    let reason = r#""change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR""#;
    assert_eq!(
        file.rows("SELECT seq::VARCHAR, _airbyte_meta FROM polygon.everything WHERE _airbyte_meta <> '{\"changes\":[]}'"),
        vec![format!(r#"4097|{{"changes":[{{"field":"b",{reason}}},{{"field":"n",{reason}}}]}}"#); 2]
    );
}

/// A value as canonical JSON, and as DuckDB prints it.
type Cell = Option<(String, String)>;

fn cells() -> impl Strategy<Value = Vec<Cell>> {
    fn some<T: Strategy<Value = (String, String)> + 'static>(strategy: T) -> BoxedStrategy<Cell> {
        proptest::option::weighted(0.8, strategy).boxed()
    }
    let text = any::<String>().prop_map(|text| (serde_json::to_string(&text).unwrap(), text));
    let boolean = any::<bool>().prop_map(|value| (value.to_string(), value.to_string()));
    let integer = any::<i64>().prop_map(|value| (value.to_string(), value.to_string()));
    let decimal = ("-?([1-9][0-9]{0,19}|0)", "[0-9]{1,17}[1-9]").prop_map(|(whole, fraction)| {
        let number = format!("{whole}.{fraction}");
        (number, format!("{whole}.{fraction:0<18}"))
    });
    let date = (1..=9999_i16, 1..=12_i8, 1..=28_i8)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"))
        .prop_map(|date| (format!("\"{date}\""), date));
    let time = (EARLIEST..i64::MAX).prop_map(|nanos| {
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string();
        let (day, clock) = time.trim_end_matches('Z').split_once('T').unwrap();
        (format!("\"{time}\""), format!("{day} {clock}"))
    });
    let json = (any::<i64>(), any::<String>())
        .prop_map(|(number, text)| serde_json::json!({"a": [number, {"b": text}]}).to_string())
        .prop_map(|text| (text.clone(), text));
    (some(text), some(boolean), some(integer), some(decimal), some(date), some(time), some(json))
        .prop_map(|(t, b, i, n, d, w, j)| vec![t, b, i, n, d, w, j])
}

/// Random rows through the whole path; DuckDB itself says what arrived.
#[test]
fn any_values_come_back_as_they_went() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let rows = proptest::collection::vec((cells(), any::<proptest::sample::Index>()), 1..120);
    runner
        .run(&rows, |rows| {
            let (file, table) = (File::new(), everything());
            let lines: Vec<String> =
                rows.iter().enumerate().map(|(seq, (cells, turn))| line(seq, cells, turn)).collect();
            let (head, tail) = lines.split_at(lines.len() / 2);
            runtime.block_on(load(&file, &table, WriteMode::AppendDedup, "1", &[head, tail]));
            let columns: Vec<String> = TYPES.map(|(name, _)| format!("{name}::VARCHAR")).to_vec();
            let found =
                file.rows(&format!("SELECT {} FROM polygon.everything ORDER BY seq", columns.join(", ")));
            let printed =
                |cell: &Cell| cell.as_ref().map_or("NULL".to_owned(), |(_, printed)| printed.clone());
            let expected: Vec<String> = rows
                .iter()
                .map(|(cells, _)| cells.iter().map(printed).collect::<Vec<_>>().join("|"))
                .collect();
            prop_assert_eq!(found, expected);
            Ok(())
        })
        .unwrap();
}

/// A row with its keys in an order that `turn` picks, NULL as absent or as null.
fn line(seq: usize, cells: &[Cell], turn: &proptest::sample::Index) -> String {
    let mut pairs = vec![format!("\"seq\":{seq}")];
    for (index, ((name, _), cell)) in TYPES.iter().zip(cells).enumerate() {
        match cell {
            Some((json, _)) => pairs.push(format!("\"{name}\":{json}")),
            None if (seq + index).is_multiple_of(2) => pairs.push(format!("\"{name}\":null")),
            None => {}
        }
    }
    let turn = turn.index(pairs.len());
    pairs.rotate_left(turn);
    format!("{{{}}}", pairs.join(","))
}

/// JSON as sources write it, with what not every reader takes.
fn odd_json() -> impl Strategy<Value = String> {
    let string = "([ab\u{1}\u{1f}é😀/]|\\\\u(d83d|de00|0000|00e9|D800)|\\\\[\"\\\\/bfnrt]){0,6}"
        .prop_map(|content| format!("\"{content}\""));
    let number = prop::sample::select(vec![
        "0",
        "-1.50",
        "1e400",
        "-1E-999999999",
        "NaN",
        "Infinity",
        "-Infinity",
        "12345678901234567890123",
        "true",
        "null",
    ]);
    let leaf = prop_oneof![string.clone(), number.prop_map(str::to_owned)];
    let nested = leaf.prop_recursive(6, 40, 5, move |inner| {
        let members = proptest::collection::vec((string.clone(), inner.clone()), 0..5);
        let object = members.prop_map(|members| {
            let members: Vec<String> =
                members.into_iter().map(|(key, value)| format!("{key} : {value}")).collect();
            format!("{{{}}}", members.join(" ,"))
        });
        let array =
            proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[ {} ]", items.join(",")));
        prop_oneof![object, array]
    });
    (nested, 0..80_usize)
        .prop_map(|(value, depth)| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth)))
}

/// Whatever a source sends as JSON is a row that DuckDB takes: a warehouse that refused
/// one would refuse it each time.
#[test]
fn no_json_of_a_source_is_refused() {
    use crate::canonical::{FieldForm, Scanner, Transcoder};
    use crate::table::{Kind, Width};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let members = proptest::collection::vec(("[tbindwjux]", odd_json()), 0..8);
    runner
        .run(&proptest::collection::vec(members, 1..40), |records| {
            let (file, table) = (File::new(), everything());
            let kinds = [Kind::Text, Kind::Boolean, Kind::Integer, Kind::Decimal(Width::new(38, 18)), Kind::Date, Kind::Text, Kind::Json];
            let forms = TYPES.iter().zip(kinds).filter(|((name, _), _)| *name != "w");
            let forms = forms.map(|((name, _), kind)| FieldForm { source: name, name, kind });
            let mut transcoder = Transcoder::of(forms, &table, Cause::Destination);
            let mut batch = batch(&table, &[]);
            for members in &records {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                let record = format!("{{{}}}", members.join(","));
                transcoder.row(&mut Scanner::foreign(record.as_bytes()), &mut batch.rows).unwrap();
            }
            runtime.block_on(async {
                let mut sink = file.sink().await;
                let (stream, _) = sink.open_one(&target(&table, WriteMode::Append)).await.unwrap();
                sink.write(stream, batch).await.unwrap();
                commit(&mut sink, stream, "1").await;
            });
            let unread = "SELECT count(*)::VARCHAR, count(*) FILTER (NOT json_valid(j) OR NOT json_valid(additional_properties))::VARCHAR FROM polygon.everything";
            prop_assert_eq!(file.rows(unread), [format!("{}|0", records.len())]);
            Ok(())
        })
        .unwrap();
}
