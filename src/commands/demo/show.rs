//! What the demo prints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::chart::{candlesticks, sparkline};
use super::truth::Difference;
use super::{Held, Run, warehouse};
use crate::calendar;
use crate::config::source::Plan;
use crate::error::Result;
use crate::limit::Limiter;
use crate::terminal::table::{Align, Table};
use crate::terminal::{Paint, count, counted, duration, shell, width};

/// Rows of the chart.
const CHART_HEIGHT: usize = 14;

/// Columns of a sparkline in a terminal of 80.
const SPARK_WIDTH: usize = 48;

/// Says what is going to happen.
pub(super) fn opening(paint: Paint) {
    println!("{}", paint.bold("tapeline demo: a synthetic market, in this process. No key, no network."));
    println!();
}

/// Says that a run begins.
pub(super) fn begin(name: &str, now: Timestamp, paint: Paint) {
    let moment = now.to_zoned(calendar::new_york().clone()).strftime("%a %-d %b %Y, %H:%M");
    println!("{} {}", paint.bold(name), paint.dim(&format!("as of {moment} in New York")));
}

/// What a run moved, and what it would have cost.
pub(super) fn run(run: &Run, paint: Paint) {
    let moved = paint.bold(&counted(run.rows, "row"));
    println!("  {moved} in {} and {}", counted(run.requests, "request"), duration(run.took));
    let allowed = Limiter::new(Plan::Free {}).per_minute();
    let cost = duration(spent(run.requests, allowed));
    println!(
        "  {}\n",
        paint.dim(&format!("a free plan allows {allowed} requests a minute: it would take {cost}"))
    );
}

/// How long this many requests take at a limit: the first minute's worth goes at once.
fn spent(requests: u64, per_minute: u32) -> Duration {
    let waits = requests.saturating_sub(1) / u64::from(per_minute);
    Duration::from_secs(waits * 60)
}

/// Says that the tables are being compared.
pub(super) fn judging(tables: usize, paint: Paint) {
    let text = format!("comparing {tables} tables, row by row, with what the market itself knows …");
    println!("{}", paint.dim(&text));
}

/// The tables, and whether they are right.
pub(super) fn tables(held: &[Held], paint: Paint) {
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("rows", Align::Right),
        ("from", Align::Left),
        ("to", Align::Left),
        ("second run", Align::Right),
        ("truth", Align::Left),
    ]);
    for held in held {
        let (from, to) = held.extent.days.clone().unwrap_or_default();
        let verdict = match held.difference {
            Difference { missing: 0, surplus: 0 } => "equal".to_owned(),
            Difference { missing, surplus } => format!("-{missing} +{surplus}"),
        };
        table.row([held.name.clone(), count(held.extent.rows), from, to, count(held.moved), verdict]);
    }
    let rows = held.iter().map(|held| held.extent.rows).sum();
    let moved = held.iter().map(|held| held.moved).sum();
    table.total(["total".to_owned(), count(rows), String::new(), String::new(), count(moved)]);
    print!("{}", table.render(paint));
    println!("{}\n", verdict(held, paint));
}

fn verdict(held: &[Held], paint: Paint) -> String {
    let equal = held.iter().filter(|held| held.difference == Difference::default()).count();
    let text = format!("equals the truth: {equal} of {} tables", held.len());
    if equal == held.len() { paint.green(&text) } else { paint.red(&text) }
}

/// Charts, from the file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn market(file: &Path, day: Date, tickers: &[Arc<str>], paint: Paint) -> Result<()> {
    let connection = warehouse::open(file)?;
    let width = width();
    if let Some(ticker) = tickers.first() {
        let candles = warehouse::daily_candles(&connection, ticker)?;
        println!("{} {}", paint.bold(ticker), paint.dim("a day a candle, read back from the file"));
        println!("{}", candlesticks(&candles, width, CHART_HEIGHT, paint));
    }
    println!("{} {}", paint.bold(&day.to_string()), paint.dim("the regular session, minute by minute"));
    for ticker in tickers {
        let closes = warehouse::minute_closes(&connection, ticker, day)?;
        let (Some(first), Some(last)) = (closes.first(), closes.last()) else { continue };
        let change = (last / first - 1.0) * 100.0;
        let change_text = format!("{change:>+6.2} %");
        let marked = if change >= 0.0 { paint.green(&change_text) } else { paint.red(&change_text) };
        let line = sparkline(&closes, SPARK_WIDTH + width.saturating_sub(80).min(24));
        println!("{ticker:<6} {line} {last:>9.2} {marked}");
    }
    println!();
    Ok(())
}

/// How to go on, as commands that can be typed as they stand.
pub(super) fn farewell(file: &Path, paint: Paint) {
    let program = shell::program();
    println!("{}", paint.bold("go on with"));
    println!("  {}", query(&file.display().to_string(), shell::find("duckdb").is_some()));
    println!("  {program} init   {}", paint.dim("# your own data"));
}

/// The query that is suggested. Without quotes, so that it is the same word in every language.
const SQL: &str = "from polygon.stock_daily_bars order by volume desc limit 10";

/// The command that asks it, with DuckDB's own program or else with Python and its package.
fn query(file: &str, has_duckdb: bool) -> String {
    match has_duckdb {
        true => format!("duckdb {} {}", shell::word(file), shell::word(SQL)),
        false => {
            let python = format!("import duckdb; duckdb.connect({file:?}).sql({SQL:?}).show()");
            format!("python3 -c {}", shell::word(&python))
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggested_query_is_one_command() {
        assert_eq!(
            query("/it's here/m.duckdb", true),
            r#"duckdb '/it'\''s here/m.duckdb' 'from polygon.stock_daily_bars order by volume desc limit 10'"#
        );
        assert_eq!(
            query("/a/m.duckdb", false),
            r#"python3 -c 'import duckdb; duckdb.connect("/a/m.duckdb").sql("from polygon.stock_daily_bars order by volume desc limit 10").show()'"#
        );
    }

    #[test]
    fn the_free_plan_lets_five_go_at_once() {
        let seconds: Vec<_> = [0, 1, 5, 6, 10, 11, 501].map(|requests| spent(requests, 5).as_secs()).into();
        assert_eq!(seconds, [0, 0, 0, 60, 60, 120, 6_000]);
    }
}
