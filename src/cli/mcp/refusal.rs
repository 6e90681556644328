//! What the bridge says itself where a message cannot be passed on.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::fault;

use super::lines::LINE_BYTES_MAX;

/// Calls that may be in flight; the next request is answered with -32000, and the next notification is dropped.
pub(super) const CALLS_MAX: usize = 64;
/// Longest message of the server, in bytes; a longer one is refused with -32603.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a server may say nothing to a call: longer than `MCP_CALL_TIMEOUT_MS` can be.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(11 * 60);

/// Why a message was not passed on, or its answer did not come; the text tells its reader, who may be a model, what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The line has no meaning.
    #[error("the line is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// It has, and not here.
    #[error("a line holds one message: an object with a method, a result or an error; batches are not taken")]
    NoMessage,
    /// The rest of it was skipped.
    #[error("a line has at most {LINE_BYTES_MAX} bytes, and this one was skipped: make the call smaller")]
    LineTooLong,
    /// The bridge is at its limit.
    #[error("{CALLS_MAX} calls wait for their answers: call again when one has come")]
    TooManyCalls,
    /// Nobody listens at the address, or it cannot be found or believed.
    #[error(
        "cannot reach {url}: is the server running? start it with `otelcontext serve`, or name another with --url"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server says nothing.
    #[error("{url} says nothing: look whether the server is well at /ready, and call again")]
    Silent {
        /// Who.
        url: String,
    },
    /// The connection went while the answer was waited for.
    #[error("the connection to {url} ended before the answer: call again")]
    Broken {
        /// Where to.
        url: String,
        /// Why, where that is known.
        source: Option<reqwest::Error>,
    },
    /// The server, or who stands before it, turned the call away.
    #[error("{url} answers {reason}: {advice}")]
    Turned {
        /// Who.
        url: String,
        /// How.
        status: StatusCode,
        /// The status and what was said with it.
        reason: String,
        /// What may help.
        advice: &'static str,
        /// How long to wait, where that was said.
        after: Option<Duration>,
    },
    /// The call succeeded without an answer that MCP knows.
    #[error(
        "what answers at {url} is not MCP: check --url, whose path is /mcp or what MCP_PATH says at the server"
    )]
    Stranger {
        /// Who.
        url: String,
    },
    /// The answer is longer than is passed on.
    #[error("the answer of {url} has more than {ANSWER_BYTES_MAX} bytes: ask for less")]
    AnswerTooLong {
        /// Whose.
        url: String,
    },
}

impl Refusal {
    /// It as the answer to the request `id`, which is null where that is not known.
    pub(super) fn line(&self, id: &Value) -> String {
        let mut error = json!({"code": self.code(), "message": fault::chain(self)});
        if let Self::Turned { status, after, .. } = self {
            error["data"] = json!({"status": status.as_u16()});
            if let Some(after) = after {
                error["data"]["retryAfterMs"] = json!(after.as_secs().saturating_mul(1_000));
            }
        }
        json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
    }

    /// The code of JSON-RPC. Limits have the one that the server has for its own.
    fn code(&self) -> i32 {
        match self {
            Self::NotJson(_) => -32_700,
            Self::NoMessage | Self::LineTooLong => -32_600,
            Self::TooManyCalls => -32_000,
            Self::Turned { status, .. } if [429, 502, 503, 504].contains(&status.as_u16()) => -32_000,
            _ => -32_603,
        }
    }
}

/// What may help where the server turned a call away.
pub(super) fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "set API_KEY, or API_KEY_FILE, to a key with the scope read",
        403 => {
            "the key needs the scope read, --tenant must be the key's own, and the name in --url must be among the \
             server's MCP_ALLOWED_HOSTS"
        }
        404 | 405 => "check --url, whose path is /mcp or what MCP_PATH says at the server",
        413 => "make the call smaller",
        429 => "call again later",
        502..=504 => "the server is not ready, call again in a moment",
        _ => "see the server's log",
    }
}
