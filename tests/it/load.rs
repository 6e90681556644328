//! What the load generator measures of a server beside what it sends.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use loadsim::graph;
use loadsim::report::Report;
use loadsim::run::{self, Manner, Options};
use loadsim::send::{self, Protocol};
use loadsim::{ask, watch};

use crate::server::Server;

const KEY: &str = "a key of twenty bytes or more";

/// A server that asks for a key, and as many questions as one likes.
async fn server() -> Server {
    Server::start(&[("API_KEY", KEY), ("API_RATE_LIMIT_RPS", "0"), ("MCP_CACHE_TTL_MS", "0")]).await
}

/// A load with everything that can be watched, as a tenant of its own.
fn options(server: &Server, spans_per_second: f64) -> Options {
    let ask = ask::Options { url: format!("http://{}/mcp", server.http), every: Duration::from_millis(100) };
    Options {
        send: send::Options {
            endpoint: server.grpc.clone(),
            protocol: Protocol::Grpc,
            tenant: "watched".into(),
            api_key: KEY.into(),
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(30),
        },
        seed: 5,
        services: 20,
        spans_per_second,
        duration: Duration::from_secs(6),
        warmup: Duration::ZERO,
        backfill: Duration::ZERO,
        connections: 4,
        batch: 512,
        chatter: 0.5,
        fault: None,
        ledger: None,
        watch: watch::Options {
            metrics_url: Some(format!("http://{}/metrics", server.http)),
            ask: Some(ask),
            queryable: (spans_per_second > 0.0).then(|| format!("http://{}", server.http)),
        },
        manner: Manner { prepared: true, ..Manner::default() },
    }
}

async fn run(options: &Options) -> Report {
    run::run(options, |_, _| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_what_was_asked_how_it_went_over_time_and_when_its_last_items_were_answered() {
    let server = server().await;
    let report = run(&Options { duration: Duration::from_secs(10), ..options(&server, 2_000.0) }).await;
    assert!(report.unseen.is_empty(), "{}", report.text());

    let asked = report.asked.as_ref().unwrap();
    assert_eq!(asked.errors, 0, "{}", report.text());
    for name in mcp_tools::TOOL_NAMES {
        let of_it = asked.tools.iter().filter(|tool| tool.tool == name);
        assert!(of_it.map(|tool| tool.count).sum::<u64>() > 0, "{name} was never asked: {}", report.text());
    }
    for tool in asked.tools.iter().filter(|tool| tool.count > 0) {
        assert!(
            Some(0.0) < tool.p50_ms && tool.p50_ms <= tool.p95_ms && tool.p95_ms <= tool.max_ms,
            "{tool:?}"
        );
        assert!(tool.max_ms <= asked.max_ms && tool.answer_bytes_max > 100, "{tool:?}");
    }
    let were_due = report.seconds / 0.1;
    // Asking begins a moment after the run.
    assert!((asked.count + asked.unasked) as f64 >= 0.8 * were_due, "{asked:?}");

    let mut before = 0.0;
    let mut spans = 0.0;
    for point in &report.series {
        spans += point.acknowledged_spans_per_second * (point.seconds - before);
        before = point.seconds;
    }
    assert!((spans - report.spans.acknowledged as f64).abs() < 1e-3, "{spans}: {}", report.text());
    // The run waits for its last answers, and a look that takes longer than a second leaves one out.
    assert!((2..=report.seconds as usize + 2).contains(&report.series.len()), "{:?}", report.series);
    assert!((before - report.seconds).abs() < 2.5, "{before}, {}", report.seconds);
    let seen = report.series.iter().filter(|point| point.server_cores.is_some_and(|cores| cores > 0.0));
    assert!(seen.count() > 0, "{:?}", report.series);
    let last = report.series.iter().rev().find(|point| point.disk_bytes_per_span.is_some()).unwrap();
    assert!(last.resident_mib.unwrap() > 1.0 && last.disk_bytes.unwrap() > 0.0, "{last:?}");

    let queryable = report.queryable_seconds.as_ref().unwrap();
    assert!(queryable.missing.is_empty(), "{queryable:?}");
    for seconds in [queryable.traces, queryable.logs] {
        assert!((0.0..30.0).contains(&seconds.unwrap()), "{queryable:?}");
    }

    let json = serde_json::to_value(&report).unwrap();
    let svg = graph::draw(&[("one.json".into(), json.clone()), ("other.json".into(), json)]).unwrap();
    assert_eq!(
        titles(&svg),
        [
            "Spans acknowledged a second",
            "Acknowledgement p99, ms",
            "Server, cores",
            "Server, MiB resident",
            "Server, bytes on disk a span"
        ],
        "{svg}"
    );
}

/// The titles of the panels of a drawing, as a parser of XML reads it.
fn titles(svg: &str) -> Vec<String> {
    const READ: &str = "import sys, xml.etree.ElementTree as tree\n\
        for it in tree.fromstring(sys.stdin.buffer.read()).iter('{http://www.w3.org/2000/svg}text'):\n\
        \x20   if it.get('font-weight'): print(it.text)";
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs: apt-get install -y python3 (or .ci/setup)");
    python.stdin.take().unwrap().write_all(svg.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{svg}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_need_no_load() {
    let server = server().await;
    let options = Options { duration: Duration::from_secs(2), ..options(&server, 0.0) };
    for prepared in [true, false] {
        let options = Options { manner: Manner { prepared, ..Manner::default() }, ..options.clone() };
        let report = run(&options).await;
        let asked = report.asked.as_ref().unwrap();
        assert!(asked.count >= 10 && asked.errors == 0, "{}", report.text());
        assert_eq!((report.spans.requests, report.logs.requests, report.points.requests), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_or_asks_elsewhere_is_told_before_the_load() {
    let server = server().await;
    let told = async |options: Options| format!("{:#}", run::run(&options, |_, _| {}).await.unwrap_err());
    let mut stranger = options(&server, 2_000.0);
    stranger.send.api_key = "another key of twenty bytes".into();
    let said = told(stranger.clone()).await;
    assert!(said.starts_with("--ask http://") && said.contains("401"), "{said}");
    stranger.watch.ask = None;
    let said = told(stranger).await;
    assert!(said.starts_with("--queryable http://") && said.contains("401"), "{said}");
    let mut elsewhere = options(&server, 2_000.0);
    elsewhere.watch.ask.as_mut().unwrap().url = format!("http://{}/", server.http);
    let said = told(elsewhere).await;
    assert!(said.contains("give an MCP endpoint, such as http://127.0.0.1:8080/mcp"), "{said}");
    let mut hasty = options(&server, 2_000.0);
    hasty.watch.ask.as_mut().unwrap().every = Duration::ZERO;
    assert!(told(hasty).await.starts_with("--ask-every is too short"));
    assert_eq!(server.metric("otelcontext_ingest_accepted_total").await, 0.0);
}
