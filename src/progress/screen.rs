//! The terminal that bars are drawn on.

use std::io;

use console::Term;
use indicatif::TermLike;

use crate::secret;

/// The terminal at stderr. Between two draws the cursor is at the beginning of the
/// last line: there a `^C` that the terminal shows is drawn over. At the end of
/// the line it would wrap, and a stale bar would be left.
#[derive(Debug)]
pub(super) struct Screen(Term);

impl Screen {
    #[expect(clippy::disallowed_methods, reason = "what is written to it is redacted below")]
    pub(super) fn new() -> Self {
        Self(Term::buffered_stderr())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(&secret::redact(text))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(&secret::redact(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}
