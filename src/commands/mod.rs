//! One file a verb: wiring only, and the only place that knows concrete types.

pub mod check;
pub mod completions;
mod connect;
pub mod demo;
pub mod destination;
pub mod discover;
pub mod init;
mod looked;
pub mod man;
mod protocol;
pub mod read;
pub mod reset;
pub(crate) mod signals;
pub mod simulate;
pub mod spec;
pub mod status;
pub mod sync;
