//! Columns that are about a row and not of it.

/// A column that a sink fills itself. A table has those that whoever asks for it wants,
/// behind its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metadata {
    /// An id of the row, another one each time that it is written.
    RawId,
    /// When the row was fetched.
    ExtractedAt,
    /// The values that did not fit their column, and the run that the row is of where
    /// somebody else counts the runs. A sink that has no such column says it to people.
    Changes,
    /// The generation that the row is of: the runs of the modes that replace a table.
    Generation,
}

impl Metadata {
    /// What a destination of Airbyte's has
    /// [docs.airbyte.com: Airbyte metadata fields], in the order of its columns.
    pub const ALL: [Self; 4] = [Self::RawId, Self::ExtractedAt, Self::Changes, Self::Generation];

    /// The column's name.
    pub const fn column(self) -> &'static str {
        match self {
            Self::RawId => "_airbyte_raw_id",
            Self::ExtractedAt => "_airbyte_extracted_at",
            Self::Changes => "_airbyte_meta",
            Self::Generation => "_airbyte_generation_id",
        }
    }
}
