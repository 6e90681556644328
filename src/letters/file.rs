//! One letter as bytes: a digest of what follows, a line of JSON that anybody can read, and the request, compressed with
//! zstd.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Error, Letter};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// Version of the format.
const VERSION: u64 = 1;
const DIGEST_BYTES: usize = 17;
const LEVEL: i32 = 3;
/// A request that was accepted is no larger.
const BODY_BYTES_MAX: usize = 1 << 30;

/// The bytes of a letter.
pub(super) fn write(letter: &Letter) -> std::io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(&letter.body, LEVEL)?;
    let head = json!({
        "dead_letter": VERSION,
        "tenant": letter.tenant.as_str(),
        "signal": letter.signal.name(),
        "encoding": letter.encoding,
        "received_unix_nano": letter.received.0,
        "journal_position": letter.lsn,
        "first_item": letter.first,
        "items": letter.items,
        "reason": letter.reason,
        "body_bytes": letter.body.len(),
    });
    let mut rest = format!("{head}\n").into_bytes();
    rest.extend_from_slice(&packed);
    let mut bytes = digest(&rest).into_bytes();
    bytes.extend_from_slice(&rest);
    Ok(bytes)
}

/// XXH3-64 of what follows it, and a space.
fn digest(rest: &[u8]) -> String {
    format!("{:016x} ", xxh3_64(rest))
}

/// Reads a letter out of the bytes of the file at `path`.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Letter, Error> {
    let damaged = || Error::Damaged { path: path.to_owned() };
    let (said, rest) = bytes.split_at_checked(DIGEST_BYTES).ok_or_else(damaged)?;
    if said != digest(rest).as_bytes() {
        return Err(damaged());
    }
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head: Value = serde_json::from_slice(&rest[..end]).map_err(|_| damaged())?;
    let packed = &rest[end + 1..];
    let number = |name: &str| head[name].as_u64().ok_or_else(damaged);
    let text = |name: &str| head[name].as_str().ok_or_else(damaged);
    let body_bytes = usize::try_from(number("body_bytes")?).ok().filter(|bytes| *bytes <= BODY_BYTES_MAX);
    let signal = text("signal")?;
    if number("dead_letter")? != VERSION {
        return Err(damaged());
    }
    let body = zstd::bulk::decompress(packed, body_bytes.ok_or_else(damaged)?).map_err(|_| damaged())?;
    Ok(Letter {
        tenant: TenantId::try_from(text("tenant")?).map_err(|_| damaged())?,
        signal: Signal::ALL.into_iter().find(|known| known.name() == signal).ok_or_else(damaged)?,
        encoding: u8::try_from(number("encoding")?).map_err(|_| damaged())?,
        received: UnixNanos(head["received_unix_nano"].as_i64().ok_or_else(damaged)?),
        lsn: number("journal_position")?,
        first: number("first_item")?,
        items: number("items")?,
        reason: text("reason")?.to_owned(),
        body: Bytes::from(body),
    })
}
