//! What the program logs, on stderr. A command that wants it asks for it:
//! Airbyte's verbs have their own messages.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result};
use crate::outlet;
use crate::terminal::{self, Paint};

/// The variable that says what is logged: `debug`, or `warn,tapeline::polygon=debug`.
pub const LOG_VARIABLE: &str = "TAPELINE_LOG";

/// What is logged unless the variable says otherwise.
const DEFAULT_FILTER: &str = "warn,tapeline=info";

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Begins to log to stderr. `screen` holds the progress bars to make room among.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] when the variable is not a filter.
pub fn init(format: LogFormat, screen: Option<MultiProgress>) -> Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Err(_) => EnvFilter::new(DEFAULT_FILTER),
        Ok(text) => EnvFilter::try_new(&text).map_err(|error| {
            Error::config(format!("{LOG_VARIABLE} is not a filter: {error}"))
                .hint("use error, warn, info, debug or trace")
        })?,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr { screen });
    // It would tell them on stderr, by a macro that panics where that is what failed.
    let builder = builder.log_internal_errors(false);
    let begun = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text if terminal::is_at_stderr() => {
            builder.with_target(false).without_time().with_ansi(Paint::stderr().is_on()).try_init()
        }
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
    };
    begun.map_err(|error| Error::bug("the log was begun twice").caused_by(error))
}

/// Writes between the progress bars, if there are any. An event is one write.
#[derive(Debug, Clone)]
struct Stderr {
    screen: Option<MultiProgress>,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.screen {
            Some(screen) => screen.suspend(|| outlet::Stderr.write(bytes)),
            None => outlet::Stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        outlet::Stderr.flush()
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
