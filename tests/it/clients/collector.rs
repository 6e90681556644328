//! A collector between a service and the server.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;

use super::{Client, accepted, counts, exporting, python, run, tool};
use crate::server::Server;

/// How many orders a service takes, and so how much there is to forward.
const ORDERS: &str = "200";

/// A collector that takes OTLP on an address of its own and forwards it in batches.
pub(super) fn collector(ports: [SocketAddrV4; 2], endpoint: &str, protocol: &str) -> Command {
    let [grpc, http] = ports.map(|port| port.to_string());
    // The package has no launcher; its library starts this file.
    let python = std::fs::read_dir(tool("python/lib")).unwrap().next().unwrap().unwrap().file_name();
    let agent = format!("python/lib/{}/site-packages/rotel/rotel-agent", python.to_str().unwrap());
    let mut command = Command::new(tool(&agent));
    command
        .args(["start", "--exporter", "otlp", "--batch-timeout", "100ms"])
        .args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
        .args([
            "--otlp-exporter-endpoint",
            &format!("http://{endpoint}"),
            "--otlp-exporter-protocol",
            protocol,
        ]);
    command
}

/// Two ports on a loopback address that no other test has, so that nothing can take them before the collector does.
pub(super) fn own_ports(test: u8) -> [SocketAddrV4; 2] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 + test, high, low.clamp(1, 254));
    [4317, 4318].map(|port| SocketAddrV4::new(address, port))
}

/// Everything a service sends to the collector arrives at the server, exactly once.
async fn check(test: u8, into: &str, out: &str) {
    let server = Server::start(&[]).await;
    let ports = own_ports(test);
    let endpoint = if out == "grpc" { &server.grpc } else { &server.otlp_http };
    let collector = Client::start(collector(ports, endpoint, out));
    server
        .until("forwarding", || async {
            ports.iter().all(|port| TcpStream::connect(port).is_ok()).then_some(())
        })
        .await;

    let port = ports[usize::from(into != "grpc")].to_string();
    let recorded = run(exporting(python::shop(["orders", ORDERS]), &port, into, "shop")).await.report();
    let sent = counts(&recorded);
    let arrived = || async {
        let accepted = accepted(&server).await;
        accepted.iter().zip(sent).all(|(accepted, sent)| *accepted >= sent).then_some(())
    };
    server.until("forwarded", arrived).await;
    // What it still held it sends before it ends, so nothing can come twice after this.
    let stopped = Command::new("kill").args(["-TERM", &collector.child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    collector.end().await;
    assert_eq!(accepted(&server).await, sent);
    server.settled().await;
    let stored = server.metric("otelcontext_ingest_stored_total").await;
    assert_eq!(stored, sent.iter().sum::<f64>());
}

#[tokio::test]
async fn everything_arrives_through_a_collector_over_grpc() {
    check(0, "grpc", "grpc").await;
}

#[tokio::test]
async fn everything_arrives_through_a_collector_over_http() {
    check(1, "http/protobuf", "http").await;
}
