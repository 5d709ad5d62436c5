//! What is derived of the rows of a transaction is of it, whole or not at all.

use super::*;

const STREAMS: [&str; 2] = ["trades", "quotes"];

/// Streams that list what each transaction brought.
fn targets(schema: &str, mode: WriteMode) -> [Target; 2] {
    STREAMS.map(|name| {
        let sql = format!(
            "INSERT INTO {} SELECT '{name}', B.\"ID\", B.\"PRICE\" FROM {{batch}} AS B",
            seen(schema)
        );
        Target { derived: vec![sql.into()], ..named(name, mode) }
    })
}

fn seen(schema: &str) -> String {
    format!("\"INTEGRATION\".\"{}\".\"SEEN\"", schema.to_uppercase())
}

/// What was seen, in order.
async fn all_seen(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT STREAM || '/' || CAST(ID AS VARCHAR) || '/' || CAST(PRICE AS VARCHAR) FROM {} ORDER BY 1",
        seen(schema)
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

async fn opened(sink: &mut SnowflakeSink, schema: &str, targets: &[Target]) -> Vec<StreamId> {
    let streams = sink.open_all(targets).await.unwrap();
    let columns = "STREAM VARCHAR, ID NUMBER(38,0), PRICE NUMBER(38,1)";
    sink.query(&format!("CREATE TABLE IF NOT EXISTS {} ({columns})", seen(schema))).await.unwrap();
    streams
}

async fn commit_all(sink: &mut SnowflakeSink, streams: &[StreamId]) -> Vec<StreamId> {
    let refused = sink.commit_all(streams, "p").await.unwrap_or_else(|error| panic!("{}", error.report()));
    refused.into_iter().map(|(stream, _)| stream).collect()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn each_row_of_a_transaction_is_seen_once() {
    for mode in [WriteMode::Append, WriteMode::AppendDedup] {
        let schema = schema();
        let mut sink = connect(&schema).await;
        let streams = opened(&mut sink, &schema, &targets(&schema, mode)).await;
        write(&mut sink, streams[0], &[row("A", 1, "1"), row("A", 2, "2")]).await;
        write(&mut sink, streams[0], &[row("A", 1, "3")]).await;
        if mode == WriteMode::AppendDedup {
            let mut gone = batch(&[row("A", 2, "null")]);
            gone.rows.delete_last();
            sink.write(streams[0], gone).await.unwrap();
        }
        write(&mut sink, streams[1], &[row("A", 7, "7")]).await;
        assert_eq!(commit_all(&mut sink, &streams).await, []);
        // One without rows, and one of another row.
        assert_eq!(commit_all(&mut sink, &streams).await, []);
        write(&mut sink, streams[0], &[row("A", 3, "4")]).await;
        assert_eq!(commit_all(&mut sink, &streams).await, []);
        let expected: &[&str] = match mode {
            WriteMode::Append => {
                &["quotes/7/7.0", "trades/1/1.0", "trades/1/3.0", "trades/2/2.0", "trades/3/4.0"]
            }
            _ => &["quotes/7/7.0", "trades/1/3.0", "trades/3/4.0"],
        };
        assert_eq!(all_seen(&sink, &schema).await, expected, "{mode:?}");
    }
}

/// A stream whose statement fails is refused, with its rows and its progress; the other is not.
#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_statement_that_fails_takes_its_stream_and_no_other() {
    let schema = schema();
    let mut sink = connect(&schema).await;
    let mut targets = targets(&schema, WriteMode::AppendDedup);
    let wrong = format!("INSERT INTO {} SELECT B.\"NO_SUCH_COLUMN\" FROM {{batch}} AS B", seen(&schema));
    targets[0].derived.push(wrong.into());
    let streams = opened(&mut sink, &schema, &targets).await;
    for stream in &streams {
        write(&mut sink, *stream, &[row("A", 1, "1")]).await;
    }
    assert_eq!(commit_all(&mut sink, &streams).await, streams[..1]);
    assert_eq!(all_seen(&sink, &schema).await, ["quotes/1/1.0"]);
    assert_eq!(prices_of(&sink, &schema, "trades").await, [] as [&str; 0]);
    let mut again = connect(&schema).await;
    let stored = again.open(&targets).await.unwrap();
    let has: Vec<bool> = stored.into_iter().map(|opened| !opened.unwrap().progress.is_empty()).collect();
    assert_eq!(has, [false, true]);
}
