//! What a bridge looks at in messages of JSON-RPC.

use bytes::Bytes;
use serde_json::{Value, json};

use super::refusal::Refusal;

/// Where a request since 2026-07-28 tells its revision, in `params._meta`.
const REVISION: &str = "io.modelcontextprotocol/protocolVersion";

/// A message of the client.
#[derive(Debug)]
pub(super) struct Message {
    /// As it came.
    pub(super) text: Bytes,
    /// What is asked or told; none in an answer to the server.
    pub(super) method: Option<String>,
    /// Of a request; notifications and answers have none, and get no answer.
    pub(super) id: Option<Value>,
    /// The revision that the message tells itself, as those since 2026-07-28 do.
    pub(super) revision: Option<String>,
    /// What `Mcp-Name` repeats: the tool, prompt, resource or task that the method is about.
    pub(super) name: Option<String>,
    /// The request that this notification cancels.
    pub(super) cancels: Option<Value>,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// Where it is no JSON, or no message.
    pub(super) fn read(line: Vec<u8>) -> Result<Self, Refusal> {
        let content: Value = serde_json::from_slice(&line).map_err(Refusal::NotJson)?;
        let method = content["method"].as_str().map(str::to_owned);
        let is_answer = content.get("result").or_else(|| content.get("error")).is_some();
        if method.is_none() && !is_answer {
            return Err(Refusal::NoMessage);
        }
        let params = &content["params"];
        let named = match method.as_deref() {
            Some("tools/call" | "prompts/get") => "name",
            Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => "uri",
            Some("tasks/get" | "tasks/update" | "tasks/cancel") => "taskId",
            _ => "",
        };
        let is_cancelling = method.as_deref() == Some("notifications/cancelled");
        Ok(Self {
            id: content.get("id").filter(|_| method.is_some()).cloned(),
            revision: params["_meta"][REVISION].as_str().map(str::to_owned),
            name: params[named].as_str().map(str::to_owned),
            cancels: params.get("requestId").filter(|_| is_cancelling).cloned(),
            method,
            text: line.into(),
        })
    }

    /// Whether it begins a session of the revisions before 2026-07-28.
    pub(super) fn is_initialize(&self) -> bool {
        self.method.as_deref() == Some("initialize")
    }

    /// Whether what it asks for has no end of its own.
    pub(super) fn is_subscription(&self) -> bool {
        self.method.as_deref() == Some("subscriptions/listen")
    }
}

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// It, without line feeds.
    pub(super) line: String,
    /// Whether it is the answer that was waited for.
    pub(super) is_answer: bool,
    /// The revision that an answer to `initialize` names.
    pub(super) revision: Option<String>,
}

impl Reply {
    /// Reads what the server said to the request `id`; none where that is no message. An error that names no request, as
    /// the server had not understood it so far, is about this one.
    pub(super) fn read(text: &str, id: &Value) -> Option<Self> {
        let mut content: Value = serde_json::from_str(text).ok()?;
        if content.get("jsonrpc") != Some(&json!("2.0")) {
            return None;
        }
        let is_error = content.get("error").is_some();
        let is_nameless = is_error && content.get("id").is_none_or(Value::is_null);
        if is_nameless {
            content["id"] = id.clone();
        }
        let is_answer = (is_error || content.get("result").is_some()) && content.get("id") == Some(id);
        let revision = content["result"]["protocolVersion"].as_str().map(str::to_owned);
        let is_one_line = !text.contains(['\n', '\r']);
        let line = if is_one_line && !is_nameless { text.to_owned() } else { content.to_string() };
        Some(Self { line, is_answer, revision })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Message, Reply};

    fn read(message: &Value) -> Message {
        Message::read(message.to_string().into_bytes()).unwrap()
    }

    #[test]
    fn a_message_is_known_by_what_it_says() {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        let params = json!({"name": "triage", "uri": "x", "_meta": meta});
        let call = read(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
        assert_eq!((call.id, call.name.as_deref()), (Some(json!(7)), Some("triage")));
        assert_eq!(call.revision.as_deref(), Some("2026-07-28"));
        let resource = read(&json!({"id": "a", "method": "resources/read", "params": params}));
        assert_eq!((resource.id, resource.name.as_deref()), (Some(json!("a")), Some("x")));
        let list = read(&json!({"id": 1, "method": "tools/list", "params": params}));
        assert_eq!((list.name, list.cancels), (None, None));
        let cancelled = read(&json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
        assert_eq!((cancelled.id, cancelled.cancels), (None, Some(json!(7))));
        let answer = read(&json!({"id": 1, "result": {}}));
        assert_eq!((answer.id, answer.method), (None, None));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (line, code) in [
            ("{", -32_700),
            ("nonsense", -32_700),
            ("\u{0}", -32_700),
            ("17", -32_600),
            ("[]", -32_600),
            (r#"[{"id":1,"method":"tools/list"}]"#, -32_600),
            (r#"{"id":1,"method":2}"#, -32_600),
        ] {
            let said = Message::read(line.into()).unwrap_err().line(&Value::Null);
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!((&said["error"]["code"], &said["id"]), (&json!(code), &Value::Null), "{line}: {said}");
        }
        assert!(Message::read(b"{\"method\":\"\xff\"}".to_vec()).is_err());
    }

    #[test]
    fn what_the_server_says_is_one_line() {
        let id = json!(3);
        let plain = r#"{"jsonrpc":"2.0","id":3,"result":{"protocolVersion":"2025-06-18","n":1.50}}"#;
        let reply = Reply::read(plain, &id).unwrap();
        assert_eq!((reply.line.as_str(), reply.is_answer), (plain, true));
        assert_eq!(reply.revision.as_deref(), Some("2025-06-18"));
        let pretty = "{\"jsonrpc\": \"2.0\",\r\n \"method\": \"notifications/progress\"}\n";
        let reply = Reply::read(pretty, &id).unwrap();
        assert_eq!(reply.line, r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
        assert!(!reply.is_answer);
        for nameless in [r#"{"jsonrpc":"2.0","error":{}}"#, r#"{"jsonrpc":"2.0","id":null,"error":{}}"#] {
            let reply = Reply::read(nameless, &id).unwrap();
            assert!(reply.is_answer && reply.line.contains("\"id\":3"), "{reply:?}");
        }
        for strange in ["", "{", "17", "{}", r#"{"error":{"code":"unauthorized"}}"#] {
            assert_eq!(Reply::read(strange, &id), None, "{strange}");
        }
    }
}
