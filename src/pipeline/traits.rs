//! What the attributes of a span say about the call it made (semantic conventions for database, messaging, HTTP
//! and RPC spans; the older names are read too).

use std::fmt::Write;

use crate::model::node::NodeKind;
use crate::model::packed::value::Value;
use crate::model::packed::{UnreadValue, unread};
use crate::model::span::{Part, Span, SpanKind, Status};

/// The attributes that decide, and what else does; one walk over a span's detail fills it.
#[derive(Debug, Default)]
pub(super) struct Traits<'a> {
    flags: u32,
    has_links: bool,
    http_status: u16,
    database: &'a str,
    namespace: &'a str,
    messaging: &'a str,
    destination: &'a str,
    destination_template: &'a str,
    destination_temporary: bool,
    peer_service: &'a str,
    address: &'a str,
    port: i64,
    url: &'a str,
}

/// A node that a span talked to and that sends no telemetry of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer<'a> {
    pub(super) kind: NodeKind,
    pub(super) name: &'a str,
    /// The operation on that node; calls of one kind share it.
    pub(super) operation: &'a str,
    pub(super) operation_kind: SpanKind,
}

impl<'a> Traits<'a> {
    pub(super) fn of(span: &'a Span) -> Self {
        let mut traits = Self::default();
        for part in span.detail.parts() {
            match part {
                Part::Attribute(entry) => {
                    let (key, value) = unread(entry);
                    traits.take(key, value);
                }
                Part::Link => traits.has_links = true,
                Part::Flags(flags) => traits.flags = flags,
            }
        }
        traits
    }

    /// Reads a value where its key is one of those that decide; most are not.
    fn take(&mut self, key: &[u8], value: UnreadValue<'a>) {
        let integer = || value.read().as_integer();
        match key {
            b"http.response.status_code" | b"http.status_code" => {
                self.http_status = integer().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            }
            b"db.system.name" => self.database = value.text(),
            b"db.system" if self.database.is_empty() => self.database = value.text(),
            b"db.namespace" => self.namespace = value.text(),
            b"db.name" if self.namespace.is_empty() => self.namespace = value.text(),
            b"messaging.system" => self.messaging = value.text(),
            b"messaging.destination.name" => self.destination = value.text(),
            b"messaging.destination" if self.destination.is_empty() => self.destination = value.text(),
            b"messaging.destination.template" => self.destination_template = value.text(),
            b"messaging.destination.temporary" => {
                self.destination_temporary = value.read() == Value::Bool(true);
            }
            b"peer.service" | b"service.peer.name" => self.peer_service = value.text(),
            b"server.address" => self.address = value.text(),
            b"net.peer.name" | b"net.peer.ip" | b"network.peer.address" if self.address.is_empty() => {
                self.address = value.text();
            }
            b"server.port" => self.port = integer().unwrap_or(0),
            b"net.peer.port" if self.port == 0 => self.port = integer().unwrap_or(0),
            b"url.full" => self.url = value.text(),
            b"http.url" if self.url.is_empty() => self.url = value.text(),
            _ => {}
        }
    }

    /// All 32 flag bits.
    pub(super) const fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether the span has links; their ids may not be valid.
    pub(super) const fn has_links(&self) -> bool {
        self.has_links
    }

    /// The HTTP status code; 0 where there is none.
    pub(super) const fn http_status(&self) -> u16 {
        self.http_status
    }

    /// How the span ended: as its sender says, and failed where it says nothing but a status code of 500 or more.
    pub(super) fn status(&self, span: &Span) -> Status {
        if span.status == Status::Unset && (500..600).contains(&self.http_status) {
            Status::Error
        } else {
            span.status
        }
    }

    /// The node behind the call, if the span tells of one. Its name is put together in `name`.
    pub(super) fn peer<'p>(&self, span: &'p Span, name: &'p mut String) -> Option<Peer<'p>>
    where
        'a: 'p,
    {
        name.clear();
        let (kind, operation, operation_kind) = if self.is_message(span) {
            let destination = self.destination();
            name.extend([self.messaging, "/", destination]);
            // One operation a queue: what goes in comes out, and walks through the graph must find their way.
            (NodeKind::Queue, destination, SpanKind::PRODUCER)
        } else if !self.database.is_empty() && !span.kind.is_inbound() {
            self.put_database(name);
            (NodeKind::Database, span.name.as_str(), SpanKind::CLIENT)
        } else if span.kind == SpanKind::CLIENT && self.put_host(name) {
            (NodeKind::External, span.name.as_str(), SpanKind::CLIENT)
        } else {
            return None;
        };
        Some(Peer { kind, name, operation, operation_kind })
    }

    fn is_message(&self, span: &Span) -> bool {
        !self.messaging.is_empty() && (span.kind.is_outbound() || span.kind == SpanKind::CONSUMER)
    }

    fn destination(&self) -> &'a str {
        if !self.destination_template.is_empty() {
            self.destination_template
        } else if self.destination_temporary || self.destination.is_empty() {
            // Temporary names are made up for each client and would never be met again.
            "(temporary)"
        } else {
            self.destination
        }
    }

    fn put_database(&self, name: &mut String) {
        if !self.peer_service.is_empty() {
            return name.push_str(self.peer_service);
        }
        name.push_str(self.database);
        // Numbered databases (Redis) say nothing; the host does.
        if !self.namespace.is_empty() && !self.namespace.bytes().all(|b| b.is_ascii_digit()) {
            return name.extend(["/", self.namespace]);
        }
        let length = name.len();
        name.push('@');
        if !self.put_host(name) {
            name.truncate(length);
        }
    }

    /// Appends the host; false, and nothing appended, where the span tells of none.
    fn put_host(&self, name: &mut String) -> bool {
        if !self.peer_service.is_empty() {
            name.push_str(self.peer_service);
        } else if !self.address.is_empty() {
            name.push_str(self.address);
            if !matches!(self.port, 0 | 80 | 443) {
                // Writing to a text cannot fail.
                let _ = write!(name, ":{}", self.port);
            }
        } else {
            let place = self.url.split_once("://").map_or("", |(_, place)| place);
            let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            name.push_str(host);
            return !host.is_empty();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::model::id::{SpanId, TraceId};
    use crate::model::packed::write::Packer;
    use crate::model::span::SpanDetail;
    use crate::model::time::UnixNanos;

    use super::*;

    fn span(kind: SpanKind, attributes: &[(&str, &str)]) -> Span {
        let mut packer = Packer::default();
        for (key, value) in attributes {
            packer.attribute_text(9, key, value);
        }
        Span {
            trace_id: TraceId::try_from(&[1; 16][..]).unwrap(),
            span_id: SpanId::try_from(&[1; 8][..]).unwrap(),
            parent_id: None,
            name: "call".into(),
            kind,
            status: Status::Unset,
            start: UnixNanos(0),
            duration_ns: 1,
            detail: SpanDetail::from_checked(packer.finish()),
        }
    }

    fn peer(kind: SpanKind, attributes: &[(&str, &str)]) -> Option<(NodeKind, String)> {
        let span = span(kind, attributes);
        let mut name = "the name before".to_owned();
        Traits::of(&span).peer(&span, &mut name).map(|peer| (peer.kind, peer.name.to_owned()))
    }

    #[test]
    fn peers_are_named_by_the_conventions() {
        let client = SpanKind::CLIENT;
        let found = |kind, name: &str| Some((kind, name.to_owned()));
        let database = NodeKind::Database;
        assert_eq!(
            peer(
                client,
                &[("db.system.name", "postgresql"), ("db.namespace", "orders"), ("server.address", "db1")]
            ),
            found(database, "postgresql/orders")
        );
        assert_eq!(
            peer(
                client,
                &[
                    ("db.system", "redis"),
                    ("db.name", "0"),
                    ("net.peer.name", "cache"),
                    ("net.peer.port", "6379")
                ]
            ),
            found(database, "redis@cache:6379")
        );
        assert_eq!(peer(client, &[("db.system", "sqlite")]), found(database, "sqlite"));
        assert_eq!(
            peer(
                SpanKind::PRODUCER,
                &[("messaging.system", "kafka"), ("messaging.destination.name", "orders")]
            ),
            found(NodeKind::Queue, "kafka/orders")
        );
        assert_eq!(
            peer(SpanKind::CONSUMER, &[("messaging.system", "kafka"), ("messaging.destination", "orders")]),
            found(NodeKind::Queue, "kafka/orders")
        );
        assert_eq!(
            peer(client, &[("url.full", "https://u:p@api.bank.example:8443/pay?x=1")]),
            found(NodeKind::External, "api.bank.example:8443")
        );
        assert_eq!(
            peer(client, &[("server.address", "api.bank.example"), ("server.port", "443")]),
            found(NodeKind::External, "api.bank.example")
        );
        assert_eq!(peer(SpanKind::SERVER, &[("server.address", "me")]), None);
        assert_eq!(peer(client, &[]), None);
    }

    #[test]
    fn one_walk_finds_links_and_flags_beside_attributes() {
        let mut packer = Packer::default();
        packer.attribute_text(9, "server.address", "a");
        packer.fixed32(16, 1);
        packer.message(13, |link| link.bytes(1, &[1; 16]));
        packer.attribute_text(9, "server.address", "b");
        packer.fixed32(16, 0x301);
        let detail = SpanDetail::from_checked(packer.finish());
        let linked = Span {
            parent_id: Some(SpanId::try_from(&[2; 8][..]).unwrap()),
            detail,
            ..span(SpanKind::CLIENT, &[])
        };
        let traits = Traits::of(&linked);
        assert_eq!((traits.has_links(), traits.flags(), traits.address), (true, linked.detail.flags(), "b"));
        assert!(linked.is_entry(traits.flags()), "its parent is remote");
        let plain = span(SpanKind::CLIENT, &[("server.address", "a")]);
        let traits = Traits::of(&plain);
        assert_eq!((traits.has_links(), traits.flags()), (false, 0));
    }

    #[test]
    fn a_server_error_code_is_a_failure() {
        let failed = span(SpanKind::SERVER, &[("http.response.status_code", "503")]);
        assert_eq!(Traits::of(&failed).status(&failed), Status::Error);
        let missing = span(SpanKind::SERVER, &[("http.status_code", "404")]);
        assert_eq!(Traits::of(&missing).status(&missing), Status::Unset);
    }
}
