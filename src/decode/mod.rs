//! OTLP export requests to batches: exact about what is refused, and why.
//!
//! Promises: the same bytes with the same time of receipt give the same result, so that a journal can be replayed
//! through this function; JSON becomes the batch that protobuf with its fields in order of number would become;
//! an item that is invalid costs its sender that item and no other; memory follows the bytes of the request, not
//! the numbers that it claims. Never: a clock, a socket, a file; a panic; text of the request in an error.
//!
//! Files in reading order: `limits` says how much one request may hold and `error` why a whole one is refused;
//! `notes` counts rejected and changed items; `schema` is OTLP as tables; `protobuf` reads the wire; `json` packs
//! JSON as protobuf, which is then read alike, so that all rules live in one place. The handle is [`decode`].

mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod json;
mod limits;
mod notes;
mod protobuf;
mod schema;
#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;

use self::notes::Notes;
use crate::model::batch::{Batch, Signal};
use crate::model::time::UnixNanos;

pub use self::error::Error;
pub use self::limits::{Ages, Limits, VALUE_BYTES_MAX};

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON: the JSON mapping of protobuf with hexadecimal ids.
    Json,
}

impl Encoding {
    /// The number under which the journal keeps it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Protobuf => 0,
            Self::Json => 1,
        }
    }

    /// The encoding kept as `number`; none where there is none.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Protobuf),
            1 => Some(Self::Json),
            _ => None,
        }
    }

    /// The name in messages: `protobuf` or `JSON`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "JSON",
        }
    }
}

/// What a request holds, and what of it was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The valid items. Groups without any are left out, and so are metrics without points.
    pub batch: Batch,
    /// Spans, log records or points that were rejected, for whatever reason.
    pub rejected: u64,
    /// Those among them that were older than what is kept.
    pub too_old: u64,
    /// Those among them whose time lay too far ahead.
    pub in_the_future: u64,
    /// Attributes that were left out of their items for being too many.
    pub attributes_dropped: u64,
    /// Attribute values that were cut.
    pub attributes_shortened: u64,
    /// What was rejected or changed and why, in English and at most 1 KiB; none when all was taken as it came.
    pub message: Option<String>,
}

/// Decodes one export request of `signal` that was received at `received`.
///
/// Fails only for the request as a whole; items that are invalid by themselves are counted in
/// [`Decoded::rejected`] (OTLP 1.11, "Partial Success"). An empty request is valid. Work and memory are bounded
/// by the length of `body` and by `limits`. Protobuf batches share the memory of `body`.
pub fn decode(
    signal: Signal,
    encoding: Encoding,
    body: &Bytes,
    received: UnixNanos,
    limits: &Limits,
) -> Result<Decoded, Error> {
    match encoding {
        Encoding::Protobuf => protobuf::decode(signal, body, received, limits, Notes::default()),
        Encoding::Json => {
            let (packed, notes) = json::pack(signal, body, limits)?;
            protobuf::decode(signal, &packed, received, limits, notes)
        }
    }
}
