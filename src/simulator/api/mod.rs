//! The endpoints: which path is answered by what.

mod actions;
mod aggs;
mod fixed;
mod news;
mod tickers;
mod trades;

use percent_encoding::percent_decode_str;

use super::market::Market;
use super::page::{Page, Refusal};
use super::plan::Access;
use super::query::Query;

/// One request for data.
pub struct Call<'a> {
    pub market: &'a Market,
    pub access: Access,
    pub path: &'a str,
    pub query: Query,
}

/// A page and the endpoint's name, or why there is none.
pub fn answer(call: &Call<'_>) -> Result<Page, Refusal> {
    let segments: Vec<String> = segments(call.path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["v2", "aggs", "grouped", "locale", "us", "market", "stocks", day] => aggs::grouped(call, day),
        ["v2", "aggs", "ticker", ticker, "range", multiplier, timespan, from, to] => {
            aggs::range(call, ticker, [multiplier, timespan, from, to])
        }
        ["v3", "trades", ticker] => trades::list(call, ticker),
        ["v3", "reference", "tickers"] => tickers::list(call),
        ["v3", "reference", "tickers", ticker] => tickers::details(call, ticker),
        ["stocks", "v1", "splits"] => actions::splits(call),
        ["stocks", "v1", "dividends"] => actions::dividends(call),
        ["v3", "reference", "splits"] => actions::old_splits(call),
        ["v3", "reference", "dividends"] => actions::old_dividends(call),
        ["v3", "reference", "exchanges"] => fixed::exchanges(call),
        ["v1", "marketstatus", "upcoming"] => Ok(fixed::upcoming(call)),
        ["v2", "reference", "news"] => news::list(call),
        _ => Err(Refusal::NoPath),
    }
}

/// The endpoint of a path, for counting: tickers and dates are left out.
pub fn endpoint(path: &str) -> &'static str {
    const ENDPOINTS: &[(&str, &str)] = &[
        ("/v2/aggs/grouped/", "/v2/aggs/grouped"),
        ("/v2/aggs/ticker/", "/v2/aggs/ticker"),
        ("/v3/trades/", "/v3/trades"),
        ("/v3/reference/tickers/", "/v3/reference/tickers/{ticker}"),
        ("/v3/reference/tickers", "/v3/reference/tickers"),
        ("/stocks/v1/splits", "/stocks/v1/splits"),
        ("/stocks/v1/dividends", "/stocks/v1/dividends"),
        ("/v3/reference/splits", "/v3/reference/splits"),
        ("/v3/reference/dividends", "/v3/reference/dividends"),
        ("/v3/reference/exchanges", "/v3/reference/exchanges"),
        ("/v1/marketstatus/upcoming", "/v1/marketstatus/upcoming"),
        ("/v2/reference/news", "/v2/reference/news"),
    ];
    ENDPOINTS.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("other", |(_, name)| name)
}

/// The parts of a path, each decoded on its own: a ticker may hold any character.
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    path.trim_start_matches('/')
        .split('/')
        .map(|segment| match percent_decode_str(segment).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(Refusal::NoPath),
        })
        .collect()
}

/// The page of an endpoint that pages by offset: the cursor says how many rows
/// were shown.
fn paged_by_offset<T>(
    call: &Call<'_>,
    rows: impl Iterator<Item = T>,
    limit: usize,
    page: &mut Page,
    mut push: impl FnMut(&mut Page, T),
) -> Result<(), Refusal> {
    let shown: usize = match call.query.get("ap").filter(|_| call.query.is_continuation) {
        Some(text) => text.parse().map_err(|_| Refusal::bad("The parameter 'cursor' is not valid"))?,
        None => 0,
    };
    let mut rest = rows.skip(shown);
    for row in rest.by_ref().take(limit) {
        push(page, row);
    }
    if rest.next().is_some() {
        let place = [
            ("ap", (shown + page.rows.len()).to_string()),
            ("as", String::new()),
            ("limit", limit.to_string()),
        ];
        page.next = Some(format!("{}?cursor={}", call.path, call.query.cursor(&place, &[])));
    }
    Ok(())
}
