//! What a key's plan allows: how many requests, and which data.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::calendar;

use super::page::Refusal;

/// A plan of the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plan {
    /// 5 requests in any 60 seconds, days after their end, two years, no trades,
    /// no bars shorter than a day.
    Free,
    /// 100 requests a second, everything 15 minutes late.
    Paid,
    /// No limits, real time.
    Unlimited,
}

/// What the vendor does with a range that begins before the plan's history; it
/// is reported both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HistoryPolicy {
    /// Answers 403.
    Refuse,
    /// Answers 200 with what there is.
    Clip,
}

/// How the vendor counts requests; which it is is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LimitWindow {
    /// Never more in any 60 seconds.
    Sliding,
    /// Counted anew each minute.
    Fixed,
}

/// How long after a trade a delayed plan shows it.
const DELAY_MINUTES: i64 = 15;

/// Years of history of the free plan.
const FREE_YEARS: i64 = 2;

impl Plan {
    /// Requests, and the time in which they are counted.
    const fn rate(self) -> Option<(usize, Duration)> {
        match self {
            Self::Free => Some((5, Duration::from_secs(60))),
            Self::Paid => Some((100, Duration::from_secs(1))),
            Self::Unlimited => None,
        }
    }
}

/// What one request may see.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    pub plan: Plan,
    pub history: HistoryPolicy,
    /// The simulated time.
    pub now: Timestamp,
}

impl Access {
    /// The moment whose knowledge of trades and bars is shown.
    pub fn market_as_of(&self) -> Timestamp {
        match self.plan {
            Plan::Paid => self.now - DELAY_MINUTES.minutes(),
            Plan::Free | Plan::Unlimited => self.now,
        }
    }

    /// The status of an answer with trades or bars.
    pub fn market_status(&self) -> &'static str {
        if self.plan == Plan::Paid { "DELAYED" } else { "OK" }
    }

    /// Refuses trades where the plan has none.
    ///
    /// # Errors
    /// 403.
    pub fn check_trades(&self) -> Result<(), Refusal> {
        if self.plan == Plan::Free { Err(Refusal::NotEntitled) } else { Ok(()) }
    }

    /// Refuses bars shorter than a day where the plan has none.
    ///
    /// # Errors
    /// 403.
    pub fn check_intraday(&self) -> Result<(), Refusal> {
        if self.plan == Plan::Free { Err(Refusal::Timeframe) } else { Ok(()) }
    }

    /// Refuses or clips a range of days that the plan does not serve; the first
    /// day that is served is returned.
    ///
    /// # Errors
    /// 403.
    pub fn check_days(&self, from: Date, to: Date) -> Result<Date, Refusal> {
        if self.plan != Plan::Free {
            return Ok(from);
        }
        let today = calendar::day_of(self.now);
        if to >= today {
            return Err(Refusal::NotYet);
        }
        let first = today.saturating_sub(FREE_YEARS.years());
        match self.history {
            HistoryPolicy::Refuse if from < first => Err(Refusal::Timeframe),
            HistoryPolicy::Refuse | HistoryPolicy::Clip => Ok(from.max(first)),
        }
    }
}

/// Counts requests by key, in real time.
pub struct Limiter {
    rate: Option<(usize, Duration)>,
    window: LimitWindow,
    began: Instant,
    keys: Mutex<HashMap<String, VecDeque<Instant>>>,
}

/// Keys that are counted; past it all counts begin anew.
const KEYS_MAX: usize = 1024;

impl Limiter {
    /// The limiter of a plan.
    pub fn new(plan: Plan, window: LimitWindow) -> Self {
        Self { rate: plan.rate(), window, began: Instant::now(), keys: Mutex::default() }
    }

    /// Whether one more request of this key is within the limit at `now`. A
    /// request that is not does not count.
    pub fn admit(&self, key: &str, now: Instant) -> bool {
        let Some((count, per)) = self.rate else {
            return true;
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX && !keys.contains_key(key) {
            keys.clear();
        }
        let admitted = keys.entry(key.to_owned()).or_default();
        while admitted.front().is_some_and(|first| !self.shares_window(*first, now, per)) {
            admitted.pop_front();
        }
        let admit = admitted.len() < count;
        if admit {
            admitted.push_back(now);
        }
        admit
    }

    fn shares_window(&self, earlier: Instant, now: Instant, per: Duration) -> bool {
        match self.window {
            LimitWindow::Sliding => now.saturating_duration_since(earlier) < per,
            LimitWindow::Fixed => {
                let index = |moment: Instant| {
                    moment.saturating_duration_since(self.began).as_nanos() / per.as_nanos().max(1)
                };
                index(earlier) == index(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_requests_in_any_sixty_seconds() {
        let limiter = Limiter::new(Plan::Free, LimitWindow::Sliding);
        let at = |seconds: u64| limiter.began + Duration::from_secs(seconds);
        let admitted: Vec<bool> = [0, 50, 51, 52, 53, 54, 59, 60, 61, 109, 110, 111]
            .map(|second| limiter.admit("key", at(second)))
            .to_vec();
        assert_eq!(admitted, [true, true, true, true, true, false, false, true, false, false, true, true]);
        assert!(limiter.admit("another key", at(54)));
    }

    #[test]
    fn a_fixed_window_counts_anew_each_minute() {
        let limiter = Limiter::new(Plan::Free, LimitWindow::Fixed);
        let at = |seconds: u64| limiter.began + Duration::from_secs(seconds);
        assert!((55..60).all(|second| limiter.admit("key", at(second))));
        assert!(!limiter.admit("key", at(59)));
        assert!((60..65).all(|second| limiter.admit("key", at(second))));
        assert!(!limiter.admit("key", at(66)));
    }

    #[test]
    fn the_free_plan_serves_ended_days_of_two_years() {
        let now: Timestamp = "2024-06-28T21:00:00Z".parse().unwrap();
        let access = |history| Access { plan: Plan::Free, history, now };
        let day = |text: &str| text.parse::<Date>().unwrap();
        let refuse = access(HistoryPolicy::Refuse);
        assert_eq!(refuse.check_days(day("2024-06-27"), day("2024-06-28")), Err(Refusal::NotYet));
        assert_eq!(refuse.check_days(day("2022-06-27"), day("2022-07-28")), Err(Refusal::Timeframe));
        assert_eq!(refuse.check_days(day("2022-06-28"), day("2024-06-27")), Ok(day("2022-06-28")));
        let clip = access(HistoryPolicy::Clip);
        assert_eq!(clip.check_days(day("2020-06-27"), day("2024-06-27")), Ok(day("2022-06-28")));
    }
}
