//! `/v2/reference/news`.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use super::super::days::utc_midnight;
use super::super::dice::hash_text;
use super::super::news::{ArticleFact, FIRST_NEWS_DAY};
use super::super::page::{Page, Refusal, Shape};
use super::super::tape::nanos;
use super::Call;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1_000;

/// The articles.
pub fn list(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    let limit = query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    query.one_of("sort", &["published_utc"])?;
    let descending = query.descending("order", true)?;
    let symbols = query.text_bounds("ticker")?;
    let (low, high) = query.span("published_utc", span)?;
    let after = place(call)?;
    let as_of = call.access.now;

    let mut page = Page::new(Shape::Array);
    page.counts = true;
    let mut last = None;
    for day in days((low, high), as_of, descending) {
        let articles = call.market.news(day);
        let in_order: Box<dyn Iterator<Item = _>> =
            if descending { Box::new(articles.iter().rev()) } else { Box::new(articles.iter()) };
        for article in in_order.filter(|article| article.is_visible(as_of)) {
            let published = nanos(article.published);
            let key = (article.published, article.id.clone());
            let is_shown =
                after.as_ref().is_some_and(|after| if descending { key >= *after } else { key <= *after });
            if published < low || published > high || is_shown {
                continue;
            }
            if !article.tickers.iter().any(|ticker| symbols.admit(ticker)) {
                continue;
            }
            if page.rows.len() == limit {
                page.next = last.map(|key| next(call, limit, descending, key));
                return Ok(page);
            }
            page.push(&ArticleFact { article, as_of }, hash_text(&article.id));
            last = Some(key);
        }
    }
    Ok(page)
}

/// Where the page before ended: time and id of its last row.
fn place(call: &Call<'_>) -> Result<Option<(Timestamp, String)>, Refusal> {
    let query = &call.query;
    let (Some(published), Some(id)) = (query.get("ap"), query.get("as")) else {
        return Ok(None);
    };
    let published = published.parse().map_err(|_| Refusal::bad("The parameter 'cursor' is not valid"))?;
    Ok(Some((published, id.to_owned())))
}

fn next(call: &Call<'_>, limit: usize, descending: bool, (published, id): (Timestamp, String)) -> String {
    let place = [
        ("ap", published.to_string()),
        ("as", id),
        ("limit", limit.to_string()),
        // The vendor's cursors for news hold the long words.
        ("order", if descending { "descending" } else { "ascending" }.to_owned()),
    ];
    format!("{}?cursor={}", call.path, call.query.cursor(&place, &[]))
}

fn days((low, high): (i64, i64), as_of: Timestamp, descending: bool) -> Vec<Date> {
    let utc_day = |moment: Timestamp| moment.to_zoned(jiff::tz::TimeZone::UTC).date();
    let bound = |moment: i64| Timestamp::from_nanosecond(moment.into()).map_or(Date::MIN, utc_day);
    let first = bound(low).max(FIRST_NEWS_DAY);
    let last = bound(high).min(utc_day(as_of));
    let mut days: Vec<Date> = std::iter::successors(Some(first), |day| day.tomorrow().ok())
        .take_while(|day| *day <= last)
        .collect();
    if descending {
        days.reverse();
    }
    days
}

/// A date in UTC or an RFC 3339 time.
fn span(text: &str) -> Option<(i64, i64)> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some((nanos(moment), nanos(moment)));
    }
    let day: Date = text.parse().ok()?;
    Some((nanos(utc_midnight(day)), nanos(utc_midnight(day.saturating_add(1.days()))) - 1))
}
