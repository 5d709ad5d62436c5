//! A process that is killed at any moment, also in the middle of a statement: the
//! campaigns of `test_crash_snowflake.py` kill between them.

use super::*;

/// Commits of the crash test, of ten rows each.
const CRASH_COMMITS: i64 = 80;
const MENDED: &str = "TAPELINE_FAKESNOW_MENDED";
const CRASH_SCHEMA: &str = "TAPELINE_CRASH_SCHEMA";

/// The process that is killed: goes on where the stored progress says, to the end.
#[tokio::test]
#[ignore = "part of a_killed_process_neither_loses_nor_doubles_rows"]
async fn the_process_to_be_killed() {
    let Ok(schema) = std::env::var(CRASH_SCHEMA) else { return };
    let mut sink = SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap();
    let (stream, progress) = sink.open(&target(WriteMode::Append)).await.unwrap();
    let done: i64 = progress.map_or(0, |progress| progress.parse().unwrap());
    for next in done..CRASH_COMMITS {
        let rows: Vec<String> = (0..10).map(|n| row("A", 1000 + next * 10 + n, "1")).collect();
        commit(&mut sink, stream, &rows, &(next + 1).to_string()).await;
    }
}

#[tokio::test]
#[ignore = "needs fakesnow_mended.py: TAPELINE_FAKESNOW_MENDED"]
async fn a_killed_process_neither_loses_nor_doubles_rows() {
    let schema = schema();
    let sink = SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap();
    let mut kills = 0;
    for round in 0_u64..100 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "snowflake::crash::the_process_to_be_killed", "--include-ignored"])
            .env(CRASH_SCHEMA, &schema)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Spread over a connection and a few commits; the same in every run.
        let patience = std::time::Duration::from_millis(150 + round * 7_919 % 600);
        let ended = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + patience;
            loop {
                match child.try_wait().unwrap() {
                    Some(status) => return Some(status.success()),
                    None if std::time::Instant::now() > deadline => break,
                    None => std::thread::sleep(std::time::Duration::from_millis(2)),
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            None
        });
        match ended.await.unwrap() {
            Some(true) => break,
            Some(false) => {}
            None => kills += 1,
        }
    }
    let expected: Vec<String> = (0..CRASH_COMMITS * 10).map(|n| format!("A/{}/1.0", 1000 + n)).collect();
    assert_eq!(prices(&sink, &schema).await, expected, "after {kills} kills");
    assert!(kills > 0, "nothing was killed");
}
