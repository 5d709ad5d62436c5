//! The catalogue: every stream of the vendor's API as one constant entry. The engine and the
//! sinks know nothing of it.
//!
//! Discover's catalogue, table DDL, decoding, slicing, the docs table and the
//! simulator's truth derive from these entries. An entry is data: an endpoint
//! that does not fit gets a new variant that others can use.

mod bars;
mod check;
mod reference;
mod spec;
mod trades;

pub use bars::{BarSize, Timespan};
pub use spec::{Capability, Change, Derived, Field, Partition, RowsAt, Sizes, StreamSpec, Window};

use std::sync::Arc;

use crate::table::Table;

/// All streams, in the order in which `discover` lists them.
pub const STREAMS: &[&StreamSpec] = &[
    &bars::STOCK_DAILY_BARS,
    &bars::STOCK_BARS,
    &reference::TICKERS,
    &reference::TICKER_DETAILS,
    &reference::SPLITS,
    &reference::DIVIDENDS,
    &trades::STOCK_TRADES,
    &reference::NEWS,
    &reference::MARKET_HOLIDAYS,
    &reference::EXCHANGES,
];

// A key or cursor that is not a column, or two columns of one name, fails the build.
const _: () = check::assert_valid(STREAMS);

/// A stream of the catalogue as a user sees it: one per configured bar size
/// where the entry has sizes, else one per entry.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The entry.
    pub spec: &'static StreamSpec,
    /// `stock_trades`, or with a size `stock_bars_1_minute`.
    pub name: String,
    /// The size of its bars, where it has one.
    pub size: Option<BarSize>,
    /// Its table.
    pub table: Arc<Table>,
}

impl Stream {
    fn new(spec: &'static StreamSpec, size: Option<BarSize>) -> Self {
        let name = match size {
            Some(size) => format!("{}_{}", spec.name, size.suffix()),
            None => spec.name.to_owned(),
        };
        let table = Arc::new(spec.table(&name));
        Self { spec, name, size, table }
    }

    /// What a key needs to read it: bars of a day or longer are in every plan.
    pub fn needs(&self) -> Capability {
        match self.size {
            Some(size) if !size.timespan.is_intraday() => Capability::Basic,
            _ => self.spec.needs,
        }
    }
}

/// The streams that a configuration with these bar sizes has.
pub fn streams(sizes: &[BarSize]) -> Vec<Stream> {
    let mut streams = Vec::new();
    for spec in STREAMS {
        match spec.sizes {
            Sizes::None => streams.push(Stream::new(spec, None)),
            Sizes::Bars => streams.extend(sizes.iter().map(|size| Stream::new(spec, Some(*size)))),
        }
    }
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sized_streams_follow_the_configuration() {
        let sizes = ["1minute", "1day"].map(|size| size.parse().unwrap());
        let names: Vec<_> = streams(&sizes).into_iter().map(|stream| stream.name).collect();
        assert!(names.contains(&"stock_bars_1_minute".to_owned()));
        assert!(names.contains(&"stock_bars_1_day".to_owned()));
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }
}
