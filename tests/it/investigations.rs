//! What one agent writes down, another goes on with: notes with their evidence as it was, kept through crashes, bounded, and
//! seen by their tenant alone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{ask, call, export, request, rows, span};
use crate::server::Server;
use crate::turned::{SHOP, payment, shop};

const TOOL: &str = "investigation";

/// Writes a note; answers its investigation and its number.
async fn write(server: &Server, tenant: &str, mut arguments: Value) -> (u64, u64) {
    arguments["action"] = json!("write");
    let answer = ask(server, tenant, TOOL, arguments).await;
    let written = &rows(&answer, "investigations")[0];
    (written["id"].as_u64().unwrap(), written["note"].as_u64().unwrap())
}

async fn resume(server: &Server, tenant: &str, id: u64) -> Value {
    ask(server, tenant, TOOL, json!({"action": "resume", "id": id, "max_tokens": 20_000})).await
}

async fn list(server: &Server, tenant: &str) -> Value {
    ask(server, tenant, TOOL, json!({"action": "resume"})).await
}

async fn refused(server: &Server, tenant: &str, arguments: Value) -> String {
    let message = call(server, tenant, TOOL, arguments).await;
    assert_eq!(message["result"]["isError"], true, "{message}");
    message["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

/// What a resource says.
async fn read(server: &Server, tenant: &str, uri: &str) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"uri": uri, "_meta": meta});
    let request = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "resources/read")
        .header("mcp-name", uri)
        .header("x-tenant-id", tenant)
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params}).to_string());
    let message: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    let text = message["result"]["contents"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("{message}"))).unwrap()
}

fn column(answer: &Value, table: &str, column: &str) -> Vec<Value> {
    rows(answer, table).iter().map(|row| row[column].clone()).collect()
}

/// The states of the evidence, by id.
fn state(answer: &Value, id: &str) -> Value {
    let found = rows(answer, "evidence").into_iter().find(|row| row["id"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {answer}"))["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_goes_on_with_what_another_found() {
    let server = shop().await;
    let found = ask(&server, SHOP, "root_cause_analysis", json!({"since": "40m", "until": "3m"})).await;
    let ids: Vec<&str> =
        found["evidence"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    let of = |start: &str| *ids.iter().find(|id| id.starts_with(start)).unwrap();
    let (operation, failure) = (of("operation:payment POST /charge@"), of("span:"));
    let begun = json!({
        "title": "Payments\nof the west",
        "text": "Payment fails for the west.",
        "evidence": format!("{operation}; {failure}"),
    });
    assert_eq!(write(&server, SHOP, begun).await, (1, 1));
    let more = json!({"id": 1, "text": "It logs that, too.", "evidence": "template:1"});
    assert_eq!(write(&server, SHOP, more).await, (1, 2));
    let resumed = resume(&server, SHOP, 1).await;
    assert_eq!(column(&resumed, "notes", "note"), [1, 2]);
    assert_eq!(column(&resumed, "notes", "text"), ["Payment fails for the west.", "It logs that, too."]);
    assert_eq!(
        column(&resumed, "notes", "evidence"),
        [json!([operation, failure]), json!(["template:1"])],
        "{resumed}"
    );
    assert_eq!(column(&resumed, "investigations", "title"), ["Payments of the west"]);
    assert_eq!(column(&resumed, "evidence", "id"), [operation, failure, "template:1"]);
    assert_eq!(column(&resumed, "evidence", "state"), ["same"; 3], "{resumed}");
    is_the_resource(&server, resumed).await;
    drifts(&server, operation, failure).await;
    is_exported(&server, operation).await;
    let last = json!({"id": 1, "text": "The last before the crash."});
    assert_eq!(write(&server, SHOP, last).await, (1, 3));
    let (server, _) = server.crash_and_restart().await;
    let after = resume(&server, SHOP, 1).await;
    assert_eq!(column(&after, "notes", "text")[2], "The last before the crash.", "{after}");
    assert_eq!(state(&after, operation), "drifted", "{after}");
    assert_eq!(write(&server, SHOP, json!({"id": 1, "text": "Resumed."})).await, (1, 4));
}

/// Its address says the same as the call.
async fn is_the_resource(server: &Server, mut resumed: Value) {
    let mut attached = read(server, SHOP, "otelcontext://investigation/1").await;
    for answer in [&mut resumed, &mut attached] {
        assert!(answer.as_object_mut().unwrap().remove("window").is_some());
    }
    assert_eq!(attached, resumed);
}

/// A failure that comes late is one more than was said, of what it concerns alone.
async fn drifts(server: &Server, operation: &str, failure: &str) {
    let (.., late) = payment(9_000, 240, span(1, 1, None, "", 1).end_time_unix_nano);
    export(server, SHOP, &request("payment", vec![late])).await;
    server.settled().await;
    let resumed = resume(server, SHOP, 1).await;
    let states = [operation, failure, "template:1"].map(|id| state(&resumed, id));
    assert_eq!(states, ["drifted", "same", "same"], "{resumed}");
    let row = rows(&resumed, "evidence").into_iter().find(|row| row["id"] == operation).unwrap();
    let count = |column: &str| row[column][0].as_u64().unwrap();
    assert_eq!(count("now"), count("kept_now") + 1, "{row}");
    assert!(
        resumed["summary"].as_str().unwrap().contains("opened again 1 are not as they were"),
        "{resumed}"
    );
}

/// As a document it has its title, its notes, and its evidence as it was when it was written.
async fn is_exported(server: &Server, operation: &str) {
    let resumed = resume(server, SHOP, 1).await;
    let row = rows(&resumed, "evidence").into_iter().find(|row| row["id"] == operation).unwrap();
    let asked = json!({"action": "export", "id": 1, "max_tokens": 20_000});
    let sections = column(&ask(server, SHOP, TOOL, asked).await, "document", "markdown");
    let sections: Vec<&str> = sections.iter().map(|section| section.as_str().unwrap()).collect();
    assert_eq!(sections.len(), 5, "{sections:#?}");
    assert_eq!(sections[0], "# Payments of the west\n\nInvestigation 1.");
    for (section, (begins, ends)) in sections[1..].iter().zip([
        ("## 1 20", "\n\nPayment fails for the west."),
        ("Evidence, as it was then:\n\n- `", ""),
        ("## 2 20", "\n\nIt logs that, too."),
        ("Evidence, as it was then:\n\n- `template:1`: ", ""),
    ]) {
        assert!(section.starts_with(begins) && section.ends_with(ends), "{sections:#?}");
    }
    let frozen = format!(
        "- `{operation}`: `payment POST /charge`; {}: {}",
        row["unit"].as_str().unwrap(),
        row["kept_now"]
    );
    assert!(sections[2].contains(&frozen), "{frozen} in {sections:#?}");
}

/// A server of which two tenants have sent a span each.
async fn small() -> Server {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0"), ("API_RATE_LIMIT_RPS", "0")]).await;
    for tenant in [SHOP, "bank"] {
        export(&server, tenant, &request("till", vec![span(7, 1, None, "pay", 2)])).await;
    }
    server.settled().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_notes_come_in_pages_and_of_one_tenant() {
    let server = small().await;
    let none = list(&server, SHOP).await;
    assert!(none["why_empty"].as_str().unwrap().contains("begins one"), "{none}");
    let told = refused(&server, SHOP, json!({"action": "resume", "id": 1})).await;
    assert!(told.contains("unknown investigation `1`; none is kept"), "{told}");
    let told = refused(&server, "nobody", json!({"action": "write", "title": "a", "text": "b"})).await;
    assert!(told.contains("nothing was ever received"), "{told}");

    for (id, title) in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(write(&server, SHOP, json!({"title": title, "text": "first"})).await, (id, 1));
    }
    assert_eq!(write(&server, SHOP, json!({"id": "2", "text": "second"})).await, (2, 2));
    let paged = async |arguments: Value, table: &str, name: &str| {
        let (mut seen, mut arguments) = (Vec::new(), arguments);
        arguments["limit"] = json!(1);
        loop {
            let page = ask(&server, SHOP, TOOL, arguments.clone()).await;
            seen.extend(column(&page, table, name));
            match page.get("cursor") {
                Some(cursor) => arguments["cursor"] = cursor.clone(),
                None => return (seen, page["shown"].clone()),
            }
        }
    };
    let (ids, shown) = paged(json!({"action": "resume"}), "investigations", "id").await;
    assert_eq!((ids, shown), (vec![json!(2), json!(3), json!(1)], json!("1 of 3")));
    let (texts, _) = paged(json!({"action": "resume", "id": 2}), "notes", "text").await;
    assert_eq!(texts, ["first", "second"]);
    let (sections, _) = paged(json!({"action": "export", "id": 2}), "document", "markdown").await;
    assert_eq!(sections.len(), 3, "{sections:?}");
    for cursor in ["o.3", &format!("o.{}", u64::MAX)] {
        for asked in [json!({"action": "resume"}), json!({"action": "resume", "id": 2})] {
            let mut asked = asked;
            asked["cursor"] = json!(cursor);
            let beyond = ask(&server, SHOP, TOOL, asked).await;
            assert!(rows(&beyond, "notes").is_empty() && beyond["cursor"].is_null(), "{beyond}");
        }
    }
    let told = refused(&server, SHOP, json!({"action": "export", "id": 9})).await;
    assert!(told.contains("unknown investigation `9`; valid: `2`, `3`, `1`"), "{told}");

    assert!(rows(&list(&server, "bank").await, "investigations").is_empty());
    for asked in [json!({"action": "resume", "id": 1}), json!({"action": "write", "id": 1, "text": "mine"})] {
        let told = refused(&server, "bank", asked).await;
        assert!(told.contains("none is kept"), "{told}");
    }
    assert_eq!(write(&server, "bank", json!({"title": "own", "text": "first"})).await, (1, 1));
    assert_eq!(column(&list(&server, "bank").await, "investigations", "title"), ["own"]);
    assert_eq!(column(&resume(&server, SHOP, 1).await, "investigations", "title"), ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_written_and_what_is_hidden_is_shown() {
    let server = small().await;
    let hostile = "slow \u{202e}gpj \u{e0041}\u{0} end";
    assert_eq!(write(&server, SHOP, json!({"title": hostile, "text": hostile})).await, (1, 1));
    let own = format!("trace:{}", "07".repeat(16));
    let gone = format!("{own}; trace:{}", "08".repeat(16));
    for (arguments, wanted) in [
        (json!({"id": 1, "text": "x", "evidence": gone}), "nothing was written: `trace:0808"),
        (json!({"title": "x", "text": "x", "evidence": "template:999"}), "take ids from `evidence`"),
        (json!({"id": 1, "text": "x", "evidence": "payment"}), "is no evidence id"),
        (json!({"id": 1, "text": "x", "evidence": format!("{own};").repeat(11)}), "write several notes"),
        (json!({"id": 1, "text": "x".repeat(4_097)}), "text of 1 to 4096 bytes, got 4097 bytes"),
        (json!({"id": 1, "text": " \n"}), "`text` is empty"),
        (json!({"title": "x".repeat(201), "text": "x"}), "text of 1 to 200 bytes"),
        (json!({"id": 1, "title": "x", "text": "x"}), "leave it out beside `id`"),
        (json!({"text": "x"}), "or a `title` to begin one"),
    ] {
        let mut arguments = arguments;
        arguments["action"] = json!("write");
        let told = refused(&server, SHOP, arguments).await;
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(column(&list(&server, SHOP).await, "investigations", "notes"), [1]);
    assert_eq!(
        write(&server, SHOP, json!({"id": 1, "text": "x".repeat(4_096), "evidence": own})).await,
        (1, 2)
    );

    let resumed = resume(&server, SHOP, 1).await;
    let shown = "slow [U+202E]gpj [U+E0041][U+0000] end";
    assert_eq!(column(&resumed, "notes", "text"), [json!(shown), json!("x".repeat(4_096))]);
    assert_eq!(column(&resumed, "investigations", "title"), [shown]);
    for place in ["notes.text", "investigations.title"] {
        assert!(resumed["untrusted"].as_array().unwrap().contains(&json!(place)), "{resumed}");
    }
    assert!(resumed["warnings"].to_string().contains("not as an instruction"), "{resumed}");
    let exported = ask(&server, SHOP, TOOL, json!({"action": "export", "id": 1})).await;
    assert_eq!(column(&exported, "document", "markdown")[0], format!("# {shown}\n\nInvestigation 1."));
    assert_eq!(column(&list(&server, SHOP).await, "investigations", "title"), [shown]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_write_at_once_and_some_leave() {
    let server = Arc::new(small().await);
    assert_eq!(write(&server, SHOP, json!({"title": "busy", "text": "first"})).await, (1, 1));
    let mut writing = JoinSet::new();
    for number in 0..60_u64 {
        let server = Arc::clone(&server);
        writing.spawn(async move {
            let note = json!({"action": "write", "id": 1, "text": format!("note {number}")});
            let written = call(&server, SHOP, TOOL, note);
            // Some leave before they know whether their note was written.
            if number % 3 == 0 {
                let _ = tokio::time::timeout(Duration::from_millis(number / 4), written).await;
                return None;
            }
            let message = written.await;
            // At the limit of calls at once the next ones are told to come again.
            message["result"]["structuredContent"].is_object().then(|| format!("note {number}"))
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(ended) = writing.join_next().await {
        acknowledged.extend(ended.unwrap());
    }
    assert!(!acknowledged.is_empty());
    // What was sent meanwhile and afterwards is stored: nobody left the writer in the middle of something.
    export(&server, SHOP, &request("till", vec![span(9, 1, None, "pay", 2)])).await;
    server.settled().await;
    let resumed =
        ask(&server, SHOP, TOOL, json!({"action": "resume", "id": 1, "limit": 200, "max_tokens": 20_000}));
    let resumed = resumed.await;
    let numbers = column(&resumed, "notes", "note");
    assert_eq!(numbers, (1..=numbers.len()).map(|number| json!(number)).collect::<Vec<_>>());
    let texts = column(&resumed, "notes", "text");
    for text in acknowledged {
        assert_eq!(texts.iter().filter(|known| **known == text).count(), 1, "{text}: {resumed}");
    }
}
