//! What each question answers about telemetry that is known.

use serde_json::{Value, json};

use super::{
    CALL, ROOT, TRACE, WORK, ask, column, export, fill, items, logs_of, now, searchable, span, spans_of,
};
use crate::client;
use crate::server::Server;

async fn shop() -> (Server, u64) {
    let server = Server::start(&[]).await;
    let start = fill(&server, "shop", "shop").await;
    searchable(&server, "shop").await;
    (server, start)
}

/// RFC 3339 with nanoseconds, as answers show a moment.
fn moment(nanos: u64) -> String {
    let at = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
    format!("{at:.9}")
}

#[tokio::test]
async fn services_and_operations_are_counted() {
    let (server, start) = shop().await;
    let answer = ask(&server, "shop", "/services").await;
    assert_eq!(column(&answer, "service"), ["shop-back", "shop-front"], "{answer}");
    let [back, front] = [&answer["items"][0], &answer["items"][1]];
    assert_eq!(
        (&front["kind"], &front["requests"], &front["errors"]),
        (&json!("service"), &json!(1), &json!(1))
    );
    assert_eq!((&back["requests"], &back["errors"], &back["max_ms"]), (&json!(1), &json!(0), &json!(20.0)));
    assert_eq!(front["first_seen"], moment(start), "{front}");
    let p95 = front["p95_ms"].as_f64().unwrap();
    assert!((p95 - 40.0).abs() <= 40.0 / 32.0, "{front}");
    let past = ask(&server, "shop", "/services?from=7d&to=6d").await;
    assert_eq!(column(&past, "service").len(), 2, "what is known is listed for any window: {past}");
    assert!(items(&past).iter().all(|item| item["requests"] == 0 && item["p50_ms"].is_null()), "{past}");
    let answer = ask(&server, "shop", "/services/shop-front/operations").await;
    assert_eq!(column(&answer, "operation"), ["CALL shop", "GET /shop"], "{answer}");
    assert_eq!(column(&answer, "kind"), ["client", "server"], "{answer}");
    assert_eq!(answer["items"][1]["errors"], 1, "{answer}");
}

#[tokio::test]
async fn a_trace_is_answered_with_everything_it_has() {
    let (server, start) = shop().await;
    let answer = ask(&server, "shop", &format!("/traces/{}", TRACE.to_uppercase())).await;
    assert_eq!((&answer["trace_id"], &answer["total_spans"]), (&json!(TRACE), &json!(3)), "{answer}");
    assert_eq!(answer["window"]["from"], moment(start), "{answer}");
    assert_eq!(answer["window"]["to"], moment(start + 40_000_001), "{answer}");
    assert_eq!(column(&answer, "span_id"), [ROOT, CALL, WORK], "by start: {answer}");
    let [root, call] = [&answer["items"][0], &answer["items"][1]];
    assert!(root["parent_span_id"].is_null(), "{root}");
    assert_eq!((&root["status"], &root["status_message"]), (&json!("error"), &json!("shop failed")));
    assert_eq!(
        (&root["duration_ms"], &root["kind"], &root["entry"]),
        (&json!(40.0), &json!("server"), &json!(true))
    );
    assert_eq!(call["parent_span_id"], ROOT);
    let attributes = json!({
        "mark": "shop", "small": -7, "large": "9007199254740993", "ratio": 0.5, "sure": true, "list": [1, "two"],
    });
    assert_eq!(call["attributes"], attributes, "types are kept");
    let event =
        json!({"time": moment(start + 2_000_000), "name": "shop.retry", "attributes": {"attempt": 2}});
    assert_eq!(call["events"], json!([event]));
    assert_eq!(call["links"], json!([{"trace_id": "1".repeat(32), "span_id": ROOT, "attributes": {}}]));
    assert_eq!(call["scope"], json!({"name": "shop.tracer", "version": "1.2"}));
    let sender = &answer["resources"][call["resource"].as_str().unwrap()];
    assert_eq!(sender["attributes"], json!({"service.name": "shop-front", "host.cores": 8}), "{answer}");
    let logs = answer["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 3, "{answer}");
    assert_eq!(logs[0]["body"], "shop took 17 ms", "earliest first");
    assert_eq!((&logs[2]["body"], &logs[2]["severity"]), (&json!({"shop": true}), &json!("error")));
    assert_eq!(answer["more_logs"], false);
}

#[tokio::test]
async fn a_trace_is_answered_with_the_log_records_of_its_hours() {
    let server = Server::start(&[]).await;
    let minutes = |minutes: u64| minutes * 60_000_000_000;
    let start = now() - minutes(180);
    export(&server, "shop", "traces", &spans_of("front", &[span((TRACE, ROOT), "GET /", start, 1_000)]))
        .await;
    let record = |at: u64, body: &str| json!({"timeUnixNano": at.to_string(), "severityNumber": 9, "body": {"stringValue": body}, "traceId": TRACE});
    let end = start + 1_000_000_000;
    let records = [
        record(start - minutes(61), "long before"),
        record(start - minutes(59), "before"),
        record(end + minutes(59), "after"),
        record(end + minutes(61), "long after"),
    ];
    export(&server, "shop", "logs", &logs_of("front", &records)).await;
    server.settled().await;
    let trace = ask(&server, "shop", &format!("/traces/{TRACE}")).await;
    let bodies: Vec<&Value> = trace["logs"].as_array().unwrap().iter().map(|log| &log["body"]).collect();
    assert_eq!(bodies, ["before", "after"], "{trace}");
    let logs = ask(&server, "shop", &format!("/logs?trace_id={TRACE}&since=6h")).await;
    assert_eq!(
        column(&logs, "body"),
        ["long after", "after", "before", "long before"],
        "newest first: {logs}"
    );
}

/// Sends 40 traces of one span each, with durations, outcomes and attributes that tell them apart; answers when the first
/// began.
async fn many(server: &Server) -> u64 {
    let start = now() - 60_000_000_000;
    let spans: Vec<Value> = (0..40_u64)
        .map(|index| {
            let (trace, id) = (format!("{:032x}", index + 1), format!("{:016x}", index + 1));
            let name = if index % 2 == 0 { "even" } else { "odd" };
            let mut span = span((&trace, &id), name, start + index * 1_000_000, (index * 7) % 40 + 1);
            span["attributes"] = json!([{"key": "third", "value": {"intValue": (index % 3).to_string()}}]);
            if index % 5 == 0 {
                span["status"] = json!({"code": 2});
            }
            span
        })
        .collect();
    export(server, "many", "traces", &spans_of("store", &spans)).await;
    server.settled().await;
    start
}

/// What the conditions of a path hold for, worked out from what was sent.
fn expected(path: &str) -> Vec<u64> {
    let parameters: Vec<(&str, &str)> =
        path.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let duration = |index: &u64| (index * 7) % 40 + 1;
    let milliseconds = |name| value(name).map(|text| text.trim_end_matches("ms").parse::<u64>().unwrap());
    let mut found: Vec<u64> = (0..40)
        .filter(|index| value("operation").is_none_or(|name| (name == "even") == (index % 2 == 0)))
        .filter(|index| value("status").is_none_or(|status| (status == "error") == (index % 5 == 0)))
        .filter(|index| milliseconds("min_duration").is_none_or(|least| duration(index) >= least))
        .filter(|index| milliseconds("max_duration").is_none_or(|most| duration(index) <= most))
        .filter(|index| value("attribute.third").is_none_or(|third| (index % 3).to_string() == third))
        .collect();
    match value("order") {
        Some("slowest") => found.sort_by_key(|index| std::cmp::Reverse((duration(index), *index))),
        Some("errors") => found.sort_by_key(|index| std::cmp::Reverse((index % 5 == 0, *index))),
        _ => found.reverse(),
    }
    found
}

#[tokio::test]
async fn every_mix_of_conditions_finds_what_it_should_page_by_page() {
    let server = Server::start(&[]).await;
    many(&server).await;
    let conditions = [
        "",
        "&status=error",
        "&status=ok",
        "&operation=odd",
        "&min_duration=10ms&max_duration=25",
        "&max_duration=12ms",
        "&attribute.third=2",
        "&attribute.third=1&status=error",
        "&attribute.third=0&operation=even&max_duration=30ms",
        "&min_duration=41ms",
    ];
    for (route, orders) in
        [("traces", &["newest", "slowest", "errors"][..]), ("spans", &["newest", "slowest"][..])]
    {
        for order in orders {
            for condition in conditions {
                let path = format!("/{route}?service=store&order={order}{condition}");
                let wanted: Vec<String> =
                    expected(&path).iter().map(|index| format!("{:032x}", index + 1)).collect();
                let whole = ask(&server, "many", &path).await;
                assert_eq!(column(&whole, "trace_id"), wanted, "{path}");
                assert!(whole["next_cursor"].is_null() && whole["incomplete"].is_null(), "{path}");
                let paged = super::pages::walked(&server, "many", &format!("{path}&limit=7")).await;
                assert_eq!(
                    paged.iter().map(|item| item["trace_id"].as_str().unwrap()).collect::<Vec<_>>(),
                    wanted
                );
            }
        }
    }
}

#[tokio::test]
async fn the_window_holds_its_begin_and_not_its_end() {
    let server = Server::start(&[]).await;
    let start = many(&server).await;
    let (from, to) = (moment(start + 10_000_000), moment(start + 20_000_000));
    let wanted: Vec<String> = (10..20).rev().map(|index| format!("{:032x}", index + 1)).collect();
    for path in ["/traces", "/spans"] {
        let answer = ask(&server, "many", &format!("{path}?from={from}&to={to}")).await;
        assert_eq!(column(&answer, "trace_id"), wanted, "{path}");
        assert_eq!(answer["window"], json!({"from": from, "to": to}), "{path}");
    }
}

/// 2,100 traces of one span, all with the same attribute: too many for the spans to lead to them.
#[tokio::test]
async fn what_is_common_is_found_by_walking_and_a_page_looks_at_so_many() {
    let server = Server::start(&[]).await;
    let start = now() - 60_000_000_000;
    let spans: Vec<Value> = (0..2_100_u64)
        .map(|index| {
            let (trace, id) = (format!("{:032x}", index + 1), format!("{:016x}", index + 1));
            let mut span = span((&trace, &id), "tick", start + index * 1_000_000, index % 10 + 2);
            if index == 0 {
                span["endTimeUnixNano"] = json!((start + 1_000_000).to_string());
            }
            span["attributes"] = json!([{"key": "common", "value": {"stringValue": "yes"}}]);
            span
        })
        .collect();
    export(&server, "many", "traces", &spans_of("clock", &spans)).await;
    server.settled().await;
    for path in [
        "/traces?attribute.common=yes&limit=1000",
        "/traces?attribute.common=yes&limit=1000&order=slowest",
        "/spans?attribute.common=yes&limit=1000",
        "/spans?limit=1000&order=slowest&kind=server",
    ] {
        let mut found: Vec<Value> = super::pages::walked(&server, "many", path).await;
        assert_eq!(found.len(), 2_100, "{path}");
        let rank = |item: &Value| match path.contains("slowest") {
            true => (item["duration_ms"].as_f64().unwrap() * 1e6) as u64,
            false => 0,
        };
        let in_order = |pair: &[Value]| {
            (rank(&pair[0]), pair[0]["start"].as_str()) > (rank(&pair[1]), pair[1]["start"].as_str())
        };
        assert!(found.windows(2).all(in_order), "{path}");
        found.dedup_by_key(|item| item["trace_id"].clone());
        assert_eq!(found.len(), 2_100, "{path}: some came twice");
    }
    let rare = "/traces?attribute.common=yes&max_duration=1ms";
    let first = ask(&server, "many", rare).await;
    assert_eq!(items(&first).len(), 0, "the one that matches lies beyond what one page looks at");
    assert!(first["next_cursor"].is_string(), "{first}");
    let all = super::pages::walked(&server, "many", rare).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["trace_id"], format!("{:032x}", 1));
}

#[tokio::test]
async fn spans_are_found_by_id() {
    let (server, _) = shop().await;
    for path in [
        format!("/spans?trace_id={TRACE}&span_id={CALL}"),
        format!("/spans?span_id={CALL}"),
        format!("/spans?trace_id={TRACE}&attribute.sure=true&kind=client&service=shop-front"),
        "/spans?attribute=ratio%3D0.5".to_owned(),
        "/spans?attribute.large=9007199254740993".to_owned(),
    ] {
        assert_eq!(column(&ask(&server, "shop", &path).await, "span_id"), [CALL], "{path}");
    }
    for path in [
        format!("/spans?trace_id={TRACE}&service=shop-back&kind=client"),
        format!("/spans?trace_id={TRACE}&min_duration=41"),
        format!("/spans?trace_id={TRACE}&from=7d&to=6d"),
        format!("/spans?trace_id={}", "1".repeat(32)),
        "/spans?attribute.sure=false".to_owned(),
    ] {
        assert_eq!(items(&ask(&server, "shop", &path).await).len(), 0, "{path}");
    }
    let slowest = ask(&server, "shop", &format!("/spans?trace_id={TRACE}&order=slowest")).await;
    assert_eq!(column(&slowest, "span_id"), [ROOT, CALL, WORK]);
}

#[tokio::test]
async fn log_records_are_found_by_everything_they_have() {
    let (server, start) = shop().await;
    let bodies = |answer: &Value| items(answer).iter().map(|log| log["body"].clone()).collect::<Vec<_>>();
    let [first, second, third] = [json!("shop took 17 ms"), json!("shop took 18 ms"), json!({"shop": true})];
    let template = ask(&server, "shop", "/log-templates").await["items"][0]["template"].clone();
    for (path, wanted) in [
        ("/logs".to_owned(), vec![&third, &second, &first]),
        ("/logs?severity=error".to_owned(), vec![&third]),
        ("/logs?service=shop-back".to_owned(), vec![]),
        (format!("/logs?trace_id={TRACE}"), vec![&third, &second, &first]),
        (format!("/logs?trace_id={TRACE}&span_id={ROOT}"), vec![]),
        (format!("/logs?span_id={CALL}&attribute.mark=shop2"), vec![&second]),
        (format!("/logs?template={template}"), vec![&second, &first]),
        ("/logs?q=took".to_owned(), vec![&second, &first]),
        ("/logs?q=took&attribute.mark=shop1".to_owned(), vec![&first]),
        (format!("/logs?q=took&span_id={ROOT}"), vec![]),
        ("/logs?q=took+18".to_owned(), vec![&second]),
    ] {
        let answer = ask(&server, "shop", &path).await;
        assert_eq!(bodies(&answer), wanted.into_iter().cloned().collect::<Vec<_>>(), "{path}");
    }
    let log = &ask(&server, "shop", "/logs?severity=error").await["items"][0];
    assert_eq!(log["time"], moment(start + 3), "{log}");
    assert_eq!((&log["trace_id"], &log["span_id"]), (&json!(TRACE), &json!(CALL)), "{log}");
}

#[tokio::test]
async fn templates_and_metrics_are_listed() {
    let (server, _) = shop().await;
    let answer = ask(&server, "shop", "/log-templates").await;
    let first = &answer["items"][0];
    assert_eq!((&first["text"], &first["count"]), (&json!("shop took <*> ms"), &json!(2)), "{answer}");
    assert_eq!(
        (&first["by_severity"], &first["service"]),
        (&json!({"info": 2}), &json!("shop-front")),
        "{answer}"
    );
    assert_eq!(items(&answer).len(), 2, "{answer}");
    let severe = ask(&server, "shop", "/log-templates?severity=error").await;
    assert_eq!(items(&severe).len(), 1, "{severe}");
    assert_eq!(items(&ask(&server, "shop", "/log-templates?from=7d&to=6d").await).len(), 0);
    let metrics = ask(&server, "shop", "/metrics").await;
    let wanted =
        json!([{"name": "shop.queue", "unit": "1", "kind": "gauge", "description": "Waiting.", "series": 1}]);
    assert_eq!(metrics["items"], wanted);
    let path = "/metrics/query?name=shop.queue&function=last&by=service&since=5m&step=1h";
    let answer = ask(&server, "shop", path).await;
    let part = &answer["items"][0];
    assert_eq!((&part["kind"], &part["points"]["used"]), (&json!("gauge"), &json!(1)), "{answer}");
    assert_eq!(part["groups"][0]["labels"], json!({"service": "shop-front"}), "{answer}");
    assert!(part["groups"][0]["values"].as_array().unwrap().contains(&json!(3.0)), "{answer}");
    for path in ["/metrics?prefix=cart", "/metrics?from=7d&to=6d"] {
        assert_eq!(items(&ask(&server, "shop", path).await).len(), 0, "{path}");
    }
}

#[tokio::test]
async fn templates_that_became_one_are_counted_and_found_as_one() {
    let server = Server::start(&[]).await;
    let start = now() - 2_000_000_000;
    let names = ["alice", "bob", "carol", "dave", "erin"];
    let record = |(index, name): (u64, &str)| {
        json!({"timeUnixNano": (start + index).to_string(), "severityNumber": 9,
               "body": {"stringValue": format!("login of {name}")}})
    };
    // The fifth shows that a name is a value: four templates have one text from then on.
    let records: Vec<Value> = (0..).zip(names).map(record).collect();
    export(&server, "shop", "logs", &logs_of("front", &records)).await;
    searchable(&server, "shop").await;
    let answer = ask(&server, "shop", "/log-templates").await;
    let [only] = &items(&answer)[..] else { panic!("{answer}") };
    assert_eq!((&only["text"], &only["count"]), (&json!("login of <*>"), &json!(5)), "{answer}");
    assert_eq!(only["sample"], "login of alice", "{answer}");
    let all = ask(&server, "shop", "/logs").await;
    let ids: Vec<&Value> = items(&all).iter().map(|log| &log["template"]).collect();
    let mut different = ids.clone();
    different.sort_by_key(|id| id.as_u64());
    different.dedup();
    assert_eq!((different.len(), different[0]), (4, &only["template"]), "{all}");
    for id in different {
        for path in [format!("/logs?template={id}"), format!("/logs?q=template:{id}")] {
            assert_eq!(items(&ask(&server, "shop", &path).await).len(), 5, "{path}");
        }
    }
    let patterns = client::ask(&server, "shop", "get_log_patterns", json!({"since": "10m"})).await;
    let patterns = client::rows(&patterns, "patterns");
    assert_eq!((patterns.len(), &patterns[0]["count"]), (1, &json!(5)), "{patterns:?}");
    let by_template = json!({"source": "logs", "group_by": "template", "since": "10m"});
    let groups = client::ask(&server, "shop", "aggregate", by_template).await;
    assert_eq!(client::rows(&groups, "groups").len(), 1, "{groups}");
}

#[tokio::test]
async fn the_graph_and_its_judgements_are_told() {
    let (server, _) = shop().await;
    let map = ask(&server, "shop", "/service-map").await;
    let edge = &map["items"][0];
    assert_eq!(
        (&edge["from"], &edge["to"], &edge["requests"]),
        (&json!("shop-front"), &json!("shop-back"), &json!(1))
    );
    assert_eq!((&edge["caller_mean_ms"], &edge["mean_ms"]), (&json!(30.0), &json!(20.0)), "{map}");
    let nodes: Vec<&Value> = map["nodes"].as_array().unwrap().iter().map(|node| &node["service"]).collect();
    assert_eq!(nodes, ["shop-back", "shop-front"], "{map}");
    let health = ask(&server, "shop", "/service-health?service=shop-front").await;
    assert_eq!(health["items"][0]["now"]["errors"], 1, "{health}");
    assert_eq!(health["operations"].as_array().unwrap().len(), 2, "{health}");
    let impact = ask(&server, "shop", "/impact?service=shop-back").await;
    let caller = items(&impact).iter().find(|item| item["operation"] == "GET /shop").unwrap();
    assert_eq!((&caller["share"], &caller["entry_point"]), (&json!(1.0), &json!(true)), "{impact}");
    let cause = ask(&server, "shop", "/root-cause").await;
    assert!(
        ["cause_found", "candidates", "insufficient_evidence"].contains(&cause["verdict"].as_str().unwrap())
    );
    assert_eq!(cause["nodes_examined"], 2, "{cause}");
    assert!(ask(&server, "shop", "/anomalies").await["items"].is_array());
}

#[tokio::test]
async fn the_status_tells_what_is_kept() {
    let (server, start) = shop().await;
    let status = ask(&server, "shop", "/status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["status"], "ready", "{status}");
    let stored = &status["stored"];
    assert_eq!(
        (&stored["services"], &stored["operations"], &stored["resources"]),
        (&json!(2), &json!(3), &json!(2))
    );
    assert_eq!(stored["newest_span"], moment(start + 2_000_000), "{status}");
    assert!(stored["oldest"].as_str().unwrap() <= moment(start).as_str(), "{status}");
    assert!(status["store_bytes"].as_u64().unwrap() > 10_000, "{status}");
    assert!(status["retention_days"] == 7 && status["uptime_s"].as_u64().unwrap() < 600, "{status}");
    let nothing = ask(&server, "stranger", "/status").await;
    assert_eq!(nothing["stored"]["services"], 0, "{nothing}");
}
