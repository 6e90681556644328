//! Under which names the server may be asked.
//!
//! A page of a stranger that a browser shows can have its own name lead to this machine, and then asks as if it had been
//! served from here (DNS rebinding). It has no key. Where none is required, what it cannot change is looked at: `Host`
//! and `Origin`, in which the browser writes the page's own name (RFC 9110, sections 7.2 and 10.1; RFC 6454).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

/// The names that are accepted; cheap to clone. Addresses and `localhost` always are.
#[derive(Debug, Clone, Default)]
pub struct Names {
    hosts: Arc<[String]>,
    origins: Arc<[String]>,
}

impl Names {
    /// Accepts `hosts`, a name or `name:port` each or `*` for any, and pages of `origins`, such as
    /// `https://app.example.com`, or `https://app.example.com:*` for any port.
    pub fn new(hosts: &[String], origins: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Self { hosts, origins: origins.iter().map(|origin| plain(origin)).collect() }
    }

    /// Why a request with this target and these headers is turned away, in words for its caller; none where it is not.
    pub fn objection(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        let authority = uri.authority().map(Authority::as_str).or(host).unwrap_or_default();
        if !self.accepts(authority) {
            return Some(
                "this name is not one of the server's; MCP_ALLOWED_HOSTS lists those that are accepted",
            );
        }
        self.objection_to_page(headers)
    }

    /// The same about the page that asks alone.
    pub fn objection_to_page(&self, headers: &HeaderMap) -> Option<&'static str> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let is_welcome = origins.all(|origin| origin.to_str().is_ok_and(|origin| self.welcomes(origin)));
        (!is_welcome).then_some("pages of this origin may not ask; MCP_ALLOWED_ORIGINS lists those that may")
    }

    fn accepts(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let Ok(parsed) = authority.parse::<Authority>() else { return false };
        let name = parsed.host();
        let listed = self.hosts.iter().any(|host| host == "*" || *host == authority || host == name);
        listed || name == "localhost" || is_address(name)
    }

    fn welcomes(&self, origin: &str) -> bool {
        let origin = plain(origin);
        if self.origins.iter().any(|listed| is_of(listed, &origin)) {
            return true;
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let name = authority.and_then(|authority| authority.parse::<Authority>().ok());
        // A page from an address of its own is a stranger too, unless that is this machine.
        name.is_some_and(|name| {
            let host = name.host().trim_matches(['[', ']']);
            host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        })
    }
}

/// An origin as browsers write it: in lower case, without the port that its scheme has anyway.
fn plain(origin: &str) -> String {
    let origin = origin.trim().trim_end_matches('/').to_ascii_lowercase();
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        if let Some(bare) = origin.strip_suffix(port).filter(|_| origin.starts_with(scheme)) {
            return bare.to_owned();
        }
    }
    origin
}

/// Whether an origin is the one that is listed, or has any port where that is listed as `*`.
fn is_of(listed: &str, origin: &str) -> bool {
    let Some(any_port) = listed.strip_suffix(":*") else { return listed == origin };
    let Some(rest) = origin.strip_prefix(any_port) else { return false };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)
}

fn is_address(name: &str) -> bool {
    name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Lets a request through that asks under an accepted name, or answers 403 as JSON.
///
/// For `axum::middleware::from_fn_with_state(names, auth::under_own_name)`.
pub async fn under_own_name(State(names): State<Names>, request: Request, next: Next) -> Response {
    match names.objection(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(message) => forbidden(message),
    }
}

fn forbidden(message: &str) -> Response {
    let body = json!({ "error": { "code": "forbidden_name", "message": message } }).to_string();
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(names: &Names, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        names.objection(&Uri::from_static("/api/v1/services"), &headers).is_none()
    }

    #[test]
    fn addresses_and_localhost_are_names_of_every_server() {
        let names = Names::default();
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "192.168.0.7:80"]
        {
            assert!(is_let_in(&names, host, None), "{host}");
        }
        for host in ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com:8080", "a b", "", "user@evil.com"]
        {
            assert!(!is_let_in(&names, host, None), "{host}");
        }
        assert!(names.objection(&Uri::from_static("/"), &HeaderMap::new()).is_some(), "no name at all");
        let absolute = Uri::from_static("http://evil.com/api/v1/services");
        assert!(names.objection(&absolute, &HeaderMap::new()).is_some(), "a name in the target");
    }

    #[test]
    fn pages_of_strangers_are_turned_away() {
        let names = Names::default();
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"] {
            assert!(is_let_in(&names, "localhost", Some(origin)), "{origin}");
        }
        for origin in ["https://evil.com", "null", "file://", "http://10.1.2.3", "http://localhost.evil.com"]
        {
            assert!(!is_let_in(&names, "localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn listed_names_are_accepted() {
        let hosts = ["otel.internal".to_owned(), " Shop:8080 ".to_owned()];
        let names = Names::new(&hosts, &["https://App.example.com:443/".to_owned()]);
        for host in ["otel.internal", "otel.internal:9999", "shop:8080"] {
            assert!(is_let_in(&names, host, Some("https://app.example.com")), "{host}");
        }
        assert!(!is_let_in(&names, "shop:8081", None));
        assert!(!is_let_in(&names, "otel.internal", Some("http://app.example.com")), "another scheme");
        assert!(is_let_in(&Names::new(&["*".to_owned()], &[]), "whatever", None));
        let names = Names::new(&[], &["http://App.example.com:*".to_owned()]);
        for origin in ["http://app.example.com", "http://app.example.com:8080"] {
            assert!(is_let_in(&names, "localhost", Some(origin)), "{origin}");
        }
        for origin in
            ["http://app.example.com1", "http://app.example.com:80.evil.com", "https://app.example.com"]
        {
            assert!(!is_let_in(&names, "localhost", Some(origin)), "{origin}");
        }
    }
}
