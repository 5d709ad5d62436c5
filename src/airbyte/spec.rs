//! The answers to `spec`.

use super::PROTOCOL_VERSION;
use super::messages::Specification;
use crate::config::destination::RawDestinationConfig;
use crate::config::schema;
use crate::config::source::RawSourceConfig;

/// Where a user reads about the source.
const SOURCE_URL: &str = "https://massive.com/docs/rest/quickstart";

/// And about the warehouse that the destination exists for.
const DESTINATION_URL: &str = "https://docs.snowflake.com/en/user-guide/key-pair-auth";

/// The specification of the source.
pub fn source() -> Specification {
    Specification {
        documentation_url: SOURCE_URL,
        connection_specification: schema::of::<RawSourceConfig>(),
        supports_incremental: true,
        supported_destination_sync_modes: &[],
        protocol_version: PROTOCOL_VERSION,
    }
}

/// The specification of the destination.
pub fn destination() -> Specification {
    Specification {
        documentation_url: DESTINATION_URL,
        connection_specification: schema::of::<RawDestinationConfig>(),
        supports_incremental: true,
        supported_destination_sync_modes: &["overwrite", "append", "append_dedup"],
        protocol_version: PROTOCOL_VERSION,
    }
}
