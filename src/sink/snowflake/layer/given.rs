//! Secrets that the server gives out with its answers: the credentials of a stage's
//! storage, signed URLs, the keys of files.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::secret::Secret;

/// Parts of the names of a signed URL's parameters that let in whoever has them.
const TELLING: [&str; 4] = ["sig", "credential", "token", "key"];

/// Makes the secrets in the `data` of an answer known.
pub(super) fn learn(data: &Value) {
    let info = &data["stageInfo"];
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::Object(fields) => fields.values().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            other => other.as_str().map(str::to_owned).into_iter().collect(),
        }
    };
    let materials = match &data["encryptionMaterial"] {
        Value::Array(list) => {
            list.iter().flat_map(|material| texts(&material["queryStageMasterKey"])).collect()
        }
        material => texts(&material["queryStageMasterKey"]),
    };
    let chunks = data["chunks"].as_array().into_iter().flatten().flat_map(|chunk| texts(&chunk["url"]));
    let urls = texts(&info["presignedUrl"]).into_iter().chain(texts(&data["presignedUrls"])).chain(chunks);
    let credentials = texts(&info["creds"]).into_iter().chain(texts(&data["chunkHeaders"]));
    let all = credentials.chain(urls).chain(materials).chain(texts(&data["qrmk"]));
    for text in all {
        for (name, value) in text.split(['?', '&']).filter_map(|pair| pair.split_once('=')) {
            let name = name.to_ascii_lowercase();
            if TELLING.iter().any(|part| name.contains(part)) {
                let _known = Secret::passing(percent_decode_str(value).decode_utf8_lossy());
            }
        }
        let _known = Secret::passing(text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::redact;

    #[test]
    fn whatever_lets_somebody_in_is_known() {
        learn(&json!({
            "stageInfo": {
                "creds": {"AWS_SECRET_KEY": "given-secret-key/+1", "AZURE_SAS_TOKEN": "?sv=2021&sig=given%2Bsignature%3D"},
                "presignedUrl": "https://storage.example/o?X-Goog-Signature=given0signature&X-Goog-Date=20240628T210000Z",
            },
            "encryptionMaterial": [{"queryStageMasterKey": "given-master-key==", "queryId": "given-query-id"}],
            "chunks": [{"url": "https://chunk.example/c?AWSAccessKeyId=given-access-key"}],
            "chunkHeaders": {"x-amz-key": "given-chunk-key"},
            "qrmk": "given-result-key",
        }));
        let said = "given-secret-key%2F%2b1, given+signature=, GET /o?X-Goog-Signature=given0signature, \
            given-master-key==, given-access-key, given-chunk-key, given-result-key";
        assert_eq!(redact(said), "***, ***, GET /o?X-Goog-Signature=***, ***, ***, ***, ***");
        for harmless in ["20240628T210000Z", "given-query-id", "https://storage.example/o"] {
            assert_eq!(redact(harmless), harmless);
        }
    }
}
