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
use crate::model::time::UnixNanos;

const KEY: &str = "s3cret-key";

const NOW: UnixNanos = UnixNanos(1_000);

fn options(api_key: Option<&str>) -> Options {
    Options {
        api_key: api_key.map(str::to_owned),
        key_file: None,
        external: None,
        default_tenant: TenantId::try_from("default").unwrap(),
        questions_per_second: 0,
    }
}

fn gate(api_key: Option<&str>) -> Authenticator {
    Authenticator::new(options(api_key), Clock::standing(NOW)).unwrap()
}

/// What a gate makes of headers that come from `peer`.
fn asked(
    gate: &Authenticator,
    surface: Surface,
    (headers, peer): (&HeaderMap, Option<&str>),
    right: Right,
) -> Result<Principal, Error> {
    let peer = peer.map(|peer| peer.parse().unwrap());
    gate.check(Asking { surface, headers, peer }, right)
        .inspect_err(|error| gate.shared.tally.count(surface, error))
}

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn tenant_of(gate: &Authenticator, pairs: &[(&'static str, &[u8])]) -> Result<String, Error> {
    let headers = headers(pairs);
    let principal = asked(gate, Surface::Http, (&headers, None), Right::Read);
    principal.map(|principal| principal.scope.tenant().to_string())
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
    let anybody = asked(&open, Surface::Http, (&HeaderMap::new(), None), Right::Admin).unwrap();
    assert_eq!((anybody.rights, anybody.holder), (Rights::ALL, Holder::Everyone));
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
    assert_eq!(gate.samples().count(), 19);
    assert!(gate.samples().all(|(_, _, count)| count == 0));
    let count = |surface, pairs: &[(&'static str, &[u8])]| {
        asked(&gate, surface, (&headers(pairs), None), Right::Ingest).unwrap_err();
    };
    count(Surface::Http, &[]);
    count(Surface::Grpc, &[("authorization", b"Bearer no")]);
    count(Surface::Grpc, &[("authorization", b"Bearer s3cret-key"), ("x-tenant-id", b"a,b")]);
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
    let policies = [("/who", Policy::Needs(Right::Read)), ("/open", Policy::Open)].into_iter().collect();
    let gate = Gate::new(gate(Some(KEY)), policies);
    let anybody = || async { "anybody" };
    let router =
        Router::new().route("/who", get(whoami)).route("/open", get(anybody)).route("/stray", get(anybody));
    let router = router.layer(from_fn_with_state(gate, layer));
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

#[tokio::test]
async fn i1_a_route_without_a_policy_lets_nobody_in() {
    let key = ("authorization", b"Bearer s3cret-key".as_slice());
    let (status, _, body) = through_the_layer("/open", &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "anybody"));
    let (status, _, body) = through_the_layer("/stray", &[key]).await;
    assert!(status == StatusCode::FORBIDDEN && body.contains("has no policy"), "{status}: {body}");
    assert_eq!(through_the_layer("/nowhere", &[key]).await.0, StatusCode::NOT_FOUND);
}

/// A gate with an operator's key and bound keys, which are named as their ids.
fn bound_gate(directory: &tempfile::TempDir, keys: &[(&str, &str, &[Right], Option<i64>)]) -> Authenticator {
    use std::os::unix::fs::PermissionsExt;
    let mut file = Keys::default();
    for (id, tenant, rights, expires) in keys {
        let tenant = TenantId::try_from(*tenant).unwrap();
        let rights = rights.iter().copied().collect();
        file.add(Key::new(id, id, tenant, rights, expires.map(UnixNanos)).unwrap()).unwrap();
    }
    let path = directory.path().join("keys.json");
    std::fs::write(&path, file.text()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let options = Options { key_file: Some(path), ..options(Some(KEY)) };
    Authenticator::new(options, Clock::standing(NOW)).unwrap()
}

#[test]
fn i3_a_bound_key_opens_its_tenant_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let all = [Right::Ingest, Right::Read];
    let gate = bound_gate(
        &directory,
        &[
            ("k-shop", "shop", &all, None),
            ("k-old", "shop", &all, Some(NOW.0)),
            ("k-new", "shop", &all, Some(NOW.0 + 1)),
        ],
    );
    let shop = ("authorization", b"Bearer k-shop".as_slice());
    assert_eq!(tenant_of(&gate, &[shop]), Ok("shop".into()));
    assert_eq!(tenant_of(&gate, &[shop, ("x-tenant-id", b"shop")]), Ok("shop".into()));
    for other in ["default", "shop2", "Shop", "sho"] {
        assert_eq!(
            tenant_of(&gate, &[shop, ("x-tenant-id", other.as_bytes())]),
            Err(Error::TenantBound),
            "{other}"
        );
        assert_eq!(
            tenant_of(&gate, &[shop, ("x-scope-orgid", other.as_bytes())]),
            Err(Error::TenantBound),
            "{other}"
        );
    }
    assert_eq!(Error::TenantBound.kind(), Kind::Denied);
    assert_eq!(tenant_of(&gate, &[("authorization", b"Bearer k-old")]), Err(Error::KeyExpired));
    assert_eq!(tenant_of(&gate, &[("authorization", b"Bearer k-new")]), Ok("shop".into()));
    assert_eq!(gate.keys(), 2);
    let twice = tempfile::tempdir().unwrap();
    let both = bound_gate(&twice, &[(KEY, "shop", &all[..1], None)]);
    let shown = [("authorization", b"Bearer s3cret-key".as_slice()), ("x-tenant-id", b"any")];
    assert_eq!(
        tenant_of(&both, &shown),
        Err(Error::NoRight(Right::Read)),
        "the operator's key, bound on purpose"
    );
    let operator = shown;
    assert_eq!(tenant_of(&gate, &operator), Ok("any".into()));
    for wrong in ["k-shop2", "K-SHOP", "k-sho", "shop"] {
        let value = format!("Bearer {wrong}");
        assert_eq!(tenant_of(&gate, &[("authorization", value.as_bytes())]), Err(Error::KeyWrong), "{wrong}");
    }
}

#[test]
fn i1_a_key_does_what_its_scopes_say() {
    let directory = tempfile::tempdir().unwrap();
    let each = [Right::Ingest, Right::Read, Right::Admin];
    let keys: [(&str, &str, &[Right], Option<i64>); 3] = [
        ("ingest", "t", &each[..1], None),
        ("read", "t", &each[1..2], None),
        ("admin", "t", &each[2..], None),
    ];
    let gate = bound_gate(&directory, &keys);
    for (id, _, rights, _) in keys {
        let value = format!("Bearer {id}");
        let headers = headers(&[("authorization", value.as_bytes())]);
        for right in each {
            let outcome = asked(&gate, Surface::Http, (&headers, None), right);
            assert_eq!(outcome.is_ok(), rights.contains(&right), "{id}: {right:?}");
            assert!(outcome.is_ok() || outcome == Err(Error::NoRight(right)));
        }
    }
}

#[test]
fn only_a_trusted_proxy_vouches_for_callers() {
    let external = External {
        proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        header: http::HeaderName::from_static("x-forwarded-user"),
    };
    let options = Options { external: Some(external), ..options(Some(KEY)) };
    let gate = Authenticator::new(options, Clock::standing(NOW)).unwrap();
    let user = ("x-forwarded-user", b"ada".as_slice());
    let check = |pairs: &[(&'static str, &[u8])], peer: Option<&str>, right| {
        asked(&gate, Surface::Http, (&headers(pairs), peer), right)
    };
    for peer in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"] {
        let principal = check(&[user, ("x-tenant-id", b"acme")], Some(peer), Right::Read).unwrap();
        assert_eq!(
            (principal.holder, principal.scope.tenant().as_str()),
            (Holder::External("ada".into()), "acme")
        );
        assert_eq!(check(&[user], Some(peer), Right::Admin), Err(Error::NoRight(Right::Admin)));
    }
    for peer in [None, Some("11.0.0.1"), Some("::1"), Some("127.0.0.1")] {
        assert_eq!(check(&[user], peer, Right::Read), Err(Error::KeyMissing), "{peer:?}");
    }
    let proxy = Some("10.0.0.1");
    assert_eq!(check(&[user, ("x-forwarded-user", b"eve")], proxy, Right::Read), Err(Error::KeyMissing));
    assert_eq!(check(&[("x-forwarded-user", b" ")], proxy, Right::Read), Err(Error::KeyMissing));
    assert_eq!(check(&[], proxy, Right::Read), Err(Error::KeyMissing));
    let wrong = [user, ("authorization", b"Bearer nope")];
    assert_eq!(check(&wrong, proxy, Right::Read), Err(Error::KeyWrong), "a wrong key is not made good");
}

#[tokio::test]
async fn i10_who_keeps_guessing_waits_and_good_keys_do_not() {
    let gate = gate(Some(KEY));
    let (wrong, good) =
        (headers(&[("authorization", b"Bearer no")]), headers(&[("authorization", b"Bearer s3cret-key")]));
    let took = async |headers: &HeaderMap, peer: &str| {
        let begin = std::time::Instant::now();
        let asking = Asking { surface: Surface::Http, headers, peer: Some(peer.parse().unwrap()) };
        let outcome = gate.admit(asking, Right::Read).await;
        (outcome.is_ok(), begin.elapsed() >= FAILURE_WAIT)
    };
    for _ in 0..20 {
        assert_eq!(took(&wrong, "10.0.0.1").await, (false, false));
    }
    assert_eq!(took(&wrong, "10.0.0.1").await, (false, true));
    assert_eq!(took(&good, "10.0.0.1").await, (true, false), "the same address with a good key");
    assert_eq!(took(&wrong, "10.0.0.2").await, (false, false), "another address");
}

#[tokio::test]
async fn questions_are_limited_by_key_and_not_by_what_can_be_forged() {
    let options = Options { questions_per_second: 5, ..options(Some(KEY)) };
    let gate = Authenticator::new(options, Clock::standing(NOW)).unwrap();
    let policies = [("/who", Policy::Needs(Right::Read))].into_iter().collect();
    let layer = from_fn_with_state(Gate::new(gate.clone(), policies), layer);
    let router = Router::new().route("/who", get(|| async { "you" })).layer(layer);
    let ask = async |number: u32| {
        let request = Request::get("/who")
            .header("authorization", "Bearer s3cret-key")
            .header("x-forwarded-for", format!("10.0.0.{number}"))
            .header("x-tenant-id", format!("t{number}"));
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    for number in 0..10 {
        assert_eq!(ask(number).await.status(), StatusCode::OK);
    }
    // Each earns a token in a fifth of a second; nobody is so slow for so long.
    let mut number = 10;
    let refused = loop {
        let response = ask(number).await;
        match response.status() {
            StatusCode::OK if number < 100_000 => number += 1,
            _ => break response,
        }
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let limited = gate.samples().find(|(name, ..)| *name == "otelcontext_api_rate_limited_total");
    assert_eq!(limited.map(|(.., count)| count), Some(1));
}
