//! Splits and dividends, in the present endpoints and the older ones.

use std::cmp::Ordering;

use super::super::decimal::Decimal;
use super::super::dice::hash_text;
use super::super::dividends::{Dividend, OldDividendFact};
use super::super::page::{Page, Refusal, Shape};
use super::super::splits::{OldSplitFact, SplitFact};
use super::{Call, paged_by_offset};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 5_000;
const OLD_LIMIT_DEFAULT: usize = 10;
const OLD_LIMIT_MAX: usize = 1_000;

/// `/stocks/v1/splits`
pub fn splits(call: &Call<'_>) -> Result<Page, Refusal> {
    let limit = call.query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let types = call.query.text_bounds("adjustment_type")?;
    let mut facts = matching_splits(call)?;
    facts.retain(|fact| types.admit(&fact.split.adjustment_type().to_owned()));
    let order = sort_columns(call, &["execution_date.desc", "ticker", "adjustment_type", "id"])?;
    sort(&mut facts, &order, |fact, column| match column {
        "execution_date" => fact.split.execution_date.to_string(),
        "ticker" => fact.split.symbol.clone(),
        "id" => fact.split.id.clone(),
        _ => fact.split.adjustment_type().to_owned(),
    });
    let mut page = Page::new(Shape::ArrayAlways);
    paged_by_offset(call, facts.into_iter(), limit, &mut page, |page, fact| {
        page.push(&fact, hash_text(&fact.split.id));
    })?;
    Ok(page)
}

/// `/v3/reference/splits`
pub fn old_splits(call: &Call<'_>) -> Result<Page, Refusal> {
    let limit = call.query.limit(OLD_LIMIT_DEFAULT, OLD_LIMIT_MAX)?;
    let reverse =
        call.query.get("reverse_split").map(|_| call.query.flag("reverse_split", false)).transpose()?;
    let mut facts = matching_splits(call)?;
    facts.retain(|fact| reverse.is_none_or(|reverse| (fact.split.to < fact.split.from) == reverse));
    let order = old_order(call, &["execution_date", "ticker"])?;
    sort(&mut facts, &order, |fact, column| match column {
        "execution_date" => fact.split.execution_date.to_string(),
        _ => fact.split.symbol.clone(),
    });
    let mut page = Page::new(Shape::Array);
    paged_by_offset(call, facts.into_iter(), limit, &mut page, |page, fact| {
        page.push(&OldSplitFact(fact.split), hash_text(&fact.split.id));
    })?;
    Ok(page)
}

fn matching_splits<'a>(call: &Call<'a>) -> Result<Vec<SplitFact<'a>>, Refusal> {
    let symbols = call.query.text_bounds("ticker")?;
    let days = call.query.date_bounds("execution_date")?;
    let facts = call.market.splits.facts(call.access.now);
    Ok(facts
        .filter(|fact| symbols.admit(&fact.split.symbol) && days.admit(&fact.split.execution_date))
        .collect())
}

/// `/stocks/v1/dividends`
pub fn dividends(call: &Call<'_>) -> Result<Page, Refusal> {
    let limit = call.query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let types = call.query.text_bounds("distribution_type")?;
    let as_of = call.access.now;
    let mut found = matching_dividends(call)?;
    found.retain(|dividend| types.admit(&dividend.distribution_type(as_of).to_owned()));
    let order =
        sort_columns(call, &["ticker.asc", "ex_dividend_date", "frequency", "distribution_type", "id"])?;
    sort(&mut found, &order, |dividend, column| match column {
        "ex_dividend_date" => dividend.ex_dividend_date.to_string(),
        "ticker" => dividend.symbol.clone(),
        "frequency" => format!("{:03}", dividend.frequency),
        "id" => dividend.id.clone(),
        _ => dividend.distribution_type(as_of).to_owned(),
    });
    let mut page = Page::new(Shape::ArrayAlways);
    paged_by_offset(call, found.into_iter(), limit, &mut page, |page, dividend| {
        let fact = call.market.dividends().fact(dividend, &call.market.splits, as_of);
        page.push(&fact, hash_text(&dividend.id));
    })?;
    Ok(page)
}

/// `/v3/reference/dividends`
pub fn old_dividends(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    let limit = query.limit(OLD_LIMIT_DEFAULT, OLD_LIMIT_MAX)?;
    let records = query.date_bounds("record_date")?;
    let declarations = query.date_bounds("declaration_date")?;
    let pays = query.date_bounds("pay_date")?;
    let amounts = query.bounds("cash_amount", Decimal::parse)?;
    let as_of = call.access.now;
    let mut found = matching_dividends(call)?;
    found.retain(|dividend| {
        records.admit_option(dividend.record_date.as_ref())
            && declarations.admit_option(dividend.declaration_date.as_ref())
            && pays.admit_option(dividend.pay_date.as_ref())
            && amounts.admit(&dividend.cash_amount(as_of))
            && query.admits("dividend_type", OldDividendFact::dividend_type(dividend))
    });
    let sorts = ["ex_dividend_date", "pay_date", "declaration_date", "record_date", "cash_amount", "ticker"];
    let order = old_order(call, &sorts)?;
    let day = |day: Option<jiff::civil::Date>| day.map(|day| day.to_string()).unwrap_or_default();
    sort(&mut found, &order, |dividend, column| match column {
        "ex_dividend_date" => dividend.ex_dividend_date.to_string(),
        "pay_date" => day(dividend.pay_date),
        "declaration_date" => day(dividend.declaration_date),
        "record_date" => day(dividend.record_date),
        "cash_amount" => {
            let (units, scale) = dividend.cash_amount(as_of).parts();
            format!("{:020}", units * 10_i128.pow(6_u32.saturating_sub(scale)))
        }
        _ => dividend.symbol.clone(),
    });
    let mut page = Page::new(Shape::Array);
    paged_by_offset(call, found.into_iter(), limit, &mut page, |page, dividend| {
        let fact = call.market.dividends().fact(dividend, &call.market.splits, as_of);
        page.push(&OldDividendFact(fact), hash_text(&dividend.id));
    })?;
    Ok(page)
}

fn matching_dividends<'a>(call: &Call<'a>) -> Result<Vec<&'a Dividend>, Refusal> {
    let symbols = call.query.text_bounds("ticker")?;
    let days = call.query.date_bounds("ex_dividend_date")?;
    let frequencies = call.query.bounds("frequency", |text| text.parse::<i64>().ok())?;
    let all = &call.market.dividends().all;
    Ok(all
        .iter()
        .filter(|dividend| {
            dividend.is_visible(call.access.now)
                && symbols.admit(&dividend.symbol)
                && days.admit(&dividend.ex_dividend_date)
                && frequencies.admit(&dividend.frequency)
        })
        .collect())
}

/// The parameter `sort` of the present endpoints: columns with `.asc` or `.desc`.
/// The first of `columns` is the default, with its direction.
fn sort_columns(call: &Call<'_>, columns: &[&'static str]) -> Result<Vec<(&'static str, bool)>, Refusal> {
    let text = call.query.get("sort").unwrap_or(columns[0]);
    text.split(',')
        .map(|part| {
            let (name, direction) = part.trim().rsplit_once('.').unwrap_or((part.trim(), "desc"));
            let known = columns.iter().map(|column| column.split('.').next().unwrap_or(column));
            let column = known.into_iter().find(|column| *column == name);
            match (column, direction) {
                (Some(column), "asc") => Ok((column, false)),
                (Some(column), "desc") => Ok((column, true)),
                _ => Err(Refusal::bad(format!("The parameter 'sort' cannot be '{part}'"))),
            }
        })
        .collect()
}

/// The parameters `sort` and `order` of the older endpoints; dates come newest first.
fn old_order(call: &Call<'_>, columns: &[&'static str]) -> Result<Vec<(&'static str, bool)>, Refusal> {
    let column = call.query.one_of("sort", columns)?;
    let descending = call.query.descending("order", column != "ticker")?;
    Ok(vec![(column, descending)])
}

/// Sorts stably: rows that are equal keep the order of date and symbol.
fn sort<T>(rows: &mut [T], order: &[(&'static str, bool)], value: impl Fn(&T, &str) -> String) {
    let keys = |row: &T| order.iter().map(|(column, _)| value(row, column)).collect::<Vec<_>>();
    let mut keyed: Vec<(Vec<String>, usize)> =
        rows.iter().enumerate().map(|(index, row)| (keys(row), index)).collect();
    keyed.sort_by(|(one, one_index), (other, other_index)| {
        for (column, (_, descending)) in order.iter().enumerate() {
            let ordering = one[column].cmp(&other[column]);
            if ordering != Ordering::Equal {
                return if *descending { ordering.reverse() } else { ordering };
            }
        }
        one_index.cmp(other_index)
    });
    permute(rows, keyed.into_iter().map(|(_, index)| index).collect());
}

/// Puts the row at `from[i]` at place `i`.
fn permute<T>(rows: &mut [T], mut from: Vec<usize>) {
    for place in 0..from.len() {
        let mut source = from[place];
        while source < place {
            source = from[source];
        }
        rows.swap(place, source);
        from[place] = source;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_is_stable_in_both_directions() {
        let mut rows = vec![("b", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5)];
        sort(&mut rows, &[("letter", true)], |row, _| row.0.to_owned());
        assert_eq!(rows, [("c", 4), ("b", 1), ("b", 3), ("a", 2), ("a", 5)]);
        sort(&mut rows, &[("letter", false)], |row, _| row.0.to_owned());
        assert_eq!(rows, [("a", 2), ("a", 5), ("b", 1), ("b", 3), ("c", 4)]);
    }
}
