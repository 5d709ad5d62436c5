//! The answer to `spec`.

use super::PROTOCOL_VERSION;
use super::messages::Specification;
use crate::config::schema;
use crate::config::source::RawSourceConfig;

/// Where a user reads about the source.
const DOCUMENTATION_URL: &str = "https://massive.com/docs/rest/quickstart";

/// The specification of the source.
pub fn source() -> Specification {
    Specification {
        documentation_url: DOCUMENTATION_URL,
        connection_specification: schema::of::<RawSourceConfig>(),
        supports_incremental: true,
        protocol_version: PROTOCOL_VERSION,
    }
}
