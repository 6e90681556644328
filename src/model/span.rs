//! Spans (opentelemetry-proto, trace.proto).

use bytes::Bytes;

use super::id::{SpanId, TraceId};
use super::packed::AttributeIter;
use super::packed::value::Value;
use super::packed::wire::{self, Field};
use super::text::Text;
use super::time::UnixNanos;

/// What part a span plays in a call. The number is OTLP's and is kept as it came, known or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanKind(pub u8);

impl SpanKind {
    /// Work inside one service; also what "unspecified" is read as.
    pub const INTERNAL: Self = Self(1);
    /// The receiving side of a call.
    pub const SERVER: Self = Self(2);
    /// The calling side of a call.
    pub const CLIENT: Self = Self(3);
    /// Sends a message.
    pub const PRODUCER: Self = Self(4);
    /// Handles a message.
    pub const CONSUMER: Self = Self(5);

    /// Reads OTLP's number: 0 is internal, numbers past a byte are 255.
    pub fn from_otlp(number: u64) -> Self {
        if number == 0 { Self::INTERNAL } else { Self(u8::try_from(number).unwrap_or(u8::MAX)) }
    }

    /// The lower-case name of the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::INTERNAL => "internal",
            Self::SERVER => "server",
            Self::CLIENT => "client",
            Self::PRODUCER => "producer",
            Self::CONSUMER => "consumer",
            _ => "unknown",
        }
    }

    /// True for the kinds that take work from another process.
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::SERVER | Self::CONSUMER)
    }

    /// True for the kinds that hand work to another process.
    pub const fn is_outbound(self) -> bool {
        matches!(self, Self::CLIENT | Self::PRODUCER)
    }
}

/// How a span ended, as its sender says. Unknown numbers are read as unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// The sender does not say.
    #[default]
    Unset,
    /// The sender vouches for success.
    Ok,
    /// Failed.
    Error,
}

impl Status {
    /// OTLP's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Reads OTLP's number.
    pub const fn from_otlp(number: u64) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    /// The lower-case name of the specification.
    pub const fn name(self) -> &'static str {
        ["unset", "ok", "error"][self as usize]
    }
}

/// One span. What is filtered and grouped by is a field; the rest stays packed in `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id within the trace.
    pub span_id: SpanId,
    /// The span that caused it; none for a root.
    pub parent_id: Option<SpanId>,
    /// The operation's name; may be empty.
    pub name: Text,
    /// Its part in a call.
    pub kind: SpanKind,
    /// How it ended.
    pub status: Status,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took; zero where the sender's end lies before its start.
    pub duration_ns: u64,
    /// Everything else.
    pub detail: SpanDetail,
}

impl Span {
    /// When it ended.
    pub fn end(&self) -> UnixNanos {
        UnixNanos(self.start.0.saturating_add(i64::try_from(self.duration_ns).unwrap_or(i64::MAX)))
    }

    /// True when this span, whose detail has these flags, is where its service took up the work: inbound kinds, roots, and
    /// spans whose sender marks the parent as remote (bits 8 and 9).
    pub fn is_entry(&self, flags: u32) -> bool {
        const REMOTE_KNOWN_AND_SET: u32 = 0x300;
        self.kind.is_inbound()
            || self.parent_id.is_none()
            || flags & REMOTE_KNOWN_AND_SET == REMOTE_KNOWN_AND_SET
    }
}

/// The packed rest of a span: the fields of an OTLP `Span` message that are not fields of [`Span`], under their
/// own numbers (trace state 3, attributes 9, events 11, links 13, status 15, flags 16 and the dropped counts).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SpanDetail(Bytes);

impl SpanDetail {
    /// The number of the field that holds an attribute.
    pub const ATTRIBUTES: u32 = 9;

    /// Takes fields that were checked at the door.
    pub const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The same in memory of its own, for what is kept: it holds nothing of the request that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The packed bytes, for storage.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// W3C trace state; empty where absent.
    pub fn trace_state(&self) -> &str {
        wire::text(&self.0, 3)
    }

    /// The attributes in order of arrival.
    pub fn attributes(&self) -> AttributeIter<'_> {
        AttributeIter::within(&self.0, Self::ATTRIBUTES)
    }

    /// What decides about a span when it comes in, in one walk.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        wire::Fields::new(&self.0).filter_map(|(number, field)| match (number, field) {
            (Self::ATTRIBUTES, Field::Bytes(entry)) => Some(Part::Attribute(entry)),
            (13, Field::Bytes(_)) => Some(Part::Link),
            (16, Field::Fixed32(flags)) => Some(Part::Flags(flags)),
            (16, _) => Some(Part::Flags(0)),
            _ => None,
        })
    }

    /// The value of attribute `key`; the last where it comes twice.
    pub fn attribute(&self, key: &str) -> Option<Value<'_>> {
        self.attributes().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// The events in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        wire::messages(&self.0, 11).map(Event)
    }

    /// The links whose ids are valid, in order.
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        wire::messages(&self.0, 13).filter_map(Link::read)
    }

    /// The message that came with the status; empty where absent.
    pub fn status_message(&self) -> &str {
        match wire::last(&self.0, 15) {
            Some(Field::Bytes(status)) => wire::text(status, 2),
            _ => "",
        }
    }

    /// All 32 flag bits as they came; only the low eight are W3C trace flags.
    pub fn flags(&self) -> u32 {
        match wire::last(&self.0, 16) {
            Some(Field::Fixed32(flags)) => flags,
            _ => 0,
        }
    }

    /// Attributes, events and links that the sender says it dropped.
    pub fn dropped(&self) -> [u64; 3] {
        [10, 12, 14].map(|number| wire::varint(&self.0, number))
    }
}

impl std::fmt::Debug for SpanDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.attributes()).finish()
    }
}

/// A part of a span's detail, not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// An attribute, see [`unread`](super::packed::unread).
    Attribute(&'a [u8]),
    /// A link, whose ids may not be valid.
    Link,
    /// All 32 flag bits; the last that come count.
    Flags(u32),
}

/// Something that happened during a span.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a>(&'a [u8]);

impl<'a> Event<'a> {
    /// When; zero where the sender does not say.
    pub fn time(&self) -> UnixNanos {
        match wire::last(self.0, 1) {
            Some(Field::Fixed64(nanos)) => UnixNanos(i64::try_from(nanos).unwrap_or(i64::MAX)),
            _ => UnixNanos(0),
        }
    }

    /// What; `exception` for recorded exceptions.
    pub fn name(&self) -> &'a str {
        wire::text(self.0, 2)
    }

    /// The attributes in order.
    pub const fn attributes(&self) -> AttributeIter<'a> {
        AttributeIter::within(self.0, 3)
    }

    /// The text of attribute `key`.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.attributes().filter(|(name, _)| *name == key).last().and_then(|(_, value)| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }
}

/// A pointer to a span of the same or another trace.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The linked trace.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
    message: &'a [u8],
}

impl<'a> Link<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let id = |number| match wire::last(message, number) {
            Some(Field::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let trace_id = TraceId::try_from(id(1)?).ok()?;
        let span_id = SpanId::try_from(id(2)?).ok()?;
        Some(Self { trace_id, span_id, message })
    }

    /// The attributes in order.
    pub const fn attributes(&self) -> AttributeIter<'a> {
        AttributeIter::within(self.message, 4)
    }
}
