//! Tenants who sent the same ids never see a word of each other.

use super::{fill, get, questions, refused, searchable};
use crate::server::Server;

#[tokio::test]
async fn no_route_tells_one_tenant_of_another() {
    let server = Server::start(&[]).await;
    let marks = [("acme", "canaryalpha"), ("umbrella", "canarybravo")];
    for (tenant, mark) in marks {
        fill(&server, tenant, mark).await;
    }
    for (tenant, _) in marks {
        searchable(&server, tenant).await;
    }
    // SQL knows no tenants: it is refused to all of them where there is more than one.
    for tenant in ["acme", "umbrella", "default"] {
        let told = get(&server, tenant, "/api/v1/sql?q=SELECT+*+FROM+v_services").await;
        assert_eq!(told.status, 403, "{tenant}: {}", told.text);
        assert!(marks.iter().all(|(_, mark)| !told.text.contains(mark)), "{}", told.text);
    }
    for ((tenant, own), (_, other)) in [(marks[0], marks[1]), (marks[1], marks[0])] {
        for question in questions(own) {
            let told = get(&server, tenant, &format!("/api/v1{question}")).await;
            assert_eq!(told.status, 200, "{question}: {}", told.text);
            assert!(!told.text.contains(other), "{tenant} reads of {other} in {question}: {}", told.text);
            // What began a moment ago is no anomaly yet and has no cause; the others tell of nobody.
            let quiet = ["/anomalies", "/root-cause", "/status", "/openapi.json"];
            let is_quiet = quiet.iter().any(|path| question.starts_with(path));
            assert!(told.text.contains(own) || is_quiet, "{question}: {}", told.text);
        }
        for question in questions(other) {
            // Asked by the other's names, a refusal may repeat them and nothing else.
            let told = get(&server, tenant, &format!("/api/v1{question}")).await;
            let mut text = told.text.clone();
            if told.status == 404 {
                let detail = told.json()["detail"].as_str().unwrap().to_owned();
                text = text.replace(&detail, "");
            }
            assert!(!text.contains(other), "{tenant} reads of {other} in {question}: {}", told.text);
            let named = ["?service=", "&service=", "/operations", "/metrics/query"];
            let foreign = named.iter().any(|part| question.contains(part));
            assert_eq!(
                told.status == 404,
                foreign || question.contains("operation="),
                "{question}: {}",
                told.text
            );
        }
    }
}

#[tokio::test]
async fn a_cursor_of_one_tenant_is_none_of_another() {
    let server = Server::start(&[]).await;
    fill(&server, "acme", "canaryalpha").await;
    fill(&server, "umbrella", "canarybravo").await;
    searchable(&server, "acme").await;
    for path in [
        "/services?limit=1",
        "/spans?limit=1",
        "/logs?limit=1",
        "/logs?q=took&limit=1",
        "/log-templates?limit=1",
    ] {
        let first = super::ask(&server, "acme", path).await;
        let cursor = first["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}: {first}")).to_owned();
        super::ask(&server, "acme", &format!("{path}&cursor={cursor}")).await;
        refused(&server, "umbrella", &format!("{path}&cursor={cursor}"), (400, "invalid-parameter")).await;
    }
}
