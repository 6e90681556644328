//! What scrapers think of `/metrics`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{TENANT, endpoint, exporting, python, run, tool};
use crate::client::call;
use crate::server::Server;

/// A server that took and refused telemetry, and answered and refused questions.
async fn busy() -> Server {
    let server = Server::start(&[]).await;
    for protocol in ["grpc", "http/protobuf"] {
        run(exporting(python::shop(["orders", "2"]), endpoint(&server, protocol), protocol, "shop"))
            .await
            .report();
    }
    let broken = reqwest::Client::new().post(format!("http://{}/v1/traces", server.otlp_http));
    let broken =
        broken.header("content-type", "application/x-protobuf").body("not OTLP").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    for service in ["shop", "shap"] {
        call(&server, TENANT, "get_service_map", json!({"service": service})).await;
    }
    server.settled().await;
    server
}

/// What a scraper that asks for `accept` is given.
pub(crate) async fn scrape(server: &Server, accept: &str) -> String {
    let request =
        reqwest::Client::new().get(format!("http://{}/metrics", server.http)).header("accept", accept);
    let answer = request.send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with(accept), "{kind}");
    answer.text().await.unwrap()
}

/// Gives `text` to a command; answers all it says, having ended well.
pub(crate) fn feed(mut command: Command, text: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(
            |error| {
                panic!("{error}: {command:?}; install it with `.ci/setup`");
            },
        );
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(ended.status.success(), "{}: {said}\n{text}", ended.status);
    said
}

#[tokio::test]
async fn promtool_finds_no_fault_with_the_metrics() {
    let server = busy().await;
    let text = scrape(&server, "text/plain").await;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    assert_eq!(feed(promtool, &text), "");
}

#[tokio::test]
async fn the_strict_parser_reads_the_openmetrics_form() {
    let server = busy().await;
    let text = scrape(&server, "application/openmetrics-text").await;
    let mut parser = Command::new(tool("python/bin/python"));
    parser.arg(super::program("python/openmetrics.py"));
    let report: Value = serde_json::from_str(&feed(parser, &text)).unwrap();
    assert_eq!(report["without_help"], json!([]));
    let families = report["families"].as_object().unwrap();
    assert_eq!(families["otelcontext_ingest_accepted"], "counter");
    let unknown: Vec<_> = families.iter().filter(|(_, kind)| *kind == "unknown").collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
