use std::collections::HashMap;

use super::*;
use crate::error::ErrorKind;

const GOOD: &str = r#"name: us_stocks
source:
  polygon: {api_key: "${POLYGON_API_KEY}", plan: {type: free}, start_date: 2024-01-02, tickers: [AAPL, BRK.B, ON], bar_sizes: [1minute]}
sink:
  duckdb: {path: market.duckdb, schema: polygon}     # or snowflake
streams:
  - stock_bars_1_minute            # the stream's best mode by default
  - {stream: splits, mode: overwrite}
"#;

const KEY: &str = "sk-test-0123456789";

fn clock() -> Clock {
    Clock::Fixed("2024-06-28T21:00:00Z".parse().unwrap())
}

fn parse(text: &str) -> Result<Pipeline> {
    let variables = HashMap::from([("POLYGON_API_KEY", KEY), ("FOLDER", "/data")]);
    let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    Pipeline::parse(Path::new("p.yaml"), text, &lookup, clock())
}

/// The example with one piece replaced.
fn with(piece: &str, replacement: &str) -> Result<Pipeline> {
    assert!(GOOD.contains(piece), "{piece}");
    parse(&GOOD.replace(piece, replacement))
}

#[test]
fn the_example_is_read() {
    let pipeline = parse(GOOD).unwrap();
    assert_eq!(pipeline.source.api_key.expose(), KEY);
    assert_eq!(pipeline.source.tickers, ["AAPL", "BRK.B", "ON"].map(Into::into));
    let streams: Vec<_> =
        pipeline.streams.iter().map(|choice| (choice.stream.name.as_str(), choice.mode)).collect();
    assert_eq!(streams, [("stock_bars_1_minute", WriteMode::AppendDedup), ("splits", WriteMode::Overwrite)]);
    assert_eq!((pipeline.commit_rows, pipeline.commit_interval.as_secs()), (COMMIT_ROWS, COMMIT_SECONDS));
    let SinkConfig::DuckDb(duckdb) = &pipeline.sink else { panic!("duckdb") };
    assert_eq!(duckdb.path, "market.duckdb");
}

#[test]
fn variables_defaults_nulls_and_commit() {
    let pipeline = with("path: market.duckdb", "path: \"${FOLDER}/${FILE:-x.duckdb}\", threads: ").unwrap();
    let SinkConfig::DuckDb(duckdb) = &pipeline.sink else { panic!("duckdb") };
    assert_eq!((duckdb.path.as_str(), duckdb.threads), ("/data/x.duckdb", None));
    let pipeline = with("sink:", "commit: {rows: 10, seconds: 5}\nsink:").unwrap();
    assert_eq!((pipeline.commit_rows, pipeline.commit_interval.as_secs()), (10, 5));
}

#[test]
fn tables_have_a_prefix_and_streams_keep_their_names() {
    let text = GOOD.replace("sink:", "table_prefix: Us_\nsink:");
    let pipeline = parse(&text.replace("overwrite}", "overwrite, table_prefix: \"\"}")).unwrap();
    let names: Vec<_> = pipeline
        .streams
        .iter()
        .map(|choice| (choice.stream.name.as_str(), choice.table.name.as_str(), choice.shared))
        .collect();
    assert_eq!(
        names,
        [("stock_bars_1_minute", "Us_stock_bars_1_minute", false), ("splits", "splits", false)]
    );
    for wrong in ["a-b", "é", "_TAPELINE_next_", &"x".repeat(64)] {
        let error = with("sink:", &format!("table_prefix: \"{wrong}\"\nsink:")).unwrap_err().user_message();
        assert!(error.contains("`table_prefix`") && error.contains("use letters, digits and `_`"), "{error}");
        let entry = format!("overwrite, table_prefix: \"{wrong}\"}}");
        assert!(with("overwrite}", &entry).unwrap_err().user_message().contains("`table_prefix`"), "{wrong}");
    }
}

/// Only where no pipeline's rows go because another one reads its own.
#[test]
fn a_table_is_shared_only_where_that_is_safe() {
    let entry = |more: &str| with("{stream: splits, mode: overwrite}", more);
    let pipeline = entry("{stream: ticker_details, mode: append_dedup, shared: true}").unwrap();
    assert!(pipeline.streams[1].shared && !pipeline.streams[0].shared);
    for (more, expected) in [
        ("{stream: ticker_details, shared: true}", "ticker_details: the stream has the mode overwrite"),
        (
            "{stream: stock_trades, mode: append, shared: true}",
            "stock_trades: the stream has the mode append",
        ),
        ("{stream: dividends, shared: true}", "dividends: the stream is not read ticker by ticker"),
        (
            "{stream: stock_daily_bars, shared: true}",
            "stock_daily_bars: the stream is not read ticker by ticker",
        ),
    ] {
        let error = entry(more).unwrap_err().user_message();
        assert!(
            error.starts_with("p.yaml:8:") && error.contains(&format!("`shared` of {expected}")),
            "{error}"
        );
    }
}

/// Every mistake is one sentence that names the file, the place and the way out.
#[test]
fn mistakes_are_named() {
    let cases = [
        (
            "${POLYGON_API_KEY}",
            "${POLYGON_KEY}",
            "p.yaml:3:13: `source.polygon.api_key`: the environment variable POLYGON_KEY is not set \
             (hint: run `export POLYGON_KEY=…` first, or give a default: ${POLYGON_KEY:-default})",
        ),
        (
            "start_date",
            "start_dat",
            "p.yaml:3:64: unknown field `source.polygon.start_dat` of the pipeline (hint: did you mean `start_date`?)",
        ),
        (
            "type: free",
            "type: fre",
            "p.yaml:3:51: `source.polygon.plan.type` of the pipeline does not know `fre` (hint: did you mean `free`?)",
        ),
        (
            "{type: free}",
            "fre",
            "p.yaml:3:44: `source.polygon.plan` of the pipeline: a text stands where there should be free, paid, or {type: custom, requests_per_minute: 300}",
        ),
        (
            "{type: free}",
            "{type: custom}",
            "`source.polygon.plan.requests_per_minute` of the pipeline is missing",
        ),
        (
            "{type: free}",
            "{type: paid, requests_per_minute: 5}",
            "`source.polygon.plan` of the pipeline: `requests_per_minute` belongs to the type `custom` only",
        ),
        (
            "{type: free}",
            "{type: custom, requests_per_minute: '300'}",
            "`source.polygon.plan.requests_per_minute` of the pipeline: a text stands where there should be a whole number from 0 to 4294967295 (hint: write the number without quotes)",
        ),
        (
            "sink:",
            "commit: {rows: many}\nsink:",
            "p.yaml:4:10: `commit.rows` of the pipeline: a text stands where there should be a whole number",
        ),
        (
            "2024-01-02",
            "2024-13-02",
            "p.yaml:3:64: `start_date` \"2024-13-02\" is not a date (hint: use YYYY-MM-DD)",
        ),
        (
            "[AAPL, BRK.B, ON]",
            "[AAPL, TRUE]",
            "p.yaml:3:104: `source.polygon.tickers[1]` of the pipeline: boolean `true` stands where there should be a string (hint: put the value in quotes)",
        ),
        (
            "{type: free}",
            "{type: custom, requests_per_minute: 0}",
            "`plan.requests_per_minute` is 0: nothing could ever be read (hint: write how many requests",
        ),
        (
            "{type: free}",
            "{type: custom, requests_per_minute: -5}",
            "`source.polygon.plan.requests_per_minute` of the pipeline: integer `-5` stands where there should be a whole number from 0",
        ),
        (
            "duckdb:",
            "duckbd:",
            "p.yaml:4:1: `sink` of the pipeline does not know `duckbd` (hint: did you mean `duckdb`?)",
        ),
        (
            "duckdb: {path: market.duckdb, schema: polygon}",
            "duckdb",
            "`sink.duckdb` of the pipeline: there should be a map of its fields (hint: write one sink, such as `sink: {duckdb: {path: market.duckdb}}`)",
        ),
        (
            "sink:",
            "sink:\n  snowflake: {}",
            "p.yaml:4:1: `sink` of the pipeline names two: `snowflake` and `duckdb` (hint: keep one of them",
        ),
        (
            "schema: polygon}",
            "schema: polygon}\n  memory_limit_mb: 64",
            "p.yaml:4:1: `sink` of the pipeline holds more than `duckdb` (hint: indent the fields of the sink",
        ),
        (
            "duckdb: {path: market.duckdb, schema: polygon}",
            "type: duckdb\n  path: market.duckdb",
            "p.yaml:5:3: `sink.type` of the pipeline: a sink has no `type` here, as a destination's configuration does (hint: put the other fields of `sink` under its name, as `sink: {duckdb: {…}}`",
        ),
        (
            "duckdb: {path: market.duckdb, schema: polygon}",
            "type: snowflake\n  account: a",
            "as `sink: {snowflake: {…}}`; `tapeline destination` takes a destination's configuration as it is)",
        ),
        ("path: market.duckdb, ", "", "p.yaml:5:3: `sink.duckdb.path` of the pipeline is missing"),
        (
            "path: market.duckdb",
            "path: ''",
            "p.yaml:5:12: `path` of the duckdb sink is empty (hint: name a file, such as market.duckdb)",
        ),
        (
            "stock_bars_1_minute ",
            "stock_bars_5_minute ",
            "p.yaml:7:5: there is no stream `stock_bars_5_minute` (hint: `stock_bars_5_minute` needs `5minute` in `bar_sizes` of the source)",
        ),
        ("stock_bars_1_minute ", "stock_bars_1minute ", "(hint: did you mean `stock_bars_1_minute`?)"),
        (
            "stock_bars_1_minute ",
            "stock_bars ",
            "(hint: there is one for each of the source's `bar_sizes`: `stock_bars_1_minute`)",
        ),
        (
            "stock_bars_1_minute ",
            "dividend ",
            "there is no stream `dividend` (hint: did you mean `dividends`?)",
        ),
        (
            "stock_bars_1_minute ",
            "splits ",
            "p.yaml:8:5: `streams` names splits twice (hint: keep one of the two: a table has one mode)",
        ),
        (
            "stock_bars_1_minute ",
            "7 ",
            "p.yaml:7:5: `streams[0]` of the pipeline: integer `7` stands where there should be the name of a stream, or {stream: name, mode: append}",
        ),
        (
            "mode: overwrite",
            "mode: replace",
            "does not know `replace` (hint: there are `append`, `append_dedup`, `overwrite`)",
        ),
        (
            "mode: overwrite",
            "mod: overwrite",
            "p.yaml:8:22: unknown field `streams[1].mod` of the pipeline (hint: did you mean `mode`?)",
        ),
        (
            "us_stocks",
            "'a b'",
            "p.yaml:1:1: `name` \"a b\" is not a name for a pipeline (hint: begin with a letter",
        ),
        ("sink:", "commit: {rows: 0}\nsink:", "p.yaml:4:10: `commit.rows` is 0"),
        (
            "sink:",
            "commit: {seconds: 90000}\nsink:",
            "p.yaml:4:10: `commit.seconds` is not between 1 and 86400",
        ),
        ("name: us_stocks\n", "", "p.yaml: `name` of the pipeline is missing (hint: `tapeline init` writes"),
        ("sink:", "sink: [", "p.yaml:6:1: not valid YAML: "),
        (
            "sink:",
            "name: again\nsink:",
            "p.yaml:4:1: `name` is there twice, here for the second time (hint: keep one of the two)",
        ),
        ("type: free", "type: free, type: paid", "p.yaml:3:63: `type` is there twice"),
        ("sink:", "sk-LIVE: 1\nsk-LIVE: 1\nsink:", "p.yaml:5:1: a key is there twice"),
    ];
    let mut wrong = Vec::new();
    for (piece, replacement, expected) in cases {
        let error = with(piece, replacement).expect_err(replacement);
        let message = error.user_message();
        assert_eq!(error.kind(), ErrorKind::Config);
        if !message.contains(expected) {
            wrong.push(format!("\n    is {message}\nshould {expected}\n"));
        }
        assert!(!error.report().contains(KEY), "{message}");
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn missing_or_empty_streams_are_listed() {
    let list = "list the streams to read: stock_daily_bars, stock_bars_1_minute, stock_bars_1_day, tickers";
    let without = &GOOD[..GOOD.find("streams:").unwrap()];
    for text in [without.to_owned(), format!("{without}streams: []"), format!("{without}streams:")] {
        let message = parse(&text).unwrap_err().user_message();
        assert!(message.contains("`streams`") && message.contains(list), "{message}");
    }
}

/// A key never shows, wherever in the file it was put by mistake.
#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    let key = "\"${POLYGON_API_KEY}\"";
    let literal = format!("\"{KEY}\"");
    let places = [
        "us_stocks",
        "2024-01-02",
        "{type: free}",
        "free",
        "AAPL",
        "1minute",
        "stock_bars_1_minute",
        "overwrite",
    ];
    for place in places {
        let message = with(place, key).map(|_| ()).map_or_else(|error| error.report(), |()| String::new());
        assert!(!message.contains(KEY), "{place}: {message}");
        // Such a text may be a name or a ticker.
        assert!(["us_stocks", "AAPL"].contains(&place) || !message.is_empty(), "{place}");
    }
    // Without a variable the program cannot know; these are never names or dates.
    let polygon = &GOOD[GOOD.find("{api_key").unwrap()..GOOD.find("\nsink").unwrap()];
    for place in [polygon, "{type: free}", "[AAPL, BRK.B, ON]", "{path: market.duckdb, schema: polygon}"] {
        let message = with(place, &literal).unwrap_err().report();
        assert!(!message.contains(KEY), "{message}");
    }
}

#[test]
fn a_selection_keeps_the_order_of_the_file() {
    let mut pipeline = parse(GOOD).unwrap();
    let error = pipeline.select("--select", &["split".to_owned()]).unwrap_err();
    assert!(error.user_message().ends_with("(hint: did you mean `splits`?)"), "{}", error.user_message());
    pipeline.select("--select", &["splits".to_owned()]).unwrap();
    assert_eq!(pipeline.streams.len(), 1);
}

/// The name alone says it all of the plans that have no more fields.
#[test]
fn a_plan_may_be_its_name() {
    use crate::config::source::Plan;
    assert_eq!(with("{type: free}", "free").unwrap().source.plan, Plan::Free {});
    assert_eq!(with("{type: free}", "paid").unwrap().source.plan, Plan::Paid {});
}

#[test]
fn a_file_that_is_none_is_told_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    let utf_16 = |big: bool| {
        let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        "\u{feff}name: x\n".encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    for (content, expected) in [
        (utf_16(false), "the pipeline {} is a text in UTF-16, not in UTF-8 (hint: save it as UTF-8"),
        (utf_16(true), "the pipeline {} is a text in UTF-16, not in UTF-8"),
        (utf_16(false)[2..].to_vec(), "the pipeline {} is a text in UTF-16"),
        (b"name: caf\xe9\n".to_vec(), "the pipeline {} is a text in another encoding, not in UTF-8"),
        (Vec::new(), "{}: the pipeline is empty (hint: `tapeline init` writes one"),
        (b"# nothing\n\n".to_vec(), "{}: the pipeline is empty"),
    ] {
        std::fs::write(&path, content).unwrap();
        let message = Pipeline::read(&path, clock()).unwrap_err().user_message();
        assert!(message.starts_with(&expected.replace("{}", &path.display().to_string())), "{message}");
    }
    let message = Pipeline::read(folder.path(), clock()).unwrap_err().user_message();
    assert!(message.contains("is a folder (hint: name the file in it"), "{message}");
    // A mark of the order of bytes before UTF-8 is none of the text.
    std::fs::write(&path, format!("\u{feff}{GOOD}").replace("${POLYGON_API_KEY}", KEY)).unwrap();
    Pipeline::read(&path, clock()).unwrap();
}

/// The schema that is checked in is the one that the types make, and it accepts
/// what the parser accepts. `UPDATE=1` writes it anew.
#[test]
fn the_schema_that_is_checked_in_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/pipeline.json");
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == current, "spec/pipeline.json is not current (hint: run the tests with UPDATE=1)");

    let schema = jsonschema::validator_for(&schema()).unwrap();
    let accepts = |text: &str| schema.is_valid(&Document::parse(text).ok().unwrap().value);
    assert!(accepts(GOOD));
    assert!(accepts(&GOOD.replace("{type: free}", "paid")) && !accepts(&GOOD.replace("{type: free}", "fre")));
    assert!(accepts(&GOOD.replace("2024-01-02", "\"${START}\"")));
    for (piece, wrong) in [
        ("start_date", "start_dat"),
        ("2024-01-02", "2.1.2024"),
        ("overwrite", "replace"),
        ("us_stocks", "a b"),
        ("duckdb:", "duckbd:"),
    ] {
        assert!(!accepts(&GOOD.replace(piece, wrong)), "{wrong}");
    }
}
