//! `Content-Digest` (RFC 9530): the content as it is on the wire is what its sender meant to send.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use quayside_adapter_api::AdapterError;
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{BAD_DIGEST, DIGEST_MISMATCH, invalid};

const HEADER: HeaderName = HeaderName::from_static("content-digest");

/// The digests that a request promises and that are counted while its content passes.
pub(crate) struct Digests {
    sha256: Option<(Sha256, Vec<u8>)>,
    sha512: Option<(Sha512, Vec<u8>)>,
}

impl Digests {
    /// The promises of `headers` that can be checked; unknown algorithms are left out (RFC 9530, 2).
    ///
    /// # Errors
    /// `BAD_DIGEST` if the header is malformed.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, AdapterError> {
        let mut digests = Self {
            sha256: None,
            sha512: None,
        };
        for value in headers.get_all(HEADER) {
            let value = value
                .to_str()
                .map_err(|_| invalid(BAD_DIGEST, "the header is not ASCII"))?;
            for member in value.split(',') {
                digests.add(member.trim())?;
            }
        }
        Ok((digests.sha256.is_some() || digests.sha512.is_some()).then_some(digests))
    }

    fn add(&mut self, member: &str) -> Result<(), AdapterError> {
        let (algorithm, value) = member
            .split_once('=')
            .ok_or_else(|| invalid(BAD_DIGEST, format!("`{member}` is no digest")))?;
        match algorithm {
            "sha-256" => self.sha256 = Some((Sha256::new(), bytes(value, 32)?)),
            "sha-512" => self.sha512 = Some((Sha512::new(), bytes(value, 64)?)),
            _ => {}
        }
        Ok(())
    }

    /// Counts a piece of the content.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some((sha, _)) = &mut self.sha256 {
            sha.update(piece);
        }
        if let Some((sha, _)) = &mut self.sha512 {
            sha.update(piece);
        }
    }

    /// Compares, at the end of the content.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH` if a promise does not hold.
    pub(crate) fn verify(self) -> Result<(), AdapterError> {
        let holds = self
            .sha256
            .is_none_or(|(sha, want)| sha.finalize()[..] == want[..])
            && self
                .sha512
                .is_none_or(|(sha, want)| sha.finalize()[..] == want[..]);
        if holds {
            Ok(())
        } else {
            Err(invalid(DIGEST_MISMATCH, "the content has another digest"))
        }
    }
}

/// The bytes of a structured-field byte sequence `:BASE64:` of this length.
fn bytes(value: &str, len: usize) -> Result<Vec<u8>, AdapterError> {
    value
        .trim()
        .strip_prefix(':')
        .and_then(|v| v.strip_suffix(':'))
        .and_then(|v| STANDARD.decode(v).ok())
        .filter(|bytes| bytes.len() == len)
        .ok_or_else(|| {
            invalid(
                BAD_DIGEST,
                format!("`{value}` is not {len} bytes as :BASE64:"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, content: &[u8]) -> Result<bool, AdapterError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, header.parse().unwrap());
        let Some(mut digests) = Digests::from_headers(&headers)? else {
            return Ok(false);
        };
        for piece in content.chunks(3) {
            digests.update(piece);
        }
        digests.verify().map(|()| true)
    }

    #[test]
    fn digests_hold_or_not() {
        let sha256 = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"hello")));
        let sha512 = format!("sha-512=:{}:", STANDARD.encode(Sha512::digest(b"hello")));
        let both = format!("{sha256}, {sha512}");
        for header in [&sha256, &sha512, &both] {
            assert_eq!(check(header, b"hello"), Ok(true), "{header}");
            let error = check(header, b"hellO").expect_err("another content");
            assert_eq!(error.code, DIGEST_MISMATCH);
        }
        assert_eq!(check("md5=:AAAA:", b"hello"), Ok(false));
    }

    #[test]
    fn a_malformed_digest_is_refused() {
        for header in ["sha-256", "sha-256=abc", "sha-256=:AAAA:", "sha-512=:!:"] {
            assert_eq!(
                check(header, b"").map_err(|e| e.code),
                Err(BAD_DIGEST),
                "{header}"
            );
        }
    }
}
