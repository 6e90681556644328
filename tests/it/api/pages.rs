//! Pages: everything once, in order, whatever arrives meanwhile, and never too much at a time.

use serde_json::{Value, json};

use super::{ask, export, fill, items, logs_of, now, refused, resource, searchable, span, spans_of};
use crate::server::Server;

/// The items of all pages from `path` on.
pub(super) async fn walked(server: &Server, tenant: &str, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut at = path.to_owned();
    for _ in 0..1_000 {
        let page = ask(server, tenant, &at).await;
        all.extend(items(&page).iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return all };
        let joint = if path.contains('?') { '&' } else { '?' };
        at = format!("{path}{joint}cursor={cursor}");
    }
    panic!("{path} never ends");
}

#[tokio::test]
async fn every_list_is_the_same_page_by_page() {
    let server = Server::start(&[]).await;
    fill(&server, "shop", "shop").await;
    fill(&server, "shop", "cart").await;
    let metric = |name: &str, unit: &str| {
        let point = json!({"timeUnixNano": now().to_string(), "asDouble": 1.5});
        json!({"name": name, "unit": unit, "gauge": {"dataPoints": [point]}})
    };
    let metrics = [metric("a", "1"), metric("a", "s"), metric("a.b", ""), metric("b", "1")];
    let body =
        json!({"resourceMetrics": [{"resource": resource("x"), "scopeMetrics": [{"metrics": metrics}]}]});
    export(&server, "shop", "metrics", &body).await;
    for index in 1..=5 {
        let ids = (format!("{index:032x}"), format!("{index:016x}"));
        let mut tick = span((&ids.0, &ids.1), "tick", now() - 1_000_000 * index, index);
        tick["status"] = json!({"code": index % 3});
        export(&server, "shop", "traces", &spans_of(&format!("clock-{index}"), &[tick])).await;
    }
    searchable(&server, "shop").await;
    for path in [
        "/services?",
        "/services/shop-front/operations?",
        "/traces?",
        "/spans?",
        "/spans?order=slowest&",
        "/logs?",
        "/logs?q=took&",
        "/log-templates?",
        "/metrics?",
        "/service-map?",
        "/service-health?",
        "/anomalies?",
        "/root-cause?",
        "/impact?service=shop-back&",
    ] {
        // A window that stands still, so that both ways are asked the same.
        let to = jiff::Timestamp::now();
        let path = format!("{path}to={to}");
        let whole = ask(&server, "shop", &path).await;
        for limit in [1, 2, 5] {
            let paged = walked(&server, "shop", &format!("{path}&limit={limit}")).await;
            assert_eq!(&paged, items(&whole), "{path}, {limit} at a time");
        }
    }
}

#[tokio::test]
async fn spans_of_one_instant_come_once_each() {
    let server = Server::start(&[]).await;
    let start = now() - 5_000_000_000;
    let at = |index: u64| {
        span((&format!("{:032x}", index / 3 + 1), &format!("{:016x}", index + 1)), "tick", start, 1)
    };
    let spans: Vec<Value> = (0..30).map(at).collect();
    export(&server, "tick", "traces", &spans_of("clock", &spans)).await;
    server.settled().await;
    for order in ["newest", "slowest"] {
        for limit in [1, 4, 7, 30] {
            let all = walked(&server, "tick", &format!("/spans?order={order}&limit={limit}")).await;
            let mut ids: Vec<&str> = all.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), 30, "{order}, {limit} at a time");
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 30, "{order}, {limit} at a time: some came twice");
        }
    }
}

#[tokio::test]
async fn pages_stand_still_while_data_arrives() {
    let server = Server::start(&[]).await;
    let start = now() - 60_000_000_000;
    let send = |from: u64, at: u64| {
        let one = move |index: u64| {
            let ids = (format!("{:032x}", from + index + 1), format!("{:016x}", from + index + 1));
            span((&ids.0, &ids.1), "tick", at + index * 1_000, index + 1)
        };
        let spans: Vec<Value> = (0..6).map(one).collect();
        let record = |index: u64| {
            let body = format!("tick {index} of {from}");
            json!({"timeUnixNano": (at + index).to_string(), "severityNumber": 9, "body": {"stringValue": body}})
        };
        let records: Vec<Value> = (0..6).map(record).collect();
        (spans_of("clock", &spans), logs_of("clock", &records))
    };
    let (spans, logs) = send(0, start);
    export(&server, "tick", "traces", &spans).await;
    export(&server, "tick", "logs", &logs).await;
    searchable(&server, "tick").await;
    let paths = [
        ("/traces?limit=4", "trace_id"),
        ("/traces?limit=4&order=slowest", "trace_id"),
        ("/spans?limit=4", "span_id"),
        ("/spans?limit=4&order=slowest", "span_id"),
        ("/logs?limit=4", "id"),
        ("/logs?limit=4&q=tick", "id"),
    ];
    let mut firsts = Vec::new();
    for (path, _) in paths {
        firsts.push(ask(&server, "tick", path).await);
    }
    // Newer data, outside the window of the first pages.
    let (spans, logs) = send(100, now());
    export(&server, "tick", "traces", &spans).await;
    export(&server, "tick", "logs", &logs).await;
    searchable(&server, "tick").await;
    for ((path, field), first) in paths.into_iter().zip(firsts) {
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = ask(&server, "tick", &format!("{path}&cursor={cursor}")).await;
        assert_eq!(second["window"], first["window"], "{path}");
        assert!(second["next_cursor"].is_null(), "{path}: {second}");
        let mut seen: Vec<&Value> =
            items(&first).iter().chain(items(&second)).map(|item| &item[field]).collect();
        assert_eq!(seen.len(), 6, "{path}: {first} {second}");
        seen.sort_by_key(|id| id.as_str());
        seen.dedup();
        assert_eq!(seen.len(), 6, "{path}: an item came twice");
    }
}

#[tokio::test]
async fn j5_a_cursor_serves_its_own_question_only() {
    let server = Server::start(&[]).await;
    fill(&server, "shop", "shop").await;
    server.settled().await;
    let first = ask(&server, "shop", "/spans?service=shop-front&limit=1").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = ask(&server, "shop", &format!("/spans?cursor={cursor}&limit=2&service=shop-front")).await;
    assert_eq!(
        items(&second).len(),
        1,
        "another order of parameters, or another limit, is the same question"
    );
    let altered = format!("{}x", &cursor[..cursor.len() - 1]);
    for path in [
        format!("/spans?service=shop-back&limit=1&cursor={cursor}"),
        format!("/spans?limit=1&cursor={cursor}"),
        format!("/spans?service=shop-front&status=error&cursor={cursor}"),
        format!("/logs?service=shop-front&limit=1&cursor={cursor}"),
        format!("/traces?service=shop-front&limit=1&cursor={cursor}"),
        format!("/spans?service=shop-front&cursor={altered}"),
        format!("/spans?service=shop-front&cursor={}", &cursor[1..]),
        format!("/spans?service=shop-front&cursor={cursor}{cursor}"),
    ] {
        let problem = refused(&server, "shop", &path, (400, "invalid-parameter")).await;
        assert_eq!(problem["parameter"], "cursor", "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("next_cursor"), "{path}: {problem}");
    }
}

#[tokio::test]
async fn large_answers_are_cut_and_go_on() {
    let server = Server::start(&[]).await;
    let start = now() - 5_000_000_000;
    let words = "twelve words ".repeat(4_600);
    let trace = "a".repeat(32);
    for batch in 0..10_u64 {
        let one = |index: u64| {
            let number = batch * 10 + index;
            let mut span = span((&trace, &format!("{:016x}", number + 1)), "large", start + number, 1);
            let attribute = |key| json!({"key": format!("words.{key}"), "value": {"stringValue": words}});
            span["attributes"] = (0..4).map(attribute).collect();
            span
        };
        let spans: Vec<Value> = (0..10).map(one).collect();
        export(&server, "large", "traces", &spans_of("writer", &spans)).await;
    }
    server.settled().await;
    for path in ["/spans?limit=1000".to_owned(), format!("/traces/{trace}")] {
        let first = ask(&server, "large", &path).await;
        let bytes = first.to_string().len();
        assert!(bytes < 17 << 20, "{path}: {bytes} bytes");
        assert!(items(&first).len() < 100 && first["next_cursor"].is_string(), "{path}");
        assert_eq!(walked(&server, "large", &path).await.len(), 100, "{path}");
    }
}
