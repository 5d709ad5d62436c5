//! Commits of several streams: what befalls one of them is no concern of the others.

use super::cut::{cut_everywhere, sink_to_cut};
use super::*;

use tapeline::error::Error;

const STREAMS: [&str; 2] = ["trades", "quotes"];

/// Digits after the point beyond those of the column.
const FINE: &str = "0.00000000000000000000025";

fn targets() -> [Target; 2] {
    let narrow = |name: &str| {
        let mut target = named(name, WriteMode::AppendDedup);
        let columns = &mut Arc::make_mut(&mut target.table).columns;
        columns.iter_mut().find(|column| column.name == "price").expect("there are prices").ty =
            ColumnType::Decimal(Width::PRICE);
        target
    };
    STREAMS.map(narrow)
}

async fn opened(sink: &mut SnowflakeSink) -> Vec<StreamId> {
    sink.open_all(&targets()).await.unwrap()
}

async fn commit_all(
    sink: &mut SnowflakeSink,
    streams: &[StreamId],
    progress: &str,
) -> Vec<(StreamId, Error)> {
    sink.commit_all(streams, progress).await.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Digits after the point of the prices of a table.
async fn scale(sink: &SnowflakeSink, schema: &str, table: &str) -> String {
    let sql = format!(
        "SELECT CAST(NUMERIC_SCALE AS VARCHAR) FROM \"INTEGRATION\".INFORMATION_SCHEMA.COLUMNS \
         WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{}' AND COLUMN_NAME = 'PRICE'",
        schema.to_uppercase(),
        table.to_uppercase()
    );
    one(sink, &sql).await.expect("the column is there")
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_stream_that_was_overtaken_leaves_the_others_alone() {
    for (overtaken, price) in [(0, "1"), (1, "1"), (0, FINE), (1, FINE)] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let streams = opened(&mut sink).await;
        for stream in &streams {
            write(&mut sink, *stream, &[row("A", 1, "1")]).await;
        }
        assert!(commit_all(&mut sink, &streams, "p1").await.is_empty());

        let mut other = connect(&schema).await;
        let (theirs, progress) = other.open_one(&targets()[overtaken]).await.unwrap();
        assert_eq!(progress.as_deref(), Some("p1"));
        for (index, stream) in streams.iter().enumerate() {
            let price = if index == overtaken { price } else { "1" };
            write(&mut sink, *stream, &[row("A", 2, price)]).await;
        }
        let refused = commit_all(&mut sink, &streams, "p2").await;
        let told: Vec<_> =
            refused.iter().map(|(stream, error)| (*stream, error.kind(), error.stream())).collect();
        assert_eq!(told, [(streams[overtaken], ErrorKind::Conflict, Some(STREAMS[overtaken]))]);
        assert_eq!(scale(&other, &schema, STREAMS[overtaken]).await, "9", "its columns are another's now");

        // Both go on, each with what is its own.
        let left = streams[1 - overtaken];
        commit(&mut sink, left, &[row("A", 3, "1")], "p3").await;
        commit(&mut other, theirs, &[row("A", 4, "1")], "p2").await;
        assert_eq!(prices_of(&sink, &schema, STREAMS[overtaken]).await, ["A/1/1.0", "A/4/1.0"]);
        let theirs = ["A/1/1.0", "A/2/1.0", "A/3/1.0"];
        assert_eq!(prices_of(&sink, &schema, STREAMS[1 - overtaken]).await, theirs);

        // By itself it is refused as well: a stream that is not part of the commit goes on.
        other.open_one(&targets()[1 - overtaken]).await.unwrap();
        write(&mut sink, left, &[row("A", 5, "1")]).await;
        let refused = commit_all(&mut sink, &[left], "p4").await;
        assert_eq!(refused.iter().map(|(stream, _)| *stream).collect::<Vec<_>>(), [left]);
        assert_eq!(prices_of(&sink, &schema, STREAMS[1 - overtaken]).await, theirs);
    }
}

/// Also when the commit is tried again without one of them.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn each_stream_has_its_deletes_in_a_commit_of_several() {
    for overtaken in [None, Some(0), Some(1)] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let streams = opened(&mut sink).await;
        for stream in &streams {
            write(&mut sink, *stream, &[row("A", 1, "1"), row("A", 2, "1"), row("A", 3, "1")]).await;
        }
        assert!(commit_all(&mut sink, &streams, "p1").await.is_empty());
        let mut other = connect(&schema).await;
        if let Some(index) = overtaken {
            other.open_one(&targets()[index]).await.unwrap();
        }
        for (gone, stream) in (1..).zip(&streams) {
            let mut batch = batch(&[row("A", gone, "1")]);
            batch.rows.delete_last();
            sink.write(*stream, batch).await.unwrap();
            write(&mut sink, *stream, &[row("A", 4, "1")]).await;
        }
        let refused = commit_all(&mut sink, &streams, "p2").await;
        assert_eq!(refused.len(), usize::from(overtaken.is_some()));
        let left = [["A/2/1.0", "A/3/1.0", "A/4/1.0"], ["A/1/1.0", "A/3/1.0", "A/4/1.0"]];
        for (index, left) in left.into_iter().enumerate() {
            let before = ["A/1/1.0", "A/2/1.0", "A/3/1.0"];
            let expected = if overtaken == Some(index) { before } else { left };
            assert_eq!(prices_of(&sink, &schema, STREAMS[index]).await, expected);
        }
    }
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_stream_of_a_commit_widens_its_columns_alone() {
    for wide in 0..2 {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let streams = opened(&mut sink).await;
        for stream in &streams {
            write(&mut sink, *stream, &[row("A", 1, "1.5")]).await;
        }
        assert!(commit_all(&mut sink, &streams, "p1").await.is_empty());
        for (index, stream) in streams.iter().enumerate() {
            write(&mut sink, *stream, &[row("A", 2, if index == wide { FINE } else { "2.5" })]).await;
        }
        assert!(commit_all(&mut sink, &streams, "p2").await.is_empty());
        assert_eq!(scale(&sink, &schema, STREAMS[wide]).await, "23");
        assert_eq!(scale(&sink, &schema, STREAMS[1 - wide]).await, "9");
        assert_eq!(prices_of(&sink, &schema, STREAMS[wide]).await, ["A/1/1.5", "A/2/0.0"]);
        assert_eq!(prices_of(&sink, &schema, STREAMS[1 - wide]).await, ["A/1/1.5", "A/2/2.5"]);
        assert_eq!(fine(&sink, &schema, STREAMS[wide]).await, FINE);
    }
}

/// The price of the second row, with all of its digits.
async fn fine(sink: &SnowflakeSink, schema: &str, table: &str) -> String {
    let sql = format!(
        "SELECT CAST(\"PRICE\" AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"{}\" WHERE \"ID\" = 2",
        schema.to_uppercase(),
        table.to_uppercase()
    );
    one(sink, &sql).await.expect("the row has a price")
}

/// A column that cannot hold the digits of both ends its stream alone.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_stream_whose_columns_cannot_widen_leaves_the_others_alone() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let streams = opened(&mut sink).await;
    for stream in &streams {
        write(&mut sink, *stream, &[row("A", 1, "12345678901234567890")]).await;
    }
    assert!(commit_all(&mut sink, &streams, "p1").await.is_empty());
    drop(sink);
    let mut sink = connect(&schema).await;
    let streams = opened(&mut sink).await;
    write(&mut sink, streams[0], &[row("A", 2, FINE)]).await;
    write(&mut sink, streams[1], &[row("A", 2, "2.5")]).await;
    let refused = commit_all(&mut sink, &streams, "p2").await;
    let told: Vec<_> =
        refused.iter().map(|(stream, error)| (*stream, error.kind(), error.stream())).collect();
    assert_eq!(told, [(streams[0], ErrorKind::Table, Some("trades"))]);
    assert_eq!(prices_of(&sink, &schema, "trades").await, ["A/1/12345678901234567890.0"]);
    assert_eq!(prices_of(&sink, &schema, "quotes").await, ["A/1/12345678901234567890.0", "A/2/2.5"]);
}

/// At its end as well: the tables of the others take their places.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_stream_that_was_overtaken_is_not_ended_and_the_others_are() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let targets = STREAMS.map(|name| named(name, WriteMode::Overwrite));
    let streams = sink.open_all(&targets).await.unwrap();
    for stream in &streams {
        write(&mut sink, *stream, &[row("A", 1, "1")]).await;
    }
    assert!(commit_all(&mut sink, &streams, "p1").await.is_empty());
    let mut other = connect(&schema).await;
    other.open_one(&targets[0]).await.unwrap();
    for refused in [&streams[..], &streams[..1]] {
        assert_eq!(sink.finish(refused).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    // What was ended may be ended again.
    for _ in 0..2 {
        sink.finish(&streams[1..]).await.unwrap();
    }
    assert_eq!(prices_of(&sink, &schema, STREAMS[1]).await, ["A/1/1.0"]);
    assert!(prices_of(&sink, &schema, STREAMS[0]).await.is_empty());
}

/// Nor do keys that do not fit together: as NULL they would make one row of two.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_stream_with_a_key_that_does_not_fit_leaves_the_others_alone() {
    for alone in [false, true] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let mut targets = targets();
        Arc::make_mut(&mut targets[0].table).key = vec!["price".to_owned()];
        let streams = sink.open_all(&targets).await.unwrap();
        write(&mut sink, streams[0], &[row("A", 1, "12345678901234567890")]).await;
        commit(&mut sink, streams[0], &[], "p1").await;
        write(&mut sink, streams[0], &[row("A", 2, FINE), row("A", 3, "1")]).await;
        write(&mut sink, streams[1], &[row("A", 2, "2.5")]).await;
        let refused = commit_all(&mut sink, &streams[..if alone { 1 } else { 2 }], "p2").await;
        let told: Vec<_> =
            refused.iter().map(|(stream, error)| (*stream, error.kind(), error.stream())).collect();
        assert_eq!(told, [(streams[0], ErrorKind::Table, Some("trades"))]);
        assert!(refused[0].1.user_message().contains("`price` of table trades"), "{}", refused[0].1.report());
        if alone {
            commit(&mut sink, streams[1], &[], "p2").await;
        }
        assert_eq!(prices_of(&sink, &schema, "trades").await, ["A/1/12345678901234567890.0"]);
        assert_eq!(prices_of(&sink, &schema, "quotes").await, ["A/2/2.5"]);
        // What was refused is of no consequence to what comes next.
        sink.rollback(streams[0]).await.unwrap();
        commit(&mut sink, streams[0], &[row("A", 4, "1")], "p2").await;
        assert_eq!(prices_of(&sink, &schema, "trades").await.len(), 2);
    }
}

/// Whatever the server refuses of streams is of no concern to the others, however many they are.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn streams_that_the_server_refuses_leave_the_others_alone() {
    let names = ["trades", "news", "quotes"];
    for (gone, together) in
        [(&[0, 1][..], true), (&[1, 2], true), (&[0, 1, 2], true), (&[1], true), (&[1], false)]
    {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let targets = names.map(|name| named(name, WriteMode::AppendDedup));
        let streams = sink.open_all(&targets).await.unwrap();
        for stream in &streams {
            write(&mut sink, *stream, &[row("A", 1, "1")]).await;
        }
        // As somebody does who tidies up while it runs.
        for index in gone {
            let table = names[*index].to_uppercase();
            let sql = format!("DROP TABLE \"INTEGRATION\".\"{}\".\"{table}\"", schema.to_uppercase());
            sink.query(&sql).await.unwrap();
        }
        let groups: Vec<&[StreamId]> = if together { vec![&streams] } else { streams.chunks(1).collect() };
        let mut refused = Vec::new();
        for group in groups {
            refused.extend(commit_all(&mut sink, group, "p1").await);
        }
        let mut told: Vec<_> =
            refused.iter().map(|(stream, error)| (*stream, error.kind(), error.stream())).collect();
        told.sort_by_key(|(stream, ..)| *stream);
        let expected: Vec<_> =
            gone.iter().map(|index| (streams[*index], ErrorKind::Sink, Some(names[*index]))).collect();
        assert_eq!(told, expected);
        for index in (0..names.len()).filter(|index| !gone.contains(index)) {
            assert_eq!(prices_of(&sink, &schema, names[index]).await, ["A/1/1.0"]);
        }
    }
}

/// Rows that a joint commit needs a wider column for, unless they are there.
async fn go_on_wider(sink: &mut SnowflakeSink) {
    let opened = sink.open(&targets()).await.unwrap();
    let opened: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    let at: Vec<_> = opened.iter().map(|opened| opened.progress.positions[""].as_str()).collect();
    assert!(at == ["p1", "p1"] || at == ["p2", "p2"], "one transaction moves both: {at:?}");
    if at[0] == "p1" {
        let streams: Vec<StreamId> = opened.iter().map(|opened| opened.id).collect();
        write(sink, streams[0], &[row("A", 2, "2.5")]).await;
        write(sink, streams[1], &[row("A", 2, FINE)]).await;
        assert!(commit_all(sink, &streams, "p2").await.is_empty());
    }
}

#[tokio::test]
#[ignore = "part of a_joint_commit_that_widens_can_be_cut_anywhere"]
async fn the_process_that_widens() {
    if let Some((mut sink, _)) = sink_to_cut().await {
        go_on_wider(&mut sink).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_joint_commit_that_widens_can_be_cut_anywhere() {
    let prepare = async |sink: &SnowflakeSink, schema: &str| {
        let mut first = SnowflakeSink::connect(&config_at(crash::MENDED, schema)).await.unwrap();
        let streams = opened(&mut first).await;
        for stream in &streams {
            write(&mut first, *stream, &[row("A", 1, "1.5")]).await;
        }
        assert!(commit_all(&mut first, &streams, "p1").await.is_empty());
        assert_eq!(scale(sink, schema, "quotes").await, "9");
    };
    let judge = async |mut sink: SnowflakeSink, schema: &str, point: u64| {
        go_on_wider(&mut sink).await;
        assert_eq!(prices_of(&sink, schema, "trades").await, ["A/1/1.5", "A/2/2.5"], "cut at {point}");
        assert_eq!(prices_of(&sink, schema, "quotes").await, ["A/1/1.5", "A/2/0.0"], "cut at {point}");
        assert_eq!(fine(&sink, schema, "quotes").await, FINE, "cut at {point}");
    };
    let points = cut_everywhere("snowflake::joint::the_process_that_widens", prepare, judge).await;
    assert!(points > 20, "{points} statements");
}
