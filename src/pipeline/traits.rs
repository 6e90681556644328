//! What the attributes of a span say about the call it made (semantic conventions for database, messaging, HTTP
//! and RPC spans; the older names are read too).

use std::fmt::Write;
use std::net::IpAddr;

use crate::model::node::NodeKind;
use crate::model::packed::value::Value;
use crate::model::packed::{UnreadValue, unread};
use crate::model::span::{Part, Span, SpanKind, Status};

use super::failure::{self, Ending};

/// The attributes that decide, and what else does; one walk over a span's detail fills it.
#[derive(Debug, Default)]
pub(super) struct Traits<'a> {
    flags: u32,
    has_links: bool,
    ending: Ending,
    database: &'a str,
    namespace: &'a str,
    messaging: &'a str,
    messaging_operation: &'a str,
    rpc_service: &'a str,
    rpc_method: &'a str,
    destination: &'a str,
    destination_template: &'a str,
    destination_temporary: bool,
    peer_service: &'a str,
    address: &'a str,
    peer_name: &'a str,
    /// The address on the network, which is mostly a number.
    peer_address: &'a str,
    port: i64,
    url: &'a str,
}

/// What a span has to do with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handling {
    /// Puts some into a queue.
    Puts,
    /// Works on some that were taken from it.
    Works,
    /// Asks for some, and waits until there are any.
    Asks,
    /// Says that some are done with: no message goes either way.
    Settles,
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
                self.ending.http_status = integer().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            }
            b"error.type" => self.ending.names_error = failure::names_error(value),
            b"rpc.response.status_code" => self.ending.grpc = failure::grpc_code(value),
            b"rpc.grpc.status_code" if self.ending.grpc.is_none() => {
                self.ending.grpc = failure::grpc_code(value);
            }
            b"db.system.name" => self.database = value.text(),
            b"db.system" if self.database.is_empty() => self.database = value.text(),
            b"db.namespace" => self.namespace = value.text(),
            b"db.name" if self.namespace.is_empty() => self.namespace = value.text(),
            b"messaging.system" => self.messaging = value.text(),
            b"messaging.operation.type" => self.messaging_operation = value.text(),
            b"messaging.operation" if self.messaging_operation.is_empty() => {
                self.messaging_operation = value.text();
            }
            b"rpc.service" => self.rpc_service = value.text(),
            b"rpc.method" => self.rpc_method = value.text(),
            b"messaging.destination.name" => self.destination = value.text(),
            b"messaging.destination" if self.destination.is_empty() => self.destination = value.text(),
            b"messaging.destination.template" => self.destination_template = value.text(),
            b"messaging.destination.temporary" => {
                self.destination_temporary = value.read() == Value::Bool(true);
            }
            b"peer.service" | b"service.peer.name" => self.peer_service = value.text(),
            b"server.address" => self.address = value.text(),
            b"net.peer.name" => self.peer_name = value.text(),
            b"network.peer.address" => self.peer_address = value.text(),
            b"net.peer.ip" | b"net.sock.peer.addr" if self.peer_address.is_empty() => {
                self.peer_address = value.text();
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
        self.ending.http_status
    }

    /// How the span ended: as its sender says; where it says nothing, failed if the rest tells so, see [`Ending`].
    pub(super) fn status(&self, span: &Span) -> Status {
        if span.status == Status::Unset && self.ending.is_failure(span.kind) {
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
        let handling = self.handling(span);
        let is_message = !self.messaging.is_empty() && handling.is_some_and(|it| it != Handling::Settles);
        let (kind, operation, operation_kind) = if is_message {
            let destination = self.destination();
            name.extend([self.messaging, "/", destination]);
            // One operation a queue: what goes in comes out, and walks through the graph must find their way.
            (NodeKind::Queue, destination, SpanKind::PRODUCER)
        } else if handling.is_some() {
            return None;
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

    /// What part the span plays in a call, and how long it was at work. Who asks for messages takes them from the queue, as
    /// a consumer does, and is idle until there are any.
    pub(super) fn part(&self, span: &Span) -> (SpanKind, u64) {
        match self.handling(span) {
            Some(Handling::Asks) if !self.messaging.is_empty() => (SpanKind::CONSUMER, 0),
            Some(Handling::Asks) => (span.kind, 0),
            Some(Handling::Works) => (SpanKind::CONSUMER, span.duration_ns),
            _ => (span.kind, span.duration_ns),
        }
    }

    /// What the span has to do with messages, if anything. Consumers are told by their kind: some instruments call the
    /// work on a message `receive`.
    fn handling(&self, span: &Span) -> Option<Handling> {
        let is_known = !self.messaging.is_empty();
        match self.messaging_operation {
            _ if !span.kind.is_outbound() && span.kind != SpanKind::CONSUMER => None,
            "settle" if is_known => Some(Handling::Settles),
            _ if span.kind == SpanKind::CONSUMER => is_known.then_some(Handling::Works),
            "receive" if is_known => Some(Handling::Asks),
            "process" | "deliver" if is_known => Some(Handling::Works),
            "" => self.handling_by_method(),
            _ => is_known.then_some(Handling::Puts),
        }
    }

    /// The same of a call that does not say which operation it is: Amazon's client names the method.
    fn handling_by_method(&self) -> Option<Handling> {
        let is_known = !self.messaging.is_empty();
        let method = self.rpc_method.rsplit(['/', '.']).next().unwrap_or_default();
        let is_amazon = self.rpc_service.eq_ignore_ascii_case("sqs") || is_known;
        match method {
            "ReceiveMessage" if is_amazon => Some(Handling::Asks),
            "DeleteMessage"
            | "DeleteMessageBatch"
            | "ChangeMessageVisibility"
            | "ChangeMessageVisibilityBatch"
                if is_amazon =>
            {
                Some(Handling::Settles)
            }
            _ => is_known.then_some(Handling::Puts),
        }
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

    /// Appends the host; false, and nothing appended, where the span tells of none. What has a name goes by it: addresses
    /// change with each pod.
    fn put_host(&self, name: &mut String) -> bool {
        if !self.peer_service.is_empty() {
            name.push_str(self.peer_service);
            return true;
        }
        let is_name = |host: &&str| !host.is_empty() && host.parse::<IpAddr>().is_err();
        let by_url = self.authority();
        if let Some(host) = [self.address, self.peer_name].into_iter().find(is_name) {
            self.put_address(host, name);
        } else if !by_url.is_empty() {
            name.push_str(by_url);
        } else {
            let hosts = [self.address, self.peer_name, self.peer_address];
            let Some(host) = hosts.into_iter().find(|host| !host.is_empty()) else { return false };
            self.put_address(host, name);
        }
        true
    }

    fn put_address(&self, host: &str, name: &mut String) {
        name.push_str(host);
        if !matches!(self.port, 0 | 80 | 443) {
            // Writing to a text cannot fail.
            let _ = write!(name, ":{}", self.port);
        }
    }

    /// The host and port of the URL, without user and password; empty where there is no URL.
    fn authority(&self) -> &'a str {
        let place = self.url.split_once("://").map_or("", |(_, place)| place);
        let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default()
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
    fn names_come_before_addresses_in_any_order() {
        let named = Some((NodeKind::External, "bank".to_owned()));
        for key in ["net.peer.ip", "network.peer.address", "net.sock.peer.addr"] {
            let (name, address) = (("net.peer.name", "bank"), (key, "10.0.0.7"));
            assert_eq!(peer(SpanKind::CLIENT, &[name, address]), named, "{key}");
            assert_eq!(peer(SpanKind::CLIENT, &[address, name]), named, "{key}");
            assert_eq!(peer(SpanKind::CLIENT, &[address, ("url.full", "https://bank/pay")]), named, "{key}");
            let unnamed = Some((NodeKind::External, "10.0.0.7".to_owned()));
            assert_eq!(peer(SpanKind::CLIENT, &[address]), unnamed, "{key}");
        }
        for attributes in [
            [("server.address", "10.0.0.7"), ("net.peer.name", "bank")],
            [("net.peer.name", "other"), ("server.address", "bank")],
        ] {
            assert_eq!(peer(SpanKind::CLIENT, &attributes), named, "{attributes:?}");
        }
    }

    #[test]
    fn messages_are_put_asked_for_worked_on_and_settled() {
        let queue = Some((NodeKind::Queue, "kafka/orders".to_owned()));
        let check =
            |kind, operation: &[(&'static str, &'static str)], found: &Option<(NodeKind, String)>, part| {
                let to = [("messaging.system", "kafka"), ("messaging.destination.name", "orders")];
                let attributes = [&to[..], operation, &[("server.address", "broker")][..]].concat();
                let span = Span { duration_ns: 9, ..span(kind, &attributes) };
                assert_eq!(peer(kind, &attributes), *found, "{attributes:?}");
                assert_eq!(Traits::of(&span).part(&span), part, "{attributes:?}");
            };
        let (client, consumer) = (SpanKind::CLIENT, SpanKind::CONSUMER);
        for key in ["messaging.operation.type", "messaging.operation"] {
            check(client, &[(key, "send")], &queue, (client, 9));
            check(SpanKind::PRODUCER, &[(key, "create")], &queue, (SpanKind::PRODUCER, 9));
            check(SpanKind::PRODUCER, &[(key, "publish")], &queue, (SpanKind::PRODUCER, 9));
            // Who asks is idle until there is a message.
            check(client, &[(key, "receive")], &queue, (consumer, 0));
            check(consumer, &[(key, "receive")], &queue, (consumer, 9));
            check(consumer, &[(key, "process")], &queue, (consumer, 9));
            check(client, &[(key, "settle")], &None, (client, 9));
        }
        check(client, &[], &queue, (client, 9));
        check(client, &[("rpc.method", "SendMessage")], &queue, (client, 9));
        check(client, &[("rpc.method", "ReceiveMessage")], &queue, (consumer, 0));
        check(client, &[("rpc.method", "SQS/ReceiveMessage")], &queue, (consumer, 0));
        check(client, &[("rpc.method", "DeleteMessage")], &None, (client, 9));
    }

    #[test]
    fn methods_alone_tell_of_messages_where_the_service_is_known() {
        let part = |attributes: &[(&str, &str)]| {
            let span = Span { duration_ns: 9, ..span(SpanKind::CLIENT, attributes) };
            (Traits::of(&span).part(&span).1, peer(SpanKind::CLIENT, attributes).map(|it| it.1))
        };
        let (address, method) = (("server.address", "host"), ("rpc.method", "ReceiveMessage"));
        assert_eq!(part(&[("rpc.service", "SQS"), method, address]), (0, None));
        assert_eq!(part(&[("rpc.service", "Mailbox"), method, address]), (9, Some("host".to_owned())));
        let list = ("rpc.method", "ListQueues");
        assert_eq!(part(&[("rpc.service", "SQS"), list, address]), (9, Some("host".to_owned())));
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
    fn what_does_not_say_how_it_ended_fails_by_what_else_it_says() {
        let status = |kind, said, attributes: &[(&str, &str)]| {
            let span = Span { status: said, ..span(kind, attributes) };
            Traits::of(&span).status(&span)
        };
        let (client, server) = (SpanKind::CLIENT, SpanKind::SERVER);
        let (failed, unset) = (Status::Error, Status::Unset);
        for (kind, attribute, found) in [
            (server, ("http.response.status_code", "503"), failed),
            (server, ("http.status_code", "404"), unset),
            (server, ("http.status_code", "429"), unset),
            (client, ("http.response.status_code", "429"), failed),
            (client, ("http.status_code", "429"), failed),
            (client, ("http.status_code", "408"), failed),
            (client, ("http.status_code", "404"), unset),
            (client, ("rpc.grpc.status_code", "5"), failed),
            (server, ("rpc.grpc.status_code", "5"), unset),
            (server, ("rpc.grpc.status_code", "14"), failed),
            (client, ("rpc.response.status_code", "NOT_FOUND"), failed),
            (server, ("rpc.response.status_code", "DEADLINE_EXCEEDED"), failed),
            (server, ("rpc.response.status_code", "OK"), unset),
            (SpanKind::INTERNAL, ("error.type", "ValueError"), failed),
            (SpanKind::INTERNAL, ("error.type", ""), unset),
        ] {
            assert_eq!(status(kind, unset, &[attribute]), found, "{kind:?} {attribute:?}");
            assert_eq!(status(kind, Status::Ok, &[attribute]), Status::Ok, "{kind:?} {attribute:?}");
        }
        let missing = [("http.response.status_code", "404"), ("error.type", "404")];
        assert_eq!(status(client, unset, &missing), failed);
    }
}
