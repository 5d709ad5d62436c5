//! DuckDB, embedded: the default sink.
