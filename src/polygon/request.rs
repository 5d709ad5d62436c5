//! A slice's first request: the catalogue's path and query with their
//! placeholders filled in.

use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::calendar;
use crate::catalog::{BarSize, StreamSpec};

/// What RFC 3986 leaves unreserved. Tickers hold `:`, `/`-like and blank characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What placeholders stand for. Absent ones leave their query parameter out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub ticker: Option<&'a str>,
    pub value: Option<&'a str>,
    pub size: Option<BarSize>,
    pub adjusted: bool,
    pub from: Option<Date>,
    pub to: Option<Date>,
    /// Takes the place of the lower bound: see [`StreamSpec::resume`].
    pub resume: Option<&'a str>,
}

impl Values<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let midnight = |date: Date| calendar::day_start(date);
        let day_after = |date: Date| date.tomorrow().unwrap_or(date);
        match name {
            "resume" => self.resume.map(str::to_owned),
            "from" | "from_ns" | "from_utc" if self.resume.is_some() => self.resume.map(str::to_owned),
            "ticker" => self.ticker.map(str::to_owned),
            "value" => self.value.map(str::to_owned),
            "multiplier" => self.size.map(|size| size.multiplier.to_string()),
            "timespan" => self.size.map(|size| size.timespan.as_str().to_owned()),
            "adjusted" => Some(self.adjusted.to_string()),
            "date" | "from" => self.from.map(|date| date.to_string()),
            "to" => self.to.map(|date| date.to_string()),
            "from_ns" => self.from.map(|date| midnight(date).as_nanosecond().to_string()),
            "until_ns" => self.to.map(|date| midnight(day_after(date)).as_nanosecond().to_string()),
            "from_utc" => self.from.map(|date| midnight(date).to_string()),
            "until_utc" => self.to.map(|date| midnight(day_after(date)).to_string()),
            _ => unreachable!("the catalogue's test knows every placeholder"),
        }
    }

    /// `template` with its placeholders replaced, percent-encoded; `None` when one
    /// of them has no value.
    fn fill(&self, template: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, tail)) = rest.split_once('{') {
            let (name, after) = tail.split_once('}')?;
            text.push_str(before);
            text.extend(utf8_percent_encode(&self.get(name)?, UNRESERVED));
            rest = after;
        }
        text.push_str(rest);
        Some(text)
    }
}

/// Path and query of a request.
pub(super) fn target(spec: &StreamSpec, values: &Values<'_>) -> String {
    let mut target = values.fill(spec.path).expect("the planner fills every placeholder of a path");
    let mut separator = '?';
    for (name, template) in spec.query {
        if let Some(value) = values.fill(template) {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.push_str(&value);
            separator = '&';
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::catalog::STREAMS;

    fn spec(name: &str) -> &'static StreamSpec {
        STREAMS.iter().find(|spec| spec.name == name).unwrap()
    }

    #[test]
    fn tickers_are_encoded_and_bounds_are_new_yorks() {
        let values = Values {
            ticker: Some("KE:BF H7"),
            from: Some(date(2024, 3, 8)),
            to: Some(date(2024, 3, 10)),
            ..Values::default()
        };
        // The 10th of March 2024 has 23 hours in New York.
        assert_eq!(
            target(spec("stock_trades"), &values),
            "/v3/trades/KE%3ABF%20H7?timestamp.gte=1709874000000000000&timestamp.lt=1710129600000000000&order=asc&sort=timestamp&limit=50000"
        );
    }

    #[test]
    fn an_open_window_has_no_upper_bound() {
        let values = Values { from: Some(date(2024, 1, 2)), ..Values::default() };
        assert_eq!(
            target(spec("splits"), &values),
            "/stocks/v1/splits?execution_date.gte=2024-01-02&sort=execution_date.asc,ticker.asc&limit=5000"
        );
    }

    #[test]
    fn a_request_goes_on_from_a_row() {
        let days = Values { from: Some(date(2024, 1, 2)), to: Some(date(2024, 1, 3)), ..Values::default() };
        let of = |name, values| target(spec(name), &Values { ticker: Some("A"), ..values });
        assert!(
            of("stock_trades", Values { resume: Some("17"), ..days })
                .contains("?timestamp.gte=17&timestamp.lt=1")
        );
        let size = Some("1minute".parse().unwrap());
        let bars = of("stock_bars", Values { resume: Some("17"), size, ..days });
        assert!(bars.starts_with("/v2/aggs/ticker/A/range/1/minute/17/2024-01-03?"), "{bars}");
        let tickers = Values { value: Some("true"), ..Values::default() };
        assert!(!of("tickers", tickers).contains("ticker.gte"));
        assert!(of("tickers", Values { resume: Some("BRK.B"), ..tickers }).contains("&ticker.gte=BRK.B&"));
    }

    #[test]
    fn details_are_of_now_or_of_a_day() {
        let now = Values { ticker: Some("A"), ..Values::default() };
        assert_eq!(target(spec("ticker_details"), &now), "/v3/reference/tickers/A");
        let then = Values { from: Some(date(2022, 6, 8)), ..now };
        assert_eq!(target(spec("ticker_details"), &then), "/v3/reference/tickers/A?date=2022-06-08");
    }

    #[test]
    fn every_placeholder_of_the_catalogue_is_known() {
        let values = Values {
            ticker: Some("A"),
            value: Some("true"),
            size: Some("1minute".parse().unwrap()),
            adjusted: false,
            from: Some(date(2024, 1, 2)),
            to: Some(date(2024, 1, 3)),
            resume: Some("A"),
        };
        for spec in STREAMS {
            assert!(!target(spec, &values).contains(['{', '}']), "{}", spec.name);
        }
    }
}
