//! Spans of our own: each question that agents and people ask is told as one, in the words of OpenTelemetry's semantic
//! conventions for MCP and HTTP.
//!
//! A span holds what the server decided, never what a caller wrote: no tenant, no argument, no path and no address of a
//! resource, because it belongs to the operator and not to the tenant that was asked about. What is received makes no
//! spans, so that a server may export to itself.

use std::borrow::Cow;

use anyhow::{Context, Result};
use axum::http::Method;

use super::tasks::Tasks;
use crate::api;
use crate::clock::Clock;
use crate::config::Config;
use crate::mcp;
use crate::model::time::UnixNanos;
use crate::vitals::metrics::{Kind, Metrics};
use crate::vitals::spans::{self, Span, Spans, Value};

/// Methods that HTTP knows (RFC 9110 and 5789); others are all told as one.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// Starts what exports spans, if `config` says where to, and shows its counters.
pub(super) fn start(config: &Config, metrics: &Metrics, tasks: &mut Tasks) -> Result<Spans> {
    let spans = match &config.own_spans {
        None => Spans::default(),
        Some(own) => {
            let options = spans::Options {
                endpoint: own.endpoint.clone(),
                headers: own.headers.clone(),
                service: own.service.clone(),
            };
            let (spans, task) = spans::start(&options).context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            tasks.add("export of own spans", task);
            spans
        }
    };
    let counted = spans.clone();
    metrics.export_one(
        "self_spans_exported",
        "Spans of our own that were exported.",
        Kind::Counter,
        move || counted.exported() as f64,
    );
    let counted = spans.clone();
    metrics.export("self_spans_dropped", "Spans of our own that were not.", Kind::Counter, move || {
        counted
            .dropped()
            .map(|(reason, count)| (super::exports::label("reason", reason), count as f64))
            .collect()
    });
    Ok(spans)
}

/// The tally of tool calls, which also keeps how long each took and tells their spans.
pub(super) fn calls(metrics: &Metrics, spans: &Spans, clock: &Clock) -> mcp::Tally {
    let help = "How long tool calls took, by tool.";
    let durations = metrics.seconds_by("mcp_tool_duration_seconds", help, "tool", mcp::Tally::names());
    let (spans, clock) = (spans.clone(), clock.clone());
    mcp::Tally::observed_by(move |call| {
        durations.observe(call.counted_as, call.duration.as_secs_f64());
        if spans.are_exported() {
            spans.record(of_call(call, clock.now()));
        }
    })
}

/// The tally of questions over HTTP, which also tells their spans.
pub(super) fn questions(spans: &Spans, clock: &Clock) -> api::Tally {
    if !spans.are_exported() {
        return api::Tally::default();
    }
    let (spans, clock) = (spans.clone(), clock.clone());
    api::Tally::observed_by(move |question| spans.record(of_question(question, clock.now())))
}

fn text(text: impl Into<Cow<'static, str>>) -> Value {
    Value::Text(text.into())
}

/// A request of MCP, by the conventions for MCP: <https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/>. They would have
/// each mistake of a caller be a failure; then agents that misspell a name would make this server look sick.
fn of_call(call: &mcp::Call, ended: UnixNanos) -> Span {
    let mut attributes = vec![("mcp.method.name", text(call.method))];
    if let Some(tool) = call.tool {
        attributes.push(("gen_ai.tool.name", text(tool)));
    }
    if call.method == "tools/call" {
        attributes.push(("gen_ai.operation.name", text("execute_tool")));
    }
    if let Some(version) = call.protocol_version {
        attributes.push(("mcp.protocol.version", text(version)));
    }
    if let Some(error) = &call.error {
        attributes.push(("error.type", text(error.clone())));
    } else if call.tool.is_some() {
        let tokens = i64::try_from(call.answer_tokens).unwrap_or(i64::MAX);
        attributes.push(("otelcontext.answer.tokens", Value::Number(tokens)));
    }
    Span {
        // Only calls have a tool as their target; which one reads a resource is our own affair.
        name: match call.tool.filter(|_| call.method == "tools/call") {
            Some(tool) => format!("{} {tool}", call.method).into(),
            None => call.method.into(),
        },
        ended,
        duration: call.duration,
        traceparent: call.traceparent.clone(),
        failure: call.is_failure.then_some(call.status),
        attributes,
    }
}

/// A question over HTTP, by the conventions for servers of HTTP: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.
/// Path and query are left out, as they name services and traces of tenants.
fn of_question(question: api::Question, ended: UnixNanos) -> Span {
    let known = METHODS.contains(&question.method);
    let method = if known { question.method.to_string() } else { "_OTHER".into() };
    let mut attributes =
        vec![("http.request.method", text(method.clone())), ("http.route", text(question.route))];
    let mut failure = None;
    match question.status {
        Some(status) => {
            attributes.push(("http.response.status_code", Value::Number(status.as_u16().into())));
            if status.is_server_error() {
                attributes.push(("error.type", text(status.as_str().to_owned())));
                failure = Some(status.canonical_reason().unwrap_or("failed"));
            }
        }
        // The caller left, which is no failure of the server.
        None => attributes.push(("error.type", text("cancelled"))),
    }
    Span {
        name: format!("{} {}", if known { &method } else { "HTTP" }, question.route).into(),
        ended,
        duration: question.duration,
        traceparent: question.traceparent,
        failure,
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;

    use super::*;

    fn call(method: &'static str, tool: Option<&'static str>) -> mcp::Call {
        mcp::Call {
            method,
            counted_as: tool.unwrap_or("unknown"),
            tool,
            status: "ok",
            error: None,
            is_failure: false,
            duration: Duration::from_millis(3),
            answer_tokens: 12,
            traceparent: None,
            protocol_version: Some("2025-11-25"),
        }
    }

    fn told(span: &Span) -> Vec<String> {
        let value = |value: &Value| match value {
            Value::Text(text) => text.to_string(),
            Value::Number(number) => number.to_string(),
        };
        span.attributes.iter().map(|(key, it)| format!("{key}={}", value(it))).collect()
    }

    #[test]
    fn a_call_is_told_by_its_method_and_tool() {
        let now = UnixNanos::from_seconds(5);
        let answered = of_call(&call("tools/call", Some("triage")), now);
        assert_eq!((answered.name.as_ref(), answered.failure), ("tools/call triage", None));
        assert_eq!(
            told(&answered),
            [
                "mcp.method.name=tools/call",
                "gen_ai.tool.name=triage",
                "gen_ai.operation.name=execute_tool",
                "mcp.protocol.version=2025-11-25",
                "otelcontext.answer.tokens=12",
            ]
        );
        let read = of_call(&call("resources/read", Some("trace_graph")), now);
        assert_eq!(read.name, "resources/read");
        assert!(told(&read).contains(&"gen_ai.tool.name=trace_graph".to_owned()), "{:?}", told(&read));
        let unknown = mcp::Call { error: Some("-32602".into()), ..call("tools/call", None) };
        let unknown = of_call(&unknown, now);
        assert_eq!((unknown.name.as_ref(), unknown.failure), ("tools/call", None));
        assert_eq!(told(&unknown).last().map(String::as_str), Some("error.type=-32602"));
        let late = mcp::Call {
            status: "timed_out",
            error: Some("-32001".into()),
            is_failure: true,
            ..call("tools/call", Some("triage"))
        };
        assert_eq!(of_call(&late, now).failure, Some("timed_out"));
    }

    #[test]
    fn a_question_is_told_by_its_route_and_status() {
        let question = |method: &str, status: Option<StatusCode>| api::Question {
            route: "/api/v1/traces/{trace_id}",
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            status,
            duration: Duration::from_millis(3),
            traceparent: None,
        };
        let now = UnixNanos::from_seconds(5);
        let found = of_question(question("GET", Some(StatusCode::OK)), now);
        assert_eq!((found.name.as_ref(), found.failure), ("GET /api/v1/traces/{trace_id}", None));
        assert_eq!(
            told(&found),
            [
                "http.request.method=GET",
                "http.route=/api/v1/traces/{trace_id}",
                "http.response.status_code=200",
            ]
        );
        assert_eq!(of_question(question("GET", Some(StatusCode::NOT_FOUND)), now).failure, None);
        let late = of_question(question("GET", Some(StatusCode::GATEWAY_TIMEOUT)), now);
        assert_eq!(late.failure, Some("Gateway Timeout"));
        assert!(told(&late).contains(&"error.type=504".to_owned()), "{:?}", told(&late));
        let strange = of_question(question("BREW", None), now);
        assert_eq!((strange.name.as_ref(), strange.failure), ("HTTP /api/v1/traces/{trace_id}", None));
        assert_eq!(told(&strange)[0], "http.request.method=_OTHER");
    }
}
