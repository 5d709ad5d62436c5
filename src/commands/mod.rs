//! One file a verb: wiring only, and the only place that knows concrete types.

pub mod check;
pub mod completions;
mod connect;
pub mod demo;
pub mod destination;
pub mod discover;
pub mod init;
pub mod man;
mod protocol;
pub mod read;
mod signals;
pub mod simulate;
pub mod spec;
pub mod sync;
