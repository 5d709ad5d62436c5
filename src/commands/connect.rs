//! From the configuration of a sink to the sink.

use crate::config::pipeline::SinkConfig;
use crate::error::Result;
use crate::sink::Sink;
use crate::sink::duckdb::DuckDbSink;
use crate::sink::snowflake::SnowflakeSink;

/// Tries whether the sink takes what a run would write to it.
///
/// # Errors
/// As a run that would write there.
pub(super) async fn check(sink: &SinkConfig) -> Result<()> {
    match sink {
        SinkConfig::DuckDb(config) => DuckDbSink::check(config).await,
        SinkConfig::Snowflake(config) => SnowflakeSink::connect(config).await?.check().await,
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
