//! What was asked of the server, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::faults::FaultKind;

/// Counters of a server.
#[derive(Debug, Default)]
pub struct Stats {
    requests: AtomicU64,
    rate_limited: AtomicU64,
    answered_429: AtomicU64,
    by: Mutex<By>,
}

#[derive(Debug, Default)]
struct By {
    endpoints: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<u16, u64>,
    faults: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts a request for data and returns its number, from 1.
    pub fn request(&self, endpoint: &'static str) -> u64 {
        self.with(|by| *by.endpoints.entry(endpoint).or_default() += 1);
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        if status == 429 {
            self.answered_429.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|by| *by.statuses.entry(status).or_default() += 1);
    }

    /// Counts a request beyond the plan's limit.
    pub fn broke_limit(&self) {
        self.rate_limited.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault.
    pub fn fault(&self, kind: FaultKind) {
        let name = serde_json::to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned));
        self.with(|by| *by.faults.entry(name.unwrap_or_default()).or_default() += 1);
    }

    /// Requests for data so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests so far that broke the plan's limit.
    pub fn rate_limited(&self) -> u64 {
        self.rate_limited.load(Ordering::Relaxed)
    }

    /// All counters as JSON.
    pub fn render(&self) -> String {
        self.with(|by| {
            serde_json::json!({
                "requests": self.requests(),
                "rate_limited": self.rate_limited(),
                "answered_429": self.answered_429.load(Ordering::Relaxed),
                "paths": by.endpoints,
                "statuses": by.statuses,
                "faults": by.faults,
            })
            .to_string()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut By) -> T) -> T {
        act(&mut self.by.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
