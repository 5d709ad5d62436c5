//! Rows ahead of a stream whose table other streams write to as well.

use proptest::prelude::*;

use super::*;
use crate::batch::{Bound, Extent};
use crate::sink::model::{self, Held, Row};

const STREAMS: [&str; 2] = ["first", "second"];

/// Numbers that need more and more digits on either side of the point.
const NUMBERS: [&str; 5] = ["1.5", "2", "12345678901", "0.00000000000025", "987654321098.5"];

/// What holds a key's value.
const KEPT: &str = "SELECT id::VARCHAR, rtrim(rtrim(v::VARCHAR, '0'), '.') FROM polygon.numbers ORDER BY id";

fn numbers() -> Arc<Table> {
    versioned(None)
}

fn versioned(version: Option<&str>) -> Arc<Table> {
    Arc::new(Table {
        cursor: Some("day".to_owned()),
        version: version.map(str::to_owned),
        ..Table::new(
            "numbers",
            vec![
                column("id", ColumnType::Integer),
                column("day", ColumnType::Date),
                column("at", ColumnType::Integer),
                column("v", ColumnType::Decimal(Width::PRICE)),
                column(EXTRA_COLUMN, ColumnType::Json),
            ],
            &["id"],
        )
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
        grows: true,
        ..target(table, WriteMode::AppendDedup)
    };
    let mut targets = STREAMS.map(of).to_vec();
    targets.push(target(&bars(), WriteMode::AppendDedup));
    sink.open_all(&targets).await.unwrap()
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

/// A row of a key, or a delete, with its version.
fn change(id: u8, at: Option<u8>, v: Option<&str>) -> (String, bool) {
    let at = at.map_or("null".to_owned(), |at| at.to_string());
    match v {
        Some(v) => (format!(r#"{{"id":{id},"day":"2024-06-28","at":{at},"v":{v}}}"#), false),
        None => (format!(r#"{{"id":{id},"at":{at}}}"#), true),
    }
}

/// Rows and deletes as a batch.
fn changes(table: &Arc<Table>, changes: &[(String, bool)], ahead: bool) -> Batch {
    let mut all = Batch { ahead, ..batch(table, &[]) };
    for (row, is_delete) in changes {
        all.rows.push(row.as_bytes());
        if *is_delete {
            all.rows.delete_last();
        }
    }
    all
}

/// Of rows that only the table has.
#[tokio::test]
async fn deletes_ahead_take_rows_of_the_table_with_the_commit() {
    for kept in [false, true] {
        let (file, table) = (File::new(), numbers());
        let mut sink = file.sink().await;
        let streams = opened(&mut sink, &table).await;
        add(&mut sink, streams[0], &table, &[1, 2, 3, 4].map(|id| number(id, "1")), false).await;
        assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
        for batch in [
            &[change(1, None, None), change(2, None, Some("2"))][..],
            // What came ahead goes too, and what was deleted may come back.
            &[change(2, None, None), change(5, None, Some("2"))],
            &[change(3, None, None), change(5, None, None)],
            &[change(3, None, Some("3"))],
        ] {
            sink.write(streams[0], changes(&table, batch, true)).await.unwrap();
        }
        match kept {
            true => assert!(commit_all(&mut sink, &streams[..1], "2").await.is_empty()),
            false => sink.rollback(streams[0]).await.unwrap(),
        }
        drop(sink);
        let expected = if kept { &["3|3", "4|1"][..] } else { &["1|1", "2|1", "3|1", "4|1"] };
        assert_eq!(file.rows(KEPT), expected);
    }
}

/// Neither a row nor a delete takes one that is newer, wherever that is.
#[tokio::test]
async fn rows_ahead_that_are_older_than_the_table_has_them_do_nothing() {
    let (file, table) = (File::new(), versioned(Some("at")));
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    let before = [1, 2, 3, 4].map(|id| change(id, Some(5), Some("1")));
    sink.write(streams[0], changes(&table, &before, false)).await.unwrap();
    assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
    let first = [
        change(1, Some(4), Some("2")),
        change(2, Some(4), None),
        change(3, Some(6), None),
        change(4, Some(6), None),
        change(5, Some(4), Some("2")),
    ];
    // The delete that came before goes on taking away what it is for.
    let second = [change(3, Some(4), Some("3")), change(5, Some(3), None), change(6, Some(1), None)];
    for batch in [&first[..], &second] {
        sink.write(streams[0], changes(&table, batch, true)).await.unwrap();
    }
    assert!(commit_all(&mut sink, &streams[..1], "2").await.is_empty());
    drop(sink);
    assert_eq!(file.rows(KEPT), ["1|1", "2|1", "3|3", "5|2"]);
}

/// A row ahead took the place of one of another day, and went with its own.
#[tokio::test]
async fn a_part_that_is_replaced_ahead_brings_back_no_row_of_the_table() {
    let (file, table) = (File::new(), numbers());
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    let of_day = |id: u8, day: u8| format!(r#"{{"id":{id},"day":"2024-06-{day}","v":{day}}}"#);
    add(&mut sink, streams[0], &table, &[of_day(1, 10), of_day(2, 10)], false).await;
    assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
    add(&mut sink, streams[0], &table, &[of_day(1, 20), of_day(3, 20)], true).await;
    let part = Extent {
        partition: None,
        cursor: "day".to_owned(),
        from: Bound::Day(jiff::civil::date(2024, 6, 20)),
        until: None,
    };
    let again = Batch { ahead: true, replaces: vec![part], ..batch(&table, &[of_day(3, 21)]) };
    sink.write(streams[0], again).await.unwrap();
    assert!(commit_all(&mut sink, &streams[..1], "2").await.is_empty());
    drop(sink);
    assert_eq!(
        file.rows("SELECT id::VARCHAR, day::VARCHAR FROM polygon.numbers ORDER BY id"),
        ["2|2024-06-10", "3|2024-06-21"]
    );
}

/// DuckDB compares microseconds with nanoseconds only where those reach.
#[tokio::test]
async fn rows_ahead_get_the_microseconds_that_another_stream_gave_their_key() {
    let (file, table) = (File::new(), bars());
    let table = Arc::new(Table { name: "numbers".to_owned(), ..(*table).clone() });
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    let quote = |ticker: &str, time: &str| format!(r#"{{"ticker":"{ticker}","timestamp":"{time}"}}"#);
    let soon = "2024-06-28T13:30:00Z";
    add(&mut sink, streams[0], &table, &[quote("A", soon)], false).await;
    assert!(commit_all(&mut sink, &streams[..1], "1").await.is_empty());
    add(&mut sink, streams[0], &table, &[quote("A", soon), quote("C", soon)], true).await;
    add(&mut sink, streams[1], &table, &[quote("B", "9999-01-01T00:00:00Z")], false).await;
    assert!(commit_all(&mut sink, &streams[1..2], "1").await.is_empty());
    let refused = commit_all(&mut sink, &streams[..1], "2").await;
    assert!(refused.is_empty(), "{}", refused[0].1.report());
    drop(sink);
    assert_eq!(file.rows("SELECT ticker FROM polygon.numbers ORDER BY 1"), ["A", "B", "C"]);
}

/// What may happen to the two streams.
#[derive(Debug, Clone)]
enum Step {
    /// The number is an index in [`NUMBERS`].
    Rows {
        stream: usize,
        row: Row,
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
    /// The stream learns a column, which the other may have learned before; everything but
    /// rows ahead is committed first.
    Grow {
        stream: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0..4_u8, prop::option::weighted(0.9, 0..4_u8), 0..NUMBERS.len(), prop::bool::weighted(0.3))
        .prop_map(|(k, at, n, is_delete)| Row { k, at, n, is_delete });
    let rows = (0..2_usize, row, any::<bool>());
    let step = prop_oneof![
        6 => rows.prop_map(|(stream, row, ahead)| Step::Rows { stream, row, ahead }),
        2 => (0..3_usize).prop_map(|ahead_of| Step::Commit { ahead_of }),
        1 => (0..2_usize).prop_map(|stream| Step::Rollback { stream }),
        1 => Just(Step::Refusal),
        1 => (0..2_usize).prop_map(|stream| Step::Grow { stream }),
    ];
    proptest::collection::vec(step, 1..24)
}

/// Rows that a stream wrote since its last commit, and whether they are ahead.
#[derive(Default)]
struct Open {
    rows: Vec<Row>,
    ahead: bool,
}

/// The table with so many columns that were learned; each has what `v` has.
fn learned(table: &Table, count: usize) -> Arc<Table> {
    let more: Vec<Column> =
        (0..count).map(|index| column(&format!("g{index}"), ColumnType::Decimal(Width::PRICE))).collect();
    Arc::new(table.grown(&more).unwrap())
}

/// A row of it.
fn with_learned(row: &str, number: Option<&str>, count: usize) -> String {
    let members = (0..count).filter_map(|index| Some(format!(",\"g{index}\":{}", number?)));
    format!("{}{}}}", &row[..row.len() - 1], members.collect::<String>())
}

/// Makes what is not ahead durable, and what one stream has ahead.
async fn commit_open(
    sink: &mut DuckDbSink,
    streams: &[StreamId],
    open: &mut [Open; 2],
    ahead_of: Option<usize>,
    durable: &mut Held,
) {
    let named: Vec<usize> =
        (0..2).filter(|stream| !open[*stream].ahead || Some(*stream) == ahead_of).collect();
    let ids: Vec<StreamId> = named.iter().map(|stream| streams[*stream]).collect();
    let refused = commit_all(sink, &ids, "1").await;
    assert!(refused.is_empty(), "{}", refused[0].1.report());
    for stream in named {
        let rows = std::mem::take(&mut open[stream]).rows;
        rows.iter().for_each(|row| model::write(durable, [row]));
    }
}

async fn check(steps: Vec<Step>, is_versioned: bool) {
    let (file, table) = (File::new(), versioned(is_versioned.then_some("at")));
    let mut sink = file.sink().await;
    let streams = opened(&mut sink, &table).await;
    let mut durable = Held::new();
    let mut open: [Open; 2] = Default::default();
    let mut grown = [0; 2];
    for step in steps {
        match step {
            Step::Rows { stream, mut row, ahead } => {
                let open = &mut open[stream];
                // Rows of one kind only are open.
                open.ahead = if open.rows.is_empty() { ahead } else { open.ahead };
                // Each stream has keys of its own.
                row.k += 10 * u8::try_from(stream).unwrap();
                row.at = row.at.filter(|_| is_versioned);
                let number = (!row.is_delete).then_some(NUMBERS[row.n]);
                let (text, is_delete) = change(row.k, row.at, number);
                let all = [(with_learned(&text, number, grown[stream]), is_delete)];
                let table = learned(&table, grown[stream]);
                sink.write(streams[stream], changes(&table, &all, open.ahead)).await.unwrap();
                open.rows.push(row);
            }
            Step::Commit { ahead_of } => {
                commit_open(&mut sink, &streams, &mut open, Some(ahead_of), &mut durable).await;
            }
            Step::Grow { stream } => {
                commit_open(&mut sink, &streams, &mut open, None, &mut durable).await;
                grown[stream] += 1;
                sink.evolve(streams[stream], learned(&table, grown[stream])).await.unwrap();
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
    let expected: Vec<String> = durable.iter().map(|(id, (_, n))| format!("{id}|{}", NUMBERS[*n])).collect();
    assert_eq!(file.rows(KEPT), expected);
    for index in 0..grown.into_iter().max().unwrap_or(0) {
        let other = format!("SELECT id::VARCHAR FROM polygon.numbers WHERE g{index} <> v");
        assert_eq!(file.rows(&other), Vec::<String>::new(), "what was learned has other values");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_streams_that_share_a_table_are_durable_when_they_are_committed(
        steps in steps(), is_versioned: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps, is_versioned));
    }
}
