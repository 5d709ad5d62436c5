//! The catalogue's rules, checked by the compiler.

use super::spec::{Derived, StreamSpec};
use crate::table::{Kind, TimeUnit};

/// Fails the build when an entry contradicts itself.
pub(super) const fn assert_valid(streams: &[&StreamSpec]) {
    let mut index = 0;
    while index < streams.len() {
        let spec = streams[index];
        assert!(!spec.key.is_empty(), "a stream has no key");
        assert_key(spec);
        assert_fields(spec);
        match spec.cursor {
            Some(cursor) => {
                assert!(has_column(spec, cursor), "a cursor is not a column of its stream");
                assert!(spec.is_incremental(), "a stream with a cursor is not sliced by time");
            }
            None => assert!(!spec.is_incremental(), "a stream sliced by time has no cursor"),
        }
        match spec.resume {
            Some(resume) => assert!(has_column(spec, resume), "rows are ordered by what is no column"),
            None => assert!(!has_limit(spec), "a stream with pages does not say how its rows are ordered"),
        }
        let mut other = index + 1;
        while other < streams.len() {
            assert!(!same(spec.name, streams[other].name), "two streams have one name");
            other += 1;
        }
        index += 1;
    }
}

const fn assert_key(spec: &StreamSpec) {
    let mut index = 0;
    while index < spec.key.len() {
        assert!(has_column(spec, spec.key[index]), "a key column is not a column of its stream");
        index += 1;
    }
}

const fn assert_fields(spec: &StreamSpec) {
    let mut index = 0;
    while index < spec.fields.len() {
        let mut other = index + 1;
        while other < spec.fields.len() {
            assert!(
                !same(spec.fields[index].name, spec.fields[other].name),
                "two fields have one column name"
            );
            assert!(
                !same(spec.fields[index].source, spec.fields[other].source),
                "two fields have one source name"
            );
            other += 1;
        }
        let mut derived = 0;
        while derived < spec.derived.len() {
            assert!(
                !same(spec.fields[index].name, derived_name(spec.derived[derived])),
                "a field has the name of a derived column"
            );
            derived += 1;
        }
        index += 1;
    }
}

const fn has_limit(spec: &StreamSpec) -> bool {
    let mut index = 0;
    while index < spec.query.len() {
        if same(spec.query[index].0, "limit") {
            return true;
        }
        index += 1;
    }
    false
}

const fn has_column(spec: &StreamSpec, name: &str) -> bool {
    let mut index = 0;
    while index < spec.derived.len() {
        if same(derived_name(spec.derived[index]), name) {
            return true;
        }
        index += 1;
    }
    index = 0;
    while index < spec.fields.len() {
        let field = &spec.fields[index];
        if same(field.name, name) {
            return true;
        }
        if matches!(field.kind, Kind::Time(TimeUnit::Nanos)) && same_with_suffix(name, field.name, "_ns") {
            return true;
        }
        index += 1;
    }
    false
}

const fn derived_name(derived: Derived) -> &'static str {
    match derived {
        Derived::Ticker => "ticker",
        Derived::Date => "date",
    }
}

const fn same(left: &str, right: &str) -> bool {
    same_with_suffix(left, right, "")
}

/// Whether `left` is `right` followed by `suffix`.
const fn same_with_suffix(left: &str, right: &str, suffix: &str) -> bool {
    let (left, right, suffix) = (left.as_bytes(), right.as_bytes(), suffix.as_bytes());
    if left.len() != right.len() + suffix.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        let expected = if index < right.len() { right[index] } else { suffix[index - right.len()] };
        if left[index] != expected {
            return false;
        }
        index += 1;
    }
    true
}
