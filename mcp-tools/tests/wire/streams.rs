//! Answers of several messages: word of anomalies, and of calls that take long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mcp_tools::{Limits, Outcome};
use serde_json::{Value, json};

use crate::client::{ERAS, Era, Served, Stream};
use crate::fake::LISTENERS_MAX;

const ANOMALIES: &str = "otelcontext://anomalies";
/// The key under which each message says to which listening it belongs.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Begins to listen as `caller`; answers the filter that is acknowledged, and what comes after.
async fn listen(served: &Served, caller: &'static str, filter: Value) -> (Value, Stream) {
    let params = json!({ "notifications": filter });
    let mut stream =
        served.stream(Era::Modern, "subscriptions/listen", params, &[("x-caller", caller)]).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], 7, "{first}");
    (first["params"]["notifications"].clone(), stream)
}

async fn listen_to_anomalies(served: &Served, caller: &'static str) -> Stream {
    let filter = json!({"resourceSubscriptions": [ANOMALIES]});
    let (accepted, stream) = listen(served, caller, filter.clone()).await;
    assert_eq!(accepted, filter);
    stream
}

/// Waits until so many listen.
async fn until_listening(served: &Served, wanted: usize) {
    while served.fake.listening.load(Ordering::SeqCst) != wanted {
        tokio::task::yield_now().await;
    }
}

fn is_update(message: &Value) -> bool {
    message["method"] == "notifications/resources/updated"
        && message["params"]["uri"] == ANOMALIES
        && message["params"]["_meta"][SUBSCRIPTION] == 7
}

#[tokio::test]
async fn whoever_listens_hears_of_its_own_anomalies_and_each_time_once() {
    let served = Served::start(Limits::default()).await;
    let mut alice = listen_to_anomalies(&served, "alice").await;
    let mut bob = listen_to_anomalies(&served, "bob").await;
    until_listening(&served, 2).await;
    for _ in 0..1_000 {
        served.fake.change("alice");
    }
    let told = alice.next().await.unwrap();
    assert!(is_update(&told), "{told}");
    served.fake.change("alice");
    let told = alice.next().await.unwrap();
    assert!(is_update(&told), "{told}");
    served.fake.stop();
    for stream in [&mut alice, &mut bob] {
        let last = stream.next().await.unwrap();
        assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(7), &json!("complete")), "{last}");
        assert_eq!(stream.next().await, None);
    }
    until_listening(&served, 0).await;
}

#[tokio::test]
async fn what_never_changes_is_not_listened_to() {
    let served = Served::start(Limits::default()).await;
    let wide = json!({
        "toolsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": ["otelcontext://service-map", ANOMALIES, "file:///etc/passwd"],
    });
    let (accepted, _stream) = listen(&served, "alice", wide).await;
    assert_eq!(accepted, json!({"resourceSubscriptions": [ANOMALIES]}));
    until_listening(&served, 1).await;
    for filter in [
        json!({}),
        json!({"toolsListChanged": true, "promptsListChanged": true}),
        json!({"resourceSubscriptions": ["otelcontext://service-map"]}),
    ] {
        let (accepted, mut stream) = listen(&served, "alice", filter).await;
        assert_eq!(accepted, json!({}));
        let last = stream.next().await.unwrap();
        assert_eq!(last["result"]["resultType"], "complete", "{last}");
        assert_eq!(stream.next().await, None);
    }
    let (_, message) = served.request(Era::Modern, "subscriptions/listen", json!({})).await;
    assert_eq!(message["error"]["code"], -32_602, "{message}");
}

#[tokio::test]
async fn so_many_may_listen_and_leavers_make_room() {
    let served = Served::start(Limits::default()).await;
    let mut streams = Vec::new();
    for number in 1..=LISTENERS_MAX {
        streams.push(listen_to_anomalies(&served, "alice").await);
        until_listening(&served, number).await;
    }
    let mut refused = listen_to_anomalies(&served, "alice").await;
    let message = refused.next().await.unwrap();
    assert_eq!(message["error"]["code"], -32_000, "{message}");
    let advice = message["error"]["message"].as_str().unwrap();
    assert!(advice.contains(ANOMALIES) && advice.contains("instead"), "{advice}");
    assert_eq!(refused.next().await, None);
    streams.pop();
    until_listening(&served, LISTENERS_MAX - 1).await;
    streams.push(listen_to_anomalies(&served, "alice").await);
    until_listening(&served, LISTENERS_MAX).await;
    let (_, message) =
        served.request_with(Era::Modern, "resources/read", json!({"uri": ANOMALIES}), &[]).await;
    assert!(message["result"]["contents"][0]["text"].is_string(), "listeners take no slot: {message}");
}

#[tokio::test]
async fn nobody_listens_without_a_caller() {
    let served = Served::start(Limits::default()).await;
    let mut stream = listen_to_anomalies(&served, "").await;
    let message = stream.next().await.unwrap();
    assert_eq!(message["error"]["code"], -32_603, "{message}");
    assert_eq!(served.fake.listening.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn older_revisions_are_told_to_look_again_instead() {
    let served = Served::start(Limits::default()).await;
    let (_, message) = served.request(Era::Modern, "server/discover", json!({})).await;
    assert_eq!(message["result"]["capabilities"]["resources"], json!({"subscribe": true}), "{message}");
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    });
    let (_, message) = served.request(Era::Legacy, "initialize", params).await;
    assert_eq!(message["result"]["capabilities"]["resources"], json!({}), "{message}");
    let (_, message) = served.request(Era::Legacy, "resources/subscribe", json!({"uri": ANOMALIES})).await;
    assert_eq!(message["error"]["code"], -32_601, "{message}");
    let advice = message["error"]["message"].as_str().unwrap();
    assert!(advice.contains("subscriptions/listen") && advice.contains("2026-07-28"), "{advice}");
    let filter = json!({"notifications": {"resourceSubscriptions": [ANOMALIES]}});
    let (_, message) = served.request(Era::Legacy, "subscriptions/listen", filter).await;
    assert_eq!(message["error"]["code"], -32_601, "{message}");
}

/// A question about `service` by a client that wants to hear of its progress.
fn asked(service: &str) -> Value {
    json!({
        "name": "get_service_health",
        "arguments": {"service": service},
        "_meta": {"progressToken": "mine"},
    })
}

#[tokio::test]
async fn a_client_hears_of_a_call_that_takes_long_and_gets_the_same_answer() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let mut stream = served.stream(era, "tools/call", asked("slow"), &[]).await;
        let mut before = 0.0;
        for _ in 0..2 {
            let told = stream.next().await.unwrap();
            assert_eq!(told["method"], "notifications/progress", "{told}");
            let params = &told["params"];
            let progress = params["progress"].as_f64().unwrap();
            assert!(before < progress && params["progressToken"] == "mine", "{told}");
            assert!(params["message"].as_str().unwrap().contains("get_service_health"), "{told}");
            before = progress;
        }
        served.fake.released.notify_one();
        let answer = stream.next().await.unwrap();
        assert_eq!(stream.next().await, None);
        served.fake.released.notify_one();
        let arguments = json!({"service": "slow"});
        assert_eq!(answer["result"], served.call(era, "get_service_health", arguments).await["result"]);
    }
}

#[tokio::test]
async fn the_answer_of_a_short_call_is_plain_whoever_wants_to_hear_of_it() {
    let served = Served::start(Limits::default()).await;
    for era in ERAS {
        let (_, told) = served.request(era, "tools/call", asked("cart")).await;
        let plain = served.call(era, "get_service_health", json!({"service": "cart"})).await;
        assert!(plain["result"].is_object() && told == plain, "{told}");
        let params = json!({"uri": ANOMALIES, "_meta": {"progressToken": 1}});
        let (_, read) = served.request(era, "resources/read", params).await;
        assert!(read["result"]["contents"].is_array(), "{read}");
    }
}

#[tokio::test]
async fn a_call_of_which_word_was_sent_ends_with_its_client_or_its_time() {
    let limits = Limits { call_timeout: Duration::from_millis(1_500), ..Limits::default() };
    let served = Served::start(limits).await;
    for era in ERAS {
        let mut stream = served.stream(era, "tools/call", asked("stuck"), &[]).await;
        assert_eq!(stream.next().await.unwrap()["method"], "notifications/progress");
        drop(stream);
        served.fake.dropped.notified().await;
        let mut stream = served.stream(era, "tools/call", asked("stuck"), &[]).await;
        assert_eq!(stream.next().await.unwrap()["method"], "notifications/progress");
        let last = stream.next().await.unwrap();
        assert_eq!(last["error"]["code"], -32_001, "{last}");
        served.fake.dropped.notified().await;
    }
    let ended = served.fake.ended.lock().unwrap();
    let outcomes: Vec<Outcome> = ended.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Cancelled, Outcome::TimedOut].repeat(2));
}
