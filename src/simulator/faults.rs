//! Scripted faults: which request goes wrong, and how.
//!
//! ```yaml
//! - match: {path_prefix: /v2/aggs, nth: [2, 5]}
//!   fault: {type: rate_limited, retry_after: 1}
//! - match: {rate: 0.05}
//!   fault: {type: server_error, status: 503}
//! ```
//! Each rule counts the requests that its `path_prefix` matches, from 1. The
//! first rule that wants a request gets it. Which requests a rate picks follows
//! from the seed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

use super::dice::mix;

/// A century: a clock that is further off is none.
const AHEAD_S_MAX: i64 = 100 * 366 * 86_400;

/// Rules that a file may hold.
const RULES_MAX: usize = 1_000;

/// A rule of a faults file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which requests.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What goes wrong.
    pub fault: Fault,
}

/// Which requests a rule is for: those of a path, and of them the ones named by
/// `nth`, `every` or `rate`; all when none of the three is given; at most `in_a_row` of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// What the path begins with; absent means any.
    pub path_prefix: Option<String>,
    /// These, counted from 1.
    pub nth: Option<Vec<u64>>,
    /// Each so-manieth.
    pub every: Option<u64>,
    /// This share of them, from 0 to 1.
    pub rate: Option<f64>,
    /// What was answered wrong so many times in a row is answered right the next time, to
    /// the same path and query; at least 1. It is how a fault passes, whoever else asks.
    pub in_a_row: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: FaultKind,
    /// Seconds in a Retry-After header; for the two kinds of 429 and for server errors.
    pub retry_after: Option<u32>,
    /// Another status code: of `server_error` (500) and `bad_gateway_html` (504).
    pub status: Option<u16>,
    /// How long `slow_headers` (2 s), `stall` (10 minutes) and `slow_drip` (1 s, after
    /// each byte) wait, in milliseconds.
    pub delay_ms: Option<u64>,
    /// By how many seconds the clock of `wrong_date` is ahead: 90 days, or behind when negative.
    pub ahead_s: Option<i64>,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 with the vendor's body.
    RateLimited,
    /// 429 with no body.
    RateLimitedEmpty,
    /// 5xx with a JSON body.
    ServerError,
    /// 5xx with the HTML of a proxy.
    BadGatewayHtml,
    /// 200 with status ERROR.
    StatusError,
    /// Half of the body, whose length is given as if it were all.
    TruncatedJson,
    /// The connection ends before the length that was promised.
    ShortBody,
    /// The connection is reset within the body.
    Reset,
    /// A body that says it is gzip and is not all of it.
    BadGzip,
    /// The answer comes late.
    SlowHeaders,
    /// Half of the body comes, then nothing for long, then the connection ends.
    Stall,
    /// A continuation begins with the last row of the page before.
    DuplicateLastRow,
    /// A row of the page comes twice.
    DuplicateRow,
    /// `next_url` leads to the same page again.
    CursorLoop,
    /// 400 for a continuation.
    #[serde(rename = "continuation_400")]
    Continuation400,
    /// `next_url` names another host.
    ForeignNextUrl,
    /// Each row has a field that nobody knows.
    UnknownField,
    /// Numbers are written in another way: `100.0`, `2.38e+06`. The values are the same.
    TypeFlip,
    /// Arrays within rows are null. This changes the data.
    NullArrays,
    /// Rows lack an optional field. This changes the data.
    MissingField,
    /// The first rows of a page have no key: its field is null in one, absent in the next,
    /// an object in the third. This changes the data.
    KeylessRows,
    /// The last row is missing, and the counts still count it; where there are none all
    /// rows come.
    FewerRows,
    /// A page that is not the last names no next one.
    MissingNextUrl,
    /// `results` is an object where rows are due.
    ResultsObject,
    /// `results` is a text where rows are due.
    ResultsText,
    /// `results` is a number where rows are due.
    ResultsNumber,
    /// Numbers stand among the rows.
    ResultsNumbers,
    /// There is no `results`, also where it is always due.
    NoResults,
    /// `results` comes twice.
    ResultsTwice,
    /// Status ERROR comes first, and OK after it.
    SecondStatus,
    /// `next_url` is a number.
    NextUrlNumber,
    /// `next_url` is an object.
    NextUrlObject,
    /// `next_url` is a text that is no URL.
    NextUrlText,
    /// `next_url` leads to another endpoint.
    NextUrlElsewhere,
    /// The answer is of another ticker.
    OtherTicker,
    /// A row in the middle is of another year.
    OtherDays,
    /// The bars are of the day before the one that was asked for.
    DayBefore,
    /// The answer says that it is packed in a way that nobody asked for.
    ForeignEncoding,
    /// A byte of the body at a time, with a pause after each.
    SlowDrip,
    /// The body is gzip of two members.
    TwoMembers,
    /// The `Date` of the answer is another one.
    WrongDate,
    /// The answer has no `Date`.
    NoDate,
}

impl FaultKind {
    /// Whether it can happen only to a request with a cursor.
    fn needs_cursor(self) -> bool {
        matches!(self, Self::DuplicateLastRow | Self::Continuation400)
    }

    fn takes_status(self) -> bool {
        matches!(self, Self::ServerError | Self::BadGatewayHtml)
    }

    fn takes_retry_after(self) -> bool {
        self.takes_status() || matches!(self, Self::RateLimited | Self::RateLimitedEmpty)
    }

    fn takes_delay(self) -> bool {
        matches!(self, Self::SlowHeaders | Self::Stall | Self::SlowDrip)
    }
}

impl Fault {
    /// The wait of a fault that waits.
    pub fn delay(&self) -> Duration {
        let usual = match self.kind {
            FaultKind::Stall => 600_000,
            FaultKind::SlowDrip => 1_000,
            _ => 2_000,
        };
        Duration::from_millis(self.delay_ms.unwrap_or(usual))
    }

    /// By how many seconds a wrong clock is ahead.
    pub fn ahead_s(&self) -> i64 {
        self.ahead_s.unwrap_or(90 * 86_400)
    }
}

/// Reads the text of a faults file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] naming the rule that is wrong.
pub fn parse(text: &str) -> Result<Vec<Rule>> {
    let hint = "a faults file is a list such as `- match: {path_prefix: /v2, nth: [2]}` with `fault: {type: server_error}`";
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let rules: Vec<Rule> = serde_saphyr::from_str(text).map_err(|error| {
        Error::config("the faults file is not a list of rules").caused_by(error).hint(hint)
    })?;
    if rules.len() > RULES_MAX {
        return Err(Error::config(format!(
            "the faults file has {} rules, {RULES_MAX} are allowed",
            rules.len()
        )));
    }
    for (index, rule) in rules.iter().enumerate() {
        check(rule).map_err(|problem| {
            Error::config(format!("rule {} of the faults file: {problem}", index + 1)).hint(hint)
        })?;
    }
    Ok(rules)
}

/// Reads a faults file.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] when it cannot be read or is wrong.
pub fn read(path: &Path) -> Result<Vec<Rule>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::config(format!("cannot read the faults file {}", path.display())).caused_by(error)
    })?;
    parse(&text)
}

fn check(rule: &Rule) -> std::result::Result<(), String> {
    let Rule { matches, fault } = rule;
    let ways = [matches.nth.is_some(), matches.every.is_some(), matches.rate.is_some()];
    if ways.into_iter().filter(|given| *given).count() > 1 {
        return Err("`nth`, `every` and `rate` exclude each other".to_owned());
    }
    if matches.path_prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
        return Err("`path_prefix` begins with a slash".to_owned());
    }
    if matches.nth.as_ref().is_some_and(|nth| nth.contains(&0)) {
        return Err("`nth` counts from 1".to_owned());
    }
    if matches.every == Some(0) {
        return Err("`every` is at least 1".to_owned());
    }
    if matches.in_a_row == Some(0) {
        return Err("`in_a_row` is at least 1".to_owned());
    }
    if matches.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return Err("`rate` is from 0 to 1".to_owned());
    }
    if fault.retry_after.is_some() && !fault.kind.takes_retry_after() {
        return Err("this type of fault takes no `retry_after`".to_owned());
    }
    if fault.status.is_some() && !fault.kind.takes_status() {
        return Err("this type of fault takes no `status`".to_owned());
    }
    if fault.status.is_some_and(|status| !(500..=599).contains(&status)) {
        return Err("`status` is from 500 to 599".to_owned());
    }
    if fault.delay_ms.is_some() && !fault.kind.takes_delay() {
        return Err("this type of fault takes no `delay_ms`".to_owned());
    }
    if fault.ahead_s.is_some() && fault.kind != FaultKind::WrongDate {
        return Err("this type of fault takes no `ahead_s`".to_owned());
    }
    if fault.ahead_s.is_some_and(|seconds| seconds.abs() > AHEAD_S_MAX) {
        return Err(format!("`ahead_s` is at most {AHEAD_S_MAX}"));
    }
    Ok(())
}

/// The rules at work.
#[derive(Debug)]
pub struct Script {
    seed: u64,
    rules: Vec<(Rule, AtomicU64)>,
    /// How many times in a row a path with its query was answered wrong.
    wrong: Mutex<HashMap<String, u64>>,
}

impl Script {
    /// Rules that have counted nothing yet.
    pub fn new(seed: u64, rules: Vec<Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, AtomicU64::new(0))).collect();
        Self { seed, rules, wrong: Mutex::default() }
    }

    /// Whether a rule has this kind.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.rules.iter().any(|(rule, _)| rule.fault.kind == kind)
    }

    /// What goes wrong with the next request. Every rule counts it.
    pub fn next(&self, path: &str, query: &str, is_continuation: bool) -> Option<&Fault> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let before = wrong.remove(&format!("{path}?{query}")).unwrap_or(0);
        let chosen = self.choose(path, is_continuation, before);
        if chosen.is_some() {
            wrong.insert(format!("{path}?{query}"), before + 1);
        }
        chosen
    }

    fn choose(&self, path: &str, is_continuation: bool, in_a_row: u64) -> Option<&Fault> {
        let mut chosen = None;
        for (number, (rule, counter)) in self.rules.iter().enumerate() {
            let is_of_path =
                rule.matches.path_prefix.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()));
            if !is_of_path || (rule.fault.kind.needs_cursor() && !is_continuation) {
                continue;
            }
            let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
            let may_go_on = rule.matches.in_a_row.is_none_or(|most| in_a_row < most);
            if chosen.is_none() && may_go_on && self.wants(number, &rule.matches, count) {
                chosen = Some(&rule.fault);
            }
        }
        chosen
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    fn wants(&self, number: usize, matches: &Match, count: u64) -> bool {
        if let Some(nth) = &matches.nth {
            nth.contains(&count)
        } else if let Some(every) = matches.every {
            count.is_multiple_of(every)
        } else if let Some(rate) = matches.rate {
            let chance = (mix(&[self.seed, number as u64, count]) >> 11) as f64 / (1_u64 << 53) as f64;
            chance < rate
        } else {
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_pick_requests_by_number_and_by_seed() {
        let rules = parse(
            "- match: {path_prefix: /v2/aggs, nth: [2, 3]}\n  fault: {type: rate_limited, retry_after: 1}\n\
             - match: {every: 4}\n  fault: {type: server_error, status: 503}\n",
        )
        .unwrap();
        let script = Script::new(7, rules.clone());
        let picked: Vec<_> =
            (0..5).map(|_| script.next("/v2/aggs/x", "", false).map(|fault| fault.kind)).collect();
        use FaultKind::{RateLimited, ServerError};
        assert_eq!(picked, [None, Some(RateLimited), Some(RateLimited), Some(ServerError), None]);

        let rate = parse("- match: {rate: 0.2}\n  fault: {type: reset}\n").unwrap();
        let run = || {
            let script = Script::new(7, rate.clone());
            (0..1000).map(|_| script.next("/", "", false).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        let share = run().into_iter().filter(|picked| *picked).count();
        assert!((150..250).contains(&share), "{share}");
    }

    #[test]
    fn a_fault_of_continuations_counts_only_them() {
        let rules = parse("- match: {nth: [1]}\n  fault: {type: continuation_400}\n").unwrap();
        let script = Script::new(7, rules);
        assert!(script.next("/v3", "", false).is_none());
        assert!(script.next("/v3", "", true).is_some());
        assert!(script.next("/v3", "", true).is_none());
    }

    #[test]
    fn a_fault_passes_after_so_many_in_a_row() {
        let rules = parse(
            "- match: {in_a_row: 2}\n  fault: {type: reset}\n\
             - match: {path_prefix: /v9}\n  fault: {type: stall}\n",
        )
        .unwrap();
        let script = Script::new(7, rules);
        let asked = |query| script.next("/v3", query, false).is_some();
        assert_eq!(
            [asked("a"), asked("b"), asked("a"), asked("a"), asked("a")],
            [true, true, true, false, true]
        );
        assert_eq!([asked("b"), asked("b")], [true, false], "each has its own row");
        let last = || script.next("/v9", "", false).map(|fault| fault.kind);
        assert_eq!([last(), last(), last()].map(|kind| kind == Some(FaultKind::Stall)), [false, false, true]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("faults: 1", "is not a list of rules"),
            ("- match: {}\n  fault: {type: explosion}", "is not a list of rules"),
            ("- match: {pathprefix: /v2}\n  fault: {type: reset}", "is not a list of rules"),
            (
                "- match: {path_prefix: v2}\n  fault: {type: reset}",
                "rule 1 of the faults file: `path_prefix`",
            ),
            ("- match: {nth: [1], rate: 0.5}\n  fault: {type: reset}", "exclude each other"),
            ("- match: {nth: [0]}\n  fault: {type: reset}", "counts from 1"),
            ("- match: {in_a_row: 0}\n  fault: {type: reset}", "`in_a_row`"),
            ("- match: {rate: 5}\n  fault: {type: reset}", "`rate`"),
            ("- match: {}\n  fault: {type: reset, status: 500}", "`status`"),
            ("- match: {}\n  fault: {type: server_error, status: 404}", "`status`"),
            ("- match: {}\n  fault: {type: reset, delay_ms: 5}", "`delay_ms`"),
            ("- match: {}\n  fault: {type: no_date, ahead_s: 5}", "`ahead_s`"),
            ("- match: {}\n  fault: {type: wrong_date, ahead_s: 5000000000}", "`ahead_s`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        assert!(parse("# nothing\n").unwrap().is_empty());
    }
}
