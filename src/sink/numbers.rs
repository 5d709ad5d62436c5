//! As what numbers are kept, as a person chooses it.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::catalog::{ColumnType, Table};

/// As what columns keep numbers with a fraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Decimals, exactly as they were sent. Their columns widen with them, up to 38 digits.
    #[default]
    Decimal,
    /// Doubles: numbers of any size, rounded to about 16 digits.
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

impl Numbers {
    /// A table whose columns of numbers are of this kind.
    pub(crate) fn table(self, table: &Arc<Table>) -> Arc<Table> {
        let is_decimal = |ty| matches!(ty, ColumnType::Decimal(_));
        if self == Self::Decimal || !table.columns.iter().any(|column| is_decimal(column.ty)) {
            return Arc::clone(table);
        }
        let mut doubles = (**table).clone();
        for column in doubles.columns.iter_mut().filter(|column| is_decimal(column.ty)) {
            column.ty = ColumnType::Double;
        }
        Arc::new(doubles)
    }
}
