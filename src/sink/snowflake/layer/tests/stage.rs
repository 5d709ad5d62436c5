//! Files on their way to a stage, by each provider.

use super::patience::{A_MOMENT, ENDLESS};
use super::*;

/// The answer to a PUT statement.
fn place(info: &Value, material: &Value) -> Reply {
    let data = json!({"command": "UPLOAD", "src_locations": ["f"], "stageInfo": info, "encryptionMaterial": material});
    Reply::Json(json!({"success": true, "data": data}))
}

const FILE: &[u8] = b"not really compressed";

async fn upload(server: &Server) -> crate::error::Result<()> {
    server.client().upload("@\"S\"/a/", "f.gz", Bytes::from_static(FILE)).await
}

#[tokio::test]
async fn a_signed_url_takes_the_file() {
    let server = Server::with([]).await;
    let info = json!({"locationType": "GCS", "location": "x/", "creds": {}, "presignedUrl": format!("{}/b/f.gz?sig=s", server.url)});
    server.then([place(&info, &Value::Null), Reply::Status(503, ""), Reply::Status(200, "")]);
    upload(&server).await.unwrap();
    let [_, put, _, sent] = server.seen().try_into().unwrap();
    assert_eq!(
        put.json()["sqlText"],
        "PUT 'file:///f.gz' @\"S\"/a/ AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=GZIP OVERWRITE=TRUE"
    );
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("PUT", "/b/f.gz"));
    assert_eq!(sent.header("authorization"), "");
    assert_eq!(sent.body, FILE);
}

#[tokio::test]
async fn a_refused_url_is_not_shown() {
    let server = Server::with([]).await;
    let info = json!({"locationType": "GCS", "location": "x/", "presignedUrl": format!("{}/b?sig={MASTER}", server.url)});
    for _ in 0..3 {
        server.then([place(&info, &Value::Null), Reply::Status(403, "expired")]);
    }
    let error = upload(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
    assert!(error.to_string().contains("403"), "{error}");
    assert_silent(&error);
}

#[tokio::test]
async fn s3_takes_an_encrypted_file_that_its_metadata_decrypts() {
    let server = Server::with([]).await;
    let master = [9_u8; 16];
    let material = json!({"queryStageMasterKey": STANDARD.encode(master), "queryId": "01-q", "smkId": 4711});
    let creds = json!({"AWS_KEY_ID": "AKID", "AWS_SECRET_KEY": "shh", "AWS_TOKEN": "session"});
    let info = json!({"locationType": "S3", "location": "bucket/stages/1/", "region": "eu-west-1", "creds": creds, "endPoint": server.url});
    server.then([place(&info, &material), Reply::Status(200, "")]);
    upload(&server).await.unwrap();
    let sent = server.seen().remove(2);
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("PUT", "/bucket/stages/1/f.gz"));
    assert!(sent.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/"));
    assert_eq!(sent.header("x-amz-security-token"), "session");
    assert_eq!(
        sent.header("x-amz-meta-x-amz-matdesc"),
        r#"{"queryId":"01-q","smkId":"4711","keySize":"128"}"#
    );
    assert!(!sent.header("x-amz-meta-sfc-digest").is_empty());
    assert_ne!(sent.body, FILE);
    let (key, iv) = (sent.header("x-amz-meta-x-amz-key"), sent.header("x-amz-meta-x-amz-iv"));
    assert_eq!(decrypt(&master, key, iv, &sent.body), FILE);
}

#[tokio::test]
async fn azure_takes_the_file_after_its_signature_was_renewed() {
    let server = Server::with([]).await;
    let master = [3_u8; 32];
    let material = json!([{"queryStageMasterKey": STANDARD.encode(master), "queryId": "q", "smkId": 1}]);
    let info = |signature: &str| {
        json!({"locationType": "AZURE", "location": "container/a b/", "storageAccount": "acc", "endPoint": server.url,
               "creds": {"AZURE_SAS_TOKEN": format!("?sig={signature}")}})
    };
    server.then([place(&info("old"), &material), Reply::Status(403, "expired")]);
    server.then([place(&info("new"), &material), Reply::Status(201, "")]);
    upload(&server).await.unwrap();
    let sent = server.seen().remove(4);
    assert_eq!((sent.path.as_str(), sent.query["sig"].as_str()), ("/container/a%20b/f.gz", "new"));
    assert_eq!(sent.header("x-ms-blob-type"), "BlockBlob");
    let data: Value = serde_json::from_str(sent.header("x-ms-meta-encryptiondata")).unwrap();
    let key = data["WrappedContentKey"]["EncryptedKey"].as_str().unwrap();
    assert_eq!(decrypt(&master, key, data["ContentEncryptionIV"].as_str().unwrap(), &sent.body), FILE);
}

#[tokio::test]
async fn google_takes_the_file_with_a_token_of_its_own() {
    let server = Server::with([]).await;
    let info = json!({"locationType": "GCS", "location": "bucket/p/", "creds": {"GCS_ACCESS_TOKEN": "ya29"}, "endPoint": server.url});
    server.then([place(&info, &Value::Null), Reply::Status(200, "")]);
    upload(&server).await.unwrap();
    let sent = server.seen().remove(2);
    assert_eq!((sent.path.as_str(), sent.header("authorization")), ("/bucket/p/f.gz", "Bearer ya29"));
    assert_eq!(sent.body, FILE);
}

#[tokio::test]
async fn a_local_stage_is_a_folder() {
    let server = Server::with([]).await;
    let folder = tempfile::tempdir().unwrap();
    let info = json!({"locationType": "LOCAL_FS", "location": folder.path().join("stage")});
    server.then([place(&info, &Value::Null)]);
    upload(&server).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("stage/f.gz")).unwrap(), FILE);
}

/// A silent storage is given up without a look at another place.
#[tokio::test]
async fn an_upload_that_is_not_answered_ends() {
    let places = |url: &str| {
        [
            json!({"locationType": "GCS", "location": "x/", "presignedUrl": format!("{url}/b?sig={MASTER}")}),
            json!({"locationType": "S3", "location": "bucket/x/", "region": "eu-west-1", "endPoint": url,
                   "creds": {"AWS_KEY_ID": "AKID", "AWS_SECRET_KEY": MASTER, "AWS_TOKEN": "session"}}),
        ]
    };
    for kind in 0..2 {
        let server = Server::with([]).await;
        server.then([place(&places(&server.url)[kind], &Value::Null), Reply::Never]);
        let bounds = Patience { read: A_MOMENT, upload_rate: 1_000_000, ..ENDLESS };
        let client = patient(&server.config(), bounds);
        let upload = client.upload("@\"S\"/a/", "f.gz", Bytes::from_static(FILE));
        let error = tokio::time::timeout(50 * A_MOMENT, upload).await.expect("no end").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SinkUnavailable);
        assert_eq!(server.seen().len(), 3, "{error}");
        assert_silent(&error);
    }
}

#[test]
fn a_large_file_has_time_for_a_slow_line() {
    assert!(Patience::default().upload(16 << 20) > Duration::from_secs(600));
}
