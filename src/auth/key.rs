//! Keys as they travel and as they are kept: a bearer token, and its digest.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Error;

/// The SHA-256 of a key. Keys are random, so it needs no salt and no slow hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// The digest of `key`.
    pub(super) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes().as_chunks::<2>();
        let pairs: &[[u8; 2]; 32] = digits.0.try_into().ok().filter(|_| digits.1.is_empty())?;
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = (value(*high)? << 4 | value(*low)?) as u8;
        }
        Some(Self(digest))
    }

    /// As 64 hexadecimal digits.
    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether both are of the same key, to the last byte: the time taken tells nothing about how much of a guess was
    /// right.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The digest of the bearer token of a request; none where it has no `authorization` header.
///
/// A second header is refused even when one of the two would do: two hops that disagree about the first one must not
/// end in admission.
pub(super) fn shown(headers: &HeaderMap) -> Result<Option<Digest>, Error> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Error::KeyMalformed);
    }
    let token = bearer(value.as_bytes()).ok_or(Error::KeyMalformed)?;
    Ok(Some(Digest::of(token)))
}

/// The token of a `Bearer` header value; the scheme in any case, the token without the spaces around it.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let end = value.iter().position(|&byte| byte == b' ' || byte == b'\t')?;
    let (scheme, token) = value.split_at(end);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}
