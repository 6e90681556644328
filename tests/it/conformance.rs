//! The wire suite, run on the server; and on one that says yes to everything, to see that it can fail.

use loadsim::conformance::{self, Level, Options, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::Server;

/// Executions of the whole suite; a group that goes missing shows.
const EXECUTIONS_MIN: usize = 550;

fn options(http: String, grpc: String, only: &str, read_back: Option<String>) -> Options {
    Options {
        http,
        grpc,
        api_key: String::new(),
        tenant: String::new(),
        only: only.to_owned(),
        level: Level::Robust,
        read_back,
    }
}

async fn run(options: &Options) -> Report {
    conformance::run(options, |_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_wire_suite_passes() {
    let server = Server::start(&[]).await;
    let read_back = Some(format!("http://{}", server.http));
    let report = run(&options(server.otlp_http.clone(), server.grpc.clone(), "", read_back)).await;
    assert_eq!(report.failed().count(), 0, "\n{}", report.text());
    assert!(EXECUTIONS_MIN <= report.outcomes.len(), "{} executions", report.outcomes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_for_those_who_have_the_key() {
    let key = "a key of twenty bytes or more";
    let server = Server::start(&[("API_KEY", key)]).await;
    for group in ["grpc", "http"] {
        let mut options = options(server.otlp_http.clone(), server.grpc.clone(), group, None);
        let without = run(&options).await;
        assert!(0 < without.failed().count(), "nobody asked for the key");
        options.api_key = key.to_owned();
        options.tenant = "keyed".to_owned();
        let report = run(&options).await;
        assert_eq!(report.failed().count(), 0, "\n{}", report.text());
    }
}

#[tokio::test]
async fn the_suite_fails_on_a_server_that_takes_everything() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                // It does not even read what it says yes to.
                let _ = stream.read(&mut buffer).await;
                let yes = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                let _ = stream.write_all(yes.as_bytes()).await;
            });
        }
    });
    let report = run(&options(address.clone(), address, "media_types", None)).await;
    let names = |passed: bool| {
        let of = report.outcomes.iter().filter(move |outcome| outcome.faults.is_empty() == passed);
        of.map(|outcome| outcome.name.as_str()).collect::<Vec<_>>()
    };
    assert!(names(true).contains(&"json_with_parameter"), "{}", report.text());
    assert!(names(false).contains(&"protobuf_with_parameter"), "{}", report.text());
    assert!(report.failed().all(|outcome| !outcome.answer.is_empty()));
    assert!(report.text().contains("FAILED media_types/"));
}
