//! `tapeline demo`, as a user runs it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Lines of the smallest usual terminal that are left above the shell's prompt, and its columns.
const LINES: usize = 23;
const COLUMNS: usize = 80;

/// DuckDB's own program stands in the search path: it writes down what it is asked.
const DUCKDB: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" > asked.txt\n";

fn demo(folder: &Path, dir: &Path) -> Output {
    let mut program = command(env!("CARGO_BIN_EXE_tapeline"), folder);
    program.arg("demo").arg("--dir").arg(dir).output().unwrap()
}

/// A command as from the person's shell, in `folder`.
fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let search_path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    command.current_dir(folder).env("PATH", search_path);
    command
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

fn person(folder: &Path) {
    let program = folder.join("bin/duckdb");
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::fs::write(&program, DUCKDB).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_tables_equal_the_truth_and_a_second_demo_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    person(folder.path());
    let dir = Path::new("it's here");
    let first = demo(folder.path(), dir);
    let text = stdout(&first);
    assert!(text.contains("equals the truth: 11 of 11 tables"), "{text}");
    assert!(text.contains("a free plan allows 5 requests a minute: it would take 1 h"), "{text}");
    assert!(text.lines().all(|line| !line.contains('\x1b')), "colour where there is no terminal");
    let (shown, suggested) = text.split_once("go on with\n").unwrap();
    assert_eq!(shown.lines().find(|line| line.chars().count() > COLUMNS), None);

    // The verdict with its table, and the way on, are what is left on a small screen.
    let begin = text.rfind("┌").unwrap();
    let lines: usize = text[begin..].lines().map(|line| line.chars().count().div_ceil(COLUMNS).max(1)).sum();
    assert!(lines <= LINES, "{lines} lines:\n{}", &text[begin..]);

    // What it suggests runs as it is printed.
    for line in suggested.lines() {
        let outcome = command("sh", folder.path()).arg("-c").arg(line).output().unwrap();
        assert!(outcome.status.success(), "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    let asked = std::fs::read_to_string(folder.path().join("asked.txt")).unwrap();
    let (file, query) = asked.split_once('\n').unwrap();
    assert!(Path::new(file).is_absolute(), "{file}");
    let connection = duckdb::Connection::open(file).unwrap();
    let rows = connection.prepare(query).unwrap().query_map([], |_| Ok(())).unwrap().count();
    assert_eq!(rows, 10, "{query}");
    drop(connection);
    assert!(folder.path().join("pipeline.yaml").exists(), "{suggested}");

    let mine = folder.path().join(dir).join("mine.txt");
    std::fs::write(&mine, "mine").unwrap();
    assert!(stdout(&demo(folder.path(), dir)).contains("equals the truth: 11 of 11 tables"));
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
}

#[test]
fn a_foreign_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("market.duckdb");
    std::fs::write(&file, "not a database").unwrap();
    let output = demo(folder.path(), folder.path());
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("was not made by the demo"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a database");
}
