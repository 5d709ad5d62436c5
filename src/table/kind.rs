//! How a source writes the values of a column.

use super::Width;

/// The type of a field in a source's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON string.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number of at most 64 bits.
    Integer,
    /// A number or a string that holds one, kept exactly, in a column that begins with
    /// this width and widens where a value needs it.
    Decimal(Width),
    /// `YYYY-MM-DD`.
    Date,
    /// A moment. Nanoseconds also give a column `<name>_ns` with the integer.
    Time(TimeUnit),
    /// An array or object, kept as JSON.
    Json,
}

/// How a source writes a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Milliseconds since the UNIX epoch.
    Millis,
    /// Nanoseconds since the UNIX epoch.
    Nanos,
    /// An RFC 3339 string.
    Rfc3339,
    /// An ISO 8601 string, in UTC when it names no offset.
    Iso8601,
}
