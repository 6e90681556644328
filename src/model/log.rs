//! Log records (opentelemetry-proto, logs.proto; data model in the OpenTelemetry logs specification).

use std::borrow::Cow;

use bytes::Bytes;

use super::id::{SpanId, TraceId};
use super::packed::AttributeIter;
use super::packed::value::{self, Value};
use super::packed::wire::{self, Field};
use super::time::UnixNanos;

/// A severity number: 0 unknown, 1–4 trace, 5–8 debug, 9–12 info, 13–16 warn, 17–20 error, 21–24 fatal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Severity(pub u8);

impl Severity {
    /// The least severe number of each named level, in order.
    pub const LEVELS: [(&'static str, Self); 6] = [
        ("trace", Self(1)),
        ("debug", Self(5)),
        ("info", Self(9)),
        ("warn", Self(13)),
        ("error", Self(17)),
        ("fatal", Self(21)),
    ];
    /// First number of "warn".
    pub const WARN: Self = Self(13);
    /// First number of "error".
    pub const ERROR: Self = Self(17);

    /// Reads OTLP's number; what lies outside 1–24 is unknown.
    pub fn from_otlp(number: u64) -> Self {
        Self(u8::try_from(number).ok().filter(|number| *number <= 24).unwrap_or(0))
    }

    /// Reads a level's name in any case, with the spellings that loggers use.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().as_bytes();
        // As long as the longest of them.
        let mut lower = [0; b"informational".len()];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let level = match &*lower {
            b"trace" | b"finest" | b"verbose" => 1,
            b"debug" | b"fine" | b"dbg" => 5,
            b"info" | b"information" | b"informational" | b"notice" => 9,
            b"warn" | b"warning" => 13,
            b"error" | b"err" | b"severe" => 17,
            b"fatal" | b"critical" | b"crit" | b"alert" | b"emergency" | b"emerg" | b"panic" => 21,
            _ => return None,
        };
        Some(Self(level))
    }

    /// The level's lower-case name; `unknown` for 0.
    pub fn name(self) -> &'static str {
        Self::LEVELS.iter().rev().find(|(_, least)| *least <= self).map_or("unknown", |(name, _)| name)
    }
}

/// One log record. What is filtered by is a field; the rest stays packed in `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When it happened: the record's time, else when it was observed, else when it was received.
    pub time: UnixNanos,
    /// How severe; from the number, else from the severity text.
    pub severity: Severity,
    /// The trace it belongs to, if its ids are valid.
    pub trace_id: Option<TraceId>,
    /// The span it belongs to, if its ids are valid.
    pub span_id: Option<SpanId>,
    /// Everything else.
    pub detail: LogDetail,
}

/// The packed rest of a log record: fields of an OTLP `LogRecord` message under their own numbers
/// (severity text 3, body 5, attributes 6, flags 8, observed time 11, event name 12).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LogDetail(Bytes);

impl LogDetail {
    /// The number of the field that holds an attribute.
    pub const ATTRIBUTES: u32 = 6;

    /// Takes fields that were checked at the door.
    pub const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The packed bytes, for storage.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The severity as its sender spells it; may be empty.
    pub fn severity_text(&self) -> &str {
        wire::text(&self.0, 3)
    }

    /// The body; may be structured.
    pub fn body(&self) -> Value<'_> {
        match wire::last(&self.0, 5) {
            Some(Field::Bytes(body)) => value::any_value(body),
            _ => Value::Empty,
        }
    }

    /// The body as a line for people: text as it is, structure as JSON, nothing as empty.
    pub fn body_text(&self) -> Cow<'_, str> {
        match self.body() {
            Value::Empty => Cow::Borrowed(""),
            body => body.render(),
        }
    }

    /// The line that people read and templates are mined from: the message of a structured body, where its attributes
    /// have one under a name that loggers use, else [`LogDetail::body_text`].
    pub fn line(&self) -> Cow<'_, str> {
        const MESSAGES: [&[u8]; 4] = [b"message", b"msg", b"log", b"event"];
        let mut body = Value::Empty;
        let mut message = None;
        for (number, field) in wire::Fields::new(&self.0) {
            match (number, field) {
                (5, Field::Bytes(packed)) => body = value::any_value(packed),
                (6, Field::Bytes(entry)) => {
                    let Some(rank) = MESSAGES.iter().position(|key| *key == wire::key(entry)) else {
                        continue;
                    };
                    if let (_, Value::Text(text)) = value::key_value(entry)
                        && !text.is_empty()
                        && message.is_none_or(|(best, _)| rank < best)
                    {
                        message = Some((rank, text));
                    }
                }
                _ => {}
            }
        }
        let is_structured = match body {
            Value::Map(_) => true,
            Value::Text(text) => text.trim_ascii_start().starts_with('{'),
            _ => false,
        };
        match (message, body) {
            (Some((_, message)), _) if is_structured => Cow::Borrowed(message),
            (_, Value::Empty) => Cow::Borrowed(""),
            (_, body) => body.render(),
        }
    }

    /// The attributes in order of arrival.
    pub fn attributes(&self) -> AttributeIter<'_> {
        AttributeIter::within(&self.0, Self::ATTRIBUTES)
    }

    /// The value of attribute `key`; the last where it comes twice.
    pub fn attribute(&self, key: &str) -> Option<Value<'_>> {
        self.attributes().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// The event's name; empty for plain log records.
    pub fn event_name(&self) -> &str {
        wire::text(&self.0, 12)
    }

    /// When the record was observed, where the sender says it.
    pub fn observed_time(&self) -> Option<UnixNanos> {
        match wire::last(&self.0, 11) {
            Some(Field::Fixed64(nanos)) if nanos != 0 => i64::try_from(nanos).ok().map(UnixNanos),
            _ => None,
        }
    }

    /// All 32 flag bits as they came.
    pub fn flags(&self) -> u32 {
        match wire::last(&self.0, 8) {
            Some(Field::Fixed32(flags)) => flags,
            _ => 0,
        }
    }
}

impl std::fmt::Debug for LogDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogDetail").field(&self.body_text()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_have_names() {
        assert_eq!(Severity::from_name("WARNING"), Some(Severity(13)));
        assert_eq!(Severity::from_name(" Informational\t"), Some(Severity(9)));
        assert_eq!(Severity::from_name("informationally"), None);
        assert_eq!(Severity::from_name(""), None);
        assert_eq!(Severity(18).name(), "error");
        assert_eq!(Severity(0).name(), "unknown");
        assert_eq!(Severity::from_otlp(25), Severity(0));
    }
}
