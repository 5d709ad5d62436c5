//! Rows that were rejected, in the transaction of the progress past them.

use super::*;
use crate::batch::Reject;
use crate::sink::quarantine::tests::reject;

/// What is kept of them.
const KEPT: &str =
    "SELECT pipeline, stream, shard, reason, record FROM polygon._tapeline_rejected ORDER BY ALL";

/// The rows of a stream that are there, and whether its progress moved.
const COMMITTED: &str = "SELECT stream, \"position\" FROM polygon._tapeline_progress ORDER BY ALL";

/// Commits streams with rows that were rejected of each; returns the streams that were refused.
async fn commit_rejecting(
    sink: &mut DuckDbSink,
    streams: &[(StreamId, &[Reject])],
    progress: &str,
) -> Vec<StreamId> {
    let refused = sink.commit_rejecting(streams, progress).await.expect("the commit succeeds");
    refused.into_iter().map(|(stream, _)| stream).collect()
}

fn named(name: &str) -> Arc<Table> {
    Arc::new(Table { name: name.to_owned(), ..(*bars()).clone() })
}

async fn opened(sink: &mut DuckDbSink, tables: &[Arc<Table>]) -> Vec<StreamId> {
    let targets: Vec<Target> = tables.iter().map(|table| target(table, WriteMode::AppendDedup)).collect();
    sink.open_all(&targets).await.expect("the streams open")
}

/// Whatever a text has in it; and what comes again is there once.
#[tokio::test]
async fn they_are_kept_as_they_came_and_once() {
    let (file, tables) = (File::new(), [named("a"), named("b")]);
    let odd = "{\"v\":\"'; DROP \\\"TABLE\\\" $1 ? \u{1F600}\"}";
    let rejects = [reject("A", "no `t`", odd), reject("A", "no `t`", odd), reject("B/C", "no `t`", "{}")];
    for progress in ["1", "2"] {
        let mut sink = file.sink().await;
        let streams = opened(&mut sink, &tables).await;
        write(&mut sink, streams[0], &tables[0], &[bar("A", 1, 1)]).await;
        let all = [(streams[0], &rejects[..]), (streams[1], &rejects[2..])];
        assert!(commit_rejecting(&mut sink, &all, progress).await.is_empty());
    }
    let expected = [
        format!("test|a|A|no `t`|{odd}"),
        "test|a|B/C|no `t`|{}".to_owned(),
        "test|b|B/C|no `t`|{}".to_owned(),
    ];
    assert_eq!(file.rows(KEPT), expected);
    assert_eq!(file.rows("SELECT count(DISTINCT id)::VARCHAR FROM polygon._tapeline_rejected"), ["3"]);
    assert_eq!(file.rows(COMMITTED), ["a|2", "b|2"]);
}

/// More than a statement takes.
#[tokio::test]
async fn they_may_be_many() {
    let (file, table) = (File::new(), named("a"));
    let rejects: Vec<Reject> = (0..crate::sink::REJECTED_MAX_MAX)
        .map(|n| reject("A", "no `t`", &format!("{{\"v\":{n}}}")))
        .collect();
    let mut sink = file.sink().await;
    let stream = opened(&mut sink, &[table]).await[0];
    assert!(commit_rejecting(&mut sink, &[(stream, &rejects)], "1").await.is_empty());
    drop(sink);
    let counted =
        "SELECT count(*)::VARCHAR, sum((record->>'v')::INTEGER)::VARCHAR FROM polygon._tapeline_rejected";
    assert_eq!(file.rows(counted), ["10000|49995000"]);
}

/// In a transaction of the stream's own, with rows ahead, and in one with others; a stream
/// that is refused takes them with it.
#[tokio::test]
async fn they_go_with_the_stream_that_is_refused() {
    for ahead in [false, true] {
        let (file, tables) = (File::new(), [named("a"), named("b"), named("c")]);
        let mut sink = file.sink().await;
        let streams = opened(&mut sink, &tables).await;
        let broken = [r#"{"ticker":"C","additional_properties":["\ud83d"]}"#.to_owned()];
        write(&mut sink, streams[0], &tables[0], &[bar("A", 1, 1)]).await;
        sink.write(streams[1], Batch { ahead, ..batch(&tables[1], &broken) }).await.unwrap();
        sink.write(streams[2], Batch { ahead, ..batch(&tables[2], &[bar("A", 1, 1)]) }).await.unwrap();
        let rejects = ["a", "b", "c"].map(|name| [reject("", "none", name)]);
        let all: Vec<(StreamId, &[Reject])> =
            streams.iter().copied().zip(rejects.iter().map(<[Reject; 1]>::as_slice)).collect();
        assert_eq!(commit_rejecting(&mut sink, &all, "1").await, [streams[1]], "{ahead}");
        drop(sink);
        assert_eq!(file.rows(KEPT), ["test|a||none|a", "test|c||none|c"], "{ahead}");
        assert_eq!(file.rows(COMMITTED), ["a|1", "c|1"], "{ahead}");
    }
}

/// Nor does a process that was overtaken leave any.
#[tokio::test]
async fn nobody_adds_them_to_a_stream_that_was_taken_over() {
    let (file, tables) = (File::new(), [named("a")]);
    let mut sink = file.sink().await;
    let before = opened(&mut sink, &tables).await[0];
    let after = opened(&mut sink, &tables).await[0];
    assert_eq!(commit_rejecting(&mut sink, &[(before, &[reject("", "none", "1")])], "1").await, [before]);
    assert!(commit_rejecting(&mut sink, &[(after, &[reject("", "none", "2")])], "1").await.is_empty());
    drop(sink);
    assert_eq!(file.rows(KEPT), ["test|a||none|2"]);
}

/// A crash leaves those of the commits that were made.
#[tokio::test]
async fn a_crash_leaves_them_with_the_progress() {
    let (file, tables) = (File::new(), [named("a")]);
    let mut sink = file.sink().await;
    let stream = opened(&mut sink, &tables).await[0];
    assert!(commit_rejecting(&mut sink, &[(stream, &[reject("", "none", "1")])], "1").await.is_empty());
    write(&mut sink, stream, &tables[0], &[bar("A", 1, 1)]).await;
    let crashed = file.crashed();
    assert_eq!(crashed.rows(KEPT), ["test|a||none|1"]);
    assert_eq!(crashed.rows(COMMITTED), ["a|1"]);
}

/// The table that the destination of version 1 had stays, under another name.
#[tokio::test]
async fn the_table_of_version_1_makes_room() {
    let file = File::new();
    file.execute(
        "CREATE SCHEMA polygon; CREATE TABLE polygon._tapeline_rejected (stream VARCHAR, reason VARCHAR, \"row\" JSON);
         INSERT INTO polygon._tapeline_rejected VALUES ('s', 'none', '{}')",
    );
    for progress in ["1", "2"] {
        let mut sink = file.sink().await;
        let stream = opened(&mut sink, &[named("a")]).await[0];
        let rejects = [reject("", "none", progress)];
        assert!(commit_rejecting(&mut sink, &[(stream, &rejects)], progress).await.is_empty());
    }
    assert_eq!(file.rows(KEPT), ["test|a||none|1", "test|a||none|2"]);
    assert_eq!(
        file.rows("SELECT stream, reason, \"row\"::VARCHAR FROM polygon._tapeline_rejected_1"),
        ["s|none|{}"]
    );
}
