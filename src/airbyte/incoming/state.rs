//! A STATE of another connector's, which comes back as it came.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::airbyte::descriptor::StreamDescriptor;
use crate::airbyte::messages::Stats;

/// A STATE of any source: opaque, kept as it came.
#[derive(Debug, Clone)]
pub struct ForeignState {
    /// The members of the state in their order, each value byte for byte.
    members: Vec<(String, Box<RawValue>)>,
    /// The stream that it speaks of; none when it speaks of all.
    pub stream: Option<StreamDescriptor>,
}

impl ForeignState {
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let Members(members) = serde_json::from_slice(text)?;
        let get = |key: &str| {
            let found = members.iter().rev().find(|(name, _)| name == key);
            found.map(|(_, value)| value.get()).filter(|value| *value != "null")
        };
        let kind: Option<String> = get("type").map(serde_json::from_str).transpose()?;
        let of_stream = match kind.as_deref() {
            Some(kind) => kind == "STREAM",
            None => get("stream").is_some(),
        };
        #[derive(Deserialize)]
        struct Stream {
            stream_descriptor: StreamDescriptor,
        }
        let stream = match of_stream {
            false => None,
            true => {
                let stream: Stream = serde_json::from_str(get("stream").unwrap_or("null"))?;
                Some(stream.stream_descriptor)
            }
        };
        Ok(Self { members, stream })
    }

    /// The state as JSON, to be stored.
    pub fn text(&self) -> String {
        serde_json::to_string(&Echo { state: self, records: None }).expect("texts always serialise")
    }

    /// The message that says that the state and its `records` are durable: the state
    /// as it came, with the destination's count.
    pub fn echo(&self, records: u64) -> impl Serialize {
        #[derive(Serialize)]
        struct Message<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            state: Echo<'a>,
        }
        Message { kind: "STATE", state: Echo { state: self, records: Some(records) } }
    }
}

/// Our count in a state. One that came with it is another destination's.
const STATS: &str = "destinationStats";

struct Echo<'a> {
    state: &'a ForeignState,
    records: Option<u64>,
}

impl Serialize for Echo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.state.members.iter().filter(|(name, _)| name != STATS) {
            map.serialize_entry(name, value)?;
        }
        if let Some(records) = self.records {
            map.serialize_entry(STATS, &Stats { record_count: records as f64 })?;
        }
        map.end()
    }
}

/// An object as its members, repeated keys included.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
