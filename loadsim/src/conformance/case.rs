//! The cases, as they are written in `cases/`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::send::Signal;

/// The files with the cases, in the order in which they are run.
const GROUPS: &[(&str, &str)] = &[
    ("success", include_str!("../../cases/success.json")),
    ("media_types", include_str!("../../cases/media_types.json")),
    ("methods_and_paths", include_str!("../../cases/methods_and_paths.json")),
    ("json", include_str!("../../cases/json.json")),
    ("protobuf", include_str!("../../cases/protobuf.json")),
    ("compression", include_str!("../../cases/compression.json")),
    ("items", include_str!("../../cases/items.json")),
    ("grpc", include_str!("../../cases/grpc.json")),
    ("http", include_str!("../../cases/http.json")),
    ("limits", include_str!("../../cases/limits.json")),
];
const MESSAGES: &str = include_str!("../../cases/messages.json");

/// How a request reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Door {
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP/HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    Protobuf,
    /// OTLP/HTTP with JSON.
    #[serde(rename = "http/json")]
    Json,
}

/// How strongly a rule is worded where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The source demands it.
    Must,
    /// The source recommends it.
    Should,
    /// No source asks for it, and a server that can be relied on does it.
    Robust,
}

/// One rule, how to try it, and what has to come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) rule: String,
    pub(super) source: String,
    pub(super) level: Level,
    #[serde(default = "all_signals")]
    pub(super) signals: Vec<Signal>,
    #[serde(default = "all_doors")]
    pub(super) doors: Vec<Door>,
    pub(super) send: Send,
    pub(super) expect: Expect,
}

/// A request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Send {
    pub(super) message: Option<String>,
    pub(super) body: Option<Vec<Part>>,
    pub(super) cut: Option<i64>,
    pub(super) flip: Option<i64>,
    pub(super) compression: Vec<String>,
    pub(super) cut_compressed: Option<i64>,
    pub(super) flip_compressed: Option<i64>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: BTreeMap<String, Option<String>>,
    pub(super) raw: Option<Raw>,
    pub(super) grpc: Frames,
}

/// A piece of a body, as often as it says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) message: Option<String>,
    pub(super) hex: Option<String>,
    pub(super) text: Option<String>,
    pub(super) json: Option<Value>,
    pub(super) times: Option<usize>,
}

/// A whole HTTP/1.1 request.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Raw {
    Text(String),
    Parts(Vec<Part>),
}

/// What is odd about the frames of a gRPC call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Frames {
    pub(super) path: Option<String>,
    pub(super) flag: Option<u8>,
    pub(super) declared_length: Option<u32>,
    pub(super) frames: Option<usize>,
    pub(super) no_frame: bool,
}

/// What has to come of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) answer: OneOrMore<Answer>,
    #[serde(default)]
    pub(super) http: ExpectHttp,
    #[serde(default)]
    pub(super) grpc: ExpectGrpc,
    pub(super) rejected: Option<i64>,
    pub(super) stored: Option<u64>,
    pub(super) within_ms: Option<u64>,
}

/// A kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// Everything was taken.
    Success,
    /// Some items were not taken, and the answer says how many.
    Partial,
    /// Nothing was taken, and sending again would not help.
    Refused,
    /// Nothing was taken for now.
    Retryable,
    /// The connection ended, or the request was refused before it was read as OTLP.
    Closed,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectHttp {
    pub(super) status: Option<OneOrMore<u16>>,
    pub(super) content_type: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectGrpc {
    pub(super) code: Option<OneOrMore<String>>,
    pub(super) http_status: Option<u16>,
    pub(super) headers: BTreeMap<String, String>,
}

/// One value, or any of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

/// All cases with the group of each, and the messages they name.
pub(super) struct Suite {
    pub(super) cases: Vec<(&'static str, Case)>,
    pub(super) messages: Value,
}

impl Suite {
    /// Reads what is built in.
    pub(super) fn read() -> Result<Self> {
        let mut cases = Vec::new();
        for (name, text) in GROUPS {
            let group: Group = serde_json::from_str(text).with_context(|| format!("cases/{name}.json"))?;
            cases.extend(group.cases.into_iter().map(|case| (*name, case)));
        }
        let messages = serde_json::from_str(MESSAGES).context("cases/messages.json")?;
        Ok(Self { cases, messages })
    }
}

impl Signal {
    /// The name of the request message.
    pub(super) const fn request(self) -> &'static str {
        match self {
            Self::Traces => "ExportTraceServiceRequest",
            Self::Logs => "ExportLogsServiceRequest",
            Self::Metrics => "ExportMetricsServiceRequest",
        }
    }

    /// The field of a partial success that counts what was rejected.
    pub(super) const fn rejected(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Logs => "rejectedLogRecords",
            Self::Metrics => "rejectedDataPoints",
        }
    }
}

impl Door {
    /// The media type of its messages.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// How cases and reports name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Protobuf => "http/protobuf",
            Self::Json => "http/json",
        }
    }
}

fn all_signals() -> Vec<Signal> {
    vec![Signal::Traces, Signal::Logs, Signal::Metrics]
}

fn all_doors() -> Vec<Door> {
    vec![Door::Grpc, Door::Protobuf, Door::Json]
}
