//! Paging: every row once, whatever the page's size and the order.

use super::super::market::Market;
use super::super::page::Refusal;
use super::super::plan::Plan;
use super::page;

const NOW: &str = "2024-06-28T21:00:00Z";

/// The rows of all pages, without how their numbers are written.
fn all(market: &Market, url: &str) -> Vec<String> {
    let mut url = url.to_owned();
    let mut rows = Vec::new();
    for _ in 0..5_000 {
        let page = page(market, &url, NOW, Plan::Unlimited).unwrap();
        rows.extend(page.rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()));
        match page.next {
            Some(next) => url = next,
            None => return rows,
        }
    }
    panic!("{url} goes on for ever");
}

#[test]
fn pages_hold_every_row_once() {
    let market = Market::new(7, 60);
    for (url, large, small, minimum) in [
        ("/v2/aggs/ticker/AAPL/range/1/minute/2024-06-20/2024-06-28?adjusted=false", 50_000, 37, 1_000),
        ("/v2/aggs/ticker/AAPL/range/1/minute/2024-06-20/2024-06-28?sort=desc", 50_000, 37, 1_000),
        ("/v2/aggs/ticker/AAPL/range/1/hour/2024-06-20/2024-06-28?", 50_000, 100, 80),
        ("/v2/aggs/ticker/BRK.A/range/1/day/2022-01-01/2024-06-28?", 50_000, 10, 500),
        ("/v2/aggs/ticker/META/range/1/week/2020-01-01/2024-06-28?sort=desc", 50_000, 11, 100),
        ("/v2/aggs/ticker/AAPL/range/1/month/1719000000000/1719590400000?", 50_000, 1, 1),
        ("/v3/trades/AAPL?timestamp=2024-06-27&order=asc", 50_000, 17, 300),
        ("/v3/trades/AAPL?timestamp.gte=2024-06-26&timestamp.lt=1719576000000000000", 50_000, 17, 600),
        ("/v3/reference/tickers?active=true&market=stocks", 1_000, 3, 30),
        ("/v3/reference/tickers?active=false&order=desc", 1_000, 2, 8),
        ("/v3/reference/tickers?active=true&sort=last_updated_utc", 1_000, 5, 30),
        ("/stocks/v1/splits?sort=execution_date.asc,ticker.asc", 5_000, 7, 50),
        ("/stocks/v1/dividends?ex_dividend_date.gte=2023-01-01", 5_000, 9, 100),
        ("/v3/reference/splits?execution_date.lt=2024-01-01", 1_000, 7, 40),
        ("/v3/reference/dividends?ticker=AAPL&order=asc", 1_000, 9, 60),
        ("/v2/reference/news?published_utc.gte=2024-06-01&order=asc", 1_000, 4, 100),
        ("/v2/reference/news?published_utc.gte=2024-06-01T04:00:00Z&ticker=AAPL", 1_000, 1, 3),
    ] {
        let separator = if url.contains('?') { "&" } else { "?" };
        let whole = all(&market, &format!("{url}{separator}limit={large}"));
        let paged = all(&market, &format!("{url}{separator}limit={small}"));
        assert!(whole.len() >= minimum, "{url} has {} rows", whole.len());
        assert_eq!(whole, paged, "{url}");
        let mut unique = whole.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), whole.len(), "{url}");
    }
}

#[test]
fn orders_are_each_others_reverse() {
    let market = Market::new(7, 60);
    for (ascending, descending) in [
        (
            "/v3/trades/MSFT?timestamp=2024-06-27&limit=50&order=asc",
            "/v3/trades/MSFT?timestamp=2024-06-27&limit=60",
        ),
        (
            "/v2/aggs/ticker/MSFT/range/5/minute/2024-06-26/2024-06-27?sort=asc",
            "/v2/aggs/ticker/MSFT/range/5/minute/2024-06-26/2024-06-27?sort=desc&limit=90",
        ),
        (
            "/v2/reference/news?published_utc.gte=2024-06-20&order=asc&limit=3",
            "/v2/reference/news?published_utc.gte=2024-06-20&limit=5",
        ),
    ] {
        let mut reversed = all(&market, descending);
        reversed.reverse();
        assert_eq!(all(&market, ascending), reversed);
    }
}

#[test]
fn limits_and_bounds_are_enforced() {
    let market = Market::new(7, 60);
    let refused = |url: &str| page(&market, url, NOW, Plan::Unlimited).unwrap_err();
    for url in [
        "/v3/trades/AAPL?limit=50001",
        "/v3/reference/tickers?limit=1001",
        "/v3/reference/tickers?limit=0",
        "/stocks/v1/splits?limit=5001",
        "/stocks/v1/splits?sort=price.asc",
        "/v3/reference/dividends?limit=many",
        "/v2/reference/news?order=up",
        "/v2/aggs/ticker/AAPL/range/0/minute/2024-06-20/2024-06-28",
        "/v2/aggs/ticker/AAPL/range/1/fortnight/2024-06-20/2024-06-28",
        "/v2/aggs/ticker/AAPL/range/1/minute/2024-06-31/2024-06-28",
        "/v2/aggs/ticker/AAPL/range/1/minute/2024-06-28/2024-06-27",
        "/v3/reference/tickers?cursor=!!",
    ] {
        assert!(matches!(refused(url), Refusal::BadRequest(_)), "{url}");
    }
    assert_eq!(refused("/v3/reference/tickers/ZZZZZ"), Refusal::NoTicker);
    assert_eq!(refused("/v3/reference/tickers/aapl"), Refusal::NoTicker);
    assert_eq!(refused("/v4/anything"), Refusal::NoPath);
    let clamped = page(
        &market,
        "/v2/aggs/ticker/AAPL/range/1/minute/2023-01-01/2024-06-28?limit=99999999",
        NOW,
        Plan::Unlimited,
    );
    assert!(clamped.unwrap().rows.len() <= 50_000);
}

#[test]
fn the_free_plan_lacks_what_the_vendors_lacks() {
    let market = Market::new(7, 60);
    let free = |url: &str| page(&market, url, NOW, Plan::Free).map(|page| page.rows.len());
    assert_eq!(free("/v3/trades/AAPL"), Err(Refusal::NotEntitled));
    assert_eq!(free("/v2/aggs/ticker/AAPL/range/1/minute/2024-06-20/2024-06-27"), Err(Refusal::Timeframe));
    assert_eq!(free("/v2/aggs/ticker/AAPL/range/1/day/2024-06-20/2024-06-28"), Err(Refusal::NotYet));
    assert_eq!(free("/v2/aggs/grouped/locale/us/market/stocks/2024-06-28"), Err(Refusal::NotYet));
    assert_eq!(free("/v2/aggs/grouped/locale/us/market/stocks/2020-06-26"), Err(Refusal::Timeframe));
    assert_eq!(free("/v2/aggs/ticker/AAPL/range/1/day/2024-06-20/2024-06-27"), Ok(6));
    assert!(free("/stocks/v1/splits").unwrap() > 0);
}

#[test]
fn a_delayed_plan_is_fifteen_minutes_behind() {
    let market = Market::new(7, 60);
    let url = "/v2/aggs/ticker/AAPL/range/1/minute/2024-06-28/2024-06-28";
    let during = "2024-06-28T15:00:00Z";
    let paid = page(&market, url, during, Plan::Paid).unwrap();
    assert_eq!(paid.status, "DELAYED");
    let earlier = page(&market, url, "2024-06-28T14:45:00Z", Plan::Unlimited).unwrap();
    assert_eq!(earlier.status, "OK");
    assert_eq!(paid.rows, earlier.rows);
    assert!(paid.rows.len() < page(&market, url, during, Plan::Unlimited).unwrap().rows.len());
}

#[test]
fn closed_days_and_unknown_tickers_have_no_results() {
    let market = Market::new(7, 60);
    for url in [
        "/v2/aggs/grouped/locale/us/market/stocks/2024-06-19",
        "/v2/aggs/ticker/ZZZZZ/range/1/day/2024-06-20/2024-06-27",
        "/v3/trades/ZZZZZ",
    ] {
        let page = page(&market, url, NOW, Plan::Unlimited).unwrap();
        assert!(page.rows.is_empty() && page.next.is_none());
        let text = String::from_utf8(page.render("id")).unwrap();
        assert!(!text.contains("results\""), "{text}");
    }
    let none = page(&market, "/stocks/v1/splits?ticker=ZZZZZ", NOW, Plan::Unlimited).unwrap();
    assert!(String::from_utf8(none.render("id")).unwrap().contains("\"results\":[]"));
}
