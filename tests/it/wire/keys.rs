//! Who may do what: every route of every port, asked with every kind of credential.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otelcontext::api;
use otelcontext::auth::{Policy, Right};
use otelcontext::model::batch::Signal;
use otelcontext::receive::Receive;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::server::{Server, program};

use super::{Answer, JSON, call_grpc, channel, grpc_path, post, send};

pub(super) const OPERATOR: &str = "an-operator-of-this-test";
pub(super) const EACH: [Right; 3] = [Right::Ingest, Right::Read, Right::Admin];

/// A key file and the program that changes it.
pub(super) struct KeyFile {
    folder: TempDir,
}

impl KeyFile {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let path = self.path().display().to_string();
        program(self.folder.path(), &[("API_TENANT_KEYS_FILE", path)], arguments).await
    }

    /// Makes a key; answers it.
    pub(super) async fn key(&self, tenant: &str, scopes: &str, more: &[&str]) -> String {
        let arguments = ["keys", "new", "--tenant", tenant, "--scope", scopes];
        let (succeeded, said) = self.run(&[&arguments[..], more].concat()).await;
        assert!(succeeded, "{said}");
        said.lines().next().unwrap().to_owned()
    }

    /// Puts `text` in its place at once, as a secret mount does.
    fn replace(&self, text: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(beside, self.path()).unwrap();
    }

    pub(super) async fn server(&self) -> Server {
        let path = self.path().display().to_string();
        let variables = [("API_KEY", OPERATOR), ("API_TENANT_KEYS_FILE", &path), ("API_RATE_LIMIT_RPS", "0")];
        Server::start(&variables).await
    }
}

/// What a caller shows, and what it is worth.
struct Shown {
    name: &'static str,
    headers: Vec<(&'static str, String)>,
    /// What it may do; or why it is turned away everywhere, as a status.
    worth: Result<Vec<Right>, u16>,
}

fn shown(name: &'static str, key: &str, tenant: Option<&str>, worth: Result<&[Right], u16>) -> Shown {
    let mut headers = vec![("authorization", format!("Bearer {key}"))];
    headers.extend(tenant.map(|tenant| ("x-tenant-id", tenant.to_owned())));
    Shown { name, headers, worth: worth.map(<[Right]>::to_vec) }
}

impl Shown {
    /// The status that a route with this policy answers, where it turns the caller away.
    fn refusal(&self, policy: Policy) -> Option<u16> {
        let (Policy::Needs(right) | Policy::Asks(right)) = policy else { return None };
        match &self.worth {
            Err(status) => Some(*status),
            Ok(rights) => (!rights.contains(&right)).then_some(403),
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

async fn credentials(file: &KeyFile) -> Vec<Shown> {
    let mut all = vec![
        Shown { name: "none", headers: Vec::new(), worth: Err(401) },
        shown("wrong", "otc_wrong", None, Err(401)),
        shown("operator", OPERATOR, None, Ok(&EACH)),
        shown("operator for another tenant", OPERATOR, Some("elsewhere"), Ok(&EACH)),
        Shown { name: "in the clear", headers: vec![("x-api-key", OPERATOR.into())], worth: Err(401) },
        Shown { name: "vouched", headers: vec![("x-forwarded-user", "ada".into())], worth: Err(401) },
    ];
    for (at, scopes) in [(0, "ingest"), (1, "read"), (2, "admin")] {
        let key = file.key("shop", scopes, &[]).await;
        all.push(shown(scopes, &key, None, Ok(&EACH[at..=at])));
        all.push(shown("its own tenant", &key, Some("shop"), Ok(&EACH[at..=at])));
    }
    let whole = file.key("shop", "ingest,read,admin", &[]).await;
    all.push(shown("all scopes", &whole, None, Ok(&EACH)));
    all.push(shown("another's tenant", &whole, Some("default"), Err(403)));
    let revoked = file.key("shop", "ingest,read,admin", &["--id", "gone"]).await;
    assert!(file.run(&["keys", "revoke", "gone"]).await.0);
    all.push(shown("revoked", &revoked, None, Err(401)));
    let expired = file.key("shop", "ingest,read,admin", &["--id", "old", "--expires", "1h"]).await;
    let mut keys: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let old = keys["keys"].as_array_mut().unwrap().iter_mut().find(|key| key["id"] == "old").unwrap();
    old["expires"] = "2020-01-01T00:00:00Z".into();
    file.replace(&keys.to_string());
    all.push(shown("expired", &expired, None, Err(401)));
    all
}

/// A path that leads to the route `pattern`.
fn path_to(pattern: &str) -> String {
    pattern
        .split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

async fn ask_http(address: String, pattern: String, policy: Policy, caller: Arc<Shown>) {
    let method = if pattern.starts_with("/v1") { Method::POST } else { Method::GET };
    let headers = [vec![JSON], caller.headers()].concat();
    let answer = send(method, &address, &path_to(&pattern), &headers, Vec::new()).await;
    let case = format!("{} on {pattern}: {}", caller.name, answer.text());
    match caller.refusal(policy) {
        Some(status) => assert_eq!(answer.status, status, "{case}"),
        // A route may have reasons of its own.
        None if answer.text().contains("urn:otelcontext:problem:denied") => {}
        None => assert!(![401, 403].contains(&answer.status), "{}: {case}", answer.status),
    }
    assert_eq!(answer.headers.contains_key("www-authenticate"), is_challenge(&answer), "{case}");
}

async fn ask_grpc(channel: Channel, path: String, policy: Policy, caller: Arc<Shown>) {
    let outcome = call_grpc(&channel, &path, &caller.headers(), &[]).await;
    let code = outcome.map_or_else(|status| status.code(), |_| Code::Ok);
    let case = format!("{} on {path}", caller.name);
    match caller.refusal(policy) {
        Some(401) => assert_eq!(code, Code::Unauthenticated, "{case}"),
        Some(_) => assert_eq!(code, Code::PermissionDenied, "{case}"),
        None => assert_eq!(code, Code::Ok, "{case}"),
    }
}

#[tokio::test]
async fn i1_every_route_asks_every_caller_for_what_its_policy_says() {
    let file = KeyFile::new();
    let callers = credentials(&file).await;
    let server = file.server().await;
    let channel = channel(&server).await;
    let open = api::PROBES.map(|path| (path.to_owned(), Policy::Open));
    let questions = api::policies().map(|(path, policy)| (path.to_owned(), policy));
    let agents = ("/mcp".to_owned(), Policy::Needs(Right::Read));
    let telemetry: Vec<_> = Receive::policies_http().collect();
    let main: Vec<_> = open.into_iter().chain(questions).chain([agents]).chain(telemetry.clone()).collect();
    assert!(main.iter().filter(|(_, policy)| *policy != Policy::Open).count() >= 22);
    let callers: Vec<Arc<Shown>> = callers.into_iter().map(Arc::new).collect();
    // All at once: who tries wrong keys waits for the answers.
    let mut asking = JoinSet::new();
    for caller in &callers {
        for (address, routes) in [(&server.http, &main), (&server.otlp_http, &telemetry)] {
            for (pattern, policy) in routes {
                asking.spawn(ask_http(address.clone(), pattern.clone(), *policy, Arc::clone(caller)));
            }
        }
        for (path, policy) in Receive::policies_grpc() {
            asking.spawn(ask_grpc(channel.clone(), path, policy, Arc::clone(caller)));
        }
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    let log = server.log();
    assert!(callers.iter().flat_map(|caller| &caller.headers).all(|(_, value)| {
        !value.starts_with("Bearer ") || !log.contains(value.trim_start_matches("Bearer "))
    }));
}

/// RFC 6750 has a challenge with what a better key would change.
pub(super) fn is_challenge(answer: &Answer) -> bool {
    answer.status == 401 || answer.status == 403 && answer.text().contains("the scope")
}

#[tokio::test]
async fn i3_the_tenant_of_a_key_wins() {
    let file = KeyFile::new();
    let key = file.key("shop", "ingest,read", &[]).await;
    let server = file.server().await;
    let bearer = format!("Bearer {key}");
    let body = prost::Message::encode_to_vec(&crate::client::request(
        "till",
        vec![crate::client::span(1, 1, None, "pay", 2)],
    ));
    let headers = [super::PROTOBUF, ("authorization", bearer.as_str())];
    super::accepted(
        &post(&server.otlp_http, Signal::Traces, &headers, body.clone()).await,
        super::PROTOBUF,
        "own",
    );
    let forged = [headers[0], headers[1], ("x-tenant-id", "bank")];
    let refused = post(&server.otlp_http, Signal::Traces, &forged, body.clone()).await;
    super::refused(&refused, 403, super::PROTOBUF, "a header against the key");
    let channel = channel(&server).await;
    let refused = call_grpc(&channel, grpc_path(Signal::Traces), &forged[1..], &body).await;
    super::refused_grpc(refused, Code::PermissionDenied, "a header against the key");
    server.settled().await;
    let services = async |tenant: &str| {
        let operator = format!("Bearer {OPERATOR}");
        let headers = [("authorization", operator.as_str()), ("x-tenant-id", tenant)];
        send(Method::GET, &server.http, "/api/v1/services", &headers, Vec::new()).await.text()
    };
    assert!(services("shop").await.contains("till"));
    assert!(!services("bank").await.contains("till"));
    let own = send(Method::GET, &server.http, "/api/v1/services", &headers[1..], Vec::new()).await;
    assert!(own.status == 200 && own.text().contains("till"), "{}", own.text());
    assert_eq!(
        server.metric("otelcontext_auth_tenant_conflicts_total{surface=\"http\",reason=\"bound_key\"}").await,
        1.0
    );
}

#[tokio::test]
async fn i8_the_key_file_is_followed_while_the_server_runs() {
    let file = KeyFile::new();
    let first = file.key("shop", "read", &["--id", "first"]).await;
    let server = file.server().await;
    let status = async |key: &str| {
        let bearer = format!("Bearer {key}");
        send(Method::GET, &server.http, "/api/v1/services", &[("authorization", bearer.as_str())], Vec::new())
            .await
            .status
    };
    let until = async |key: &str, wanted: u16| {
        server
            .until("the key file to be followed", async || (status(key).await == wanted).then_some(()))
            .await;
    };
    assert_eq!(status(&first).await, 200);
    let second = file.key("shop", "read", &["--id", "second"]).await;
    until(&second, 200).await;
    assert_eq!(status(&first).await, 200);
    assert_eq!(server.metric("otelcontext_auth_keys").await, 2.0);
    assert!(file.run(&["keys", "revoke", "first"]).await.0);
    until(&first, 401).await;
    assert_eq!(status(&second).await, 200);
    let text = std::fs::read_to_string(file.path()).unwrap();
    file.replace(&text[..text.len() / 2]);
    server
        .until("the failure to be counted", async || {
            let failed = server.metric("otelcontext_auth_key_file_reloads_total{result=\"failed\"}").await;
            (failed >= 1.0).then_some(())
        })
        .await;
    assert_eq!(status(&second).await, 200, "half a file changes nothing");
    file.replace(&text);
    let third = file.key("shop", "read", &[]).await;
    until(&third, 200).await;
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let file = KeyFile::new();
    let key = file.key("shop", "ingest", &["--expires", "90d"]).await;
    assert!(key.starts_with("otc_") && key.len() == 47, "{key}");
    let again = file.key("shop", "ingest", &[]).await;
    assert_ne!(key, again);
    let (_, listed) = file.run(&["keys", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<&str> =
        listed["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["shop-ingest", "shop-ingest-2"]);
    assert_eq!(listed["keys"][0]["expired"], false);
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains(&key) && !text.contains(&again));
    assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let refused: [(&[&str], &str); 8] = [
        (&["keys", "new", "--tenant", "..", "--scope", "read"], "--tenant"),
        (&["keys", "new", "--tenant", "t", "--scope", "write"], "ingest, read, admin"),
        (&["keys", "new", "--tenant", "t"], "--scope"),
        (&["keys", "new", "--tenant", "t", "--scope", "read", "--expires", "soon"], "90d"),
        (
            &["keys", "new", "--tenant", "t", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"],
            "to come",
        ),
        (&["keys", "new", "--tenant", "t", "--scope", "read", "--id", "shop-ingest"], "is there already"),
        (&["keys", "new", "--tenant", "t", "--scope", "read", "--stdin"], "at least 20"),
        (&["keys", "revoke", "nobody"], "has no key `nobody`"),
    ];
    for (arguments, wanted) in refused {
        let (succeeded, said) = file.run(arguments).await;
        assert!(!succeeded && said.contains(wanted), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text, "what is refused changes nothing");
    let (succeeded, said) = program(file.folder.path(), &[], &["keys", "list"]).await;
    assert!(!succeeded && said.contains("API_TENANT_KEYS_FILE"), "{said}");
}

#[tokio::test]
async fn a_server_does_not_start_on_a_key_file_that_is_no_secret() {
    let file = KeyFile::new();
    file.key("shop", "read", &[]).await;
    let start = async |path: &Path| {
        let variables = [("API_TENANT_KEYS_FILE", path.display().to_string()), ("HTTP_PORT", "0".to_owned())];
        let ports = [("GRPC_PORT", "0".to_owned()), ("OTLP_HTTP_PORT", "0".to_owned())];
        program(file.folder.path(), &[&variables[..], &ports].concat(), &["serve"]).await
    };
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (succeeded, said) = start(&file.path()).await;
    assert!(!succeeded && said.contains("chmod 600"), "{said}");
    let (succeeded, said) = start(&file.folder.path().join("missing.json")).await;
    assert!(!succeeded && said.contains("missing.json"), "{said}");
}
