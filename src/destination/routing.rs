//! Of which configured stream a message speaks.
//!
//! A message names a stream as the catalogue does. Some sources leave out the
//! namespace that the platform put into the catalogue: what they send belongs to the
//! only stream of that name, and where there are several it is refused.

use std::collections::HashMap;

use crate::airbyte::descriptor::StreamDescriptor;
use crate::error::{Error, ErrorKind, Result};

/// Finds streams by what messages call them.
#[derive(Debug, Default)]
pub(super) struct Routing {
    streams: Vec<StreamDescriptor>,
    by_name: HashMap<String, Vec<usize>>,
    /// The last record's stream, as it was named: the next one is nearly always of the same.
    last: Option<(StreamDescriptor, usize)>,
}

/// Where a message belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The stream with this index.
    To(usize),
    /// The catalogue has no stream of that name.
    Unknown,
}

impl Routing {
    /// For the streams of a catalogue, in its order.
    pub(super) fn of(streams: impl IntoIterator<Item = StreamDescriptor>) -> Self {
        let streams: Vec<StreamDescriptor> = streams.into_iter().collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, stream) in streams.iter().enumerate() {
            by_name.entry(stream.name.clone()).or_default().push(index);
        }
        Self { streams, by_name, last: None }
    }

    /// The stream of a record.
    ///
    /// # Errors
    /// When there is none, or it is not clear which one: no record is lost.
    pub(super) fn of_record(&mut self, name: &str, namespace: Option<&str>) -> Result<usize> {
        if let Some((last, index)) = &self.last
            && last.name == name
            && last.namespace.as_deref() == namespace
        {
            return Ok(*index);
        }
        let named = StreamDescriptor { name: name.to_owned(), namespace: namespace.map(str::to_owned) };
        match self.find(&named)? {
            Route::To(index) => {
                self.last = Some((named, index));
                Ok(index)
            }
            Route::Unknown => {
                let message = format!(
                    "the source names a stream {} that the configured catalogue does not have",
                    told(&named)
                );
                Err(Error::new(ErrorKind::Response, message)
                    .hint("read and write with the same configured catalogue"))
            }
        }
    }

    /// The stream of a STATE or a status.
    ///
    /// # Errors
    /// When it is not clear which one.
    pub(super) fn find(&self, named: &StreamDescriptor) -> Result<Route> {
        let alike = self.by_name.get(&named.name).map_or(&[][..], Vec::as_slice);
        let namespace = named.namespace.as_deref().unwrap_or_default();
        let of = |index: &usize| self.streams[*index].namespace.as_deref().unwrap_or_default();
        if let Some(index) = alike.iter().find(|index| of(index) == namespace) {
            return Ok(Route::To(*index));
        }
        match alike {
            [only] if namespace.is_empty() => Ok(Route::To(*only)),
            [_, _, ..] if namespace.is_empty() => {
                let message = format!(
                    "the source does not say of which namespace the stream {} is, and the configured catalogue has it in several",
                    told(named)
                );
                Err(Error::new(ErrorKind::Response, message)
                    .hint("give the streams names that differ, or a sync each"))
            }
            _ => Ok(Route::Unknown),
        }
    }
}

/// A stream as a message names it.
pub(super) fn told(stream: &StreamDescriptor) -> String {
    let namespace = stream.namespace.as_ref();
    let place = namespace.map(|namespace| format!(" of namespace {namespace:?}")).unwrap_or_default();
    format!("{:?}{place}", stream.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str, namespace: Option<&str>) -> StreamDescriptor {
        StreamDescriptor { name: name.to_owned(), namespace: namespace.map(str::to_owned) }
    }

    #[test]
    fn a_namespace_that_is_left_out_is_that_of_the_only_stream() {
        let mut routing = Routing::of([
            stream("a", Some("stg")),
            stream("b", None),
            stream("c", Some("left")),
            stream("c", Some("right")),
            stream("d", None),
            stream("d", Some("right")),
        ]);
        for (name, namespace, index) in [
            ("a", Some("stg"), 0),
            ("a", None, 0),
            ("a", Some(""), 0),
            ("b", None, 1),
            ("c", Some("right"), 3),
            ("c", Some("left"), 2),
            ("d", None, 4),
            ("d", Some("right"), 5),
        ] {
            assert_eq!(routing.of_record(name, namespace).unwrap(), index, "{name} {namespace:?}");
            assert_eq!(routing.find(&stream(name, namespace)).unwrap(), Route::To(index));
        }
        // The last one was remembered, and is not taken for another of its name.
        assert_eq!(routing.of_record("d", None).unwrap(), 4);
    }

    #[test]
    fn what_belongs_nowhere_is_not_guessed() {
        let streams = [("a", Some("stg")), ("b", None), ("c", Some("left")), ("c", Some("right"))];
        let mut routing = Routing::of(streams.map(|(name, namespace)| stream(name, namespace)));
        for (name, namespace) in
            [("zz", None), ("a", Some("prod")), ("b", Some("stg")), ("c", Some("middle")), ("A", None)]
        {
            assert_eq!(routing.find(&stream(name, namespace)).unwrap(), Route::Unknown, "{name}");
            let error = routing.of_record(name, namespace).unwrap_err();
            assert!(error.user_message().contains("the same configured catalogue"), "{error}");
        }
        let error = routing.of_record("c", None).unwrap_err();
        assert!(error.to_string().contains("of which namespace the stream \"c\" is"), "{error}");
        assert!(routing.find(&stream("c", None)).is_err());
    }
}
