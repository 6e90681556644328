//! A service with the stock Python SDK.

use std::process::Command;

use super::{check_seen, endpoint, exporting, program, tool};
use crate::server::Server;

/// The Python service under the SDK's own launcher: the program names no exporter.
pub(crate) fn shop(arguments: [&str; 2]) -> Command {
    let mut command = Command::new(tool("python/bin/opentelemetry-instrument"));
    command.arg(tool("python/bin/python")).arg(program("python/shop.py")).args(arguments);
    command
}

async fn check(protocol: &str) {
    let server = Server::start(&[]).await;
    let shop = exporting(shop(["orders", "3"]), endpoint(&server, protocol), protocol, "shop");
    check_seen(&server, shop, "shop", "postgresql/orders").await;
}

#[tokio::test]
async fn python_over_grpc_is_on_the_map_within_seconds() {
    check("grpc").await;
}

#[tokio::test]
async fn python_over_http_is_on_the_map_within_seconds() {
    check("http/protobuf").await;
}
