//! Tests over real services and the built program: one binary, a module each.

mod demo;
mod image;
mod install;
mod memory;
mod outlets;
mod queries;
mod secrets;
mod snowflake;
mod sync;
