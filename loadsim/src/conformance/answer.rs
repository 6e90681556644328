//! What a server answered, read without regard to what was expected.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value;

use crate::send::Signal;

/// What came back.
#[derive(Debug, Clone)]
pub(super) enum Got {
    /// An answer of OTLP/HTTP.
    Http { status: u16, headers: BTreeMap<String, String>, body: Vec<u8> },
    /// An answer of OTLP/gRPC with its frames; no code where the server sent none.
    Grpc {
        http_status: u16,
        headers: BTreeMap<String, String>,
        code: Option<i32>,
        message: String,
        body: Vec<u8>,
    },
    /// The connection ended without one.
    Closed(String),
    /// Nothing came in time.
    Silence,
}

/// `google.rpc.Status`, as far as OTLP uses it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<prost_any::Any>,
}

/// `google.protobuf.Any`.
mod prost_any {
    /// A message of any type.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(crate) struct Any {
        #[prost(string, tag = "1")]
        pub(crate) type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) value: Vec<u8>,
    }
}

/// The partial success of a response: the same fields for all three signals.
#[derive(Clone, PartialEq, Eq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// The response of all three signals.
#[derive(Clone, PartialEq, Eq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

impl Got {
    /// A header, or nothing.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        match self {
            Self::Http { headers, .. } | Self::Grpc { headers, .. } => headers.get(name).map(String::as_str),
            Self::Closed(_) | Self::Silence => None,
        }
    }

    /// The media type of the answer, without parameters, in lower case.
    pub(super) fn media_type(&self) -> String {
        let whole = self.header("content-type").unwrap_or_default();
        whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// In a few words.
    pub(super) fn text(&self) -> String {
        let show = |body: &[u8]| {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            text.escape_debug().to_string()
        };
        match self {
            Self::Http { status, body, .. } => {
                format!("HTTP {status} {} \"{}\"", self.media_type(), show(body))
            }
            Self::Grpc { http_status, code, message, .. } => {
                format!("HTTP {http_status}, grpc-status {code:?}, \"{}\"", show(message.as_bytes()))
            }
            Self::Closed(why) => format!("the connection ended: {why}"),
            Self::Silence => "no answer in time".to_owned(),
        }
    }
}

/// How many items a response says were rejected, and why; an error where it is no response.
pub(super) fn rejected(signal: Signal, media_type: &str, body: &[u8]) -> Result<(i64, String), String> {
    if media_type != "application/json" {
        let response = Response::decode(body).map_err(|error| format!("the body is no response: {error}"))?;
        return Ok(response
            .partial
            .map_or((0, String::new()), |partial| (partial.rejected, partial.message)));
    }
    let response: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let known = |key: &String| key == "partialSuccess";
    if !response.as_object().is_some_and(|fields| fields.keys().all(known)) {
        return Err("the body is no response".to_owned());
    }
    let partial = &response["partialSuccess"];
    let count = match &partial[signal.rejected()] {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let count = count.ok_or_else(|| format!("{} is no number", signal.rejected()))?;
    Ok((count, partial["errorMessage"].as_str().unwrap_or_default().to_owned()))
}

/// The `google.rpc.Status` in a body.
pub(super) fn status(media_type: &str, body: &[u8]) -> Result<Status, String> {
    if media_type != "application/json" {
        return Status::decode(body).map_err(|error| format!("the body is no google.rpc.Status: {error}"));
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let known = |key: &String| ["code", "message", "details"].contains(&key.as_str());
    if !value.as_object().is_some_and(|fields| fields.keys().all(known)) {
        return Err("the body is no google.rpc.Status".to_owned());
    }
    let code = value["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let message = value["message"].as_str().unwrap_or_default().to_owned();
    Ok(Status { code, message, details: Vec::new() })
}
