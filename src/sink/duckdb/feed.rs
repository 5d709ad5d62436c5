//! A table function that hands a decoded batch to DuckDB: columns are copied
//! into its vectors as they are, without a row or a value object in between.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::Connection;
use duckdb::core::{DataChunkHandle, FlatVector, Inserter, LogicalTypeHandle, LogicalTypeId};
use duckdb::ffi;
use duckdb::vtab::{BindInfo, InitInfo, TableFunctionInfo, VTab};
use uuid::Uuid;

use crate::batch::{Batch, Extent, ExtractedAt, Unit};
use crate::error::listed;
use crate::sink::columns::{Columns, Texts, Validity, Values};
use crate::sink::{META_TAIL, Run, Target, change_text, tell_changes};
use crate::table::{Column, ColumnType, Metadata, Table};

/// Rows per chunk. DuckDB's vectors hold this many in every official build; it
/// is a multiple of 64, so a chunk's validity begins at a word.
const CHUNK_ROWS: usize = 2048;

/// Partitions that a message names.
const SHARDS_NAMED_MAX: usize = 5;

/// A batch on its way into the database.
#[derive(Debug)]
pub(super) struct Load {
    pub columns: Columns,
    extracted_at: ExtractedAt,
    /// The id of the first row; each row's is the one before it plus one.
    first_id: u128,
    /// `_airbyte_meta` of the rows that have changes.
    meta: BTreeMap<usize, String>,
    /// And of all others.
    plain_meta: String,
    /// As in [`crate::batch::Batch::replaces`].
    pub replaces: Vec<Extent>,
    /// As in [`crate::batch::Batch::units`].
    units: Vec<Unit>,
    /// Bytes of the rows' text.
    pub bytes: usize,
    /// Of each row whether it is a delete; empty when none is.
    deletes: Vec<bool>,
    /// Whose rows these are.
    table: Arc<Table>,
}

impl Load {
    /// `kept` says which rows of the batch are in `columns`, unless all are.
    pub fn new(columns: Columns, kept: Option<&[u32]>, target: &Target, batch: &mut Batch) -> Self {
        let meta = changes(&columns, target);
        let extracted_at = match (&mut batch.extracted_at, kept) {
            (ExtractedAt::Each(each), Some(kept)) => {
                ExtractedAt::Each(kept.iter().map(|row| each[*row as usize]).collect())
            }
            (ExtractedAt::Each(each), None) => ExtractedAt::Each(std::mem::take(each)),
            (ExtractedAt::All(at), _) => ExtractedAt::All(*at),
        };
        let first = if columns.is_empty() { 0 } else { extracted_at.of(0) };
        let plain_meta = plain_meta(target);
        let replaces = std::mem::take(&mut batch.replaces);
        let table = Arc::clone(&batch.table);
        let bytes = batch.rows.bytes();
        let deletes = if target.replaces_by_key() { deletes(&columns) } else { Vec::new() };
        let (units, first_id) = (std::mem::take(&mut batch.units), first_id(first));
        Self { columns, extracted_at, first_id, meta, plain_meta, replaces, units, bytes, deletes, table }
    }

    /// What messages call the rows: by the partitions that they are of.
    pub fn told(&self) -> String {
        let shards: BTreeSet<&str> =
            self.units.iter().map(|unit| &*unit.shard).filter(|shard| !shard.is_empty()).collect();
        match shards.into_iter().collect::<Vec<_>>().as_slice() {
            [] => "rows".to_owned(),
            shards => format!("rows of {}", listed(shards, SHARDS_NAMED_MAX)),
        }
    }

    /// The types of the columns as they are in this batch.
    fn types(&self) -> Vec<ColumnType> {
        let ty = |(index, column): (usize, &Column)| match self.columns.values(index) {
            Values::Decimal(width, _) | Values::WideDecimal(width, _) => ColumnType::Decimal(*width),
            Values::Double(_) => ColumnType::Double,
            Values::Timestamp(_) => ColumnType::Timestamp,
            Values::Micros(_) => ColumnType::TimestampMicros,
            _ => column.ty,
        };
        self.table.columns.iter().enumerate().map(ty).collect()
    }

    /// Whether a row has changes.
    pub fn has_changes(&self) -> bool {
        !self.meta.is_empty()
    }

    /// Whether a row is a delete.
    pub fn has_deletes(&self) -> bool {
        !self.deletes.is_empty()
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    fn extracted_at_us(&self, rows: std::ops::Range<usize>) -> Vec<i64> {
        rows.map(|row| self.extracted_at.of(row).saturating_mul(1000)).collect()
    }
}

/// `_airbyte_meta` of a row whose values all fit.
pub(super) fn plain_meta(target: &Target) -> String {
    format!("{}{META_TAIL}", Run::meta_head(target.run))
}

/// UUID version 7 with the time of fetching and 74 random bits that the rows of
/// a batch count up from (RFC 9562, 6.2, method 2): unique, made without a
/// random number a row, and neighbours that compress to nothing.
fn first_id(extracted_at_ms: i64) -> u128 {
    let millis = u128::from(extracted_at_ms.max(0).cast_unsigned()) & 0xFFFF_FFFF_FFFF;
    // Version 4 has random bits where version 7 has them. The highest of those
    // that are counted through is cleared, so that counting never reaches the variant.
    let random = Uuid::new_v4().as_u128() & !(0xF << 76) & !(1 << 61);
    (random & ((1 << 80) - 1)) | millis << 80 | 7 << 76
}

fn deletes(columns: &Columns) -> Vec<bool> {
    if columns.deletes().is_empty() {
        return Vec::new();
    }
    let mut deletes = vec![false; columns.len()];
    columns.deletes().iter().for_each(|row| deletes[*row] = true);
    deletes
}

/// The text of `_airbyte_meta` by row.
fn changes(columns: &Columns, target: &Target) -> BTreeMap<usize, String> {
    let mut rows: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for note in columns.notes() {
        rows.entry(note.row).or_default().push(note.changes.to_string());
    }
    for change in columns.changes() {
        rows.entry(change.row).or_default().push(change_text(&target.table, change));
    }
    if let Some(changes) = rows.values().next() {
        tell_changes(&target.table, rows.len(), &changes.join(","));
    }
    let head = Run::meta_head(target.run);
    rows.into_iter().map(|(row, changes)| (row, format!("{head}{}{META_TAIL}", changes.join(",")))).collect()
}

/// The table function of a database, with the batch that it returns now.
#[derive(Debug, Default)]
pub(super) struct Feed {
    load: Mutex<Option<Arc<Load>>>,
}

impl Feed {
    /// The function's call in SQL.
    pub const SQL: &str = "tapeline_feed()";

    /// The column that says which rows are deletes, of batches that have any.
    pub const DELETED: &str = "_tapeline_deleted";

    /// Registers the table function.
    pub fn register(connection: &Connection) -> duckdb::Result<Arc<Self>> {
        let feed = Arc::new(Self::default());
        let name = Self::SQL.trim_end_matches("()");
        connection.register_table_function_with_extra_info::<Function, _>(name, &feed)?;
        Ok(feed)
    }

    /// The call when it returns these columns. DuckDB keeps the plan of a statement by
    /// its text, and in the plan the types of decimals and times.
    pub fn sql_of(columns: &Columns) -> String {
        let mark = |column| match columns.values(column) {
            Values::Decimal(width, _) | Values::WideDecimal(width, _) => width.to_string(),
            Values::Micros(_) => format!("{column}us"),
            _ => String::new(),
        };
        format!("{} /* {} */", Self::SQL, (0..columns.width()).map(mark).collect::<String>())
    }

    /// Sets what the function returns from now on.
    pub fn set(&self, load: Option<Arc<Load>>) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    fn get(&self) -> Result<Arc<Load>, Box<dyn StdError>> {
        let load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.clone().ok_or_else(|| "no batch is set".into())
    }
}

/// The implementation behind a [`Feed`], which is its extra info.
struct Function;

/// One run of the function.
struct Scan {
    load: Arc<Load>,
    /// Indices of the columns that the query needs.
    projection: Vec<usize>,
    next: AtomicUsize,
}

impl VTab for Function {
    type BindData = Vec<ColumnType>;
    type InitData = Scan;

    fn bind(bind: &BindInfo) -> Result<Self::BindData, Box<dyn StdError>> {
        // SAFETY: `register` set the extra info to an `Arc<Feed>`, which DuckDB
        // keeps as long as the function.
        let feed = unsafe { &*bind.get_extra_info::<Arc<Feed>>() };
        let load = feed.get()?;
        let types = load.types();
        for (column, ty) in load.table.columns.iter().zip(&types) {
            bind.add_result_column(&column.name, logical_type(*ty));
        }
        bind.add_result_column(Metadata::RawId.column(), LogicalTypeId::Uuid.into());
        bind.add_result_column(Metadata::ExtractedAt.column(), LogicalTypeId::TimestampTZ.into());
        bind.add_result_column(Metadata::Changes.column(), LogicalTypeId::Varchar.into());
        if load.has_deletes() {
            bind.add_result_column(Feed::DELETED, LogicalTypeId::Boolean.into());
        }
        bind.set_cardinality(load.columns.len() as u64, false);
        Ok(types)
    }

    fn init(init: &InitInfo) -> Result<Scan, Box<dyn StdError>> {
        // SAFETY: as in `bind`.
        let feed = unsafe { &*init.get_extra_info::<Arc<Feed>>() };
        let load = feed.get()?;
        // SAFETY: DuckDB keeps what `bind` returned as long as the plan.
        let planned = unsafe { &*init.get_bind_data::<Vec<ColumnType>>() };
        if load.types() != *planned {
            return Err("the batch has other types than the plan".into());
        }
        let projection = init.get_column_indices().into_iter().map(|index| index as usize).collect();
        Ok(Scan { load, projection, next: AtomicUsize::new(0) })
    }

    fn func(
        function: &TableFunctionInfo<Self>,
        output: &mut DataChunkHandle,
    ) -> Result<(), Box<dyn StdError>> {
        let scan = function.get_init_data();
        let start = scan.next.fetch_add(CHUNK_ROWS, Ordering::Relaxed);
        let rows = start..scan.load.columns.len().min(start + CHUNK_ROWS);
        if rows.is_empty() {
            output.set_len(0);
            return Ok(());
        }
        let width = scan.load.columns.width();
        for (index, column) in scan.projection.iter().enumerate() {
            let chunk = Chunk { output, index, rows: rows.clone() };
            match column.checked_sub(width) {
                None => chunk.fill(scan.load.columns.values(*column), scan.load.columns.validity(*column)),
                Some(0) => chunk.ids(scan.load.first_id),
                Some(1) => chunk.copy(&scan.load.extracted_at_us(rows.clone())),
                Some(2) => chunk.meta(&scan.load),
                Some(3) if scan.load.has_deletes() => chunk.copy(&scan.load.deletes[rows.clone()]),
                // A query that needs no column, such as count(*), asks for the row's number.
                Some(_) => {}
            }
        }
        output.set_len(rows.len());
        Ok(())
    }

    fn supports_pushdown() -> bool {
        true
    }
}

fn logical_type(ty: ColumnType) -> LogicalTypeHandle {
    match ty {
        // JSON is text of which the INSERT's cast checks that it is JSON.
        ColumnType::Text | ColumnType::Json => LogicalTypeId::Varchar.into(),
        ColumnType::Boolean => LogicalTypeId::Boolean.into(),
        ColumnType::Integer => LogicalTypeId::Bigint.into(),
        // In 64 bits up to 18 digits, else in 128.
        ColumnType::Decimal(width) => LogicalTypeHandle::decimal(width.precision(), width.scale()),
        ColumnType::Double => LogicalTypeId::Double.into(),
        ColumnType::Date => LogicalTypeId::Date.into(),
        ColumnType::Timestamp => LogicalTypeId::TimestampNs.into(),
        ColumnType::TimestampMicros => LogicalTypeId::Timestamp.into(),
    }
}

/// One column of one chunk, and the rows that go there.
struct Chunk<'a> {
    output: &'a DataChunkHandle,
    index: usize,
    rows: std::ops::Range<usize>,
}

impl Chunk<'_> {
    fn fill(&self, values: &Values, validity: &Validity) {
        let rows = self.rows.clone();
        match values {
            Values::Text(texts) | Values::Json(texts) => self.texts(texts, validity),
            Values::Boolean(values) => self.copy(&values[rows]),
            Values::Integer(values) | Values::Timestamp(values) | Values::Micros(values) => {
                self.copy(&values[rows]);
            }
            Values::Decimal(_, values) => self.copy(&values[rows]),
            Values::WideDecimal(_, values) => self.copy(&values[rows]),
            Values::Double(values) => self.copy(&values[rows]),
            Values::Date(values) => self.copy(&values[rows]),
        }
        self.validity(validity);
    }

    fn vector(&self) -> FlatVector<'_> {
        self.output.flat_vector(self.index)
    }

    /// Copies values whose form in memory is the vector's.
    fn copy<T: Copy>(&self, values: &[T]) {
        assert!(values.len() <= self.vector().capacity(), "a chunk is larger than DuckDB's vectors");
        // SAFETY: `logical_type` gives the column the type whose physical form is
        // `T` (bool, i32, i64, f64, i128 as two's complement), the vector has room for
        // its capacity of them, and nothing else refers to its memory here. Bytes
        // are copied because DuckDB aligns 128-bit values to 8 only.
        unsafe {
            let target: *mut u8 = self.vector().as_mut_ptr();
            std::ptr::copy_nonoverlapping(values.as_ptr().cast(), target, size_of_val(values));
        }
    }

    fn texts(&self, texts: &Texts, validity: &Validity) {
        let vector = self.vector();
        for (index, row) in self.rows.clone().enumerate() {
            if validity.get(row) {
                vector.insert(index, texts.get(row));
            }
        }
    }

    fn ids(&self, first: u128) {
        // DuckDB flips the highest bit, so that its signed integers order as UUIDs do.
        let id = |row: usize| (first + row as u128) ^ (1 << 127);
        self.copy(&self.rows.clone().map(id).collect::<Vec<u128>>());
    }

    fn meta(&self, load: &Load) {
        let vector = self.vector();
        for (index, row) in self.rows.clone().enumerate() {
            vector.insert(index, load.meta.get(&row).unwrap_or(&load.plain_meta).as_str());
        }
    }

    fn validity(&self, validity: &Validity) {
        let words = &validity.words()[self.rows.start / 64..self.rows.end.div_ceil(64)];
        let (full, last) = words.split_at(self.rows.len() / 64);
        let tail = (1 << (self.rows.len() % 64)) - 1;
        if full.iter().all(|word| *word == u64::MAX) && last.iter().all(|word| *word == tail) {
            return;
        }
        // SAFETY: the chunk and its vector are alive, and once it is writable the
        // mask has a bit for each row of the vector's capacity, checked by `copy`
        // or `insert` to hold these rows.
        unsafe {
            let vector = ffi::duckdb_data_chunk_get_vector(self.output.get_ptr(), self.index as u64);
            ffi::duckdb_vector_ensure_validity_writable(vector);
            let mask = ffi::duckdb_vector_get_validity(vector);
            std::ptr::copy_nonoverlapping(words.as_ptr(), mask, words.len());
        }
    }
}
