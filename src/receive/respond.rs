//! HTTP answers in the encoding of the request.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::ACCEPT_ENCODING;
use axum::http::header::ALLOW;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::RETRY_AFTER;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::Response;
use bytes::Bytes;
use prost::Message;
use serde_json::json;

use crate::decode::Encoding;
use crate::model::batch::Signal;

use super::Error;
use super::error::shorten;
use super::intake::Accepted;
use super::status::Status;

/// The media type of protobuf bodies.
const PROTOBUF: &str = "application/x-protobuf";

/// The media type of JSON bodies.
const JSON: &str = "application/json";

/// The encoding named by the `content-type` header, in any case and with any parameters; none when it is
/// absent, given twice, or not OTLP's.
pub(super) fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let media_type = value.to_str().ok()?.split(';').next()?.trim();
    [(PROTOBUF, Encoding::Protobuf), (JSON, Encoding::Json)]
        .into_iter()
        .find(|(name, _)| media_type.eq_ignore_ascii_case(name))
        .map(|(_, encoding)| encoding)
}

/// The 200 of an accepted request; `partial_success` is set only when there is something to say.
pub(super) fn success(encoding: Encoding, signal: Signal, accepted: Accepted) -> Response {
    let body = match encoding {
        Encoding::Protobuf => export_response(accepted),
        Encoding::Json => export_response_json(signal, accepted),
    };
    answer(StatusCode::OK, encoding, body)
}

/// The answer to a refused request: a `google.rpc.Status`, in `encoding`.
pub(super) fn failure(encoding: Encoding, error: &Error) -> Response {
    let status = Status::of(error);
    let body = match encoding {
        Encoding::Protobuf => status.to_protobuf(),
        Encoding::Json => status.to_json(),
    };
    let mut response = answer(error.http_status(), encoding, body);
    let headers = response.headers_mut();
    if let Some(after) = status.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    match error {
        Error::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
        // RFC 9110, 15.5.16.
        Error::Compression => drop(headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))),
        Error::Auth(error) => {
            if let Some(challenge) = error.challenge() {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
        }
        _ => {}
    }
    response
}

fn answer(status: StatusCode, encoding: Encoding, body: Bytes) -> Response {
    let media_type = match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// `Export<Signal>ServiceResponse` in protobuf; the three are alike on the wire. Empty on full success.
pub(super) fn export_response(accepted: Accepted) -> Bytes {
    let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
    let error_message = shorten(accepted.message.unwrap_or_default());
    let has_news = rejected != 0 || !error_message.is_empty();
    let partial_success = has_news.then_some(PartialSuccess { rejected, error_message });
    ExportResponse { partial_success }.encode_to_vec().into()
}

/// As [`export_response`], in JSON: 64-bit integers are strings, and `{}` is full success.
fn export_response_json(signal: Signal, accepted: Accepted) -> Bytes {
    let message = shorten(accepted.message.unwrap_or_default());
    let mut partial = serde_json::Map::new();
    if accepted.rejected != 0 {
        let name = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
            Signal::Metrics => "rejectedDataPoints",
        };
        partial.insert(name.to_owned(), json!(accepted.rejected.to_string()));
    }
    if !message.is_empty() {
        partial.insert("errorMessage".to_owned(), json!(message));
    }
    let response = if partial.is_empty() { json!({}) } else { json!({ "partialSuccess": partial }) };
    response.to_string().into()
}

/// `Export<Signal>ServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `Export<Signal>PartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}
