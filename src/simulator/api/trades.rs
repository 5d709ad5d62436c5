//! `/v3/trades/{ticker}`.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::super::days::FIRST_DAY;
use super::super::page::{Page, Refusal, Shape};
use super::super::query::Query;
use super::super::tape::{TradeFact, nanos};
use super::Call;

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 50_000;

/// The trades of a ticker.
pub fn list(call: &Call<'_>, ticker: &str) -> Result<Page, Refusal> {
    call.access.check_trades()?;
    let query = &call.query;
    let limit = query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let descending = query.descending("order", true)?;
    query.one_of("sort", &["timestamp"])?;
    let (low, high) = query.span("timestamp", span)?;
    let after = place(query, if descending { high } else { low })?;
    let as_of = call.access.market_as_of();
    let as_of_ns = nanos(as_of);

    let mut page = Page::new(Shape::Array);
    page.status = call.access.market_status();
    let mut last = None;
    for day in days(call, ticker, (low, high), as_of, descending) {
        let Some(listing) = call.market.universe.holder(ticker, day) else {
            continue;
        };
        let tape = call.market.tape(listing, day);
        let in_order: Box<dyn Iterator<Item = _>> =
            if descending { Box::new(tape.iter().rev()) } else { Box::new(tape.iter()) };
        for trade in in_order.filter(|trade| trade.is_known(as_of_ns)) {
            let key = (trade.sip_ns, trade.sequence);
            let is_shown = after.is_some_and(|after| if descending { key >= after } else { key <= after });
            if trade.sip_ns < low || trade.sip_ns > high || is_shown {
                continue;
            }
            if page.rows.len() == limit {
                page.next = last.map(|key| next(call, limit, descending, key));
                return Ok(page);
            }
            last = Some(key);
            page.push(&TradeFact { trade, as_of_ns }, trade.sequence.unsigned_abs());
        }
    }
    Ok(page)
}

/// Where the page before ended: its bound in the cursor is the last row's time,
/// and `ap` the last row's sequence number.
fn place(query: &Query, bound: i64) -> Result<Option<(i64, i64)>, Refusal> {
    match query.get("ap").filter(|_| query.is_continuation) {
        Some(text) => {
            let sequence = text.parse().map_err(|_| Refusal::bad("The parameter 'cursor' is not valid"))?;
            Ok(Some((bound, sequence)))
        }
        None => Ok(None),
    }
}

fn next(call: &Call<'_>, limit: usize, descending: bool, (sip_ns, sequence): (i64, i64)) -> String {
    let moment =
        Timestamp::from_nanosecond(sip_ns.into()).map_or_else(|_| String::new(), |moment| moment.to_string());
    let (bound, dropped, order) = if descending {
        ("timestamp.lte", ["timestamp.lt"], "desc")
    } else {
        ("timestamp.gte", ["timestamp.gt"], "asc")
    };
    let place = [
        ("ap", sequence.to_string()),
        ("as", String::new()),
        ("limit", limit.to_string()),
        ("order", order.to_owned()),
        ("sort", "timestamp".to_owned()),
        (bound, moment),
    ];
    format!("{}?cursor={}", call.path, call.query.cursor(&place, &dropped))
}

/// The days between two moments on which somebody holds the symbol, in the order asked for.
fn days<'a>(
    call: &Call<'a>,
    ticker: &str,
    (low, high): (i64, i64),
    as_of: Timestamp,
    descending: bool,
) -> Box<dyn Iterator<Item = Date> + 'a> {
    let universe = &call.market.universe;
    let listed = universe.of_symbol(ticker).iter().map(|index| universe.listings[*index].from).min();
    let first = day_of_nanos(low).max(listed.unwrap_or(FIRST_DAY)).max(FIRST_DAY);
    let last = day_of_nanos(high).min(calendar::day_of(as_of));
    if listed.is_none() || last < first {
        return Box::new(std::iter::empty());
    }
    if descending {
        let days = std::iter::successors(Some(last), |day| day.yesterday().ok())
            .take_while(move |day| first <= *day);
        Box::new(days.filter(|day| calendar::is_trading_day(*day)))
    } else {
        Box::new(calendar::trading_days(first, last))
    }
}

fn day_of_nanos(moment: i64) -> Date {
    Timestamp::from_nanosecond(moment.into()).map_or(Date::MIN, calendar::day_of)
}

/// A date in New York, nanoseconds since the UNIX epoch, or an RFC 3339 time.
fn span(text: &str) -> Option<(i64, i64)> {
    if let Ok(moment) = text.parse::<i64>() {
        return Some((moment, moment));
    }
    if let Ok(day) =
        text.parse::<Date>().or(Err(())).and_then(|day| if text.len() == 10 { Ok(day) } else { Err(()) })
    {
        let next = calendar::day_start(day.saturating_add(1.days()));
        return Some((nanos(calendar::day_start(day)), nanos(next) - 1));
    }
    let moment = nanos(text.parse().ok()?);
    Some((moment, moment))
}
