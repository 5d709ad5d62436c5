//! The table of a stream: what the engine and a sink learn of it, whoever its rows come from.

mod kind;
mod metadata;
mod width;

pub use kind::{Kind, TimeUnit};
pub use metadata::Metadata;
pub use width::{Need, Width};

/// The column that keeps fields which have none, and values that did not fit theirs, by
/// the names that the source has for them.
pub const EXTRA_COLUMN: &str = "additional_properties";

/// Name, columns and key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Lower-case letters, digits and underscores.
    pub name: String,
    /// In the order of the source, of which the last is [`EXTRA_COLUMN`]; behind it those
    /// that the table learned on the way.
    pub columns: Vec<Column>,
    /// Names of the key columns. They are compared null-safe.
    pub key: Vec<String>,
    /// The column that a reader orders by, where there is one.
    pub cursor: Option<String>,
    /// The column that says which of two rows with one key wins where they replace each
    /// other: the one with the greater value, NULL being the least, and of equal ones the
    /// one that is written later, as all do without it. Of a type with an order.
    pub version: Option<String>,
    /// The columns about its rows that it has besides, in the order of [`Metadata::ALL`].
    pub metadata: Vec<Metadata>,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Lower-case letters, digits and underscores.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// For people, with the unit.
    pub doc: String,
}

/// A column's type, and with it what a canonical row may hold there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// A JSON string.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A JSON number without point or exponent, within `i64`.
    Integer,
    /// A JSON number of any size, exactly as it was sent, an exponent of up to 60
    /// written out. The column holds this width or a greater one; a sink widens it where
    /// a value needs more, and says of a value that no decimal beside the others holds.
    Decimal(Width),
    /// A JSON number, as for [`ColumnType::Decimal`]; the column holds the nearest double.
    Double,
    /// A JSON string `YYYY-MM-DD`.
    Date,
    /// A JSON string in RFC 3339, UTC, `YYYY-MM-DDThh:mm:ss[.f]Z` with 1 to 9
    /// digits after the point, none when the fraction is zero; years 0001 to 9999.
    Timestamp,
    /// A JSON string, as for [`ColumnType::Timestamp`]; the column holds all of these years
    /// and six digits of a second. No stream has it: a sink whose columns with nine digits
    /// do not reach all years makes it of one that needs them.
    TimestampMicros,
    /// Any JSON value, without line breaks outside strings.
    Json,
}

impl Table {
    /// A table of these columns and all of those about its rows, with no order among them.
    pub fn new(name: &str, columns: Vec<Column>, key: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            columns,
            key: key.iter().map(|column| (*column).to_owned()).collect(),
            cursor: None,
            version: None,
            metadata: Metadata::ALL.to_vec(),
        }
    }

    /// The version column, unless rows with one key have the same value there anyhow.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref().filter(|version| !self.key.iter().any(|key| key == version))
    }

    /// Whether it has a column about its rows.
    pub fn has(&self, metadata: Metadata) -> bool {
        self.metadata.contains(&metadata)
    }

    /// The table with more columns behind its own: each row of it is a row of that one. None
    /// when it has one of them already, whatever the case of its letters.
    pub fn grown(&self, more: &[Column]) -> Option<Self> {
        let mut grown = self.clone();
        for column in more {
            let is_same = |name: &str| name.to_lowercase() == column.name.to_lowercase();
            if grown.names().any(is_same) {
                return None;
            }
            grown.columns.push(column.clone());
        }
        Some(grown)
    }

    /// The names of all of its columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.columns.iter().map(|column| column.name.as_str());
        own.chain(self.metadata.iter().map(|metadata| metadata.column()))
    }

    /// The index of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_learns_columns_that_it_lacks() {
        let column = |name: &str| Column { name: name.to_owned(), ty: ColumnType::Text, doc: String::new() };
        let own = ["ticker", EXTRA_COLUMN].map(column);
        let table = Table::new("trades", own.to_vec(), &["ticker"]);
        let grown = table.grown(&[column("new"), column("newer")]).unwrap();
        assert_eq!(grown.columns[..table.columns.len()], table.columns);
        assert_eq!((grown.position("newer"), &grown.key), (Some(table.columns.len() + 1), &table.key));
        for known in ["TICKER", EXTRA_COLUMN, "_airbyte_Raw_id"] {
            assert_eq!(table.grown(&[column(known)]), None, "{known}");
        }
        assert_eq!(table.grown(&[column("new"), column("NEW")]), None);
    }
}
