//! Work of a sink that is cut before each of its statements in turn, by a process that
//! ends there; see `failpoint.rs`.

use std::process::Command;

use super::crash::MENDED;
use super::*;

use tapeline::failpoint::KILL_AT_VARIABLE;

/// The schema that the process works in.
const CUT_SCHEMA: &str = "TAPELINE_CUT_SCHEMA";

/// The sink of the process that is cut; none where a test is not run as that process.
pub(super) async fn sink_to_cut() -> Option<(SnowflakeSink, String)> {
    let schema = std::env::var(CUT_SCHEMA).ok()?;
    Some((SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap(), schema))
}

/// For each statement of the test `process`: makes a schema ready, runs the process there
/// until it comes to that statement, and judges what it left. Returns how many there were.
/// One after the other: the mended fakesnow gives up who waits beside somebody that was cut.
pub(super) async fn cut_everywhere(
    process: &'static str,
    prepare: impl AsyncFn(&SnowflakeSink, &str),
    judge: impl AsyncFn(SnowflakeSink, &str, u64),
) -> u64 {
    for point in 1.. {
        let schema = schema();
        let sink = SnowflakeSink::connect(&config_at(MENDED, &schema)).await.unwrap();
        prepare(&sink, &schema).await;
        let name = schema.clone();
        let cut = tokio::task::spawn_blocking(move || is_cut(process, &name, point)).await.unwrap();
        judge(sink, &schema, point).await;
        if !cut {
            return point - 1;
        }
    }
    unreachable!("a process has an end")
}

/// Whether the process did not come to its end.
fn is_cut(process: &str, schema: &str, point: u64) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", process, "--include-ignored"])
        .env(CUT_SCHEMA, schema)
        .env(KILL_AT_VARIABLE, point.to_string())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() || output.status.code().is_none(), "it failed by itself: {printed}");
    !output.status.success()
}
