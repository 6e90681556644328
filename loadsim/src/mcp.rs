//! MCP as a client speaks it: one request over HTTP for each call, in the revision that has no handshake.

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

/// The revision that is spoken.
const REVISION: &str = "2026-07-28";
/// Characters of an answer that is none of MCP which an error tells.
const TOLD_MAX: usize = 200;

/// A client of one server; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// Speaks with the server at `url`, saying what the client over HTTP says of itself.
    pub(crate) const fn new(http: reqwest::Client, url: String) -> Self {
        Self { http, url }
    }

    /// Calls a tool; answers its structured content.
    ///
    /// # Errors
    /// With what the tool or the server says, when there is no answer.
    pub(crate) async fn ask(&self, tool: &str, arguments: &Value) -> Result<Value> {
        let params = json!({"name": tool, "arguments": arguments});
        let mut result = self.call("tools/call", tool, params).await?;
        let content = result["structuredContent"].take();
        if content.is_object() {
            return Ok(content);
        }
        let said = result["content"][0]["text"].as_str();
        Err(anyhow!("{}", said.unwrap_or("the answer has no structured content")))
    }

    /// The tools there are.
    ///
    /// # Errors
    /// When there is no list of them.
    pub(crate) async fn tools(&self) -> Result<Vec<Value>> {
        let result = self.call("tools/list", "", json!({})).await?;
        result["tools"].as_array().cloned().context("the answer has no tools")
    }

    /// Calls a method; what has no name has an empty one. Answers the result.
    async fn call(&self, method: &str, name: &str, mut params: Value) -> Result<Value> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self
            .http
            .post(&self.url)
            .json(&call)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        if !name.is_empty() {
            request = request.header("mcp-name", name);
        }
        let answer = request.send().await?;
        let status = answer.status();
        result(&answer.text().await?).map_err(|said| match status.is_success() {
            true => anyhow!("{said}"),
            false => anyhow!("{status}: {said}"),
        })
    }
}

/// The result in an answer; else what it says instead.
fn result(text: &str) -> Result<Value, String> {
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(text);
    let mut message: Value = serde_json::from_str(data).unwrap_or_default();
    if message["result"].is_object() {
        return Ok(message["result"].take());
    }
    let said = message["error"]["message"].as_str().unwrap_or(text);
    Err(said.chars().take(TOLD_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_result_or_says_why_not() {
        let found = json!({"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}).to_string();
        assert_eq!(result(&found), Ok(json!({"a": 1})));
        assert_eq!(result(&format!("event: message\ndata: {found}\n\n")), Ok(json!({"a": 1})));
        let refused = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32_000, "message": "busy"}});
        assert_eq!(result(&refused.to_string()), Err("busy".into()));
        assert_eq!(result(&"x".repeat(500)), Err("x".repeat(200)));
    }
}
