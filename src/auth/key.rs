//! The operator's key: read from one header, compared in constant time.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Error;

/// The SHA-256 of a key.
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// The digest of `key`.
    pub(super) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Compares the bearer token of a request with the key.
    ///
    /// Digests of equal length are compared to the last byte, so the time taken tells nothing about how much
    /// of a guess was right. A second header is refused even when one of the two would do: two hops that
    /// disagree about the first one must not end in admission.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let value = given.next().ok_or(Error::KeyMissing)?;
        if given.next().is_some() {
            return Err(Error::KeyMalformed);
        }
        let token = bearer(value.as_bytes()).ok_or(Error::KeyMalformed)?;
        let digest: [u8; 32] = Sha256::digest(token).into();
        if bool::from(digest.ct_eq(&self.0)) { Ok(()) } else { Err(Error::KeyWrong) }
    }
}

/// The token of a `Bearer` header value; the scheme in any case, the token without the spaces around it.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let end = value.iter().position(|&byte| byte == b' ' || byte == b'\t')?;
    let (scheme, token) = value.split_at(end);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}
