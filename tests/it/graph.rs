//! Edges do not depend on who arrives first.

use std::collections::BTreeMap;

use loadsim::dice::Dice;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::client::{ask, export, request, rows, text};
use crate::server::Server;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const SPANS: usize = 1_000;
const REQUESTS: usize = 20;

/// 1,000 spans: traces of a gateway that calls cart, which asks a database and calls price; and a bank outside.
fn spans() -> Vec<(&'static str, Span)> {
    let base = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let base = base - 120_000_000_000;
    let mut spans = Vec::new();
    for trace in 0..SPANS / 8 {
        let start = base + trace as u64 * 100_000_000;
        let id = |number: u8| {
            let mut id = vec![number; 8];
            id[..4].copy_from_slice(&(trace as u32 + 1).to_be_bytes());
            id
        };
        let span = |number: u8, parent: Option<u8>, name: &str, kind, from_ms: u64, to_ms: u64| Span {
            trace_id: [id(100), id(101)].concat(),
            span_id: id(number),
            parent_span_id: parent.map(id).unwrap_or_default(),
            name: name.into(),
            kind,
            start_time_unix_nano: start + from_ms * 1_000_000,
            end_time_unix_nano: start + to_ms * 1_000_000,
            ..Span::default()
        };
        let with = |mut span: Span, attributes: &[(&str, &str)]| {
            span.attributes = attributes.iter().map(|(key, value)| text(key, value)).collect();
            span
        };
        let mut failing = span(6, Some(5), "GET /price", SERVER, 31, 39);
        if trace % 5 == 0 {
            failing = crate::client::failed(failing, "no price");
        }
        spans.extend([
            ("gateway", span(1, None, "POST /cart", SERVER, 0, 60)),
            ("gateway", with(span(2, Some(1), "POST", CLIENT, 5, 50), &[("server.address", "cart")])),
            ("cart", span(3, Some(2), "POST /items", SERVER, 6, 49)),
            (
                "cart",
                with(
                    span(4, Some(3), "SELECT items", CLIENT, 10, 20),
                    &[("db.system.name", "postgresql"), ("db.namespace", "cart")],
                ),
            ),
            ("cart", with(span(5, Some(3), "GET", CLIENT, 30, 40), &[("server.address", "price")])),
            ("price", failing),
            (
                "gateway",
                with(
                    span(7, Some(1), "POST", CLIENT, 50, 58),
                    &[("server.address", "bank.example"), ("server.port", "443")],
                ),
            ),
            ("gateway", span(8, Some(1), "render", 1, 58, 60)),
        ]);
    }
    spans
}

/// Shares spans out over requests in the order given, services together where neighbours allow.
fn requests(spans: &[(&'static str, Span)]) -> Vec<ExportTraceServiceRequest> {
    spans
        .chunks(SPANS / REQUESTS)
        .map(|part| {
            let mut message = ExportTraceServiceRequest::default();
            for (service, span) in part {
                message.resource_spans.append(&mut request(service, vec![span.clone()]).resource_spans);
            }
            message
        })
        .collect()
}

async fn map_of(server: &Server, tenant: &str) -> (Value, BTreeMap<(String, String), Value>) {
    let answer =
        ask(server, tenant, "get_service_map", json!({"since": "1h", "limit": 200, "max_tokens": 20000}))
            .await;
    let name = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    // Rates are by the time that passed until the question.
    let timeless = |mut row: Value| {
        row.as_object_mut().unwrap().retain(|column, _| !column.ends_with("_per_s"));
        row
    };
    let edges = rows(&answer, "edges")
        .into_iter()
        .map(timeless)
        .map(|row| ((name(&row, "from"), name(&row, "to")), row));
    (rows(&answer, "services").into_iter().map(timeless).collect(), edges.collect())
}

#[tokio::test]
async fn children_before_parents_give_the_edges_and_counts_of_the_sorted_order() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let sorted = spans();
    for message in requests(&sorted) {
        export(&server, "sorted", &message).await;
    }
    server.settled().await;
    let expected = map_of(&server, "sorted").await;
    let calls = |from: &str, to: &str| expected.1[&(from.to_owned(), to.to_owned())].clone();
    assert_eq!(calls("gateway", "cart")["calls"], 125);
    assert_eq!(calls("cart", "price")["calls"], 125);
    assert_eq!(calls("cart", "price")["errors_pct"], 20);
    assert_eq!(calls("cart", "postgresql/cart")["calls"], 125);
    assert_eq!(calls("gateway", "bank.example")["calls"], 125);
    assert_eq!(expected.1.len(), 4, "an answered host must not stay on the map: {:?}", expected.1.keys());

    for seed in 1..=3 {
        let tenant = format!("shuffled-{seed}");
        let mut dice = Dice::new(seed);
        let mut shuffled = sorted.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, dice.below(index + 1));
        }
        // The first round turns everything round, so that every child comes before its parent.
        if seed == 1 {
            shuffled = sorted.iter().rev().cloned().collect();
        }
        for message in requests(&shuffled) {
            export(&server, &tenant, &message).await;
        }
        server.settled().await;
        assert_eq!(map_of(&server, &tenant).await, expected, "seed {seed}");
    }
}
