//! Whose telemetry it is: named by a header, settled at the door, and kept apart ever after.

use opentelemetry_proto::tonic::trace::v1::Span;
use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{call, export, failed, request, rows, span, text};
use crate::server::Server;

use super::stored::Stored;
use super::{
    Headers, JSON, PROTOBUF, accepted, call_grpc, channel, grpc_path, post, refused, refused_grpc, samples,
    searched, send,
};

fn one_span() -> Vec<u8> {
    request("shop", vec![span(1, 1, None, "pay", 2)]).encode_to_vec()
}

#[tokio::test]
async fn the_header_its_alias_or_the_default_names_the_tenant() {
    let mut server = Server::start(&[("DEFAULT_TENANT", "house")]).await;
    let channel = channel(&server).await;
    let forms: [(&str, Headers<'_>); 6] = [
        ("http", &[("x-tenant-id", "http")]),
        ("alias", &[("X-Scope-OrgID", "alias")]),
        ("both", &[("x-tenant-id", "both"), ("x-scope-orgid", "both")]),
        ("twice", &[("X-TENANT-ID", "twice"), ("x-tenant-id", "twice")]),
        ("Case.and_more:1@x-", &[("x-tenant-id", "Case.and_more:1@x-")]),
        ("house", &[]),
    ];
    for (tenant, headers) in forms {
        let with_type: Vec<_> = [PROTOBUF].into_iter().chain(headers.iter().copied()).collect();
        for address in [&server.otlp_http, &server.http] {
            accepted(&post(address, Signal::Traces, &with_type, one_span()).await, PROTOBUF, tenant);
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, *value)).collect();
        call_grpc(&channel, grpc_path(Signal::Logs), &headers, &log("hello")).await.expect(tenant);
    }
    let stored = Stored::after(&mut server).await;
    for (tenant, _) in forms {
        let held = [stored.spans(tenant).await.len(), stored.logs(tenant).await.len()];
        assert_eq!(held, [1, 1], "{tenant}");
    }
    let mut tenants = stored.tenants();
    tenants.sort();
    let mut expected: Vec<_> = forms.iter().map(|(tenant, _)| (*tenant).to_owned()).collect();
    expected.sort();
    assert_eq!(tenants, expected);
}

fn log(body: &str) -> Vec<u8> {
    let mut logs = samples::logs(span(1, 1, None, "", 1).start_time_unix_nano);
    logs.truncate(1);
    logs[0].body =
        samples::any(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(body.into()));
    logs[0].time_unix_nano = span(1, 1, None, "", 1).start_time_unix_nano;
    samples::log_request(logs).encode_to_vec()
}

#[tokio::test]
async fn i3_bad_and_contradicting_tenants_are_refused_on_every_door() {
    let mut server = Server::start(&[]).await;
    let channel = channel(&server).await;
    let long = "x".repeat(151);
    let bad: [Headers<'_>; 15] = [
        &[("x-tenant-id", "a"), ("x-scope-orgid", "b")],
        &[("x-tenant-id", "a"), ("x-tenant-id", "b")],
        &[("x-tenant-id", "")],
        &[("x-tenant-id", "a,b")],
        &[("x-tenant-id", "a|b")],
        &[("x-tenant-id", "..")],
        &[("x-tenant-id", "../a")],
        &[("x-tenant-id", "a/b")],
        &[("x-tenant-id", "%2e%2e")],
        &[("x-tenant-id", "a b")],
        &[("x-tenant-id", "a\tb")],
        &[("x-tenant-id", "t\u{e9}nant")],
        &[("x-tenant-id", "a*")],
        &[("x-scope-orgid", "a\\b")],
        &[("x-tenant-id", &long)],
    ];
    for headers in bad {
        let case = format!("{headers:?}");
        for encoding in [PROTOBUF, JSON] {
            let with_type: Vec<_> = [encoding].into_iter().chain(headers.iter().copied()).collect();
            refused(
                &post(&server.otlp_http, Signal::Traces, &with_type, one_span()).await,
                400,
                encoding,
                &case,
            );
        }
        refused_grpc(
            call_grpc(&channel, grpc_path(Signal::Traces), headers, &one_span()).await,
            Code::InvalidArgument,
            &case,
        );
        let with_type: Vec<_> = [JSON].into_iter().chain(headers.iter().copied()).collect();
        let answer = send(Method::POST, &server.http, "/mcp", &with_type, b"{}".to_vec()).await;
        assert_eq!(answer.status, 400, "{case}: {}", answer.text());
    }
    let conflicts = server.metric("otelcontext_auth_tenant_conflicts_total{").await;
    assert_eq!(conflicts, bad.len() as f64 * 4.0);
    assert_eq!(Stored::after(&mut server).await.tenants(), Vec::<String>::new());
}

/// Telemetry of one tenant with `canary` wherever a sender can put words; both tenants send the same ids.
async fn fill(server: &Server, tenant: &str, canary: &str) {
    let service = format!("{canary}-front");
    let marked = |mut span: Span| {
        span.attributes = vec![text(&format!("{canary}.key"), canary)];
        span
    };
    let mut front = vec![marked(failed(span(7, 1, None, &format!("GET /{canary}"), 2), canary))];
    front.push(marked(failed(span(7, 2, Some(1), &format!("CALL {canary}"), 3), canary)));
    let back = vec![marked(failed(span(7, 3, Some(2), &format!("WORK {canary}"), 2), canary))];
    export(server, tenant, &request(&service, front)).await;
    export(server, tenant, &request(&format!("{canary}-back"), back)).await;
    let mut logs = samples::logs(span(7, 1, None, "", 1).start_time_unix_nano);
    logs.truncate(2);
    for log in &mut logs {
        (log.trace_id, log.span_id) = (vec![7; 16], vec![2; 8]);
        log.attributes = vec![text(canary, canary)];
        log.body = text("", &format!("shared words and {canary}")).value;
    }
    let mut logs = samples::log_request(logs);
    let resource = logs.resource_logs[0].resource.as_mut().unwrap();
    resource.attributes = vec![text("service.name", &service), text("host.name", canary)];
    let headers = [PROTOBUF, ("x-tenant-id", tenant)];
    accepted(&post(&server.otlp_http, Signal::Logs, &headers, logs.encode_to_vec()).await, PROTOBUF, tenant);
}

/// The seven questions, about the things of the tenant whose canary is `canary`.
fn questions(canary: &str) -> Vec<(&'static str, Value)> {
    let service = format!("{canary}-front");
    let back = format!("{canary}-back");
    vec![
        ("get_service_map", json!({})),
        ("get_service_map", json!({"service": service})),
        ("get_service_health", json!({})),
        ("get_service_health", json!({"service": service})),
        ("root_cause_analysis", json!({})),
        ("root_cause_analysis", json!({"service": service})),
        ("impact_analysis", json!({"service": back})),
        ("get_anomaly_timeline", json!({})),
        ("get_anomaly_timeline", json!({"service": service})),
        ("trace_graph", json!({"trace_id": "07".repeat(16)})),
        ("search_logs", json!({})),
        ("search_logs", json!({"query": "shared words"})),
        ("search_logs", json!({"query": canary})),
        ("search_logs", json!({"trace_id": "07".repeat(16)})),
    ]
}

/// Two tenants with the same ids never see a word of each other, whichever tool is asked, whoever asked first and
/// whether by the caller's own names or by those of the other.
#[tokio::test]
async fn i5_tenants_with_the_same_trace_never_see_each_other() {
    let canaries = [("acme", "canaryalpha"), ("umbrella", "canarybravo")];
    // The cache stays on for the questions: an answer kept for one tenant must not reach the other.
    let mut server = Server::start(&[("MCP_CACHE_TTL_MS", "600000")]).await;
    for (tenant, canary) in canaries {
        fill(&server, tenant, canary).await;
    }
    server.settled().await;
    let searchable = || async { (server.metric("otelcontext_search_position").await >= 4.0).then_some(()) };
    server.until("searchable", searchable).await;
    for ((tenant, own), (other_tenant, other)) in [(canaries[0], canaries[1]), (canaries[1], canaries[0])] {
        for (tool, arguments) in questions(own) {
            let answer = call(&server, tenant, tool, arguments.clone()).await.to_string();
            // What happened for the first time a moment ago is no anomaly yet, and has no cause.
            let may_be_empty = ["get_anomaly_timeline", "root_cause_analysis"].contains(&tool);
            assert!(answer.contains(own) || may_be_empty, "{tool} {arguments}: {answer}");
            assert!(
                !answer.contains(other),
                "{tenant} reads of {other_tenant} in {tool} {arguments}: {answer}"
            );
        }
        for (tool, arguments) in questions(other) {
            // Asked by the other's names, the caller's own words may come back, and nothing else.
            let answer = call(&server, tenant, tool, arguments.clone()).await;
            let found = answer["result"]["structuredContent"]["tables"].to_string();
            assert!(
                !found.contains(other),
                "{tenant} reads of {other_tenant} in {tool} {arguments}: {answer}"
            );
            if arguments.get("service").is_some() {
                assert_eq!(answer["result"]["isError"], true, "{tool} {arguments}: {answer}");
            }
        }
        for tool in ["get_service_map", "trace_graph"] {
            let arguments =
                if tool == "trace_graph" { json!({"trace_id": "07".repeat(16)}) } else { json!({}) };
            let answer = call(&server, "nobody", tool, arguments).await.to_string();
            assert!(!answer.contains(own), "{tool}: {answer}");
        }
    }
    let metrics = send(Method::GET, &server.http, "/metrics", &[], Vec::new()).await.text();
    let openmetrics = [("accept", "application/openmetrics-text")];
    let openmetrics =
        send(Method::GET, &server.http, "/metrics/prometheus", &openmetrics, Vec::new()).await.text();
    let ready = send(Method::GET, &server.http, "/ready", &[], Vec::new()).await.text();
    for word in ["acme", "umbrella", "canary"] {
        assert!(
            ![&metrics, &openmetrics, &ready].iter().any(|text| text.contains(word)),
            "{word} is told to everybody"
        );
    }
    let stored = Stored::after(&mut server).await;
    for (tenant, canary) in canaries {
        let spans = stored.spans(tenant).await;
        assert!(
            spans.len() == 3 && spans.iter().all(|(_, span)| span.name.contains(canary)),
            "{tenant}: {spans:?}"
        );
    }
}

/// The same cursor and the same words lead each tenant to its own records only.
#[tokio::test]
async fn i7_a_cursor_of_one_tenant_leads_the_other_nowhere() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    fill(&server, "acme", "canaryalpha").await;
    fill(&server, "umbrella", "canarybravo").await;
    server.settled().await;
    for arguments in [json!({"limit": 1}), json!({"limit": 1, "query": "shared"})] {
        let first = searched(&server, "acme", arguments.clone()).await;
        assert_eq!(rows(&first, "logs").len(), 1, "{first}");
        let mut next = arguments;
        next["cursor"] = first["cursor"].clone();
        let own = searched(&server, "acme", next.clone()).await.to_string();
        assert!(own.contains("canaryalpha"), "{own}");
        let stolen = call(&server, "umbrella", "search_logs", next).await.to_string();
        assert!(!stolen.contains("canaryalpha"), "{stolen}");
    }
}

const KEY: &str = "a-very-secret-operator-key-0123456789";

#[tokio::test]
async fn i2_without_the_key_nothing_is_taken_and_nothing_told() {
    let mut server = Server::start(&[("API_KEY", KEY)]).await;
    let channel = channel(&server).await;
    let right = format!("Bearer {KEY}");
    let [wrong, shorter, longer] =
        ["Bearer wrong", &right[..right.len() - 1], &format!("{right}x")].map(str::to_owned);
    let bare = format!("Bearer  {KEY} {KEY}");
    let basic = format!("Basic {KEY}");
    let bad: [Headers<'_>; 9] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", &wrong)],
        &[("authorization", &shorter)],
        &[("authorization", &longer)],
        &[("authorization", &bare)],
        &[("authorization", &basic)],
        &[("authorization", &right), ("authorization", &wrong)],
    ];
    for headers in bad {
        let case = format!("{headers:?}");
        for address in [&server.otlp_http, &server.http] {
            for encoding in [PROTOBUF, JSON] {
                for signal in Signal::ALL {
                    let with_type: Vec<_> = [encoding].into_iter().chain(headers.iter().copied()).collect();
                    let answer = post(address, signal, &with_type, one_span()).await;
                    let message = refused(&answer, 401, encoding, &case);
                    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{case}");
                    assert!(!message.contains(KEY), "{case}");
                }
            }
        }
        for signal in Signal::ALL {
            refused_grpc(
                call_grpc(&channel, grpc_path(signal), headers, &one_span()).await,
                Code::Unauthenticated,
                &case,
            );
        }
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let with_type: Vec<_> = [JSON].into_iter().chain(headers.iter().copied()).collect();
            let answer = send(method, &server.http, "/mcp", &with_type, b"{}".to_vec()).await;
            assert_eq!(answer.status, 401, "{case}: {}", answer.text());
        }
    }
    let in_query = format!("/v1/traces?api_key={KEY}&authorization=Bearer%20{KEY}");
    refused(
        &send(Method::POST, &server.http, &in_query, &[PROTOBUF], one_span()).await,
        401,
        PROTOBUF,
        "in the query",
    );
    for path in ["/live", "/ready", "/metrics", "/metrics/prometheus"] {
        let answer = send(Method::GET, &server.http, path, &[], Vec::new()).await;
        assert_eq!(answer.status, 200, "{path} is open");
        assert!(!answer.text().contains(KEY), "{path}");
    }
    let asked = bad.len() as f64;
    assert_eq!(server.metric("otelcontext_grpc_auth_failures_total{").await, asked * 3.0);
    assert_eq!(server.metric("otelcontext_api_auth_failures_total{").await, asked * (12.0 + 3.0) + 1.0);
    assert!(!server.log().contains(KEY), "the key is in the log");
    assert_eq!(Stored::after(&mut server).await.tenants(), Vec::<String>::new());
}

#[tokio::test]
async fn i2_with_the_key_every_door_opens_for_the_tenant_of_the_header() {
    let mut server = Server::start(&[("API_KEY", KEY)]).await;
    let channel = channel(&server).await;
    let right = format!("Bearer {KEY}");
    for scheme in [&right, &format!("bearer {KEY}")] {
        let headers = [PROTOBUF, ("authorization", scheme), ("x-tenant-id", "chosen")];
        for address in [&server.otlp_http, &server.http] {
            accepted(&post(address, Signal::Traces, &headers, one_span()).await, PROTOBUF, scheme);
        }
        call_grpc(&channel, grpc_path(Signal::Traces), &headers[1..], &one_span()).await.unwrap();
    }
    let accept = ("accept", "application/json, text/event-stream");
    let headers = [JSON, accept, ("authorization", &right), ("mcp-protocol-version", "2025-11-25")];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let list = send(Method::POST, &server.http, "/mcp", &headers, body.into()).await;
    assert!(list.status == 200 && list.text().contains("trace_graph"), "{}", list.text());
    assert!(!server.log().contains(KEY), "the key is in the log");
    let stored = Stored::after(&mut server).await;
    assert_eq!((stored.tenants(), stored.counts().await.spans), (vec!["chosen".to_owned()], 1));
}
