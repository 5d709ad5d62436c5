//! `/v3/reference/exchanges` and `/v1/marketstatus/upcoming`.

use crate::calendar;

use super::super::fixed::{self, EXCHANGES};
use super::super::page::{Page, Refusal, Shape};
use super::Call;

/// The exchanges.
pub fn exchanges(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    query.one_of("asset_class", &["stocks", "options", "crypto", "fx", "futures"])?;
    query.one_of("locale", &["us", "global"])?;
    let mut page = Page::new(Shape::Array);
    page.counts = true;
    for exchange in EXCHANGES {
        if query.admits("asset_class", exchange.asset_class) && query.admits("locale", exchange.locale) {
            page.push(exchange, 0);
        }
    }
    Ok(page)
}

/// The coming holidays.
pub fn upcoming(call: &Call<'_>) -> Page {
    let mut page = Page::new(Shape::Root);
    for holiday in fixed::upcoming(calendar::day_of(call.access.now)) {
        page.push(&holiday, 0);
    }
    page
}
