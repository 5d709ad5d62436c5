//! The Airbyte protocol.
