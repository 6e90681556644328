//! One call over streamable HTTP, as section "Transports" of each revision of MCP wants it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tracing::warn;

use crate::fault;
use crate::model::tenant::TenantId;

use super::events::{Events, TooLong};
use super::message::{Message, Reply};
use super::refusal::{self, ANSWER_BYTES_MAX, Refusal};

/// How much of what was said with a refusal is repeated.
const REASON_CHARACTERS_MAX: usize = 300;

/// Where to call, and as whom.
pub(super) struct Options {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) tenant: Option<TenantId>,
}

/// A server's MCP.
pub(super) struct Endpoint {
    options: Options,
    /// The revision of the session, once `initialize` was answered.
    revision: Mutex<Option<String>>,
}

impl Endpoint {
    /// The one that `options` name.
    pub(super) const fn new(options: Options) -> Self {
        Self { options, revision: Mutex::new(None) }
    }

    /// Passes a message on, and everything that the server answers to it: a request always ends with an answer, of the
    /// server or of the bridge. Waits for it as long as the server says something now and then.
    pub(super) async fn call(&self, message: &Message, output: &Sender<String>) {
        let Err(refusal) = self.exchange(message, output).await else { return };
        match &message.id {
            Some(id) => tell(output, refusal.line(id)).await,
            None => {
                let method = message.method.as_deref().unwrap_or("an answer");
                warn!(method, reason = fault::chain(&refusal), "was not passed on");
            }
        }
    }

    async fn exchange(&self, message: &Message, output: &Sender<String>) -> Result<(), Refusal> {
        let answer = self.request(message).send().await.map_err(|error| self.unheard(error))?;
        let status = answer.status();
        let Some(id) = &message.id else {
            return if status.is_success() { Ok(()) } else { Err(self.turned(answer).await) };
        };
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if status.is_success() && media_type.is_some_and(|name| name.starts_with("text/event-stream")) {
            return self.follow(answer, message, id, output).await;
        }
        let after = wait_of(&answer);
        let body = self.body(answer).await?;
        match Reply::read(&String::from_utf8_lossy(&body), id) {
            Some(reply) if reply.is_answer => {
                self.pass(reply, message, output).await;
                Ok(())
            }
            _ if status.is_success() => Err(Refusal::Stranger { url: self.url() }),
            _ => Err(self.refused(status, after, &body)),
        }
    }

    /// Passes on each event as it comes, up to the answer.
    async fn follow(
        &self,
        mut answer: Response,
        message: &Message,
        id: &Value,
        output: &Sender<String>,
    ) -> Result<(), Refusal> {
        let mut events = Events::default();
        while let Some(bytes) = answer.chunk().await.map_err(|error| self.unheard(error))? {
            let found = events.feed(&bytes, ANSWER_BYTES_MAX);
            for data in found.map_err(|TooLong| Refusal::AnswerTooLong { url: self.url() })? {
                let Some(reply) = Reply::read(&data, id) else { continue };
                let is_answer = reply.is_answer;
                self.pass(reply, message, output).await;
                if is_answer {
                    return Ok(());
                }
            }
        }
        Err(Refusal::Broken { url: self.url(), source: None })
    }

    async fn pass(&self, reply: Reply, message: &Message, output: &Sender<String>) {
        if message.is_initialize() && reply.revision.is_some() {
            *self.revision.lock().unwrap_or_else(PoisonError::into_inner) = reply.revision;
        }
        tell(output, reply.line).await;
    }

    fn request(&self, message: &Message) -> RequestBuilder {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(authorization) = &self.options.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut put = |name: &'static str, text: &str| {
            // What no header carries is left out, and the server says what it misses.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        if let Some(tenant) = &self.options.tenant {
            put("x-tenant-id", tenant.as_str());
        }
        if let Some(revision) = &message.revision {
            // Since 2026-07-28 the headers say what the message says.
            put("mcp-protocol-version", revision);
            put("mcp-method", message.method.as_deref().unwrap_or_default());
            if let Some(name) = &message.name {
                put("mcp-name", &carried(name));
            }
        } else if !message.is_initialize() {
            let revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
            revision.iter().for_each(|revision| put("mcp-protocol-version", revision));
        }
        self.options.client.post(self.options.url.clone()).headers(headers).body(message.text.clone())
    }

    /// The whole body of an answer.
    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(|error| self.unheard(error))? {
            if ANSWER_BYTES_MAX < body.len() + bytes.len() {
                return Err(Refusal::AnswerTooLong { url: self.url() });
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    async fn turned(&self, answer: Response) -> Refusal {
        let (status, after) = (answer.status(), wait_of(&answer));
        match self.body(answer).await {
            Ok(body) => self.refused(status, after, &body),
            Err(refusal) => refusal,
        }
    }

    fn refused(&self, status: StatusCode, after: Option<Duration>, body: &[u8]) -> Refusal {
        let told = reason(body);
        let reason = if told.is_empty() { status.to_string() } else { format!("{status} ({told})") };
        Refusal::Turned { url: self.url(), status, reason, advice: refusal::advice(status), after }
    }

    fn unheard(&self, error: reqwest::Error) -> Refusal {
        let (url, source) = (self.url(), error.without_url());
        if source.is_connect() {
            Refusal::Unreachable { url, source }
        } else if source.is_timeout() {
            Refusal::Silent { url }
        } else {
            Refusal::Broken { url, source: Some(source) }
        }
    }

    fn url(&self) -> String {
        self.options.url.to_string()
    }
}

async fn tell(output: &Sender<String>, line: String) {
    // Where nobody reads any more the bridge ends by itself.
    let _unread = output.send(line).await;
}

/// How long the server asks to wait.
fn wait_of(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What was said with a refusal, by this server or by a proxy, on one line.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let told: Option<Value> = serde_json::from_str(&text).ok();
    let message =
        told.as_ref().and_then(|told| told.pointer("/error/message").or_else(|| told.get("detail")));
    let message = message.and_then(Value::as_str).unwrap_or(&text);
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(REASON_CHARACTERS_MAX).collect()
}

/// A name as `Mcp-Name` carries it: in Base64 where a header would not bring it whole (SEP-2243).
fn carried(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && name.trim() == name;
    let is_marked = name.starts_with("=?base64?") && name.ends_with("?=");
    if is_plain && !is_marked { name.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(name)) }
}

#[cfg(test)]
mod tests {
    use super::{carried, reason};

    #[test]
    fn names_come_through_headers_whole() {
        for (name, wanted) in [
            ("triage", "triage"),
            ("", ""),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("ü", "=?base64?w7w=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?IGE=?=", "=?base64?PT9iYXNlNjQ/SUdFPT89?="),
        ] {
            assert_eq!(carried(name), wanted, "{name:?}");
        }
    }

    #[test]
    fn reasons_are_short_and_on_one_line() {
        let long = format!("<html>\n{}", "x ".repeat(5_000));
        assert!(reason(long.as_bytes()).len() <= 300 && !reason(long.as_bytes()).contains('\n'));
        for (body, wanted) in [
            (&br#"{"error":{"code":"unauthorized","message":"no key"}}"#[..], "no key"),
            (br#"{"title":"x","detail":"not now"}"#, "not now"),
            (br#"{"error":17}"#, r#"{"error":17}"#),
            (b" too\r\n large \n", "too large"),
            (b"\xff", "\u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(reason(body), wanted);
        }
    }
}
