//! Whether this run's clock is the API's: what is over, what is young, and with it
//! progress, follow from the clock. One that is months ahead would count days as
//! read that have not been.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, DATE, HeaderMap};
use tokio::time::Instant;

use crate::clock::{Clock, NOW_VARIABLE, SIMULATED_NOW};
use crate::error::{Error, Result};

/// More than this between two clocks is no delay of the network.
pub(in crate::polygon) const CLOCKS_DIFFER_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Compares the moment as of which a run reads with the API's.
#[derive(Debug)]
pub(in crate::polygon) struct ClockCheck {
    /// What this run took for now when it began.
    as_of: Timestamp,
    since: Instant,
    /// Whether somebody chose the moment: one of the past is theirs to choose.
    is_fixed: bool,
    /// Whether an answer agreed. A clock that is put right later changes nothing.
    is_confirmed: AtomicBool,
}

impl ClockCheck {
    /// For a run that begins now.
    pub(in crate::polygon) fn new(clock: Clock) -> Self {
        let is_fixed = matches!(clock, Clock::Fixed(_));
        Self { as_of: clock.now(), since: Instant::now(), is_fixed, is_confirmed: AtomicBool::new(false) }
    }

    /// The moment as of which the run reads.
    pub(in crate::polygon) fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// Whether somebody chose the moment.
    pub(in crate::polygon) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Looks at the headers of an answer of the API. One without a date agrees.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when the clocks differ by more than
    /// [`CLOCKS_DIFFER_MAX`], until an answer agreed.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<()> {
        if self.is_confirmed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let told = if self.is_fixed { simulated(headers).or_else(|| date(headers)) } else { date(headers) };
        let Some(theirs) = told else {
            return Ok(());
        };
        let ours = if self.is_fixed { self.as_of } else { self.as_of + self.since.elapsed() };
        let ahead = ours.duration_since(theirs);
        if ahead > CLOCKS_DIFFER_MAX || (!self.is_fixed && -ahead > CLOCKS_DIFFER_MAX) {
            return Err(self.differ(ours, theirs));
        }
        self.is_confirmed.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn differ(&self, ours: Timestamp, theirs: Timestamp) -> Error {
        let [ours, theirs] = [ours, theirs].map(|moment| moment.strftime("%FT%TZ"));
        if self.is_fixed {
            return Error::config(format!(
                "{NOW_VARIABLE} is {ours}, which is later than the API's clock: {theirs}"
            ))
            .hint("nothing was read; set it to a moment that has been, or unset it");
        }
        Error::config(format!("this machine's clock says {ours}, and the API's says {theirs}")).hint(
            "nothing was read, for days that are not over would count as read; set the clock of the machine, and have it kept right by NTP",
        )
    }
}

/// The moment at which the answer was made, or left a cache on its way.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let made = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.parse().ok());
    made.checked_add(Duration::from_secs(age.unwrap_or(0))).ok()
}

fn simulated(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(SIMULATED_NOW)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// The `Date` of an answer that is made so many seconds after `of`.
    fn dated(of: Timestamp, seconds: i64) -> HeaderMap {
        let date = (of + SignedDuration::from_secs(seconds)).strftime("%a, %d %b %Y %T GMT").to_string();
        headers(&[("date", date.as_str())])
    }

    #[test]
    fn a_machine_that_is_minutes_off_is_told_and_one_that_is_not_is_not() {
        for (seconds, is_off) in [
            (0, false),
            (-280, false),
            (280, false),
            (320, true),
            (-320, true),
            (86_400 * 90, true),
            (-86_400 * 90, true),
        ] {
            let check = ClockCheck::new(Clock::System);
            let outcome = check.check(&dated(check.as_of(), seconds));
            assert_eq!(outcome.is_err(), is_off, "{seconds}");
            assert!(outcome.is_ok_and(|()| true) || check.check(&dated(check.as_of(), seconds)).is_err());
        }
        let check = ClockCheck::new(Clock::System);
        let error = check.check(&headers(&[("date", "Wed, 21 Oct 2015 07:28:00 GMT")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("and the API's says 2015-10-21T07:28:00Z"), "{error}");
    }

    #[test]
    fn an_answer_without_a_date_agrees_and_one_that_agreed_is_enough() {
        let check = ClockCheck::new(Clock::System);
        assert!(check.check(&headers(&[])).is_ok());
        assert!(check.check(&headers(&[("date", "yesterday")])).is_ok());
        assert!(check.check(&dated(check.as_of(), 86_400)).is_err(), "nothing agreed yet");
        assert!(check.check(&dated(check.as_of(), 0)).is_ok());
        assert!(check.check(&dated(check.as_of(), 86_400)).is_ok());
    }

    #[test]
    fn a_cache_says_how_old_an_answer_is() {
        let check = ClockCheck::new(Clock::System);
        let mut cached = dated(check.as_of(), -3_600);
        assert!(check.check(&cached).is_err());
        cached.insert(AGE, "3600".parse().unwrap());
        assert!(check.check(&cached).is_ok());
    }

    #[test]
    fn a_chosen_moment_may_be_past_and_not_to_come() {
        let now: Timestamp = "2024-06-28T21:00:00Z".parse().unwrap();
        for (market, is_off) in [(0, false), (86_400 * 90, false), (-240, false), (-3_600, true)] {
            let check = ClockCheck::new(Clock::Fixed(now));
            assert_eq!(check.check(&dated(now, market)).is_err(), is_off, "{market}");
            let moment = (now + SignedDuration::from_secs(market)).to_string();
            let simulated = headers(&[("date", "Wed, 21 Oct 2065 07:28:00 GMT"), (SIMULATED_NOW, &moment)]);
            assert_eq!(ClockCheck::new(Clock::Fixed(now)).check(&simulated).is_err(), is_off, "{market}");
        }
    }
}
