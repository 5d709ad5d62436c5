//! Where the next page is: what a `next_url` may lead to.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use url::Url;

use super::client::{mismatch, shortened};
use super::page::is_same_ticker;
use crate::calendar;
use crate::catalog::StreamSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::secret;

/// More of an address than this is not shown.
const ADDRESS_MAX: usize = 200;

/// The pages of a slice that were asked for.
#[derive(Debug)]
pub(super) struct Trail {
    /// The path as the catalogue has it.
    template: &'static str,
    /// The path that was asked for first.
    asked: String,
    visited: HashSet<String>,
}

impl Trail {
    /// A trail that begins with the request `target`.
    pub(super) fn new(spec: &'static StreamSpec, target: &str) -> Self {
        Self { template: spec.path, asked: path_of(target).to_owned(), visited: HashSet::new() }
    }

    /// The page is asked for.
    pub(super) fn visit(&mut self, target: &str) {
        self.visited.insert(target.to_owned());
    }

    /// How many pages were asked for.
    pub(super) fn len(&self) -> usize {
        self.visited.len()
    }

    /// Path and query of the page that a `next_url` leads to.
    ///
    /// # Errors
    /// As [`continuation`]; [`ErrorKind::Mismatch`] when it leads to another endpoint, to
    /// another ticker, or back.
    pub(super) fn follow(&self, next_url: &str) -> Result<String> {
        let target = continuation(next_url)?;
        let path = path_of(&target);
        if !goes_on(self.template, &self.asked, path) {
            return Err(mismatch(format!(
                "the answer's `next_url` leads to {}, and {} was asked for",
                shortened(path, ADDRESS_MAX),
                self.asked
            )));
        }
        if self.visited.contains(&target) {
            return Err(mismatch("the answer's `next_url` leads back to a page that was read"));
        }
        Ok(target)
    }
}

/// Path and query of a `next_url`, whatever its host: the key goes to the
/// configured host only. A parameter in which the server put the key is left out.
///
/// # Errors
/// [`ErrorKind::Mismatch`] when it is not a URL, [`ErrorKind::Refused`] when it has the
/// key in another place: an address is written into logs on its way.
fn continuation(next_url: &str) -> Result<String> {
    let any_host = Url::parse("http://host.invalid/").expect("a constant URL");
    let url = any_host
        .join(next_url)
        .map_err(|error| mismatch("the answer's `next_url` is not a URL").caused_by(error))?;
    let query: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.to_ascii_lowercase().starts_with("apikey="))
        .collect();
    let target =
        if query.is_empty() { url.path().to_owned() } else { format!("{}?{}", url.path(), query.join("&")) };
    if secret::is_in(&target) {
        // It would come again with every try.
        return Err(Error::new(
            ErrorKind::Refused,
            "the answer's `next_url` holds the key, so it is not followed",
        )
        .hint("check `base_url`: the API does not repeat keys, a proxy may"));
    }
    Ok(target)
}

fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// Whether the path `next` goes on with `asked`, which the catalogue has as `template`:
/// all of it is the same but where pages of bars begin, and how it is written.
fn goes_on(template: &str, asked: &str, next: &str) -> bool {
    let names: Vec<&str> = template.split('/').collect();
    let segments = |path: &str| -> Vec<String> {
        path.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
    };
    let (asked, next) = (segments(asked), segments(next));
    let is_same = |((name, asked), next): ((&&str, &String), &String)| match *name {
        "{ticker}" => is_same_ticker(asked, next),
        "{from}" => !next.is_empty(),
        "{to}" => is_same_day(asked, next),
        // The vendor's specification names pages of a v1 below vX.
        _ => asked == next || (is_version(asked) && is_version(next)),
    };
    asked.len() == names.len()
        && next.len() == names.len()
        && names.iter().zip(&asked).zip(&next).all(is_same)
}

/// `v1`, `v3`, `vX`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|number| {
        number == "X" || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether the last day of a request is said in another way, in milliseconds: an earlier
/// one would cut off the rows after it. The vendor's days are New York's or UTC's.
fn is_same_day(asked: &str, next: &str) -> bool {
    let moment = || next.parse().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let is_of = |moment: Timestamp| {
        [calendar::day_of(moment), TimeZone::UTC.to_datetime(moment).date()]
            .iter()
            .any(|day| day.to_string() == asked)
    };
    asked == next || moment().is_some_and(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::STREAMS;
    use crate::secret::Secret;

    #[test]
    fn a_next_url_keeps_path_and_query_only() {
        for (next_url, target) in [
            ("https://api.massive.com:443/v3/trades/A?cursor=YXA9", "/v3/trades/A?cursor=YXA9"),
            ("https://evil.example/v3/trades/A?apiKey=k&cursor=x&apikey=k", "/v3/trades/A?cursor=x"),
            ("/v3/reference/tickers?cursor=1", "/v3/reference/tickers?cursor=1"),
            ("https://user:pw@host/a?b#c", "/a?b"),
        ] {
            assert_eq!(continuation(next_url).unwrap(), target);
        }
        assert_eq!(continuation("https://[").unwrap_err().kind(), ErrorKind::Mismatch);
        let key = Secret::new("k-client.rs+0123456789");
        for target in ["/v3/a?token=k-client.rs%2b0123456789", "/k-client.rs+0123456789?cursor=x"] {
            let error = continuation(target).unwrap_err().user_message();
            assert!(error.contains("holds the key") && !error.contains(key.expose()), "{error}");
        }
    }

    fn follow(name: &str, asked: &str, next_url: &str) -> Result<String> {
        let spec = STREAMS.iter().find(|spec| spec.name == name).unwrap();
        let mut trail = Trail::new(spec, asked);
        trail.visit(asked);
        trail.follow(next_url)
    }

    const BARS: &str = "/v2/aggs/ticker/AAPL/range/1/day/2020-01-03/2020-01-10?adjusted=false";

    /// The first of each is from the vendor's specification.
    #[test]
    fn the_same_endpoint_is_followed_as_the_vendor_writes_it() {
        for (name, asked, next) in [
            (
                "stock_bars",
                BARS,
                "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-10?cursor=bGltaXQ9Mg",
            ),
            (
                "stock_bars",
                BARS,
                "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/1578718799999?cursor=bGltaXQ9Mg",
            ),
            (
                "stock_bars",
                BARS,
                "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/1578614400000?cursor=bGltaXQ9Mg",
            ),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/trades/AAPL?cursor=YWN0aXZlPXRydWU"),
            ("stock_trades", "/v3/trades/O%3ASPY%20X?limit=2", "/v3/trades/O:SPY%20X?cursor=YWN0aXZlPXRydWU"),
            ("stock_trades", "/v3/trades/aapl?limit=2", "/v3/trades/AAPL?cursor=YWN0aXZlPXRydWU"),
            ("news", "/v2/reference/news?limit=1", "/v2/reference/news?cursor=eyJsaW1pdCI6MX0"),
            ("tickers", "/v3/reference/tickers?active=true", "/v3/reference/tickers?cursor=YWN0aXZlPXRydWU"),
            ("splits", "/stocks/v1/splits?limit=5", "/stocks/vX/splits?cursor=YXA9MjU"),
        ] {
            let next_url = format!("https://api.massive.com:443{next}");
            assert_eq!(follow(name, asked, &next_url).unwrap(), next);
        }
    }

    #[test]
    fn another_endpoint_ticker_or_end_is_not_followed() {
        for (name, asked, next) in [
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/trades/MSFT?cursor=x"),
            ("stock_trades", "/v3/trades/KIMpL?limit=2", "/v3/trades/KIMPL?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/quotes/AAPL?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/trades?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/trades/AAPL/AAPL?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v3/trades/AAPL/../MSFT?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "?cursor=x"),
            ("stock_trades", "/v3/trades/AAPL?limit=2", "/v/trades/AAPL?cursor=x"),
            ("tickers", "/v3/reference/tickers?active=true", "/v3/reference/tickers/AAPL?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/MSFT/range/1/day/1578114000000/2020-01-10?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/AAPL/range/5/day/1578114000000/2020-01-10?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/AAPL/range/1/minute/1578114000000/2020-01-10?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-09?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/1578546000000?cursor=x"),
            ("stock_bars", BARS, "/v2/aggs/ticker/AAPL/range/1/day//2020-01-10?cursor=x"),
        ] {
            let error = follow(name, asked, next).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{next}");
            let says = format!("and {} was asked for", path_of(asked));
            assert!(error.to_string().contains(&says), "{next}: {error}");
        }
        let long = follow("news", "/v2/reference/news", &format!("/{}", "x".repeat(10_000))).unwrap_err();
        assert!(long.to_string().len() < 400, "{long}");
    }

    #[test]
    fn the_way_does_not_lead_back() {
        let asked = "/v3/trades/AAPL?limit=2";
        let error = follow("stock_trades", asked, &format!("https://h.example{asked}&apiKey=k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(error.to_string().contains("leads back to a page that was read"), "{error}");
    }
}
