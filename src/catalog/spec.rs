//! What an entry of the catalogue can say.

use crate::mode::WriteMode;
use crate::table::{Column, ColumnType, EXTRA_COLUMN, Kind, Table, TimeUnit, Width};

/// One endpoint of the API as a stream.
#[derive(Debug)]
pub struct StreamSpec {
    /// The stream's name; with [`Sizes::Bars`] a size is appended.
    pub name: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
    /// Path below the base URL. Placeholders, here and in `query`: `{ticker}`,
    /// `{multiplier}`, `{timespan}`, `{adjusted}`, `{value}` (of
    /// [`Partition::Values`]), `{date}`, and the bounds of a window: `{from}` and
    /// `{to}` as dates, both inclusive; `{from_ns}` and `{until_ns}` as UNIX
    /// nanoseconds, `{from_utc}` and `{until_utc}` as RFC 3339, of New York's
    /// midnights, the second exclusive. `{resume}` is the value of [`Self::resume`].
    pub path: &'static str,
    /// Query parameters, every option stated that the API would default. A
    /// parameter whose placeholder has no value (`{to}` of an open window) is left out.
    pub query: &'static [(&'static str, &'static str)],
    /// Where in the answer the rows are.
    pub rows_at: RowsAt,
    /// Members beside the rows that say how many of them the answer holds. The vendor
    /// promises `resultsCount` for bars and `count` for most others; one that is
    /// missing says nothing.
    pub counted_by: &'static [&'static str],
    /// The column that rows come ordered by: from its last value on is asked whether
    /// rows follow a page that is full and names no next one. Every stream with a
    /// `limit` has one.
    pub resume: Option<&'static str>,
    /// Whether there is a stream per bar size.
    pub sizes: Sizes,
    /// By what requests are split besides time.
    pub partition: Partition,
    /// How requests are split in time.
    pub window: Window,
    /// Columns that the request knows and the row does not say.
    pub derived: &'static [Derived],
    /// The fields of a row. Unknown ones are kept in `additional_properties`.
    pub fields: &'static [Field],
    /// The primary key, as column names.
    pub key: &'static [&'static str],
    /// Columns of the key in which NULL is a value like any other: it says something, and
    /// rows that have it in common, and the rest of the key, are the same.
    pub null_in_key: &'static [&'static str],
    /// The cursor column of incremental reading.
    pub cursor: Option<&'static str>,
    /// How rows change after they were first seen.
    pub change: Change,
    /// The write mode that keeps the table equal to the API.
    pub best_mode: WriteMode,
    /// What a key needs to read it.
    pub needs: Capability,
}

/// Where the rows of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsAt {
    /// An array under `results`; absent means empty when the status is good.
    Results,
    /// One object under `results`.
    ResultsObject,
    /// The answer itself is an array.
    Root,
}

/// Whether an entry makes one stream or one per configured size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// One stream.
    None,
    /// One per bar size.
    Bars,
}

/// By what requests are split besides time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// One request reads all.
    None,
    /// One per configured ticker.
    Ticker,
    /// One per value, put in place of `{value}`.
    Values(&'static [&'static str]),
}

/// How requests are split in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Not at all: each read reads everything.
    Whole,
    /// At most this many trading days a request; closed days cost no request.
    TradingDays(u32),
    /// At most this many calendar days a request.
    CalendarDays(u32),
    /// Calendar days as well, and the last window has no end: rows can lie in the future.
    CalendarDaysOpen(u32),
    /// As many trading days as bars of the stream's size fit in one page.
    BarsPerPage,
}

/// A column that the request knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// `ticker`, the partition.
    Ticker,
    /// `date`, the trading day of the request in New York, of which each row's first time
    /// must be: a row of another day would be stored under this one.
    Date,
}

/// One field of the API's rows.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The API's name.
    pub source: &'static str,
    /// The column's name.
    pub name: &'static str,
    /// Its type, and for a time its unit.
    pub kind: Kind,
    /// Description, with the unit.
    pub doc: &'static str,
}

/// How rows change after they were first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Days before the last reading that are read again, because rows come late
    /// or are corrected.
    Lookback {
        /// Calendar days.
        days: u16,
    },
    /// Anything may change at any time: only reading everything finds it.
    Anytime,
}

/// What a key's plan must include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Every plan has it.
    Basic,
    /// Bars shorter than a day: paid plans.
    IntradayBars,
    /// Trades: paid plans from Developer on.
    Trades,
}

impl Derived {
    fn column(&self) -> Column {
        match self {
            Derived::Ticker => Column {
                name: "ticker".to_owned(),
                ty: ColumnType::Text,
                doc: "Ticker symbol, case-sensitive.".to_owned(),
            },
            Derived::Date => Column {
                name: "date".to_owned(),
                ty: ColumnType::Date,
                doc: "Trading day in New York.".to_owned(),
            },
        }
    }
}

impl Field {
    fn column(&self) -> Column {
        let ty = match self.kind {
            Kind::Text => ColumnType::Text,
            Kind::Boolean => ColumnType::Boolean,
            Kind::Integer => ColumnType::Integer,
            Kind::Decimal(width) => ColumnType::Decimal(width),
            Kind::Date => ColumnType::Date,
            Kind::Time(_) => ColumnType::Timestamp,
            Kind::Json => ColumnType::Json,
        };
        Column { name: self.name.to_owned(), ty, doc: self.doc.to_owned() }
    }

    pub(super) const fn text(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self { source, name, kind: Kind::Text, doc }
    }
    pub(super) const fn boolean(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self { source, name, kind: Kind::Boolean, doc }
    }
    pub(super) const fn integer(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self { source, name, kind: Kind::Integer, doc }
    }
    pub(super) const fn decimal(
        source: &'static str,
        name: &'static str,
        width: Width,
        doc: &'static str,
    ) -> Self {
        Self { source, name, kind: Kind::Decimal(width), doc }
    }
    pub(super) const fn price(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self::decimal(source, name, Width::PRICE, doc)
    }
    pub(super) const fn size(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self::decimal(source, name, Width::SIZE, doc)
    }
    pub(super) const fn volume(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self::decimal(source, name, Width::VOLUME, doc)
    }
    pub(super) const fn date(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self { source, name, kind: Kind::Date, doc }
    }
    pub(super) const fn time(
        source: &'static str,
        name: &'static str,
        unit: TimeUnit,
        doc: &'static str,
    ) -> Self {
        Self { source, name, kind: Kind::Time(unit), doc }
    }
    pub(super) const fn json(source: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self { source, name, kind: Kind::Json, doc }
    }
}

impl StreamSpec {
    /// Its table, as the stream of this name has it.
    pub(super) fn table(&self, name: &str) -> Table {
        let mut columns: Vec<Column> = self.derived.iter().map(Derived::column).collect();
        for field in self.fields {
            columns.push(field.column());
            if let Kind::Time(TimeUnit::Nanos) = field.kind {
                columns.push(Column {
                    name: format!("{}_ns", field.name),
                    ty: ColumnType::Integer,
                    doc: format!("{} As nanoseconds since the UNIX epoch.", field.doc),
                });
            }
        }
        columns.push(Column {
            name: EXTRA_COLUMN.to_owned(),
            ty: ColumnType::Json,
            doc: "Fields that the catalogue does not know, and values that did not fit their column, by the API's names.".to_owned(),
        });
        Table { cursor: self.cursor.map(str::to_owned), ..Table::new(name, columns, self.key) }
    }

    /// Rows (of bars: base aggregates) that fill a page, as the request says.
    pub fn limit(&self) -> Option<u64> {
        self.query.iter().find(|(name, _)| *name == "limit").and_then(|(_, limit)| limit.parse().ok())
    }

    /// The field that says to which of the days asked for a row belongs: the cursor,
    /// or where that is derived the row's first time. None without days.
    pub fn day_field(&self) -> Option<usize> {
        let cursor = self.cursor?;
        let is_time = |field: &Field| matches!(field.kind, Kind::Time(_));
        let of_cursor = self.fields.iter().position(|field| field.name == cursor);
        of_cursor.or_else(|| self.fields.iter().position(is_time))
    }

    /// Whether a request can ask for the state of an earlier day.
    pub fn is_of_a_day(&self) -> bool {
        matches!(self.window, Window::Whole) && self.query.iter().any(|(_, value)| *value == "{date}")
    }

    /// Whether it can be read incrementally: it is sliced by time.
    pub const fn is_incremental(&self) -> bool {
        !matches!(self.window, Window::Whole)
    }

    /// Calendar days before the last reading that are read again.
    pub const fn lookback_days(&self) -> u16 {
        match self.change {
            Change::Lookback { days } => days,
            Change::Anytime => 0,
        }
    }
}
