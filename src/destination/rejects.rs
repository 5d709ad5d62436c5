//! Records that no table can hold as the mode asks: those without a key that is one.
//!
//! NULL in a key would make one row of several. So such a record goes into a table of
//! its own, with the reason, in the transaction that makes durable what covers it; the
//! sync goes on, up to a limit.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::catalog::Configured;
use crate::batch::Rows;
use crate::catalog::{Column, ColumnType, Metadata, Table};
use crate::sink::{AIRBYTE, REJECTED, Target, WriteMode};

/// The tables of rejected records that a catalogue's streams need: one a schema. Each is
/// a stream of its own for the sink, under a name that other catalogues do not share, so
/// that syncs of other streams into the schema are not taken for the same.
pub(super) fn targets(configured: &[Configured]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    // It is stored, so that it must be the same whatever compiled this program.
    let mut hasher = Sha256::new();
    for stream in configured {
        hasher.update(&stream.target.stream);
        hasher.update([0]);
    }
    let hash: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{REJECTED}/{hash}");
    for schema in configured.iter().filter(|stream| needs(stream)).map(|stream| &stream.target.schema) {
        if !targets.iter().any(|target| target.schema == *schema) {
            let target = Target::new(AIRBYTE, &name, table(), WriteMode::Append);
            targets.push(Target { schema: schema.clone(), ..target });
        }
    }
    targets
}

/// Whether a stream's records need a key.
pub(super) fn needs(configured: &Configured) -> bool {
    configured.target.replaces_by_key()
}

fn table() -> Arc<Table> {
    let column = |name: &str, ty, doc: &str| Column { name: name.to_owned(), ty, doc: doc.to_owned() };
    Arc::new(Table {
        name: REJECTED.to_owned(),
        columns: vec![
            column("stream", ColumnType::Text, "The stream whose record it is."),
            column("reason", ColumnType::Text, "Why its table could not take it."),
            column("row", ColumnType::Json, "The record as it would have been stored."),
        ],
        key: Vec::new(),
        cursor: None,
        version: None,
        metadata: Metadata::ALL.to_vec(),
    })
}

/// Adds a record to the rows of the table: `row` is its canonical text.
pub(super) fn push(rows: &mut Rows, stream: &str, reason: &str, row: &[u8]) {
    let out = rows.buffer();
    let head = format!("{{\"stream\":{},\"reason\":{},\"row\":", Value::from(stream), Value::from(reason));
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(row);
    out.push(b'}');
    rows.end_row();
}
