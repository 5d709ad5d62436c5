//! Which stream of the configured catalogue a message is of.

use std::collections::HashMap;

use crate::airbyte::descriptor::StreamDescriptor;
use crate::error::{Error, ErrorKind, Result};

/// The streams of a configured catalogue by their descriptors.
pub(super) struct Routes {
    descriptors: Vec<StreamDescriptor>,
    by_descriptor: HashMap<StreamDescriptor, usize>,
    /// The stream of the last record: the next one is nearly always of the same.
    last: usize,
}

impl Routes {
    pub fn new<'a>(descriptors: impl Iterator<Item = &'a StreamDescriptor>) -> Self {
        let descriptors: Vec<StreamDescriptor> = descriptors.cloned().collect();
        let by_descriptor = descriptors.iter().cloned().zip(0..).collect();
        Self { descriptors, by_descriptor, last: 0 }
    }

    /// The stream that a record is of.
    ///
    /// # Errors
    /// As [`Routes::find`].
    pub fn of_record(&mut self, stream: &str, namespace: Option<&str>) -> Result<usize> {
        let is = |descriptor: &StreamDescriptor| {
            descriptor.name == stream && descriptor.namespace.as_deref() == namespace
        };
        if !self.descriptors.get(self.last).is_some_and(is) {
            let namespace = namespace.map(str::to_owned);
            self.last = self.find(&StreamDescriptor { name: stream.to_owned(), namespace })?;
        }
        Ok(self.last)
    }

    /// The stream of a descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::Response`] when the catalogue has none.
    pub fn find(&self, descriptor: &StreamDescriptor) -> Result<usize> {
        self.by_descriptor.get(descriptor).copied().ok_or_else(|| {
            let namespace = descriptor.namespace.as_ref();
            let place = namespace.map(|namespace| format!(" of namespace {namespace:?}")).unwrap_or_default();
            let name = &descriptor.name;
            Error::new(
                ErrorKind::Response,
                format!(
                    "the source names a stream {name:?}{place} that the configured catalogue does not have"
                ),
            )
            .hint("read and write with the same configured catalogue")
        })
    }
}
