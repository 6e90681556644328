//! Refusals as the protocols spell them: `google.rpc.Status` in protobuf and JSON, HTTP and gRPC status codes.
//!
//! One kind of failure has one spelling on each door (OTLP 1.11, "Failures"). A temporary failure is never an
//! internal error, because clients drop the data on those; a permanent one never has a code that they retry.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::fault::Kind;

use super::Error;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

impl Error {
    /// The status of the HTTP answer.
    pub(super) const fn http_status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType | Self::Compression | Self::NotGrpc => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            _ => match self.kind() {
                Kind::Invalid => StatusCode::BAD_REQUEST,
                Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Kind::NotFound => StatusCode::NOT_FOUND,
                Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
                Kind::Denied => StatusCode::FORBIDDEN,
                Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
                Kind::Unavailable | Kind::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
                Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// The code of the gRPC answer, also inside every `google.rpc.Status`.
    pub(super) const fn grpc_code(&self) -> Code {
        match self {
            Self::Method | Self::Compression | Self::TransferCoding | Self::Unimplemented | Self::NotGrpc => {
                Code::Unimplemented
            }
            // gRPC, "Compression", test cases.
            Self::Unnamed => Code::Internal,
            _ => match self.kind() {
                Kind::Invalid => Code::InvalidArgument,
                Kind::TooLarge => Code::ResourceExhausted,
                Kind::NotFound => Code::NotFound,
                Kind::Unauthenticated => Code::Unauthenticated,
                Kind::Denied => Code::PermissionDenied,
                Kind::Overloaded | Kind::Unavailable | Kind::TimedOut => Code::Unavailable,
                Kind::Internal => Code::Internal,
            },
        }
    }
}

/// A refusal in words of the protocols.
#[derive(Debug)]
pub(super) struct Status {
    code: Code,
    text: String,
    retry_after: Option<Duration>,
}

impl Status {
    /// The spelling of `error`.
    pub(super) fn of(error: &Error) -> Self {
        let retry_after = error.kind().retry_after().map(spread);
        Self { code: error.grpc_code(), text: error.text(), retry_after }
    }

    /// How long the client should wait before it sends the same again; none where that is no use.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// `google.rpc.Status` in protobuf.
    pub(super) fn to_protobuf(&self) -> Bytes {
        let code = self.code as i32;
        RpcStatus { code, message: self.text.clone(), details: self.details() }.encode_to_vec().into()
    }

    /// `google.rpc.Status` in JSON.
    pub(super) fn to_json(&self) -> Bytes {
        let mut status = json!({ "code": self.code as i32, "message": self.text });
        let detail = match (self.retry_after, self.is_bad_request()) {
            (Some(after), _) => json!({ "@type": RETRY_INFO, "retryDelay": format!("{}s", after.as_secs()) }),
            (None, true) => {
                json!({ "@type": BAD_REQUEST, "fieldViolations": [{ "description": self.text }] })
            }
            (None, false) => Value::Null,
        };
        if !detail.is_null() {
            status["details"] = json!([detail]);
        }
        status.to_string().into()
    }

    /// The status of a gRPC answer, with its details among the trailers where clients act on them.
    pub(super) fn into_grpc(self) -> tonic::Status {
        if self.retry_after.is_none() {
            return tonic::Status::new(self.code, self.text);
        }
        let details = self.to_protobuf();
        tonic::Status::with_details(self.code, self.text, details)
    }

    fn is_bad_request(&self) -> bool {
        self.code == Code::InvalidArgument
    }

    fn details(&self) -> Vec<Any> {
        let detail = |type_url: &str, value| vec![Any { type_url: type_url.to_owned(), value }];
        if let Some(after) = self.retry_after {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            let nanos = i32::try_from(after.subsec_nanos()).unwrap_or(0);
            let retry_info = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) };
            return detail(RETRY_INFO, retry_info.encode_to_vec());
        }
        if self.is_bad_request() {
            let violation = FieldViolation { description: self.text.clone() };
            return detail(BAD_REQUEST, BadRequest { field_violations: vec![violation] }.encode_to_vec());
        }
        Vec::new()
    }
}

/// `least` to three times as long in whole seconds, different from call to call, so that clients that were
/// refused together do not come back together.
fn spread(least: Duration) -> Duration {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let scattered = CALLS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9) >> 16;
    let least_s = least.as_secs().max(1);
    Duration::from_secs(least_s + u64::from(scattered) % (2 * least_s + 1))
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`; the field stays unnamed.
#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "2")]
    description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_retryable_on_both_doors_or_on_none() {
        let kinds = [
            Kind::Invalid,
            Kind::TooLarge,
            Kind::NotFound,
            Kind::Unauthenticated,
            Kind::Denied,
            Kind::Overloaded,
            Kind::Unavailable,
            Kind::TimedOut,
            Kind::Internal,
        ];
        for kind in kinds {
            let error = Error::NotAccepted { kind };
            let is_retryable = kind.is_retryable();
            assert_eq!(
                [429, 502, 503, 504].contains(&error.http_status().as_u16()),
                is_retryable,
                "{kind:?}"
            );
            assert_eq!(error.grpc_code() == Code::Unavailable, is_retryable, "{kind:?}");
            assert_eq!(Status::of(&error).retry_after().is_some(), is_retryable, "{kind:?}");
        }
    }

    #[test]
    fn c4_the_wait_is_1_to_30_seconds_and_spread() {
        for kind in [Kind::Overloaded, Kind::Unavailable, Kind::TimedOut] {
            let status = || Status::of(&Error::NotAccepted { kind }).retry_after().unwrap().as_secs();
            let waits: std::collections::BTreeSet<u64> = (0..100).map(|_| status()).collect();
            assert!(
                1 < waits.len() && waits.iter().all(|wait| (1..=30).contains(wait)),
                "{kind:?}: {waits:?}"
            );
        }
    }
}
