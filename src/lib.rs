//! Market data from Polygon.io (now Massive) into a warehouse, exactly once.

pub mod airbyte;
pub mod batch;
pub mod calendar;
mod canonical;
pub mod catalog;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod destination;
pub mod engine;
pub mod error;
pub mod failpoint;
pub mod limit;
pub mod mode;
pub mod observe;
pub mod polygon;
pub mod progress;
pub mod retry;
pub mod secret;
pub mod simulator;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod terminal;
pub mod version;
