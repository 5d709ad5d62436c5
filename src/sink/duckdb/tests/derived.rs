//! What is derived of the rows of a transaction is of it, whole or not at all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const STREAMS: [&str; 3] = ["first", "second", "apart"];

/// Numbers that need more and more digits on either side of the point.
const NUMBERS: [&str; 4] = ["1.5", "12345678901", "0.00000000000025", "987654321098.5"];

const SEEN: &str =
    "SELECT stream, id::VARCHAR, rtrim(rtrim(v::VARCHAR, '0'), '.') FROM polygon.seen ORDER BY ALL";

fn table(name: &str) -> Arc<Table> {
    Arc::new(Table::new(
        name,
        vec![
            column("id", ColumnType::Integer),
            column("v", ColumnType::Decimal(Width::PRICE)),
            column(EXTRA_COLUMN, ColumnType::Json),
        ],
        &["id"],
    ))
}

/// A stream that lists what each transaction brought.
fn derived(stream: &str, mode: WriteMode) -> Target {
    let shares = mode == WriteMode::AppendDedup && stream != STREAMS[2];
    let table = table(if shares { "numbers" } else { stream });
    let sql = [
        "CREATE TABLE IF NOT EXISTS polygon.seen (stream VARCHAR, id BIGINT, v DECIMAL(38, 18))".to_owned(),
        format!("INSERT INTO polygon.seen SELECT '{stream}', b.id, b.v FROM {{batch}} AS b"),
    ];
    Target {
        stream: stream.to_owned(),
        shared: true,
        derived: sql.map(Arc::from).to_vec(),
        ..target(&table, mode)
    }
}

async fn opened(sink: &mut DuckDbSink, targets: &[Target]) -> Vec<StreamId> {
    sink.open_all(targets).await.unwrap()
}

/// A row; a delete where it has no number.
fn push(batch: &mut Batch, id: u8, v: Option<&str>) {
    let v = v.unwrap_or("null");
    batch.rows.push(format!(r#"{{"id":{id},"v":{v}}}"#).as_bytes());
    if v == "null" {
        batch.rows.delete_last();
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A batch of a stream with this row, and one more of the same key or another.
    Write {
        stream: usize,
        id: u8,
        number: Option<usize>,
        more: u8,
    },
    /// From here on its rows come ahead, until the next commit.
    Ahead(usize),
    Rollback(usize),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..3_usize, 0..5_u8, proptest::option::weighted(0.8, 0..NUMBERS.len()), 0..3_u8)
        .prop_map(|(stream, id, number, more)| Step::Write { stream, id, number, more });
    let step = prop_oneof![
        8 => write,
        1 => (0..3_usize).prop_map(Step::Ahead),
        1 => (0..3_usize).prop_map(Step::Rollback),
        2 => Just(Step::Commit),
    ];
    proptest::collection::vec(step, 1..30)
}

/// What is due in `seen`: of each stream the rows of its open transaction, and those before.
#[derive(Default)]
struct Due {
    open: [Vec<(u8, Option<&'static str>)>; 3],
    seen: Vec<String>,
}

impl Due {
    fn commit(&mut self, stream: usize, is_by_key: bool) {
        let open = std::mem::take(&mut self.open[stream]);
        let by_key: BTreeMap<u8, Option<&str>> = open.iter().copied().collect();
        let rows = if is_by_key { by_key.into_iter().collect() } else { open };
        let name = STREAMS[stream];
        let told = |(id, v): (u8, Option<&str>)| v.map(|v| format!("{name}|{id}|{v}"));
        self.seen.extend(rows.into_iter().filter_map(told));
    }
}

async fn run(steps: &[Step], mode: WriteMode) -> (Vec<String>, Vec<String>) {
    let file = File::new();
    let is_by_key = mode == WriteMode::AppendDedup;
    let mut sink = file.sink().await;
    let targets = STREAMS.map(|stream| derived(stream, mode));
    let streams = opened(&mut sink, &targets).await;
    let (mut due, mut ahead, mut wrote) = (Due::default(), [false; 3], [false; 3]);
    for (number, step) in steps.iter().chain([&Step::Commit]).enumerate() {
        match *step {
            Step::Write { stream, id, number, more } => {
                let mut batch = Batch { ahead: ahead[stream], ..batch(&targets[stream].table, &[]) };
                let v = number.map(|number| NUMBERS[number]).or((!is_by_key).then_some("7"));
                for (id, v) in [(id, v), ((id + more) % 5, Some("3"))] {
                    push(&mut batch, id, v);
                    due.open[stream].push((id, v));
                }
                wrote[stream] = true;
                sink.write(streams[stream], batch).await.unwrap();
            }
            Step::Ahead(stream) => ahead[stream] |= !wrote[stream],
            Step::Rollback(stream) if ahead[stream] => {
                sink.rollback(streams[stream]).await.unwrap();
                due.open[stream].clear();
                (ahead[stream], wrote[stream]) = (false, false);
            }
            Step::Rollback(_) => {}
            Step::Commit => {
                assert!(commit_all(&mut sink, &streams, &number.to_string()).await.is_empty());
                (0..3).for_each(|stream| due.commit(stream, is_by_key));
                (ahead, wrote) = ([false; 3], [false; 3]);
            }
        }
    }
    drop(sink);
    due.seen.sort();
    let seen = file.rows("SELECT table_name FROM information_schema.tables WHERE table_name = 'seen'");
    let mut seen = if seen.is_empty() { Vec::new() } else { file.rows(SEEN) };
    seen.sort();
    (seen, due.seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn each_row_of_a_transaction_is_seen_once(steps in steps(), is_by_key in any::<bool>()) {
        let mode = if is_by_key { WriteMode::AppendDedup } else { WriteMode::Append };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (seen, due) = runtime.block_on(run(&steps, mode));
        prop_assert_eq!(seen, due);
    }
}

/// A stream whose statement fails is refused, with its rows and its progress; the others are not.
#[tokio::test]
async fn a_statement_that_fails_takes_its_stream_and_no_other() {
    for ahead in [false, true] {
        let file = File::new();
        let mut sink = file.sink().await;
        let mut targets = STREAMS.map(|stream| derived(stream, WriteMode::AppendDedup));
        targets[0].derived.push("INSERT INTO polygon.seen SELECT no_such_column FROM {batch} AS b".into());
        let streams = opened(&mut sink, &targets).await;
        for (index, stream) in streams.iter().enumerate() {
            let mut batch = Batch { ahead: ahead && index == 0, ..batch(&targets[index].table, &[]) };
            push(&mut batch, u8::try_from(index).unwrap(), Some("1.5"));
            sink.write(*stream, batch).await.unwrap();
        }
        let refused = commit_all(&mut sink, &streams, "1").await;
        let [(stream, error)] = refused.as_slice() else { panic!("{refused:?}") };
        assert_eq!((*stream, error.stream()), (streams[0], Some(STREAMS[0])));
        let report = error.report();
        assert!(report.contains("could not run a statement over new rows of"), "{report}");
        assert!(report.contains("no_such_column"), "{report}");
        drop(sink);
        let targets = STREAMS.map(|stream| derived(stream, WriteMode::AppendDedup));
        let mut sink = file.sink().await;
        let stored = sink.open(&targets).await.unwrap();
        let has: Vec<bool> = stored.into_iter().map(|opened| !opened.unwrap().progress.is_empty()).collect();
        assert_eq!(has, [false, true, true]);
        drop(sink);
        assert_eq!(file.rows(SEEN), ["apart|2|1.5", "second|1|1.5"]);
        assert_eq!(file.rows("SELECT id::VARCHAR FROM polygon.numbers"), ["1"]);
    }
}
