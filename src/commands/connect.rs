//! From the configuration of a sink to the sink, and from that of a stream to its target.

use std::path::{Path, absolute};
use std::sync::Arc;

use crate::config::pipeline::{Choice, SinkConfig};
use crate::error::Result;
use crate::sink::duckdb::DuckDbSink;
use crate::sink::snowflake::SnowflakeSink;
use crate::sink::{Abilities, Sink, Target};

/// What the sink can do.
pub(super) fn abilities(sink: &SinkConfig) -> Abilities {
    match sink {
        SinkConfig::DuckDb(_) => DuckDbSink::able(),
        SinkConfig::Snowflake(_) => SnowflakeSink::able(),
    }
}

/// Connects to the sink.
///
/// # Errors
/// When it cannot be opened or used as configured.
pub(super) async fn connect(sink: &SinkConfig) -> Result<Box<dyn Sink>> {
    Ok(match sink {
        SinkConfig::DuckDb(config) => Box::new(DuckDbSink::connect(config).await?),
        SinkConfig::Snowflake(config) => Box::new(SnowflakeSink::connect(config).await?),
    })
}

/// Connects to the sink only to look at what is there: nothing is created.
///
/// # Errors
/// As [`connect`].
pub(super) async fn peek(sink: &SinkConfig) -> Result<Box<dyn Sink>> {
    Ok(match sink {
        SinkConfig::DuckDb(config) => Box::new(DuckDbSink::peek(config).await?),
        SinkConfig::Snowflake(config) => Box::new(SnowflakeSink::peek(config).await?),
    })
}

/// Tries whether the sink takes what a run would write to it. A database file that was not
/// there is gone afterwards.
///
/// # Errors
/// As a run that would write there.
pub(super) async fn try_rights(sink: &SinkConfig) -> Result<()> {
    let new_file = match sink {
        SinkConfig::DuckDb(config) => Some(Path::new(&config.path)).filter(|path| !path.exists()),
        SinkConfig::Snowflake(_) => None,
    };
    let mut sink = connect(sink).await?;
    let tried = sink.try_rights().await;
    drop(sink);
    if let Some(path) = new_file {
        // Nothing was in it; that it stays would do no harm.
        let _ = std::fs::remove_file(path);
    }
    tried
}

/// A stream of the pipeline as the sink has to hold it.
pub(super) fn target(pipeline: &str, choice: &Choice) -> Target {
    let target = Target::new(pipeline, &choice.stream.name, Arc::clone(&choice.table), choice.mode);
    Target { shared: choice.shared, rejected_max: choice.rejected_max, ..target }
}

/// Where the rows are, as a person finds them.
pub(super) fn place(sink: &SinkConfig) -> String {
    match sink {
        SinkConfig::DuckDb(config) => {
            let path = absolute(&config.path)
                .map_or_else(|_| config.path.clone(), |path| path.display().to_string());
            format!("{path}, schema {}", config.schema)
        }
        SinkConfig::Snowflake(config) => {
            format!("Snowflake {}, {}.{}", config.account, config.database, config.schema)
        }
    }
}
