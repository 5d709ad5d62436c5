//! `tapeline demo`, as a user runs it.

use std::process::{Command, Output};

fn demo(dir: &std::path::Path) -> Output {
    let program = env!("CARGO_BIN_EXE_tapeline");
    Command::new(program).arg("demo").arg("--dir").arg(dir).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn the_tables_equal_the_truth_and_a_second_demo_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("it's here");
    let first = demo(&dir);
    let text = stdout(&first);
    assert!(text.contains("equals the truth: 11 of 11 tables"), "{text}");
    assert!(text.contains("a free plan allows 5 requests a minute: it would take 1 h"), "{text}");
    assert!(text.lines().all(|line| !line.contains('\x1b')), "colour where there is no terminal");
    let wide = text.lines().find(|line| line.chars().count() > 80 && !line.contains("it's here"));
    assert_eq!(wide, None);

    // The suggested query runs on the file that is named.
    let query = text.split_once("duckdb '").unwrap().1.split('"').nth(1).unwrap().replace("\\\n", "\n");
    let connection = duckdb::Connection::open(dir.join("market.duckdb")).unwrap();
    let rows = connection.prepare(&query).unwrap().query_map([], |_| Ok(())).unwrap().count();
    assert_eq!(rows, 10, "{query}");
    drop(connection);

    std::fs::write(dir.join("mine.txt"), "mine").unwrap();
    assert!(stdout(&demo(&dir)).contains("equals the truth: 11 of 11 tables"));
    assert_eq!(std::fs::read_to_string(dir.join("mine.txt")).unwrap(), "mine");
}

#[test]
fn a_foreign_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("market.duckdb");
    std::fs::write(&file, "not a database").unwrap();
    let output = demo(folder.path());
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("was not made by the demo"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a database");
}
