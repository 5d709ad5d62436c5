//! Secrets that a server repeats in its rows: no row holds one.

use super::{Transcoder, UNKNOWN};
use crate::canonical::json::Value;
use crate::secret;

impl Transcoder {
    /// Whether a member holds what no row may: the member is odd then.
    #[inline(always)]
    pub(super) fn holds_secret(&self, field: usize, key: &[u8], value: Value<'_>) -> bool {
        let is_in_value = match value {
            Value::String(text) | Value::Nested(text) => self.secrets.finds(text),
            // The digits of a secret may be those of any number.
            Value::Number(_) | Value::Boolean(_) | Value::Null => false,
        };
        is_in_value || (field == UNKNOWN && self.secrets.finds(key))
    }

    /// Blots out the secrets in what a member was mended to, from `start` on. Returns
    /// whether there was one.
    pub(super) fn hide_secrets(&self, mended: &mut Vec<u8>, start: usize) -> bool {
        if !self.secrets.finds(&mended[start..]) {
            return false;
        }
        let text = String::from_utf8_lossy(&mended[start..]);
        let hidden = secret::redact_json(&text).into_owned();
        mended.truncate(start);
        mended.extend_from_slice(hidden.as_bytes());
        true
    }
}
