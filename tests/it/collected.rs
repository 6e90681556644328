//! What agents ask where one service collects the logs of others and puts the name of each into an attribute `service`.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Value, json};

use crate::client::{ask, export, request, rows, span, text};
use crate::server::Server;

const TENANT: &str = "acme";

/// The logs of one sender: a body and an attribute `service` each.
fn logs(sender: &str, records: &[(&str, Option<&str>)]) -> ResourceLogs {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let record = |(body, service): &(&str, Option<&str>)| LogRecord {
        time_unix_nano: u64::try_from(now.as_nanos()).unwrap() - 1_000_000_000,
        severity_number: 9,
        body: text("", body).value,
        attributes: service.iter().map(|service| text("service", service)).collect(),
        ..LogRecord::default()
    };
    let log_records = records.iter().map(record).collect();
    ResourceLogs {
        resource: Some(Resource { attributes: vec![text("service.name", sender)], ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

async fn collected() -> Server {
    let server = Server::start(&[]).await;
    // It is known by its spans; its logs go another way.
    export(&server, TENANT, &request("checkout", vec![span(1, 1, None, "POST /checkout", 2)])).await;
    let agent =
        [("card declined", Some("checkout")), ("mail sent", Some("mailer")), ("old", Some("payment"))];
    let resource_logs = vec![logs("fluent-bit", &agent), logs("payment", &[("charged", None)])];
    let posted = reqwest::Client::new()
        .post(format!("http://{}/v1/logs", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", TENANT)
        .body(ExportLogsServiceRequest { resource_logs }.encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 200);
    server.settled().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_the_filter_is_found_whichever_way_it_is_known() {
    let server = collected().await;
    let by_attribute = |answer: &Value| {
        let mut warnings = answer["warnings"].as_array().into_iter().flatten();
        warnings.any(|told| told.as_str().unwrap().contains("has an attribute `service`"))
    };
    for (filter, body, is_told) in [
        ("service=checkout", "card declined", true),
        ("service=mailer", "mail sent", false),
        // It logs itself.
        ("service=payment", "charged", false),
        ("service.name=payment", "charged", false),
        ("service.name=fluent-bit service=payment", "old", false),
    ] {
        let answer = ask(&server, TENANT, "search_logs", json!({"filter": filter})).await;
        let found = rows(&answer, "logs");
        assert!(found.len() == 1 && found[0]["body"] == body, "{filter}: {answer}");
        assert_eq!(by_attribute(&answer), is_told, "{filter}: {answer}");
        let counted = json!({"source": "logs", "filter": filter});
        let counted = ask(&server, TENANT, "aggregate", counted).await;
        assert_eq!(rows(&counted, "groups")[0]["count"], 1, "{filter}: {counted}");
    }
    let spans = ask(&server, TENANT, "search_traces", json!({"filter": "service=checkout"})).await;
    assert!(rows(&spans, "traces").len() == 1 && !by_attribute(&spans), "{spans}");

    let nobody = ask(&server, TENANT, "search_logs", json!({"filter": "service=chekout"})).await;
    let told = nobody["why_empty"].as_str().unwrap();
    assert!(told.contains("unknown service `chekout`; did you mean `checkout`?"), "{nobody}");
    let neither = json!({"service": "payment", "filter": "service=checkout"});
    let neither = ask(&server, TENANT, "search_logs", neither).await;
    let told = neither["why_empty"].as_str().unwrap();
    assert!(told.contains("service and filter") && !told.contains("unknown"), "{neither}");
}
