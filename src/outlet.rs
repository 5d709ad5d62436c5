//! The ways out of the process: standard output and standard error.
//!
//! Whatever is written for people or machines goes through here, and loses every
//! [`crate::secret`] on the way; clippy refuses the macros and functions that would
//! go around it. RECORDs alone, and the STATEs that the destination echoes, pass as
//! they are: see docs/architecture.md, "Secrets".
//!
//! A way out that does not take what is written (a full disk, a reader that went
//! away) never panics. What is lost on stderr is noted here: a run stops as at a
//! signal, and the process ends with [`ErrorKind::Io`]'s exit code.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::secret;

/// What stderr failed with first.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Tells whoever waits in [`stderr_lost`].
static STDERR_LOST: Notify = Notify::const_new();

/// Writes a text to stdout, at once.
///
/// # Errors
/// [`ErrorKind::Io`] when stdout does not take it.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = stdout();
    let written = stdout.write_all(secret::redact(text).as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| stdout_failed(&error))
}

/// Writes a line to stderr. Where it cannot be written, that is noted.
pub fn tell(line: impl fmt::Display) {
    // It never fails.
    let _noted = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// The error of a stdout that does not take what is written.
pub fn stdout_failed(error: &io::Error) -> Error {
    failed("stdout", error)
}

/// Whether the reader of stdout went away: it ends the program without a word, as it
/// does in any pipe.
pub fn is_reader_gone(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    error.kind() == ErrorKind::Io && source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}

/// What stderr failed with, if it did.
pub fn stderr_failure() -> Option<Error> {
    lost().as_ref().map(|error| failed("stderr", error))
}

/// Returns once something for stderr was lost.
pub async fn stderr_lost() {
    let lost_now = STDERR_LOST.notified();
    if lost().is_none() {
        lost_now.await;
    }
}

/// Stdout itself, for whoever writes what is not rewritten, or has rewritten it.
#[expect(clippy::disallowed_methods, reason = "this is the way out")]
pub(crate) fn stdout() -> io::Stdout {
    io::stdout()
}

/// Stderr without secrets. A write takes a whole line or several: a secret that two
/// of them share is not found. Writing never fails, see [`stderr_failure`].
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        note(stderr().write_all(secret::redact(&text).as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        note(stderr().flush());
        Ok(())
    }
}

/// Stderr itself, to ask what it is; for writing there is [`Stderr`].
#[expect(clippy::disallowed_methods, reason = "this is the way out")]
pub(crate) fn stderr() -> io::Stderr {
    io::stderr()
}

/// Keeps the first failure. A terminal that went away is none: nobody is there to
/// read, and the run goes on.
fn note(written: io::Result<()>) {
    let Err(error) = written else { return };
    if stderr().is_terminal() {
        return;
    }
    lost().get_or_insert(error);
    STDERR_LOST.notify_waiters();
}

fn lost() -> std::sync::MutexGuard<'static, Option<io::Error>> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(which: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write to {which}"))
        .hint("look at where it goes to: a full disk, or a program that has ended")
        .caused_by(copied(error))
}

/// The same failure once more.
pub(crate) fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Has panics of any thread told on stderr, without secrets.
#[expect(clippy::disallowed_methods, reason = "this is the way out")]
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| tell(format_args!("error: {}", describe(panic)))));
}

/// Where a panic was, and what it said.
pub(crate) fn describe(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let payload = panic.payload();
    // A constant text holds no secret. Any other may hold one that is not known yet,
    // before the configuration is read.
    let text = match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(*text),
        None => payload.downcast_ref::<String>().map(String::as_str).filter(|_| secret::are_known()),
    };
    format!("panicked at {place}: {}", text.unwrap_or("(not shown)"))
}
