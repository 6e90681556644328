//! Agents without HTTP: the program speaks MCP on standard input and output, and asks the server for them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::TENANT;
use super::agents::{check_python, troubled};
use crate::client::{call, export, request, span};
use crate::server::{PATIENCE, Server, program};

const PROGRAM: &str = env!("CARGO_BIN_EXE_otelcontext");
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// The program as a client starts it; killed when dropped.
struct Bridge {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    folder: TempDir,
}

impl Bridge {
    fn start(url: &str, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["mcp", "stdio", "--url", url])
            .args(more)
            .current_dir(&folder)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("errors")).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (heard, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                // Nobody listens any more where the test has ended.
                let _ = heard.send(line.unwrap());
            }
        });
        Self { input: child.stdin.take(), child, lines, folder }
    }

    fn of(server: &Server) -> Self {
        Self::start(&format!("http://{}/mcp", server.http), &[], &[])
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("{error}: {}", self.errors()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Makes a request of a session; answers what is said to it.
    fn ask(&mut self, id: &Value, method: &str, params: Value) -> Value {
        self.say(&asked(id, method, params).to_string());
        let answer = self.hear();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), id), "{answer}");
        answer
    }

    /// Closes its input and waits for its end; answers its status and what it said until then.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        drop(self.input.take());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "does not end: {}", self.errors());
            std::thread::sleep(Duration::from_millis(5));
        };
        (status.code(), self.lines.iter().collect())
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(id: &Value, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// The parameters of a request of the newest revision.
fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// What HTTP answers to a request of a session.
async fn over_http(server: &Server, message: &Value) -> Value {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", LEGACY)
        .body(message.to_string())
        .send()
        .await
        .unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// A window that is over, whose answers stay the same.
fn window() -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = |moment: Duration| mcp_tools::rfc3339(i64::try_from(moment.as_nanos()).unwrap());
    json!({"since": at(now - Duration::from_secs(900)), "until": at(now)})
}

#[tokio::test]
async fn a_session_is_answered_as_over_http() {
    let server = troubled().await;
    let mut bridge = Bridge::of(&server);
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client});
    let begun = bridge.ask(&json!(0), "initialize", params);
    assert_eq!(begun["result"]["protocolVersion"], LEGACY, "{begun}");
    assert_eq!(begun["result"]["serverInfo"]["name"], "otelcontext", "{begun}");
    bridge.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
    let list = bridge.ask(&json!("list"), "tools/list", json!({}));
    assert_eq!(list, over_http(&server, &asked(&json!("list"), "tools/list", json!({}))).await);
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), mcp_tools::TOOL_NAMES.len());
    let params = json!({"name": "get_service_health", "arguments": window()});
    let health = bridge.ask(&json!(1), "tools/call", params.clone());
    assert_eq!(health["result"]["isError"], false, "{health}");
    assert_eq!(health, over_http(&server, &asked(&json!(1), "tools/call", params)).await);
    let unknown = bridge.ask(&json!(2), "no/such/method", json!({}));
    assert_eq!(unknown["error"]["code"], -32_601, "{unknown}");
    let errors = bridge.errors();
    assert_eq!((bridge.end(), errors.as_str()), ((Some(0), Vec::new()), ""));
}

#[tokio::test]
async fn the_newest_revision_is_answered_as_over_http() {
    let server = troubled().await;
    let mut bridge = Bridge::of(&server);
    let found = bridge.ask(&json!(1), "server/discover", modern(json!({})));
    assert!(found["result"]["supportedVersions"].as_array().unwrap().contains(&json!(MODERN)), "{found}");
    let params = json!({"name": "get_service_health", "arguments": window()});
    let health = bridge.ask(&json!(1), "tools/call", modern(params.clone()));
    assert_eq!(health["result"]["isError"], false, "{health}");
    assert_eq!(health, call(&server, TENANT, "get_service_health", params["arguments"].clone()).await);
    // Names that headers do not carry as they are.
    let unknown = json!({"name": "größte Sorge ", "arguments": {}});
    let unknown = bridge.ask(&json!(2), "tools/call", modern(unknown));
    assert_eq!(unknown["error"]["code"], -32_602, "{unknown}");
    let unknown = bridge.ask(&json!(3), "no/such/method", modern(json!({})));
    assert_eq!(unknown["error"]["code"], -32_601, "{unknown}");
    // Requests go side by side; what comes without a line feed at the end of the input is answered too.
    for id in 10..20 {
        bridge.say(&asked(&json!(id), "tools/list", modern(json!({}))).to_string());
    }
    let last = asked(&json!(20), "tools/list", modern(json!({}))).to_string();
    write!(bridge.input.as_mut().unwrap(), "{last}").unwrap();
    let (status, lines) = bridge.end();
    let mut ids: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!((status, ids), (Some(0), (10..=20).collect()));
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_told_and_the_bridge_goes_on() {
    let server = Server::start(&[]).await;
    let mut bridge = Bridge::of(&server);
    let long = "x".repeat(5 << 20);
    for (line, code) in [("{", -32_700), ("nonsense", -32_700), ("[]", -32_600), (long.as_str(), -32_600)] {
        bridge.say(line);
        let told = bridge.hear();
        assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &json!(code)), "{line:.20}: {told}");
    }
    // More than the server takes, which it says itself.
    let large = json!({"name": "triage", "arguments": {"service": "x".repeat(1 << 20)}});
    let told = bridge.ask(&json!("large"), "tools/call", large);
    assert_eq!(told["error"]["code"], -32_600, "{told}");
    // Notifications are never answered, and neither are answers nor empty lines.
    for line in ["", r#"{"jsonrpc":"2.0","method":"no/such"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        bridge.say(line);
    }
    let list = bridge.ask(&json!(1), "tools/list", json!({}));
    assert!(list["result"]["tools"].is_array(), "{list}");
    assert_eq!(bridge.end(), (Some(0), Vec::new()));
}

/// What a request is told at `url`, which is no server.
fn told(url: &str) -> String {
    let mut bridge = Bridge::start(url, &[], &[]);
    bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let told = bridge.ask(&json!("a"), "tools/list", json!({}));
    assert_eq!(told["error"]["code"], -32_603, "{told}");
    assert_eq!(bridge.end(), (Some(0), Vec::new()));
    told["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_asks_where_no_server_is_is_told_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let said = told(&address);
    assert!(
        said.starts_with(&format!("cannot reach http://{address}/mcp: is the server running?")),
        "{said}"
    );
    let server = Server::start(&[]).await;
    let said = told(&format!("http://{}/elsewhere", server.http));
    assert!(said.contains("/elsewhere answers 4") && said.contains("MCP_"), "{said}");
}

#[tokio::test]
async fn keys_and_tenants_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json").display().to_string();
    let keys = [("API_TENANT_KEYS_FILE", file.clone())];
    let new = ["keys", "new", "--tenant", "shop", "--scope", "ingest,read"];
    let (succeeded, said) = program(folder.path(), &keys, &new).await;
    assert!(succeeded, "{said}");
    let key = said.lines().next().unwrap();
    let server = Server::start(&[("API_TENANT_KEYS_FILE", file.as_str())]).await;
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .bearer_auth(key)
        .body(till().encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    server.settled().await;

    let url = format!("http://{}", server.http);
    let ask = |more: &[&str], variables: &[(&str, &str)]| {
        let mut bridge = Bridge::start(&url, more, variables);
        bridge.ask(&json!(1), "tools/call", modern(json!({"name": "list_services", "arguments": {}})))
    };
    let own = [("API_KEY", key)];
    assert!(ask(&[], &own).to_string().contains("till"));
    assert!(ask(&["--tenant", "shop"], &own).to_string().contains("till"));
    let in_file = folder.path().join("key").display().to_string();
    std::fs::write(&in_file, format!("{key}\n")).unwrap();
    assert!(ask(&["--api-key-file", &in_file], &[]).to_string().contains("till"));
    let none: &[(&str, &str)] = &[];
    let refused = [
        (&[][..], none, 401, "API_KEY"),
        (&[][..], &[("API_KEY", "otc_wrong")][..], 401, "API_KEY"),
        (&["--tenant", "bank"][..], &own[..], 403, "--tenant"),
    ];
    for (more, variables, status, advice) in refused {
        let told = ask(more, variables);
        assert_eq!(told["error"]["data"]["status"], status, "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains(advice) && !message.contains(key), "{told}");
    }
}

#[tokio::test]
async fn without_keys_the_tenant_is_whom_the_client_names() {
    let server = Server::start(&[]).await;
    export(&server, "shop", &till()).await;
    server.settled().await;
    let cases: [(&[&str], bool); 2] = [(&["--tenant", "shop"], true), (&[], false)];
    for (more, is_known) in cases {
        let mut bridge = Bridge::start(&server.http, more, &[]);
        let params = json!({"name": "list_services", "arguments": {}});
        let answer = bridge.ask(&json!(1), "tools/call", params).to_string();
        assert_eq!(answer.contains("till"), is_known, "{answer}");
    }
}

fn till() -> ExportTraceServiceRequest {
    request("till", vec![span(1, 1, None, "pay", 2)])
}

/// A server of the test's own making, which answers only what it is made to.
struct Stage {
    listener: TcpListener,
}

impl Stage {
    fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn bridge(&self) -> Bridge {
        Bridge::start(&format!("http://{}/mcp", self.listener.local_addr().unwrap()), &[], &[])
    }

    /// The next connection, with the first bytes of its request read.
    fn called(&self) -> TcpStream {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(stream.read(&mut [0; 65_536]).unwrap() > 0);
        stream
    }
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_server_and_holds_up_no_other() {
    let stage = Stage::new();
    let mut bridge = stage.bridge();
    bridge.say(&asked(&json!(7), "tools/call", json!({"name": "triage"})).to_string());
    let mut slow = stage.called();
    bridge.say(&asked(&json!(8), "tools/list", json!({})).to_string());
    let mut quick = stage.called();
    let answer = json!({"jsonrpc": "2.0", "id": 8, "result": {}}).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(quick, "{head}content-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
    assert_eq!(bridge.hear()["id"], 8);
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    bridge.say(&cancelled.to_string());
    // What is left of the request, and then the end.
    let _rest = slow.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(bridge.end(), (Some(0), Vec::new()));
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let stage = Stage::new();
    let mut bridge = stage.bridge();
    bridge.say(&asked(&json!(7), "tools/call", json!({"name": "triage"})).to_string());
    let mut stream = stage.called();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    write!(stream, "{head}: alive\n\nid: 1\ndata:\n\n").unwrap();
    for step in 1..=2 {
        write!(
            stream,
            "event: message\ndata: {{\"jsonrpc\": \"2.0\",\ndata: \"method\": \"step/{step}\"}}\n\n"
        )
        .unwrap();
        assert_eq!(bridge.hear()["method"], format!("step/{step}"));
    }
    // A stream that ends before the answer is told.
    drop(stream);
    let told = bridge.hear();
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(7), &json!(-32_603)), "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("ended before the answer"), "{told}");

    bridge.say(&asked(&json!(9), "tools/call", json!({"name": "triage"})).to_string());
    let mut stream = stage.called();
    let answer = json!({"jsonrpc": "2.0", "id": 9, "result": {}});
    write!(stream, "{head}data: {answer}\n\n").unwrap();
    assert_eq!(bridge.hear(), answer);
    assert_eq!(bridge.end(), (Some(0), Vec::new()));
}

#[tokio::test]
async fn a_bound_is_kept_and_an_end_waits_for_answers_alone() {
    let stage = Stage::new();
    let mut bridge = stage.bridge();
    for id in 0..64 {
        bridge.say(&asked(&json!(id), "subscriptions/listen", json!({})).to_string());
    }
    let told = bridge.ask(&json!("one more"), "tools/list", json!({}));
    assert_eq!(told["error"]["code"], -32_000, "{told}");
    // Subscriptions would never end.
    assert_eq!(bridge.end(), (Some(0), Vec::new()));
}

#[tokio::test]
async fn who_reads_no_more_ends_it_quietly() {
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["mcp", "stdio", "--url", server.http.as_str()])
        .current_dir(&folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{{").unwrap();
    // Its input stays open.
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if PATIENCE < began.elapsed() {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.path().join("errors")).unwrap(), "");
    drop(input);
}

async fn check_client(mode: &str, revision: &str) {
    let server = troubled().await;
    let url = format!("http://{}/mcp", server.http);
    check_python(json!([PROGRAM, "mcp", "stdio", "--url", url]).to_string(), mode, revision).await;
}

#[tokio::test]
async fn the_python_client_calls_every_tool_over_stdio_in_the_modern_era() {
    check_client("auto", MODERN).await;
}

#[tokio::test]
async fn the_python_client_calls_every_tool_over_stdio_in_the_legacy_era() {
    check_client("legacy", LEGACY).await;
}
