//! OTLP over gRPC (OTLP 1.11, "OTLP/gRPC"; the gRPC protocol over HTTP/2).
//!
//! The frames of unary calls are read and written here, because the limits need it: bytes are admitted as they
//! arrive, an oversized message is RESOURCE_EXHAUSTED and an undecodable one INVALID_ARGUMENT, where tonic's
//! codec answers OUT_OF_RANGE, which clients retry for ever, and INTERNAL.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Version;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::post;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use http_body_util::Full;
use tonic::Code;

use crate::admit;
use crate::admit::Permit;
use crate::auth::{Asking, Policy, Right};
use crate::decode::Encoding;
use crate::model::batch::Signal;

use super::Error;
use super::body::Reader;
use super::health;
use super::inflate::Compression;
use super::intake::{Accepted, Export, Intake, contained};
use super::respond;
use super::status::Status;
use super::tally::Transport;

const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const ACCEPTED_ENCODINGS: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");
const GRPC_STATUS: &str = "grpc-status";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Bytes in front of each message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// The path of a signal's `Export` method.
pub(super) const fn export_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// What each method asks of its callers.
pub(super) fn policies() -> impl Iterator<Item = (String, Policy)> {
    let exports = Signal::ALL.map(|signal| (export_path(signal).to_owned(), Policy::Asks(Right::Ingest)));
    exports.into_iter().chain([(health::CHECK_PATH.to_owned(), Policy::Open)])
}

/// The methods that are offered; every other call is unimplemented, and what is not gRPC is told so.
pub(super) fn router(intake: &Arc<Intake>) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let intake = Arc::clone(intake);
        let export = post(move |request| export(intake, signal, request)).fallback(unimplemented);
        router = router.route(export_path(signal), export);
    }
    let intake = Arc::clone(intake);
    let check = post(move |request| health::check(intake, request)).fallback(unimplemented);
    router.route(health::CHECK_PATH, check).fallback(unimplemented)
}

async fn unimplemented(request: Request) -> Response {
    match is_grpc(&request) {
        Ok(()) => failure(&Error::Unimplemented),
        Err(error) => not_grpc(request.headers(), &error),
    }
}

async fn export(intake: Arc<Intake>, signal: Signal, request: Request) -> Response {
    if let Err(error) = is_grpc(&request) {
        return not_grpc(request.headers(), &error);
    }
    intake.tally().request(Transport::Grpc, signal);
    match contained(take(&intake, signal, request)).await {
        Ok(accepted) => {
            intake.tally().grpc_answered(signal, Code::Ok);
            success(&respond::export_response(accepted))
        }
        Err(error) => {
            intake.tally().grpc_answered(signal, error.grpc_code());
            intake.tally().payload_refused(Transport::Grpc, signal, &error);
            failure(&error)
        }
    }
}

async fn take(intake: &Intake, signal: Signal, request: Request) -> Result<Accepted, Error> {
    let (head, body) = request.into_parts();
    let principal = intake.authenticator().admit(Asking::grpc(&head), Right::Ingest).await?;
    let named = named_compression(&head.headers)?;
    let bytes_max = intake.options().request_bytes_max;
    let reader = intake.reader(principal.scope.tenant(), body, bytes_max.saturating_add(PREFIX_BYTES))?;
    let (compression, body, permit) = message(reader, named, bytes_max).await?;
    intake.tally().received(Transport::Grpc, body.len() + PREFIX_BYTES);
    let encoding = Encoding::Protobuf;
    let export = Export { scope: principal.scope, signal, encoding, compression, body, permit };
    intake.take(export).await
}

/// Reads the one message of a unary call.
///
/// # Errors
/// [`admit::Error::TooLarge`] as soon as its prefix says so; [`Error::Framing`] unless there is exactly one.
pub(super) async fn message(
    mut reader: Reader,
    named: Compression,
    bytes_max: usize,
) -> Result<(Compression, Bytes, Permit), Error> {
    let framing = |what| Err(Error::Framing { what });
    loop {
        let is_more = reader.next().await?;
        let arrived = reader.collected().len();
        let Some(prefix) = reader.collected().first_chunk::<PREFIX_BYTES>() else {
            match (is_more, arrived) {
                (true, _) => continue,
                (false, 0) => return framing("the call has no message"),
                (false, _) => return framing("the message breaks off"),
            }
        };
        let [flag, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if bytes_max < length {
            return Err(admit::Error::TooLarge { bytes_max }.into());
        }
        let wanted = PREFIX_BYTES.saturating_add(length);
        match (is_more, arrived) {
            (_, arrived) if wanted < arrived => return framing("a unary call has one message"),
            (true, _) => {
                reader.expect(wanted);
                continue;
            }
            (false, arrived) if arrived < wanted => return framing("the message breaks off"),
            (false, _) => {}
        }
        let (body, permit) = reader.finish();
        let compression = match (flag, named) {
            (0, _) => Compression::Identity,
            (1, Compression::Identity) => return Err(Error::Unnamed),
            (1, named) => named,
            _ => return framing("its first byte is neither 0 nor 1"),
        };
        return Ok((compression, body.slice(PREFIX_BYTES..), permit));
    }
}

/// The compression that compressed messages of a call use.
pub(super) fn named_compression(headers: &HeaderMap) -> Result<Compression, Error> {
    match headers.get(ENCODING) {
        None => Ok(Compression::Identity),
        Some(value) => value.to_str().ok().and_then(Compression::named).ok_or(Error::Compression),
    }
}

/// Tells a gRPC call from anything else that may reach the port.
pub(super) fn is_grpc(request: &Request) -> Result<(), Error> {
    let media_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_media_type = ["application/grpc", "application/grpc+proto"]
        .into_iter()
        .any(|name| media_type.eq_ignore_ascii_case(name));
    if is_media_type && request.version() == Version::HTTP_2 { Ok(()) } else { Err(Error::NotGrpc) }
}

/// A plain HTTP answer for a caller that does not speak gRPC.
pub(super) fn not_grpc(headers: &HeaderMap, error: &Error) -> Response {
    respond::failure(respond::encoding_of(headers).unwrap_or(Encoding::Json), error)
}

/// The answer to a call that succeeded: one message, then the trailers.
pub(super) fn success(message: &Bytes) -> Response {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from(Code::Ok as i32));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED_ENCODINGS);
    response
}

/// The answer to a call that failed: trailers alone.
pub(super) fn failure(error: &Error) -> Response {
    let mut response: Response = Status::of(error).into_grpc().into_http();
    response.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED_ENCODINGS);
    response
}
