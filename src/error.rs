//! The one error type, and the one table that says what each kind means.
//!
//! A message is a lowercase sentence fragment that names the field, file or
//! stream concerned; `hint` says what the user can do. The cause stays in
//! [`std::error::Error::source`] and is printed once, by [`Error::report`].
//! No message may hold a secret: see [`crate::secret`].

use std::error::Error as StdError;
use std::fmt;

/// The result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong, by what follows from it. See [`ErrorKind::policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A configuration, catalogue, pipeline or argument that the user gave is wrong.
    Config,
    /// The configuration lacks what one stream needs; the others do without.
    StreamConfig,
    /// The API refuses the key.
    Credentials,
    /// The plan of the key does not include what was asked for.
    NotEntitled,
    /// The plan serves this day only after its end. Not a failure: the slice waits.
    NotYet,
    /// The ticker, or another object that the user named, does not exist.
    NotFound,
    /// Stored progress cannot be read, or was made by another version or other options.
    State,
    /// The API limits the rate, and went on doing so after all retries.
    RateLimited,
    /// No connection to the API could be opened: a wrong address, a closed port, no network.
    Unreachable,
    /// The network or a server failed: a time-out, a reset, a 5xx.
    Unavailable,
    /// As [`ErrorKind::Unavailable`], of one partition: the others were answered.
    Unanswered,
    /// The server answered with something that is not what it promises: a cut
    /// page, invalid JSON, pages without end.
    Response,
    /// The server answered, whole and readable, with something else than what was
    /// asked for: another ticker, other days, a text where rows are due, a next page that
    /// is another endpoint's. Asking again will hardly change that.
    Mismatch,
    /// The server refuses the request itself (HTTP 400). Asking again gives the same answer.
    Refused,
    /// The warehouse cannot be opened or used as configured.
    Sink,
    /// A table of the warehouse cannot take its stream's rows as it is, or is somebody
    /// else's; the others go on.
    Table,
    /// The warehouse failed in a way that may pass.
    SinkUnavailable,
    /// The machine refuses: a full disk, a missing permission, a reader that went away.
    /// Whoever runs the program can mend it.
    Io,
    /// Another process writes to the same progress.
    Conflict,
    /// The user asked to stop.
    Interrupted,
    /// A fault of this program.
    Bug,
}

/// Airbyte's `failure_type` of a TRACE ERROR. Later ones need somebody sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureType {
    /// Trying again later may help.
    Transient,
    /// The connector or the platform is at fault.
    System,
    /// The user can mend it.
    Config,
}

impl FailureType {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config_error",
            Self::Transient => "transient_error",
            Self::System => "system_error",
        }
    }
}

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Only this partition (ticker): the others go on.
    Partition,
    /// Only this stream: the others go on.
    Stream,
    /// Nothing else can succeed either.
    Run,
}

/// Whether the same request may succeed when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will not.
    Never,
    /// It might, by luck: it is tried a few times.
    Few,
    /// It may: it is tried as often as [`crate::retry::policy`] says.
    Patient,
}

/// What follows from an [`ErrorKind`].
///
/// What fails a partition alone ([`Scope::Partition`]) does not pass by itself, or did not
/// in all tries while others were answered; any other failure that may pass reaches at
/// least its stream.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Whether the same request may succeed when it is sent again.
    pub retry: Retry,
    /// Airbyte's classification.
    pub failure_type: FailureType,
    /// Exit code of the process: 1 system, 2 configuration, 3 transient, 130 interrupted.
    pub exit_code: u8,
    /// How far the failure reaches.
    pub scope: Scope,
}

impl ErrorKind {
    /// The one table that decides retry, failure type, exit code and scope.
    pub const fn policy(self) -> Policy {
        const fn row(retry: Retry, failure_type: FailureType, scope: Scope) -> Policy {
            let exit_code = match failure_type {
                FailureType::System => 1,
                FailureType::Config => 2,
                FailureType::Transient => 3,
            };
            Policy { retry, failure_type, exit_code, scope }
        }
        use FailureType::{Config, System, Transient};
        use Retry::{Few, Never, Patient};
        match self {
            Self::Config | Self::Credentials => row(Never, Config, Scope::Run),
            Self::StreamConfig | Self::NotEntitled | Self::State | Self::Table => {
                row(Never, Config, Scope::Stream)
            }
            Self::NotFound => row(Never, Config, Scope::Partition),
            Self::NotYet => row(Never, Transient, Scope::Partition),
            Self::Unreachable => row(Patient, Transient, Scope::Run),
            Self::RateLimited | Self::Unavailable => row(Patient, Transient, Scope::Stream),
            Self::Unanswered => row(Never, Transient, Scope::Partition),
            Self::Response => row(Patient, System, Scope::Stream),
            Self::Mismatch => row(Few, System, Scope::Partition),
            Self::Refused => row(Never, System, Scope::Partition),
            Self::Sink => row(Never, Config, Scope::Run),
            Self::SinkUnavailable => row(Patient, Transient, Scope::Run),
            Self::Io => row(Never, Config, Scope::Run),
            Self::Bug => row(Never, System, Scope::Run),
            Self::Conflict => row(Never, Transient, Scope::Run),
            Self::Interrupted => {
                Policy { retry: Never, failure_type: Transient, exit_code: 130, scope: Scope::Run }
            }
        }
    }
}

/// An error with its kind, what it concerns, and what the user can do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    stream: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind`; `message` is a lowercase fragment without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, stream: None, source: None }))
    }

    /// A mistake in what the user configured.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A fault of this program.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error as another kind, for a layer that knows more of its reason.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds the cause, printed once by [`Error::report`].
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the stream concerned, unless an inner layer already did.
    #[must_use]
    pub fn in_stream(mut self, stream: &str) -> Self {
        self.0.stream.get_or_insert_with(|| stream.to_owned());
        self
    }

    /// Puts `context` before the message: "context: message".
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Adds a hint unless there is one.
    #[must_use]
    pub fn or_hint(mut self, hint: impl FnOnce() -> String) -> Self {
        self.0.hint.get_or_insert_with(hint);
        self
    }

    /// Rewrites message and hint, to take out what must not be shown.
    #[must_use]
    pub fn redacted(mut self, redact: impl Fn(&str) -> String) -> Self {
        self.0.message = redact(&self.0.message);
        self.0.hint = self.0.hint.as_deref().map(redact);
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stream concerned, if one is.
    pub fn stream(&self) -> Option<&str> {
        self.0.stream.as_deref()
    }

    /// Whether the same request may succeed when it is sent again.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.policy().retry != Retry::Never
    }

    /// One sentence for the user: the message and the hint.
    pub fn user_message(&self) -> String {
        match &self.0.hint {
            Some(hint) => format!("{} (hint: {hint})", self.0.message),
            None => self.0.message.clone(),
        }
    }

    /// The user's sentence followed by the chain of causes, for a log.
    pub fn report(&self) -> String {
        let mut text = self.user_message();
        let mut cause = StdError::source(self);
        while let Some(source) = cause {
            let line = source.to_string();
            if !text.contains(&line) {
                text.push_str("\n  caused by: ");
                text.push_str(&line);
            }
            cause = source.source();
        }
        text
    }
}

/// The first `max` of these names and how many more there are, for a message.
pub fn listed<T: AsRef<str>>(names: &[T], max: usize) -> String {
    let named = names.iter().take(max).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(max) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Adds an [`ErrorKind`] and a message to a foreign error.
pub trait ResultExt<T> {
    /// Wraps the error, keeping it as the cause.
    ///
    /// # Errors
    /// The wrapped error, when there was one.
    fn or_fail(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Source>> ResultExt<T> for std::result::Result<T, E> {
    fn or_fail(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(kind, message()).caused_by(error))
    }
}
