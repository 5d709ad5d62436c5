//! The encoding of an answer's body. reqwest's own decoder ends with a body's first
//! gzip member and drops what follows, without a word; by RFC 1952 all of them are one.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::answer::{mismatch, shortened};
use crate::error::{ErrorKind, Result, ResultExt};

/// More of an encoding's name than this is not shown.
const NAME_MAX: usize = 40;

/// Takes a body as it comes and gives its text.
#[derive(Debug)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// Members of gzip, one after the other; none yet.
    Gzip(Option<Box<MultiGzDecoder<Vec<u8>>>>),
}

impl Encoding {
    /// What the headers say.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for one that was not asked for.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let named = headers.get(CONTENT_ENCODING).map(|name| name.as_bytes().to_ascii_lowercase());
        match named.as_deref() {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip(None)),
            Some(other) => {
                let other = shortened(&String::from_utf8_lossy(other), NAME_MAX);
                Err(mismatch(format!("the answer is packed as {other}, and gzip was asked for")))
            }
        }
    }

    /// The text of the next piece, as far as it is complete.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it is not what the encoding says.
    pub(super) fn decode(&mut self, piece: impl Into<Vec<u8>> + AsRef<[u8]>) -> Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(piece.into()),
            // A body without a byte, of an error for instance, has no member.
            Self::Gzip(_) if piece.as_ref().is_empty() => Ok(Vec::new()),
            Self::Gzip(decoder) => {
                let decoder = decoder.get_or_insert_with(|| Box::new(MultiGzDecoder::new(Vec::new())));
                let outcome = decoder.write_all(piece.as_ref()).and_then(|()| decoder.flush());
                outcome.or_fail(ErrorKind::Unavailable, wrong)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }

    /// The text that was still held back: the body is complete.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it is not.
    pub(super) fn end(self) -> Result<Vec<u8>> {
        match self {
            Self::Identity | Self::Gzip(None) => Ok(Vec::new()),
            Self::Gzip(Some(decoder)) => decoder.finish().or_fail(ErrorKind::Unavailable, wrong),
        }
    }
}

fn wrong() -> String {
    "the answer is not what its encoding says".to_owned()
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip() -> Encoding {
        let headers = [(CONTENT_ENCODING, "GZIP".parse().unwrap())].into_iter().collect();
        Encoding::of(&headers).unwrap()
    }

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes a body that comes in pieces which end at `cuts`.
    fn decode(body: &[u8], cuts: &[usize]) -> Result<Vec<u8>> {
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| cut % (body.len() + 1)).chain([body.len()]).collect();
        cuts.sort_unstable();
        let mut encoding = gzip();
        let (mut text, mut start) = (Vec::new(), 0);
        for cut in cuts {
            text.extend(encoding.decode(&body[start..cut])?);
            start = cut;
        }
        text.extend(encoding.end()?);
        Ok(text)
    }

    proptest! {
        #[test]
        fn members_are_one_body_however_they_come(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let body = texts.iter().map(|text| member(text)).collect::<Vec<_>>().concat();
            prop_assert_eq!(decode(&body, &cuts).unwrap(), texts.concat());
        }

        #[test]
        fn a_body_that_is_cut_or_changed_is_told(
            text in prop::collection::vec(any::<u8>(), 0..300), end in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<usize>(), 0..3),
        ) {
            let body = [member(b"first"), member(&text)].concat();
            let first = member(b"first").len();
            let end = end.index(body.len());
            let outcome = decode(&body[..end], &cuts);
            prop_assert_eq!(outcome.is_ok(), end == 0 || end == first, "{} of {}", end, body.len());
        }
    }

    #[test]
    fn what_follows_a_member_and_is_none_is_told() {
        assert!(decode(&[member(b"x"), b"garbage, not gzip".to_vec()].concat(), &[]).is_err());
        let headers = [(CONTENT_ENCODING, "br".parse().unwrap())].into_iter().collect();
        assert_eq!(Encoding::of(&headers).unwrap_err().kind(), ErrorKind::Mismatch);
        assert!(matches!(Encoding::of(&HeaderMap::new()), Ok(Encoding::Identity)));
    }
}
