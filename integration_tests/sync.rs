//! `tapeline sync` and `init`, as a user runs them, against the simulator.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tapeline::simulator::{self, Config, Plan, Running};

const KEY: &str = "sk-sync-test-8d1f20c7";

/// A pipeline whose key and address are variables.
const PIPELINE: &str = r#"name: test
source:
  polygon:
    api_key: "${POLYGON_API_KEY}"
    base_url: "${MARKET}"
    plan: {type: custom, requests_per_minute: 6000000}
    start_date: 2024-06-20
    tickers: [AAPL, BRK.B]
    bar_sizes: [1minute]
sink:
  duckdb: {path: market.duckdb}
streams:
  - stock_daily_bars
  - {stream: splits, mode: append}
  - stock_bars_1_minute
"#;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) market: Running,
}

impl World {
    pub(crate) async fn new(config: Config) -> Self {
        let market = simulator::serve(config).await.unwrap();
        let world = Self { folder: tempfile::tempdir().unwrap(), market };
        world.write("p.yaml", PIPELINE);
        world
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_tapeline"), arguments)
    }

    fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("POLYGON_API_KEY", KEY)
            .env("MARKET", self.market.url())
            .env("TAPELINE_NOW", self.market.now().to_string())
            .env_remove("TAPELINE_LOG");
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Outcome::of(&output)
    }

    fn count(&self, what: &str, table: &str) -> u64 {
        let connection = duckdb::Connection::open(self.folder.path().join("market.duckdb")).unwrap();
        let query = format!("SELECT count({what}) FROM polygon.{table}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }

    fn rows(&self, table: &str) -> u64 {
        self.count("*", table)
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let outcome =
            Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!outcome.stdout.contains(KEY) && !outcome.stderr.contains(KEY), "the key shows: {outcome:?}");
        outcome
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_moves_everything_and_the_next_one_only_what_is_new() {
    let world = World::new(Config::default()).await;
    let first = world.run(&["sync", "p.yaml", "--log-format", "json"]).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let summary = first.summary();
    let moved =
        |summary: &serde_json::Value, index: usize| summary["streams"][index]["rows"].as_u64().unwrap();
    assert_eq!(summary["streams"][0]["requests"], 7, "{summary}");
    assert_eq!(summary["streams"][0]["reached"], "2024-06-27");
    assert_eq!(moved(&summary, 0), world.rows("stock_daily_bars"));
    assert_eq!(moved(&summary, 2), world.rows("stock_bars_1_minute"));
    for line in first.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string());
    }

    let second = world.run(&["sync", "p.yaml", "--select", "stock_daily_bars"]).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stdout.contains("│ stock_daily_bars │    0 │"), "{}", second.stdout);
    assert!(!second.stdout.contains("splits"), "{}", second.stdout);
    assert!(second.stderr.contains("INFO stock_daily_bars: finished, 0 rows"), "{}", second.stderr);
    world.market.shutdown().await;
}

/// The first Ctrl-C keeps what is complete, and the next run goes on there.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_commits_and_the_next_run_goes_on() {
    let world = World::new(Config { plan: Plan::Free, ..Config::default() }).await;
    let pipeline = PIPELINE
        .replace("{type: custom, requests_per_minute: 6000000}", "{type: free}")
        .replace("  - {stream: splits, mode: append}\n  - stock_bars_1_minute\n", "");
    world.write("p.yaml", &pipeline);
    let mut child =
        world.command(&["sync", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Five of the seven days go at once, then the limit has them wait.
    let interrupted = move || {
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut stderr = Vec::new();
        while !String::from_utf8_lossy(&stderr).contains("for the rate limit") {
            assert!(errors.read_until(b'\n', &mut stderr).unwrap() > 0, "it ended by itself");
        }
        let killed = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        errors.read_to_end(&mut stderr).unwrap();
        Outcome::of(&Output { stderr, ..child.wait_with_output().unwrap() })
    };
    let outcome = tokio::task::spawn_blocking(interrupted).await.unwrap();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(outcome.stderr.contains("stopped on request; everything read so far is kept"), "{outcome:?}");
    assert!(outcome.stderr.contains("run the same command again to go on"), "{outcome:?}");
    assert!(outcome.stdout.contains("stopped"), "{outcome:?}");
    let kept = world.count("DISTINCT date", "stock_daily_bars");
    assert!((1..=5).contains(&kept), "{kept} days");

    // Without the limit now: a key that may do more.
    world.write("p.yaml", &PIPELINE.replace("  - {stream: splits, mode: append}\n", ""));
    world.market.shutdown().await;
    let world = World { market: simulator::serve(Config::default()).await.unwrap(), ..world };
    let rest = world.run(&["sync", "p.yaml", "--select", "stock_daily_bars", "--log-format", "json"]).await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    let requests = &rest.summary()["streams"][0]["requests"];
    assert_eq!(*requests, 7 - kept, "the {kept} days that were kept are not read again: {rest:?}");
    world.market.shutdown().await;
}

/// Each mistake is one clear sentence and the right exit code.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_one_sentence_and_an_exit_code() {
    let world = World::new(Config::default()).await;
    let cases: [(&str, &str, &[&str], i32, &str); 7] = [
        (
            "",
            "",
            &["sync", "absent.yaml"],
            2,
            "error: the pipeline absent.yaml does not exist (hint: `tapeline init`",
        ),
        (
            "api_key:",
            "api_kee:",
            &["sync", "p.yaml"],
            2,
            "error: p.yaml:4:5: unknown field `source.polygon.api_kee`",
        ),
        (
            "${POLYGON_API_KEY}",
            "${NO_SUCH}",
            &["sync", "p.yaml"],
            2,
            "the environment variable NO_SUCH is not set",
        ),
        (
            "splits",
            "splitz",
            &["sync", "p.yaml"],
            2,
            "there is no stream `splitz` (hint: did you mean `splits`?)",
        ),
        ("", "", &["sync", "p.yaml", "--select", "news"], 2, "p.yaml has no such stream"),
        ("path: market.duckdb", "path: no/such/folder/x.duckdb", &["sync", "p.yaml"], 2, "no/such/folder"),
        (
            "2024-06-20",
            "2031-01-01",
            &["sync", "p.yaml"],
            2,
            "p.yaml:7:5: `start_date` 2031-01-01 is in the future",
        ),
    ];
    for (piece, replacement, arguments, code, message) in cases {
        world.write(
            "p.yaml",
            &if piece.is_empty() { PIPELINE.to_owned() } else { PIPELINE.replace(piece, replacement) },
        );
        let outcome = world.run(arguments).await;
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(message), "{message}: {outcome:?}");
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");

        let outcome = world.run(&[arguments, &["--log-format", "json"]].concat()).await;
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        let line: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!((&line["level"], &line["exit_code"]), (&"ERROR".into(), &code.into()), "{outcome:?}");
    }
    world.market.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_are_drawn_where_and_when_they_are_asked_for() {
    let world = World::new(Config::default()).await;
    let drawn = |outcome: &Outcome| (outcome.stderr.contains("\x1b["), outcome.stderr.contains(" slices · "));
    for (when, expected) in [("always", (true, true)), ("auto", (false, false)), ("never", (false, false))] {
        let outcome = world.run(&["sync", "p.yaml", "--progress", when]).await;
        assert_eq!((outcome.code, drawn(&outcome)), (Some(0), expected), "{when}: {outcome:?}");
        assert!(!outcome.stdout.contains('\x1b'), "{when}: {outcome:?}");
    }
    let both = world.run(&["sync", "p.yaml", "--progress", "always", "--log-format", "json"]).await;
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(both.stderr.contains("`--progress always`"), "{both:?}");
    world.market.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_what_sync_reads() {
    let world = World::new(Config::default()).await;
    let outcome = world.run(&["init"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let path = world.folder.path().join("pipeline.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(world.run(&["init"]).await.code, Some(2), "it must not overwrite");
    std::fs::write(
        &path,
        text.replace("# base_url: https://api.massive.com", "base_url: \"${MARKET}\"")
            .replace("{type: free}\n", "{type: paid}\n"),
    )
    .unwrap();
    // What it told to go on with is a command that can be typed.
    let typed = outcome.stdout.lines().find(|line| line.ends_with(" sync pipeline.yaml")).unwrap().to_owned();
    let mut command = world.command_of("sh", &["-c", &typed]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{typed}: {output:?}");
    assert!(world.rows("stock_daily_bars") > 0 && Path::exists(&path));
    world.market.shutdown().await;
}
