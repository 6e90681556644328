//! The ports over TLS: with a certificate of the server's own or of files, which may change while it runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use otelcontext::model::batch::Signal;
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client};

use crate::client::{request, span};
use crate::clients::{self, python};
use crate::server::{PATIENCE, Server};

/// A client that believes the certificate in a file, and nothing else.
fn believing(certificate: &Path) -> Client {
    let certificate = Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

fn at(address: &str, path: &str) -> String {
    format!("https://localhost:{}{path}", address.rsplit(':').next().unwrap())
}

/// Starts a server that speaks TLS, and waits until it is ready to those that believe `certificate`.
async fn started(variables: &[(&str, &str)], certificate: impl Fn(&Server) -> PathBuf) -> (Server, Client) {
    let server = Server::listening(variables).await;
    let client = believing(&certificate(&server));
    let ready =
        async || client.get(at(&server.http, "/ready")).send().await.ok().filter(|it| it.status() == 200);
    server.until("ready", async || ready().await.map(|_| ())).await;
    (server, client)
}

fn own(server: &Server) -> PathBuf {
    server.folder().join("data/tls/server.crt")
}

#[tokio::test]
async fn h1_every_port_speaks_tls_to_stock_clients_and_nothing_else() {
    let (server, client) = started(&[("TLS_AUTO_SELFSIGNED", "true")], own).await;
    for (protocol, address) in [("grpc", &server.grpc), ("http/protobuf", &server.otlp_http)] {
        let service = format!("shop-{}", &protocol[..4]);
        let mut shop = clients::exporting(python::shop(["orders", "2"]), "", protocol, &service);
        shop.env("OTEL_EXPORTER_OTLP_ENDPOINT", at(address, ""));
        shop.env("OTEL_EXPORTER_OTLP_CERTIFICATE", own(&server));
        let ended = clients::Client::start(shop).end().await;
        assert!(ended.status.success(), "{protocol}: {}", ended.errors);
        server
            .until(&format!("shown what came over {protocol}"), async || {
                let services = client.get(at(&server.http, "/api/v1/services")).send().await.unwrap();
                services.text().await.unwrap().contains(&service).then_some(())
            })
            .await;
    }
    let body = request("shop", vec![span(1, 1, None, "pay", 2)]).encode_to_vec();
    for address in [&server.grpc, &server.otlp_http, &server.http] {
        let plain = Client::builder().no_proxy().build().unwrap();
        let path = format!("http://{address}/v1/{}", Signal::Traces.name());
        let answer = plain.post(path).header("content-type", "application/x-protobuf").body(body.clone());
        assert!(answer.send().await.is_err(), "plain text on {address}");
    }
    let metrics = client.get(at(&server.http, "/metrics")).send().await.unwrap().text().await.unwrap();
    let count = |start: &str| {
        let line = metrics.lines().find(|line| line.starts_with(start)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(count("otelcontext_tls_handshakes_total{result=\"ok\"}") >= 4.0);
    assert!(count("otelcontext_tls_handshakes_total{result=\"failed\"}") >= 3.0);
    let now = f64::from(u32::try_from(jiff::Timestamp::now().as_second()).unwrap());
    let left = count("otelcontext_tls_certificate_expiry_timestamp_seconds") - now;
    assert!((390.0 * 86_400.0..=397.0 * 86_400.0).contains(&left), "{left} s");
    let port = server.http.rsplit(':').next().unwrap().to_owned();
    let data = server.folder().join("data").display().to_string();
    let variables = [("HTTP_PORT", port), ("TLS_AUTO_SELFSIGNED", "true".to_owned()), ("DATA_DIR", data)];
    let (succeeded, said) = crate::server::program(server.folder(), &variables, &["doctor", "--ready"]).await;
    assert!(succeeded, "{said}");
}

#[tokio::test]
async fn h4_who_does_not_shake_hands_is_let_go() {
    let (server, client) = started(&[("TLS_AUTO_SELFSIGNED", "true")], own).await;
    let address = server.http.clone();
    let waited = tokio::task::spawn_blocking(move || {
        let mut silent = TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        silent.write_all(&[22, 3, 1]).unwrap();
        silent.read(&mut [0; 64])
    });
    assert!(matches!(waited.await.unwrap(), Ok(0) | Err(_)), "the connection is closed");
    let metrics = client.get(at(&server.http, "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("otelcontext_tls_handshakes_total{result=\"timed_out\"} 1"));
}

/// Writes a certificate for localhost and its key.
fn write(chain: &Path, key: &Path) -> String {
    let pair = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    for (path, text) in [(key, pair.serialize_pem()), (chain, certificate.pem())] {
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, path).unwrap();
    }
    certificate.pem()
}

#[tokio::test]
async fn h2_another_certificate_is_taken_while_the_server_runs_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    write(&chain, &key);
    let (chain_shown, key_shown) = (chain.display().to_string(), key.display().to_string());
    let variables = [("TLS_CERT_FILE", chain_shown.as_str()), ("TLS_KEY_FILE", key_shown.as_str())];
    let (server, first) = started(&variables, |_| chain.clone()).await;
    let live = async |client: &Client| client.get(at(&server.http, "/live")).send().await.is_ok();
    let failures = async || {
        let metrics = first.get(at(&server.http, "/metrics")).send().await.unwrap().text().await.unwrap();
        metrics.contains("otelcontext_tls_reloads_total{result=\"failed\"} 0").then_some(()).is_none()
    };
    assert!(!failures().await);
    std::fs::write(&chain, "half a certificate").unwrap();
    server.until("told of the bad certificate", async || failures().await.then_some(())).await;
    assert!(live(&first).await, "the one before stays in use");
    write(&chain, &key);
    let second = believing(&chain);
    server.until("using the new certificate", async || live(&second).await.then_some(())).await;
    let stranger = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    assert!(!live(&stranger).await);
}
