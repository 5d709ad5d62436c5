//! JSON from outside to canonical rows (see [`crate::batch::Rows`]): the one way,
//! for the API's answers and for records of any Airbyte source.

mod json;
mod mend;
mod moment;
mod transcode;
mod value;

pub(crate) use json::{Malformed, Scanner, Value, push_unescaped, unescape};
pub(crate) use mend::{double, mended};
pub(crate) use moment::{Moment, day};
pub(crate) use transcode::{FieldForm, Transcoder};
pub(crate) use value::integer;
