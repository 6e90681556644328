use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::HeaderValue;
use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

const KEY: &str = "s3cret-key";

fn gate(api_key: Option<&str>) -> Authenticator {
    let default_tenant = TenantId::try_from("default").unwrap();
    Authenticator::new(Options { api_key: api_key.map(str::to_owned), default_tenant })
}

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn tenant_of(gate: &Authenticator, pairs: &[(&'static str, &[u8])]) -> Result<String, Error> {
    gate.authenticate(&headers(pairs)).map(|principal| principal.scope.tenant().to_string())
}

#[test]
fn i2_only_the_whole_key_in_one_bearer_header_opens() {
    let gate = gate(Some(KEY));
    for value in ["Bearer s3cret-key", "bearer s3cret-key", "BEARER   s3cret-key ", "Bearer\ts3cret-key"] {
        assert_eq!(tenant_of(&gate, &[("authorization", value.as_bytes())]), Ok("default".into()), "{value}");
    }
    let cases: [(&[u8], Error); 9] = [
        (b"", Error::KeyMalformed),
        (b"Bearer", Error::KeyMalformed),
        (b"Bearer ", Error::KeyMalformed),
        (b"s3cret-key", Error::KeyMalformed),
        (b"Basic s3cret-key", Error::KeyMalformed),
        (b"Bearer s3cret-kez", Error::KeyWrong),
        (b"Bearer s3cret-key2", Error::KeyWrong),
        (b"Bearer S3CRET-KEY", Error::KeyWrong),
        (b"Bearer s3cret-key, Bearer s3cret-key", Error::KeyWrong),
    ];
    for (value, error) in cases {
        assert_eq!(tenant_of(&gate, &[("authorization", value)]), Err(error), "{value:?}");
    }
    assert_eq!(tenant_of(&gate, &[]), Err(Error::KeyMissing));
    let good = ("authorization", b"Bearer s3cret-key".as_slice());
    assert_eq!(tenant_of(&gate, &[good, good]), Err(Error::KeyMalformed));
    assert_eq!(tenant_of(&gate, &[("x-api-key", KEY.as_bytes())]), Err(Error::KeyMissing));
}

#[test]
fn an_empty_key_admits_nobody_and_no_key_admits_all() {
    let shut = gate(Some(""));
    assert!(shut.requires_key());
    for value in ["Bearer", "Bearer ", "Bearer x"] {
        assert!(tenant_of(&shut, &[("authorization", value.as_bytes())]).is_err(), "{value}");
    }
    let open = gate(None);
    assert!(!open.requires_key());
    assert_eq!(tenant_of(&open, &[("authorization", b"Basic whatever")]), Ok("default".into()));
    assert!(open.authenticate(&HeaderMap::new()).unwrap().operator);
}

#[test]
fn i3_the_tenant_headers_name_one_plain_tenant() {
    let gate = gate(None);
    let long = "x".repeat(129);
    assert_eq!(tenant_of(&gate, &[("x-tenant-id", b"team-a")]), Ok("team-a".into()));
    assert_eq!(tenant_of(&gate, &[("X-Scope-OrgID", b"team-a")]), Ok("team-a".into()));
    let agreeing = [("x-tenant-id", b"a".as_slice()), ("x-scope-orgid", b"a"), ("x-tenant-id", b"a")];
    assert_eq!(tenant_of(&gate, &agreeing), Ok("a".into()));
    for name in ["x-tenant-id", "x-scope-orgid"] {
        let bad: [&[u8]; 12] = [
            b"",
            b".",
            b"..",
            b"a/b",
            b"a,b",
            b"a|b",
            b"%2e",
            b"a b",
            b"\xc3\xa9",
            b"a\tb",
            b"\\",
            long.as_bytes(),
        ];
        for value in bad {
            let error = tenant_of(&gate, &[(name, value)]).unwrap_err();
            assert_eq!(error, Error::TenantInvalid(InvalidTenant), "{name}: {value:?}");
            assert_eq!(error.kind(), Kind::Invalid);
        }
    }
    let two = [("x-tenant-id", b"a".as_slice()), ("x-tenant-id", b"b")];
    assert_eq!(tenant_of(&gate, &two), Err(Error::TenantsConflict));
    let aliases = [("x-tenant-id", b"a".as_slice()), ("x-scope-orgid", b"b")];
    assert_eq!(tenant_of(&gate, &aliases), Err(Error::TenantsConflict));
    let hidden = [("x-tenant-id", b"a".as_slice()), ("x-scope-orgid", b"..")];
    assert_eq!(tenant_of(&gate, &hidden), Err(Error::TenantInvalid(InvalidTenant)));
}

#[test]
fn the_key_is_asked_for_before_the_tenant() {
    assert_eq!(tenant_of(&gate(Some(KEY)), &[("x-tenant-id", b"..")]), Err(Error::KeyMissing));
}

#[test]
fn refusals_are_counted_by_surface_and_reason_from_zero() {
    let gate = gate(Some(KEY));
    assert_eq!(gate.samples().count(), 10);
    assert!(gate.samples().all(|(_, _, count)| count == 0));
    let _ = gate.authenticate(&HeaderMap::new());
    let _ = gate.authenticate_grpc(&headers(&[("authorization", b"Bearer no")]));
    let clash = headers(&[("authorization", b"Bearer s3cret-key"), ("x-tenant-id", b"a,b")]);
    let _ = gate.authenticate_grpc(&clash);
    let counted: BTreeMap<String, u64> = gate
        .samples()
        .filter(|(_, _, count)| 0 < *count)
        .map(|(name, labels, count)| (format!("{name} {labels:?}"), count))
        .collect();
    let expected = [
        (r#"otelcontext_api_auth_failures_total [("reason", "missing_header")]"#, 1),
        (r#"otelcontext_auth_tenant_conflicts_total [("surface", "grpc"), ("reason", "invalid_name")]"#, 1),
        (r#"otelcontext_grpc_auth_failures_total [("reason", "bad_key")]"#, 1),
    ];
    assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

async fn through_the_layer(uri: &str, pairs: &[(&'static str, &[u8])]) -> (StatusCode, HeaderMap, String) {
    let whoami = |Extension(scope): Extension<Scope>, Extension(principal): Extension<Principal>| async move {
        assert_eq!(principal.scope, scope);
        scope.tenant().to_string()
    };
    let gate = gate(Some(KEY));
    let router = Router::new().route("/who", get(whoami)).layer(from_fn_with_state(gate, layer));
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    *request.headers_mut() = headers(pairs);
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_layer_hands_on_the_scope_or_answers_itself() {
    let key = ("authorization", b"Bearer s3cret-key".as_slice());
    let (status, _, body) = through_the_layer("/who", &[key, ("x-tenant-id", b"acme")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "acme"));

    let (status, headers, body) = through_the_layer("/who?api_key=s3cret-key&token=s3cret-key", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="otelcontext""#);
    assert_eq!(headers["content-type"], "application/json");
    assert!(body.contains(r#""code":"unauthenticated""#) && !body.contains(KEY), "{body}");

    let (status, headers, _) = through_the_layer("/who", &[("authorization", b"Bearer nope")]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="otelcontext", error="invalid_token""#);

    let (status, headers, body) = through_the_layer("/who", &[key, ("x-tenant-id", b"a|b")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!headers.contains_key("www-authenticate") && body.contains("invalid_tenant"), "{body}");
}
