//! SQL by the operator: answers, refusals, and whom it is refused to.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;

use super::{Told, ask, fill, refused};
use crate::server::Server;

const SHOP: &[(&str, &str)] = &[("DEFAULT_TENANT", "shop")];

/// Posts a statement with these headers.
async fn post(server: &Server, headers: &[(&str, &str)], text: impl Into<reqwest::Body>) -> Told {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("http://{}/api/v1/sql", server.http)).body(text);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Told { status, headers, text: answer.text().await.unwrap() }
}

async fn shop() -> Server {
    let server = Server::start(SHOP).await;
    fill(&server, "shop", "shop").await;
    server.settled().await;
    server
}

#[tokio::test]
async fn a_statement_is_answered_as_json_and_as_csv() {
    let server = shop().await;
    let text =
        "SELECT service, operation, status, duration_ms FROM v_spans ORDER BY duration_ms DESC LIMIT 2";
    let wanted = json!({
        "columns": ["service", "operation", "status", "duration_ms"],
        "rows": [["shop-front", "GET /shop", "error", 40.0], ["shop-front", "CALL shop", "unset", 30.0]],
        "truncated": false,
    });
    for headers in [
        &[(CONTENT_TYPE.as_str(), "application/sql")][..],
        &[(CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"), (ACCEPT.as_str(), "*/*")],
        &[(ACCEPT.as_str(), "application/json, text/csv")],
    ] {
        let told = post(&server, headers, text).await;
        assert_eq!((told.status, told.header("content-type")), (200, "application/json"), "{}", told.text);
        assert_eq!(told.json(), wanted, "{headers:?}");
    }
    let asked = ask(&server, "shop", &format!("/sql?q={}", text.replace(' ', "+"))).await;
    assert_eq!(asked, wanted);
    let told = post(&server, &[(ACCEPT.as_str(), "text/csv")], text).await;
    assert!(told.header("content-type").starts_with("text/csv"), "{:?}", told.headers);
    let wanted = "service,operation,status,duration_ms\r\n\
                  shop-front,GET /shop,error,40\r\nshop-front,CALL shop,unset,30\r\n";
    assert_eq!(told.text, wanted);
    let none = ask(&server, "shop", "/sql?q=SELECT+service,time+FROM+v_logs+WHERE+1=0").await;
    assert_eq!(none, json!({"columns": ["service", "time"], "rows": [], "truncated": false}));
    let one = ask(&server, "shop", "/sql?q=SELECT+span_id+FROM+v_spans&limit=1").await;
    assert_eq!((one["rows"].as_array().unwrap().len(), &one["truncated"]), (1, &json!(true)));
}

#[tokio::test]
async fn a_bad_statement_is_told_what_is_taken() {
    let server = shop().await;
    for (text, wanted) in [
        ("", "`q` is needed"),
        ("DELETE FROM v_spans", "begin with SELECT"),
        ("SELECT * FROM tenants", "read v_services, v_operations"),
        ("SELECT load_extension('x') AS x", "there are abs, avg"),
        ("SELECT 1 AS one; SELECT 2 AS two", "one statement at a time"),
        ("SELECT severity FROM v_spans", "no such column: severity"),
    ] {
        let told = post(&server, &[], text).await;
        let problem = told.json();
        assert_eq!((told.status, &problem["parameter"]), (400, &json!("q")), "{text}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(wanted), "{text}: {problem}");
    }
    let told = post(&server, &[(CONTENT_TYPE.as_str(), "application/json")], "{}").await;
    assert_eq!(
        (told.status, told.json()["type"].as_str()),
        (415, Some("urn:otelcontext:problem:unsupported-body"))
    );
    let told = post(&server, &[], " ".repeat(65_537)).await;
    assert_eq!(
        (told.status, told.json()["type"].as_str()),
        (413, Some("urn:otelcontext:problem:body-too-large"))
    );
    let long = format!("SELECT '{}' AS x", "x".repeat(65_536 - 16));
    assert_eq!(post(&server, &[], long).await.status, 200);
    let told = post(&server, &[], vec![b'S', 0xff]).await;
    assert_eq!(told.status, 400, "{}", told.text);
    refused(&server, "shop", "/sql?q=SELECT+1+AS+x&limit=10001", (400, "invalid-parameter")).await;
}

#[tokio::test]
async fn only_the_operator_of_a_single_tenant_is_answered() {
    let key = "a-very-secret-operator-key-0123456789";
    let server = Server::start(&[("API_KEY", key), SHOP[0]]).await;
    let text = "SELECT 1 AS one";
    assert_eq!(post(&server, &[], text).await.status, 401);
    let bearer = format!("Bearer {key}");
    assert_eq!(post(&server, &[(AUTHORIZATION.as_str(), bearer.as_str())], text).await.status, 200);
    let open = shop().await;
    let problem = refused(&open, "stranger", "/sql?q=SELECT+1+AS+one", (403, "denied")).await;
    assert!(problem["detail"].as_str().unwrap().contains("x-tenant-id"), "{problem}");
    ask(&open, "shop", "/sql?q=SELECT+1+AS+one").await;
    fill(&open, "stranger", "stranger").await;
    open.settled().await;
    let problem = refused(&open, "shop", "/sql?q=SELECT+1+AS+one", (403, "denied")).await;
    assert!(problem["detail"].as_str().unwrap().contains("no other tenant"), "{problem}");
}
