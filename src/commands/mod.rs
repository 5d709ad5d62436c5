//! One file a verb: wiring only, and the only place that knows concrete types.

pub mod check;
pub mod demo;
pub mod discover;
pub mod init;
pub mod read;
pub mod simulate;
pub mod spec;
pub mod sync;
