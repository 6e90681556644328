//! What a database refuses for good goes into dead letters, row by row, and everything beside it is stored.

use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcontext::journal::{self, Entry, Lsn, Options, Prepared, Sync};
use otelcontext::model::batch::Signal;
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::UnixNanos;
use prost::Message;
use serde_json::Value;

use super::kept::Kept;
use super::server::Server as Postgres;
use crate::client::{export, request, span, text};
use crate::server::Server;

/// Runs statements on a database that a server is using.
const CHANGE: &str = "
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=30)
for (name,) in base.execute(\"SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?\", (sys.argv[2],)).fetchall():
    base.execute(sys.argv[3].replace('TABLE', name))
base.commit()
";

/// Makes the database refuse spans that took 666 ns and log records of severity 22, or take them again.
fn refuse(kept: &Kept, server: &Server, refuses: bool) {
    for (table, condition) in [("spans", "NEW.duration_ns = 666"), ("logs", "NEW.severity = 22")] {
        match kept {
            Kept::Sqlite => {
                let statement = match refuses {
                    true => format!(
                        "CREATE TRIGGER poison_TABLE BEFORE INSERT ON TABLE WHEN {condition} \
                         BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
                    ),
                    false => "DROP TRIGGER poison_TABLE".to_owned(),
                };
                let file = server.folder().join("data").join("otelcontext.db");
                let status = Command::new("python3")
                    .args(["-c", CHANGE])
                    .arg(file)
                    .args([format!("{table}_2*"), statement])
                    .status()
                    .unwrap();
                assert!(status.success());
            }
            Kept::Postgres(name) => {
                let statement = match refuses {
                    true => format!(
                        "CREATE OR REPLACE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS \
                         $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$; \
                         CREATE TRIGGER poison BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) \
                         EXECUTE FUNCTION poisoned()"
                    ),
                    // To drop a trigger locks day after day, in another order than questions do, and may end in a deadlock.
                    false => "CREATE OR REPLACE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS \
                              $$ BEGIN RETURN NEW; END $$"
                        .to_owned(),
                };
                Postgres::shared().sql(name, &statement);
            }
        }
    }
}

async fn send_logs(server: &Server, severities: impl Iterator<Item = i32>) {
    let now = span(1, 1, None, "", 1).start_time_unix_nano;
    let records = severities.zip(0_u64..).map(|(severity_number, after)| LogRecord {
        time_unix_nano: now + after,
        severity_number,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(format!("line {after}"))) }),
        ..LogRecord::default()
    });
    let resource = Resource { attributes: vec![text("service.name", "shop")], ..Resource::default() };
    let scope_logs = vec![ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() }];
    let logs = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/logs", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", "acme")
        .body(ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

async fn send_spans(server: &Server, trace: u8, count: u8, bad: &[u8]) {
    let spans = (1..=count).map(|id| {
        let mut span = span(trace, id, None, "work", 2);
        if bad.contains(&id) {
            span.end_time_unix_nano = span.start_time_unix_nano + 666;
        }
        span
    });
    export(server, "acme", &request("shop", spans.collect())).await;
}

async fn letters(server: &Server) -> Vec<Value> {
    let (good, said) = server.command(&["dlq", "list", "--json"]).await;
    assert!(good, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    said["letters"].as_array().unwrap().clone()
}

/// Spans and log records that are stored, all and different ones.
fn stored(kept: &Kept, server: &Server) -> Vec<String> {
    let sql = "SELECT count(*), count(DISTINCT s.span_id), \
               (SELECT count(*) FROM logs), (SELECT count(DISTINCT time_ns) FROM logs) FROM spans s";
    tokio::task::block_in_place(|| kept.asked(server.folder()).rows(sql))
}

/// A server with one span and one log record, so that there are tables, whose database refuses some from then on.
async fn refusing(kept: &Kept, variables: &[(&str, &str)]) -> Server {
    let server = kept.server(variables).await;
    send_spans(&server, 1, 1, &[]).await;
    send_logs(&server, [9].into_iter()).await;
    server.settled().await;
    tokio::task::block_in_place(|| refuse(kept, &server, true));
    server
}

async fn poison_is_set_aside(kept: Kept) {
    let mut server = refusing(&kept, &[]).await;
    send_spans(&server, 2, 200, &[17, 150]).await;
    send_logs(&server, (0..50).map(|index| if index == 30 { 22 } else { 9 })).await;
    export(&server, "other", &request("shop", vec![span(3, 201, None, "work", 2)])).await;
    server.settled().await;
    assert_eq!(stored(&kept, &server), ["200|199|50|50"], "{}", server.log());
    assert_eq!(server.metric("otelcontext_dlq_size").await, 2.0);
    assert_eq!(server.metric("otelcontext_ingest_pipeline_dlq_total").await, 3.0);
    assert!(server.metric("otelcontext_dlq_disk_bytes").await > 0.0);
    server.ready().await;
    let found = letters(&server).await;
    let mut shapes: Vec<_> = found
        .iter()
        .map(|letter| {
            (letter["signal"].as_str().unwrap(), letter["items"].as_u64().unwrap(), &letter["tenant"])
        })
        .collect();
    shapes.sort_by_key(|(signal, ..)| *signal);
    assert_eq!(shapes, [("logs", 1, &Value::from("acme")), ("traces", 2, &Value::from("acme"))]);
    assert!(found.iter().all(|letter| letter["reason"].as_str().unwrap().contains("poisoned")), "{found:?}");

    // Nothing of it comes twice after a crash.
    server = server.crash_and_restart().await.0;
    server.settled().await;
    assert_eq!((stored(&kept, &server), letters(&server).await.len()), (vec!["200|199|50|50".to_owned()], 2));

    // As long as they are refused they come back as letters; later they are stored.
    let endpoint = ["--endpoint", &server.otlp_http.clone()];
    let replay = [&["dlq", "replay", "--all"][..], &endpoint].concat();
    let (good, said) = server.command(&replay).await;
    assert!(good, "{said}");
    server.settled().await;
    assert_eq!(letters(&server).await.len(), 2, "{said}\n{}", server.log());
    tokio::task::block_in_place(|| refuse(&kept, &server, false));
    let (good, said) = server.command(&replay).await;
    assert!(good, "{said}");
    server.settled().await;
    assert_eq!(stored(&kept, &server), ["202|201|51|51"], "{}", server.log());
    assert_eq!(letters(&server).await.len(), 0);
    assert_eq!(server.metric("otelcontext_dlq_size").await, 0.0);
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_d11_sqlite_sets_poison_aside_and_stores_the_rest() {
    poison_is_set_aside(Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_d11_postgres_sets_poison_aside_and_stores_the_rest() {
    poison_is_set_aside(Kept::on_postgres()).await;
}

async fn is_told_that_there_is_no_room(server: &Server) {
    server
        .until("told that there is no room", || async {
            let answer = reqwest::get(format!("http://{}/ready", server.http)).await.ok()?;
            let status = answer.status();
            let text = answer.text().await.ok()?;
            (status == 503 && text.contains("DLQ_MAX_FILES")).then_some(())
        })
        .await;
}

/// Where there is no room for a letter nothing is given up: what follows waits, and is stored once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn f7_nothing_is_lost_when_there_is_no_room_for_a_letter() {
    let kept = Kept::Sqlite;
    let mut server = refusing(&kept, &[("DLQ_MAX_FILES", "1")]).await;
    send_spans(&server, 2, 10, &[3]).await;
    server.settled().await;
    send_spans(&server, 3, 10, &[14, 5]).await;
    is_told_that_there_is_no_room(&server).await;
    let (good, said) = server.command(&["dlq", "purge", "--all"]).await;
    assert!(good && said.contains("1 dead letters removed"), "{said}");
    server.settled().await;
    server.ready().await;
    assert_eq!(letters(&server).await.len(), 1);
    assert_eq!(stored(&kept, &server), ["19|10|1|1"], "{}", server.log());
    let (good, said) = server.command(&["dlq", "purge", "no-such-letter"]).await;
    assert!(!good && said.contains("dlq list"), "{said}");
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
}

/// What became a letter before a crash and is stored after it, because the cause was mended, is there once.
#[tokio::test(flavor = "multi_thread")]
async fn f7_d11_a_crash_behind_a_letter_leaves_nothing_twice() {
    let kept = Kept::Sqlite;
    let mut server = refusing(&kept, &[("DLQ_MAX_FILES", "1")]).await;
    let ten = || [9, 9, 22, 9, 9, 9, 22, 9, 9, 9].into_iter();
    // Most likely in one commit, which gets one letter of three and stands.
    tokio::join!(send_logs(&server, ten()), send_logs(&server, ten()), send_logs(&server, ten()));
    is_told_that_there_is_no_room(&server).await;
    tokio::task::block_in_place(|| refuse(&kept, &server, false));
    server = server.crash_and_restart().await.0;
    server.settled().await;
    let endpoint = server.otlp_http.clone();
    let (good, said) = server.command(&["dlq", "replay", "--all", "--endpoint", &endpoint]).await;
    assert!(good, "{said}");
    server.settled().await;
    assert_eq!(stored(&kept, &server), ["1|1|31|31"], "{}", server.log());
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
}

/// A request that some version accepted and this one does not decode holds nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn f7_what_does_not_decode_any_more_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("journal")).unwrap();
    let good = request("shop", vec![span(1, 1, None, "work", 2)]).encode_to_vec();
    let options = Options {
        directory: data.join("journal"),
        segment_bytes: 64 << 20,
        bytes_max: 1 << 30,
        pending_bytes_max: 1 << 20,
        free_bytes_min: 0,
        sync: Sync::Durable,
    };
    let (journal, _) = journal::open(options, Lsn(0)).unwrap();
    let bad = b"\x0a\xff\xff".to_vec();
    for body in [bad.clone(), good, bad] {
        let entry = Entry {
            tenant: TenantId::try_from("acme").unwrap(),
            signal: Signal::Traces,
            encoding: 0,
            received: UnixNanos(span(1, 1, None, "", 1).end_time_unix_nano as i64),
            body: body.into(),
        };
        journal.append(Prepared::new(&entry).unwrap()).unwrap().durable().await.unwrap();
    }
    journal.stop();
    drop(journal);
    let mut server = Server::start_on(folder).await;
    server.settled().await;
    assert_eq!(stored(&Kept::Sqlite, &server), ["1|1|0|0"], "{}", server.log());
    let found = letters(&server).await;
    assert_eq!(found.len(), 2);
    assert!(found[0]["reason"].as_str().unwrap().contains("does not decode"), "{found:?}");
    let replay = ["dlq", "replay", "--all", "--endpoint", &server.otlp_http.clone()];
    let (good, said) = server.command(&replay).await;
    assert!(!good && said.contains("stays"), "{said}");
    assert_eq!(letters(&server).await.len(), 2);
    // The position has moved past them: who gives them up is not told of them again.
    assert!(server.command(&["dlq", "purge", "--all"]).await.0);
    server = server.crash_and_restart().await.0;
    server.settled().await;
    assert_eq!(
        (stored(&Kept::Sqlite, &server), letters(&server).await.len()),
        (vec!["1|1|0|0".to_owned()], 0)
    );
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
}
