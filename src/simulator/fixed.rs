//! What hardly changes: exchanges, and the coming holidays.

use jiff::ToSpan;
use jiff::civil::Date;

use crate::calendar::{self, Holiday, HolidayKind};

use super::columns::{Columns, Fact, MomentForm};

/// An exchange, reporting facility or SIP.
pub struct Exchange {
    id: i64,
    kind: &'static str,
    pub asset_class: &'static str,
    pub locale: &'static str,
    name: &'static str,
    /// Acronym, MIC and participant id; empty where there is none.
    acronym: &'static str,
    mic: &'static str,
    operating_mic: &'static str,
    participant: &'static str,
    url: &'static str,
}

const fn us(
    id: i64,
    kind: &'static str,
    name: &'static str,
    [acronym, mic, operating_mic, participant]: [&'static str; 4],
    url: &'static str,
) -> Exchange {
    Exchange {
        id,
        kind,
        asset_class: "stocks",
        locale: "us",
        name,
        acronym,
        mic,
        operating_mic,
        participant,
        url,
    }
}

const fn coins(id: i64, name: &'static str, url: &'static str) -> Exchange {
    Exchange {
        id,
        kind: "exchange",
        asset_class: "crypto",
        locale: "global",
        name,
        acronym: "",
        mic: "",
        operating_mic: "",
        participant: "",
        url,
    }
}

/// Those that the vendor lists for stocks, and some of another class.
#[rustfmt::skip]
pub const EXCHANGES: &[Exchange] = &[
    us(1, "exchange", "NYSE American, LLC", ["AMEX", "XASE", "XNYS", "A"], "https://www.nyse.com/markets/nyse-american"),
    us(2, "exchange", "Nasdaq OMX BX, Inc.", ["", "XBOS", "XNAS", "B"], "https://www.nasdaq.com/solutions/nasdaq-bx-stock-market"),
    us(3, "exchange", "NYSE National, Inc.", ["NSX", "XCIS", "XNYS", "C"], "https://www.nyse.com/markets/nyse-national"),
    us(4, "TRF", "FINRA NYSE TRF", ["", "FINY", "XNYS", "D"], "https://www.finra.org"),
    us(4, "TRF", "FINRA Nasdaq TRF Carteret", ["", "FINN", "FINR", "D"], "https://www.finra.org"),
    us(4, "TRF", "FINRA Nasdaq TRF Chicago", ["", "FINC", "FINR", "D"], "https://www.finra.org"),
    us(4, "TRF", "FINRA Alternative Display Facility", ["", "XADF", "FINR", "D"], "https://www.finra.org"),
    us(5, "SIP", "Unlisted Trading Privileges", ["", "", "XNAS", "E"], "https://www.utpplan.com"),
    us(6, "TRF", "International Securities Exchange, LLC - Stocks", ["", "XISE", "XNAS", "I"], "https://nasdaq.com/solutions/nasdaq-ise"),
    us(7, "exchange", "Cboe EDGA", ["", "EDGA", "XCBO", "J"], "https://www.cboe.com/us/equities"),
    us(8, "exchange", "Cboe EDGX", ["", "EDGX", "XCBO", "K"], "https://www.cboe.com/us/equities"),
    us(9, "exchange", "NYSE Chicago, Inc.", ["", "XCHI", "XNYS", "M"], "https://www.nyse.com/markets/nyse-chicago"),
    us(10, "exchange", "New York Stock Exchange", ["", "XNYS", "XNYS", "N"], "https://www.nyse.com"),
    us(11, "exchange", "NYSE Arca, Inc.", ["", "ARCX", "XNYS", "P"], "https://www.nyse.com/markets/nyse-arca"),
    us(12, "exchange", "Nasdaq", ["", "XNAS", "XNAS", "T"], "https://www.nasdaq.com"),
    us(13, "SIP", "Consolidated Tape Association", ["", "", "XNYS", "S"], "https://www.nyse.com/data/cta"),
    us(14, "exchange", "Long-Term Stock Exchange", ["", "LTSE", "LTSE", "L"], "https://www.ltse.com"),
    us(15, "exchange", "Investors Exchange", ["", "IEXG", "IEXG", "V"], "https://www.iextrading.com"),
    us(16, "TRF", "Cboe Stock Exchange", ["", "CBSX", "XCBO", "W"], "https://www.cboe.com"),
    us(17, "exchange", "Nasdaq Philadelphia Exchange LLC", ["", "XPHL", "XNAS", "X"], "https://www.nasdaq.com/solutions/nasdaq-phlx"),
    us(18, "exchange", "Cboe BYX", ["", "BATY", "XCBO", "Y"], "https://www.cboe.com/us/equities"),
    us(19, "exchange", "Cboe BZX", ["", "BATS", "XCBO", "Z"], "https://www.cboe.com/us/equities"),
    us(20, "exchange", "MIAX Pearl", ["", "EPRL", "MIHI", "H"], "https://www.miaxoptions.com/alerts/pearl-equities"),
    us(21, "exchange", "Members Exchange", ["", "MEMX", "MEMX", "U"], "https://www.memx.com"),
    coins(1, "Coinbase", "https://www.coinbase.com"),
    coins(2, "Bitfinex", "https://www.bitfinex.com"),
    coins(6, "Bitstamp", "https://www.bitstamp.net"),
    coins(23, "Kraken", "https://www.kraken.com"),
];

impl Fact for Exchange {
    fn tell(&self, columns: &mut impl Columns) {
        columns.integer("id", self.id);
        columns.text("type", self.kind);
        columns.text("asset_class", self.asset_class);
        columns.text("locale", self.locale);
        columns.text("name", self.name);
        let optional = [
            ("acronym", self.acronym),
            ("mic", self.mic),
            ("operating_mic", self.operating_mic),
            ("participant_id", self.participant),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            columns.text(name, value);
        }
        columns.text("url", self.url);
    }
}

/// A holiday of one exchange.
pub struct HolidayFact {
    exchange: &'static str,
    holiday: Holiday,
}

/// Days before which a closing outside the rules is announced.
const NOTICE_DAYS: i64 = 7;

/// The holidays that the API lists on a day: the rest of the year, from November
/// on also the next year's; those outside the rules shortly before.
pub fn upcoming(today: Date) -> Vec<HolidayFact> {
    let mut holidays = calendar::holidays(today.year());
    if today.month() >= 11 {
        holidays.extend(calendar::holidays(today.year() + 1));
    }
    let announced = today.saturating_add(NOTICE_DAYS.days());
    holidays.retain(|holiday| {
        let is_sudden = matches!(holiday.name, "National Day of Mourning" | "Hurricane Sandy");
        holiday.date >= today && (!is_sudden || holiday.date <= announced)
    });
    holidays
        .into_iter()
        .flat_map(|holiday| ["NYSE", "NASDAQ"].map(|exchange| HolidayFact { exchange, holiday }))
        .collect()
}

impl HolidayFact {
    /// Exchange and day, the row's key.
    pub fn key(&self) -> (Date, &'static str) {
        (self.holiday.date, self.exchange)
    }
}

impl Fact for HolidayFact {
    fn tell(&self, columns: &mut impl Columns) {
        columns.text("exchange", self.exchange);
        columns.text("name", self.holiday.name);
        columns.date("date", self.holiday.date);
        match self.holiday.kind {
            HolidayKind::Closed => columns.text("status", "closed"),
            HolidayKind::EarlyClose => {
                columns.text("status", "early-close");
                if let Some(session) = calendar::session(self.holiday.date) {
                    columns.moment("open", session.open, MomentForm::Millis);
                    columns.moment("close", session.close, MomentForm::Millis);
                }
            }
        }
    }
}
