//! Bodies and frames of any bytes: what comes out is bounded and is what was packed, and every byte is given back.

use std::cell::RefCell;
use std::io::{Read, Write};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::body::Reader;
use super::grpc::{self, PREFIX_BYTES};
use super::inflate::{Compression, Inflate};
use super::{Error, Options, http, respond};
use crate::admit::Budget;

/// Limits of one body that an input chooses from.
const LIMITS: [usize; 4] = [100, 64 << 10, 1 << 20, 24 << 20];

/// A compressed body: the first byte chooses how it is compressed and its limit, the rest is the body.
pub(crate) fn inflate(input: &[u8]) {
    let Some((choice, packed)) = input.split_first() else { return };
    let bytes_max = LIMITS[usize::from(choice >> 1 & 3)];
    if choice & 1 == 0 {
        let theirs = plainly(MultiGzDecoder::new(packed), bytes_max);
        same(inflated(Compression::Gzip, packed, bytes_max), theirs, bytes_max);
    } else {
        // The library has a bound of its own on windows, larger than ours.
        let theirs =
            zstd::stream::read::Decoder::with_buffer(packed).map(|decoder| plainly(decoder, bytes_max));
        let theirs = theirs.unwrap_or(None);
        same(inflated(Compression::Zstd, packed, bytes_max), theirs, bytes_max);
    }
}

/// Text packed in several members comes out in one piece, and nothing comes out of what is cut.
pub(crate) fn packed(input: &[u8]) {
    let [choice, cut, plain @ ..] = input else { return };
    let repeats = 1 + usize::from(choice >> 1 & 3) * 40;
    let (mut whole, mut packed) = (Vec::new(), Vec::new());
    let pack = if choice & 1 == 0 { gzip } else { zstd_frame };
    let compression = if choice & 1 == 0 { Compression::Gzip } else { Compression::Zstd };
    for member in plain.chunks(1 + usize::from(choice >> 3) * 16) {
        let member = member.repeat(repeats);
        packed.extend(pack(&member));
        whole.extend(member);
    }
    if packed.is_empty() {
        packed = pack(&[]);
    }
    assert_eq!(
        inflated(compression, &packed, 1 << 20).ok(),
        (whole.len() <= 1 << 20).then_some(whole.clone().into())
    );
    let shorter = whole.len().saturating_sub(1);
    assert!(whole.is_empty() || inflated(compression, &packed, shorter).is_err(), "over the limit");
    // Cut anywhere it is refused, or was cut between two members.
    let end = packed.len() - packed.len().min(1 + usize::from(*cut));
    if let Ok(begun) = inflated(compression, &packed[..end], 1 << 20) {
        assert!(whole.starts_with(&begun), "made of {} bytes of {}", end, packed.len());
    }
}

/// The one message of a call, in pieces as they may arrive: the first two bytes choose these, the compression and the
/// limit, the rest is the body of the call.
pub(crate) fn grpc_message(input: &[u8]) {
    let [choice, piece, body @ ..] = input else { return };
    let named = [Compression::Identity, Compression::Gzip, Compression::Zstd][usize::from(choice & 3) % 3];
    let bytes_max = LIMITS[usize::from(choice >> 2 & 1)];
    let budget = Budget::new(1 << 20);
    let options = Options::default();
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        body.chunks(1 + usize::from(*piece)).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let pieces = Pieces(pieces.into_iter());
    let permit = budget.permit(bytes_max + PREFIX_BYTES);
    let read = async {
        let reader = Reader::new(Body::new(pieces), permit, &options)?;
        grpc::message(reader, named, bytes_max).await
    };
    let read = RUNTIME.with_borrow(|runtime| runtime.block_on(read));
    let wanted = match body {
        [flag @ 0..=1, a, b, c, d, message @ ..] => {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let is_named = *flag == 0 || named != Compression::Identity;
            let compression = if *flag == 0 { Compression::Identity } else { named };
            (length <= bytes_max && length == message.len() && is_named).then_some((compression, message))
        }
        _ => None,
    };
    let found = read.as_ref().ok().map(|(compression, message, _)| (*compression, &message[..]));
    assert_eq!(found, wanted);
    drop(read);
    assert_eq!(budget.held_bytes(), 0, "every byte is given back");
}

/// Headers of a request, as lines of a name's first letter and a value: each is understood in one way or refused.
pub(crate) fn headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut codings = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        match name {
            b't' => drop(headers.append(CONTENT_TYPE, value)),
            b'g' => drop(headers.append("grpc-encoding", value)),
            _ => {
                codings.push(value.clone());
                headers.append(CONTENT_ENCODING, value);
            }
        }
    }
    let types = headers.get_all(CONTENT_TYPE).iter().count();
    assert!(respond::encoding_of(&headers).is_none() || types == 1);
    let known = ["", "identity", "gzip", "x-gzip", "zstd"];
    let is_known = |value: &HeaderValue| {
        value.to_str().is_ok_and(|name| known.iter().any(|known| name.trim().eq_ignore_ascii_case(known)))
    };
    let is_plain = codings.len() < 2 && codings.iter().all(is_known);
    assert_eq!(http::compression_of(&headers).is_ok(), is_plain);
    let named = headers.get("grpc-encoding").is_none_or(is_known);
    assert_eq!(grpc::named_compression(&headers).is_ok(), named);
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread can be made"),
    );
}

/// A body that arrives in pieces.
struct Pieces(std::vec::IntoIter<Result<Bytes, std::io::Error>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(self.0.next().map(|piece| piece.map(http_body::Frame::data)))
    }
}

/// What the server makes of a body, with its bytes counted.
fn inflated(compression: Compression, packed: &[u8], bytes_max: usize) -> Result<Bytes, Error> {
    let budget = Budget::new(u64::MAX);
    let made = (|| {
        let mut packed_permit = budget.permit(packed.len());
        packed_permit.grow(packed.len())?;
        let packed = Bytes::copy_from_slice(packed);
        let inflate = Inflate::new(compression, packed, packed_permit, budget.permit(bytes_max))?;
        let (plain, permit) = inflate.finish()?;
        assert_eq!(permit.held_bytes(), plain.len(), "what is held is what came out");
        assert!(plain.len() <= bytes_max, "over the limit");
        Ok(plain)
    })();
    assert_eq!(budget.held_bytes(), 0, "every byte is given back");
    made
}

/// What a library makes of a body; none where it is damaged. Ends one byte past the limit.
fn plainly(decoder: impl Read, bytes_max: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut plain).ok()?;
    Some(plain)
}

fn same(ours: Result<Bytes, Error>, theirs: Option<Vec<u8>>, bytes_max: usize) {
    match (ours, theirs) {
        (Ok(ours), theirs) => assert_eq!(Some(&ours[..]), theirs.as_deref()),
        (Err(Error::WindowTooLarge { .. }), _) | (Err(_), None) => {}
        // What announces too much is not looked at further.
        (Err(Error::Admit(crate::admit::Error::TooLarge { .. })), Some(_)) => {}
        (Err(error), Some(theirs)) => panic!("{error} where {} of {bytes_max} bytes come out", theirs.len()),
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes every byte")
}

fn zstd_frame(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).expect("memory takes every byte")
}
