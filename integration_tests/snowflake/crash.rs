//! A process that is killed at any moment, also in the middle of a statement: the
//! campaigns of `test_crash_snowflake.py` kill between them.
#![expect(clippy::disallowed_macros, reason = "the child tells its parent where it is")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// Rows of a commit.
const ROWS: i64 = 10;
/// What the process prints after each commit.
const COMMITTED: &str = "committed";
pub(super) const MENDED: &str = "TAPELINE_FAKESNOW_MENDED";
const CRASH_SCHEMA: &str = "TAPELINE_CRASH_SCHEMA";
/// The commit after which the process ends; without it, it goes on until it is
/// killed, so that a parent that is slow to kill finds it still at work.
const CRASH_LAST: &str = "TAPELINE_CRASH_LAST";

/// Commits that a process is left to make before it is killed, and how much later
/// than the last of them, so that the kills fall anywhere in the next.
const ROUNDS: [(usize, u64); 8] = [(1, 0), (2, 3), (1, 11), (3, 17), (1, 23), (2, 31), (1, 41), (2, 53)];

/// The process that is killed: goes on where the stored progress says.
#[tokio::test]
#[ignore = "part of a_killed_process_neither_loses_nor_doubles_rows"]
async fn the_process_to_be_killed() {
    let Ok(schema) = std::env::var(CRASH_SCHEMA) else { return };
    let mut sink = SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap();
    let (stream, progress) = sink.open_one(&target(WriteMode::Append)).await.unwrap();
    let done: i64 = progress.map_or(0, |progress| progress.parse().unwrap());
    let last: i64 = std::env::var(CRASH_LAST).map_or(i64::MAX, |last| last.parse().unwrap());
    for next in done..last {
        let rows: Vec<String> = (0..ROWS).map(|n| row("A", 1000 + next * ROWS + n, "1")).collect();
        commit(&mut sink, stream, &rows, &(next + 1).to_string()).await;
        println!("{COMMITTED}");
    }
}

/// Whether a line tells of a commit. Where tests run one at a time, the harness has
/// begun the first line already.
fn tells_of_commit(line: &str) -> bool {
    line.ends_with(COMMITTED)
}

/// A process that goes on, and the lines that it prints.
fn process(schema: &str, last: Option<i64>) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "snowflake::crash::the_process_to_be_killed", "--include-ignored", "--nocapture"])
        .env(CRASH_SCHEMA, schema)
        .envs(last.map(|last| (CRASH_LAST, last.to_string())))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_killed_process_neither_loses_nor_doubles_rows() {
    let schema = schema();
    let sink = SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap();
    let name = schema.clone();
    let seen = tokio::task::spawn_blocking(move || killed_again_and_again(&name)).await.unwrap();
    let stored = prices(&sink, &schema).await;
    let last = i64::try_from(stored.len()).unwrap() / ROWS + 2;
    assert!(last - 2 >= seen, "{seen} commits were seen, and {} rows are there", stored.len());

    let name = schema.clone();
    let to_the_end = move || {
        let (mut child, lines) = process(&name, Some(last));
        assert_eq!(lines.filter(|line| tells_of_commit(line)).count(), 2);
        assert!(child.wait().unwrap().success());
    };
    tokio::task::spawn_blocking(to_the_end).await.unwrap();
    let expected: Vec<String> = (0..last * ROWS).map(|n| format!("A/{}/1.0", 1000 + n)).collect();
    assert_eq!(prices(&sink, &schema).await, expected);
}

/// The commits that were seen before the kills, of all rounds.
fn killed_again_and_again(schema: &str) -> i64 {
    let mut seen = 0;
    for (commits, later_ms) in ROUNDS {
        // Its output stays open: a process that nobody reads would end by itself.
        let (mut child, mut lines) = process(schema, None);
        let made = lines.by_ref().filter(|line| tells_of_commit(line)).take(commits).count();
        assert_eq!(made, commits, "a process ended by itself");
        std::thread::sleep(Duration::from_millis(later_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        seen += i64::try_from(made).unwrap();
    }
    seen
}
