//! A value in the form of its column: appended, or not where it does not fit.
//!
//! All of it is inlined: the loop over a page's values is in another unit of the compiler's.

use crate::canonical::json::Value;
use crate::canonical::moment::{Moment, MomentWriter, date_text, parse_date};
use crate::canonical::value::{integer, is_number, push_decimal};
use crate::table::{Need, TimeUnit, Width};

/// The second of a day's midnight in UTC.
#[inline]
pub(super) fn midnight(day: &[u8]) -> Option<i64> {
    parse_date(day).map(|day| i64::from(day) * 86_400)
}

/// The digits of a number, also when it was sent as a string.
#[inline]
pub(super) fn number(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Number(number) => Some(number),
        Value::String(content) if is_number(content) => Some(content),
        _ => None,
    }
}

/// Whether a number may be part of a primary key.
#[inline]
pub(super) fn fits_key(number: &[u8]) -> bool {
    Need::of(number).is_some_and(|need| Width::KEY.holds(need))
}

#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    number(value).map(|number| push_decimal(out, number)).is_some()
}

#[inline]
pub(super) fn push_integer(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    let Some(number) = number(value) else {
        return false;
    };
    // Up to 18 digits always fit, and are copied as they are.
    if number.len() <= 18 && number.iter().all(u8::is_ascii_digit) {
        out.extend_from_slice(number);
        return true;
    }
    integer(number).is_some_and(|value| {
        out.extend_from_slice(value.to_string().as_bytes());
        true
    })
}

#[inline]
pub(super) fn push_moment(
    out: &mut Vec<u8>,
    value: Value<'_>,
    unit: TimeUnit,
    moments: &mut MomentWriter,
    nanos_label: &[u8],
) -> bool {
    let (units_a_second, nanos_a_unit) = match unit {
        TimeUnit::Rfc3339 | TimeUnit::Iso8601 => {
            let Value::String(content) = value else { return false };
            let is_absolute = unit == TimeUnit::Rfc3339;
            let moment = if is_absolute { Moment::parse_absolute(content) } else { Moment::parse(content) };
            return moment.is_some_and(|moment| moments.push(out, moment.seconds, moment.nanos));
        }
        TimeUnit::Millis => (1_000, 1_000_000),
        TimeUnit::Nanos => (1_000_000_000, 1),
    };
    let Some(moment) = number(value).and_then(integer) else {
        return false;
    };
    let nanos = moment.rem_euclid(units_a_second) * nanos_a_unit;
    if !moments.push(out, moment.div_euclid(units_a_second), nanos as u32) {
        return false;
    }
    if unit == TimeUnit::Nanos {
        out.push(b',');
        out.extend_from_slice(nanos_label);
        out.extend_from_slice(moment.to_string().as_bytes());
    }
    true
}

#[inline]
fn push_quoted(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(content);
    out.push(b'"');
}

#[inline]
pub(super) fn push_text(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::String(content) | Value::Number(content) => push_quoted(out, content),
        Value::Boolean(value) => push_quoted(out, value.to_string().as_bytes()),
        Value::Null | Value::Nested(_) => return false,
    }
    true
}

#[inline]
pub(super) fn push_boolean(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        _ => return false,
    }
    true
}

#[inline]
pub(super) fn push_date(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    let Value::String(content) = value else { return false };
    let Some(text) = parse_date(content).and_then(|day| date_text(i64::from(day))) else {
        return false;
    };
    push_quoted(out, &text);
    true
}

/// Appends any value but an array or object that had to be mended.
#[inline]
pub(super) fn push_json(out: &mut Vec<u8>, value: Value<'_>) -> bool {
    match value {
        Value::Nested(_) => {}
        Value::String(content) => push_quoted(out, content),
        Value::Number(number) => out.extend_from_slice(number),
        Value::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Null => return false,
    }
    true
}
