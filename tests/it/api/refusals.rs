//! Bad questions: a clear problem that says what would be right.

use reqwest::Method;

use super::{TRACE, ask, fill, get, refused, send};
use crate::server::Server;

#[tokio::test]
async fn bad_parameters_are_refused_with_what_would_be_right() {
    let server = Server::start(&[]).await;
    fill(&server, "shop", "shop").await;
    server.settled().await;
    let long = "x".repeat(1_025);
    let cases = [
        ("/traces?servce=shop-front".to_owned(), "unknown-parameter", "did you mean `service`?"),
        ("/traces?tenant=other".to_owned(), "unknown-parameter", "no parameter `tenant`"),
        ("/traces?q=words".to_owned(), "unknown-parameter", "no parameter `q`"),
        ("/status?limit=1".to_owned(), "unknown-parameter", "no parameter `limit`"),
        ("/services?attribute=a%3Db".to_owned(), "unknown-parameter", "no parameter `attribute`"),
        ("/traces?limit=0".to_owned(), "invalid-parameter", "from 1 to 1000"),
        ("/traces?limit=1001".to_owned(), "invalid-parameter", "from 1 to 1000"),
        ("/traces?limit=ten".to_owned(), "invalid-parameter", "from 1 to 1000"),
        ("/traces?limit=-1".to_owned(), "invalid-parameter", "from 1 to 1000"),
        ("/traces?limit=5&limit=6".to_owned(), "invalid-parameter", "more than once"),
        ("/traces?from=yesterday".to_owned(), "invalid-parameter", "`2026-11-20T09:30:00Z`"),
        ("/traces?to=15".to_owned(), "invalid-parameter", "`15m`"),
        ("/traces?from=1h&since=2h".to_owned(), "invalid-parameter", "give one of them"),
        ("/traces?from=10m&to=20m".to_owned(), "invalid-parameter", "`from` must lie before `to`"),
        (
            "/traces?from=2200-01-01T00:00:00Z&to=2201-01-01T00:00:00Z".to_owned(),
            "invalid-parameter",
            "future",
        ),
        ("/traces?status=broken".to_owned(), "invalid-parameter", "ok, error"),
        ("/traces?order=oldest".to_owned(), "invalid-parameter", "newest, slowest, errors"),
        ("/traces?min_duration=fast".to_owned(), "invalid-parameter", "`250ms`"),
        ("/traces?max_duration=-1ms".to_owned(), "invalid-parameter", "`250ms`"),
        ("/traces?attribute=novalue".to_owned(), "invalid-parameter", "attribute=key=value"),
        ("/traces?attribute.=x".to_owned(), "invalid-parameter", "attribute=key=value"),
        (format!("/traces?{}", "attribute=a%3Db&".repeat(17)), "invalid-parameter", "more than 16"),
        (format!("/traces?service={long}"), "invalid-parameter", "1024 at most"),
        ("/traces?cursor=abc".to_owned(), "invalid-parameter", "next_cursor"),
        ("/spans?trace_id=12".to_owned(), "invalid-parameter", "trace id"),
        ("/spans?span_id=zzzzzzzzzzzzzzzz".to_owned(), "invalid-parameter", "hexadecimal"),
        ("/spans?trace_id=00000000000000000000000000000000".to_owned(), "invalid-parameter", "zeros"),
        ("/traces/xyz".to_owned(), "invalid-parameter", "trace id"),
        ("/logs?severity=loud".to_owned(), "invalid-parameter", "trace, debug, info"),
        ("/logs?template=one".to_owned(), "invalid-parameter", "whole number"),
        ("/logs?q=%22unfinished".to_owned(), "invalid-parameter", "quot"),
        ("/impact".to_owned(), "invalid-parameter", "`service` is needed"),
        ("/metrics/query?name=shop.queue".to_owned(), "invalid-parameter", "`function` is needed"),
        ("/metrics/query?name=shop.queue&function=middle".to_owned(), "invalid-parameter", "use rate"),
        ("/metrics/query?name=shop.queue&function=p95".to_owned(), "invalid-parameter", "only histograms"),
        ("/service-map?depth=11".to_owned(), "invalid-parameter", "from 1 to 10"),
        ("/traces?service=%FF%FE&x".to_owned(), "unknown-parameter", "no parameter `x`"),
        (format!("/traces?service={}", "x".repeat(17_000)), "unreadable-query", "longer than"),
    ];
    for (path, kind, wanted) in cases {
        let problem = refused(&server, "shop", &path, (400, kind)).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(wanted), "{path}: {detail}");
        assert!(
            problem.to_string().len() < 4_096,
            "{path}: a refusal of {} bytes",
            problem.to_string().len()
        );
    }
}

#[tokio::test]
async fn unknown_names_and_ids_are_not_found() {
    let server = Server::start(&[]).await;
    fill(&server, "shop", "shop").await;
    server.settled().await;
    for path in ["/traces", "/spans", "/logs", "/service-map", "/service-health", "/anomalies", "/root-cause"]
    {
        let problem =
            refused(&server, "shop", &format!("{path}?service=shop-frnt"), (404, "unknown-name")).await;
        assert_eq!(problem["suggestion"], "shop-front", "{path}: {problem}");
    }
    let path = "/services/shop-frnt/operations";
    assert_eq!(refused(&server, "shop", path, (404, "unknown-name")).await["suggestion"], "shop-front");
    let path = "/metrics/query?name=shop.queu&function=last";
    assert_eq!(refused(&server, "shop", path, (404, "unknown-name")).await["suggestion"], "shop.queue");
    let problem = refused(&server, "shop", "/traces?operation=GET%20/shp", (404, "unknown-name")).await;
    assert_eq!(problem["suggestion"], "GET /shop", "{problem}");
    refused(&server, "shop", "/traces/11111111111111111111111111111111", (404, "not-found")).await;
    refused(&server, "stranger", &format!("/traces/{TRACE}"), (404, "not-found")).await;
    // Where nothing was ever received, lists are empty, not wrong.
    for path in [
        "/services",
        "/traces",
        "/spans",
        "/logs",
        "/log-templates",
        "/metrics",
        "/service-map",
        "/root-cause",
    ] {
        let answer = ask(&server, "stranger", path).await;
        assert_eq!(answer["items"].as_array().unwrap().len(), 0, "{path}: {answer}");
        assert!(answer["next_cursor"].is_null(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_gate_stands_in_front_of_every_route() {
    let server = Server::start(&[("API_KEY", "a-very-secret-operator-key-0123456789")]).await;
    for path in ["/api/v1/services", "/api/v1/openapi.json", "/api/v1/nothing"] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
            let told = send(&server, method.clone(), "shop", path).await;
            assert_eq!(told.status, 401, "{method} {path}: {}", told.text);
            assert!(told.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
        }
    }
    let told = get(&server, "not/a/tenant", "/api/v1/services").await;
    assert_eq!(told.status, 401, "the key comes first: {}", told.text);
    let open = Server::start(&[]).await;
    let told = get(&open, "not/a/tenant", "/api/v1/services").await;
    assert_eq!((told.status, told.json()["error"]["code"].as_str()), (400, Some("invalid_tenant")));
}
