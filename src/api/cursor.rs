//! Where the next page begins, as a text that only its own question takes.
//!
//! A cursor carries the window of the first page, so that a window relative to now stands still while its pages are read,
//! and the place after which the next page begins. A digest binds it to the tenant, the route and every parameter but
//! `limit` and `cursor`. It is no secret: who forges one sees what their own question shows anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};

/// Bytes of the digest.
const DIGEST_BYTES: usize = 8;
/// Longest cursor that is looked at, in characters: a place holds at most one name, of 1,024 bytes.
pub(super) const CURSOR_BYTES_MAX: usize = 2_048;

/// After which item a page begins: the numbers that the order goes by, and a name where it goes by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) numbers: Vec<i64>,
    pub(super) name: String,
}

impl Place {
    /// A place by numbers alone; at most 255 of them.
    pub(super) fn at(numbers: impl Into<Vec<i64>>) -> Self {
        Self { numbers: numbers.into(), name: String::new() }
    }

    /// The numbers, where there are as many as the order goes by.
    pub(super) fn fixed<const N: usize>(&self) -> Option<[i64; N]> {
        self.numbers.as_slice().try_into().ok()
    }
}

/// Seals and opens the cursors of one question.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    question: Vec<u8>,
}

impl Seal {
    /// The seal of a question: whose it is, and everything that decides what is on its pages.
    pub(super) fn new(tenant: &TenantId, path: &str, parameters: &[(String, String)]) -> Self {
        let mut parts = vec!["otelcontext cursor 1", tenant.as_str(), path];
        let mut sorted: Vec<&(String, String)> = parameters.iter().collect();
        sorted.sort_unstable();
        parts.extend(sorted.into_iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        let mut question = Vec::new();
        for part in parts {
            question.extend_from_slice(&(part.len() as u64).to_le_bytes());
            question.extend_from_slice(part.as_bytes());
        }
        Self { question }
    }

    /// The cursor of the page of `window` that begins after `place`.
    pub(super) fn close(&self, window: Window, place: &Place) -> String {
        let mut bytes = Vec::new();
        for number in [window.from.0, window.to.0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(place.numbers.len() as u8);
        for number in &place.numbers {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(place.name.as_bytes());
        let digest = self.digest(&bytes);
        bytes.extend_from_slice(&digest);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a cursor of this question says; none for any other text.
    pub(super) fn open(&self, cursor: &str) -> Option<(Window, Place)> {
        if cursor.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (payload, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
        if self.digest(payload) != digest {
            return None;
        }
        let mut rest = payload;
        let (from, to) = (take(&mut rest)?, take(&mut rest)?);
        let (count, mut rest) = rest.split_first()?;
        let numbers = (0..*count).map(|_| take(&mut rest)).collect::<Option<Vec<i64>>>()?;
        let name = String::from_utf8(rest.to_vec()).ok()?;
        Some((Window::new(UnixNanos(from), UnixNanos(to)), Place { numbers, name }))
    }

    fn digest(&self, payload: &[u8]) -> [u8; DIGEST_BYTES] {
        let digest = Sha256::new().chain_update(&self.question).chain_update(payload).finalize();
        let mut short = [0; DIGEST_BYTES];
        short.copy_from_slice(&digest[..DIGEST_BYTES]);
        short
    }
}

fn take(rest: &mut &[u8]) -> Option<i64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn seal(tenant: &str, value: &str) -> Seal {
        let tenant = TenantId::try_from(tenant).unwrap();
        Seal::new(&tenant, "/api/v1/spans", &[("service".into(), value.into())])
    }

    proptest! {
        #[test]
        fn a_cursor_opens_for_its_question_alone(
            from in any::<i64>(),
            length in 0..1_000_000_i64,
            numbers in proptest::collection::vec(any::<i64>(), 0..6),
            name in ".{0,20}",
        ) {
            let window = Window::new(UnixNanos(from), UnixNanos(from.saturating_add(length)));
            let place = Place { numbers, name };
            let cursor = seal("a", "shop").close(window, &place);
            prop_assert_eq!(seal("b", "shop").open(&cursor), None);
            prop_assert_eq!(seal("a", "cart").open(&cursor), None);
            prop_assert_eq!(seal("a", "shop").open(&cursor), Some((window, place)));
        }

        #[test]
        fn j5_no_altered_cursor_opens(at in 0..20_usize, by in 1..64_u8) {
            let place = Place::at([1, 2]);
            let cursor = seal("a", "shop").close(Window::new(UnixNanos(1), UnixNanos(2)), &place);
            let mut bytes = cursor.into_bytes();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let digit = alphabet.iter().position(|letter| *letter == bytes[at]).unwrap();
            bytes[at] = alphabet[(digit + usize::from(by)) % 64];
            prop_assert_eq!(seal("a", "shop").open(&String::from_utf8(bytes).unwrap()), None);
        }

        #[test]
        fn any_text_opens_or_not(text in any::<String>()) {
            prop_assert_eq!(seal("a", "shop").open(&text), None);
        }
    }
}
