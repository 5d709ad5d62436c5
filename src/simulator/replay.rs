//! Replay: recorded bodies served byte for byte at their URLs.
//!
//! A file's path below the folder is the URL's path, with `;` for `:`, then `&`
//! and the query, then `.json`; `index.json` stands for its folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::error::{Error, Result};

/// Files that are read.
const FILES_MAX: usize = 10_000;

/// The recorded bodies, by path and sorted query.
#[derive(Debug)]
pub struct Recordings {
    bodies: HashMap<(String, Vec<(String, String)>), Bytes>,
}

impl Recordings {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when it cannot be read or holds no recording.
    pub fn read(folder: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::config(format!("cannot read recordings from {}", folder.display()))
                .caused_by(error)
                .hint("name a folder whose files are recorded responses, such as v3/reference/tickers.json")
        };
        let mut bodies = HashMap::new();
        for file in files(folder).map_err(failed)? {
            let Some(key) = file.strip_prefix(folder).ok().and_then(Path::to_str).and_then(key) else {
                continue;
            };
            bodies.insert(key, Bytes::from(fs::read(&file).map_err(failed)?));
        }
        if bodies.is_empty() {
            return Err(Error::config(format!("{} holds no recorded responses", folder.display()))
                .hint("its files end in .json"));
        }
        Ok(Self { bodies })
    }

    /// The body recorded for a request; the key in the query does not matter.
    pub fn find(&self, path: &str, query: &str) -> Option<Bytes> {
        let path = percent_decode_str(path).decode_utf8().ok()?.trim_end_matches('/').to_owned();
        self.bodies.get(&(path, parameters(query))).cloned()
    }
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if found.len() < FILES_MAX {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Path and query that a file's name stands for.
fn key(name: &str) -> Option<(String, Vec<(String, String)>)> {
    let name = name.strip_suffix(".json")?.replace('\\', "/").replace(';', ":");
    let (path, query) = name.split_once('&').unwrap_or((&name, ""));
    let path = path.strip_suffix("/index").unwrap_or(path);
    Some((format!("/{path}"), parameters(query)))
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        form_urlencoded::parse(query.as_bytes()).into_owned().filter(|(name, _)| name != "apiKey").collect();
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_urls() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, body: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        };
        write("v3/trades/AAPL&limit=2&order=asc.json", "one");
        write("v2/tickers/X;BTCUSD/book.json", "two");
        write("v2/tickers/index.json", "three");
        write("v1/summaries&ticker.any_of=A%2CX%3AB.json", "four");
        write("README.md", "no recording");
        let recordings = Recordings::read(folder.path()).unwrap();
        assert_eq!(recordings.bodies.len(), 4);
        let find = |path: &str, query: &str| {
            recordings.find(path, query).map(|body| String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(find("/v3/trades/AAPL", "order=asc&apiKey=k&limit=2").as_deref(), Some("one"));
        assert_eq!(find("/v3/trades/AAPL", "limit=3&order=asc"), None);
        assert_eq!(find("/v2/tickers/X%3ABTCUSD/book", "").as_deref(), Some("two"));
        assert_eq!(find("/v2/tickers", "").as_deref(), Some("three"));
        assert_eq!(find("/v1/summaries", "ticker.any_of=A,X:B").as_deref(), Some("four"));
        assert!(Recordings::read(&folder.path().join("nowhere")).is_err());
    }
}
