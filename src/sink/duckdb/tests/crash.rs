//! What another process sees, and what a killed one leaves.
#![expect(clippy::disallowed_macros, reason = "the child tells its parent where it is")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::error::ErrorKind;
use crate::failpoint::KILL_AT_VARIABLE;

const PATH: &str = "TAPELINE_TEST_DUCKDB";
const MODE: &str = "TAPELINE_TEST_MODE";
/// Rows in a batch of the child.
const ROWS: u32 = 700;

/// What the child does: it loads batches until it is killed, so that a parent
/// that is slow to kill finds it still at work.
const APPEND: &str = "append";
const APPEND_DEDUP: &str = "append_dedup";
const OVERWRITE: &str = "overwrite";
/// As [`OVERWRITE`], but the refresh is finished after one more batch.
const OVERWRITE_AND_FINISH: &str = "overwrite and finish";

/// Not a test: the process that the tests below start and kill. It says of each
/// batch when it is written and when it is committed.
#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
async fn child() {
    let path = std::env::var(PATH).expect("the parent sets the path");
    let what = std::env::var(MODE).expect("the parent says what to do");
    let mode = match what.as_str() {
        APPEND => WriteMode::Append,
        APPEND_DEDUP => WriteMode::AppendDedup,
        _ => WriteMode::Overwrite,
    };
    let table = widening();
    let mut sink = DuckDbSink::connect(&DuckDbConfig::of(path)).await.expect("the file opens");
    if let Err(error) = run(&mut sink, mode, what == OVERWRITE_AND_FINISH, &table).await {
        println!("failed {:?} {} {}", error.kind(), error.stream().unwrap_or_default(), error.user_message());
    }
}

async fn run(sink: &mut DuckDbSink, mode: WriteMode, finish: bool, table: &Arc<Table>) -> Result<()> {
    let (stream, before) = sink.open_one(&target(table, mode)).await?;
    let mut next: u32 = before.map_or(0, |state| state.parse().expect("a number"));
    println!("opened {next}");
    loop {
        next += 1;
        // Each batch also replaces half of the one before it.
        let first = (next - 1) * ROWS - if mode == WriteMode::AppendDedup && next > 1 { ROWS / 2 } else { 0 };
        let lines: Vec<String> = (first..next * ROWS).map(|row| numbered(row, next)).collect();
        for half in lines.chunks(lines.len() / 2 + 1) {
            sink.write(stream, batch(table, half)).await?;
        }
        println!("written {next}");
        sink.commit_one(stream, &next.to_string()).await?;
        println!("committed {next}");
        if finish {
            sink.finish(&[stream]).await?;
            println!("finished {next}");
            return Ok(());
        }
    }
}

/// Bars whose numbers get longer with every batch, so that their column widens in its
/// transaction.
fn widening() -> Arc<Table> {
    let mut table = (*bars()).clone();
    table.columns[2].ty = ColumnType::Decimal(Width::PRICE);
    Arc::new(table)
}

fn numbered(row: u32, batch: u32) -> String {
    let (day, minute) = (row / 1440, row % 1440);
    let (hour, minute) = (minute / 60, minute % 60);
    format!(
        r#"{{"ticker":"A","timestamp":"2024-{:02}-{:02}T{hour:02}:{minute:02}:00Z","v":{batch}.{:0>digits$}}}"#,
        day / 28 + 1,
        day % 28 + 1,
        1,
        digits = 9 + batch.min(15) as usize
    )
}

fn start(file: &File, what: &str) -> (Child, BufReader<ChildStdout>) {
    spawn(Command::new(std::env::current_exe().expect("the test program")), file, what)
}

fn spawn(mut command: Command, file: &File, what: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .args(["--exact", "sink::duckdb::tests::crash::child", "--ignored", "--nocapture"])
        .env(PATH, file.path())
        .env(MODE, what)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, lines)
}

/// Reads the child's output up to the line that has a text in it for that many
/// times; returns the number of the last commit that was seen, and that line.
///
/// Points are counted from the child's start, not by the batch's number: how far
/// an earlier child came before its kill reached it is not known.
fn read_until(lines: &mut BufReader<ChildStdout>, wanted: &str, times: usize) -> (u32, String) {
    let mut committed = 0;
    let mut met = 0;
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "the child ended before {wanted:?}");
        let line = line.trim_end();
        if let Some(number) = line.strip_prefix("committed ") {
            committed = number.parse().expect("a number");
        }
        // The first line shares its line with the test harness.
        met += usize::from(line.contains(wanted));
        if met == times {
            return (committed, line.to_owned());
        }
    }
}

/// The progress that is stored, after checking that the rows agree with it.
async fn agreed(file: &File, when: &str) -> u32 {
    let mut sink = file.sink().await;
    let (_, state) =
        sink.open_one(&target(&widening(), WriteMode::AppendDedup)).await.expect("the stream opens");
    drop(sink);
    let done = state.map_or(0, |state| state.parse().expect("a number"));
    let query = "SELECT count(*)::VARCHAR, count(DISTINCT (ticker, timestamp))::VARCHAR, \
        coalesce(max(floor(v)::BIGINT), 0)::VARCHAR FROM polygon.bars";
    let rows = done * ROWS;
    assert_eq!(file.rows(query), [format!("{rows}|{rows}|{done}")], "{when}");
    let scale =
        "SELECT numeric_scale::VARCHAR FROM duckdb_columns() WHERE table_name = 'bars' AND column_name = 'v'";
    let widened = if done > 0 { 9 + done.min(15) } else { 9 };
    assert_eq!(file.rows(scale), [widened.to_string()], "{when}");
    done
}

#[tokio::test]
async fn a_file_that_another_process_has_open_is_refused() {
    let file = File::new();
    let (mut child, mut lines) = start(&file, APPEND_DEDUP);
    read_until(&mut lines, "opened", 1);
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
    let (mut done, mut commits) = (0, 0);
    for (point, times) in [
        ("opened", 1),
        ("written", 1),
        ("committed", 2),
        ("written", 2),
        ("committed", 1),
        ("written", 3),
        ("written", 2),
    ] {
        let (mut child, mut lines) = start(&file, APPEND_DEDUP);
        let seen = read_until(&mut lines, point, times).0.max(done);
        child.kill().expect("the child is killed");
        child.wait().expect("the child ends");
        commits += if point == "committed" { times } else { times - 1 };
        let when = format!("killed at {point} {times}");
        done = agreed(&file, &when).await;
        assert!(done >= seen, "commit {seen} was seen, and {done} is stored, {when}");
        assert!(
            done as usize >= commits,
            "{commits} commits were seen in all, and {done} are stored, {when}"
        );
    }
}

#[tokio::test]
async fn a_killed_overwrite_goes_on_and_changes_over_once() {
    let file = File::new();
    let table = bars();
    load(&file, &table, WriteMode::Overwrite, "0", &[&[bar("OLD", 1, 1)]]).await;
    let mut seen = 0;
    for (point, times) in [("opened", 1), ("committed", 1), ("written", 1), ("committed", 2)] {
        let (mut child, mut lines) = start(&file, OVERWRITE);
        seen = read_until(&mut lines, point, times).0.max(seen);
        child.kill().expect("the child is killed");
        child.wait().expect("the child ends");
        assert_eq!(file.rows("SELECT ticker FROM polygon.bars"), ["OLD"], "killed at {point} {times}");
    }
    let (mut child, mut lines) = start(&file, OVERWRITE_AND_FINISH);
    let (done, _) = read_until(&mut lines, "finished", 1);
    child.kill().expect("the child is killed");
    child.wait().expect("the child ends");
    assert!(done > seen && done >= 4, "three batches, the last of them {seen}, were committed before {done}");
    let rows = (done * ROWS).to_string();
    assert_eq!(
        file.rows(
            "SELECT count(*)::VARCHAR, count(DISTINCT timestamp)::VARCHAR, min(ticker) FROM polygon.bars"
        ),
        [format!("{rows}|{rows}|A")]
    );
}

/// Every point that a child passes while it opens and makes two or three commits:
/// before each statement of the sink, so also inside its transactions.
const POINTS: u64 = 28;

/// Kills children at each point in turn; each goes on where the one before was
/// killed, and rows and progress agree every time.
async fn killed_at_each_point(what: &str) {
    let file = File::new();
    let mut done = 0;
    for point in 1..=POINTS {
        let mut program = Command::new(std::env::current_exe().expect("the test program"));
        program.env(KILL_AT_VARIABLE, point.to_string());
        let (mut child, lines) = spawn(program, &file, what);
        let lines: Vec<String> = lines.lines().map(|line| line.expect("a line")).collect();
        let was_killed = !child.wait().expect("the child ends").success();
        assert!(was_killed || lines.iter().any(|line| line.starts_with("finished ")), "{lines:?}");
        let seen = lines.iter().filter(|line| line.starts_with("committed ")).count();
        let now = agreed(&file, &format!("{what}, killed at point {point}")).await;
        // A refresh that was finished is followed by a new one, from nothing.
        assert!(what == OVERWRITE_AND_FINISH || now >= done + u32::try_from(seen).expect("few"));
        done = now;
    }
    assert!(done > 0, "no commit came through");
}

#[tokio::test]
async fn added_rows_and_progress_agree_wherever_the_process_is_killed() {
    killed_at_each_point(APPEND).await;
}

#[tokio::test]
async fn replaced_rows_and_progress_agree_wherever_the_process_is_killed() {
    killed_at_each_point(APPEND_DEDUP).await;
}

#[tokio::test]
async fn a_refresh_changes_over_whole_wherever_the_process_is_killed() {
    killed_at_each_point(OVERWRITE_AND_FINISH).await;
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
    let (mut child, mut lines) = spawn(shell, &file, APPEND_DEDUP);
    let (seen, failure) = read_until(&mut lines, "failed ", 1);
    child.wait().expect("the child ends");
    assert!(seen > 3, "only {seen} commits fitted");
    assert!(failure.starts_with("failed Sink bars could not "), "{failure}");
    assert!(
        failure.contains("(hint: ") && failure.contains("everything up to the last commit is safe"),
        "{failure}"
    );
    let done = agreed(&file, "after the failure").await;
    assert!(done >= seen, "commit {seen} was seen, and {done} is stored");
    let (mut child, mut lines) = start(&file, APPEND_DEDUP);
    read_until(&mut lines, "committed", 2);
    child.kill().expect("the child is killed");
    child.wait().expect("the child ends");
    assert!(agreed(&file, "after going on").await >= done + 2);
}
