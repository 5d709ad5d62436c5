//! Query strings: filters with their operators, limits, and the vendor's cursors.
//!
//! A cursor is the base64url text, without padding, of a query string: the
//! parameters of the first request and the place where the page ended.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::civil::Date;
use url::form_urlencoded;

use super::page::Refusal;

/// The parameters of a request; those in its cursor, when it has one.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    /// Whether it goes on from an earlier page.
    pub is_continuation: bool,
}

/// What a field must be to pass the filters on it.
#[derive(Debug)]
pub struct Bounds<T> {
    any_of: Option<Vec<T>>,
    gt: Option<T>,
    gte: Option<T>,
    lt: Option<T>,
    lte: Option<T>,
}

impl<T: PartialOrd> Bounds<T> {
    /// Whether a value passes.
    pub fn admit(&self, value: &T) -> bool {
        self.any_of.as_ref().is_none_or(|values| values.contains(value))
            && self.gt.as_ref().is_none_or(|bound| value > bound)
            && self.gte.as_ref().is_none_or(|bound| value >= bound)
            && self.lt.as_ref().is_none_or(|bound| value < bound)
            && self.lte.as_ref().is_none_or(|bound| value <= bound)
    }

    /// Whether a value that can be absent passes: it does not where there is a filter.
    pub fn admit_option(&self, value: Option<&T>) -> bool {
        let is_open = self.any_of.is_none()
            && self.gt.is_none()
            && self.gte.is_none()
            && self.lt.is_none()
            && self.lte.is_none();
        value.map_or(is_open, |value| self.admit(value))
    }
}

impl Query {
    /// The parameters of a raw query string.
    ///
    /// # Errors
    /// A cursor that is none.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        let Some((_, cursor)) = pairs.iter().find(|(name, _)| name == "cursor") else {
            return Ok(Self { pairs, is_continuation: false });
        };
        let decoded = URL_SAFE_NO_PAD
            .decode(cursor)
            .map_err(|_| Refusal::bad("The parameter 'cursor' is not valid"))?;
        Ok(Self { pairs: form_urlencoded::parse(&decoded).into_owned().collect(), is_continuation: true })
    }

    /// The value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Any other word.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(default),
            Some("true" | "True" | "1") => Ok(true),
            Some("false" | "False" | "0") => Ok(false),
            Some(_) => Err(Refusal::bad(format!("The parameter '{name}' must be true or false"))),
        }
    }

    /// The page size.
    ///
    /// # Errors
    /// What is not a number from 1 to `maximum`.
    pub fn limit(&self, default: usize, maximum: usize) -> Result<usize, Refusal> {
        let Some(text) = self.get("limit") else {
            return Ok(default);
        };
        let limit = text.parse().ok().filter(|limit| (1..=maximum).contains(limit));
        limit.ok_or_else(|| {
            Refusal::bad(format!("The parameter 'limit' must be a number from 1 to {maximum}"))
        })
    }

    /// Whether the order is descending.
    ///
    /// # Errors
    /// What is neither `asc` nor `desc`.
    pub fn descending(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(default),
            // The vendor's own cursors hold the long words.
            Some("asc" | "ascending") => Ok(false),
            Some("desc" | "descending") => Ok(true),
            Some(_) => Err(Refusal::bad(format!("The parameter '{name}' must be 'asc' or 'desc'"))),
        }
    }

    /// One of some words.
    ///
    /// # Errors
    /// Any other word.
    pub fn one_of(&self, name: &str, words: &[&'static str]) -> Result<&'static str, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(words[0]);
        };
        let found = words.iter().copied().find(|word| *word == text);
        found.ok_or_else(|| {
            Refusal::bad(format!("The parameter '{name}' must be one of {}", words.join(", ")))
        })
    }

    /// A filter that is an equality.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    /// The filters on a field: `field`, `field.any_of`, `field.gt` and so on.
    ///
    /// # Errors
    /// A value that `parse` does not take.
    pub fn bounds<T>(&self, field: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Bounds<T>, Refusal> {
        let read = |name: &str, text: &str| {
            parse(text).ok_or_else(|| {
                Refusal::bad(format!("The parameter '{name}' has a value that cannot be read"))
            })
        };
        let one = |suffix: &str| {
            let name = format!("{field}{suffix}");
            self.get(&name).map(|text| read(&name, text)).transpose()
        };
        let many = format!("{field}.any_of");
        let any_of = match self.get(&many) {
            Some(list) => Some(list.split(',').map(|text| read(&many, text)).collect::<Result<Vec<_>, _>>()?),
            None => one("")?.map(|value| vec![value]),
        };
        Ok(Bounds { any_of, gt: one(".gt")?, gte: one(".gte")?, lt: one(".lt")?, lte: one(".lte")? })
    }

    /// The filters on a date.
    ///
    /// # Errors
    /// What is not `YYYY-MM-DD`.
    pub fn date_bounds(&self, field: &str) -> Result<Bounds<Date>, Refusal> {
        self.bounds(field, |text| text.parse().ok())
    }

    /// The filters on a text.
    ///
    /// # Errors
    /// None: any text is one.
    pub fn text_bounds(&self, field: &str) -> Result<Bounds<String>, Refusal> {
        self.bounds(field, |text| Some(text.to_owned()))
    }

    /// The span of moments, in nanoseconds and both inclusive, that the filters
    /// on a time leave. `parse` gives the first and the last nanosecond of a
    /// value: a date is a whole day.
    ///
    /// # Errors
    /// A value that `parse` does not take.
    pub fn span(
        &self,
        field: &str,
        parse: impl Fn(&str) -> Option<(i64, i64)>,
    ) -> Result<(i64, i64), Refusal> {
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        for (name, text) in &self.pairs {
            let Some(operator) = name.strip_prefix(field) else {
                continue;
            };
            if !matches!(operator, "" | ".gt" | ".gte" | ".lt" | ".lte") || text.is_empty() {
                continue;
            }
            let (first, last) = parse(text).ok_or_else(|| {
                Refusal::bad(format!("The parameter '{name}' has a value that cannot be read"))
            })?;
            match operator {
                ".gte" => low = low.max(first),
                ".gt" => low = low.max(last.saturating_add(1)),
                ".lte" => high = high.min(last),
                ".lt" => high = high.min(first.saturating_sub(1)),
                _ => (low, high) = (low.max(first), high.min(last)),
            }
        }
        Ok((low, high))
    }

    /// The cursor of the next page: these parameters with `place` put in, in
    /// alphabetical order as the vendor has them. The key never gets in.
    pub fn cursor(&self, place: &[(&str, String)], dropped: &[&str]) -> String {
        let mut pairs: Vec<(&str, &str)> = self
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| *name != "apiKey" && !dropped.contains(name))
            .filter(|(name, _)| place.iter().all(|(placed, _)| placed != name))
            .collect();
        pairs.extend(place.iter().map(|(name, value)| (*name, value.as_str())));
        pairs.sort_unstable();
        URL_SAFE_NO_PAD.encode(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_the_vendors() {
        let query = Query::parse("sort=asc&limit=2&apiKey=secret").unwrap();
        assert_eq!(query.cursor(&[], &[]), "bGltaXQ9MiZzb3J0PWFzYw");
        let recorded = "YWN0aXZlPXRydWUmZGF0ZT0yMDIyLTA0LTI3JmxpbWl0PTImb3JkZXI9YXNjJnBhZ2VfbWFya2VyPUFBJTdDZjEyMmJjYmY4YWQwNzRmZmJlMTZmNjkxOWQ0ZDc3NjZlMzA3MWNmNmU1Nzg3OGE0OGU1NjQ1YzQyM2U3NzJhOSZzb3J0PXRpY2tlcg";
        let query = Query::parse(&format!("cursor={recorded}")).unwrap();
        assert!(query.is_continuation);
        assert_eq!(query.get("date"), Some("2022-04-27"));
        assert!(query.get("page_marker").unwrap().starts_with("AA|"));
        assert_eq!(query.cursor(&[], &[]), recorded);
        assert!(Query::parse("cursor=%21").is_err());
    }

    #[test]
    fn filters_admit_what_they_say() {
        let query = Query::parse("day.gte=2024-01-02&day.lt=2024-01-05&ticker.any_of=A,B").unwrap();
        let days = query.date_bounds("day").unwrap();
        let admitted = |text: &str| days.admit(&text.parse().unwrap());
        assert!(admitted("2024-01-02") && admitted("2024-01-04"));
        assert!(!admitted("2024-01-01") && !admitted("2024-01-05"));
        assert!(!days.admit_option(None));
        let tickers = query.text_bounds("ticker").unwrap();
        assert!(tickers.admit(&"A".to_owned()) && !tickers.admit(&"C".to_owned()));
        assert!(Query::parse("day=yesterday").unwrap().date_bounds("day").is_err());
        assert!(Query::parse("limit=1001").unwrap().limit(10, 1000).is_err());
        assert!(Query::parse("limit=0").unwrap().limit(10, 1000).is_err());
    }
}
