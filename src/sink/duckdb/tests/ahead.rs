//! Rows ahead of a stream whose table other streams write to as well.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::batch::{Bound, Extent};

const STREAMS: [&str; 2] = ["first", "second"];

/// Numbers that need more and more digits on either side of the point.
const NUMBERS: [&str; 5] = ["1.5", "2", "12345678901", "0.00000000000025", "987654321098.5"];

/// What holds a key's value.
const KEPT: &str = "SELECT id::VARCHAR, rtrim(rtrim(v::VARCHAR, '0'), '.') FROM polygon.numbers ORDER BY id";

fn numbers() -> Arc<Table> {
    Arc::new(Table {
        name: "numbers".to_owned(),
        columns: vec![
            column("id", ColumnType::Integer),
            column("day", ColumnType::Date),
            column("v", ColumnType::Decimal(Width::PRICE)),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        key: vec!["id".to_owned()],
        cursor: Some("day".to_owned()),
    })
}

fn number(id: u8, number: &str) -> String {
    format!(r#"{{"id":{id},"day":"2024-06-28","v":{number}}}"#)
}

/// The two streams, and one of another table.
async fn opened(sink: &mut DuckDbSink, table: &Arc<Table>) -> Vec<StreamId> {
    let of = |stream: &str| Target {
        stream: stream.to_owned(),
        shared: true,
        ..target(table, WriteMode::AppendDedup)
    };
    let mut targets = STREAMS.map(of).to_vec();
    targets.push(target(&bars(), WriteMode::AppendDedup));
    let opened = sink.open(&targets).await.unwrap();
    opened.into_iter().map(|opened| opened.unwrap().id).collect()
}

async fn add(sink: &mut DuckDbSink, stream: StreamId, table: &Arc<Table>, rows: &[String], ahead: bool) {
    sink.write(stream, Batch { ahead, ..batch(table, rows) }).await.unwrap();
}

/// DuckDB loses a transaction with rows of a table that another one alters, and alters
/// none that another one has rows of.
#[tokio::test]
async fn a_table_is_widened_while_another_stream_has_rows_ahead_of_it() {
    let [fine, large] = [NUMBERS[3], NUMBERS[2]];
    for (ahead, beside, together) in [("2", fine, true), (fine, "2", true), (large, fine, false)] {
        let (file, table) = (File::new(), numbers());
        let mut sink = file.sink().await;
        let streams = opened(&mut sink, &table).await;
        add(&mut sink, streams[0], &table, &[number(1, "1.5"), number(2, "1.5")], true).await;
        add(&mut sink, streams[1], &table, &[number(11, "1.5")], false).await;
        add(&mut sink, streams[0], &table, &[number(1, ahead)], true).await;
        add(&mut sink, streams[1], &table, &[number(12, beside)], false).await;
        if together {
            assert!(commit_all(&mut sink, &streams[..2], "1").await.is_empty());
        } else {
            assert!(commit_all(&mut sink, &streams[1..2], "1").await.is_empty());
            add(&mut sink, streams[0], &table, &[number(3, "3")], true).await;
            assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
        }
        drop(sink);
        let mut expected = vec![format!("1|{ahead}"), "2|1.5".to_owned()];
        expected.extend((!together).then(|| "3|3".to_owned()));
        expected.extend(["11|1.5".to_owned(), format!("12|{beside}")]);
        assert_eq!(file.rows(KEPT), expected);
    }
}

/// What the source has no more goes with the rows that take its place, and not before.
#[tokio::test]
async fn parts_that_are_replaced_ahead_go_with_the_commit() {
    let (file, table) = (File::new(), numbers());
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    add(&mut sink, streams[0], &table, &[number(1, "1"), number(2, "2")], false).await;
    assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
    let part = Extent {
        partition: None,
        cursor: "day".to_owned(),
        from: Bound::Day(jiff::civil::date(2024, 6, 28)),
        until: None,
    };
    for kept in [false, true] {
        let batch = Batch { ahead: true, replaces: vec![part.clone()], ..batch(&table, &[number(3, "3")]) };
        sink.write(streams[0], batch).await.unwrap();
        add(&mut sink, streams[0], &table, &[number(4, "4")], true).await;
        match kept {
            true => assert!(commit_all(&mut sink, &streams[..1], "2").await.is_empty()),
            false => sink.rollback(streams[0]).await.unwrap(),
        }
    }
    drop(sink);
    assert_eq!(file.rows(KEPT), ["3|3", "4|4"]);
}

/// What may happen to the two streams.
#[derive(Debug, Clone)]
enum Step {
    Rows {
        stream: usize,
        id: u8,
        number: &'static str,
        ahead: bool,
    },
    /// Also what this stream has ahead.
    Commit {
        ahead_of: usize,
    },
    Rollback {
        stream: usize,
    },
    /// DuckDB refuses rows of another table, and the transaction of all streams with it.
    Refusal,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = (0..2_usize, 0..4_u8, select(&NUMBERS[..]), any::<bool>());
    let step = prop_oneof![
        6 => rows.prop_map(|(stream, id, number, ahead)| Step::Rows { stream, id, number, ahead }),
        2 => (0..3_usize).prop_map(|ahead_of| Step::Commit { ahead_of }),
        1 => (0..2_usize).prop_map(|stream| Step::Rollback { stream }),
        1 => Just(Step::Refusal),
    ];
    proptest::collection::vec(step, 1..24)
}

/// Rows that a stream wrote since its last commit, and whether they are ahead.
#[derive(Default)]
struct Open {
    rows: BTreeMap<u8, &'static str>,
    ahead: bool,
}

async fn check(steps: Vec<Step>) {
    let (file, table) = (File::new(), numbers());
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    let mut durable: BTreeMap<u8, &str> = BTreeMap::new();
    let mut open: [Open; 2] = Default::default();
    for step in steps {
        match step {
            Step::Rows { stream, id, number: v, ahead } => {
                let open = &mut open[stream];
                // Rows of one kind only are open.
                open.ahead = if open.rows.is_empty() { ahead } else { open.ahead };
                // Each stream has keys of its own.
                let id = id + 10 * u8::try_from(stream).unwrap();
                add(&mut sink, streams[stream], &table, &[number(id, v)], open.ahead).await;
                open.rows.insert(id, v);
            }
            Step::Commit { ahead_of } => {
                let named: Vec<usize> =
                    (0..2).filter(|stream| !open[*stream].ahead || *stream == ahead_of).collect();
                let ids: Vec<StreamId> = named.iter().map(|stream| streams[*stream]).collect();
                let refused = commit_all(&mut sink, &ids, "1").await;
                assert!(refused.is_empty(), "{}", refused[0].1.report());
                for stream in named {
                    durable.extend(std::mem::take(&mut open[stream]).rows);
                }
            }
            Step::Rollback { stream } => {
                if open[stream].ahead {
                    sink.rollback(streams[stream]).await.unwrap();
                    open[stream] = Open::default();
                }
            }
            Step::Refusal => {
                let broken = r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned();
                add(&mut sink, streams[2], &bars(), &[broken], false).await;
                sink.rollback(streams[2]).await.unwrap();
            }
        }
    }
    drop(sink);
    let expected: Vec<String> = durable.iter().map(|(id, v)| format!("{id}|{v}")).collect();
    assert_eq!(file.rows(KEPT), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_streams_that_share_a_table_are_durable_when_they_are_committed(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check(steps));
    }
}
