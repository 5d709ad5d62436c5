use super::*;

fn record(line: &str) -> Record<'_> {
    match parse(line.as_bytes()).unwrap() {
        Incoming::Record(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_in_all_its_spellings() {
    let plain =
        record(r#"{"type":"RECORD","record":{"stream":"s","data":{"a":1.50},"emitted_at":1719581400123}}"#);
    assert_eq!(
        (&*plain.stream, plain.data, plain.emitted_at),
        ("s", b"{\"a\":1.50}".as_slice(), 1_719_581_400_123)
    );
    let nulls = record(
        r#" {"log":null,"record": {"namespace":null,"meta":null,"file_reference":null,"emitted_at":1795226036.5,
          "data": {}, "stream":"a\"b"},"state":null,"trace":null,"type":"RECORD","global_":1,"global_":2}"#,
    );
    assert_eq!((&*nulls.stream, nulls.emitted_at, &*nulls.changes), ("a\"b", 1_795_226_036_500, ""));
    let changed = record(
        r#"{"type":"RECORD","record":{"stream":"s","namespace":"n","data":{},"emitted_at":1,
          "meta":{"changes":[ {"field":"a","change":"TRUNCATED","reason":"PLATFORM_RECORD_SIZE_LIMITATION"} ]}}}"#,
    );
    assert_eq!(changed.namespace.as_deref(), Some("n"));
    assert_eq!(
        changed.changes,
        r#"{"field":"a","change":"TRUNCATED","reason":"PLATFORM_RECORD_SIZE_LIMITATION"}"#
    );
    let none = r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":1,"meta":{"changes":[]}}}"#;
    assert_eq!(record(none).changes, "");
}

#[test]
fn what_stands_around_a_record_is_passed_over() {
    let line = r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":1}}"#;
    for line in [format!("\u{feff}{line}"), format!("{line}\r"), format!(" \t{line} ")] {
        assert_eq!(&*record(&line).stream, "s", "{line:?}");
    }
}

#[test]
fn a_moment_in_any_unit_is_the_right_one() {
    for (text, expected) in [
        ("1719581400", 1_719_581_400_000),
        ("1719581400.25", 1_719_581_400_250),
        ("1719581400123", 1_719_581_400_123),
        ("1719581400123.9", 1_719_581_400_123),
        ("1719581400123456", 1_719_581_400_123),
        ("1719581400123456789", 1_719_581_400_123),
        ("1.719581400123e12", 1_719_581_400_123),
        ("-1", -1000),
        ("-1719581400123456", -1_719_581_400_124),
        ("0", 0),
        ("9223372036854775807", 9_223_372_036_854),
        ("\"1719581400123\"", 1_719_581_400_123),
        ("\"2024-06-28T09:30:00.123456-04:00\"", 1_719_581_400_123),
    ] {
        let line =
            format!(r#"{{"type":"RECORD","record":{{"stream":"s","data":{{}},"emitted_at":{text}}}}}"#);
        assert_eq!(record(&line).emitted_at, expected, "{text}");
    }
    for text in ["1e300", "-1e300", "NaN", "99999999999999999999999", "\"soon\"", "{}", "true", "[1]"] {
        let line =
            format!(r#"{{"type":"RECORD","record":{{"stream":"s","data":{{}},"emitted_at":{text}}}}}"#);
        let error = parse(line.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("`record.emitted_at` that is no moment"), "{text}: {error}");
        assert_eq!(error.stream(), Some("s"));
    }
}

#[test]
fn a_sources_changes_are_mended_too() {
    let line = r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":1,"meta":{"changes":[{"field":"a\ud800","change":NaN,"change":1}]}}}"#;
    assert_eq!(record(line).changes, "{\"field\":\"a\\ufffd\",\"change\":1}");
}

#[test]
fn a_state_is_echoed_byte_for_byte() {
    let line = r#"{"type":"STATE","record":null,"state":{"type":"STREAM","data":null,"global_":1,"global_":2,
        "stream":{"stream_descriptor":{"name":"s","namespace":"n"},"stream_state":{"at": 1.50,"n":12345678901234567890}},
        "destinationStats":null,"sourceStats":{"recordCount":2.0},"id":7}}"#;
    let Incoming::State(state) = parse(line.as_bytes()).unwrap() else { panic!("no state") };
    let descriptor = StreamDescriptor { name: "s".to_owned(), namespace: Some("n".to_owned()) };
    assert_eq!(state.stream, Some(descriptor));
    let kept = r#""type":"STREAM","data":null,"global_":1,"global_":2,"stream":{"stream_descriptor":{"name":"s","namespace":"n"},"stream_state":{"at": 1.50,"n":12345678901234567890}},"sourceStats":{"recordCount":2.0},"id":7"#;
    let echo = serde_json::to_string(&state.echo(2)).unwrap();
    assert_eq!(
        echo,
        format!(r#"{{"type":"STATE","state":{{{kept},"destinationStats":{{"recordCount":2.0}}}}}}"#)
    );
    assert_eq!(state.text(), format!("{{{kept}}}"));
}

#[test]
fn states_of_all_streams_have_several_forms() {
    for state in [
        r#"{"type":"GLOBAL","global":{"stream_states":[]}}"#,
        r#"{"type":"GLOBAL","global":null,"global_":{},"stream":null}"#,
        r#"{"type":"LEGACY","data":{"cursor":1}}"#,
        r#"{"data":{"cursor":1},"stream":null}"#,
    ] {
        let line = format!(r#"{{"type":"STATE","state":{state}}}"#);
        let Incoming::State(state) = parse(line.as_bytes()).unwrap() else { panic!("{line}") };
        assert_eq!(state.stream, None, "{line}");
    }
}

#[test]
fn statuses_and_everything_else() {
    let status = |status: &str| {
        let line = format!(
            r#"{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","emitted_at":1795226037.35,"error":null,
            "stream_status":{{"stream_descriptor":{{"name":"s"}},"status":"{status}","reasons":null}}}}}}"#
        );
        match parse(line.as_bytes()).unwrap() {
            Incoming::Status { stream, end } => (stream.name, end),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status("STARTED"), ("s".to_owned(), None));
    assert_eq!(status("COMPLETE"), ("s".to_owned(), Some(End::Complete)));
    assert_eq!(status("INCOMPLETE"), ("s".to_owned(), Some(End::Incomplete)));
    for line in [
        "",
        "\r",
        "\u{feff}",
        "starting the JVM",
        "[main] INFO record 5 of stream s: {\"a\": 1}",
        r#"{"type":"LOG","log":{"level":"INFO","message":"m"}}"#,
        r#"{"type":"TRACE","trace":{"type":"ESTIMATE","emitted_at":1.5,"estimate":{}}}"#,
        r#"{"type":"NEW","new":1}"#,
    ] {
        assert!(matches!(parse(line.as_bytes()), Ok(Incoming::Other)), "{line}");
    }
}

#[test]
fn a_cut_or_lacking_message_is_an_error_that_shows_no_value() {
    for (line, expected) in [
        (r#"{"type":"RECORD","record":{"stream":"s","data":{"a":"hunter2"#, "breaks off in the middle"),
        (r#"{"type":"RECORD","record":{"stream":"s","emitted_at":1}}"#, "lacks `record.data`"),
        (r#"{"type":"RECORD","record":{"data":{},"emitted_at":1}}"#, "lacks `record.stream`"),
        (
            r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":"hunter2"}}"#,
            "`record.emitted_at`",
        ),
        (
            r#"{"type":"RECORD","record":{"stream":"s","data":{},"emitted_at":null}}"#,
            "lacks `record.emitted_at`",
        ),
        (
            r#"{"type":"RECORD","record":{"stream":"s","namespace":5,"data":{},"emitted_at":1}}"#,
            "`record.namespace`",
        ),
        (r#"{"type":"RECORD","record":["hunter2"]}"#, "`record` that is no object"),
        (r#"{"record":{"stream":"s"}}"#, "has no `type`"),
        (r#"{"type":"record","record":{"stream":"s"}}"#, "neither RECORD nor STATE"),
        (r#"{"type":"STATES","state":{"data":{}}}"#, "neither RECORD nor STATE"),
        (r#"{"type":"RECORD","record":{"data":{"a":1},"data":{"a":2}}}"#, "has `record.data` twice"),
        (r#"{"type":"RECORD","record":{},"record":{}}"#, "has `record` twice"),
        (
            r#"{"type":"RECORD","record":{"stream":"s","data":{"a":{"x":"hunter2"},"b":hunter2}}}"#,
            r#"stream "s": a message of the source is not JSON at column 73, in the field "b" of `record.data`: expected a JSON value"#,
        ),
        (r#"{"type":"RECORD"}"#, "has no `record`"),
        (r#"{"type":"STATE","state":null}"#, "has no `state`"),
        (r#"{"type":"STATE","state":{"type":"STREAM"}}"#, "another type"),
        (r#"{"type":"RECORD",}"#, "is not JSON at column 18"),
        (r#"{"type":"LOG"}{"type":"LOG"}"#, "something after its end, at column 15"),
        (r#"{"type":"LOG"}hunter2"#, "something after its end, at column 15"),
        ("{\"type\":\"LOG\"}\0\0", "something after its end, at column 15"),
        ("\0\0\0\0", "NUL bytes"),
        ("{\0\"\0", "is not JSON at column 2"),
        (r#"WARN hunter2{"type":"RECORD","record":{"stream":"s"}}"#, "other text before it"),
        (r#"["type","RECORD","record"]"#, "other text before it"),
        (r#"am":"s","data":{"id":1},"emitted_at":1}}"#, "other text before it"),
        (r#"x{"type": "STATE","state":{}}"#, "other text before it"),
    ] {
        let error = parse(line.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Response);
        assert!(
            error.report().contains(expected) && !error.report().contains("hunter2"),
            "{}",
            error.report()
        );
    }
}

#[test]
fn a_last_line_that_is_cut_is_the_end_of_the_source_also_behind_a_mark() {
    let kind = |line: &str| cut_off(line.as_bytes(), parse(line.as_bytes()).unwrap_err()).kind();
    for before in ["", "\u{feff}"] {
        assert_eq!(kind(&format!("{before}{{\"type\":\"RECO")), ErrorKind::Unavailable, "{before:?}");
        assert_eq!(kind(&format!("{before}{{\"type\":\"RECORD\"}}")), ErrorKind::Response, "{before:?}");
    }
}
