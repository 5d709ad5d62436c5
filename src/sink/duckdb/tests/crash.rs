//! What another process sees, and what a killed one leaves.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::error::ErrorKind;

const PATH: &str = "TAPELINE_TEST_DUCKDB";
const MODE: &str = "TAPELINE_TEST_MODE";
/// Rows in a batch of the child.
const ROWS: u32 = 700;

/// Not a test: the process that the tests below start and kill. It loads
/// batches for ever and says after each commit which one it was.
#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
async fn child() {
    let path = std::env::var(PATH).expect("the parent sets the path");
    let mode = if std::env::var(MODE).as_deref() == Ok("overwrite") {
        WriteMode::Overwrite
    } else {
        WriteMode::AppendDedup
    };
    let table = bars();
    let mut sink = DuckDbSink::connect(&DuckDbConfig::of(path)).await.expect("the file opens");
    if let Err(error) = run(&mut sink, mode, &table).await {
        println!("failed {:?} {} {}", error.kind(), error.stream().unwrap_or_default(), error.user_message());
    }
}

async fn run(sink: &mut DuckDbSink, mode: WriteMode, table: &Arc<Table>) -> Result<()> {
    let (stream, before) = sink.open(&target(table, mode)).await?;
    let mut next: u32 = before.map_or(0, |state| state.parse().expect("a number"));
    println!("opened {next}");
    loop {
        next += 1;
        // Each batch also replaces half of the one before it.
        let first = (next - 1) * ROWS - if mode == WriteMode::AppendDedup && next > 1 { ROWS / 2 } else { 0 };
        let lines: Vec<String> = (first..next * ROWS).map(|row| numbered(row, next)).collect();
        for half in lines.chunks(lines.len() / 2 + 1) {
            let _ = sink.write(stream, batch(table, half)).await?;
        }
        println!("written {next}");
        assert_eq!(sink.commit(stream, &next.to_string()).await?, Receipt::Durable);
        println!("committed {next}");
        if mode == WriteMode::Overwrite && next.is_multiple_of(3) {
            sink.finish(stream).await?;
            println!("finished {next}");
            return Ok(());
        }
    }
}

fn numbered(row: u32, batch: u32) -> String {
    let (day, minute) = (row / 1440, row % 1440);
    let (hour, minute) = (minute / 60, minute % 60);
    format!(
        r#"{{"ticker":"A","timestamp":"2024-{:02}-{:02}T{hour:02}:{minute:02}:00Z","v":{batch}}}"#,
        day / 28 + 1,
        day % 28 + 1
    )
}

fn start(file: &File, mode: &str) -> (Child, BufReader<ChildStdout>) {
    spawn(Command::new(std::env::current_exe().expect("the test program")), file, mode)
}

fn spawn(mut command: Command, file: &File, mode: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .args(["--exact", "sink::duckdb::tests::crash::child", "--ignored", "--nocapture"])
        .env(PATH, file.path())
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, lines)
}

/// Reads the child's output up to a line with a text in it; returns the number
/// of the last commit that was seen, and that line.
fn read_until(lines: &mut BufReader<ChildStdout>, wanted: &str) -> (u32, String) {
    let mut committed = 0;
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "the child ended before {wanted:?}");
        let line = line.trim_end();
        if let Some(number) = line.strip_prefix("committed ") {
            committed = number.parse().expect("a number");
        }
        // The first line shares its line with the test harness.
        if line.contains(wanted) {
            return (committed, line.to_owned());
        }
    }
}

/// The progress that is stored, after checking that the rows agree with it.
async fn agreed(file: &File, when: &str) -> u32 {
    let mut sink = file.sink().await;
    let (_, state) = sink.open(&target(&bars(), WriteMode::AppendDedup)).await.expect("the stream opens");
    drop(sink);
    let done = state.map_or(0, |state| state.parse().expect("a number"));
    let query = "SELECT count(*)::VARCHAR, count(DISTINCT (ticker, timestamp))::VARCHAR, \
        coalesce(max(v), 0)::VARCHAR FROM polygon.bars";
    let rows = done * ROWS;
    assert_eq!(file.rows(query), [format!("{rows}|{rows}|{done}")], "{when}");
    done
}

#[tokio::test]
async fn a_file_that_another_process_has_open_is_refused() {
    let file = File::new();
    let (mut child, mut lines) = start(&file, "append");
    read_until(&mut lines, "opened 0");
    let error = refused(DuckDbSink::connect(&file.config()).await);
    child.kill().expect("the child is killed");
    child.wait().expect("the child ends");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = error.user_message();
    assert!(
        message.contains("another process has") && message.contains(&child.id().to_string()),
        "{message}"
    );
    file.sink().await;
}

#[tokio::test]
async fn a_killed_process_leaves_rows_and_progress_that_agree() {
    let file = File::new();
    let mut done = 0;
    for kill_after in
        ["opened 0", "written 1", "committed 2", "written 4", "committed 4", "written 7", "written 9"]
    {
        let (mut child, mut lines) = start(&file, "append");
        let seen = read_until(&mut lines, kill_after).0.max(done);
        child.kill().expect("the child is killed");
        child.wait().expect("the child ends");
        done = agreed(&file, kill_after).await;
        assert!(done >= seen, "commit {seen} was seen, and {done} is stored, killed after {kill_after}");
    }
    assert!(done >= 8, "the work went on, up to {done}");
}

#[tokio::test]
async fn a_killed_overwrite_goes_on_and_changes_over_once() {
    let file = File::new();
    let table = bars();
    load(&file, &table, WriteMode::Overwrite, "0", &[&[bar("OLD", 1, 1)]]).await;
    for kill_after in ["opened 0", "committed 1", "written 2", "committed 2"] {
        let (mut child, mut lines) = start(&file, "overwrite");
        read_until(&mut lines, kill_after);
        child.kill().expect("the child is killed");
        child.wait().expect("the child ends");
        assert_eq!(file.rows("SELECT ticker FROM polygon.bars"), ["OLD"], "killed after {kill_after}");
    }
    let (mut child, mut lines) = start(&file, "overwrite");
    read_until(&mut lines, "finished 3");
    child.kill().expect("the child is killed");
    child.wait().expect("the child ends");
    let rows = (3 * ROWS).to_string();
    assert_eq!(
        file.rows(
            "SELECT count(*)::VARCHAR, count(DISTINCT timestamp)::VARCHAR, min(ticker) FROM polygon.bars"
        ),
        [format!("{rows}|{rows}|A")]
    );
}

/// The limit on a file's size stands for a full disk: a write fails in the same
/// place, and no privileges are needed.
#[tokio::test]
async fn a_file_that_cannot_grow_is_told_and_nothing_is_lost() {
    let file = File::new();
    let mut shell = Command::new("sh");
    // The signal would kill the process; ignored, the write fails.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 3000; exec \"$0\" \"$@\""]);
    shell.arg(std::env::current_exe().expect("the test program"));
    let (mut child, mut lines) = spawn(shell, &file, "append");
    let (seen, failure) = read_until(&mut lines, "failed ");
    child.wait().expect("the child ends");
    assert!(seen > 3, "only {seen} commits fitted");
    assert!(failure.starts_with("failed Sink bars could not "), "{failure}");
    assert!(
        failure.contains("(hint: ") && failure.contains("everything up to the last commit is safe"),
        "{failure}"
    );
    let done = agreed(&file, "after the failure").await;
    assert!(done >= seen, "commit {seen} was seen, and {done} is stored");
    let (mut child, mut lines) = start(&file, "append");
    read_until(&mut lines, &format!("committed {}", done + 2));
    child.kill().expect("the child is killed");
    child.wait().expect("the child ends");
    assert!(agreed(&file, "after going on").await >= done + 2);
}
