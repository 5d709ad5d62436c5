//! Text for a person at a terminal: numbers, durations, tables.

pub mod shell;
pub mod table;

use std::io::IsTerminal;
use std::time::Duration;

use crate::{outlet, secret};

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 row`, `2 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A number in at most four characters: `950`, `12k`, `3.4M`.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 9_950_000.0 => format!("{:.0}M", n / 1e6),
        n if n >= 999_500.0 => format!("{:.1}M", n / 1e6),
        n if n >= 9_950.0 => format!("{:.0}k", n / 1e3),
        n if n >= 999.5 => format!("{:.1}k", n / 1e3),
        n if n >= 9.95 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// A text in lines of at most `width` columns, unless a word is longer; the first begins
/// at column `indent`, the others are moved there. It has no secret any more: one with
/// blanks in it would be broken too, and the ways out do not find it over two lines.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let text = secret::redact(text);
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// A duration in the two units that matter: `0.4 s`, `37 s`, `5 m 12 s`, `3 h 20 m`, `2 d 4 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Whether stdout is a terminal.
pub fn is_at_stdout() -> bool {
    outlet::stdout().is_terminal()
}

/// Whether stderr is a terminal.
pub fn is_at_stderr() -> bool {
    outlet::stderr().is_terminal()
}

/// How to mark text: with a terminal's escape sequences, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// For stdout: only at a terminal, and not when `NO_COLOR` is set.
    pub fn stdout() -> Self {
        Self(is_at_stdout() && wants_colour())
    }

    /// For stderr, as [`Paint::stdout`].
    pub fn stderr() -> Self {
        Self(is_at_stderr() && wants_colour())
    }

    /// Never.
    pub const fn plain() -> Self {
        Self(false)
    }

    /// Whether anything is marked.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.marked(text, "1")
    }

    /// Fainter than the rest.
    pub fn dim(self, text: &str) -> String {
        self.marked(text, "2")
    }

    /// Green: good, or up.
    pub fn green(self, text: &str) -> String {
        self.marked(text, "32")
    }

    /// Red: bad, or down.
    pub fn red(self, text: &str) -> String {
        self.marked(text, "31")
    }

    fn marked(self, text: &str, code: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn wants_colour() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !dumb
}

/// Narrower than this nothing is laid out for.
const WIDTH_MIN: usize = 60;

/// A wider line is hard to follow.
const WIDTH_MAX: usize = 160;

/// Columns to lay out for: the terminal's at stdout, 80 where there is none.
#[expect(clippy::disallowed_methods, reason = "it is only measured")]
pub fn width() -> usize {
    let columns = console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
    columns.clamp(WIDTH_MIN, WIDTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_shortened() {
        let grouped: Vec<_> = [0, 999, 1_000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "row"), counted(2_000, "row")), ("1 row".to_owned(), "2,000 rows".to_owned()));
        let shortened: Vec<_> =
            [0.04, 9.96, 950.0, 999.7, 1_234.0, 12_345.0, 999_600.0, 1e7].into_iter().map(short).collect();
        assert_eq!(shortened, ["0.0", "10", "950", "1.0k", "1.2k", "12k", "1.0M", "10M"]);
    }

    #[test]
    fn a_long_text_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 10, 3), "one two\n   three");
        assert_eq!(wrapped("one two three", 13, 0), "one two three");
        assert_eq!(wrapped("a-long-word on", 5, 2), "a-long-word\n  on");
    }

    #[test]
    fn a_secret_with_blanks_is_gone_before_it_could_be_broken() {
        let phrase = secret::Secret::new("zq wrapped horse battery");
        let text = format!("the server says: {} is wrong", phrase.expose());
        for width in 10..60 {
            let shown = wrapped(&text, width, 4);
            let words: Vec<_> = shown.split_whitespace().collect();
            assert_eq!(words.join(" "), "the server says: *** is wrong", "{width}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        let shown: Vec<_> = [0.44, 9.96, 37.0, 59.6, 312.0, 12_000.0, 187_200.0]
            .map(|s| duration(Duration::from_secs_f64(s)))
            .into();
        assert_eq!(shown, ["0.4 s", "10 s", "37 s", "1 m 0 s", "5 m 12 s", "3 h 20 m", "2 d 4 h"]);
    }
}
