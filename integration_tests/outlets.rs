//! Standard output and standard error that take nothing: a full disk, a reader that
//! went away. No command panics, what is committed stays, and the exit code tells.
//! And a signal that comes before a command has begun.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tapeline::simulator::{self, Config};

/// Exit code of a machine that refuses.
const MACHINE: i32 = 2;

const PIPELINE: &str = r#"name: test
source:
  polygon: {api_key: key-of-outlets, base_url: "${MARKET}", plan: {type: custom, requests_per_minute: 6000000}, start_date: 2024-06-20, tickers: [AAPL], bar_sizes: [1minute]}
sink:
  duckdb: {path: market.duckdb}
streams: [stock_daily_bars, splits]
"#;

/// A source's, of which the destination echoes the STATE.
const MESSAGES: &str = r#"{"type":"RECORD","record":{"stream":"s","emitted_at":1,"data":{"id":1}}}
{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"s"},"stream_state":{"at":1}}}}
{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":{"name":"s"},"status":"COMPLETE"}}}
"#;

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapeline"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("TAPELINE_NOW", "2024-06-28T21:00:00Z");
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn rows(folder: &Path) -> u64 {
    let connection = duckdb::Connection::open(folder.join("market.duckdb")).unwrap();
    connection.query_row("SELECT count(*) FROM polygon.stock_daily_bars", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_is_full_or_closed_ends_every_command_with_its_exit_code() {
    let market = simulator::serve(Config::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    let config = serde_json::json!({"api_key": "key-of-outlets", "base_url": market.url(), "start_date": "2024-06-20"});
    std::fs::write(folder.path().join("c.json"), config.to_string()).unwrap();
    let catalog = serde_json::json!({"streams": [{"stream": {"name": "splits"}}]});
    std::fs::write(folder.path().join("k.json"), catalog.to_string()).unwrap();
    let sink = serde_json::json!({"sink": {"type": "duckdb", "path": "written.duckdb"}});
    std::fs::write(folder.path().join("d.json"), sink.to_string()).unwrap();
    std::fs::write(folder.path().join("input"), MESSAGES).unwrap();
    let configured = serde_json::json!({"streams": [{"stream": {"name": "s", "json_schema": {}}, "sync_mode": "incremental",
        "destination_sync_mode": "append"}]});
    std::fs::write(folder.path().join("configured.json"), configured.to_string()).unwrap();
    let commands: [&[&str]; 16] = [
        &["spec"],
        &["destination", "spec"],
        &["check", "--config", "c.json"],
        &["discover", "--config", "c.json"],
        &["read", "--config", "c.json", "--catalog", "k.json"],
        &["sync", "p.yaml"],
        &["sync", "p.yaml", "--log-format", "json"],
        &["check", "p.yaml"],
        &["status", "p.yaml"],
        &["reset", "p.yaml", "--stream", "splits", "--yes"],
        &["destination", "check", "--config", "d.json"],
        &["destination", "write", "--config", "d.json", "--catalog", "configured.json"],
        &["init", "--force"],
        &["simulate", "--listen", "127.0.0.1:0"],
        &["demo"],
        &["--help"],
    ];
    for arguments in commands {
        for is_full in [true, false] {
            let mut command = command(folder.path(), arguments);
            command.env("MARKET", market.url()).stderr(Stdio::piped());
            command.stdin(File::open(folder.path().join("input")).unwrap());
            command.stdout(if is_full { full() } else { closed() });
            let ended = output(command).await;
            let told = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(MACHINE), "{arguments:?}: {told}");
            assert!(!told.contains("panicked"), "{arguments:?}: {told}");
            let sentences = told.matches("cannot write to stdout (hint: ").count();
            assert_eq!(sentences, usize::from(is_full), "{arguments:?}: {told}");
        }
    }
    assert!(rows(folder.path()) > 0, "what is committed stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stderr_that_is_full_or_closed_stops_a_run_and_is_told_on_stdout() {
    let market = simulator::serve(Config::default()).await.unwrap();
    for is_full in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
        let lost = || if is_full { full() } else { closed() };
        for arguments in [&["sync", "p.yaml"][..], &["sync", "p.yaml", "--log-format", "json"]] {
            let mut command = command(folder.path(), arguments);
            command.env("MARKET", market.url()).stdout(Stdio::piped()).stderr(lost());
            let ended = output(command).await;
            let told = text(&ended.stdout);
            assert_eq!(ended.status.code(), Some(MACHINE), "{told}");
            assert!(told.contains("cannot write to stderr"), "{told}");
        }
        let mut both = command(folder.path(), &["sync", "p.yaml"]);
        both.env("MARKET", market.url()).stdout(lost()).stderr(lost());
        assert_eq!(output(both).await.status.code(), Some(MACHINE));
        // With a place for its words the next run does all that there is to do.
        let mut after = command(folder.path(), &["sync", "p.yaml"]);
        after.env("MARKET", market.url());
        assert_eq!(output(after).await.status.code(), Some(0));
        assert!(rows(folder.path()) > 0);
        // A mistake is one too when nobody hears of it.
        let mut wrong = command(folder.path(), &["sync", "nowhere.yaml"]);
        wrong.stdout(Stdio::piped()).stderr(lost());
        assert_eq!(output(wrong).await.status.code(), Some(2));
    }
}

/// The program waits for its configuration when the signal comes: as early as one can
/// be known to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_configuration_is_read_ends_as_a_later_one_does() {
    let market = simulator::serve(Config::default()).await.unwrap();
    // A check of a market that answers can be over before the signal is noticed: this one never does.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let config = |url: &str| {
        serde_json::json!({"api_key": "key-of-outlets", "base_url": url, "start_date": "2024-06-20"})
            .to_string()
    };
    let cases: [(&[&str], String); 3] = [
        (&["sync", "given"], PIPELINE.replace("${MARKET}", &market.url())),
        (&["read", "--config", "given", "--catalog", "k.json"], config(&market.url())),
        (&["check", "--config", "given"], config(&silent_url)),
    ];
    for (arguments, text) in cases {
        for signal in ["-TERM", "-INT"] {
            let folder = tempfile::tempdir().unwrap();
            let catalog = serde_json::json!({"streams": [{"stream": {"name": "stock_daily_bars"}}]});
            std::fs::write(folder.path().join("k.json"), catalog.to_string()).unwrap();
            let given = folder.path().join("given");
            assert!(Command::new("mkfifo").arg(&given).status().unwrap().success());
            let mut command = command(folder.path(), arguments);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let text = text.clone();
            let work = move || {
                // Opens once the program has.
                let mut file = File::options().write(true).open(given).unwrap();
                let killed = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
                assert!(killed.success());
                std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
                drop(file);
                child.wait_with_output().unwrap()
            };
            let ended = tokio::task::spawn_blocking(work).await.unwrap();
            assert_eq!(ended.status.code(), Some(130), "{arguments:?} {signal}: {ended:?}");
        }
    }
}
