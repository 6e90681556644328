//! Identifiers: those that arrive (trace, span) and those that the store hands out (services, operations …).

use std::fmt;

/// A trace id: 16 bytes, never all zero (W3C Trace Context §3.2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// A span id: 8 bytes, never all zero (W3C Trace Context §3.2.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

/// Why bytes are not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The length is not the one the type asks for.
    #[error("an id of {found} bytes where {wanted} are needed")]
    Length {
        /// Bytes that were given.
        found: usize,
        /// Bytes that the id has.
        wanted: usize,
    },
    /// All bytes are zero, which the specification reserves for "no id".
    #[error("an id of zeros")]
    Zero,
    /// Text that is not hexadecimal.
    #[error("an id that is not hexadecimal")]
    NotHex,
}

macro_rules! byte_id {
    ($name:ident, $len:literal) => {
        impl $name {
            /// The bytes in network order.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads lower or upper case hexadecimal text of exactly the id's length.
            pub fn from_hex(text: &str) -> Result<Self, InvalidId> {
                let digits = text.as_bytes();
                if digits.len() != 2 * $len {
                    return Err(InvalidId::Length { found: digits.len() / 2, wanted: $len });
                }
                let mut bytes = [0; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let high = hex_value(pair[0]).ok_or(InvalidId::NotHex)?;
                    let low = hex_value(pair[1]).ok_or(InvalidId::NotHex)?;
                    *byte = high << 4 | low;
                }
                Self::try_from(bytes.as_slice())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                let bytes: [u8; $len] =
                    bytes.try_into().map_err(|_| InvalidId::Length { found: bytes.len(), wanted: $len })?;
                if bytes == [0; $len] { Err(InvalidId::Zero) } else { Ok(Self(bytes)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

byte_id!(TraceId, 16);
byte_id!(SpanId, 8);

/// The value of a hexadecimal digit.
pub const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

macro_rules! dictionary_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
    };
}

dictionary_id! {
    /// A node of the graph: a service, or a database, queue or external host that services call.
    ServiceId
}
dictionary_id! {
    /// An operation of a node: a span name with its kind.
    OperationId
}
dictionary_id! {
    /// A resource (instance) that sent telemetry, by content.
    ResourceId
}
dictionary_id! {
    /// An instrumentation scope, by content.
    InstrumentationId
}
dictionary_id! {
    /// A log template of one service. Stable across restarts and across generalisation of its text.
    TemplateId
}
dictionary_id! {
    /// A metric series: name, unit, kind and attributes of one resource.
    SeriesId
}
dictionary_id! {
    /// A tenant as the store numbers it. Not an authorisation: see [`super::tenant::Scope`].
    TenantNumber
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_once() {
        assert_eq!(SpanId::try_from(&[0; 8][..]), Err(InvalidId::Zero));
        assert_eq!(TraceId::try_from(&[1; 8][..]), Err(InvalidId::Length { found: 8, wanted: 16 }));
        let id = SpanId::from_hex("00F067aa0ba902b7").unwrap();
        assert_eq!(id.to_string(), "00f067aa0ba902b7");
        assert_eq!(SpanId::from_hex("00F067aa0ba902bz"), Err(InvalidId::NotHex));
    }
}
