//! Numbers: exact, in columns that widen for them.

use super::*;

/// A number and the width of its column, which began with `width`.
fn decimal_in(width: Width, value: &str) -> Option<(i128, Width)> {
    let columns = decode_one(ColumnType::Decimal(width), value).unwrap();
    let (value, width) = match columns.values(0) {
        Values::Decimal(width, values) => (i128::from(values[1]), *width),
        Values::WideDecimal(width, values) => (values[1], *width),
        _ => panic!("not a decimal column"),
    };
    assert_eq!(width.is_narrow(), matches!(columns.values(0), Values::Decimal(..)));
    columns.validity(0).get(1).then_some((value, width))
}

/// A number in a column that does not widen for it.
fn decimal(value: &str) -> Option<i128> {
    let wide = Width::new(38, 18);
    decimal_in(wide, value).filter(|(_, width)| *width == wide).map(|(value, _)| value)
}

#[test]
fn decimals_are_exact_to_the_last_digit() {
    const ONE: i128 = 1_000_000_000_000_000_000;
    assert_eq!(decimal("0"), Some(0));
    assert_eq!(decimal("-0"), Some(0));
    assert_eq!(decimal("1"), Some(ONE));
    assert_eq!(decimal("-1.5"), Some(-ONE * 3 / 2));
    assert_eq!(decimal("0.000000000000000001"), Some(1));
    // 0.1 + 0.2 as a double prints it: 17 digits, as APIs send them.
    assert_eq!(decimal("0.30000000000000004"), Some(300_000_000_000_000_040));
    let most = 10_i128.pow(38) - 1;
    assert_eq!(decimal("99999999999999999999.999999999999999999"), Some(most));
    assert_eq!(decimal("-99999999999999999999.999999999999999999"), Some(-most));
    assert_eq!(decimal("9999999999999999999"), Some(9_999_999_999_999_999_999 * ONE), "19 digits");
    assert_eq!(decimal("18446744073709551616"), Some((1_i128 << 64) * ONE), "one more than 64 bits");
    assert_eq!(decimal("000000000000000000000000000001.5"), Some(ONE * 3 / 2));
}

#[test]
fn what_is_no_number_is_refused() {
    for value in [".5", "5.", "-", "--1", "+1", "1.2.3", "\"1\"", "NaN", "1 ", "0x10", "1e", "1e+", "1e5.0"] {
        for ty in [WIDE, ColumnType::Decimal(Width::PRICE), ColumnType::Double] {
            assert!(decode_one(ty, value).is_err(), "{value}");
        }
    }
}

#[test]
fn a_column_widens_with_its_numbers_and_stays_wide() {
    let table = single(ColumnType::Decimal(Width::PRICE));
    let decoder = Decoder::new(&table, true);
    let decode = |values: &[&str]| {
        let mut rows = Rows::default();
        values.iter().for_each(|value| rows.push(format!("{{\"v\":{value}}}").as_bytes()));
        decode_with(&decoder, &table, &rows).unwrap()
    };
    let columns = decode(&["999999999.999999999", "-0.5", "1.0000000000"]);
    assert_eq!(
        *columns.values(0),
        Values::Decimal(Width::PRICE, vec![999_999_999_999_999_999, -500_000_000, 1_000_000_000])
    );
    let columns = decode(&["1", "0.0000000000025", "-12345678901"]);
    let width = Width::new(24, 13);
    let one = 10_i128.pow(13);
    assert_eq!(*columns.values(0), Values::WideDecimal(width, vec![one, 25, -12_345_678_901 * one]));
    assert!(columns.changes().is_empty());
    assert_eq!(*decode(&["1"]).values(0), Values::WideDecimal(width, vec![one]), "it never narrows");
}

#[test]
fn what_no_decimal_holds_beside_the_others_is_kept_beside() {
    let lines = [
        r#"{"v":0.00000000000000000001}"#,
        r#"{"v":100000000000000000000}"#,
        r#"{"v":1e300,"additional_properties":{"a":1}}"#,
        r#"{"v":1234567890}"#,
    ];
    let columns = decode_as(&single(ColumnType::Decimal(Width::PRICE)), &lines).unwrap();
    let scale = 10_i128.pow(20);
    let values = vec![1, 0, 0, 1_234_567_890 * scale];
    assert_eq!(*columns.values(0), Values::WideDecimal(Width::new(30, 20), values));
    let there: Vec<bool> = (0..4).map(|row| columns.validity(0).get(row)).collect();
    assert_eq!(there, [true, false, false, true]);
    let Values::Json(extra) = columns.values(1) else { panic!("not a JSON column") };
    assert_eq!(extra.get(1), br#"{"v":100000000000000000000}"#);
    assert_eq!(extra.get(2), br#"{"a":1,"v":1e300}"#);
    let noted: Vec<_> = columns.changes().iter().map(|change| (change.row, change.cause)).collect();
    assert_eq!(noted, [(1, Cause::Destination), (2, Cause::Destination)]);
    let key = table(&[("v", ColumnType::Decimal(Width::PRICE)), (EXTRA_COLUMN, ColumnType::Json)], &["v"]);
    let error = decode_as(&key, &[r#"{"v":1e300}"#]).unwrap_err();
    assert!(error.user_message().contains("`v` of table things holds a number"), "{}", error.user_message());
}

#[test]
fn doubles_are_the_nearest_ones() {
    let double = |value: &str| {
        let columns = decode_one(ColumnType::Double, value).unwrap();
        let Values::Double(values) = columns.values(0) else { panic!("not a column of doubles") };
        columns.validity(0).get(1).then_some(values[1])
    };
    for value in [5e-5, 0.001_234_567_890_123_456_7, 1e20, f64::MAX, f64::MIN_POSITIVE, -2.5] {
        assert_eq!(double(&format!("{value:?}")), Some(value));
        assert_eq!(double(&format!("{value}")), Some(value));
    }
    for value in ["0", "-0.0", "0e-999", "5e-324"] {
        assert!(double(value).is_some(), "{value}");
    }
    for value in ["1e999", "1e-999"] {
        assert_eq!(double(value), None, "{value}");
    }
}

#[test]
fn integers_reach_the_limits_of_64_bits() {
    let integer = |value: &str| {
        let columns = decode_one(ColumnType::Integer, value).ok()?;
        let Values::Integer(values) = columns.values(0) else { panic!("not an integer column") };
        Some(values[1])
    };
    assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
    assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(integer("-999999999999999999"), Some(-999_999_999_999_999_999));
    assert_eq!(integer("0"), Some(0));
    for value in ["9223372036854775808", "-9223372036854775809", "1.0", "1e3", "", "-", "\"5\"", "true"] {
        assert_eq!(integer(value), None, "{value}");
    }
}

proptest! {
    #[test]
    fn any_decimal_is_what_its_digits_say(
        negative: bool,
        whole in "[1-9][0-9]{0,19}|0",
        fraction in "[0-9]{0,18}",
    ) {
        let point = if fraction.is_empty() { "" } else { "." };
        let sign = if negative { "-" } else { "" };
        let digits = format!("{whole}{fraction:0<18}");
        let expected: i128 = format!("{sign}{digits}").parse().unwrap();
        prop_assert_eq!(decimal(&format!("{sign}{whole}{point}{fraction}")), Some(expected));
    }

    #[test]
    fn a_decimal_of_any_size_is_exact_in_a_column_of_any_width(
        negative: bool,
        whole in "[1-9][0-9]{0,21}|0",
        fraction in "[0-9]{0,22}",
        scale in 0..=18_u8,
        precision in 18..=38_u8,
    ) {
        let have = Width::new(precision, scale);
        let point = if fraction.is_empty() { "" } else { "." };
        let sign = if negative { "-" } else { "" };
        let number = format!("{sign}{whole}{point}{fraction}");
        match decimal_in(have, &number) {
            Some((value, width)) => {
                prop_assert!(width.covers(have));
                let scale = usize::from(width.scale());
                let digits = fraction.trim_end_matches('0');
                let expected: i128 = format!("{sign}{whole}{digits:0<scale$}").parse().unwrap();
                prop_assert_eq!(value, expected, "{} in {}", number, width);
            }
            None => {
                let whole = whole.trim_start_matches('0').len().max(have.whole().into());
                let scale = fraction.trim_end_matches('0').len().max(have.scale().into());
                prop_assert!(whole + scale > 38, "{} beside {}", number, have);
            }
        }
    }

    #[test]
    fn any_integer_is_itself(value: i64) {
        let columns = decode_one(ColumnType::Integer, &value.to_string()).unwrap();
        let Values::Integer(values) = columns.values(0) else { panic!("not an integer column") };
        prop_assert_eq!(values[1], value);
    }
}
