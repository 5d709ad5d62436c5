//! Tickers and their details, as they stand at a moment.

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::columns::{Columns, Fact, MomentForm, write_text};
use super::days::utc_midnight;
use super::decimal::Decimal;
use super::dice::{Dice, hash_text, hex, mix};
use super::market::Market;
use super::price;
use super::universe::{Listing, Security};

/// A ticker as the list of tickers shows it.
pub struct TickerFact<'a> {
    pub listing: &'a Listing,
    pub security: &'a Security,
    pub is_active: bool,
    pub last_updated: Date,
}

impl<'a> TickerFact<'a> {
    /// The fact of a listing on a day; `None` before it is listed.
    pub fn of(market: &'a Market, index: usize, today: Date) -> Option<Self> {
        let listing = &market.universe.listings[index];
        if today < listing.from {
            return None;
        }
        let security = market.universe.security_of(index);
        let is_active = listing.covers(today);
        let last_updated = match listing.until.filter(|_| !is_active) {
            Some(until) => until.saturating_add(1.days()),
            None => last_review(security.key, today).max(listing.from),
        };
        Some(Self { listing, security, is_active, last_updated })
    }

    /// `otc` or `stocks`.
    pub fn market(&self) -> &'static str {
        if self.listing.is_otc() { "otc" } else { "stocks" }
    }

    /// The last day of trading, once it has passed.
    pub fn delisted(&self) -> Option<Timestamp> {
        self.listing.until.filter(|_| !self.is_active).map(utc_midnight)
    }

    /// What tells this entry from others of the same symbol.
    pub fn marker(&self) -> String {
        let name = [hash_text(&self.security.composite_figi), hash_text(&self.listing.from.to_string())];
        format!("{}|{}", self.listing.symbol, hex(&name, 64))
    }
}

impl Fact for TickerFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        columns.text("ticker", &self.listing.symbol);
        columns.text("name", &self.listing.name);
        columns.text("market", self.market());
        columns.text("locale", "us");
        if let Some(exchange) = self.listing.exchange {
            columns.text("primary_exchange", exchange);
        }
        columns.text("type", self.listing.kind);
        columns.boolean("active", self.is_active);
        columns.text("currency_name", "usd");
        if let Some(cik) = &self.security.cik {
            columns.text("cik", cik);
        }
        columns.text("composite_figi", &self.security.composite_figi);
        columns.text("share_class_figi", &self.security.share_class_figi);
        columns.moment("last_updated_utc", utc_midnight(self.last_updated), MomentForm::Seconds);
        if let Some(delisted) = self.delisted() {
            columns.moment("delisted_utc", delisted, MomentForm::Seconds);
        }
    }
}

/// The details of a ticker.
pub struct DetailsFact<'a> {
    ticker: TickerFact<'a>,
    is_company: bool,
    market_cap: Decimal,
    class_shares: i64,
    weighted_shares: i64,
    round_lot: i64,
}

impl<'a> DetailsFact<'a> {
    /// The details of the newest listing of a symbol on a day.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "far below 2^53")]
    pub fn of(market: &'a Market, symbol: &str, today: Date) -> Option<Self> {
        let universe = &market.universe;
        let listed = |index: &&usize| universe.listings[**index].from <= today;
        let index = *universe.of_symbol(symbol).iter().rev().find(listed)?;
        let ticker = TickerFact::of(market, index, today)?;
        let mut dice = Dice::of(&[ticker.security.key, hash_text("details")]);
        let last_day = ticker.listing.until.map_or(today, |until| today.min(until));
        let on = |day: Date, count: f64| {
            let count = price::in_shares_of(day, count, &market.splits, ticker.listing.security);
            (count.round() as i64).max(1)
        };
        // So many shares if one cost 100 dollars; the dearer, the fewer.
        let class_shares = dice.between(2_000, 9_000_000) as f64 * 1e7 / ticker.security.cents as f64;
        let weighted_shares = class_shares * (1.0 + dice.between(0, 3) as f64 / 16.0);
        // The close of the day before, so in shares of that day.
        let priced = calendar::previous_trading_day(last_day);
        let close = price::close(universe, &market.splits, index, priced);
        // Rounded to whole cents, as a product of two doubles would not be.
        let cap = i128::from(close / 100) * i128::from(on(priced, weighted_shares));
        Some(Self {
            is_company: matches!(ticker.listing.kind, "CS" | "ADRC"),
            market_cap: Decimal::new(cap, 2),
            class_shares: on(last_day, class_shares),
            weighted_shares: on(last_day, weighted_shares),
            round_lot: on(last_day, ticker.security.lot() as f64),
            ticker,
        })
    }

    /// Whether it was traded on the day.
    pub fn is_listed(&self) -> bool {
        self.ticker.is_active
    }

    /// The last day of the newest listing of a symbol, when that is over.
    pub fn last_day(market: &'a Market, symbol: &str, today: Date) -> Option<Date> {
        let fact = Self::of(market, symbol, today)?;
        fact.ticker.listing.until.filter(|_| !fact.is_listed())
    }

    fn tell_company(&self, columns: &mut impl Columns, dice: &mut Dice) {
        let street =
            format!("{} {} STREET", dice.between(1, 9_900), dice.pick(&["WALL", "MAIN", "MARKET", "ELM"]));
        let (city, state) =
            dice.pick(&[("NEW YORK", "NY"), ("CUPERTINO", "CA"), ("OMAHA", "NE"), ("AUSTIN", "TX")]);
        columns
            .text("phone_number", &format!("({}) 555-{:04}", dice.between(201, 989), dice.between(0, 9_999)));
        let code = dice.between(10_001, 99_950);
        let second = if dice.one_in(4) { "\"address2\":\"SUITE 100\"," } else { "" };
        columns.json(
            "address",
            &format!("{{\"address1\":\"{street}\",{second}\"city\":\"{city}\",\"state\":\"{state}\",\"postal_code\":\"{code}\"}}"),
        );
        columns.text(
            "description",
            &format!(
                "{} makes and sells what the seed made of it – \"quoted\", with\na second line.",
                self.ticker.listing.name
            ),
        );
        let (code, industry) = dice.pick(&[
            ("3571", "ELECTRONIC COMPUTERS"),
            ("6331", "FIRE, MARINE & CASUALTY INSURANCE"),
            ("7372", "SERVICES-PREPACKAGED SOFTWARE"),
            ("2911", "PETROLEUM REFINING"),
        ]);
        columns.text("sic_code", code);
        columns.text("sic_description", industry);
    }
}

impl Fact for DetailsFact<'_> {
    fn tell(&self, columns: &mut impl Columns) {
        let (listing, security) = (self.ticker.listing, self.ticker.security);
        let mut dice = Dice::of(&[security.key, hash_text("company")]);
        columns.text("ticker", &listing.symbol);
        columns.text("name", &listing.name);
        columns.text("market", self.ticker.market());
        columns.text("locale", "us");
        if let Some(exchange) = listing.exchange {
            columns.text("primary_exchange", exchange);
        }
        columns.text("type", listing.kind);
        columns.boolean("active", self.ticker.is_active);
        columns.text("currency_name", "usd");
        if let Some(delisted) = self.ticker.delisted() {
            columns.moment("delisted_utc", delisted, MomentForm::Seconds);
        }
        if let Some(cik) = &security.cik {
            columns.text("cik", cik);
        }
        columns.text("composite_figi", &security.composite_figi);
        columns.text("share_class_figi", &security.share_class_figi);
        columns.decimal("market_cap", self.market_cap);
        if self.is_company {
            self.tell_company(columns, &mut dice);
        }
        let (root, suffix) = root_and_suffix(&listing.symbol);
        columns.text("ticker_root", root);
        if let Some(suffix) = suffix {
            columns.text("ticker_suffix", suffix);
        }
        if self.is_company {
            let host = root.to_ascii_lowercase();
            columns.text("homepage_url", &format!("https://www.{host}.example.com"));
            columns.integer("total_employees", dice.between(12, 230_000));
            let mut logo = Vec::new();
            write_text(
                &mut logo,
                &format!(
                    "https://api.massive.com/v1/reference/company-branding/{host}/images/2024-05-01_logo.svg"
                ),
            );
            let logo = String::from_utf8(logo).unwrap_or_default();
            columns.json(
                "branding",
                &format!("{{\"logo_url\":{logo},\"icon_url\":{}}}", logo.replace("_logo.svg", "_icon.png")),
            );
        }
        columns.date("list_date", listing.from);
        columns.decimal("share_class_shares_outstanding", Decimal::integer(self.class_shares));
        columns.decimal("weighted_shares_outstanding", Decimal::integer(self.weighted_shares));
        columns.decimal("round_lot", Decimal::integer(self.round_lot));
    }
}

/// `BRK` and `A` of `BRK.A`; `KIM` and `pL` of `KIMpL`.
fn root_and_suffix(symbol: &str) -> (&str, Option<&str>) {
    if let Some((root, suffix)) = symbol.split_once('.') {
        return (root, Some(suffix));
    }
    match symbol.find('p') {
        Some(index) if index > 0 && symbol[..index].chars().all(char::is_uppercase) => {
            (&symbol[..index], Some(&symbol[index..]))
        }
        _ => (symbol, None),
    }
}

/// The day of this month or the last on which the entry was reviewed.
fn last_review(key: u64, today: Date) -> Date {
    let day = i8::try_from(1 + mix(&[key, 3]) % 28).unwrap_or(1);
    let this = date(today.year(), today.month(), day);
    if this <= today { this } else { this.saturating_sub(1.months()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_have_roots() {
        assert_eq!(root_and_suffix("BRK.A"), ("BRK", Some("A")));
        assert_eq!(root_and_suffix("KIMpL"), ("KIM", Some("pL")));
        assert_eq!(root_and_suffix("AAPL"), ("AAPL", None));
        assert_eq!(root_and_suffix("nan"), ("nan", None));
    }
}
