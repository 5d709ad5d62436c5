//! The configuration of the Polygon source.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::calendar;
use crate::catalog::BarSize;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Where the API is unless configured otherwise.
pub const DEFAULT_BASE_URL: &str = "https://api.massive.com";

/// The first day that the API has stock data for [vendor documentation].
const FIRST_DAY: Date = jiff::civil::date(2003, 9, 10);

/// More tickers than there are are a mistake, and bound the size of the state.
const TICKERS_MAX: usize = 20_000;

/// What messages call it.
const WHAT: &str = "the source's configuration";

/// The configuration as a user writes it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Polygon.io (Massive) source", description = "Where the API is, and what to read of it.")]
pub struct RawSourceConfig {
    /// Key of your Polygon.io (now Massive) account. It is sent in the Authorization header only.
    #[schemars(title = "API key", extend("order" = 0))]
    pub api_key: Secret,

    /// What your account may do: it sets how fast requests are sent.
    #[serde(default)]
    #[schemars(title = "Plan", extend("order" = 1, "default" = {"type": "free"}))]
    pub plan: RawPlan,

    /// First trading day to read, in New York, inclusive.
    #[schemars(
        title = "Start date",
        extend("order" = 2, "format" = "date", "pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
               "pattern_descriptor" = "YYYY-MM-DD", "examples" = ["2024-01-02"])
    )]
    pub start_date: String,

    /// Last trading day to read, in New York, inclusive. Leave it out to follow the clock.
    #[serde(default)]
    #[schemars(
        title = "End date",
        extend("order" = 3, "format" = "date", "pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
               "pattern_descriptor" = "YYYY-MM-DD", "examples" = ["2024-06-28"])
    )]
    pub end_date: Option<String>,

    /// Ticker symbols, case-sensitive, for the streams that are read ticker by ticker.
    #[serde(default)]
    #[schemars(title = "Tickers", extend("order" = 4, "examples" = [["AAPL", "BRK.B"]]))]
    pub tickers: Vec<String>,

    /// Sizes of bars; each is a stream of its own, such as stock_bars_1_minute.
    #[serde(default = "default_bar_sizes")]
    #[schemars(title = "Bar sizes", inner(regex(pattern = BarSize::PATTERN)), extend("order" = 5, "examples" = [["1minute", "1day"]]))]
    pub bar_sizes: Vec<String>,

    /// Whether bars are adjusted for splits. Raw bars never change when a split happens; adjusted ones all do.
    #[serde(default)]
    #[schemars(title = "Adjust for splits", extend("order" = 6))]
    pub adjusted: bool,

    /// Address of the API. Change it only for a proxy or a simulator.
    #[serde(default = "default_base_url")]
    #[schemars(title = "Base URL", extend("order" = 7, "pattern" = "^https?://.+", "examples" = [DEFAULT_BASE_URL]))]
    pub base_url: String,
}

/// What a key may do.
// Where it is only a name, `plan: free` is `plan: {type: free}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "Plan")]
pub enum RawPlan {
    /// The free plan: 5 requests in any 60 seconds, and a day's data after its end.
    #[schemars(title = "Free")]
    Free {},
    /// A paid plan: up to 100 requests a second, as the vendor recommends.
    #[schemars(title = "Paid")]
    Paid {},
    /// A limit of your own.
    #[schemars(title = "Custom")]
    Custom {
        /// Requests in any 60 seconds.
        #[schemars(title = "Requests per minute", range(min = 1), extend("examples" = [300]))]
        requests_per_minute: u32,
    },
}

/// The fields of a plan: read one by one, so that a mistake is told of its own field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFields {
    #[serde(rename = "type")]
    kind: PlanKind,
    requests_per_minute: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlanKind {
    Free,
    Paid,
    Custom,
}

impl<'de> Deserialize<'de> for RawPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlanVisitor)
    }
}

struct PlanVisitor;

impl<'de> Visitor<'de> for PlanVisitor {
    type Value = RawPlan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("free, paid, or {type: custom, requests_per_minute: 300}")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<RawPlan, E> {
        match name {
            "free" => Ok(RawPlan::Free {}),
            "paid" => Ok(RawPlan::Paid {}),
            // It may be a key in the wrong place: serde's message is shown without the text.
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawPlan, A::Error> {
        let fields = PlanFields::deserialize(MapAccessDeserializer::new(map))?;
        match (fields.kind, fields.requests_per_minute) {
            (PlanKind::Free, None) => Ok(RawPlan::Free {}),
            (PlanKind::Paid, None) => Ok(RawPlan::Paid {}),
            (PlanKind::Custom, Some(requests_per_minute)) => Ok(RawPlan::Custom { requests_per_minute }),
            (PlanKind::Custom, None) => Err(de::Error::missing_field("requests_per_minute")),
            (PlanKind::Free | PlanKind::Paid, Some(_)) => {
                Err(de::Error::custom("`requests_per_minute` belongs to the type `custom` only"))
            }
        }
    }
}

impl Default for RawPlan {
    /// The one that no key breaks.
    fn default() -> Self {
        Self::Free {}
    }
}

/// What a key may do, validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// As in [`RawPlan`].
    Free {},
    /// As in [`RawPlan`].
    Paid {},
    /// As in [`RawPlan`].
    Custom {
        /// Requests in any 60 seconds.
        requests_per_minute: NonZeroU32,
    },
}

impl RawPlan {
    fn validate(self) -> Result<Plan> {
        Ok(match self {
            Self::Free {} => Plan::Free {},
            Self::Paid {} => Plan::Paid {},
            Self::Custom { requests_per_minute } => Plan::Custom {
                requests_per_minute: NonZeroU32::new(requests_per_minute).ok_or_else(|| {
                    Error::config("`plan.requests_per_minute` is 0: nothing could ever be read")
                        .hint("write how many requests the account may send in 60 seconds, 1 or more")
                })?,
            },
        })
    }
}

fn default_bar_sizes() -> Vec<String> {
    vec!["1minute".to_owned(), "1day".to_owned()]
}

fn default_base_url() -> String {
    DEFAULT_BASE_URL.to_owned()
}

/// The configuration, validated.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The key.
    pub api_key: Secret,
    /// Scheme, host and port, and possibly a path prefix, without a trailing slash.
    pub base_url: Url,
    /// What the key may do.
    pub plan: Plan,
    /// First day, inclusive.
    pub start_date: Date,
    /// Last day, inclusive; `None` follows the clock.
    pub end_date: Option<Date>,
    /// Sorted, without duplicates.
    pub tickers: Vec<Arc<str>>,
    /// In the configured order, without duplicates.
    pub bar_sizes: Vec<BarSize>,
    /// Whether bars are adjusted for splits.
    pub adjusted: bool,
}

impl SourceConfig {
    /// Reads a configuration from JSON.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`], naming the field.
    pub fn from_json(value: serde_json::Value, clock: Clock) -> Result<Self> {
        let value = super::without_platform_keys(value);
        let raw: RawSourceConfig = super::parse(value.clone(), WHAT)?;
        super::secrets::assert_apart(&value, WHAT).map_err(|(_, error)| error)?;
        let config = raw.validate(clock)?;
        super::schema::conform::<RawSourceConfig>(&in_full(value.clone()), WHAT)?;
        Ok(config)
    }
}

/// A configuration as its schema has it: with the long form of the plan.
fn in_full(mut value: serde_json::Value) -> serde_json::Value {
    if let Some(plan) = value.get_mut("plan").filter(|plan| plan.is_string()) {
        *plan = serde_json::json!({ "type": plan.take() });
    }
    value
}

impl RawSourceConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`], naming the first field that is wrong.
    pub fn validate(self, clock: Clock) -> Result<SourceConfig> {
        let today = calendar::day_of(clock.now());
        let start_date = parse_date("start_date", &self.start_date)?;
        if start_date > today {
            return Err(Error::config(format!(
                "`start_date` {start_date} is in the future, today is {today}"
            ))
            .hint("choose a past trading day"));
        }
        if start_date < FIRST_DAY {
            return Err(Error::config(format!("`start_date` {start_date} is before the API's first day"))
                .hint(format!("choose {FIRST_DAY} or later")));
        }
        let end_date = self.end_date.as_deref().map(|text| parse_date("end_date", text)).transpose()?;
        if let Some(end_date) = end_date
            && end_date < start_date
        {
            return Err(Error::config(format!("`end_date` {end_date} is before `start_date` {start_date}"))
                .hint("swap them, or leave `end_date` out to follow the clock"));
        }
        if self.api_key.expose().trim().is_empty() {
            return Err(
                Error::config("`api_key` is empty").hint("copy the key from your account's dashboard")
            );
        }
        if !self.api_key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::config(
                "`api_key` holds a character that no key has, such as a space or a line break",
            )
            .hint("copy the key anew"));
        }
        self.api_key.can_be_hidden("`api_key`")?;
        Ok(SourceConfig {
            api_key: self.api_key,
            base_url: parse_base_url(&self.base_url)?,
            plan: self.plan.validate()?,
            start_date,
            end_date,
            tickers: parse_tickers(self.tickers)?,
            bar_sizes: parse_bar_sizes(&self.bar_sizes)?,
            adjusted: self.adjusted,
        })
    }
}

fn parse_date(field: &str, text: &str) -> Result<Date> {
    let well_formed = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    text.parse()
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(|| Error::config(format!("`{field}` {text:?} is not a date")).hint("use YYYY-MM-DD"))
}

fn parse_base_url(text: &str) -> Result<Url> {
    let wrong = |what: &str| {
        Err(Error::config(format!("`base_url` {what}"))
            .hint(format!("use {DEFAULT_BASE_URL}, or the address of your proxy or simulator")))
    };
    let Ok(mut url) = Url::parse(text) else {
        return wrong("is not a URL");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return wrong("is not an http or https address");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not hold a query or fragment");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn parse_tickers(tickers: Vec<String>) -> Result<Vec<Arc<str>>> {
    if tickers.len() > TICKERS_MAX {
        return Err(Error::config(format!(
            "`tickers` holds {} entries, the limit is {TICKERS_MAX}",
            tickers.len()
        ))
        .hint("split them over several connections"));
    }
    for (index, ticker) in tickers.iter().enumerate() {
        let wrong = ticker.is_empty()
            || ticker.len() > 32
            || ticker.trim() != ticker
            || ticker.chars().any(|c| c.is_control() || c == '/' || c == ',');
        if wrong || ticker == "." || ticker == ".." {
            return Err(Error::config(format!("`tickers[{index}]` {ticker:?} is not a ticker symbol"))
                .hint("write one symbol an entry, as the vendor writes it, such as BRK.B"));
        }
    }
    let mut tickers: Vec<Arc<str>> = tickers.into_iter().map(Arc::from).collect();
    tickers.sort();
    tickers.dedup();
    Ok(tickers)
}

fn parse_bar_sizes(sizes: &[String]) -> Result<Vec<BarSize>> {
    let mut parsed = Vec::with_capacity(sizes.len());
    for size in sizes {
        let size = size.parse()?;
        if !parsed.contains(&size) {
            parsed.push(size);
        }
    }
    Ok(parsed)
}
