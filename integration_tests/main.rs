//! Tests over real services and the built program: one binary, a module each.

mod demo;
mod image;
mod install;
mod memory;
mod queries;
mod snowflake;
mod sync;
