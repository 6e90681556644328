//! Key files and the headers that tell who asks.

use std::net::{IpAddr, Ipv4Addr};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::external::External;
use super::keys::Keys;
use super::{key, tenant};

/// A key file: refused as a whole, or the same when it is written again.
pub(crate) fn keys(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(mut keys) = Keys::read(text) else { return };
    let written = keys.text();
    let again = Keys::read(&written).map(|keys| keys.text());
    assert_eq!(again.as_ref(), Ok(&written), "written again it is the same");
    let ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
    for id in &ids {
        assert!(keys.remove(id) && !keys.remove(id), "`{id}` is there once");
    }
    assert_eq!(keys.iter().count(), 0);
}

/// Headers, as lines of a letter for the name and a value: no two of them are believed, and no tenant is made up.
pub(crate) fn headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let name = match name {
            b't' => HeaderName::from_static("x-tenant-id"),
            b's' => HeaderName::from_static("x-scope-orgid"),
            b'u' => HeaderName::from_static("x-user"),
            _ => AUTHORIZATION,
        };
        headers.append(name, value);
    }
    let all = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let named = [all("x-tenant-id"), all("x-scope-orgid")].concat();
    if let Ok(tenant) = tenant::named(&headers) {
        let tenant = tenant.as_ref().map(|tenant| tenant.as_str().as_bytes());
        assert!(named.iter().all(|value| Some(*value) == tenant), "another tenant than every header names");
        assert_eq!(tenant.is_some(), !named.is_empty());
    }
    let credentials = all("authorization");
    if let Ok(shown) = key::shown(&headers) {
        assert_eq!(shown.is_some(), credentials.len() == 1);
        assert!(
            credentials.iter().all(|value| value.trim_ascii_start()[..6].eq_ignore_ascii_case(b"bearer"))
        );
    }
    let proxies = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    let external = External { proxies, header: HeaderName::from_static("x-user") };
    let near = external.vouches(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), &headers);
    assert!(near.is_none() || all("x-user").len() == 1);
    assert!(near.is_none_or(|name| !name.is_empty()));
    for peer in [None, Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))] {
        assert_eq!(external.vouches(peer, &headers), None, "a stranger is believed");
    }
}
