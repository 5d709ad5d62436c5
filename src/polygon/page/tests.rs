use proptest::prelude::*;

use super::*;
use crate::catalog::{Stream, streams};

fn stream(name: &str) -> Stream {
    streams(&["1minute".parse().unwrap()]).into_iter().find(|stream| stream.name == name).unwrap()
}

fn reader(name: &str) -> PageReader {
    let stream = stream(name);
    let constants: &[(&str, &str)] = if stream.spec.derived.is_empty() { &[] } else { &[("ticker", "A")] };
    PageReader::new(stream.spec.rows_at, Transcoder::new(stream.spec, &stream.table, constants))
}

/// Reads `text` in pieces that end at `cuts`.
fn read(reader: &mut PageReader, text: &[u8], cuts: &[usize]) -> Result<(String, Option<String>)> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    reader.begin();
    let mut start = 0;
    for cut in cuts {
        reader.take(&text[start..cut])?;
        start = cut;
    }
    let answer = reader.end()?;
    let rows: Vec<u8> = answer.rows.texts().collect::<Vec<_>>().concat();
    Ok((String::from_utf8(rows).unwrap(), answer.next_url))
}

const PAGES: [(&str, &str); 5] = [
    (
        "stock_bars_1_minute",
        r#" {"ticker":"A","queryCount":2 ,"results":[{"o":1.50,"t":1577941200000} , {"o":2,"t":1577941260000}],"status":"OK","count":2,"next_url":"https://x/\u00e9?cursor=é"} "#,
    ),
    ("stock_bars_1_minute", r#"{"status":"OK","resultsCount":0,"new":{"a":[1,null,{"b":"]}"}]}}"#),
    ("stock_bars_1_minute", r#"{"results":[],"status":"DELAYED","nothing":null,"n":-1.5e3}"#),
    ("ticker_details", r#"{"status":"OK","results":{"ticker":"A","name":"Ä \"\\"},"request_id":"1"}"#),
    (
        "market_holidays",
        r#" [ {"date":"2024-07-04","exchange":"NYSE"} , {"date":"2024-07-04","exchange":"é"} ] "#,
    ),
];

proptest! {
    #[test]
    fn pieces_do_not_matter(page in 0..PAGES.len(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let (name, text) = PAGES[page];
        let whole = read(&mut reader(name), text.as_bytes(), &[]).unwrap();
        prop_assert_eq!(read(&mut reader(name), text.as_bytes(), &cuts).unwrap(), whole);
    }
}

#[test]
fn byte_by_byte_and_cut_at_every_byte() {
    for (name, text) in PAGES {
        let text = text.as_bytes();
        let every: Vec<usize> = (0..text.len()).collect();
        let whole = read(&mut reader(name), text, &[]).unwrap();
        assert_eq!(read(&mut reader(name), text, &every).unwrap(), whole);
        for cut in 0..text.trim_ascii_end().len() {
            let error = read(&mut reader(name), &text[..cut], &every).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Response, "{name} {cut}");
        }
    }
}

#[test]
fn what_is_not_json_says_where() {
    let text = br#"{"status":"OK","results":[{"o":1},{"o":x}]}"#;
    let error = read(&mut reader("stock_bars_1_minute"), text, &[20, 30, 34]).unwrap_err();
    let told = "the answer of 43 bytes is cut or not JSON: expected a JSON value at byte 39";
    assert_eq!(error.user_message(), told);
    for bad in [&br#"{"status":"OK"} x"#[..], br#"{"status":"OK"}{}"#, b"", b"null", b"{\"status\":\"\xff\"}"]
    {
        assert_eq!(read(&mut reader("splits"), bad, &[]).unwrap_err().kind(), ErrorKind::Response);
    }
}

#[test]
fn a_repeated_row_is_left_out_also_of_the_next_page_and_not_of_a_retry() {
    let mut reader = reader("stock_bars_1_minute");
    let text = br#"{"status":"OK","results":[{"o":1},{"o":2},{"o":1}]}"#;
    let two = "{\"ticker\":\"A\",\"open\":1}\n{\"ticker\":\"A\",\"open\":2}\n";
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, two);
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, two, "the page was not accepted");
    reader.accept();
    let next = br#"{"status":"OK","results":[{"o":2},{"o":3}]}"#;
    assert_eq!(read(&mut reader, next, &[]).unwrap().0, "{\"ticker\":\"A\",\"open\":3}\n");
    reader.accept();
    assert_eq!(read(&mut reader, text, &[]).unwrap().0, "{\"ticker\":\"A\",\"open\":1}\n");
}

#[test]
fn a_row_whose_key_is_not_what_it_always_was_is_refused() {
    let page = |time: &str| format!(r#"{{"status":"OK","results":[{{"t":{time},"o":1}},{{"t":2,"o":1}}]}}"#);
    let mut reader = reader("stock_bars_1_minute");
    for (time, refused) in [("1", false), ("\"soon\"", true), ("1", false)] {
        let outcome = read(&mut reader, page(time).as_bytes(), &[]);
        assert_eq!(
            outcome.as_ref().is_err_and(|error| error.to_string().contains("primary key")),
            refused,
            "{time}"
        );
    }
}
