//! Who is traded: securities, and the symbols under which they are listed.

use std::collections::{HashMap, HashSet};

use jiff::ToSpan;
use jiff::civil::Date;

use super::days::{FIRST_DAY, day_number};
use super::dice::{Dice, hash_text, mix};
use super::named::{Activity, NAMED};

/// More tickers are not made; trade ids have room for so many.
pub const TICKERS_MAX: usize = 100_000;

/// Something that can be traded.
#[derive(Debug)]
pub struct Security {
    /// Seeds everything that happens to it.
    pub key: u64,
    pub composite_figi: String,
    pub share_class_figi: String,
    pub cik: Option<String>,
    /// Middle of its price range, US cents, in shares of the default day.
    pub cents: i64,
    pub activity: Activity,
}

impl Security {
    /// Shares of a usual lot, in shares of the default day: the dearer, the fewer, by
    /// the exchanges' steps for round lots.
    pub fn lot(&self) -> i64 {
        match self.cents {
            ..=25_000 => 100,
            25_001..=100_000 => 40,
            100_001..=1_000_000 => 10,
            _ => 1,
        }
    }
}

/// A security under a symbol for a span of days.
#[derive(Debug)]
pub struct Listing {
    pub symbol: String,
    pub name: String,
    pub kind: &'static str,
    /// MIC of the listing exchange; `None` over the counter.
    pub exchange: Option<&'static str>,
    pub from: Date,
    /// Last day of trading under the symbol.
    pub until: Option<Date>,
    /// Index of the security.
    pub security: usize,
}

impl Listing {
    /// Whether the symbol is the security's on this day.
    pub fn covers(&self, day: Date) -> bool {
        self.from <= day && self.until.is_none_or(|until| day <= until)
    }

    /// Whether it is traded over the counter.
    pub fn is_otc(&self) -> bool {
        self.exchange.is_none()
    }

    /// 1 NYSE, 2 NYSE Arca and American, 3 Nasdaq.
    pub fn tape(&self) -> i64 {
        match self.exchange {
            Some("XNYS") => 1,
            Some("XNAS") => 3,
            _ => 2,
        }
    }
}

/// All securities and listings.
#[derive(Debug)]
pub struct Universe {
    pub securities: Vec<Security>,
    pub listings: Vec<Listing>,
    by_symbol: HashMap<String, Vec<usize>>,
}

impl Universe {
    /// The first `count` listings of the named table, and generated ones after them.
    pub fn new(seed: u64, count: usize) -> Self {
        let mut universe = Self { securities: Vec::new(), listings: Vec::new(), by_symbol: HashMap::new() };
        universe.add_named(seed, count);
        universe.add_generated(seed, count);
        for (index, listing) in universe.listings.iter().enumerate() {
            universe.by_symbol.entry(listing.symbol.clone()).or_default().push(index);
        }
        universe
    }

    /// The listings of a symbol, oldest first.
    pub fn of_symbol(&self, symbol: &str) -> &[usize] {
        self.by_symbol.get(symbol).map_or(&[], Vec::as_slice)
    }

    /// Whose symbol it is on this day.
    pub fn holder(&self, symbol: &str, day: Date) -> Option<usize> {
        self.of_symbol(symbol).iter().copied().find(|index| self.listings[*index].covers(day))
    }

    /// Whether the reference lists the symbol among stocks on this day, if only as delisted.
    pub fn is_listed(&self, symbol: &str, day: Date) -> bool {
        let listed = |listing: &Listing| !listing.is_otc() && listing.from <= day;
        self.of_symbol(symbol).iter().any(|index| listed(&self.listings[*index]))
    }

    /// The security of a listing.
    pub fn security_of(&self, listing: usize) -> &Security {
        &self.securities[self.listings[listing].security]
    }

    fn add_named(&mut self, seed: u64, count: usize) {
        let mut companies: HashMap<u64, usize> = HashMap::new();
        for line in NAMED.iter().take(count) {
            let known = companies.get(&line.company).copied().filter(|_| line.company > 0);
            let security = known.unwrap_or_else(|| {
                self.securities.push(security(seed, line.symbol, line.from, line.cents, line.activity));
                self.securities.len() - 1
            });
            companies.insert(line.company, security);
            self.listings.push(Listing {
                symbol: line.symbol.to_owned(),
                name: line.name.to_owned(),
                kind: line.kind,
                exchange: Some(line.exchange).filter(|exchange| *exchange != "OTC"),
                from: line.from,
                until: line.until,
                security,
            });
        }
        // The one company whose identifiers the vendor recorded.
        if let Some(apple) = self.securities.first_mut() {
            apple.composite_figi = "BBG000B9XRY4".to_owned();
            apple.share_class_figi = "BBG001S5N8V8".to_owned();
            apple.cik = Some("0000320193".to_owned());
        }
    }

    fn add_generated(&mut self, seed: u64, count: usize) {
        let mut taken: HashSet<String> = self.listings.iter().map(|listing| listing.symbol.clone()).collect();
        let mut dice = Dice::of(&[seed, hash_text("universe")]);
        while self.listings.len() < count {
            let symbol = generated_symbol(&mut dice);
            if !taken.insert(symbol.clone()) {
                continue;
            }
            let from = FIRST_DAY.saturating_add(dice.between(0, 6500).days());
            let until = dice.one_in(20).then(|| from.saturating_add(dice.between(200, 4000).days()));
            let activity = if dice.one_in(10) { Activity::Normal } else { Activity::Thin };
            let cents = dice.pick(&[150, 480, 900, 1_600, 2_700, 4_300, 7_500, 14_000, 31_000]);
            self.securities.push(security(seed, &symbol, from, cents, activity));
            self.listings.push(Listing {
                name: format!(
                    "{} {}",
                    symbol,
                    dice.pick(&["Holdings Inc.", "Corp", "Ltd.", "Trust", "Group, Inc."])
                ),
                symbol,
                kind: dice.pick(&["CS", "CS", "CS", "ETF", "ADRC", "PFD", "FUND"]),
                exchange: if dice.one_in(12) {
                    None
                } else {
                    Some(dice.pick(&["XNAS", "XNYS", "ARCX", "XASE", "BATS"]))
                },
                from,
                until,
                security: self.securities.len() - 1,
            });
        }
    }
}

fn security(seed: u64, symbol: &str, from: Date, cents: i64, activity: Activity) -> Security {
    let key = mix(&[seed, hash_text(symbol), day_number(from).unsigned_abs()]);
    let mut dice = Dice::of(&[key, 1]);
    Security {
        key,
        composite_figi: figi(&mut dice),
        share_class_figi: figi(&mut dice),
        cik: (!dice.one_in(8)).then(|| format!("{:010}", dice.between(1_000, 1_999_999))),
        cents,
        activity,
    }
}

fn figi(dice: &mut Dice) -> String {
    let letters = b"0123456789BCDFGHJKLMNPQRSTVWXYZ";
    let tail: String = (0..7).map(|_| char::from(dice.pick(letters))).collect();
    format!("BBG00{tail}")
}

/// Four capital letters; now and then a class, a preferred share or a warrant.
fn generated_symbol(dice: &mut Dice) -> String {
    let mut symbol: String = (0..4).map(|_| char::from(dice.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))).collect();
    match dice.below(25) {
        0 => symbol.push_str(dice.pick(&[".A", ".B"])),
        1 => symbol.push_str(dice.pick(&["pA", "pB", "pC"])),
        2 => symbol.push_str(".WS"),
        _ => {}
    }
    symbol
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn symbols_are_reused_and_renamed() {
        let universe = Universe::new(7, 60);
        let q = universe.of_symbol("Q");
        assert_eq!(q.len(), 2);
        assert_ne!(universe.security_of(q[0]).composite_figi, universe.security_of(q[1]).composite_figi);
        let fb = universe.holder("FB", date(2022, 6, 8)).unwrap();
        let meta = universe.holder("META", date(2022, 6, 9)).unwrap();
        assert_eq!(universe.security_of(fb).composite_figi, universe.security_of(meta).composite_figi);
        assert_eq!(universe.holder("META", date(2022, 3, 1)), None);
        assert_eq!(universe.holder("kimpl", date(2024, 3, 1)), None);
    }

    #[test]
    fn a_larger_market_keeps_the_smaller_ones_tickers() {
        let (small, large) = (Universe::new(7, 10), Universe::new(7, 2000));
        assert_eq!((small.listings.len(), large.listings.len()), (10, 2000));
        for (one, other) in small.listings.iter().zip(&large.listings) {
            assert_eq!((&one.symbol, one.from), (&other.symbol, other.from));
        }
        let generated = |index: usize| &large.listings[index].symbol;
        assert_eq!(generated(100), &Universe::new(7, 101).listings[100].symbol);
    }
}
