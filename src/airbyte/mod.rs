//! The Airbyte protocol 0.18: messages on stdout and, for a destination, on stdin;
//! catalogue and state from files.
//!
//! One JSON object a line, and nothing else on stdout: every line goes through
//! [`stdout::Lines`]. A STATE follows the records that it covers through the same
//! pipe, so a platform that acts on a STATE has seen its records.

pub mod catalog;
pub mod descriptor;
pub mod incoming;
pub mod log;
pub mod messages;
pub mod observer;
pub mod output;
pub mod sink;
pub mod spec;
pub mod state;
pub mod status;
pub mod stdin;
pub mod stdout;

/// The protocol's version that `spec` names.
pub const PROTOCOL_VERSION: &str = "0.18.0";

#[cfg(test)]
mod tests;
