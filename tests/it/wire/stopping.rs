//! Stopping loses nothing that was acknowledged, ends in time, and leaves the data to one server alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::client::{export, request, span};
use crate::server::Server;

use super::stored::Stored;
use super::{PROTOBUF, call_grpc, channel, grpc_path, http_client, is_well, send};

/// What the clients sent and what was acknowledged, by client and number.
#[derive(Default)]
struct Ledger {
    sent: AtomicU64,
    acknowledged: Mutex<BTreeSet<(u8, u64)>>,
    is_over: AtomicBool,
}

impl Ledger {
    fn acknowledge(&self, client: u8, number: u64) {
        self.acknowledged.lock().unwrap().insert((client, number));
    }

    fn acknowledged(&self) -> BTreeSet<(u8, u64)> {
        self.acknowledged.lock().unwrap().clone()
    }
}

/// A request with one span, numbered `number` among those of `client`.
fn numbered(client: u8, number: u64) -> Vec<u8> {
    let mut span = span(client, 1, None, "work", 2);
    span.span_id = number.to_be_bytes().to_vec();
    request("shop", vec![span]).encode_to_vec()
}

/// Exports over HTTP until the test is over; a refusal must be one that clients send again.
async fn load_over_http(address: String, client: u8, ledger: Arc<Ledger>) {
    let http = http_client();
    for number in 1.. {
        if ledger.is_over.load(Ordering::Relaxed) {
            return;
        }
        ledger.sent.fetch_add(1, Ordering::Relaxed);
        let request = http.post(format!("http://{address}/v1/traces")).header(PROTOBUF.0, PROTOBUF.1);
        // No answer is no acknowledgement.
        let Ok(answer) = request.body(numbered(client, number)).send().await else { continue };
        match answer.status().as_u16() {
            200 => ledger.acknowledge(client, number),
            status => {
                assert_eq!(status, 503, "a refusal that clients do not send again");
                assert!(answer.headers().contains_key("retry-after"));
            }
        }
    }
}

/// Exports over gRPC until the test is over; a refusal must be one that clients send again.
async fn load_over_grpc(channel: Channel, client: u8, ledger: Arc<Ledger>) {
    for number in 1.. {
        if ledger.is_over.load(Ordering::Relaxed) {
            return;
        }
        ledger.sent.fetch_add(1, Ordering::Relaxed);
        match call_grpc(&channel, grpc_path(Signal::Traces), &[], &numbered(client, number)).await {
            Ok(_) => ledger.acknowledge(client, number),
            Err(status) => {
                // A connection that broke, or that was said to take nothing more while the call was on its way, is told
                // by the client itself.
                let is_over =
                    status.code() == Code::Internal && status.message().contains("h2 protocol error");
                let is_retried = [Code::Unavailable, Code::Cancelled, Code::Unknown].contains(&status.code());
                assert!(is_retried || is_over, "a refusal that clients do not send again: {status:?}");
                assert!(
                    status.code() != Code::Unknown || status.message().contains("transport"),
                    "{status:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_a_stop_under_load_ends_in_time_and_keeps_what_was_acknowledged() {
    let mut server = Server::start(&[("SHUTDOWN_TIMEOUT_MS", "3000")]).await;
    let ledger = Arc::new(Ledger::default());
    let mut clients = Vec::new();
    for client in 1..=16_u8 {
        let ledger = Arc::clone(&ledger);
        clients.push(match client % 3 {
            0 => tokio::spawn(load_over_http(server.otlp_http.clone(), client, ledger)),
            1 => tokio::spawn(load_over_http(server.http.clone(), client, ledger)),
            _ => tokio::spawn(load_over_grpc(channel(&server).await, client, ledger)),
        });
    }
    server.until("under load", || async { (ledger.acknowledged().len() > 500).then_some(()) }).await;
    let began = Instant::now();
    let code = server.terminate().await;
    let took = began.elapsed();
    ledger.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(code, Some(0), "{}", server.log());
    assert!(took < Duration::from_secs(5), "stopping took {took:?}");
    let acknowledged = ledger.acknowledged();

    let (mut server, _) = server.crash_and_restart().await;
    server.settled().await;
    is_well(&server).await;
    let stored = Stored::after(&mut server).await;
    let spans = stored.spans("default").await;
    let held: BTreeSet<(u8, u64)> = spans
        .iter()
        .map(|(_, span)| (span.trace_id[0], u64::from_be_bytes(span.span_id.clone().try_into().unwrap())))
        .collect();
    assert_eq!(held.len(), spans.len(), "a span is stored twice");
    let lost: Vec<_> = acknowledged.difference(&held).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged spans are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    assert!(held.len() as u64 <= ledger.sent.load(Ordering::Relaxed), "more is stored than was sent");
}

#[tokio::test]
async fn n2_clients_that_do_nothing_do_not_hold_up_a_stop() {
    let mut server = Server::start(&[("SHUTDOWN_TIMEOUT_MS", "2000")]).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n";
    let mut idle = Vec::new();
    for address in [&server.otlp_http, &server.http, &server.grpc] {
        for said in [
            String::new(),
            "POST /v1/tr".into(),
            head.into(),
            format!("{head}content-length: 100\r\n\r\nhalf"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            idle.push(stream);
        }
    }
    // One that has spoken and keeps its connection, as exporters do.
    let channel = channel(&server).await;
    call_grpc(&channel, grpc_path(Signal::Traces), &[], &numbered(1, 1)).await.unwrap();
    let began = Instant::now();
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(4), "stopping took {:?}", began.elapsed());
    assert_eq!(Stored::of(&server).await.counts().await.spans, 1);
}

/// Runs the server in `folder` until it ends by itself.
fn run(folder: &Path, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otelcontext"))
        .current_dir(folder)
        .env_clear()
        .envs([("GRPC_PORT", "0"), ("OTLP_HTTP_PORT", "0"), ("HTTP_PORT", "0")])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Every file under `folder` with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn d8_a_second_server_on_the_same_data_refuses_and_alters_nothing() {
    let mut server = Server::start(&[]).await;
    export(&server, "default", &request("shop", vec![span(1, 1, None, "pay", 2)])).await;
    server.settled().await;
    let data = server.folder().join("data");
    let before = files(&data);
    let elsewhere = tempfile::tempdir().unwrap();
    let second = elsewhere.path().to_owned();
    let variables = [("DATA_DIR".to_owned(), data.display().to_string())];
    let output = tokio::task::spawn_blocking(move || {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        run(&second, &variables)
    });
    let output =
        tokio::time::timeout(Duration::from_secs(30), output).await.expect("a second server runs").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&data.display().to_string()), "the folder is not named: {said}");
    assert!(said.contains("belongs to a running instance"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    let after = files(&data);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "files came or went");
    // SQLite notes in the shared index beside the database who reads at the moment: that is no data.
    let is_data = |path: &str| !path.ends_with("-shm");
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, content)| is_data(path) && after[*path] != **content)
        .map(|(path, _)| path)
        .collect();
    assert!(changed.is_empty(), "changed: {changed:?}");
    export(&server, "default", &request("shop", vec![span(2, 1, None, "pay", 2)])).await;
    is_well(&server).await;
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 2);
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    for variable in ["GRPC_PORT", "OTLP_HTTP_PORT", "HTTP_PORT"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().to_owned(), port.clone());
        let output = tokio::task::spawn_blocking(move || run(&path, &[(variable, &port)]));
        let output =
            tokio::time::timeout(Duration::from_secs(30), output).await.expect("it started").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{variable}: {said}");
        assert!(said.contains(variable) && said.contains(&address.to_string()), "{variable}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn n4_live_and_ready_answer_and_a_stopped_server_answers_nobody() {
    let mut server = Server::start(&[]).await;
    let live = send(Method::GET, &server.http, "/live", &[], Vec::new()).await;
    assert_eq!(live.status, 200);
    let ready = send(Method::GET, &server.http, "/ready", &[], Vec::new()).await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ready".into()));
    let checks = ready.json()["checks"].as_object().unwrap().clone();
    assert!(!checks.is_empty() && checks.values().all(|check| check["ok"] == true), "{}", ready.text());
    assert_eq!(server.terminate().await, Some(0));
    for address in [&server.grpc, &server.otlp_http, &server.http] {
        assert!(TcpStream::connect(address).await.is_err(), "{address} is still open");
    }
}
