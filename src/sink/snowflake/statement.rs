//! What is asked of a warehouse.

/// A statement and the values of its question marks.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub sql: String,
    pub binds: Vec<Bind>,
}

/// A value of a question mark. Values go beside the SQL text, never into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bind {
    Text(String),
    Integer(i64),
}

impl Statement {
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), binds: Vec::new() }
    }

    pub fn text(mut self, value: impl Into<String>) -> Self {
        self.binds.push(Bind::Text(value.into()));
        self
    }

    pub fn integer(mut self, value: i64) -> Self {
        self.binds.push(Bind::Integer(value));
        self
    }
}
