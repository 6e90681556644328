//! OTLP over HTTP (OTLP 1.11, "OTLP/HTTP").

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::response::Response;
use axum::routing::any;
use axum::routing::post;

use crate::auth::{Asking, Policy, Right};
use crate::decode::Encoding;
use crate::model::batch::Signal;

use super::Error;
use super::inflate::Compression;
use super::intake::{Accepted, Export, Intake, contained};
use super::respond;
use super::tally::Transport;

/// What else is asked for where OTLP is.
const ELSEWHERE: [&str; 2] = ["/v1/{*rest}", "/v1development/{*rest}"];

/// What each route asks of its callers.
pub(super) fn policies() -> impl Iterator<Item = (String, Policy)> {
    let exports = Signal::ALL.into_iter().map(|signal| (path(signal), Policy::Asks(Right::Ingest)));
    exports.chain(ELSEWHERE.map(|path| (path.to_owned(), Policy::Open)))
}

fn path(signal: Signal) -> String {
    format!("/v1/{}", signal.name())
}

/// The three routes, and a 404 in OTLP's words for whatever else is asked for under `/v1`.
pub(super) fn router(intake: Arc<Intake>) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let intake = Arc::clone(&intake);
        let export = post(move |request| export(intake, signal, request)).fallback(method_not_allowed);
        router = router.route(&path(signal), export);
    }
    ELSEWHERE.into_iter().fold(router, |router, path| router.route(path, any(not_found)))
}

/// A 404 in the encoding of the request.
pub(super) async fn not_found(headers: HeaderMap) -> Response {
    refusal(&headers, &Error::NotFound)
}

async fn method_not_allowed(headers: HeaderMap) -> Response {
    refusal(&headers, &Error::Method)
}

async fn export(intake: Arc<Intake>, signal: Signal, request: Request) -> Response {
    intake.tally().request(Transport::Http, signal);
    let encoding = respond::encoding_of(request.headers());
    match contained(take(&intake, signal, encoding, request)).await {
        Ok((encoding, accepted)) => respond::success(encoding, signal, accepted),
        Err(error) => {
            intake.tally().http_refused(signal, &error);
            respond::failure(encoding.unwrap_or(Encoding::Json), &error)
        }
    }
}

/// The steps of one export, the cheap refusals first: nothing of the body is read before the caller is known.
async fn take(
    intake: &Intake,
    signal: Signal,
    encoding: Option<Encoding>,
    request: Request,
) -> Result<(Encoding, Accepted), Error> {
    let (head, body) = request.into_parts();
    check(&head)?;
    let principal = intake.authenticator().admit(Asking::http(&head), Right::Ingest).await?;
    let encoding = encoding.ok_or(Error::ContentType)?;
    let compression = compression_of(&head.headers)?;
    let mut reader = intake.reader(principal.scope.tenant(), body, intake.options().request_bytes_max)?;
    while reader.next().await? {}
    let (body, permit) = reader.finish();
    intake.tally().received(Transport::Http, body.len());
    let export = Export { scope: principal.scope, signal, encoding, compression, body, permit };
    Ok((encoding, intake.take(export).await?))
}

/// Refuses heads that may be understood in two ways: servers in front of this one may have understood the other.
fn check(head: &Parts) -> Result<(), Error> {
    if head.version != Version::HTTP_11 {
        return Ok(());
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let is_known = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    // Once at most (RFC 9112, 6.1).
    if codings.next().is_some_and(|first| !is_known(first)) || codings.next().is_some() {
        return Err(Error::TransferCoding);
    }
    if head.headers.get_all(HOST).iter().count() == 1 { Ok(()) } else { Err(Error::Host) }
}

/// One known compression; bodies that were compressed twice are refused.
pub(super) fn compression_of(headers: &HeaderMap) -> Result<Compression, Error> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Compression::Identity),
        (Some(value), None) => value.to_str().ok().and_then(Compression::named).ok_or(Error::Compression),
        (Some(_), Some(_)) => Err(Error::Compression),
    }
}

/// What a refused request is answered, in its own encoding.
pub(super) fn refusal(headers: &HeaderMap, error: &Error) -> Response {
    respond::failure(respond::encoding_of(headers).unwrap_or(Encoding::Json), error)
}
