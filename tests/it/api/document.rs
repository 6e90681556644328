//! The OpenAPI document: well formed, complete, and what the server does.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use serde_json::{Map, Value};

use super::{TRACE, ask, fill, get, questions, schema, searchable, send};
use crate::server::Server;

fn document() -> Value {
    serde_json::from_str(&otelcontext::api::document()).unwrap()
}

fn paths(document: &Value) -> &Map<String, Value> {
    document["paths"].as_object().unwrap()
}

#[test]
fn the_document_is_reviewed_as_a_file() {
    let path = crate::server::checkout().join("docs/reference/openapi.json");
    let wanted = otelcontext::api::document();
    if fs::read_to_string(&path).unwrap_or_default() != wanted {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &wanted).unwrap();
        panic!("docs/reference/openapi.json was out of date; it is written anew: review and commit it");
    }
}

#[test]
fn the_document_is_well_formed() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for field in ["title", "version", "description"] {
        assert!(document["info"][field].as_str().is_some_and(|text| !text.is_empty()), "info.{field}");
    }
    let mut names = BTreeSet::new();
    for (path, item) in paths(&document) {
        assert!(path.starts_with("/api/v1/"), "{path}");
        let methods: Vec<&String> = item.as_object().unwrap().keys().collect();
        let wanted: &[&str] = if path == "/api/v1/sql" { &["get", "post"] } else { &["get"] };
        assert_eq!(methods, wanted, "{path}");
        for method in wanted {
            check_operation(path, &item[method], &mut names);
        }
    }
    check_references(&document, &document);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 20, "{}", schemas.len());
    for (name, schema) in schemas {
        check_described(schema, name);
    }
}

/// An operation says what it takes and answers, all of it bounded.
fn check_operation<'a>(path: &str, operation: &'a Value, names: &mut BTreeSet<&'a str>) {
    assert!(names.insert(operation["operationId"].as_str().unwrap()), "{path}: the name is not unique");
    for field in ["summary", "description"] {
        assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{path}: {field}");
    }
    let mut variables = BTreeSet::new();
    for parameter in operation["parameters"].as_array().unwrap() {
        let name = parameter["name"].as_str().unwrap();
        assert!(parameter["description"].as_str().is_some_and(|text| text.len() > 10), "{path} {name}");
        check_bounded(&parameter["schema"], &format!("{path} {name}"));
        if parameter["in"] == "path" {
            assert_eq!(parameter["required"], true, "{path} {name}");
            variables.insert(format!("{{{name}}}"));
        }
    }
    let in_path = path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
    assert_eq!(variables, in_path, "{path}: variables and parameters differ");
    let responses = operation["responses"].as_object().unwrap();
    for status in ["200", "400", "401", "500"] {
        assert!(responses.contains_key(status), "{path} {status}");
    }
    for (status, response) in responses {
        assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{path} {status}");
        let kind = match status.as_str() {
            "200" | "401" => "application/json",
            _ => "application/problem+json",
        };
        assert!(response["content"][kind]["schema"].is_object(), "{path} {status}");
    }
    if let Some(body) = operation.get("requestBody") {
        assert_eq!(body["required"], true, "{path}");
        for kind in ["text/plain", "application/sql"] {
            check_bounded(&body["content"][kind]["schema"], &format!("{path} {kind}"));
        }
        assert!(responses.contains_key("413") && responses.contains_key("415"), "{path}");
    }
}

/// Everything that a caller may send has a bound.
fn check_bounded(schema: &Value, at: &str) {
    let is_bounded = match schema["type"].as_str().unwrap() {
        "integer" => schema["minimum"].is_number() && schema["maximum"].is_number(),
        "string" => {
            schema["maxLength"].is_number() || schema["enum"].is_array() || schema["pattern"].is_string()
        }
        "array" => schema["maxItems"].is_number(),
        other => panic!("{at} is a {other}"),
    };
    assert!(is_bounded, "{at} has no bound: {schema}");
}

fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if fields.contains_key("$ref") {
                schema::resolved(document, part);
            }
            fields.values().for_each(|inner| check_references(document, inner));
        }
        Value::Array(list) => list.iter().for_each(|inner| check_references(document, inner)),
        _ => {}
    }
}

/// Every schema and each of its fields says what it is.
fn check_described(schema: &Value, at: &str) {
    let is_reference = schema.get("$ref").is_some();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        for (field, inner) in part["properties"].as_object().into_iter().flatten() {
            check_field(inner, &format!("{at}.{field}"));
        }
    }
    for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
        check_field(inner, &format!("{at}.{field}"));
    }
    assert!(is_reference || schema["description"].is_string(), "{at} is not described: {schema}");
}

fn check_field(schema: &Value, at: &str) {
    let choices = schema["oneOf"].as_array();
    let by_choice = choices.is_some_and(|all| all.iter().any(|one| one["description"].is_string()));
    assert!(
        schema["description"].is_string() || schema.get("$ref").is_some() || by_choice,
        "{at} is not described: {schema}"
    );
}

/// A documented path with something in place of its variables.
fn filled_in(path: &str) -> String {
    path.replace("{name}", "shop-front").replace("{trace_id}", TRACE)
}

#[tokio::test]
async fn every_documented_route_is_served_and_behaves() {
    let server = Server::start(&[("DEFAULT_TENANT", "shop")]).await;
    fill(&server, "shop", "shop").await;
    server.settled().await;
    for path in paths(&document()).keys() {
        let takes_post = path.ends_with("/sql");
        let allow = if takes_post { "GET, HEAD, POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        let mut at = filled_in(path);
        if path.ends_with("/impact") {
            at.push_str("?service=shop-back");
        }
        if path.ends_with("/metrics/query") {
            at.push_str("?name=shop.queue&function=last");
        }
        if takes_post {
            at.push_str("?q=SELECT+1+AS+one");
        }
        let told = get(&server, "shop", &at).await;
        assert_eq!(told.status, 200, "{at}: {}", told.text);
        let head = send(&server, Method::HEAD, "shop", &at).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{at}");
        assert_eq!(head.header("content-type"), "application/json", "{at}");
        assert!(head.header("content-length").parse::<u64>().unwrap() > 1, "{at}");
        let options = send(&server, Method::OPTIONS, "shop", &at).await;
        assert_eq!((options.status, options.header("allow")), (204, allow), "{at}");
        let methods = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
        for method in methods.into_iter().filter(|method| !takes_post || method != Method::POST) {
            let told = send(&server, method.clone(), "shop", &at).await;
            assert_eq!((told.status, told.header("allow")), (405, allow), "{method} {at}");
            assert_eq!(told.json()["type"], "urn:otelcontext:problem:method-not-allowed", "{method} {at}");
        }
    }
    for path in
        ["/api/v1", "/api/v1/", "/api/v1/service", "/api/v1/traces/x/y", "/api/v1/services/", "/api/v1/sqls"]
    {
        let told = get(&server, "shop", path).await;
        assert_eq!(told.status, 404, "{path}: {}", told.text);
        assert_eq!(told.json()["type"], "urn:otelcontext:problem:no-such-route", "{path}");
    }
    let counted =
        server.metric("otelcontext_api_requests_total{route=\"/api/v1/services\",status=\"ok\"}").await;
    assert_eq!(counted, 3.0, "GET, HEAD and OPTIONS");
    let told = get(&server, "shop", "/api/v1/service").await.json();
    assert_eq!(told["suggestion"], "/api/v1/services", "{told}");
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let server = Server::start(&[("DEFAULT_TENANT", "shop")]).await;
    fill(&server, "shop", "shop").await;
    searchable(&server, "shop").await;
    let document = document();
    let mut seen = BTreeSet::new();
    let sql = "/sql?q=SELECT+*+FROM+v_services";
    for question in questions("shop").into_iter().chain([sql.to_owned()]) {
        let answer = ask(&server, "shop", &question).await;
        let asked = format!("/api/v1{}", question.split('?').next().unwrap());
        let (path, item) = paths(&document).iter().find(|(path, _)| filled_in(path) == asked).unwrap();
        seen.insert(path.clone());
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let faults = schema::faults(&document, schema, &answer);
        assert!(faults.is_empty(), "{question}: {faults:#?}");
    }
    assert_eq!(seen.len(), paths(&document).len(), "a route is not asked");
    let problem = get(&server, "shop", "/api/v1/traces?servce=x").await.json();
    let schema = &document["components"]["schemas"]["Problem"];
    assert_eq!(schema::faults(&document, schema, &problem), Vec::<String>::new(), "{problem}");
    assert_eq!(ask(&server, "shop", "/openapi.json").await, document);
}
