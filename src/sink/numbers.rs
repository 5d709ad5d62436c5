//! As what numbers are kept, as a person chooses it.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::error::{Error, ErrorKind};
use crate::table::{Column, ColumnType, Table};

/// As what columns keep numbers with a fraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Decimals, exactly as they were sent. Their columns widen with them, up to 38 digits.
    #[default]
    Decimal,
    /// Doubles: numbers of any size, rounded to about 16 digits. Those of a primary key stay
    /// decimals: two rows of which the keys round alike are not the same.
    Double,
}

/// By hand, because platforms want a choice of words as one `enum`.
impl JsonSchema for Numbers {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Numbers")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["decimal", "double"] })
    }
}

/// The error of a number in a key by which rows are merged, for which its column cannot be
/// widened: as NULL it would merge rows that are not the same. Keys are
/// [bounded](crate::table::Width::KEY), so this is of a column that was wider before.
pub(crate) fn unfit_key(table: &str, column: &str) -> Error {
    Error::new(ErrorKind::Table, format!("`{column}` of table {table} holds a number that does not fit"))
        .hint("decimals have 38 digits, before and after the point together: make it text in the stream's schema, or choose the mode append")
}

/// Says of the first number of a column that it is kept beside it.
pub(crate) fn tell_beside(table: &str, column: &str, ty: ColumnType) {
    match ty {
        ColumnType::Double => tracing::warn!(
            table,
            column,
            "a number is beyond what a double reaches: such numbers are NULL there, listed in _airbyte_meta and \
             kept in additional_properties"
        ),
        _ => tracing::warn!(
            table,
            column,
            "a number does not fit beside the column's others: such numbers are NULL there, listed in \
             _airbyte_meta and kept in additional_properties; `numbers: double` takes them, rounded"
        ),
    }
}

impl Numbers {
    /// A table whose columns of numbers are of this kind.
    pub(crate) fn table(self, table: &Arc<Table>) -> Arc<Table> {
        let rounds = |column: &Column| {
            matches!(column.ty, ColumnType::Decimal(_)) && !table.key.contains(&column.name)
        };
        if self == Self::Decimal || !table.columns.iter().any(rounds) {
            return Arc::clone(table);
        }
        let mut doubles = (**table).clone();
        for column in doubles.columns.iter_mut().filter(|column| rounds(column)) {
            column.ty = ColumnType::Double;
        }
        Arc::new(doubles)
    }
}
