use serde_json::{Map, Value, json};

use super::{Question, SPECS, TOOL_NAMES};
use crate::arguments::Form;
use crate::time::{TimeExpression, TimeRange};
use crate::tools::search_logs::Severity;

fn parse(tool: &str, arguments: Value) -> Result<Question, String> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Question::parse(tool, arguments).map_err(|fault| fault.to_string())
}

fn refusal(tool: &str, arguments: Value) -> String {
    parse(tool, arguments).unwrap_err()
}

#[test]
fn every_tool_listed_reads_every_argument_it_lists() {
    // Those of an investigation depend on what is done; its own file tests them.
    for spec in SPECS.into_iter().filter(|spec| spec.name != "investigation") {
        let all: Map<String, Value> = spec
            .arguments
            .iter()
            .map(|argument| {
                let value = match (argument.name, argument.form) {
                    ("since", _) => json!("2h"),
                    ("until", _) => json!("1h"),
                    ("at", _) => json!("90m"),
                    // Log records would not go with the other arguments.
                    ("source", _) => json!("spans"),
                    ("filter", _) => json!("key=value"),
                    (_, Form::Text { .. }) => json!("x"),
                    (_, Form::Integer { max, .. }) => json!(max),
                    // The last one: the first is often what an absent one means.
                    (_, Form::Choice(words)) => json!(words[words.len() - 1]),
                    (_, Form::TraceId) => json!("4bf92f3577b34da6a3ce929d0e0e4736"),
                };
                (argument.name.to_owned(), value)
            })
            .collect();
        let question = Question::parse(spec.name, all.clone()).unwrap();
        assert_eq!(question.max_tokens(), 20_000, "{}", spec.name);
        for argument in spec.arguments.iter().filter(|argument| argument.name != "source") {
            let mut fewer = all.clone();
            fewer.remove(argument.name);
            match Question::parse(spec.name, fewer) {
                Ok(other) => assert_ne!(other, question, "{} ignores {}", spec.name, argument.name),
                Err(fault) => {
                    let told = fault.to_string();
                    let is_told = argument.required && told.contains("is required");
                    assert!(is_told || argument.name == "metric" && told.contains("give `metric`"), "{told}");
                }
            }
        }
    }
    assert_eq!(TOOL_NAMES[0], "triage");
    let Ok(Question::Aggregate(ask)) = parse("aggregate", json!({"source": "logs"})) else { panic!() };
    assert!(ask.of_logs);
}

#[test]
fn absent_arguments_have_defaults() {
    let Ok(Question::ServiceMap(ask)) = parse("get_service_map", json!({"service": null})) else { panic!() };
    assert_eq!((ask.service, ask.depth, ask.range), (None, 2, TimeRange::LAST_HOUR));
    assert_eq!((ask.limit, ask.cursor, ask.max_tokens), (50, None, 4_000));
}

#[test]
fn form_is_forgiven() {
    let Ok(Question::SearchLogs(ask)) = parse(
        "search_logs",
        json!({
            "time_range": "15m", "service_name": " checkout ", "limit": "50", "max_tokens": 500.0,
            "severity": "WARNING", "trace_id": "4BF92F3577B34DA6A3CE929D0E0E4736",
        }),
    ) else {
        panic!()
    };
    assert_eq!(ask.range.unwrap().since, Some(TimeExpression::parse("15m").unwrap()));
    assert_eq!((ask.service.as_deref(), ask.limit, ask.max_tokens), (Some("checkout"), 50, 500));
    assert_eq!(ask.severity, Some(Severity::Warn));
    assert_eq!(Severity::Warn.number_min(), 13);
    assert_eq!(ask.trace_id.unwrap()[..2], [0x4b, 0xf9]);
}

#[test]
fn a_named_trace_is_looked_for_everywhere_unless_a_window_is_given() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let range = |arguments| match parse("search_logs", arguments) {
        Ok(Question::SearchLogs(ask)) => ask.range,
        other => panic!("{other:?}"),
    };
    assert_eq!(range(json!({})), Some(TimeRange::LAST_HOUR));
    assert_eq!(range(json!({"trace_id": id})), None);
    assert!(range(json!({"trace_id": id, "until": "1h"})).is_some());
}

#[test]
fn mistakes_are_named_with_the_nearest_valid_value() {
    let many: Map<String, Value> = (0..100_000).map(|at| (format!("a{at}"), json!(0))).collect();
    let told = parse("get_service_map", Value::Object(many)).unwrap_err();
    assert!(told.contains("takes no more than 64 arguments, got 100000") && told.len() < 4_096, "{told}");
    for (tool, arguments, expected) in [
        ("get_service_map", json!({"servce": "a"}), "unknown argument `servce`; did you mean `service`?"),
        (
            "get_service_map",
            json!({"zebra": 1}),
            "unknown argument `zebra`; `get_service_map` takes `service`, `depth`",
        ),
        (
            "get_service_map",
            json!({"depth": 11}),
            "`depth` must be from 1 to 10, got 11; the nearest valid value is 10",
        ),
        ("get_service_map", json!({"depth": "-3"}), "the nearest valid value is 1"),
        (
            "get_service_map",
            json!({"depth": 1.5}),
            "`depth` must be a whole number from 1 to 10, got a number: `1.5`",
        ),
        (
            "get_service_map",
            json!({"depth": "deep"}),
            "`depth` must be a whole number from 1 to 10, got text",
        ),
        ("get_service_map", json!({"depth": true}), "got a truth value: `true`"),
        (
            "get_service_map",
            json!({"service": ["a"]}),
            "`service` must be text of 1 to 1024 bytes, got a list",
        ),
        ("get_service_map", json!({"service": ""}), "`service` is empty; leave it out or give text"),
        ("get_service_map", json!({"service": "x".repeat(1_100)}), "text of 1 to 1024 bytes, got 1100 bytes"),
        ("get_service_map", json!({"max_tokens": 100}), "the nearest valid value is 200"),
        (
            "get_service_map",
            json!({"since": "yesterday"}),
            "`since`: `yesterday` is not a time; write it relative",
        ),
        ("get_service_map", json!({"since": 1_763_650_000}), "a bare number has no unit"),
        ("get_service_map", json!({"since": "1h", "until": "2h"}), "`since` is not before `until`"),
        (
            "get_service_map",
            json!({"since": "2026-11-20T10:00:00Z", "until": "2026-11-20T09:00:00Z"}),
            "`since` (2026-11-20T10:00:00Z) is not before `until` (2026-11-20T09:00:00Z)",
        ),
        ("get_service_map", json!({"since": "1h", "time_range": "2h"}), "`since` is given twice"),
        ("impact_analysis", json!({}), "`service` is required: text of 1 to 1024 bytes"),
        (
            "search_logs",
            json!({"severity": "eror"}),
            "unknown severity `eror`; did you mean `error`? valid: `trace`",
        ),
        ("search_logs", json!({"severity": "loud"}), "unknown severity `loud`; valid: `trace`"),
        ("trace_graph", json!({}), "`trace_id` is required: 32 hexadecimal digits"),
        ("trace_graph", json!({"trace_id": "00f067aa0ba902b7"}), "16 digits look like a span id"),
        ("trace_graph", json!({"trace_id": "0".repeat(32)}), "`trace_id` must be 32 hexadecimal digits"),
        ("trace_graph", json!({"trace_id": format!("+{}", "1".repeat(31))}), "must be 32 hexadecimal digits"),
        ("get_servicemap", json!({}), "unknown tool `get_servicemap`; did you mean `get_service_map`?"),
    ] {
        let text = refusal(tool, arguments.clone());
        assert!(text.contains(expected), "{tool} {arguments}: {text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_up_to_a_bound() {
    let text = refusal("get_service_map", json!({"servce": "a", "depth": 99, "since": "x"}));
    assert!(text.contains("`servce`") && text.contains("`depth`") && text.contains("`since`"), "{text}");
    let many: Map<String, Value> = (0..50).map(|at| (format!("unknown-{at}"), json!(1))).collect();
    let text = refusal("get_service_map", Value::Object(many));
    assert!(text.ends_with("and 45 more mistakes"), "{text}");
}

#[test]
fn what_is_written_out_separates_no_pairs() {
    let filter = json!({"filter": "a[U+200B]=x[U+2028]b=1 c=\"[U+005B]U+2028]\""});
    let Ok(Question::SearchLogs(ask)) = parse("search_logs", filter) else { panic!() };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(ask.filter, [pair("a\u{200b}", "x\u{2028}b=1"), pair("c", "[U+2028]")]);
}

#[test]
fn a_service_in_the_filter_may_be_an_attribute_and_a_service_name_is_none() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let read = |tool: &str, filter: &str| {
        let mut asked = json!({"filter": filter});
        if tool == "query_metrics" {
            asked["metric"] = json!("x");
        }
        match parse(tool, asked).unwrap() {
            Question::SearchLogs(ask) => (ask.service, ask.filter),
            Question::SearchTraces(ask) => (ask.service, ask.filter),
            Question::Aggregate(ask) => (ask.service, ask.filter),
            Question::QueryMetrics(ask) => (ask.service, ask.filter),
            other => panic!("{other:?}"),
        }
    };
    for tool in ["search_logs", "search_traces", "aggregate", "query_metrics"] {
        let named = read(tool, "service.name=cart zone=a");
        assert_eq!(named, (Some("cart".to_owned()), vec![pair("zone", "a")]), "{tool}");
        let maybe = read(tool, "service=cart zone=a");
        assert_eq!(maybe, (None, vec![pair("service", "cart"), pair("zone", "a")]), "{tool}");
    }
    let same = parse("aggregate", json!({"service": "cart", "filter": "service.name=cart"}));
    let Ok(Question::Aggregate(ask)) = same else { panic!() };
    assert_eq!((ask.service.as_deref(), ask.filter.len()), (Some("cart"), 0));
    let text = refusal("search_logs", json!({"service": "cart", "filter": "service.name=pay"}));
    assert!(text.contains("two services are named"), "{text}");
    // Names of metrics have no attributes.
    let names = parse("query_metrics", json!({"filter": "service=cart"}));
    let Ok(Question::QueryMetrics(ask)) = names else { panic!() };
    assert_eq!((ask.service.as_deref(), ask.filter.len()), (Some("cart"), 0));
}

#[test]
fn what_is_asked_of_one_metric_needs_its_name() {
    for (name, value) in [
        ("function", json!("p95")),
        ("group_by", json!("zone")),
        ("filter", json!("a=b")),
        ("step_s", json!(60)),
    ] {
        let mut asked = Map::new();
        asked.insert(name.to_owned(), value);
        let text = refusal("query_metrics", Value::Object(asked.clone()));
        assert!(text.contains("give `metric`") && text.contains(&format!("`{name}`")), "{text}");
        asked.insert("metric".to_owned(), json!("x"));
        parse("query_metrics", Value::Object(asked)).unwrap();
    }
    let names = parse("query_metrics", json!({"service": "cart", "match": "cpu"}));
    assert!(matches!(names, Ok(Question::QueryMetrics(ask)) if ask.service.as_deref() == Some("cart")));
}
