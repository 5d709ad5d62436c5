//! Client-side encryption of files for an internal stage.
//!
//! Snowflake gives a master key with each upload. The file is encrypted with a
//! fresh key by AES-CBC, that key with the master key by AES-ECB, both with
//! PKCS#7 padding; what is needed to undo it travels in the file's metadata.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit};
use aes::{Aes128, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result, ResultExt};

const BLOCK: usize = 16;

/// The server's part: `data.encryptionMaterial` of its answer to a PUT.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Material {
    query_stage_master_key: String,
    query_id: String,
    smk_id: i64,
}

/// What the file's metadata has to say.
pub(super) struct Envelope {
    /// The file's key, encrypted, in base64.
    pub key: String,
    /// The initialisation vector, in base64.
    pub iv: String,
    /// Which master key, as JSON.
    pub description: String,
}

impl Material {
    /// The material in the answer to a PUT; `None` when the stage wants plain files.
    pub fn of(data: &Value) -> Result<Option<Self>> {
        let material = match &data["encryptionMaterial"] {
            Value::Array(list) => list.first().unwrap_or(&Value::Null),
            other => other,
        };
        if material["queryStageMasterKey"].as_str().is_none_or(str::is_empty) {
            return Ok(None);
        }
        serde_json::from_value(material.clone())
            .map(Some)
            // serde's message could echo the key.
            .map_err(|_| Error::new(ErrorKind::Sink, "snowflake's encryption material is not understood"))
    }

    /// Encrypts a file.
    pub fn encrypt(&self, plain: &[u8]) -> Result<(Vec<u8>, Envelope)> {
        let mut random = [0_u8; 32 + BLOCK];
        getrandom::fill(&mut random)
            .or_fail(ErrorKind::Io, || "the machine gives no random numbers".to_owned())?;
        let (key, iv) = random.split_at(32);
        self.encrypt_with(plain, key, iv)
    }

    fn encrypt_with(&self, plain: &[u8], key: &[u8], iv: &[u8]) -> Result<(Vec<u8>, Envelope)> {
        let master = STANDARD.decode(&self.query_stage_master_key).unwrap_or_default();
        let key = key.get(..master.len()).unwrap_or_default();
        let (bytes, wrapped) = match master.len() {
            16 => (
                cbc::Encryptor::<Aes128>::new_from_slices(key, iv)
                    .map(|cipher| cipher.encrypt_padded_vec_mut::<Pkcs7>(plain)),
                Aes128::new_from_slice(&master).map(|cipher| wrap(&cipher, key)),
            ),
            32 => (
                cbc::Encryptor::<Aes256>::new_from_slices(key, iv)
                    .map(|cipher| cipher.encrypt_padded_vec_mut::<Pkcs7>(plain)),
                Aes256::new_from_slice(&master).map(|cipher| wrap(&cipher, key)),
            ),
            _ => {
                return Err(Error::new(
                    ErrorKind::Sink,
                    "snowflake's stage key has a length that is not known",
                ));
            }
        };
        let (Ok(bytes), Ok(wrapped)) = (bytes, wrapped) else {
            return Err(Error::bug("an encryption key of the wrong length"));
        };
        let description = json!({
            "queryId": self.query_id,
            "smkId": self.smk_id.to_string(),
            "keySize": (master.len() * 8).to_string(),
        });
        let envelope = Envelope {
            key: STANDARD.encode(wrapped),
            iv: STANDARD.encode(iv),
            description: description.to_string(),
        };
        Ok((bytes, envelope))
    }
}

/// `key` with PKCS#7 padding, block by block.
fn wrap(cipher: &impl BlockEncrypt, key: &[u8]) -> Vec<u8> {
    let padding = BLOCK - key.len() % BLOCK;
    let mut bytes = key.to_vec();
    bytes.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or_default(), padding));
    for block in bytes.chunks_exact_mut(BLOCK) {
        cipher.encrypt_block(aes::cipher::generic_array::GenericArray::from_mut_slice(block));
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use aes::cipher::{BlockDecrypt, BlockDecryptMut};

    use super::*;

    /// Undoes [`Material::encrypt`] from the metadata alone, as Snowflake does.
    pub(crate) fn decrypt(master: &[u8], key: &str, iv: &str, bytes: &[u8]) -> Vec<u8> {
        let mut wrapped = STANDARD.decode(key).unwrap();
        let iv = STANDARD.decode(iv).unwrap();
        let unwrap = |block: &mut [u8]| {
            let block = aes::cipher::generic_array::GenericArray::from_mut_slice(block);
            match master.len() {
                16 => Aes128::new_from_slice(master).unwrap().decrypt_block(block),
                _ => Aes256::new_from_slice(master).unwrap().decrypt_block(block),
            }
        };
        wrapped.chunks_exact_mut(BLOCK).for_each(unwrap);
        let padding = usize::from(*wrapped.last().unwrap());
        wrapped.truncate(wrapped.len() - padding);
        assert_eq!(wrapped.len(), master.len(), "the key of the file is as long as the master key");
        match master.len() {
            16 => cbc::Decryptor::<Aes128>::new_from_slices(&wrapped, &iv)
                .unwrap()
                .decrypt_padded_vec_mut::<Pkcs7>(bytes),
            _ => cbc::Decryptor::<Aes256>::new_from_slices(&wrapped, &iv)
                .unwrap()
                .decrypt_padded_vec_mut::<Pkcs7>(bytes),
        }
        .unwrap()
    }

    #[test]
    fn what_is_encrypted_can_be_decrypted() {
        for length in [16, 32] {
            let master = vec![7_u8; length];
            let material = Material {
                query_stage_master_key: STANDARD.encode(&master),
                query_id: "01b2".to_owned(),
                smk_id: 42,
            };
            for plain in [&b""[..], b"0123456789abcdef", b"a row\n"] {
                let (bytes, envelope) = material.encrypt(plain).unwrap();
                assert_eq!(bytes.len() % BLOCK, 0);
                assert_eq!(decrypt(&master, &envelope.key, &envelope.iv, &bytes), plain);
                assert_eq!(
                    envelope.description,
                    format!(r#"{{"queryId":"01b2","smkId":"42","keySize":"{}"}}"#, length * 8)
                );
            }
        }
    }

    #[test]
    fn a_stage_without_encryption_has_no_material() {
        assert!(Material::of(&json!({})).unwrap().is_none());
        assert!(Material::of(&json!({"encryptionMaterial": []})).unwrap().is_none());
        let one = json!({"queryStageMasterKey": "AA==", "queryId": "q", "smkId": 1});
        assert!(Material::of(&json!({"encryptionMaterial": one})).unwrap().is_some());
        assert!(Material::of(&json!({"encryptionMaterial": [one]})).unwrap().is_some());
        let error =
            Material::of(&json!({"encryptionMaterial": {"queryStageMasterKey": "s3cret", "smkId": "x"}}));
        assert!(!error.err().unwrap().report().contains("s3cret"));
    }
}
