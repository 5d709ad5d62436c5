//! How rows are kept, as a person chooses it, the catalogue recommends it and a
//! sink does it.

/// What a sink does with rows that it already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Every row is added.
    Append,
    /// A row replaces the row with the same key; the later one in the order of
    /// writing wins, also inside one batch. Key columns compare null-safe. Rows that
    /// the source has no more go when the days that they are of are read again.
    AppendDedup,
    /// A run's rows replace the whole table when the run finishes the stream;
    /// until then readers see the old table.
    Overwrite,
}
