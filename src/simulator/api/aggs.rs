//! `/v2/aggs`: bars of a ticker, and the whole market's day.

use jiff::ToSpan;
use jiff::civil::{Date, time};

use crate::calendar;
use crate::catalog::{BarSize, Timespan};

use super::super::bars::{self, BarFact};
use super::super::dice::hash_text;
use super::super::market::{BarQuery, day_of_ms};
use super::super::page::{Page, Refusal, Shape};
use super::super::query::Query;
use super::Call;

const LIMIT_DEFAULT: usize = 5_000;
const LIMIT_MAX: usize = 50_000;

/// The day's bar of every stock.
pub fn grouped(call: &Call<'_>, day: &str) -> Result<Page, Refusal> {
    let day: Date = day.parse().map_err(|_| unreadable("date"))?;
    let adjusted = call.query.flag("adjusted", true)?;
    let include_otc = call.query.flag("include_otc", false)?;
    let first = call.access.check_days(day, day)?;
    let facts = if day < first {
        Vec::new()
    } else {
        call.market.grouped(day, adjusted, include_otc, call.access.market_as_of())
    };
    let mut page = Page::new(Shape::Array);
    page.status = call.access.market_status();
    page.head = counts(facts.len(), facts.len(), adjusted);
    page.counts = true;
    for fact in &facts {
        let salt = hash_text(fact.symbol.as_deref().unwrap_or_default());
        page.push(fact, salt ^ fact.time_ms.unsigned_abs());
    }
    Ok(page)
}

/// The bars of a ticker; `[multiplier, timespan, from, to]` as in the path.
pub fn range(
    call: &Call<'_>,
    ticker: &str,
    [multiplier, timespan, from, to]: [&str; 4],
) -> Result<Page, Refusal> {
    let size = size(multiplier, timespan)?;
    let (from_ms, _) = moment(from, "from")?;
    let (_, to_ms) = moment(to, "to")?;
    if to_ms < from_ms {
        return Err(Refusal::bad("The parameter 'to' cannot be a time that occurs before 'from'"));
    }
    let adjusted = call.query.flag("adjusted", true)?;
    let descending = call.query.descending("sort", false)?;
    let limit = limit(&call.query)?;
    if size.timespan.is_intraday() {
        call.access.check_intraday()?;
    }
    let (from_day, to_day) = (day_of_ms(from_ms), day_of_ms(to_ms));
    let first_day = call.access.check_days(from_day, to_day)?;
    let query = BarQuery {
        symbol: ticker.to_owned(),
        size,
        from_ms: if first_day > from_day { calendar::day_start(first_day).as_millisecond() } else { from_ms },
        to_ms,
        adjusted,
        descending,
        as_of: call.access.market_as_of(),
    };
    let mut bars = call.market.bars(query).peekable();
    let (mut facts, mut base): (Vec<BarFact>, usize) = (Vec::new(), 0);
    // The limit counts base bars, and a page ends between two bars.
    while let Some(fact) = bars.next_if(|fact| facts.is_empty() || base + fact.bar.base <= limit) {
        base += fact.bar.base;
        facts.push(fact);
    }
    let mut page = Page::new(Shape::Array);
    page.next = match (facts.last(), bars.peek()) {
        (Some(last), Some(_)) => Some(next(call, ticker, size, last.time_ms, [from, to], descending)),
        _ => None,
    };
    page.status = call.access.market_status();
    page.head = vec![("ticker", serde_json::Value::from(ticker).to_string())];
    page.head.extend(counts(base, facts.len(), adjusted));
    page.counts = true;
    let salt = hash_text(ticker);
    for fact in &facts {
        page.push(fact, salt ^ fact.time_ms.unsigned_abs());
    }
    Ok(page)
}

/// Path and query of the next page: the vendor moves the path's `from` to the
/// end of the last bar; descending, here its `to` to before the last bar.
fn next(
    call: &Call<'_>,
    ticker: &str,
    size: BarSize,
    last_ms: i64,
    [from, to]: [&str; 2],
    descending: bool,
) -> String {
    let (from, to) = if descending {
        (from.to_owned(), (last_ms - 1).to_string())
    } else {
        (bar_end(size, last_ms).to_string(), to.to_owned())
    };
    let ticker = percent_encoding::utf8_percent_encode(ticker, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".");
    format!(
        "/v2/aggs/ticker/{ticker}/range/{}/{}/{from}/{to}?cursor={}",
        size.multiplier,
        size.timespan.as_str(),
        call.query.cursor(&[], &[])
    )
}

/// The first millisecond after a bar.
fn bar_end(size: BarSize, start_ms: i64) -> i64 {
    match bars::step_ms(size) {
        Some(step) => start_ms + step,
        None => calendar::day_start(bars::next_bucket(size, day_of_ms(start_ms))).as_millisecond(),
    }
}

fn counts(base: usize, rows: usize, adjusted: bool) -> Vec<(&'static str, String)> {
    vec![
        ("queryCount", base.to_string()),
        ("resultsCount", rows.to_string()),
        ("adjusted", adjusted.to_string()),
    ]
}

fn size(multiplier: &str, timespan: &str) -> Result<BarSize, Refusal> {
    let multiplier: u16 = multiplier
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Refusal::bad("The parameter 'multiplier' must be a positive number"))?;
    let known = [
        Timespan::Second,
        Timespan::Minute,
        Timespan::Hour,
        Timespan::Day,
        Timespan::Week,
        Timespan::Month,
        Timespan::Quarter,
        Timespan::Year,
    ];
    let timespan = known.into_iter().find(|known| known.as_str() == timespan);
    let timespan =
        timespan.ok_or_else(|| Refusal::bad("The parameter 'timespan' is not one that is known"))?;
    Ok(BarSize { multiplier, timespan })
}

/// More than the maximum is clamped: the vendor says "max" and gives no schema for it.
fn limit(query: &Query) -> Result<usize, Refusal> {
    Ok(query.limit(LIMIT_DEFAULT, usize::MAX)?.min(LIMIT_MAX))
}

/// The first and last millisecond of a date in New York, or one millisecond.
fn moment(text: &str, name: &'static str) -> Result<(i64, i64), Refusal> {
    if let Ok(day) = text.parse::<Date>() {
        let next = calendar::at(day.saturating_add(1.days()), time(0, 0, 0, 0));
        return Ok((calendar::day_start(day).as_millisecond(), next.as_millisecond() - 1));
    }
    let millis: i64 = text.parse().map_err(|_| unreadable(name))?;
    Ok((millis, millis))
}

fn unreadable(name: &str) -> Refusal {
    Refusal::bad(format!(
        "Could not parse the time parameter: '{name}'. Use YYYY-MM-DD or Unix MS Timestamps"
    ))
}
