//! OTLP and MCP as clients speak them, in as few lines as tests need.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value, json};

use crate::server::Server;

/// An attribute with a text value.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// A span of `service`, ready to be changed.
pub(crate) fn span(trace: u8, id: u8, parent: Option<u8>, name: &str, kind: i32) -> Span {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_nanos()).unwrap();
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.map(|id| vec![id; 8]).unwrap_or_default(),
        name: name.into(),
        kind,
        start_time_unix_nano: now - 50_000_000,
        end_time_unix_nano: now - 10_000_000,
        ..Span::default()
    }
}

/// The same span, failed.
pub(crate) fn failed(mut span: Span, message: &str) -> Span {
    span.status = Some(Status { code: 2, message: message.into() });
    span
}

/// An export request of one service.
pub(crate) fn request(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// Exports over OTLP/HTTP as `tenant` and expects success.
pub(crate) async fn export(server: &Server, tenant: &str, message: &ExportTraceServiceRequest) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", tenant)
        .body(message.encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap().is_empty(), "a partial success");
}

/// Calls a tool as `tenant` over the newest revision of MCP; answers the JSON-RPC message.
pub(crate) async fn call(server: &Server, tenant: &str, tool: &str, arguments: Value) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let answer = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
        .header("x-tenant-id", tenant)
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string())
        .send()
        .await
        .unwrap();
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Begins a request of MCP as `tenant` in a revision; answers once its answer begins. What has no name has an empty one.
pub(crate) async fn open(
    server: &Server,
    (tenant, revision): (&str, &str),
    (method, name): (&str, &str),
    mut params: Value,
) -> reqwest::Response {
    let mut request = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", revision)
        .header("mcp-method", method)
        .header("x-tenant-id", tenant);
    if !name.is_empty() {
        request = request.header("mcp-name", name);
    }
    if revision >= "2026-07-28" {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(revision);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    request.body(body).send().await.unwrap()
}

/// An answer of several messages. Whoever drops it leaves.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    /// The messages of an answer.
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

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

/// Calls a tool and expects an answer; answers its structured content.
pub(crate) async fn ask(server: &Server, tenant: &str, tool: &str, arguments: Value) -> Value {
    let message = call(server, tenant, tool, arguments).await;
    let result = &message["result"];
    assert_ne!(result["isError"], json!(true), "{message}");
    let content = result["structuredContent"].clone();
    let copy: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(content, copy, "the text is not the structured content");
    content
}

/// The rows of an answer's table as objects by column.
pub(crate) fn rows(answer: &Value, table: &str) -> Vec<Value> {
    let Some(table) =
        answer["tables"].as_array().and_then(|tables| tables.iter().find(|it| it["name"] == table))
    else {
        return Vec::new();
    };
    let columns: Vec<&str> =
        table["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let object = |row: &Value| {
        let cells = row.as_array().unwrap();
        columns
            .iter()
            .zip(cells)
            .map(|(name, cell)| ((*name).to_owned(), cell.clone()))
            .collect::<serde_json::Map<_, _>>()
    };
    table["rows"].as_array().unwrap().iter().map(|row| Value::Object(object(row))).collect()
}
