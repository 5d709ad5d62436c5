//! Answers in parts, and servers that drip or are silent.

use super::*;

fn member(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A part of a result: an Arrow stream of two batches, as the bytes up to the second and the rest.
fn part() -> (Vec<u8>, Vec<u8>) {
    let batch = |value: &str| {
        let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
        RecordBatch::try_from_iter([("v", column)]).unwrap()
    };
    let mut writer = StreamWriter::try_new(Vec::new(), &batch("").schema()).unwrap();
    writer.write(&batch("1")).unwrap();
    let cut = writer.get_ref().len();
    writer.write(&batch("2")).unwrap();
    let mut first = writer.into_inner().unwrap();
    let rest = first.split_off(cut);
    (first, rest)
}

/// An answer whose rows are all in a part at the server's own address.
fn in_a_part(server: &Server) -> Reply {
    let chunks = json!([{"url": format!("{}/part?sig={MASTER}", server.url), "rowCount": 2, "uncompressedSize": 1, "compressedSize": 1}]);
    let data = json!({"rowsetBase64": "", "total": 2, "rowtype": [], "chunks": chunks, "chunkHeaders": {"x-key": "k"}});
    Reply::Json(json!({"success": true, "data": data}))
}

#[tokio::test]
async fn no_row_of_a_part_in_several_members_is_lost() {
    let (first, rest) = part();
    let server = Server::with([]).await;
    server.then([in_a_part(&server), Reply::Gzip([member(&first), member(&rest)].concat())]);
    let rows = server.client().execute(Statement::new("SELECT")).await.unwrap();
    assert_eq!(rows, [[Some("1".to_owned())], [Some("2".to_owned())]]);
    let asked = server.seen().remove(2);
    assert_eq!((asked.path.as_str(), asked.header("x-key")), ("/part", "k"));
    assert_eq!((asked.header("authorization"), asked.header("accept-encoding")), ("", "gzip"));
}

#[tokio::test]
async fn a_part_is_asked_for_until_it_is_whole() {
    let (first, rest) = part();
    let whole = member(&[first, rest].concat());
    let server = Server::with([]).await;
    server.then([in_a_part(&server), Reply::Status(503, "busy"), Reply::Broken]);
    server.then([Reply::Gzip(whole[..whole.len() - 1].to_vec()), Reply::Gzip(whole)]);
    assert_eq!(server.client().execute(Statement::new("SELECT")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_part_that_is_refused_is_not_asked_for_again() {
    let server = Server::with([]).await;
    server.then([in_a_part(&server), Reply::Status(403, "expired")]);
    let error = server.client().execute(Statement::new("SELECT")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
    assert_eq!(
        error.to_string(),
        "the storage of Snowflake's results did not give a part of one: HTTP status 403 Forbidden"
    );
    assert_silent(&error);
    assert_eq!(server.seen().len(), 3);
}

const AN_HOUR: Duration = Duration::from_secs(3600);
pub(super) const A_MOMENT: Duration = Duration::from_millis(200);

/// Bounds that let everything pass.
pub(super) const ENDLESS: Patience = Patience {
    read: AN_HOUR,
    answer: AN_HOUR,
    part: AN_HOUR,
    waited: AN_HOUR,
    rate: 1,
    upload_rate: 1,
    body: usize::MAX - 1,
};

/// What a statement against `server` ends with under these bounds, after how many requests.
async fn given_up(server: &Server, patience: Patience) -> (String, usize) {
    let statement = patient(&server.config(), patience);
    let outcome = statement.execute(Statement::new("SELECT 1"));
    let outcome = tokio::time::timeout(50 * A_MOMENT, outcome).await.expect("it waits without end");
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
    assert_silent(&error);
    (error.to_string(), server.seen().len())
}

#[tokio::test]
async fn an_answer_that_drips_ends() {
    let server = Server::with([Reply::DripOn, Reply::DripOn]).await;
    let (message, requests) =
        given_up(&server, Patience { answer: A_MOMENT, waited: A_MOMENT, ..ENDLESS }).await;
    assert!(message.contains("the answer came too slowly: "), "{message}");
    assert!(message.ends_with("(given up after 0 s of waiting)"), "{message}");
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn a_part_that_drips_ends() {
    let server = Server::with([]).await;
    server.then([in_a_part(&server), Reply::DripOn, Reply::DripOn]);
    let (message, requests) =
        given_up(&server, Patience { part: A_MOMENT, waited: A_MOMENT, ..ENDLESS }).await;
    assert!(message.ends_with("(given up after 0 s of waiting)"), "{message}");
    assert_eq!(requests, 3);
}

#[tokio::test]
async fn an_answer_below_the_least_rate_ends_and_a_slow_one_does_not() {
    let server = Server::with((0..9).map(|_| Reply::DripOn)).await;
    let (message, requests) =
        given_up(&server, Patience { read: A_MOMENT, rate: 10_000, waited: 2 * A_MOMENT, ..ENDLESS }).await;
    assert!(message.contains("the answer came too slowly: "), "{message}");
    assert_eq!(requests, 3, "{message}");

    let answer = json!({"success": true, "data": {"rowset": [["1"]], "total": 1}, "room": " ".repeat(100)});
    let server = Server::with([Reply::Drip(answer.to_string().into())]).await;
    let bounds = Patience { read: A_MOMENT, rate: 10, ..ENDLESS };
    let begun = std::time::Instant::now();
    patient(&server.config(), bounds).execute(Statement::new("SELECT 1")).await.unwrap();
    assert!(begun.elapsed() > 2 * A_MOMENT, "it was not slow");
}

#[tokio::test]
async fn a_silent_server_is_asked_as_often_as_the_time_lasts() {
    let server = Server::with((0..9).map(|_| Reply::Never)).await;
    let (message, requests) =
        given_up(&server, Patience { read: A_MOMENT, waited: 2 * A_MOMENT, ..ENDLESS }).await;
    let told =
        "no answer from Snowflake at 127.0.0.1: nothing came in 0 s (2 tries, given up after 0 s of waiting)";
    assert_eq!((message.as_str(), requests), (told, 3));
}

#[tokio::test]
async fn a_long_statement_has_the_time_of_each_of_its_requests() {
    let late = |reply: Reply| Reply::Late(2 * A_MOMENT / 3, Box::new(reply));
    let running = || {
        Reply::Json(
            json!({"success": true, "code": "333334", "data": {"getResultUrl": "/queries/01-a/result"}}),
        )
    };
    let busy = || late(Reply::Status(503, "busy"));
    let server = Server::with([busy(), running(), busy(), running(), busy(), rows(&json!([["1"]]))]).await;
    let client = patient(&server.config(), Patience { read: 5 * A_MOMENT, waited: A_MOMENT, ..ENDLESS });
    client.execute(Statement::new("MERGE")).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_unpacks_without_end_is_none() {
    let server = Server::with((0..5).map(|_| Reply::Gzip(member(&[b' '; 3 << 20])))).await;
    let (message, _) = given_up(&server, Patience { body: 2 << 20, ..ENDLESS }).await;
    assert!(message.contains("the answer is larger than 2 MB"), "{message}");
}
