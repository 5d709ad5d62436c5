//! Faults within a page: rows repeated, fields changed, `next_url` led astray.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::batch::Rows;

use super::columns::write_text;
use super::dice::mix;
use super::faults::FaultKind;
use super::page::{Page, Shape};

/// The host that a foreign `next_url` names: reserved, so that nothing is there.
const FOREIGN_HOST: &str = "https://api.massive.com.attacker.invalid";

/// A ticker that nobody asks for, as JSON.
const OTHER_TICKER: &str = "\"ZZZZZ\"";

/// Another year, in the fields that say of which day a row is.
const OTHER_DAYS: &[(&str, &str)] = &[
    ("t", "1000000000000"),
    ("sip_timestamp", "1000000000000000000"),
    ("execution_date", "\"2001-09-09\""),
    ("ex_dividend_date", "\"2001-09-09\""),
    ("published_utc", "\"2001-09-09T01:46:40Z\""),
];

const DAY_MS: i64 = 86_400_000;

/// Fields of the rows' keys: of a row the first of these that it has.
const KEY: &[&str] = &["t", "sip_timestamp", "id", "ticker"];

/// Fields that the vendor leaves out of some rows.
const OPTIONAL: &[&str] = &["vw", "n", "conditions", "trf_id", "keywords", "cik", "record_date", "acronym"];

/// Changes a page as the fault says. `url` is the request's own path and query,
/// `previous` the last row of the page before it.
pub fn disturb(page: &mut Page, kind: FaultKind, url: &str, previous: Option<&[u8]>, salt: u64) {
    match kind {
        FaultKind::DuplicateLastRow => {
            if let Some(previous) = previous {
                page.rows = rebuilt(std::iter::once(previous).chain(page.rows.iter()));
            }
        }
        FaultKind::DuplicateRow => {
            let twice = usize::try_from(salt % page.rows.len().max(1) as u64).unwrap_or_default();
            let repeat = |index: usize| if index == twice { 2 } else { 1 };
            let rows = page.rows.iter().enumerate();
            page.rows = rebuilt(rows.flat_map(|(index, row)| std::iter::repeat_n(row, repeat(index))));
        }
        FaultKind::CursorLoop if page.shape == Shape::Array || page.shape == Shape::ArrayAlways => {
            page.next = Some(url.to_owned());
        }
        FaultKind::ForeignNextUrl => FOREIGN_HOST.clone_into(&mut page.next_host),
        FaultKind::UnknownField => map_rows(page, |fields, _| {
            fields
                .insert("surprise".to_owned(), "{\"nested\":[1,2.50,null],\"text\":\"\\u00e9\"}".to_owned());
        }),
        FaultKind::TypeFlip => map_rows(page, |fields, row| {
            for (index, (name, value)) in fields.iter_mut().enumerate() {
                if !name.ends_with("timestamp") && mix(&[salt, row, index as u64]).is_multiple_of(2) {
                    flip_number(value, row);
                }
            }
        }),
        FaultKind::NullArrays => map_rows(page, |fields, _| {
            for value in fields.values_mut().filter(|value| value.starts_with('[')) {
                "null".clone_into(value);
            }
        }),
        FaultKind::MissingField => map_rows(page, |fields, row| {
            let present: Vec<&&str> = OPTIONAL.iter().filter(|name| fields.contains_key(**name)).collect();
            if let Some(name) = present.get(usize::try_from(row).unwrap_or_default() % present.len().max(1)) {
                fields.remove(**name);
            }
        }),
        FaultKind::KeylessRows => map_rows(page, |fields, row| {
            let Some(name) = KEY.iter().find(|name| fields.contains_key(**name)) else { return };
            let name = (*name).to_owned();
            match row {
                0 => drop(fields.insert(name, "null".to_owned())),
                1 => drop(fields.remove(&name)),
                2 => drop(fields.insert(name, "{\"none\":true}".to_owned())),
                _ => {}
            }
        }),
        // Where nothing is counted nobody could tell.
        FaultKind::FewerRows if page.counts => {
            page.claims = Some(page.rows.len());
            page.rows.remove_last();
        }
        FaultKind::MissingNextUrl => page.next = None,
        FaultKind::OtherTicker => {
            for (_, value) in page.head.iter_mut().filter(|(name, _)| *name == "ticker") {
                OTHER_TICKER.clone_into(value);
            }
            if page.shape == Shape::Object {
                map_rows(page, |fields, _| {
                    fields.insert("ticker".to_owned(), OTHER_TICKER.to_owned());
                });
            }
        }
        FaultKind::OtherDays => {
            let middle = page.rows.len() as u64 / 2;
            map_rows(page, |fields, row| {
                for (name, value) in OTHER_DAYS.iter().filter(|_| row == middle) {
                    if let Some(field) = fields.get_mut(*name) {
                        (*value).clone_into(field);
                    }
                }
            });
        }
        FaultKind::DayBefore => map_rows(page, |fields, _| {
            let Some(time) = fields.get_mut("t") else { return };
            if let Ok(millis) = time.parse::<i64>() {
                *time = (millis - DAY_MS).to_string();
            }
        }),
        FaultKind::ResultsObject
        | FaultKind::ResultsText
        | FaultKind::ResultsNumber
        | FaultKind::ResultsNumbers
        | FaultKind::ResultsTwice
        | FaultKind::NoResults
        | FaultKind::SecondStatus
        | FaultKind::NextUrlNumber
        | FaultKind::NextUrlObject
        | FaultKind::NextUrlText
        | FaultKind::NextUrlElsewhere => page.odd = Some(kind),
        // All others happen outside the page.
        _ => {}
    }
}

fn rebuilt<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Rows {
    let mut built = Rows::default();
    for row in rows {
        built.push(row);
    }
    built
}

/// Changes the fields of each row; `change` also gets the row's index.
fn map_rows(page: &mut Page, change: impl Fn(&mut BTreeMap<String, String>, u64)) {
    let mut changed = Rows::default();
    for (index, row) in page.rows.iter().enumerate() {
        let Ok(fields) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(row) else {
            changed.push(row);
            continue;
        };
        let mut fields: BTreeMap<String, String> =
            fields.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
        change(&mut fields, index as u64);
        let out = changed.buffer();
        for (index, (name, value)) in fields.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            write_text(out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        if fields.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        changed.end_row();
    }
    page.rows = changed;
}

/// Writes a plain number in another way: whole ones get a point, others an exponent.
fn flip_number(value: &mut String, row: u64) {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && value != "0";
    if !is_plain {
        return;
    }
    match value.split_once('.') {
        None if row.is_multiple_of(2) => value.push_str(".0"),
        None => {
            let digits = value.len() - 1;
            let mantissa = value.trim_end_matches('0');
            let (first, rest) = mantissa.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            *value = format!("{first}{point}{rest}e+{digits:02}");
        }
        Some((whole, fraction)) => *value = format!("{whole}{fraction}e-{:02}", fraction.len()),
    }
    // `0.25` became `025e-02`, and JSON has no leading zeros.
    if value.contains('e') {
        let trimmed = value.trim_start_matches('0');
        *value = if trimmed.starts_with('e') { "0".to_owned() } else { trimmed.to_owned() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipped_numbers_are_the_same_numbers() {
        for text in ["1", "100", "1748755", "1.5032", "0.25", "10.0", "0.0"] {
            for row in [0, 1] {
                let mut flipped = text.to_owned();
                flip_number(&mut flipped, row);
                assert_ne!(flipped, text);
                let value = |text: &str| serde_json::from_str::<f64>(text).unwrap();
                assert!((value(&flipped) - value(text)).abs() < 1e-12, "{text} became {flipped}");
            }
        }
    }

    #[test]
    fn bars_are_of_the_day_before() {
        let mut page = Page::new(Shape::Array);
        page.rows.push(b"{\"T\":\"A\",\"t\":1602705600000}");
        disturb(&mut page, FaultKind::DayBefore, "/v2", None, 5);
        assert_eq!(page.rows.iter().next(), Some(&b"{\"T\":\"A\",\"t\":1602619200000}"[..]));
    }

    #[test]
    fn rows_are_repeated_and_fields_added() {
        let mut page = Page::new(Shape::Array);
        page.rows.push(b"{\"a\":1}");
        page.rows.push(b"{\"a\":2,\"conditions\":[1]}");
        disturb(&mut page, FaultKind::DuplicateRow, "/v3", None, 5);
        disturb(&mut page, FaultKind::DuplicateLastRow, "/v3", Some(b"{\"a\":0}"), 5);
        let rows: Vec<&[u8]> = page.rows.iter().collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0], b"{\"a\":0}");
        assert_eq!(rows[2], rows[3]);
        disturb(&mut page, FaultKind::NullArrays, "/v3", None, 5);
        assert!(page.rows.iter().any(|row| row == b"{\"a\":2,\"conditions\":null}"));
        disturb(&mut page, FaultKind::UnknownField, "/v3", None, 5);
        assert!(page.rows.iter().all(|row| row.ends_with(b"}}")));
        disturb(&mut page, FaultKind::CursorLoop, "/v3?cursor=x", None, 5);
        assert_eq!(page.next.as_deref(), Some("/v3?cursor=x"));
    }
}
