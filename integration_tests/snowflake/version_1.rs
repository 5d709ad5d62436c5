//! Progress that version 1 of the program stored in Snowflake is gone on with, and moved
//! where it is now.

use std::collections::BTreeMap;

use super::cut::{cut_everywhere, sink_to_cut};
use super::*;

use tapeline::checkpoint::Checkpoint;
use tapeline::sink::{AIRBYTE, Move, Portion, Run, Stored};

/// What it left: see there.
const LEFT: &str = include_str!("../version_1/snowflake.sql");

const SPAN: &str = r#"{"version":1,"options":{"adjusted":"false"},"floor":{"as_of":"2024-06-28T21:00:00Z","through":"2024-06-25","from":"2024-06-20"},"partitions":["A","B"]}"#;
const ONE: &str = r#"{"version":1,"floor":{"as_of":"2024-06-28T21:00:00Z","through":"2024-06-25","from":"2024-06-20"},"partitions":[""]}"#;
const WHOLE: &str = r#"{"version":1,"complete":{"A":"2024-06-28T21:00:00Z"}}"#;
const RECORDS: &str =
    r#"{"type":"STREAM","stream":{"stream_descriptor":{"name":"records"},"stream_state":{"cursor":"1.10"}}}"#;
const REFRESH: &str =
    r#"{"type":"STREAM","stream":{"stream_descriptor":{"name":"refresh"},"stream_state":{"cursor":"1.10"}}}"#;
/// What a platform stores next.
const NEXT_STATE: &str = r#"{"cursor":"2.0"}"#;

/// A stream that version 1 had come so far with.
struct Left {
    target: Target,
    text: &'static str,
    /// What readers see at first, and once the stream is read to its end.
    before: &'static [&'static str],
    after: &'static [&'static str],
}

fn left() -> Vec<Left> {
    let of_platform = |name: &str, mode, generation| Target {
        pipeline: AIRBYTE.to_owned(),
        stream: format!("polygon/{name}"),
        run: Some(Run { generation, sync: Some(10 + generation) }),
        ..named(name, mode)
    };
    let replaced: &[&str] = &["A/1/1.5", "A/2/9.0"];
    let (old, merged): (&[&str], &[&str]) = (&["OLD/1/1.0"], &["A/1/1.5", "A/2/2.5"]);
    vec![
        Left {
            target: named("trades", WriteMode::Append),
            text: SPAN,
            before: &["A/1/1.5", "A/1/1.5"],
            after: &["A/1/1.5", "A/1/1.5", "A/2/9.0"],
        },
        Left { target: named("quotes", WriteMode::AppendDedup), text: ONE, before: merged, after: replaced },
        Left { target: named("snapshot", WriteMode::Overwrite), text: WHOLE, before: old, after: replaced },
        Left {
            target: of_platform("records", WriteMode::AppendDedup, 3),
            text: RECORDS,
            before: merged,
            after: replaced,
        },
        Left {
            target: of_platform("refresh", WriteMode::OverwriteDedup, 5),
            text: REFRESH,
            before: old,
            after: replaced,
        },
    ]
}

async fn leave(sink: &SnowflakeSink, schema: &str) {
    let here = format!("\"INTEGRATION\".\"{}\".", schema.to_uppercase());
    let statements = LEFT.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for sql in statements.split(";\n").map(|sql| sql.trim_end_matches(';')).filter(|sql| !sql.is_empty()) {
        let sql = sql.replace("\"INTEGRATION\".\"POLYGON\".", &here);
        sink.query(&sql).await.unwrap_or_else(|error| panic!("{sql}: {}", error.report()));
    }
}

/// Every shard that the text speaks of, as the engine moves them.
fn moves(left: &Left) -> Vec<Move> {
    if left.target.pipeline == AIRBYTE {
        return vec![Move { shard: "".into(), position: Some(NEXT_STATE.to_owned()) }];
    }
    let options = match left.text {
        SPAN => BTreeMap::from([("adjusted".to_owned(), "false".to_owned())]),
        _ => BTreeMap::new(),
    };
    let checkpoint = Checkpoint::from_json(left.text, options).unwrap();
    let moved = |shard: Arc<str>| Move { position: checkpoint.stored_position(&shard), shard };
    checkpoint.shards().map(moved).collect()
}

/// Where a stream is that was opened.
#[derive(Debug, PartialEq)]
enum At {
    /// As version 1 left it.
    Text,
    /// After the commit that took it over.
    Shards,
    /// After its run was finished.
    Anew,
}

fn at(left: &Left, stored: &Stored) -> At {
    match (&stored.text, stored.positions.is_empty()) {
        (Some(text), true) if text == left.text => At::Text,
        (None, true) => At::Anew,
        (None, false) => {
            let moved = moves(left).into_iter().filter_map(|moved| Some((moved.shard, moved.position?)));
            assert_eq!(stored.positions, moved.collect::<BTreeMap<_, _>>());
            At::Shards
        }
        _ => panic!("{stored:?}"),
    }
}

/// Opens all streams, reads what is not there yet and finishes them; returns where they were.
async fn go_on(sink: &mut SnowflakeSink, schema: &str, all: &[Left]) -> Vec<At> {
    let targets: Vec<Target> = all.iter().map(|left| left.target.clone()).collect();
    let opened: Vec<_> = sink.open(&targets).await.unwrap().into_iter().map(Result::unwrap).collect();
    let places: Vec<At> = all.iter().zip(&opened).map(|(left, opened)| at(left, &opened.progress)).collect();
    let text = String::new;
    let mut portions = Vec::new();
    let mut unfinished = Vec::new();
    for ((left, opened), place) in all.iter().zip(&opened).zip(&places) {
        let stream = opened.id;
        match place {
            At::Text => {
                let there = prices_of(sink, schema, &left.target.table.name).await;
                assert_eq!(there, left.before, "readers of {}", left.target.stream);
                write(sink, stream, &[row("A", 2, "9")]).await;
                portions.push(Portion::new(stream, moves(left), &text));
                unfinished.push(stream);
            }
            At::Shards => unfinished.push(stream),
            // A run of its own, which replaces the other once it is finished.
            At::Anew => assert_eq!(left.target.stream, "snapshot"),
        }
    }
    if !portions.is_empty() {
        assert_eq!(portions.len(), all.len(), "one transaction takes all of them over: {places:?}");
        assert!(sink.commit(&portions).await.unwrap().is_empty());
    }
    sink.finish(&unfinished).await.unwrap();
    places
}

/// Rows are there once, and progress is where it is now.
async fn judge(sink: &SnowflakeSink, schema: &str, all: &[Left], when: &str) {
    for left in all {
        let table = &left.target.table.name;
        assert_eq!(prices_of(sink, schema, table).await, left.after, "{table}, {when}");
    }
    let first = format!(
        "SELECT \"PROGRESS_KEY\" FROM \"INTEGRATION\".\"{}\".\"_TAPELINE_PROGRESS_1\"",
        schema.to_uppercase()
    );
    let first: Vec<String> =
        sink.query(&first).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect();
    for left in all {
        let stream = &left.target.stream;
        assert!(first.iter().all(|key| !key.ends_with(stream.as_str())), "{stream} is still there, {when}");
    }
    assert_eq!(first.len(), 1 + left().len() - all.len(), "{first:?}, {when}");
}

/// Streams enough for a takeover that is cut: one of a table, one of an unfinished run.
fn two() -> Vec<Left> {
    left().drain(1..3).collect()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn every_stream_goes_on_where_version_1_stopped() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    leave(&sink, &schema).await;
    let targets: Vec<Target> = left().into_iter().map(|left| left.target).collect();
    for (left, seen) in left().iter().zip(sink.look(&targets).await.unwrap()) {
        let progress = if left.target.mode.is_staged() { seen.unfinished.unwrap() } else { seen.progress };
        assert_eq!(progress.text.as_deref(), Some(left.text), "{}", left.target.stream);
        assert!(seen.obstacle.is_none() && seen.rows == left.before.len() as u64);
    }
    // Whoever only opens them leaves them to be taken over.
    let opened = sink.open(&targets).await.unwrap();
    assert!(
        opened.into_iter().zip(left()).all(|(opened, left)| at(&left, &opened.unwrap().progress) == At::Text)
    );
    drop(sink);
    let mut sink = connect(&schema).await;
    let places = go_on(&mut sink, &schema, &left()).await;
    assert!(places.iter().all(|at| *at == At::Text), "{places:?}");
    judge(&sink, &schema, &left(), "after the first run").await;
    let shards = format!(
        "SELECT \"STREAM\" || ' ' || \"SHARD\" || ' ' || CAST(\"STAGED\" AS VARCHAR) FROM \"INTEGRATION\".\"{}\".\"_TAPELINE_PROGRESS\" ORDER BY 1",
        schema.to_uppercase()
    );
    let shards: Vec<_> =
        sink.query(&shards).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(
        shards,
        [
            "polygon/records  false",
            "polygon/refresh  false",
            "quotes  false",
            "snapshot A false",
            "trades A false",
            "trades B false",
        ]
    );
    drop(sink);
    let mut sink = connect(&schema).await;
    let places = go_on(&mut sink, &schema, &left()).await;
    assert_eq!(places, [At::Shards, At::Shards, At::Anew, At::Shards, At::Shards]);
    judge(&sink, &schema, &left(), "after the second run").await;
}

#[tokio::test]
#[ignore = "part of a_takeover_of_version_1_can_be_cut_anywhere"]
async fn the_process_that_takes_over() {
    if let Some((mut sink, schema)) = sink_to_cut().await {
        go_on(&mut sink, &schema, &two()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_takeover_of_version_1_can_be_cut_anywhere() {
    let prepare = async |sink: &SnowflakeSink, schema: &str| leave(sink, schema).await;
    let judge_cut = async |mut sink: SnowflakeSink, schema: &str, point: u64| {
        go_on(&mut sink, schema, &two()).await;
        judge(&sink, schema, &two(), &format!("cut at {point}")).await;
    };
    let process = "snowflake::version_1::the_process_that_takes_over";
    let points = cut_everywhere(process, prepare, judge_cut).await;
    assert!(points > 40, "{points} statements");
}

/// Streams of which what was stored is void: a table that somebody dropped, and that of
/// an unfinished run.
fn voided() -> [Target; 2] {
    let mut left = left();
    [left.remove(0).target, left.remove(1).target]
}

#[tokio::test]
#[ignore = "part of progress_of_version_1_of_a_table_that_is_gone_is_void_wherever_it_is_cut"]
async fn the_process_that_begins_anew() {
    if let Some((mut sink, _)) = sink_to_cut().await {
        sink.open(&voided()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn progress_of_version_1_of_a_table_that_is_gone_is_void_wherever_it_is_cut() {
    let prepare = async |sink: &SnowflakeSink, schema: &str| {
        leave(sink, schema).await;
        for table in ["TRADES", "_TAPELINE_NEXT_SNAPSHOT_54F2C322"] {
            let sql = format!("DROP TABLE \"INTEGRATION\".\"{}\".\"{table}\"", schema.to_uppercase());
            sink.query(&sql).await.unwrap();
        }
    };
    let judge = async |mut sink: SnowflakeSink, _: &str, point: u64| {
        for opened in sink.open(&voided()).await.unwrap() {
            let progress = opened.unwrap().progress;
            assert!(progress.is_empty(), "cut at {point}: {progress:?}");
        }
    };
    let process = "snowflake::version_1::the_process_that_begins_anew";
    let points = cut_everywhere(process, prepare, judge).await;
    assert!(points > 20, "{points} statements");
}
