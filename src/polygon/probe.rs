//! What a key may read, found out with few requests.

use super::rows::transcoder;
use jiff::civil::Date;
use serde::Deserialize;

use super::Probe;
use super::client::{Client, Intake};
use super::page::{Asked, PageReader, is_same_ticker, other_ticker};
use super::request::{Values, target};
use crate::calendar;
use crate::catalog::{BarSize, Capability, STREAMS, Stream, StreamSpec, streams};
use crate::config::source::Plan;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Tickers that are looked up on a plan that limits requests by the minute; with
/// the other probes they stay within its five.
const TICKERS_PROBED_FREE: usize = 1;
/// And on others.
const TICKERS_PROBED: usize = 20;

/// The ticker of probes when none is configured.
const PROBE_TICKER: &str = "AAPL";

/// Tries the key: whether it is one, what it lacks, whether the tickers exist.
pub(super) async fn probe(client: &Client, today: Date) -> Result<Probe> {
    let config = client.config();
    let holidays = spec("market_holidays");
    ask(client, holidays, holidays.path, None).await?;
    let is_free = matches!(config.plan, Plan::Free {});
    let tickers = if is_free { TICKERS_PROBED_FREE } else { TICKERS_PROBED };
    for ticker in config.tickers.iter().take(tickers) {
        ticker_exists(client, ticker).await?;
    }
    let mut lacking = Vec::new();
    let day = calendar::previous_trading_day(config.end_date.unwrap_or(today).min(today));
    let ticker = config.tickers.first().map_or(PROBE_TICKER, |ticker| &**ticker);
    for capability in [Capability::IntradayBars, Capability::Trades] {
        let spec = spec_needing(capability);
        let path = small(spec, ticker, config.adjusted, day);
        match ask(client, spec, &path, Some(ticker)).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotEntitled | ErrorKind::NotYet) => {
                let named = needing(capability, &streams(&config.bar_sizes));
                let message = error.user_message();
                lacking.extend(named.map(|name| (name, Error::new(error.kind(), message.clone()))));
            }
            // Whether a day or ticker has data is not what is asked here.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Refused) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Probe { lacking })
}

/// A request for one row of a day, for each capability that plans differ in.
fn small(spec: &StreamSpec, ticker: &str, adjusted: bool, day: Date) -> String {
    let values = Values {
        ticker: Some(ticker),
        size: Some(any_size()),
        adjusted,
        from: Some(day),
        to: Some(day),
        ..Values::default()
    };
    target(spec, &values).replace("limit=50000", "limit=1")
}

fn any_size() -> BarSize {
    "1minute".parse().expect("a bar size")
}

fn spec(name: &str) -> &'static StreamSpec {
    STREAMS.iter().find(|spec| spec.name == name).expect("an entry of the catalogue")
}

fn spec_needing(capability: Capability) -> &'static StreamSpec {
    STREAMS.iter().find(|spec| spec.needs == capability).expect("each capability is some stream's")
}

fn needing(capability: Capability, streams: &[Stream]) -> impl Iterator<Item = String> + use<> {
    let names: Vec<String> = streams
        .iter()
        .filter(|stream| stream.needs() == capability)
        .map(|stream| stream.name.clone())
        .collect();
    names.into_iter()
}

/// Asks for an answer, which is judged as when its stream is read, and leaves out its rows.
async fn ask(client: &Client, spec: &'static StreamSpec, target: &str, ticker: Option<&str>) -> Result<()> {
    client.fetch(target, None, &mut reader(spec, ticker)).await.map(drop)
}

fn reader(spec: &'static StreamSpec, ticker: Option<&str>) -> PageReader {
    let is_it = |stream: &Stream| stream.spec.name == spec.name;
    let stream = streams(&[any_size()]).into_iter().find(is_it).expect("an entry of the catalogue");
    let asked = Asked { ticker: ticker.map(str::to_owned), days: None };
    PageReader::new(spec, transcoder(spec, &stream.table, &[]), asked)
}

/// Fails when the reference knows no such ticker, neither listed nor delisted.
pub(super) async fn ticker_exists(client: &Client, ticker: &str) -> Result<()> {
    let details = spec("ticker_details");
    let target = target(details, &Values { ticker: Some(ticker), ..Values::default() });
    match ask(client, details, &target, Some(ticker)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    last_day(client, ticker).await.map(drop)
}

/// The last day of a ticker that the reference lists as delisted; none when it does not
/// say since when, or lists it as active.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it does not list it at all.
pub(super) async fn last_day(client: &Client, ticker: &str) -> Result<Option<Date>> {
    let encoded = percent_encoding::utf8_percent_encode(ticker, percent_encoding::NON_ALPHANUMERIC);
    for active in [false, true] {
        let target = format!("/v3/reference/tickers?ticker={encoded}&active={active}&limit=1000");
        let listed = client.fetch(&target, None, &mut Listings::of(ticker)).await?;
        if !listed.is_empty() {
            // A symbol that was used again was delisted more than once.
            return Ok(listed.into_iter().filter_map(|listing| listing.last_day()).max());
        }
    }
    Err(no_such_ticker(ticker))
}

pub(super) fn no_such_ticker(ticker: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`tickers` names {ticker:?}, which does not exist"))
        .hint("symbols are case-sensitive and written as the vendor writes them, such as BRK.B")
}

/// An entry of the list of tickers.
#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default)]
    ticker: Option<String>,
    #[serde(default)]
    delisted_utc: Option<String>,
}

impl Listing {
    /// The day as it is written: the vendor's "last date that it was traded".
    fn last_day(&self) -> Option<Date> {
        self.delisted_utc.as_ref()?.get(..10)?.parse().ok()
    }
}

/// Takes the rows of a list of tickers of which one was asked for. It is judged as any other
/// answer: one that lacks the row that it counts does not say that there is no such ticker,
/// and one of other tickers says nothing of it.
struct Listings<'a> {
    ticker: &'a str,
    reader: PageReader,
}

impl<'a> Listings<'a> {
    fn of(ticker: &'a str) -> Self {
        Self { ticker, reader: reader(spec("tickers"), None) }
    }
}

impl Intake for Listings<'_> {
    type Output = Vec<Listing>;

    fn begin(&mut self) {
        self.reader.begin();
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.reader.take(piece)
    }

    fn end(&mut self) -> Result<Vec<Listing>> {
        let answer = self.reader.end()?;
        let listing = |row| -> Result<Listing> {
            let listing: Listing =
                serde_json::from_slice(row).or_fail(ErrorKind::Bug, || "a row is no JSON".to_owned())?;
            match listing.ticker.as_deref() {
                Some(ticker) if is_same_ticker(self.ticker, ticker) => Ok(listing),
                other => Err(other_ticker(self.ticker, other.unwrap_or("no ticker"))),
            }
        };
        answer.rows.iter().map(listing).collect()
    }
}
