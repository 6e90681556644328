//! A client that speaks raw HTTP, so that nothing of the server's own library hides what is on the wire.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use mcp_tools::{Limits, service};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::fake::{Caller, Fake};

/// The two ways clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2025-11-25: a handshake, then bare requests.
    Legacy,
    /// 2026-07-28: every request carries its own metadata.
    Modern,
}

pub(crate) const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// A server of the fake on a free port, which stops with the test's runtime.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) fake: Arc<Fake>,
    http: reqwest::Client,
}

impl Served {
    pub(crate) async fn start(limits: Limits) -> Self {
        let fake = Arc::new(Fake::default());
        let router = Router::new()
            .route_service("/mcp", service(Arc::clone(&fake), limits))
            .layer(from_fn(authenticate));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        // Clients are not made before it is chosen who encrypts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { url, fake, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Sends a request and returns the HTTP status and the body.
    pub(crate) async fn request(&self, era: Era, method: &str, params: Value) -> (u16, Value) {
        self.request_with(era, method, params, &[]).await
    }

    pub(crate) async fn request_with(
        &self,
        era: Era,
        method: &str,
        params: Value,
        headers: &[(&'static str, &'static str)],
    ) -> (u16, Value) {
        let response = self.send(era, method, params, headers).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a body that need be no message, and returns the HTTP status, the media type of the answer, and the answer.
    pub(crate) async fn raw(&self, body: &[u8]) -> (u16, String, Value) {
        let request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("x-caller", "alice");
        let response = request.body(body.to_vec()).send().await.unwrap();
        let status = response.status().as_u16();
        let media_type = response.headers().get("content-type").map(|it| it.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        (status, media_type.unwrap_or_default(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request whose answer must be a stream.
    pub(crate) async fn stream(
        &self,
        era: Era,
        method: &str,
        params: Value,
        headers: &[(&'static str, &'static str)],
    ) -> Stream {
        let response = self.send(era, method, params, headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, text: String::new() }
    }

    async fn send(
        &self,
        era: Era,
        method: &str,
        mut params: Value,
        headers: &[(&'static str, &'static str)],
    ) -> reqwest::Response {
        let mut sent = HeaderMap::new();
        sent.insert("accept", HeaderValue::from_static("application/json, text/event-stream"));
        sent.insert("content-type", HeaderValue::from_static("application/json"));
        sent.insert("x-caller", HeaderValue::from_static("alice"));
        match era {
            Era::Legacy if method == "initialize" => {}
            Era::Legacy => {
                sent.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
            }
            Era::Modern => {
                sent.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
                sent.insert("mcp-method", HeaderValue::from_str(method).unwrap());
                if let Some(name) = params.get("name").or(params.get("uri")).and_then(Value::as_str) {
                    sent.insert("mcp-name", HeaderValue::from_str(name).unwrap());
                }
                let meta = &mut params["_meta"];
                meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
                meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
                meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
            }
        }
        for (name, value) in headers {
            sent.insert(*name, HeaderValue::from_static(value));
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.http.post(&self.url).headers(sent).body(body.to_string()).send().await.unwrap()
    }

    /// Calls a tool and returns the JSON-RPC message.
    pub(crate) async fn call(&self, era: Era, tool: &str, arguments: Value) -> Value {
        self.request(era, "tools/call", json!({"name": tool, "arguments": arguments})).await.1
    }

    /// Calls a tool that answers, checks that the answer reads the same in both carriers, and returns it.
    pub(crate) async fn answer(&self, era: Era, tool: &str, arguments: Value) -> Value {
        let message = self.call(era, tool, arguments).await;
        let result = &message["result"];
        assert_eq!(result["isError"], false, "{message}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(text, result["structuredContent"].to_string(), "one rendering, two carriers");
        assert!(text.starts_with(r#"{"summary":"#), "{text}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that refuses, and returns the text the model reads.
    pub(crate) async fn refusal(&self, era: Era, tool: &str, arguments: Value) -> String {
        let message = self.call(era, tool, arguments).await;
        assert_eq!(message["result"]["isError"], true, "{message}");
        // What does not match the output schema would make strict clients drop the text as well.
        assert!(message["result"]["structuredContent"].is_null(), "{message}");
        message["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

/// An answer of several messages. Whoever drops it leaves.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                // Others keep the connection alive.
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")) {
                    return Some(serde_json::from_str(data).unwrap());
                }
            }
            let bytes = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

/// Stands for the layer that checks credentials.
async fn authenticate(mut request: Request, next: Next) -> axum::response::Response {
    let caller = request.headers().get("x-caller").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(caller) = caller.filter(|caller| !caller.is_empty()) {
        request.extensions_mut().insert(Caller(caller));
    }
    next.run(request).await
}
