//! Market data from Polygon.io (now Massive) into a warehouse, exactly once.

pub mod batch;
pub mod calendar;
pub mod catalog;
pub mod checkpoint;
pub mod error;
pub mod secret;
pub mod sink;
