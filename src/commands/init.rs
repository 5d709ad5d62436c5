//! `init`: writes a commented pipeline to start from.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::calendar;
use crate::catalog::{Capability, STREAMS, Sizes, StreamSpec};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::outlet;
use crate::terminal::shell;

const SOURCE: &str = include_str!("init/source.yaml");
const DUCKDB: &str = include_str!("init/duckdb.yaml");
const SNOWFLAKE: &str = include_str!("init/snowflake.yaml");
const STREAMS_PART: &str = include_str!("init/streams.yaml");

/// The streams that are not commented out: a handful of requests on any plan.
const CHOSEN: &[&str] = &["stock_daily_bars", "stock_bars", "splits"];

/// How far back the pipeline begins: a first run of a few minutes on the free plan.
const DAYS_BACK: i64 = 30;

/// Mode of the file: nobody but its owner may read or write it.
const OWNER_ONLY: u32 = 0o600;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "pipeline.yaml")]
    path: PathBuf,
    /// Where the rows will go.
    #[arg(long, value_name = "SINK", default_value = "duckdb")]
    sink: SinkKind,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

/// A kind of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SinkKind {
    /// A DuckDB file.
    #[value(name = "duckdb")]
    DuckDb,
    /// A schema in Snowflake.
    Snowflake,
}

/// Writes the file.
///
/// # Errors
/// [`ErrorKind::Config`] when the file exists, [`ErrorKind::Io`] when it cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let today = calendar::day_of(Clock::from_environment()?.now());
    write(&args.path, &pipeline(args.sink, today), args.force)?;
    let path = args.path.display();
    let sync = format!("{} sync {}", shell::program(), shell::word(&path.to_string()));
    let key = match args.sink {
        SinkKind::DuckDb => "",
        SinkKind::Snowflake => "  and set the SNOWFLAKE_… variables that it names\n",
    };
    outlet::print(&format!("wrote {path}; to go on:\n\n  export POLYGON_API_KEY=…\n{key}  {sync}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    // A key may come to stand in it.
    options.write(true).mode(OWNER_ONLY);
    // The check and the creation are one step: nothing is overwritten by a race.
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::config(format!("{} exists", path.display()))
            .hint("give another `--path`, or `--force` to replace it"),
        _ => Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).caused_by(error),
    })?;
    let permissions = Permissions::from_mode(OWNER_ONLY);
    // One that is replaced keeps its mode when it is opened.
    let written = file.set_permissions(permissions).and_then(|()| file.write_all(text.as_bytes()));
    written.or_fail(ErrorKind::Io, || format!("cannot write {}", path.display()))
}

fn pipeline(sink: SinkKind, today: Date) -> String {
    let first = calendar::trading_days(today.saturating_sub(DAYS_BACK.days()), today).next().unwrap_or(today);
    let sink = match sink {
        SinkKind::DuckDb => DUCKDB,
        SinkKind::Snowflake => SNOWFLAKE,
    };
    let source = SOURCE.replace("@START_DATE@", &first.to_string());
    source + sink + &STREAMS_PART.replace("@STREAMS@\n", &streams())
}

/// Every stream of the catalogue with its sentence, most of them commented out.
fn streams() -> String {
    let mut text = String::new();
    for spec in STREAMS {
        let mark = if CHOSEN.contains(&spec.name) { "-" } else { "# -" };
        let line = format!("  {mark} {}", name(spec));
        let needs = match spec.needs {
            Capability::Basic | Capability::IntradayBars => "",
            Capability::Trades => " Paid plans only.",
        };
        // Writing to a string does not fail.
        let _written = writeln!(text, "  # {}{needs}\n{line}", spec.doc);
    }
    text
}

/// The stream's name, with the size that the file configures.
fn name(spec: &StreamSpec) -> String {
    match spec.sizes {
        Sizes::None => spec.name.to_owned(),
        Sizes::Bars => format!("{}_1_day", spec.name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::civil::date;
    use serde_json::Value;

    use super::*;
    use crate::config::pipeline::{self, Pipeline};

    const TODAY: Date = date(2024, 6, 28);

    fn clock() -> Clock {
        Clock::Fixed("2024-06-28T21:00:00Z".parse().unwrap())
    }

    /// Values for the variables that the files name.
    fn variable(name: &str) -> Option<String> {
        let folder = std::env::temp_dir();
        match name {
            "SNOWFLAKE_PRIVATE_KEY_FILE" => Some(folder.join("tapeline-init-key.p8").display().to_string()),
            "SNOWFLAKE_WAREHOUSE" => None,
            _ => Some(format!("value-of-{name}")),
        }
    }

    #[test]
    fn the_files_are_pipelines() {
        let key = variable("SNOWFLAKE_PRIVATE_KEY_FILE").unwrap();
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n").unwrap();
        for sink in [SinkKind::DuckDb, SinkKind::Snowflake] {
            let text = pipeline(sink, TODAY);
            let parsed = Pipeline::parse(Path::new("p.yaml"), &text, &variable, clock());
            let parsed = parsed.unwrap_or_else(|error| panic!("{}\n{text}", error.report()));
            let names: Vec<_> = parsed.streams.iter().map(|choice| choice.stream.name.as_str()).collect();
            assert_eq!(names, ["stock_daily_bars", "stock_bars_1_day", "splits"]);
            assert_eq!(parsed.source.start_date, date(2024, 5, 29));
        }
    }

    /// Uncommented, every line that shows a field or a stream is a pipeline too.
    #[test]
    fn the_commented_fields_are_right() {
        let text = pipeline(SinkKind::DuckDb, TODAY);
        let shown = [
            "end_date:",
            "base_url:",
            "memory_limit_mb:",
            "threads:",
            "numbers:",
            "rejected_max:",
            "- ",
            "commit:",
            "  rows:",
            "  seconds:",
        ];
        let uncommented: String = text
            .lines()
            .map(|line| {
                let body = line.trim_start();
                let hit =
                    body.strip_prefix("# ").filter(|body| shown.iter().any(|field| body.starts_with(field)));
                let indent = &line[..line.len() - body.len()];
                hit.map_or_else(|| format!("{line}\n"), |body| format!("{indent}{body}\n"))
            })
            .collect();
        let parsed = Pipeline::parse(Path::new("p.yaml"), &uncommented, &variable, clock());
        let parsed = parsed.unwrap_or_else(|error| panic!("{}\n{uncommented}", error.report()));
        assert_eq!(parsed.streams.len(), STREAMS.len());
        assert_eq!(parsed.source.end_date, Some(TODAY));
        assert_eq!(parsed.commit_interval.as_secs(), 60);
        assert!(parsed.streams.iter().all(|choice| choice.rejected_max == 1_000));
    }

    /// The value in a commented line is an example, and reads as the default.
    #[test]
    fn the_default_of_a_limit_is_told_beside_its_example() {
        let default = crate::sink::duckdb::DuckDbConfig::of("a").memory_limit_mb;
        let said = format!("in megabytes: {default} unless set.");
        assert!(pipeline(SinkKind::DuckDb, TODAY).contains(&said), "{said}");
    }

    /// No field of the schema is missing from the files.
    #[test]
    fn every_field_is_mentioned() {
        let mut fields = BTreeSet::new();
        collect(&pipeline::schema(), &mut fields);
        let text = pipeline(SinkKind::DuckDb, TODAY) + &pipeline(SinkKind::Snowflake, TODAY);
        assert!(fields.len() > 25, "{fields:?}");
        for field in &fields {
            assert!(text.contains(&format!("{field}:")), "{field} is not in the file");
        }
    }

    fn collect(schema: &Value, fields: &mut BTreeSet<String>) {
        match schema {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get("properties") {
                    fields.extend(properties.keys().cloned());
                }
                map.values().for_each(|value| collect(value, fields));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn a_file_is_not_overwritten_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.yaml");
        write(&path, "mine", false).unwrap();
        let error = write(&path, "other", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.user_message().contains("--force"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, "other", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "other");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600, "also of one that others could read before");
        let fresh = folder.path().join("fresh.yaml");
        write(&fresh, "mine", false).unwrap();
        assert_eq!(mode(&fresh), 0o600);
    }
}
