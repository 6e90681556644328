//! Postgres crashes, or is down for a while: telemetry is acknowledged from the journal, and nothing of it is missing
//! afterwards.

use loadsim::dice::Dice;
use prost::Message;
use reqwest::StatusCode;

use super::kept::{Asked, address};
use super::server::{Options, Server as Postgres};
use super::{laws, load, oracle};
use crate::api;
use crate::client::{request, span};
use crate::server::Server;

const ACCEPTED: &str = "otelcontext_ingest_accepted_total{signal=\"traces\"}";

/// A Postgres that may be killed, and a server on it.
async fn pair(more: &[(&str, &str)]) -> (Postgres, String, Server) {
    let (postgres, name) = tokio::task::block_in_place(|| {
        let postgres = Postgres::start(Options::default());
        let name = postgres.database_name();
        (postgres, name)
    });
    let address = address(&postgres, &name);
    let variables = [&[("DB_DRIVER", "postgres"), ("DB_DSN", &*address)], more].concat();
    let server = Server::start(&variables).await;
    (postgres, name, server)
}

/// Waits until the server says whether its database is up, in its metrics and at `/ready`.
pub(super) async fn says(server: &Server, is_up: bool) {
    server
        .until("aware of its database", || async {
            let up = server.metric("otelcontext_db_up").await;
            let ready = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap();
            let status = if is_up { 200 } else { 503 };
            (up == f64::from(u8::from(is_up)) && ready.status() == status).then_some(())
        })
        .await;
}

/// Waits until so many spans more are acknowledged.
pub(super) async fn takes_more(server: &Server, spans: f64) {
    let before = server.metric(ACCEPTED).await;
    let more = || async { (server.metric(ACCEPTED).await >= before + spans).then_some(()) };
    server.until("taking more", more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_f1_a_crash_and_an_outage_of_postgres_under_load_cost_nothing_that_was_acknowledged() {
    let (mut postgres, name, mut server) = pair(&[]).await;
    let load = load::endless(&server.grpc, 3, 2_000.0);
    takes_more(&server, 4_000.0).await;
    tokio::task::block_in_place(|| postgres.kill());
    says(&server, false).await;
    takes_more(&server, 2_000.0).await;
    tokio::task::block_in_place(|| postgres.restart());
    says(&server, true).await;

    takes_more(&server, 4_000.0).await;
    tokio::task::block_in_place(|| postgres.stop());
    says(&server, false).await;
    // About ten seconds of the load.
    takes_more(&server, 16_000.0).await;
    let told = api::get(&server, "load", "/api/v1/traces").await;
    assert_eq!(told.status, 503, "{}", told.text);
    assert_eq!(told.header("content-type"), "application/problem+json");
    let why = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap().text().await.unwrap();
    assert!(why.contains(r#""store":{"ok":false"#), "{why}");
    tokio::task::block_in_place(|| postgres.restart());
    says(&server, true).await;

    let (again, slowest, ledgers) = load.end().await;
    let acknowledged = ledgers.acknowledged();
    assert_eq!(again, 0, "a request was refused");
    server.settled().await;
    let told = api::get(&server, "load", "/api/v1/traces").await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let stored =
        tokio::task::block_in_place(|| laws::check(&Asked::postgres(&postgres, &name), &acknowledged));
    assert_eq!(stored, acknowledged.len());
    oracle::check(&server, &ledgers).await;
    println!("{stored} spans stored; the slowest acknowledgement took {slowest} ms");
}

/// Sends large requests.
pub(crate) struct Filler {
    client: reqwest::Client,
    dice: Dice,
    sent: u8,
}

impl Filler {
    pub(crate) fn new(seed: u64) -> Self {
        Self { client: reqwest::Client::new(), dice: Dice::new(seed), sent: 0 }
    }

    /// Sends one span of two mebibytes, of text that cannot be packed much.
    pub(crate) async fn send(&mut self, server: &Server) -> reqwest::Response {
        self.sent += 1;
        let mut sent = span(self.sent, 1, None, "big", 2);
        sent.attributes = (0..40)
            .map(|key| {
                let words = (0..4_000).map(|_| format!("{:016x}", self.dice.word()));
                crate::client::text(&format!("key{key}"), &words.collect::<String>()[..60_000])
            })
            .collect();
        let body = request("shop", vec![sent]).encode_to_vec();
        let sending = self.client.post(format!("http://{}/v1/traces", server.otlp_http));
        let sending = sending.header("content-type", "application/x-protobuf").body(body);
        sending.send().await.unwrap()
    }

    /// The trace that was sent last.
    pub(super) fn trace(&self) -> String {
        format!("{:02x}", self.sent).repeat(16)
    }

    /// Sends until it is told to come again; answers the traces that were taken.
    pub(super) async fn fill(&mut self, server: &Server) -> Vec<String> {
        let mut taken = Vec::new();
        let refusal = loop {
            assert!(self.sent < 200, "the journal takes more than it may");
            let answer = self.send(server).await;
            match answer.status() {
                StatusCode::OK => taken.push(self.trace()),
                _ => break answer,
            }
        };
        assert!([429, 503].contains(&refusal.status().as_u16()), "{refusal:?}");
        assert!(refusal.headers().contains_key("retry-after"), "{refusal:?}");
        taken
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_what_the_journal_has_no_room_for_is_refused_until_postgres_is_back() {
    let (mut postgres, name, mut server) = pair(&[("JOURNAL_MAX_MB", "128")]).await;
    tokio::task::block_in_place(|| postgres.stop());
    let mut filler = Filler::new(5);
    let mut taken = filler.fill(&server).await;
    assert!(taken.len() > 20, "{} requests were taken", taken.len());
    says(&server, false).await;
    tokio::task::block_in_place(|| postgres.restart());
    says(&server, true).await;
    server.settled().await;
    assert_eq!(filler.send(&server).await.status(), 200);
    taken.push(filler.trace());
    server.settled().await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    taken.sort_unstable();
    let stored = tokio::task::block_in_place(|| {
        Asked::postgres(&postgres, &name).rows(
            "SELECT encode(t.trace_id, 'hex') FROM spans s JOIN traces t ON t.day = s.day AND t.id = s.trace_row",
        )
    });
    assert_eq!(stored, taken);
}
