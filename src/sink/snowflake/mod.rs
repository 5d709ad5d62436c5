//! Snowflake.
