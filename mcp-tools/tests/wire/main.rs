//! The contract on the wire: a fake triage served over HTTP, asked in both eras of the protocol.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use mcp_tools::{Limits, Outcome, TOOL_NAMES, tools_json};
use serde_json::{Value, json};

use crate::client::{ERAS, Era, Served};

mod client;
mod fake;
mod streams;

#[tokio::test]
async fn old_clients_shake_hands_and_get_no_session() {
    let served = Served::start(Limits::default()).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let params = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        });
        let (status, message) = served.request(Era::Legacy, "initialize", params).await;
        let result = &message["result"];
        assert_eq!((status, &result["protocolVersion"]), (200, &json!(version)), "{message}");
        assert_eq!(result["serverInfo"]["name"], "otelcontext");
        for capability in ["tools", "resources", "prompts", "completions"] {
            assert!(result["capabilities"][capability].is_object(), "{capability}");
        }
        let instructions = result["instructions"].as_str().unwrap();
        assert!(mcp_tools::tokens(instructions.len()) <= 250, "{} bytes", instructions.len());
    }
}

#[tokio::test]
async fn new_clients_discover() {
    let served = Served::start(Limits::default()).await;
    let (status, message) = served.request(Era::Modern, "server/discover", json!({})).await;
    let result = &message["result"];
    assert_eq!(status, 200, "{message}");
    assert!(result["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")));
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(300_000), &json!("public")));
}

#[tokio::test]
async fn the_list_of_tools_is_small_closed_and_always_the_same() {
    let served = Served::start(Limits::default()).await;
    let (_, first) = served.request(Era::Modern, "tools/list", json!({})).await;
    let (_, again) = served.request(Era::Modern, "tools/list", json!({})).await;
    assert_eq!(first.to_string(), again.to_string());
    assert_eq!(
        (&first["result"]["ttlMs"], &first["result"]["cacheScope"]),
        (&json!(300_000), &json!("public"))
    );
    let mut plain = first.clone();
    for tool in plain["result"]["tools"].as_array_mut().unwrap() {
        tool.as_object_mut().unwrap().remove("outputSchema").unwrap();
    }
    assert!(plain.to_string().len() < 20_000, "{} bytes", plain.to_string().len());
    assert!(first.to_string().len() < 45_000, "{} bytes", first.to_string().len());
    let tools = first["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), TOOL_NAMES);
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        assert_eq!(tool["annotations"]["readOnlyHint"], tool["name"] != "investigation");
        assert_eq!(tool["annotations"]["openWorldHint"], false);
        assert!(tool["title"].is_string());
        assert_eq!(tool["outputSchema"]["required"], json!(["summary", "window"]));
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(["string", "integer"].map(Value::from).contains(&property["type"]), "{name}");
            assert!(property["format"].is_null() && property["description"].is_string(), "{name}");
        }
        assert!(!schema.to_string().contains("$ref"));
    }
    let written: Value = serde_json::from_str(&tools_json()).unwrap();
    assert_eq!(written["tools"], first["result"]["tools"]);
    assert_eq!(tools_json(), tools_json());
}

#[tokio::test]
async fn every_tool_answers_in_both_eras() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        for tool in TOOL_NAMES {
            let arguments = match tool {
                "impact_analysis" => json!({"service": "cart"}),
                "test_hypothesis" => json!({"cause": "cart"}),
                "get_evidence" => json!({"ids": "template:1"}),
                "investigation" => json!({"action": "resume"}),
                "trace_graph" => json!({"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}),
                _ => json!({}),
            };
            let answer = served.answer(era, tool, arguments).await;
            assert!(
                answer["summary"].as_str().unwrap().ends_with("for alice"),
                "the caller is who asked: {answer}"
            );
            assert_eq!(answer["window"]["from"], "1970-01-01T00:00:00Z");
            assert!(answer["why_empty"].is_null());
        }
    }
    let ended = served.fake.ended.lock().unwrap();
    assert_eq!(ended.len(), ERAS.len() * TOOL_NAMES.len());
    assert!(ended.iter().all(|call| call.outcome == Outcome::Answered && 0 < call.answer_bytes));
}

#[tokio::test]
async fn follow_up_calls_are_those_the_contract_accepts() {
    let served = Served::start(Limits::default()).await;
    let answer = served.answer(Era::Modern, "root_cause_analysis", json!({"since": "2h"})).await;
    assert_eq!(answer["next"], json!([{"tool": "impact_analysis", "arguments": {"service": "payments"}}]));
    assert_eq!(answer["verdict"], "cause_found");
}

#[tokio::test]
async fn mistakes_reach_the_model_as_text_it_can_act_on() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        for (tool, arguments, expected) in [
            (
                "get_service_health",
                json!({"servce": "a"}),
                "unknown argument `servce`; did you mean `service`?",
            ),
            ("get_service_health", json!({"since": "yesterday"}), "`15m`"),
            (
                "get_service_health",
                json!({"service": "chekout"}),
                "unknown service `chekout`; did you mean `checkout`?",
            ),
            ("get_service_health", json!({"limit": [1]}), "`limit` must be a whole number from 1 to 500"),
            (
                "get_anomaly_timeline",
                json!({"since": "15m", "until": "1970-01-01T00:00:00Z"}),
                "is not before `until`",
            ),
        ] {
            let text = served.refusal(era, tool, arguments).await;
            assert!(text.contains(expected), "{text}");
        }
    }
    assert_eq!(served.fake.questions.load(Ordering::Relaxed), 0, "no mistaken question was put");
}

#[tokio::test]
async fn what_cannot_be_routed_is_a_protocol_error() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let message = served.call(era, "get_service_helth", json!({})).await;
        assert_eq!(message["error"]["code"], -32_602, "{message}");
        assert!(message["error"]["message"].as_str().unwrap().contains("did you mean `get_service_health`?"));
        let message = served.call(era, "get_service_health", json!("service=cart")).await;
        assert_eq!(message["error"]["code"], -32_602, "{message}");
        assert!(message["error"]["message"].as_str().unwrap().contains("`arguments` an object"), "{message}");
        let (_, message) = served.request(era, "tools/list", json!({"cursor": "x"})).await;
        assert_eq!(message["error"]["code"], -32_602, "{message}");
        let (status, message) = served.request(era, "no/such", json!({})).await;
        assert_eq!(
            (status, &message["error"]["code"]),
            (if era == Era::Modern { 404 } else { 200 }, &json!(-32_601))
        );
        assert_eq!(message["error"]["message"], "unknown method `no/such`");
    }
    let long = format!("a`{}", "x".repeat(2_000));
    let (_, message) = served.request(Era::Legacy, &long, json!({})).await;
    let told = message["error"]["message"].as_str().unwrap();
    assert!(told.starts_with("unknown method `a x") && told.len() < 120, "{told}");
}

#[tokio::test]
async fn what_is_no_message_is_told_in_json_rpc() {
    let served = Served::start(Limits { body_bytes_max: 2_000, ..Limits::default() }).await;
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let batch = format!("[{one},{one}]");
    for (body, code, expected) in [
        ("", -32_700, "no JSON"),
        ("{\"jsonrpc\":", -32_700, "no JSON"),
        (&batch, -32_600, "batches are not part of the protocol"),
        ("{}", -32_600, "no message of JSON-RPC"),
    ] {
        let (status, media_type, told) = served.raw(body.as_bytes()).await;
        assert_eq!((status, media_type.as_str()), (400, "application/json"), "{body}: {told}");
        assert_eq!((&told["jsonrpc"], &told["id"]), (&json!("2.0"), &Value::Null), "{body}: {told}");
        assert_eq!(told["error"]["code"], code, "{body}: {told}");
        assert!(told["error"]["message"].as_str().unwrap().contains(expected), "{body}: {told}");
    }
    let (status, _, told) = served.raw(br#"{"jsonrpc":"1.0","id":7,"method":"tools/list"}"#).await;
    assert_eq!((status, &told["id"]), (400, &json!(7)), "{told}");
    let (status, ..) = served.raw("[".repeat(4_000).as_bytes()).await;
    assert_eq!(status, 413, "no body is read beyond its bound to say what is wrong with it");
    let (status, _, told) = served.raw(one.as_bytes()).await;
    assert_eq!(status, 200, "{told}");
}

#[tokio::test]
async fn defects_are_contained_and_keep_their_secrets() {
    let served = Served::start(Limits::default()).await;
    for service in ["broken", "panic"] {
        let message = served.call(Era::Modern, "get_service_health", json!({"service": service})).await;
        assert_eq!(
            (&message["error"]["code"], &message["error"]["message"]),
            (&json!(-32_603), &json!("internal error"))
        );
        assert!(!message.to_string().contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn a_request_without_a_caller_is_nobodys() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let params = json!({"name": "get_service_health", "arguments": {}});
        let (_, message) = served.request_with(era, "tools/call", params, &[("x-caller", "")]).await;
        assert_eq!(message["error"]["code"], -32_603, "{message}");
    }
    assert_eq!(served.fake.questions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn answers_keep_to_the_tokens_asked_for() {
    let served = Served::start(Limits::default()).await;
    let answer = served.answer(Era::Modern, "search_logs", json!({"limit": 100, "max_tokens": "600"})).await;
    assert!(mcp_tools::tokens(answer.to_string().len()) <= 600);
    let kept = answer["tables"][0]["rows"].as_array().unwrap().len();
    assert!((5..100).contains(&kept), "{kept}");
    assert_eq!(answer["shown"], format!("{kept} of 100"));
    assert_eq!(answer["cursor"], format!("after-{}", kept - 1));
    assert!(answer["warnings"][0].as_str().unwrap().contains("max_tokens 600"));
}

#[tokio::test]
async fn of_every_question_is_told_how_it_came_and_in_whose_trace() {
    const OF_MESSAGE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OF_REQUEST: &str = "00-11111111111111111111111111111111-2222222222222222-01";
    let served = Served::start(Limits::default()).await;
    let put = json!({"name": "list_services", "arguments": {}, "_meta": {"traceparent": OF_MESSAGE}});
    let carried = [("traceparent", OF_REQUEST)];
    served.request_with(Era::Legacy, "tools/call", put, &carried).await;
    let bare = json!({"name": "list_services", "arguments": {}});
    served.request_with(Era::Modern, "tools/call", bare, &carried).await;
    served.request(Era::Modern, "tools/call", json!({"name": "no_such_tool", "arguments": {}})).await;
    served.request(Era::Legacy, "resources/read", json!({"uri": "otelcontext://service-map"})).await;
    served.request(Era::Legacy, "resources/read", json!({"uri": "otelcontext://nowhere"})).await;
    let ended = served.fake.ended.lock().unwrap().clone();
    let told: Vec<_> = ended
        .iter()
        .map(|it| (it.method, it.tool, it.outcome, it.traceparent.as_deref(), it.protocol_version))
        .collect();
    let (legacy, modern) = (Some("2025-11-25"), Some("2026-07-28"));
    assert_eq!(
        told,
        [
            ("tools/call", "list_services", Outcome::Answered, Some(OF_MESSAGE), legacy),
            ("tools/call", "list_services", Outcome::Answered, Some(OF_REQUEST), modern),
            ("tools/call", "unknown", Outcome::Refused, None, modern),
            ("resources/read", "get_service_map", Outcome::Answered, None, legacy),
            ("resources/read", "unknown", Outcome::Refused, None, legacy),
        ]
    );
}

#[tokio::test]
async fn a_caller_with_its_share_is_refused_and_others_are_not() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let params = json!({"name": "get_service_map", "arguments": {}});
        let greedy = [("x-caller", fake::GREEDY)];
        let (_, refused) = served.request_with(era, "tools/call", params.clone(), &greedy).await;
        assert_eq!(refused["error"]["code"], -32_000, "{refused}");
        let (_, answered) = served.request_with(era, "tools/call", params, &[("x-caller", "other")]).await;
        assert_eq!(answered["result"]["isError"], false, "{answered}");
    }
}

#[tokio::test]
async fn past_the_limit_questions_are_refused_and_leavers_make_room() {
    let limits = Limits { max_concurrent: 1, call_timeout: Duration::ZERO, ..Limits::default() };
    let served = std::sync::Arc::new(Served::start(limits).await);
    for era in ERAS {
        let stuck = tokio::spawn({
            let served = std::sync::Arc::clone(&served);
            async move { served.call(era, "get_service_health", json!({"service": "stuck"})).await }
        });
        served.fake.stuck.notified().await;
        let message = served.call(era, "get_service_map", json!({})).await;
        assert_eq!(
            (&message["error"]["code"], &message["error"]["message"]),
            (&json!(-32_000), &json!("server overloaded"))
        );
        stuck.abort();
        served.fake.dropped.notified().await;
        while served.call(era, "get_service_map", json!({})).await["error"].is_object() {
            tokio::task::yield_now().await;
        }
    }
    let ended = || served.fake.ended.lock().unwrap().clone();
    while ended().iter().filter(|call| call.outcome == Outcome::Cancelled).count() < ERAS.len() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_question_has_so_much_time() {
    let served = Served::start(Limits { call_timeout: Duration::from_millis(20), ..Limits::default() }).await;
    for era in ERAS {
        let message = served.call(era, "get_service_health", json!({"service": "stuck"})).await;
        assert_eq!(
            (&message["error"]["code"], &message["error"]["message"]),
            (&json!(-32_001), &json!("call timed out"))
        );
        served.fake.dropped.notified().await;
    }
}

#[tokio::test]
async fn strange_pages_and_hosts_are_refused() {
    let limits = Limits {
        allowed_hosts: vec!["otel.example.com".into()],
        allowed_origins: vec!["https://app.example.com".into(), "null".into()],
        ..Limits::default()
    };
    let served = Served::start(limits).await;
    for (headers, expected) in [
        (&[("origin", "https://evil.example.com")][..], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "https://app.example.com:8443")], 403),
        (&[("origin", "https://app.example.com")], 200),
        (&[("origin", "http://localhost:6274")], 200),
        (&[("host", "evil.example.com")], 403),
        (&[("host", "otel.example.com:8080")], 200),
    ] {
        for era in ERAS {
            let (status, body) = served.request_with(era, "tools/list", json!({}), headers).await;
            assert_eq!(status, expected, "{headers:?}: {body}");
        }
    }
}

#[tokio::test]
async fn who_looks_at_names_before_may_let_any_through() {
    let any = || vec!["*".to_owned()];
    let limits = Limits { allowed_hosts: any(), allowed_origins: any(), ..Limits::default() };
    let served = Served::start(limits).await;
    let headers = [("origin", "https://app.example.com"), ("host", "otel.example.com")];
    for era in ERAS {
        assert_eq!(served.request_with(era, "tools/list", json!({}), &headers).await.0, 200);
    }
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let served = Served::start(Limits { body_bytes_max: 2_000, ..Limits::default() }).await;
    let params = json!({"name": "search_logs", "arguments": {"query": "x".repeat(4_000)}});
    let (status, told) = served.request(Era::Modern, "tools/call", params).await;
    assert_eq!((status, &told["error"]["code"], &told["id"]), (413, &json!(-32_600), &Value::Null), "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("2000 bytes"), "{told}");
}

#[tokio::test]
async fn resources_are_answers_with_an_address() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let (_, list) = served.request(era, "resources/list", json!({})).await;
        for resource in list["result"]["resources"].as_array().unwrap() {
            let (_, message) = served.request(era, "resources/read", json!({"uri": resource["uri"]})).await;
            let contents = &message["result"]["contents"][0];
            assert_eq!(
                (&contents["uri"], &contents["mimeType"]),
                (&resource["uri"], &json!("application/json"))
            );
            assert!(contents["text"].as_str().unwrap().starts_with(r#"{"summary":"#), "{message}");
            assert_eq!(message["result"]["cacheScope"], "private");
        }
        let (_, templates) = served.request(era, "resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"].as_array().unwrap().len(), 4, "{templates}");
        let not_found = if era == Era::Modern { -32_602 } else { -32_002 };
        for uri in ["otelcontext://nowhere", "otelcontext://service/chekout"] {
            let (_, message) = served.request(era, "resources/read", json!({"uri": uri})).await;
            assert_eq!(message["error"]["code"], not_found, "{message}");
        }
    }
}

#[tokio::test]
async fn a_prompt_starts_an_investigation_and_its_service_completes() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let (_, list) = served.request(era, "prompts/list", json!({})).await;
        let name = &list["result"]["prompts"][0]["name"];
        let params = json!({"name": name, "arguments": {"service": "cart"}});
        let (_, prompt) = served.request(era, "prompts/get", params).await;
        assert!(
            prompt["result"]["messages"][0]["content"]["text"]
                .as_str()
                .unwrap()
                .contains(r#"{"service":"cart""#)
        );
        let params = json!({
            "ref": {"type": "ref/prompt", "name": name},
            "argument": {"name": "service", "value": "C"},
        });
        let (_, completion) = served.request(era, "completion/complete", params).await;
        assert_eq!(completion["result"]["completion"]["values"], json!(["cart", "checkout"]), "{completion}");
        let params = json!({
            "ref": {"type": "ref/resource", "uri": "otelcontext://service/{service}"},
            "argument": {"name": "service", "value": "pay"},
        });
        let (_, completion) = served.request(era, "completion/complete", params).await;
        assert_eq!(completion["result"]["completion"]["values"], json!(["payments"]));
    }
}
