//! The tickers that every simulated market has, with the awkward ones of the
//! real market among them.

use jiff::civil::{Date, date};

use super::days::FIRST_DAY;

/// How much a security is traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Several hundred trades a day.
    Liquid,
    /// Some dozens.
    Normal,
    /// A handful, on some days none.
    Thin,
}

impl Activity {
    /// Lots of the largest usual trade.
    pub fn lots(self) -> i64 {
        match self {
            Self::Liquid => 30,
            Self::Normal => 6,
            Self::Thin => 2,
        }
    }
}

/// A line of the table.
pub struct Named {
    pub symbol: &'static str,
    pub name: &'static str,
    /// Type code; `OTC` in `exchange` makes it an over-the-counter ticker.
    pub kind: &'static str,
    pub exchange: &'static str,
    /// Middle of its price range, US cents.
    pub cents: i64,
    pub activity: Activity,
    pub from: Date,
    /// The last day on which it is traded under the symbol.
    pub until: Option<Date>,
    /// Lines with the same number are one company's: a renamed ticker.
    pub company: u64,
}

use Activity::{Liquid, Normal, Thin};

const fn line(
    symbol: &'static str,
    name: &'static str,
    kind: &'static str,
    exchange: &'static str,
    cents: i64,
    activity: Activity,
) -> Named {
    Named { symbol, name, kind, exchange, cents, activity, from: FIRST_DAY, until: None, company: 0 }
}

impl Named {
    const fn from(mut self, year: i16, month: i8, day: i8) -> Self {
        self.from = date(year, month, day);
        self
    }

    const fn until(mut self, year: i16, month: i8, day: i8) -> Self {
        self.until = Some(date(year, month, day));
        self
    }

    const fn company(mut self, company: u64) -> Self {
        self.company = company;
        self
    }
}

const FACEBOOK: u64 = 1;
const SQUARE: u64 = 2;
const QUINTILES: u64 = 3;

/// The table. A small market takes the first lines, so the awkward ones come early.
#[rustfmt::skip]
pub const NAMED: &[Named] = &[
    line("AAPL", "Apple Inc.", "CS", "XNAS", 19_000, Liquid),
    line("BRK.B", "Berkshire Hathaway Inc. Class B", "CS", "XNYS", 40_000, Normal),
    line("MSFT", "Microsoft Corp", "CS", "XNAS", 42_000, Liquid),
    line("SPY", "SPDR S&P 500 ETF Trust", "ETF", "ARCX", 53_000, Liquid),
    line("BRK.A", "Berkshire Hathaway Inc.", "CS", "XNYS", 60_000_000, Thin),
    line("KIMpL", "Kimco Realty Corporation Depositary Shares, each 1/1000th of Class L Preferred", "PFD", "XNYS", 2_300, Thin).from(2017, 8, 17),
    line("NA", "Nano Labs Ltd American Depositary Shares", "ADRC", "XNAS", 650, Thin).from(2022, 7, 12),
    line("NULL", "Null Hypothesis Holdings \"Class A\"", "CS", "XNYS", 1_234, Thin).from(2015, 3, 2),
    line("nan", "nan Industries, Inc.", "CS", "XASE", 87, Thin).from(2012, 6, 1),
    // A symbol used by two companies, both gone; the second went on as IQV.
    line("Q", "Qwest Communications International Inc.", "CS", "XNYS", 700, Normal).until(2011, 4, 1),
    line("Q", "Quintiles IMS Holdings, Inc.", "CS", "XNYS", 8_000, Normal).from(2013, 5, 9).until(2017, 11, 14).company(QUINTILES),
    line("IQV", "IQVIA Holdings Inc.", "CS", "XNYS", 21_000, Normal).from(2017, 11, 15).company(QUINTILES),
    // META was a fund before the company that was FB took the symbol.
    line("META", "Roundhill Ball Metaverse ETF", "ETF", "ARCX", 1_500, Thin).from(2021, 6, 30).until(2022, 1, 31),
    line("FB", "Facebook, Inc. Class A Common Stock", "CS", "XNAS", 30_000, Liquid).from(2012, 5, 18).until(2022, 6, 8).company(FACEBOOK),
    line("META", "Meta Platforms, Inc. Class A Common Stock", "CS", "XNAS", 45_000, Liquid).from(2022, 6, 9).company(FACEBOOK),
    line("SQ", "Block, Inc.", "CS", "XNYS", 7_000, Normal).from(2015, 11, 19).until(2025, 1, 17).company(SQUARE),
    line("XYZ", "Block, Inc.", "CS", "XNYS", 7_000, Normal).from(2025, 1, 21).company(SQUARE),
    line("TWTR", "Twitter, Inc.", "CS", "XNYS", 4_200, Normal).from(2013, 11, 7).until(2022, 10, 27),
    line("WRK", "WestRock Company", "CS", "XNYS", 4_500, Normal).from(2015, 6, 24).until(2024, 7, 5),
    line("FNMA", "Federal National Mortgage Association", "CS", "OTC", 140, Thin).from(2010, 7, 8),
    line("TCEHY", "Tencent Holdings Ltd. Unsponsored ADR", "ADRC", "OTC", 4_800, Normal),
    line("NVDA", "Nvidia Corp", "CS", "XNAS", 11_000, Liquid),
    line("TSLA", "Tesla, Inc. Common Stock", "CS", "XNAS", 22_000, Liquid).from(2010, 6, 29),
    line("AMZN", "Amazon.Com Inc", "CS", "XNAS", 17_000, Liquid),
    line("GOOGL", "Alphabet Inc. Class A Common Stock", "CS", "XNAS", 16_500, Liquid).from(2004, 8, 19),
    line("GOOG", "Alphabet Inc. Class C Capital Stock", "CS", "XNAS", 16_600, Normal).from(2014, 3, 27),
    line("QQQ", "Invesco QQQ Trust, Series 1", "ETF", "XNAS", 45_000, Liquid),
    line("JPM", "JPMorgan Chase & Co.", "CS", "XNYS", 19_000, Normal),
    line("XOM", "Exxon Mobil Corporation", "CS", "XNYS", 11_000, Normal),
    line("JNJ", "Johnson & Johnson", "CS", "XNYS", 15_000, Normal),
    line("KO", "Coca-Cola Company", "CS", "XNYS", 6_000, Normal),
    line("PG", "Procter & Gamble Company", "CS", "XNYS", 16_000, Normal),
    line("V", "Visa Inc.", "CS", "XNYS", 27_000, Normal).from(2008, 3, 19),
    line("WMT", "Walmart Inc.", "CS", "XNYS", 6_500, Normal),
    line("DIS", "The Walt Disney Company", "CS", "XNYS", 10_500, Normal),
    line("GE", "General Electric Company", "CS", "XNYS", 15_000, Normal),
    line("F", "Ford Motor Company", "CS", "XNYS", 1_200, Normal),
    line("T", "AT&T Inc.", "CS", "XNYS", 1_800, Normal),
    line("C", "Citigroup Inc.", "CS", "XNYS", 6_000, Normal),
    line("A", "Agilent Technologies Inc.", "CS", "XNYS", 13_500, Normal),
    line("AA", "Alcoa Corporation", "CS", "XNYS", 3_800, Normal).from(2016, 11, 1),
    line("NFLX", "NetFlix Inc", "CS", "XNAS", 60_000, Normal),
    line("INTC", "Intel Corp", "CS", "XNAS", 3_300, Normal),
    line("AMD", "Advanced Micro Devices", "CS", "XNAS", 15_500, Normal),
    line("BABA", "Alibaba Group Holding Limited American Depositary Shares", "ADRC", "XNYS", 7_800, Normal).from(2014, 9, 19),
    line("BF.B", "Brown Forman Inc Class B", "CS", "XNYS", 4_700, Thin),
    line("JPMpC", "JPMorgan Chase & Co. Depositary Shares, Series EE", "PFD", "XNYS", 2_500, Thin).from(2019, 1, 24),
    line("GIK.WS", "GigCapital3, Inc. Warrants", "WARRANT", "XNYS", 310, Thin).from(2020, 6, 8).until(2021, 5, 7),
    line("LEH", "Lehman Brothers Holdings Inc.", "CS", "XNYS", 5_500, Normal).until(2008, 9, 17),
    line("FRC", "First Republic Bank", "CS", "XNYS", 11_000, Normal).from(2010, 12, 9).until(2023, 5, 1),
    line("ATVI", "Activision Blizzard, Inc.", "CS", "XNAS", 8_500, Normal).until(2023, 10, 13),
    line("SRCL", "Stericycle Inc", "CS", "XNAS", 5_800, Normal).until(2024, 11, 1),
    line("RDDT", "Reddit, Inc.", "CS", "XNYS", 6_000, Normal).from(2024, 3, 21),
    line("ARM", "Arm Holdings plc American Depositary Shares", "ADRC", "XNAS", 13_000, Normal).from(2023, 9, 14),
    line("LINE", "Lineage, Inc. Common Stock", "CS", "XNAS", 8_200, Normal).from(2024, 7, 25),
    line("GLD", "SPDR Gold Trust, SPDR Gold Shares", "ETF", "ARCX", 21_500, Normal).from(2004, 11, 18),
    line("O", "Realty Income Corporation", "CS", "XNYS", 5_300, Normal),
    line("AGNC", "AGNC Investment Corp. Common Stock", "CS", "XNAS", 970, Normal).from(2008, 5, 15),
    line("SHOP", "Shopify Inc. Class A subordinate voting shares", "CS", "XNYS", 6_500, Normal).from(2015, 5, 21),
    line("CIG.C", "Comp En De Mn Cemig American Depositary Shares", "ADRC", "XNYS", 250, Thin).from(2007, 6, 12),
];

/// Splits that did happen: symbol at the time, day, old shares, new shares in hundredths.
#[rustfmt::skip]
pub const KNOWN_SPLITS: &[(&str, Date, i64, i64)] = &[
    ("AAPL", date(2005, 2, 28), 100, 200),
    ("AAPL", date(2014, 6, 9), 100, 700),
    ("AAPL", date(2020, 8, 31), 100, 400),
    ("NVDA", date(2021, 7, 20), 100, 400),
    ("NVDA", date(2024, 6, 10), 100, 1000),
    ("TSLA", date(2020, 8, 31), 100, 500),
    ("TSLA", date(2022, 8, 25), 100, 300),
    ("AMZN", date(2022, 6, 6), 100, 2000),
    ("GOOGL", date(2022, 7, 18), 100, 2000),
    ("GOOG", date(2022, 7, 18), 100, 2000),
    ("SHOP", date(2022, 6, 29), 100, 1000),
    ("GE", date(2021, 8, 2), 800, 100),
    ("C", date(2011, 5, 9), 1000, 100),
    ("WMT", date(2024, 2, 26), 100, 300),
    ("CIG.C", date(2022, 5, 2), 300, 400),
    ("BRK.B", date(2010, 1, 21), 100, 5000),
    // The simulated market's own, soon after the day on which it stands by default.
    ("BF.B", date(2024, 7, 9), 100, 105),
    ("nan", date(2024, 7, 15), 2000, 100),
];
