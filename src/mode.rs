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
    /// As [`WriteMode::Overwrite`], and of a run's rows with the same key the last one
    /// is kept. No user's choice: a platform asks for it when it refreshes a stream.
    #[serde(skip)]
    OverwriteDedup,
}

impl WriteMode {
    /// As it is written in a pipeline.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::AppendDedup => "append_dedup",
            Self::Overwrite => "overwrite",
            Self::OverwriteDedup => "overwrite_dedup",
        }
    }

    /// Whether a run's rows collect beside the table until the run finishes.
    pub fn is_staged(self) -> bool {
        matches!(self, Self::Overwrite | Self::OverwriteDedup)
    }

    /// Whether a row replaces the row with the same key.
    pub fn replaces_by_key(self) -> bool {
        matches!(self, Self::AppendDedup | Self::OverwriteDedup)
    }
}
