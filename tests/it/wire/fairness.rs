//! Who is refused when there is too much: those that send too much, and what matters least.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use otelcontext::model::batch::Signal;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{failed, request, span};
use crate::server::Server;

use super::{PROTOBUF, accepted, http_client, post, refused};

/// Requests that may wait: so few that senders without pause fill them between two commits.
const QUEUE: &str = "200";
const NOISY: usize = 64;
const QUIET: usize = 30;
/// Between two requests of a quiet sender: a store that stands still for some seconds does not fill its share.
const PAUSE: Duration = Duration::from_millis(100);

/// Exports of one service, again and again without a pause, until told to stop; counts what was taken and refused.
struct Noise {
    stop: Arc<AtomicBool>,
    counts: [Arc<AtomicU64>; 2],
    senders: JoinSet<()>,
}

impl Noise {
    fn start(server: &Server, tenant: &'static str, service: &str) -> Self {
        let (stop, counts, mut senders) =
            (Arc::new(AtomicBool::new(false)), <[Arc<AtomicU64>; 2]>::default(), JoinSet::new());
        let (client, url) = (http_client(), format!("http://{}/v1/traces", server.otlp_http));
        for sender in 0..NOISY {
            let body = request(service, vec![span(sender as u8 + 1, 1, None, "work", 2)]).encode_to_vec();
            let (stop, counts) = (Arc::clone(&stop), counts.clone());
            let post =
                client.post(&url).header(PROTOBUF.0, PROTOBUF.1).header("x-tenant-id", tenant).body(body);
            senders.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = post.try_clone().unwrap().send().await.unwrap().status().as_u16();
                    assert!([200, 429].contains(&status), "{status}");
                    counts[usize::from(status == 429)].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, counts, senders }
    }

    /// Waits until something was refused.
    async fn too_much(&self, server: &Server) {
        server.until("refused", async || (self.counts[1].load(Ordering::Relaxed) > 0).then_some(())).await;
    }

    async fn end(mut self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        self.counts.map(|count| count.load(Ordering::Relaxed))
    }
}

async fn calm(server: &Server, tenant: &str, service: &str) {
    for number in 0..QUIET {
        let body = request(service, vec![span(200, number as u8 + 1, None, "pay", 2)]).encode_to_vec();
        let answer =
            post(&server.otlp_http, Signal::Traces, &[PROTOBUF, ("x-tenant-id", tenant)], body).await;
        accepted(&answer, PROTOBUF, &format!("request {number} of {tenant}"));
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn c3_a_noisy_tenant_is_refused_and_a_quiet_one_is_not() {
    let server = Server::start(&[("INGEST_PIPELINE_QUEUE_SIZE", QUEUE)]).await;
    calm(&server, "quiet", "till").await;
    let noise = Noise::start(&server, "noisy", "mill");
    noise.too_much(&server).await;
    calm(&server, "quiet", "till").await;
    let [taken, refused] = noise.end().await;
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    let reason =
        "otelcontext_ingest_pipeline_dropped_total{signal=\"traces\",reason=\"tenant_backpressure\"}";
    assert_eq!(server.metric(reason).await, refused as f64);
    server.settled().await;
    let stored = server.metric("otelcontext_ingest_stored_total{signal=\"traces\"}").await;
    assert!(stored > 0.0);
}

#[tokio::test]
async fn c3_uploads_that_stand_still_leave_memory_for_other_tenants() {
    let server = Server::start(&[("INGEST_INFLIGHT_MAX_BYTES", "1048576")]).await;
    calm(&server, "quiet", "till").await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: otel\r\ncontent-type: application/x-protobuf\r\n\
                x-tenant-id: noisy\r\ncontent-length: 200001\r\n\r\n";
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let mut upload = TcpStream::connect(&server.otlp_http).await.unwrap();
        // Who is refused may close before all is sent.
        let _ = upload.write_all(&[head.as_bytes(), &[0; 200_000]].concat()).await;
        uploads.push(upload);
    }
    let inflight = "otelcontext_ingest_inflight_bytes";
    let held = async || (server.metric(inflight).await >= 400_000.0).then_some(());
    server.until("standing still", held).await;
    calm(&server, "quiet", "till").await;
    assert!(server.metric(inflight).await <= 524_288.0);
    drop(uploads);
    server.until("given back", async || (server.metric(inflight).await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn c3_a_noisy_service_leaves_room_for_others_of_its_tenant() {
    let server = Server::start(&[("INGEST_PIPELINE_QUEUE_SIZE", QUEUE)]).await;
    calm(&server, "other", "till").await;
    calm(&server, "shop", "till").await;
    let noise = Noise::start(&server, "shop", "mill");
    noise.too_much(&server).await;
    calm(&server, "shop", "till").await;
    let [_, refused] = noise.end().await;
    let reason =
        "otelcontext_ingest_pipeline_dropped_total{signal=\"traces\",reason=\"service_backpressure\"}";
    assert_eq!(server.metric(reason).await, refused as f64);
}

#[tokio::test]
async fn the_last_of_the_queue_is_for_what_tells_of_failures() {
    let variables = [("INGEST_PIPELINE_QUEUE_SIZE", QUEUE), ("INGEST_PIPELINE_PER_TENANT_CAP", "0")];
    let server = Server::start(&variables).await;
    let full = "otelcontext_ingest_pipeline_dropped_total{signal=\"traces\",reason=\"queue_full\"}";
    let noise = Noise::start(&server, "shop", "mill");
    noise.too_much(&server).await;
    let before = server.metric(full).await;
    for number in 0..QUIET {
        let broken = failed(span(200, number as u8 + 1, None, "pay", 2), "card declined");
        let body = request("till", vec![broken]).encode_to_vec();
        let answer =
            post(&server.otlp_http, Signal::Traces, &[PROTOBUF, ("x-tenant-id", "shop")], body).await;
        accepted(&answer, PROTOBUF, &format!("failure {number}"));
        tokio::time::sleep(PAUSE).await;
    }
    assert!(server.metric(full).await > before, "nothing else was refused meanwhile");
    noise.end().await;
}

#[tokio::test]
async fn without_shares_whoever_comes_first_is_served() {
    let server =
        Server::start(&[("INGEST_PIPELINE_QUEUE_SIZE", QUEUE), ("INGEST_PIPELINE_PER_TENANT_CAP", "0")])
            .await;
    let noise = Noise::start(&server, "noisy", "mill");
    noise.too_much(&server).await;
    let body = || request("till", vec![span(200, 1, None, "pay", 2)]).encode_to_vec();
    let crowded = server
        .until("crowded out", async || {
            let answer =
                post(&server.otlp_http, Signal::Traces, &[PROTOBUF, ("x-tenant-id", "quiet")], body()).await;
            (answer.status == 429).then_some(answer)
        })
        .await;
    refused(&crowded, 429, PROTOBUF, "crowded out");
    noise.end().await;
}
