//! `/v3/reference/tickers` and `/v3/reference/tickers/{ticker}`.

use jiff::civil::Date;

use crate::calendar;

use super::super::dice::hash_text;
use super::super::page::{Page, Refusal, Shape};
use super::super::reference::{DetailsFact, TickerFact};
use super::Call;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

const SORTS: &[&str] = &[
    "ticker",
    "name",
    "market",
    "locale",
    "primary_exchange",
    "type",
    "currency_symbol",
    "currency_name",
    "base_currency_symbol",
    "base_currency_name",
    "cik",
    "composite_figi",
    "share_class_figi",
    "last_updated_utc",
    "delisted_utc",
];

/// The list of tickers.
pub fn list(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    let limit = query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let sort = query.one_of("sort", SORTS)?;
    let descending = query.descending("order", false)?;
    let active = query.flag("active", true)?;
    let symbols = query.text_bounds("ticker")?;
    let day = day(call)?;
    let search = query.get("search").map(str::to_lowercase);

    let admit = |fact: &TickerFact<'_>| {
        let listing = fact.listing;
        fact.is_active == active
            && symbols.admit(&listing.symbol)
            && query.admits("type", listing.kind)
            && query.admits("market", fact.market())
            && query.admits("exchange", listing.exchange.unwrap_or_default())
            && query.admits("cik", fact.security.cik.as_deref().unwrap_or_default())
            && query.get("cusip").is_none()
            && search.as_ref().is_none_or(|term| {
                listing.symbol.to_lowercase().contains(term) || listing.name.to_lowercase().contains(term)
            })
    };
    let count = call.market.universe.listings.len();
    let mut facts: Vec<TickerFact<'_>> =
        (0..count).filter_map(|index| TickerFact::of(call.market, index, day)).filter(admit).collect();
    facts.sort_by_cached_key(|fact| (sort_key(fact, sort), fact.listing.symbol.clone(), fact.listing.from));
    if descending {
        facts.reverse();
    }

    let start = match query.get("page_marker").filter(|_| query.is_continuation) {
        Some(marker) => {
            let last = facts.iter().position(|fact| fact.marker() == marker);
            last.ok_or_else(|| Refusal::bad("The parameter 'cursor' is not valid"))? + 1
        }
        None => 0,
    };
    let mut page = Page::new(Shape::Array);
    page.counts = true;
    for fact in facts.iter().skip(start).take(limit) {
        page.push(fact, hash_text(&fact.listing.symbol));
    }
    if start + limit < facts.len() {
        let place = [
            ("active", active.to_string()),
            ("date", day.to_string()),
            ("limit", limit.to_string()),
            ("order", if descending { "desc" } else { "asc" }.to_owned()),
            ("page_marker", facts[start + limit - 1].marker()),
            ("sort", sort.to_owned()),
        ];
        page.next = Some(format!("{}?cursor={}", call.path, query.cursor(&place, &[])));
    }
    Ok(page)
}

/// The details of one ticker.
pub fn details(call: &Call<'_>, ticker: &str) -> Result<Page, Refusal> {
    let day = day(call)?;
    // Of a delisted ticker there are details as of a day on which it was listed only.
    let listed = DetailsFact::of(call.market, ticker, day).filter(DetailsFact::is_listed);
    let fact = listed.ok_or(Refusal::NoTicker)?;
    let mut page = Page::new(Shape::Object);
    page.push(&fact, hash_text(ticker));
    Ok(page)
}

/// The day as of which is asked: today, or an earlier one.
fn day(call: &Call<'_>) -> Result<Date, Refusal> {
    let today = calendar::day_of(call.access.now);
    match call.query.get("date") {
        None => Ok(today),
        Some(text) => {
            let day: Date = text
                .parse()
                .map_err(|_| Refusal::bad("The parameter 'date' has a value that cannot be read"))?;
            Ok(day.min(today))
        }
    }
}

fn sort_key(fact: &TickerFact<'_>, sort: &str) -> String {
    match sort {
        "name" => fact.listing.name.clone(),
        "market" => fact.market().to_owned(),
        "primary_exchange" => fact.listing.exchange.unwrap_or_default().to_owned(),
        "type" => fact.listing.kind.to_owned(),
        "cik" => fact.security.cik.clone().unwrap_or_default(),
        "composite_figi" => fact.security.composite_figi.clone(),
        "share_class_figi" => fact.security.share_class_figi.clone(),
        "last_updated_utc" => fact.last_updated.to_string(),
        "delisted_utc" => fact.delisted().map(|moment| moment.to_string()).unwrap_or_default(),
        // The symbol is the second key of all orders; the rest is the same for all tickers.
        _ => String::new(),
    }
}
