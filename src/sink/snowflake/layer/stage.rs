//! Uploads to an internal stage, wherever the server keeps it.

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::{Attribute, Attributes, ClientOptions, ObjectStore, PutOptions, PutPayload, RetryConfig};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Upload;
use super::encryption::{Envelope, Material};
use super::patience::{Missed, Patience, again, root_cause, told};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::retry::Tries;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Tries at one place after the first. A new place is asked for then.
const RETRIES_MAX: usize = 4;
/// Characters of an object's path that a URL cannot have.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Puts files where `stageInfo` says.
pub(super) struct Uploader {
    client: reqwest::Client,
    retries: ExponentialBuilder,
    patience: Patience,
    /// Whether a stage may be a folder of this machine: only for a test server
    /// that the user named, never because a server says so.
    local: bool,
}

/// A file as it goes over the wire, and what its metadata says.
struct Sealed {
    bytes: Bytes,
    /// SHA-256 of the file before encryption, in base64.
    digest: String,
    envelope: Option<Envelope>,
}

impl Uploader {
    pub fn new(local: bool, retries: ExponentialBuilder, patience: Patience) -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .or_fail(ErrorKind::Bug, || "cannot build the HTTP client".to_owned())?;
        Ok(Self { client, retries: retries.with_max_times(RETRIES_MAX), patience, local })
    }

    /// Puts `upload` where `data`, the answer to a PUT statement, says.
    pub async fn upload(&self, data: &Value, upload: &Upload) -> Result<()> {
        let sealed = seal(Material::of(data)?, upload.bytes.clone()).await?;
        let info = &data["stageInfo"];
        let location = info["location"].as_str().unwrap_or_default();
        match info["locationType"].as_str().unwrap_or_default().to_ascii_uppercase().as_str() {
            "S3" => to_s3(info, location, &upload.name, sealed, self.patience).await,
            "AZURE" => {
                let url = azure_url(info, location, &upload.name);
                self.put(&url, azure_headers(&sealed)?, &sealed.bytes).await
            }
            "GCS" => {
                let (url, token) = gcs_url(data, location, &upload.name);
                self.put(&url, gcs_headers(&sealed, token)?, &sealed.bytes).await
            }
            "LOCAL_FS" if self.local => {
                let folder = std::path::Path::new(location);
                let write = async {
                    tokio::fs::create_dir_all(folder).await?;
                    tokio::fs::write(folder.join(&upload.name), &sealed.bytes).await
                };
                write.await.or_fail(ErrorKind::Io, || format!("cannot write to the stage {location}"))
            }
            other => Err(Error::new(
                ErrorKind::Sink,
                format!("snowflake's stage is on {other:?}, which is not known"),
            )),
        }
    }

    /// A plain HTTP PUT. The URL may be signed: no message may hold it.
    async fn put(&self, url: &str, headers: HeaderMap, bytes: &Bytes) -> Result<()> {
        let patience = self.patience.upload(bytes.len());
        let mut tries = Tries::new(self.retries, patience);
        loop {
            let asked = Instant::now();
            let request = self.client.put(url).headers(headers.clone()).body(bytes.clone());
            let missed = match request.timeout(patience).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => Missed::status(response.status()),
                Err(error) => Missed::below_http(root_cause(&error)),
            };
            if again(&mut tries, &missed, asked.elapsed()).await.is_none() {
                return Err(refused(&(missed.reason + &told(&tries))));
            }
        }
    }
}

/// Retryable whatever the reason: credentials of a place expire, and the next
/// PUT statement brings new ones.
fn refused(reason: &str) -> Error {
    Error::new(
        ErrorKind::SinkUnavailable,
        format!("the storage of Snowflake's stage did not take a file: {reason}"),
    )
}

async fn seal(material: Option<Material>, plain: Bytes) -> Result<Sealed> {
    let sealed = tokio::task::spawn_blocking(move || {
        let digest = STANDARD.encode(Sha256::digest(&plain));
        match material {
            None => Ok(Sealed { bytes: plain, digest, envelope: None }),
            Some(material) => {
                let (bytes, envelope) = material.encrypt(&plain)?;
                Ok(Sealed { bytes: bytes.into(), digest, envelope: Some(envelope) })
            }
        }
    });
    sealed.await.or_fail(ErrorKind::Bug, || "encrypting a file failed unexpectedly".to_owned())?
}

async fn to_s3(info: &Value, location: &str, name: &str, sealed: Sealed, patience: Patience) -> Result<()> {
    let (bucket, folder) = location.split_once('/').unwrap_or((location, ""));
    let credential = |key: &str| info["creds"][key].as_str().unwrap_or_default().to_owned();
    // Its own bounds are 30 seconds, too short for a file over a slow line, and ten retries.
    let patience = patience.upload(sealed.bytes.len());
    let options = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(patience);
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: patience, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options)
        .with_retry(retry)
        .with_bucket_name(bucket)
        .with_region(info["region"].as_str().unwrap_or("us-east-1"))
        .with_access_key_id(credential("AWS_KEY_ID"))
        .with_secret_access_key(credential("AWS_SECRET_KEY"))
        .with_token(credential("AWS_TOKEN"));
    match info["endPoint"].as_str().filter(|text| !text.is_empty()) {
        // A scheme means a local S3 server: no bucket in its host name.
        Some(endpoint) if endpoint.contains("://") => {
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        Some(endpoint) => {
            builder = builder
                .with_endpoint(format!("https://{bucket}.{endpoint}"))
                .with_virtual_hosted_style_request(true);
        }
        None => builder = builder.with_virtual_hosted_style_request(true),
    }
    let store = builder.build().map_err(|error| refused(&error.to_string()))?;
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "application/octet-stream".into());
    attributes.insert(Attribute::Metadata("sfc-digest".into()), sealed.digest.into());
    if let Some(envelope) = sealed.envelope {
        attributes.insert(Attribute::Metadata("x-amz-key".into()), envelope.key.into());
        attributes.insert(Attribute::Metadata("x-amz-iv".into()), envelope.iv.into());
        attributes.insert(Attribute::Metadata("x-amz-matdesc".into()), envelope.description.into());
    }
    let path = object_store::path::Path::parse(
        format!("{}/{name}", folder.trim_matches('/')).trim_start_matches('/'),
    )
    .or_fail(ErrorKind::Sink, || format!("snowflake's stage has the odd path {folder:?}"))?;
    let options = PutOptions { attributes, ..PutOptions::default() };
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    match store.put_opts(&path, PutPayload::from_bytes(sealed.bytes), options).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(&error.to_string())),
    }
}

fn azure_url(info: &Value, location: &str, name: &str) -> String {
    let account = info["storageAccount"].as_str().unwrap_or_default();
    let endpoint = info["endPoint"].as_str().filter(|text| !text.is_empty()).unwrap_or("core.windows.net");
    let base = if endpoint.contains("://") {
        endpoint.trim_end_matches('/').to_owned()
    } else {
        format!("https://{account}.blob.{endpoint}")
    };
    let signature = info["creds"]["AZURE_SAS_TOKEN"].as_str().unwrap_or_default().trim_start_matches('?');
    format!("{base}/{}?{signature}", object_path(location, name))
}

fn gcs_url<'a>(data: &'a Value, location: &str, name: &str) -> (String, Option<&'a str>) {
    let info = &data["stageInfo"];
    let signed = info["presignedUrl"].as_str().or_else(|| data["presignedUrls"][0].as_str());
    if let Some(signed) = signed.filter(|url| !url.is_empty()) {
        return (signed.to_owned(), None);
    }
    let endpoint =
        info["endPoint"].as_str().filter(|text| !text.is_empty()).unwrap_or("storage.googleapis.com");
    let base = if endpoint.contains("://") {
        endpoint.trim_end_matches('/').to_owned()
    } else {
        format!("https://{endpoint}")
    };
    (format!("{base}/{}", object_path(location, name)), info["creds"]["GCS_ACCESS_TOKEN"].as_str())
}

/// `bucket/folder/name`, fit for a URL.
fn object_path(location: &str, name: &str) -> String {
    utf8_percent_encode(&format!("{}/{name}", location.trim_matches('/')), PATH).to_string()
}

fn azure_headers(sealed: &Sealed) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "x-ms-blob-type", "BlockBlob")?;
    insert(&mut headers, "x-ms-meta-sfcdigest", &sealed.digest)?;
    if let Some(envelope) = &sealed.envelope {
        insert(&mut headers, "x-ms-meta-encryptiondata", &encryption_data(envelope))?;
        insert(&mut headers, "x-ms-meta-matdesc", &envelope.description)?;
    }
    Ok(headers)
}

fn gcs_headers(sealed: &Sealed, token: Option<&str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "x-goog-meta-sfc-digest", &sealed.digest)?;
    if let Some(envelope) = &sealed.envelope {
        insert(&mut headers, "x-goog-meta-encryptiondata", &encryption_data(envelope))?;
        insert(&mut headers, "x-goog-meta-matdesc", &envelope.description)?;
    }
    if let Some(token) = token {
        insert(&mut headers, "authorization", &format!("Bearer {token}"))?;
    }
    Ok(headers)
}

/// The envelope as Azure's and Google's client-side encryption writes it.
fn encryption_data(envelope: &Envelope) -> String {
    json!({
        "EncryptionMode": "FullBlob",
        "WrappedContentKey": {
            "KeyId": "symmKey1",
            "EncryptedKey": envelope.key,
            "Algorithm": "AES_CBC_256",
        },
        "EncryptionAgent": { "Protocol": "1.0", "EncryptionAlgorithm": "AES_CBC_256" },
        "ContentEncryptionIV": envelope.iv,
        "KeyWrappingMetadata": { "EncryptionLibrary": "Java 5.3.0" },
    })
    .to_string()
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<()> {
    // The value may be a token: the error must not show it.
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::new(ErrorKind::Sink, format!("snowflake's stage wants an impossible {name}")))?;
    value.set_sensitive(name == "authorization");
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
