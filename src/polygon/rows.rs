//! The rows of the API, by what the catalogue says of their stream.

use crate::batch::Cause;
use crate::canonical::{FieldForm, Transcoder};
use crate::catalog::{Field, StreamSpec};
use crate::table::Table;

/// What makes rows of a table of the API's. `constants` are the columns that the request
/// knows, and their values.
pub(crate) fn transcoder(spec: &'static StreamSpec, table: &Table, constants: &[(&str, &str)]) -> Transcoder {
    let form = |field: &'static Field| FieldForm { source: field.source, name: field.name, kind: field.kind };
    let null_in_key: Vec<usize> =
        spec.null_in_key.iter().filter_map(|column| table.position(column)).collect();
    Transcoder::of(spec.fields.iter().map(form), table, Cause::Source)
        .null_in_key(&null_in_key)
        .telling_days(spec.day_field())
        .with_constants(constants)
        .hiding_secrets()
}
