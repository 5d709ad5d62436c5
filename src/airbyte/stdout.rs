//! The one writer of stdout: whole lines, in the order in which they were given,
//! written by a thread of its own so that the runtime never waits for a pipe.
//!
//! Two buffers take turns: producers fill one while the thread writes the other,
//! so memory stays within about twice [`BUFFER_MAX`] however slow the reader is.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::{outlet, secret};

/// Bytes that are worth a system call; less waits for more, or for a flush.
const WRITE_AT: usize = 256 << 10;

/// Bytes at which a producer of records waits for the thread. Single lines
/// (statuses, logs) are few and never wait.
const BUFFER_MAX: usize = 1 << 20;

/// How long a panic waits for its last line to be written.
const PANIC_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Writes lines to stdout, or to what a test gives.
#[derive(Debug)]
pub struct Lines {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more to come.
    work: Condvar,
    /// The buffer was taken, or will never be.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// Write now, however little there is.
    flush: bool,
    writing: bool,
    closed: bool,
    failed: Option<io::Error>,
}

impl Lines {
    /// Lines to the process's stdout.
    ///
    /// # Errors
    /// When the machine refuses another thread.
    pub fn to_stdout() -> Result<Self> {
        // Its line buffering does not matter: what it is given ends with a line.
        Self::to(outlet::stdout())
    }

    /// Lines to `output`.
    ///
    /// # Errors
    /// When the machine refuses another thread.
    pub fn to(output: impl Write + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            room: Notify::new(),
        });
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.write_until_closed(output)
            })
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot start the thread that writes stdout").caused_by(error)
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Adds one message as a line, without any secret, and has it written soon. Never
    /// waits; a message after a failure of stdout is dropped.
    pub fn message(&self, message: &impl Serialize) {
        let text = json(message);
        self.shared.append(&mut self.shared.lock(), &secret::redact_json(&text));
    }

    /// As [`Lines::message`], for what is nobody's to rewrite.
    pub fn verbatim(&self, message: &impl Serialize) {
        self.shared.append(&mut self.shared.lock(), &json(message));
    }

    /// Lets `fill` append whole lines until it returns false, each time up to about
    /// as many bytes as it is given. Waits while the reader is behind.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when stdout failed.
    ///
    /// # Cancel safety
    /// Lines that `fill` has appended will be written; the rest was not asked for.
    pub async fn fill(&self, mut fill: impl FnMut(&mut Vec<u8>, usize) -> bool) -> Result<()> {
        loop {
            let taken = self.shared.room.notified();
            {
                let mut state = self.shared.lock();
                if let Some(error) = &state.failed {
                    return Err(outlet::stdout_failed(error));
                }
                if state.buffer.len() < BUFFER_MAX {
                    let more = fill(&mut state.buffer, WRITE_AT);
                    if state.buffer.len() >= WRITE_AT {
                        self.shared.work.notify_one();
                    }
                    if !more {
                        return Ok(());
                    }
                    continue;
                }
            }
            taken.await;
        }
    }

    /// Whether lines still reach stdout, as far as is known.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when stdout failed.
    pub fn check(&self) -> Result<()> {
        match &self.shared.lock().failed {
            None => Ok(()),
            Some(error) => Err(outlet::stdout_failed(error)),
        }
    }

    /// Writes what is left and ends the thread.
    ///
    /// # Errors
    /// What stdout failed with, now or before.
    pub fn close(&self) -> io::Result<()> {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread was reported by the hook.
            let _ended = thread.join();
        }
        match &self.shared.lock().failed {
            None => Ok(()),
            Some(error) => Err(outlet::copied(error)),
        }
    }

    /// As [`Lines::message`], for a thread that panics and may hold any lock: tries
    /// for a while, then gives up. Returns once the line was written.
    pub fn last_message(&self, message: &impl Serialize) {
        let deadline = Instant::now() + PANIC_DRAIN_MAX;
        let text = json(message);
        let text = secret::redact_json(&text);
        let mut added = false;
        while Instant::now() < deadline {
            let state = match self.shared.state.try_lock() {
                Ok(state) => Some(state),
                Err(TryLockError::Poisoned(poisoned)) => Some(self.shared.mend(poisoned)),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut state) = state {
                if !added {
                    self.shared.append(&mut state, &text);
                    added = true;
                } else if state.failed.is_some() || (state.buffer.is_empty() && !state.writing) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| self.mend(poisoned))
    }

    /// The state after a panic of a producer, without the line that it had begun.
    fn mend<'a>(&self, poisoned: PoisonError<MutexGuard<'a, State>>) -> MutexGuard<'a, State> {
        self.state.clear_poison();
        let mut state = poisoned.into_inner();
        let whole = memchr::memrchr(b'\n', &state.buffer).map_or(0, |end| end + 1);
        state.buffer.truncate(whole);
        state
    }

    fn append(&self, state: &mut State, line: &str) {
        if state.failed.is_some() {
            return;
        }
        state.buffer.extend_from_slice(line.as_bytes());
        state.buffer.push(b'\n');
        state.flush = true;
        self.work.notify_one();
    }

    fn write_until_closed(&self, mut output: impl Write) {
        let mut taken = Vec::new();
        loop {
            {
                let mut state = self.lock();
                state.writing = false;
                while !(state.flush || state.closed || state.buffer.len() >= WRITE_AT) {
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.buffer.is_empty() && state.closed {
                    return;
                }
                std::mem::swap(&mut state.buffer, &mut taken);
                state.flush = false;
                state.writing = true;
            }
            self.room.notify_waiters();
            if let Err(error) = output.write_all(&taken).and_then(|()| output.flush()) {
                let mut state = self.lock();
                state.failed = Some(error);
                state.buffer = Vec::new();
                state.writing = false;
                drop(state);
                self.room.notify_waiters();
                return;
            }
            taken.clear();
        }
    }
}

fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages are maps with string keys")
}

#[cfg(test)]
mod tests;
