//! How messages and catalogues name a stream.

use serde::{Deserialize, Serialize};

/// A stream as messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamDescriptor {
    /// Its name.
    pub name: String,
    /// Its namespace, echoed from the configured catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
