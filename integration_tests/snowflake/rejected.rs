//! Rows that were rejected, in the transaction of the progress past them.

use super::cut::{cut_everywhere, sink_to_cut};
use super::*;

use tapeline::batch::Reject;
use tapeline::sink::REJECTED_MAX_MAX;

fn reject(shard: &str, row: &str) -> Reject {
    Reject { shard: shard.into(), reason: "no `id`".to_owned(), row: row.to_owned() }
}

/// Commits streams with rows that were rejected of each; returns the streams that were refused.
async fn commit_rejecting(
    sink: &mut SnowflakeSink,
    streams: &[(StreamId, &[Reject])],
    progress: &str,
) -> Vec<StreamId> {
    let refused =
        sink.commit_rejecting(streams, progress).await.unwrap_or_else(|error| panic!("{}", error.report()));
    refused.into_iter().map(|(stream, _)| stream).collect()
}

/// What is kept of them.
async fn kept(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT \"PIPELINE\" || '|' || \"STREAM\" || '|' || \"SHARD\" || '|' || \"REASON\" || '|' || \"RECORD\" \
         FROM \"INTEGRATION\".\"{}\".\"_TAPELINE_REJECTED\" ORDER BY 1",
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

/// Whatever a text has in it; and what comes again is there once.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn they_are_kept_as_they_came_and_once() {
    let schema = schema();
    let odd = "{\"v\":\"'; DROP \\\"TABLE\\\" $1 ? \u{1F600}\"}";
    let rejects = [reject("A", odd), reject("A", odd), reject("B/C", "{}")];
    let target = target(WriteMode::AppendDedup);
    for progress in ["1", "2"] {
        let mut sink = connect(&schema).await;
        let (stream, before) = sink.open_one(&target).await.unwrap();
        assert_eq!(before.as_deref(), Some("1").filter(|_| progress == "2"));
        write(&mut sink, stream, &[row("A", 1, "1.5")]).await;
        assert!(commit_rejecting(&mut sink, &[(stream, &rejects)], progress).await.is_empty());
    }
    let sink = connect(&schema).await;
    let expected = [format!("pipeline|trades|A|no `id`|{odd}"), "pipeline|trades|B/C|no `id`|{}".to_owned()];
    assert_eq!(kept(&sink, &schema).await, expected);
    assert_eq!(prices(&sink, &schema).await, ["A/1/1.5"]);
}

/// More than a statement takes.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn they_may_be_many() {
    let schema = schema();
    let rejects: Vec<Reject> =
        (0..REJECTED_MAX_MAX).map(|n| reject("A", &format!("{{\"v\":{n}}}"))).collect();
    let mut sink = connect(&schema).await;
    let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    assert!(commit_rejecting(&mut sink, &[(stream, &rejects)], "1").await.is_empty());
    assert_eq!(kept(&sink, &schema).await.len(), rejects.len());
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn they_go_with_the_stream_that_is_refused() {
    for overtaken in [0, 1] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let targets = ["trades", "quotes"].map(|name| named(name, WriteMode::AppendDedup));
        let streams = sink.open_all(&targets).await.unwrap();
        let mut other = connect(&schema).await;
        other.open_one(&targets[overtaken]).await.unwrap();
        for stream in &streams {
            write(&mut sink, *stream, &[row("A", 1, "1.5")]).await;
        }
        let rejects = ["trades", "quotes"].map(|name| [reject("", name)]);
        let all: Vec<(StreamId, &[Reject])> =
            streams.iter().copied().zip(rejects.iter().map(<[Reject; 1]>::as_slice)).collect();
        assert_eq!(commit_rejecting(&mut sink, &all, "1").await, [streams[overtaken]]);
        let left = ["trades", "quotes"][1 - overtaken];
        assert_eq!(kept(&other, &schema).await, [format!("pipeline|{left}||no `id`|{left}")]);
    }
}

/// The table that the destination of version 1 had stays, under another name.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn the_table_of_version_1_makes_room() {
    let schema = schema();
    let sink = connect(&schema).await;
    let place = format!("\"INTEGRATION\".\"{}\"", schema.to_uppercase());
    for sql in [
        format!(
            "CREATE TABLE {place}.\"_TAPELINE_REJECTED\" (\"STREAM\" VARCHAR, \"REASON\" VARCHAR, \"ROW\" VARIANT)"
        ),
        format!("INSERT INTO {place}.\"_TAPELINE_REJECTED\" (\"STREAM\", \"REASON\") VALUES ('s', 'none')"),
    ] {
        sink.query(&sql).await.unwrap();
    }
    for progress in ["1", "2"] {
        let mut sink = connect(&schema).await;
        let (stream, _) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
        let rejects = [reject("", progress)];
        assert!(commit_rejecting(&mut sink, &[(stream, &rejects)], progress).await.is_empty());
    }
    assert_eq!(kept(&sink, &schema).await, ["pipeline|trades||no `id`|1", "pipeline|trades||no `id`|2"]);
    let before = format!("SELECT \"STREAM\" || '|' || \"REASON\" FROM {place}.\"_TAPELINE_REJECTED_1\"");
    assert_eq!(one(&sink, &before).await.as_deref(), Some("s|none"));
}

/// Reads again what no progress is past, as a source does.
async fn go_on(sink: &mut SnowflakeSink) {
    let (stream, progress) = sink.open_one(&target(WriteMode::AppendDedup)).await.unwrap();
    for part in 1..=2 {
        if progress.as_deref().is_some_and(|done| done >= part.to_string().as_str()) {
            continue;
        }
        write(sink, stream, &[row("A", part, "1.5")]).await;
        let rejects = [reject("A", &part.to_string()), reject("B", &part.to_string())];
        assert!(commit_rejecting(sink, &[(stream, &rejects)], &part.to_string()).await.is_empty());
    }
}

#[tokio::test]
#[ignore = "part of a_commit_with_them_can_be_cut_anywhere"]
async fn the_process_that_rejects() {
    if let Some((mut sink, _)) = sink_to_cut().await {
        go_on(&mut sink).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_commit_with_them_can_be_cut_anywhere() {
    let prepare = async |_: &SnowflakeSink, _: &str| {};
    let judge = async |mut sink: SnowflakeSink, schema: &str, point: u64| {
        go_on(&mut sink).await;
        let expected = ["A|no `id`|1", "A|no `id`|2", "B|no `id`|1", "B|no `id`|2"];
        let expected = expected.map(|row| format!("pipeline|trades|{row}"));
        assert_eq!(kept(&sink, schema).await, expected, "cut at {point}");
        assert_eq!(prices(&sink, schema).await, ["A/1/1.5", "A/2/1.5"], "cut at {point}");
    };
    let points = cut_everywhere("snowflake::rejected::the_process_that_rejects", prepare, judge).await;
    assert!(points > 20, "{points} statements");
}
