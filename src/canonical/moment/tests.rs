use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn written(moment: Option<Moment>) -> Option<String> {
    let moment = moment?;
    let mut out = Vec::new();
    assert!(MomentWriter::default().push(&mut out, moment.seconds, moment.nanos), "{moment:?}");
    Some(String::from_utf8(out).unwrap().trim_matches('"').to_owned())
}

fn parsed(text: &str) -> Option<String> {
    written(Moment::parse(text.as_bytes()))
}

#[test]
fn a_moment_in_any_form_is_the_right_instant() {
    for (text, expected) in [
        ("2024-06-28T13:30:00Z", "2024-06-28T13:30:00Z"),
        ("2024-06-28t13:30:00z", "2024-06-28T13:30:00Z"),
        ("2024-06-28 13:30:00", "2024-06-28T13:30:00Z"),
        ("2024-06-28T13:30", "2024-06-28T13:30:00Z"),
        ("2024-06-28T13:30Z", "2024-06-28T13:30:00Z"),
        ("2024-06-28T13Z", "2024-06-28T13:00:00Z"),
        ("2024-06-28T13:30:00.123456789Z", "2024-06-28T13:30:00.123456789Z"),
        ("2024-06-28T13:30:00,5Z", "2024-06-28T13:30:00.5Z"),
        ("2024-06-28T13:30:00.1234567890000Z", "2024-06-28T13:30:00.123456789Z"),
        (" 2024-06-28T13:30:00Z ", "2024-06-28T13:30:00Z"),
        ("2024-06-28", "2024-06-28T00:00:00Z"),
        // Compact forms, weeks and days of the year.
        ("20240628", "2024-06-28T00:00:00Z"),
        ("20240628T133000Z", "2024-06-28T13:30:00Z"),
        ("20240628T133000.25-0400", "2024-06-28T17:30:00.25Z"),
        ("20240628T1330+01", "2024-06-28T12:30:00Z"),
        ("2024-06-28T093000-04", "2024-06-28T13:30:00Z"),
        ("2024-W26-5T09:30:00Z", "2024-06-28T09:30:00Z"),
        ("2024W265T093000Z", "2024-06-28T09:30:00Z"),
        ("2020-W53-7", "2021-01-03T00:00:00Z"),
        ("9999-W52-5", "9999-12-31T00:00:00Z"),
        ("2024-180T09:30:00Z", "2024-06-28T09:30:00Z"),
        ("+002024-06-28T09:30:00Z", "2024-06-28T09:30:00Z"),
        // Offsets up to their ends.
        ("2024-06-28T09:30:00-04:00", "2024-06-28T13:30:00Z"),
        ("2024-06-28T09:30:00 -04:00", "2024-06-28T13:30:00Z"),
        ("2024-06-28 09:30:00+00", "2024-06-28T09:30:00Z"),
        ("2024-06-28T09:30:00-00:00", "2024-06-28T09:30:00Z"),
        ("2024-06-28T09:30:00+14:00", "2024-06-27T19:30:00Z"),
        ("2024-06-28T09:30:00-12:00", "2024-06-28T21:30:00Z"),
        ("2024-06-28T09:30:00+23:59", "2024-06-27T09:31:00Z"),
        ("2024-06-28T09:30:00-23:59:59", "2024-06-29T09:29:59Z"),
        ("1883-11-18T12:00:00-04:56:02", "1883-11-18T16:56:02Z"),
        ("1883-11-18T12:00:00-045602", "1883-11-18T16:56:02Z"),
        (r"2024-06-28T09:30:00\u002b01:00", "2024-06-28T08:30:00Z"),
        // Zones.
        ("2024-06-28 09:30:00 UTC", "2024-06-28T09:30:00Z"),
        ("2024-06-28T09:30:00GMT", "2024-06-28T09:30:00Z"),
        ("2024-06-28T09:30:00[America/New_York]", "2024-06-28T13:30:00Z"),
        (r"2024-06-28T09:30:00[America\/New_York]", "2024-06-28T13:30:00Z"),
        ("2024-06-28T09:30:00 America/New_York", "2024-06-28T13:30:00Z"),
        ("2024-06-28T09:30:00-04:00[America/New_York]", "2024-06-28T13:30:00Z"),
        ("2024-06-28T13:30:00Z[America/New_York]", "2024-06-28T13:30:00Z"),
        ("2024-06-28T13:30:00-00:00[!America/New_York][u-ca=gregory]", "2024-06-28T13:30:00Z"),
        ("2024-06-28T09:30:00+05:30[+05:30]", "2024-06-28T04:00:00Z"),
        ("2024-06-28T09:30:00[Asia/Kolkata][x-foo=bar]", "2024-06-28T04:00:00Z"),
        // Doubled by a change of clocks, and the offset says which one.
        ("2024-11-03T01:30:00-04:00[America/New_York]", "2024-11-03T05:30:00Z"),
        ("2024-11-03T01:30:00-05:00[America/New_York]", "2024-11-03T06:30:00Z"),
        // The ends of the calendar.
        ("2024-06-30T24:00:00Z", "2024-07-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00-01:00", "0001-01-01T01:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ("9999-12-30T21:00:00-05:00", "9999-12-31T02:00:00Z"),
        ("9999-12-31T21:00:00[Asia/Tokyo]", "9999-12-31T12:00:00Z"),
        ("9999-12-31", "9999-12-31T00:00:00Z"),
    ] {
        assert_eq!(parsed(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_instant_or_two_is_refused() {
    for text in [
        "",
        " ",
        "yesterday",
        "now",
        "infinity",
        "1719581400",
        "2024",
        "2024-06",
        "2024-6-28",
        "2024/06/28",
        "28-06-2024",
        "2024-02-30",
        "2023-366",
        "2024-000",
        "2024-W53-1",
        "2024-W26-8",
        "2024W26-5",
        "2024180",
        "202406281",
        "20240628093000",
        "2024-06-28T",
        "2024-06-28 09",
        "2024-06-28T9:30:00Z",
        "2024-06-28T09:30:00.Z",
        "2024-06-28T09:30.5Z",
        "2024-06-28T25:00:00Z",
        "2024-06-28T24:00:01Z",
        "2024-06-28T09:60:00Z",
        "2024-06-28T09:30:00.1234567891Z",
        // A leap second is no second of the columns.
        "2016-12-31T23:59:60Z",
        "2024-06-28T09:30:00+24:00",
        "2024-06-28T09:30:00+26:00",
        "2024-06-28T09:30:00+0:00",
        "2024-06-28T09:30:00+05:60",
        "2024-06-28T09:30:00+05:00Z",
        "2024-06-28T09:30:00Zulu",
        "2024-06-28T09:30:00EST",
        "2024-06-28T09:30:00 EST",
        "2024-06-28T09:30:00 PST8PDT",
        "2024-06-28T09:30:00[Mars/Olympus]",
        "2024-06-28T09:30:00[America/New_York",
        "2024-06-28T09:30:00[America/New_York][Asia/Tokyo]",
        "2024-06-28T09:30:00Z[!x-foo=bar]",
        "2024-06-28T09:30:00[]",
        // An offset that the zone does not have then.
        "2024-06-28T09:30:00-05:00[America/New_York]",
        "2024-06-28T09:30:00+05:00[+05:30]",
        // Skipped and doubled.
        "2024-03-10T02:30:00[America/New_York]",
        "2024-03-10T02:30:00-05:00[America/New_York]",
        "2024-11-03T01:30:00[America/New_York]",
        "2024-11-03T01:30:00 America/New_York",
        // Outside of the calendar.
        "0000-01-01T00:00:00Z",
        "0000-12-31T23:59:59-01:00",
        "0001-01-01T05:00:00+09:00",
        "9999-12-31T23:00:00-05:00",
        "9999-12-31T24:00:00Z",
        "-0001-01-01T00:00:00Z",
        "-000001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+010000-01-01T00:00:00Z",
        "2024-06-28T09:30:00Z\\n",
        "２０２４-06-28",
    ] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn a_moment_of_the_api_names_its_offset() {
    let absolute = |text: &str| written(Moment::parse_absolute(text.as_bytes()));
    assert_eq!(absolute("2022-11-25T14:30:00.120+01:00").as_deref(), Some("2022-11-25T13:30:00.12Z"));
    for text in ["2022-11-25T14:30:00", "2022-11-25"] {
        assert_eq!(absolute(text), None, "{text}");
    }
}

#[test]
fn a_midnight_is_a_date() {
    let date = |text: &str| parse_date(text.as_bytes()).and_then(|day| date_text(i64::from(day)));
    for text in [
        "2024-06-28",
        "20240628",
        "2024-06-28T00:00:00",
        "2024-06-28 00:00:00.000",
        "2024-06-28T00:00Z",
        "2024-06-28T00:00:00+00:00",
        "2024-06-27T24:00:00Z",
    ] {
        assert_eq!(date(text).as_ref(), Some(b"2024-06-28"), "{text}");
    }
    for text in [
        "2024-06-28T00:00:01",
        "2024-06-28T00:00:00.000000001",
        // It is another day elsewhere.
        "2024-06-28T00:00:00-04:00",
        "2024-06-28T00:00:00[Europe/London]",
        "0000-01-01",
        "2024-02-30",
    ] {
        assert_eq!(date(text), None, "{text}");
    }
}

#[test]
fn moments_outside_the_calendar_are_not_written() {
    let mut out = Vec::new();
    for seconds in [i64::MAX, i64::MIN, -62_135_596_801, 253_402_300_800] {
        assert!(!MomentWriter::default().push(&mut out, seconds, 0), "{seconds}");
    }
    assert!(out.is_empty());
}

proptest! {
    /// Every day of the calendar there and back, and as jiff has it.
    #[test]
    fn days_are_those_of_jiff(day in DAY_MIN..=DAY_MAX) {
        let text = String::from_utf8(date_text(i64::from(day)).unwrap().to_vec()).unwrap();
        prop_assert_eq!(parse_date(text.as_bytes()), Some(day));
        let date: civil::Date = text.parse().unwrap();
        prop_assert_eq!((date - civil::date(1970, 1, 1)).get_days(), day);
        let week = date.iso_week_date();
        let weeks = format!("{:04}-W{:02}-{}", week.year(), week.week(), week.weekday().to_monday_one_offset());
        prop_assert_eq!(parse_date(weeks.as_bytes()), Some(day).filter(|_| (1..=9999).contains(&week.year())));
        let ordinal = format!("{:04}-{:03}", date.year(), date.day_of_year());
        prop_assert_eq!(parse_date(ordinal.as_bytes()), Some(day));
    }

    #[test]
    fn moments_are_those_of_jiff(
        seconds in -62_135_510_400i64..253_402_200_000,
        nanos in prop_oneof![Just(0), 0..1_000_000_000u32],
        offset in -86_399..86_400i32,
        (extended, comma, space, digits) in (any::<bool>(), any::<bool>(), any::<bool>(), 9..14usize),
    ) {
        let moment = Timestamp::new(seconds, nanos as i32).unwrap();
        // The second that it lies in, also before 1970.
        let second = moment.as_nanosecond().div_euclid(1_000_000_000) as i64;
        let local = second + i64::from(offset);
        let date = date_text(local.div_euclid(SECONDS_A_DAY)).unwrap();
        let date = std::str::from_utf8(&date).unwrap();
        let second = local.rem_euclid(SECONDS_A_DAY);
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let east = offset.abs();
        let zone = format!("{:02}:{:02}:{:02}", east / 3600, east / 60 % 60, east % 60);
        let (date, clock, zone) = if extended {
            (date.to_owned(), clock, zone)
        } else {
            (date.replace('-', ""), clock.replace(':', ""), zone.replace(':', ""))
        };
        let nanos = moment.as_nanosecond().rem_euclid(1_000_000_000);
        let fraction = format!("{:0<digits$}", format!("{nanos:09}"));
        let text = format!(
            "{date}{}{clock}{}{fraction}{}{zone}",
            if space { ' ' } else { 'T' },
            if comma { ',' } else { '.' },
            if offset < 0 { '-' } else { '+' }
        );
        let expected = moment.to_string();
        prop_assert_eq!(parsed(&text), Some(expected), "{}", text);
    }

    /// Zones: jiff says which instants a clock shows.
    #[test]
    fn zones_are_those_of_jiff(
        seconds in -900_000_000i64..4_000_000_000,
        zone in prop::sample::select(vec!["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]),
    ) {
        let moment = Timestamp::from_second(seconds).unwrap();
        let there = moment.to_zoned(TimeZone::get(zone).unwrap());
        let text = format!("{}[{zone}]", there.datetime());
        let is_one = !TimeZone::get(zone).unwrap().to_ambiguous_timestamp(there.datetime()).is_ambiguous();
        prop_assert_eq!(parsed(&text), is_one.then(|| moment.to_string()), "{}", text);
        prop_assert_eq!(parsed(&there.to_string()), Some(moment.to_string()), "{}", there);
    }

    /// No text makes it panic, and what it takes is in the calendar.
    #[test]
    fn any_text_is_a_moment_or_none(text in "[0-9TZtz:.,+\\-W \\[\\]/a-z]{0,40}") {
        let _read = (parsed(&text), parse_date(text.as_bytes()));
    }

    /// DuckDB judges: what it takes for a moment as well is the same one.
    #[test]
    fn moments_are_those_of_duckdb(texts in prop::collection::vec(moment_like(), 40)) {
        let duckdb = duckdb::Connection::open_in_memory().unwrap();
        let mut ask = duckdb.prepare("SELECT epoch_us(TRY_CAST(? AS TIMESTAMPTZ))").unwrap();
        let of_the_day = ask.query_row(["2024-06-28T09:30:00-04:00"], |row| row.get::<_, Option<i64>>(0)).unwrap();
        prop_assert_eq!(of_the_day, Some(1_719_581_400_000_000), "it is asked what it understands");
        for text in texts {
            let theirs: Option<i64> = ask.query_row([&text], |row| row.get(0)).unwrap();
            let ours = Moment::parse(text.as_bytes()).map(|moment| moment.seconds * 1_000_000 + i64::from(moment.nanos / 1000));
            if let (Some(theirs), Some(ours)) = (theirs, ours) {
                prop_assert_eq!(theirs, ours, "{}", text);
            }
        }
    }
}

/// Text in most of the forms of a moment, some of them of none.
fn moment_like() -> impl Strategy<Value = String> {
    let date = (1..=9999_i16, 1..=12_i8, 1..=31_i8)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"));
    let separator = prop::sample::select(vec!["T", " ", "t"]);
    let clock = (0..=24_i8, 0..=60_i8, 0..=60_i8)
        .prop_map(|(hour, minute, second)| format!("{hour:02}:{minute:02}:{second:02}"));
    let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,6}"];
    let offset = prop_oneof![
        2 => Just(String::new()),
        2 => prop::sample::select(vec!["Z", "z", " UTC", "+00", "-00:00", "+14:00", "-12:00"]).prop_map(str::to_owned),
        3 => ("[+-]", 0..=25_i8, 0..=61_i8).prop_map(|(sign, hours, minutes)| format!("{sign}{hours:02}:{minutes:02}")),
        1 => ("[+-]", 0..=24_i8).prop_map(|(sign, hours)| format!("{sign}{hours:02}")),
    ];
    (date, separator, clock, fraction, offset).prop_map(|(date, separator, clock, fraction, offset)| {
        format!("{date}{separator}{clock}{fraction}{offset}")
    })
}
