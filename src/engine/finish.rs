//! Ends runs of streams in a sink, each for itself where one of them is refused.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::sink::{Sink, StreamId};

/// Ends the runs of these streams; returns those that the sink refused for what is theirs alone.
///
/// # Errors
/// What concerns all of them.
pub(super) async fn finish(sink: &mut dyn Sink, streams: &[StreamId]) -> Result<HashMap<StreamId, Error>> {
    let mut refused = HashMap::new();
    if streams.is_empty() {
        return Ok(refused);
    }
    failpoint::pass();
    let Err(error) = sink.finish(streams).await else { return Ok(refused) };
    match streams {
        _ if !is_of_stream(&error) => return Err(error),
        [stream] => drop(refused.insert(*stream, error)),
        _ => {
            for stream in streams {
                match sink.finish(std::slice::from_ref(stream)).await {
                    Err(error) if is_of_stream(&error) => drop(refused.insert(*stream, error)),
                    outcome => outcome?,
                }
            }
        }
    }
    Ok(refused)
}

/// Whether a failure says nothing of other streams: somebody took this one over, or its table
/// cannot be replaced.
fn is_of_stream(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Table | ErrorKind::Sink)
}
