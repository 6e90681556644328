//! Days that are too old go, and the server goes on meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api;
use crate::client;
use crate::server::Server;

const DAY: u64 = 86_400_000_000_000;
const TENANT: &str = "days";

/// Sends a span and a log record of each of several traces, so many days ago, with words of their own.
async fn send(server: &Server, days: u64, traces: u64) {
    let then = api::now() - days * DAY;
    let filler = |index: u64| format!("{:x}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(20);
    let id = |index: u64| (format!("{days:016x}{index:016x}"), format!("{index:016x}"));
    let spans: Vec<Value> = (1..=traces)
        .map(|index| {
            let (trace, span) = id(index);
            let mut span = api::span((&trace, &span), &format!("day{days}"), then + index, 5);
            span["attributes"] = json!([{"key": "filler", "value": {"stringValue": filler(index)}}]);
            span
        })
        .collect();
    let records: Vec<Value> = (1..=traces)
        .map(|index| {
            let body = json!({"stringValue": format!("word{days}day {}", filler(index))});
            json!({"timeUnixNano": (then + index).to_string(), "severityNumber": 9, "body": body})
        })
        .collect();
    api::export(server, TENANT, "traces", &api::spans_of("store", &spans)).await;
    api::export(server, TENANT, "logs", &api::logs_of("store", &records)).await;
}

/// How many of the traces and log records of a day are told, in a window that holds them all, and by words.
async fn told(server: &Server, days: u64) -> [usize; 4] {
    let window = format!("from={}h&to={}h", days * 24 + 1, days * 24 - 1);
    let mut counts = [0; 4];
    for (count, path) in counts.iter_mut().zip([
        format!("/traces?{window}"),
        format!("/traces/{days:016x}{:016x}", 7),
        format!("/logs?{window}"),
        format!("/logs?{window}&q=word{days}day"),
    ]) {
        let told =
            api::get(server, TENANT, &format!("/api/v1{path}&limit=50").replace("7&limit=50", "7")).await;
        *count = match told.status {
            404 => 0,
            _ => api::items(&told.json()).len(),
        };
    }
    counts
}

fn database_bytes(server: &Server) -> u64 {
    std::fs::metadata(server.folder().join("data/otelcontext.db")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_days_go_from_answers_and_search_and_their_space_is_used_again() {
    let mut server = Server::start(&[("HOT_RETENTION_DAYS", "7")]).await;
    for days in [5, 4, 1] {
        for _ in 0..4 {
            // The same ids again: records are kept four times, spans once.
            send(&server, days, 2_000).await;
        }
    }
    api::searchable(&server, TENANT).await;
    for days in [5, 4, 1] {
        assert_eq!(told(&server, days).await, [50, 1, 50, 50], "{days} days ago");
    }
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let before = database_bytes(&server);

    let server = server.again(&[("HOT_RETENTION_DAYS", "2")]).await;
    server.ready().await;
    let slowest = {
        let mut slowest = std::time::Duration::ZERO;
        // Meanwhile telemetry is taken, and acknowledged as fast as ever.
        while server.metric("otelcontext_retention_last_success_timestamp").await == 0.0 {
            let began = Instant::now();
            send(&server, 0, 1).await;
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    assert!(server.metric("otelcontext_partitions_dropped_total").await >= 6.0);
    assert_eq!(server.metric("otelcontext_retention_rows_behind").await, 0.0);
    for days in [5, 4] {
        assert_eq!(told(&server, days).await, [0; 4], "{days} days ago");
    }
    assert_eq!(told(&server, 1).await, [50, 1, 50, 50], "one day ago");
    let folders: Vec<_> = std::fs::read_dir(server.folder().join("data/search"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    println!("slowest pair of requests {slowest:?}; the index has {folders:?}");

    for _ in 0..4 {
        send(&server, 1, 2_000).await;
    }
    server.settled().await;
    let mut server = server;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let after = database_bytes(&server);
    println!("database of {before} bytes before, {after} after");
    assert!(after <= before + before / 10, "{before} bytes grew to {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_older_than_what_is_kept_are_refused_alone() {
    let server = Server::start(&[("HOT_RETENTION_DAYS", "2")]).await;
    let then = api::now() - 5 * DAY;
    let (old, new) = (("1".repeat(32), "1".repeat(16)), ("2".repeat(32), "2".repeat(16)));
    let spans =
        [api::span((&old.0, &old.1), "old", then, 5), api::span((&new.0, &new.1), "new", api::now(), 5)];
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", server.otlp_http))
        .header("content-type", "application/json")
        .header("x-tenant-id", TENANT)
        .body(api::spans_of("store", &spans).to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    server.settled().await;
    let kept = api::ask(&server, TENANT, "/spans?from=7d").await;
    assert_eq!(api::column(&kept, "operation"), ["new"], "{kept}");
}

/// Sends a log record of these words, so many days ago.
async fn say(server: &Server, days: u64, words: &str) {
    let time = (api::now() - days * DAY).to_string();
    let record = json!({"timeUnixNano": time, "severityNumber": 9, "body": {"stringValue": words}});
    api::export(server, TENANT, "logs", &api::logs_of("store", &[record])).await;
}

/// The template that has this text, among those counted in a window.
async fn template(server: &Server, window: &str, text: &str) -> Option<u64> {
    let listed = api::ask(server, TENANT, &format!("/log-templates?{window}")).await;
    let found = api::items(&listed).iter().find(|item| item["text"] == text);
    found.and_then(|item| item["template"].as_u64())
}

/// What became of a template.
async fn state(server: &Server, template: u64) -> Value {
    let asked = json!({"ids": format!("template:{template}")});
    let opened = client::ask(server, TENANT, "get_evidence", asked).await;
    client::rows(&opened, "evidence")[0]["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn log_templates_go_with_what_is_counted_of_them() {
    let kept = |days: &'static str| {
        ["HOT_RETENTION_DAYS", "ROLLUP_MINUTE_RETENTION_DAYS", "ROLLUP_HOUR_RETENTION_DAYS"]
            .map(|variable| (variable, days))
    };
    let mut server = Server::start(&kept("100")).await;
    // Roll-ups of an hour go 32 days at a time.
    say(&server, 70, "the disk has failed").await;
    say(&server, 0, "all is well").await;
    server.settled().await;
    let old = template(&server, "from=71d&to=69d", "the disk has failed").await.unwrap();
    let other = template(&server, "from=1h", "all is well").await.unwrap();
    for id in [old, other] {
        assert_eq!(state(&server, id).await, "opened");
    }
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());

    let server = server.again(&kept("2")).await;
    server.ready().await;
    // It goes with the first commit after a round of retention chose it: the first round, or the one a minute later where the
    // days were given up in between.
    let began = Instant::now();
    while state(&server, old).await != "gone" {
        assert!(began.elapsed() < Duration::from_secs(180), "it is not forgotten:\n{}", server.log());
        say(&server, 0, "all is well").await;
        server.settled().await;
    }
    assert_eq!(state(&server, other).await, "opened");
    say(&server, 0, "the disk has failed").await;
    server.settled().await;
    let new = template(&server, "from=1h", "the disk has failed").await.unwrap();
    assert!(new > other, "no id is given twice");
    assert_eq!(state(&server, old).await, "gone");
    assert_eq!(template(&server, "from=1h", "all is well").await, Some(other));
    let found = api::ask(&server, TENANT, &format!("/logs?from=1h&template={old}")).await;
    assert!(api::items(&found).is_empty(), "{found}");
}
