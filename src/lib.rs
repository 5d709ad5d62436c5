//! Market data from Polygon.io (now Massive) into a warehouse, exactly once.

pub mod airbyte;
pub mod batch;
pub mod calendar;
pub mod catalog;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod engine;
pub mod error;
pub mod limit;
pub mod observe;
pub mod polygon;
pub mod retry;
pub mod secret;
pub mod sink;
pub mod source;
