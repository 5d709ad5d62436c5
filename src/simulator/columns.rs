//! How a simulated fact is told: field by field, by the API's names, to
//! whoever renders it. The API's answers and the truth are two renderers.

use jiff::Timestamp;
use jiff::civil::Date;

use super::decimal::{Decimal, Style};
use super::dice::mix;

/// How the API writes a moment as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentForm {
    /// `2022-04-28T17:08:00Z`
    Seconds,
    /// `2022-11-25T14:30:00.000Z`
    Millis,
}

/// Takes the fields of one row. `name` is the API's name.
pub trait Columns {
    /// A text.
    fn text(&mut self, name: &'static str, value: &str);
    /// A truth value.
    fn boolean(&mut self, name: &'static str, value: bool);
    /// A whole number.
    fn integer(&mut self, name: &'static str, value: i64);
    /// A number that the API writes as a number.
    fn decimal(&mut self, name: &'static str, value: Decimal);
    /// A number that the API writes as a string.
    fn decimal_text(&mut self, name: &'static str, value: Decimal);
    /// A day.
    fn date(&mut self, name: &'static str, value: Date);
    /// A moment that the API writes as milliseconds since the UNIX epoch.
    fn millis(&mut self, name: &'static str, value: i64);
    /// A moment that the API writes as nanoseconds since the UNIX epoch.
    fn nanos(&mut self, name: &'static str, value: i64);
    /// A moment that the API writes as text.
    fn moment(&mut self, name: &'static str, value: Timestamp, form: MomentForm);
    /// Any JSON.
    fn json(&mut self, name: &'static str, value: &str);
}

/// Something that happened in the simulated market and is a row of a stream.
pub trait Fact {
    /// Tells its fields in the API's order; an absent one is left out.
    fn tell(&self, columns: &mut impl Columns);
}

/// Renders a fact as a row of the API's answer. Numbers are now and then
/// written as `1748755.0` or `2.384421e+06`, by `salt`.
pub struct ApiRow<'a> {
    out: &'a mut Vec<u8>,
    salt: u64,
    fields: u64,
}

impl<'a> ApiRow<'a> {
    /// Appends the row of `fact` to `out`.
    pub fn write(fact: &impl Fact, salt: u64, out: &'a mut Vec<u8>) {
        let mut row = Self { out, salt, fields: 0 };
        row.out.push(b'{');
        fact.tell(&mut row);
        row.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if self.fields > 0 {
            self.out.push(b',');
        }
        self.fields += 1;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn style(&self) -> Style {
        match mix(&[self.salt, self.fields]) % 32 {
            0..=3 => Style::PointZero,
            4 => Style::Exponent,
            _ => Style::Plain,
        }
    }
}

impl Columns for ApiRow<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_text(self.out, value);
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.json(name, if value { "true" } else { "false" });
    }

    fn integer(&mut self, name: &'static str, value: i64) {
        self.name(name);
        Decimal::integer(value).write(Style::Plain, self.out);
    }

    fn decimal(&mut self, name: &'static str, value: Decimal) {
        self.name(name);
        value.write(self.style(), self.out);
    }

    fn decimal_text(&mut self, name: &'static str, value: Decimal) {
        self.name(name);
        self.out.push(b'"');
        value.write(Style::PointZero, self.out);
        self.out.push(b'"');
    }

    fn date(&mut self, name: &'static str, value: Date) {
        self.text(name, &value.to_string());
    }

    fn millis(&mut self, name: &'static str, value: i64) {
        self.integer(name, value);
    }

    fn nanos(&mut self, name: &'static str, value: i64) {
        self.integer(name, value);
    }

    fn moment(&mut self, name: &'static str, value: Timestamp, form: MomentForm) {
        self.text(name, &moment_text(value, form));
    }

    fn json(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
    }
}

/// A moment as the API writes it.
pub fn moment_text(value: Timestamp, form: MomentForm) -> String {
    match form {
        MomentForm::Seconds => format!("{value:.0}"),
        MomentForm::Millis => format!("{value:.3}"),
    }
}

/// Appends `value` as a JSON string.
pub fn write_text(out: &mut Vec<u8>, value: &str) {
    let plain = value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
    }
}

/// A JSON array of strings.
pub fn text_array<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = vec![b'['];
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(&mut out, value);
    }
    out.push(b']');
    String::from_utf8(out).unwrap_or_default()
}
