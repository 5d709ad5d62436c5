//! The one clock: the system's, or a fixed moment for a run that must be repeatable.

use jiff::Timestamp;

use crate::error::{Error, Result};

/// The variable that fixes the clock: an RFC 3339 moment.
pub const NOW_VARIABLE: &str = "TAPELINE_NOW";

/// The header in which the simulator's answers say what time it is in its market: what
/// a fixed clock is compared with. Their `Date` is the machine's, like the other clock.
pub(crate) const SIMULATED_NOW: &str = "x-simulated-now";

/// Tells what time it is for the data: which days are over, which are young.
/// Waiting and time-outs use the machine's monotonic clock instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    System,
    /// Stands still at a moment.
    Fixed(Timestamp),
}

impl Clock {
    /// The system's clock, or the moment that [`NOW_VARIABLE`] holds.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when the variable holds something else.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(NOW_VARIABLE) {
            Err(_) => Ok(Self::System),
            Ok(text) => text.parse().map(Self::Fixed).map_err(|_| {
                Error::config(format!("{NOW_VARIABLE} holds {text:?}, which is not a moment"))
                    .hint("write it as 2024-06-28T21:00:00Z, or unset it")
            }),
        }
    }

    /// The moment.
    pub fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Fixed(moment) => moment,
        }
    }
}
