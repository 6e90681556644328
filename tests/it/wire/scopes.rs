//! What agents may do by the scopes of their key: what is listed can be called, and nothing else can.
//!
//! What there is, is asked of the server; so this holds as well once tools, prompts or resources ask for different scopes.

use std::collections::BTreeSet;

use otelcontext::auth::Right;
use prost::Message;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::{request, span};
use crate::server::Server;

use super::keys::{EACH, KeyFile, OPERATOR, is_challenge};
use super::{Answer, JSON, PROTOBUF, send};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
/// The oldest revision that clients still begin with, the last one with a handshake, and the one without.
const REVISIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// A caller of one revision.
struct Caller<'a> {
    server: &'a Server,
    revision: &'static str,
    key: String,
}

impl Caller<'_> {
    async fn ask(&self, method: &str, mut params: Value) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let mut headers =
            vec![JSON, ACCEPT, ("mcp-protocol-version", self.revision), ("authorization", bearer.as_str())];
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
        if self.revision == "2026-07-28" {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            headers.push(("mcp-method", method));
            if !name.is_empty() {
                headers.push(("mcp-name", &name));
            }
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        send(Method::POST, &self.server.http, "/mcp", &headers, body.into()).await
    }

    /// What it is listed; nothing where the list is refused.
    async fn listed(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        for (method, list) in [
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ] {
            let answer = self.ask(method, json!({})).await;
            if is_let_in(&answer, method) {
                let items = answer.json()["result"][list].as_array().expect(method).clone();
                all.extend(items.into_iter().map(|item| Listed { list, item }));
            }
        }
        all
    }
}

/// Something that a caller may use.
struct Listed {
    list: &'static str,
    item: Value,
}

impl Listed {
    fn key(&self) -> (&'static str, String) {
        let name = ["uriTemplate", "uri", "name"].into_iter().find_map(|name| self.item[name].as_str());
        (self.list, name.unwrap().to_owned())
    }

    /// Every way to use it, with all that it cannot be used without.
    fn uses(&self) -> Vec<(&'static str, Value)> {
        let (list, name) = self.key();
        let complete = |reference: Value, argument: &str| {
            let argument = json!({"name": argument, "value": ""});
            ("completion/complete", json!({"ref": reference, "argument": argument}))
        };
        match list {
            "tools" => {
                let required = self.item["inputSchema"]["required"].as_array().cloned().unwrap_or_default();
                let arguments: Map<String, Value> = required
                    .iter()
                    .map(|name| (name.as_str().unwrap().to_owned(), json!("01".repeat(16))))
                    .collect();
                vec![("tools/call", json!({"name": name, "arguments": arguments}))]
            }
            "prompts" => {
                let arguments = self.item["arguments"].as_array().cloned().unwrap_or_default();
                let mut uses: Vec<_> = arguments
                    .iter()
                    .map(|it| {
                        complete(json!({"type": "ref/prompt", "name": name}), it["name"].as_str().unwrap())
                    })
                    .collect();
                let required = arguments.iter().filter(|it| it["required"] == true);
                let given: Map<String, Value> = required
                    .map(|it| (it["name"].as_str().unwrap().to_owned(), json!("01".repeat(16))))
                    .collect();
                uses.push(("prompts/get", json!({"name": name, "arguments": given})));
                uses
            }
            "resources" => vec![("resources/read", json!({"uri": name}))],
            _ => {
                let (before, rest) = name.split_once('{').expect("a template has a variable");
                let (variable, _) = rest.split_once('}').unwrap();
                let value = match variable {
                    "service" => "shop".to_owned(),
                    "id" if before.ends_with("investigation/") => "1".to_owned(),
                    "id" => "template%3A1".to_owned(),
                    _ => "01".repeat(16),
                };
                vec![
                    ("resources/read", json!({"uri": format!("{before}{value}")})),
                    complete(json!({"type": "ref/resource", "uri": name}), variable),
                ]
            }
        }
    }
}

/// Whether the caller was let in; where not, it was refused as the protocol's authorization asks: 403, and a challenge that
/// says the key has too few scopes. It is told nothing else.
fn is_let_in(answer: &Answer, case: &str) -> bool {
    if answer.status != 403 {
        return true;
    }
    assert!(is_challenge(answer), "{case}: {answer:?}");
    assert!(answer.header("www-authenticate").contains("insufficient_scope"), "{case}: {answer:?}");
    assert_eq!(answer.json()["error"]["code"], "denied", "{case}");
    assert!(!answer.text().contains("shop"), "{case}: {}", answer.text());
    false
}

async fn tool_calls(server: &Server) -> f64 {
    server.metric("otelcontext_mcp_tool_invocations_total").await
}

#[tokio::test]
async fn j8_list_and_call_agree_for_every_combination_of_scopes() {
    let file = KeyFile::new();
    let mut keys = Vec::new();
    for bits in 1..1_usize << EACH.len() {
        let rights: Vec<Right> = EACH
            .into_iter()
            .enumerate()
            .filter_map(|(at, right)| (bits >> at & 1 == 1).then_some(right))
            .collect();
        let scopes = rights.iter().map(|right| right.name()).collect::<Vec<_>>().join(",");
        keys.push((file.key("shop", &scopes, &[]).await, rights, scopes));
    }
    let server = file.server().await;
    let bearer = format!("Bearer {OPERATOR}");
    let headers = [PROTOBUF, ("authorization", bearer.as_str()), ("x-tenant-id", "shop")];
    let spans = request("shop", vec![span(1, 1, None, "GET /", 2)]).encode_to_vec();
    assert_eq!(send(Method::POST, &server.otlp_http, "/v1/traces", &headers, spans).await.status, 200);
    server.settled().await;
    let (full, ..) = keys.iter().find(|(_, rights, _)| rights.len() == EACH.len()).unwrap();
    let writer = Caller { server: &server, revision: REVISIONS[2], key: full.clone() };
    let begun = json!({"action": "write", "title": "slow", "text": "since Friday"});
    let begun = writer.ask("tools/call", json!({"name": "investigation", "arguments": begun})).await;
    assert_eq!(begun.json()["result"]["isError"], false, "{}", begun.text());

    for revision in REVISIONS {
        let caller = |key: &str| Caller { server: &server, revision, key: key.to_owned() };
        let (full, _, _) = keys.iter().find(|(_, rights, _)| rights.len() == EACH.len()).unwrap();
        let all = caller(full).listed().await;
        for list in ["tools", "prompts", "resources", "resourceTemplates"] {
            assert!(all.iter().any(|it| it.list == list), "{revision}: nothing in {list}");
        }
        let mut let_in = 0;
        for (key, rights, scopes) in &keys {
            let caller = caller(key);
            let listed: BTreeSet<_> = caller.listed().await.iter().map(Listed::key).collect();
            assert!(
                rights.contains(&Right::Read) || listed.is_empty(),
                "{scopes}: {listed:?} without `read`"
            );
            let_in += usize::from(!listed.is_empty());
            for thing in &all {
                let is_listed = listed.contains(&thing.key());
                for (method, params) in thing.uses() {
                    let case = format!("{revision}, {scopes}: {method} {params}");
                    let before = tool_calls(&server).await;
                    let answer = caller.ask(method, params).await;
                    assert_eq!(is_let_in(&answer, &case), is_listed, "{case}: {}", answer.text());
                    if is_listed {
                        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
                        assert!(answer.json()["result"].is_object(), "{case}: {}", answer.text());
                    } else {
                        assert_eq!(
                            tool_calls(&server).await,
                            before,
                            "{case}: refused, and put all the same"
                        );
                    }
                }
            }
            // What nobody has is told to those alone who may see what there is.
            let unknown =
                caller.ask("tools/call", json!({"name": "delete_everything", "arguments": {}})).await;
            assert_eq!(is_let_in(&unknown, scopes), !listed.is_empty(), "{scopes}: {}", unknown.text());
        }
        assert!(0 < let_in && let_in < keys.len(), "{revision}: scopes decide nothing: {let_in} were let in");
    }
}

#[tokio::test]
async fn notes_are_read_by_keys_that_read_and_written_by_those_that_ingest_too() {
    let file = KeyFile::new();
    let reading = file.key("shop", "read", &[]).await;
    let writing = file.key("shop", "read,ingest", &[]).await;
    let server = file.server().await;
    let bearer = format!("Bearer {writing}");
    let spans = request("shop", vec![span(1, 1, None, "GET /", 2)]).encode_to_vec();
    let headers = [PROTOBUF, ("authorization", bearer.as_str())];
    assert_eq!(send(Method::POST, &server.otlp_http, "/v1/traces", &headers, spans).await.status, 200);
    server.settled().await;
    let put = async |key: &str, arguments: Value| {
        let caller = Caller { server: &server, revision: REVISIONS[2], key: key.to_owned() };
        let answer = caller.ask("tools/call", json!({"name": "investigation", "arguments": arguments})).await;
        let result = answer.json()["result"].clone();
        (result["isError"] == true, result["content"][0]["text"].as_str().unwrap().to_owned())
    };
    let begun = json!({"action": "write", "title": "slow", "text": "since Friday"});
    let added = json!({"action": "write", "id": 1, "text": "since Thursday"});
    for arguments in [&begun, &added] {
        let (is_error, told) = put(&reading, arguments.clone()).await;
        assert!(is_error && told.contains("this key may read and not write"), "{told}");
    }
    for arguments in [begun, added] {
        let (is_error, told) = put(&writing, arguments).await;
        assert!(!is_error, "{told}");
    }
    for action in ["resume", "export"] {
        let (is_error, told) = put(&reading, json!({"action": action, "id": 1})).await;
        assert!(!is_error && told.contains("since Thursday"), "{told}");
    }
}
