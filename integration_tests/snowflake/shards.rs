//! What a commit writes of progress: the shards that moved, however many are stored.

use std::sync::Mutex;

use super::gate::Gate;
use super::*;

use serde_json::Value;
use tapeline::sink::{Move, Portion};

const STORED: usize = 1000;

/// The statements that a sink ran, as it sent them.
type Seen = Arc<Mutex<Vec<Value>>>;

/// A sink of which every statement is seen.
async fn seen_sink(schema: &str) -> (SnowflakeSink, Seen) {
    let mut gate = Gate::before(server("TAPELINE_FAKESNOW")).await;
    let config = config_to(&gate.url, schema);
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(waiting) = gate.statements.recv().await {
            keep.lock().unwrap().push(serde_json::from_str(&waiting.text).unwrap());
            waiting.go_on();
        }
    });
    (SnowflakeSink::connect(&config).await.unwrap(), seen)
}

fn moved(shard: usize, position: Option<&str>) -> Move {
    Move { shard: format!("T{shard:04}'").into(), position: position.map(str::to_owned) }
}

/// What changes the rows of shards, and the values that it brings.
fn of_shards(seen: &Seen) -> Vec<(String, Vec<String>)> {
    let all = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!all.is_empty(), "a commit has statements");
    let statement = |request: &Value| {
        let sql = request["sqlText"].as_str().unwrap().to_owned();
        let values = request["bindings"].as_object().into_iter().flatten();
        let values = values.map(|(_, value)| value["value"].as_str().unwrap_or_default().to_owned());
        (sql, values.collect())
    };
    all.iter().map(statement).filter(|(sql, _)| sql.contains("\"_TAPELINE_PROGRESS\"")).collect()
}

/// `position/version` of all shards, and how many have it.
async fn counted(sink: &SnowflakeSink, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT \"POSITION\" || '/' || CAST(\"VERSION\" AS VARCHAR) || ' ' || CAST(COUNT(*) AS VARCHAR) \
         FROM \"INTEGRATION\".\"{}\".\"_TAPELINE_PROGRESS\" GROUP BY \"POSITION\", \"VERSION\" ORDER BY 1",
        schema.to_uppercase()
    );
    sink.query(&sql).await.unwrap().into_iter().map(|row| row[0].clone().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs fakesnow: TAPELINE_FAKESNOW"]
async fn a_commit_brings_the_shards_that_moved_only() {
    for mode in [WriteMode::AppendDedup, WriteMode::Overwrite] {
        let schema = schema();
        let (mut sink, seen) = seen_sink(&schema).await;
        let (stream, _) = sink.open_one(&target(mode)).await.unwrap();
        let text = String::new;
        let all = (0..STORED).map(|shard| moved(shard, Some("1"))).collect();
        assert!(sink.commit(&[Portion::new(stream, all, &text)]).await.unwrap().is_empty());
        assert_eq!(counted(&sink, &schema).await, ["1/1 1000"]);

        // Two go on, one is given up, and one was never there.
        of_shards(&seen);
        write(&mut sink, stream, &[row("A", 1, "1")]).await;
        let some =
            vec![moved(7, Some("2")), moved(500, Some("2")), moved(999, None), moved(STORED, Some("2"))];
        assert!(sink.commit(&[Portion::new(stream, some, &text)]).await.unwrap().is_empty());
        let brought = of_shards(&seen);
        let verbs: Vec<&str> = brought.iter().filter_map(|(sql, _)| sql.split(' ').next()).collect();
        assert_eq!(verbs, ["DELETE", "INSERT"], "{brought:?}");
        // Pipeline, stream and three names; pipeline, stream, epoch and three rows of three
        // values. Each says besides where the stream's row is, by four.
        assert_eq!(brought.iter().map(|(_, values)| values.len()).collect::<Vec<_>>(), [9, 16]);
        let names = brought.iter().flat_map(|(_, values)| values).filter(|value| value.ends_with('\''));
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["T0007'", "T0007'", "T0500'", "T0500'", "T0999'", "T1000'"]);
        assert_eq!(counted(&sink, &schema).await, ["1/1 997", "2/1 1", "2/2 2"]);

        // Rows without a step bring none.
        of_shards(&seen);
        write(&mut sink, stream, &[row("A", 2, "1")]).await;
        assert!(sink.commit(&[Portion::new(stream, Vec::new(), &text)]).await.unwrap().is_empty());
        assert_eq!(of_shards(&seen), []);
        drop(sink);
        let mut sink = connect(&schema).await;
        let opened = sink.open(&[target(mode)]).await.unwrap().remove(0).unwrap();
        assert_eq!(opened.progress.positions.len(), STORED);
        assert_eq!(opened.progress.positions["T0500'"], "2");
    }
}
