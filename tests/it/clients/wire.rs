//! Export requests, read out of the bytes of a connection.
//!
//! Only whole requests are told. What a client speaks here is what the official Collector does: HTTP/1.1 with lengths, and
//! HTTP/2 without padding, both compressed with gzip.

use std::collections::BTreeMap;
use std::io::Read;

/// The messages of the gRPC calls that `stream`, all that a client said on one connection, has whole.
pub(super) fn grpc(stream: &[u8]) -> Vec<Vec<u8>> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const DATA: u8 = 0;
    const PADDED: u8 = 8;
    let mut calls: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    let mut rest = stream.strip_prefix(PREFACE).unwrap_or_default();
    while let Some((head, after)) = rest.split_at_checked(9) {
        let Some((payload, after)) = after.split_at_checked(number(&head[..3])) else { break };
        if head[3] == DATA {
            assert_eq!(head[4] & PADDED, 0, "padded");
            calls.entry(&head[5..9]).or_default().extend(payload);
        }
        rest = after;
    }
    let message = |call: Vec<u8>| {
        let (head, body) = call.split_at_checked(5)?;
        let body = body.get(..number(&head[1..]))?;
        Some(if head[0] == 1 { unpacked(body) } else { body.to_owned() })
    };
    calls.into_values().filter_map(message).collect()
}

/// The bodies of the HTTP/1.1 requests that `stream` has whole.
pub(super) fn http(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = std::str::from_utf8(&rest[..end]).unwrap().to_ascii_lowercase();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length = header("content-length").unwrap_or_else(|| panic!("no length: {head}"));
        let Some((body, after)) = rest[end + 4..].split_at_checked(length.parse().unwrap()) else { break };
        assert_eq!(header("content-encoding"), Some("gzip"), "{head}");
        bodies.push(unpacked(body));
        rest = after;
    }
    bodies
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain
}
