//! Trades of stocks.

use super::spec::{Capability, Change, Derived, Field, Partition, RowsAt, Sizes, StreamSpec, Window};
use crate::mode::WriteMode;
use crate::table::TimeUnit;

/// Every trade of the configured tickers.
pub const STOCK_TRADES: StreamSpec = StreamSpec {
    name: "stock_trades",
    doc: "Every trade of the configured tickers, cancelled ones included and flagged.",
    path: "/v3/trades/{ticker}",
    query: &[
        ("timestamp.gte", "{from_ns}"),
        ("timestamp.lt", "{until_ns}"),
        ("order", "asc"),
        ("sort", "timestamp"),
        ("limit", "50000"),
    ],
    rows_at: RowsAt::Results,
    counted_by: &["count"],
    resume: Some("sip_timestamp_ns"),
    sizes: Sizes::None,
    partition: Partition::Ticker,
    window: Window::TradingDays(1),
    derived: &[Derived::Ticker],
    fields: &[
        Field::time("sip_timestamp", "sip_timestamp", TimeUnit::Nanos, "When the SIP received the trade."),
        Field::time(
            "participant_timestamp",
            "participant_timestamp",
            TimeUnit::Nanos,
            "When the exchange produced the trade.",
        ),
        Field::time(
            "trf_timestamp",
            "trf_timestamp",
            TimeUnit::Nanos,
            "When the trade reporting facility received it.",
        ),
        Field::price("price", "price", "Price a share, US dollars."),
        Field::size("size", "size", "Shares; whole shares where decimal_size is present."),
        Field::size("decimal_size", "decimal_size", "Shares with their fraction, exactly."),
        Field::integer("exchange", "exchange", "Exchange id, see stream exchanges."),
        Field::text("id", "id", "Trade id, unique for a ticker, exchange and reporting facility."),
        Field::integer(
            "sequence_number",
            "sequence_number",
            "Increasing for a ticker, starts anew each day, not consecutive.",
        ),
        Field::json("conditions", "conditions", "Condition codes."),
        Field::integer(
            "correction",
            "correction",
            "Correction indicator; set when the trade was corrected or cancelled.",
        ),
        Field::integer("tape", "tape", "1 NYSE, 2 NYSE Arca and American, 3 Nasdaq."),
        Field::integer("trf_id", "trf_id", "Trade reporting facility."),
    ],
    key: &["ticker", "sip_timestamp_ns", "sequence_number", "exchange", "id"],
    null_in_key: &["exchange", "id"],
    cursor: Some("sip_timestamp"),
    change: Change::Lookback { days: 2 },
    best_mode: WriteMode::AppendDedup,
    needs: Capability::Trades,
};
