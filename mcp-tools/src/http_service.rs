//! The contract as an HTTP service, to be mounted at one path.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tower::Service;

use crate::gate::Gate;
use crate::server::Server;
use crate::triage::Triage;
use crate::unread;

/// What the service allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most questions answered at once; the next is refused with -32000. Zero is no limit.
    pub max_concurrent: usize,
    /// The time one question may take; then it errs with -32001. Zero is no limit.
    pub call_timeout: Duration,
    /// Largest request body, in bytes; a larger one is refused with 413.
    pub body_bytes_max: usize,
    /// Names or `name:port` accepted in the `Host` header besides loopback; `*` accepts any, for servers that look at it
    /// before.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, such as `https://app.example.com`, besides those served from
    /// loopback; without a port the scheme's default is meant, `:*` is any port. `null` is never accepted, unless `*`
    /// accepts any, for servers that look at it before.
    pub allowed_origins: Vec<String>,
}

impl Default for Limits {
    /// Thirty-two questions at once, thirty seconds each, bodies up to one mebibyte, loopback only.
    fn default() -> Self {
        Self {
            max_concurrent: 32,
            call_timeout: Duration::from_secs(30),
            body_bytes_max: 1024 * 1024,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// Returns the service that answers MCP over streamable HTTP, in every revision from 2024-11-05 to
/// 2026-07-28, without sessions.
///
/// Mount it with `Router::route_service`. Each request must carry a [`Triage::Caller`] in its extensions, put
/// there by the layer that checked the credential; a question without one errs with an internal error.
/// Requests with a `Host` or an `Origin` that is not allowed get 403. A body that is no message gets 400 and an error of
/// JSON-RPC, one that is too large 413 and another.
pub fn service<T: Triage>(triage: Arc<T>, limits: Limits) -> McpService<T> {
    let server = Server::new(triage, Gate::new(limits.max_concurrent, limits.call_timeout));
    let body_bytes_max = limits.body_bytes_max;
    let config = configuration(limits);
    let protocol = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    McpService { protocol, body_bytes_max }
}

/// The contract as an HTTP service; cheap to clone.
pub struct McpService<T: Triage> {
    protocol: StreamableHttpService<Server<T>, NeverSessionManager>,
    body_bytes_max: usize,
}

impl<T: Triage> Clone for McpService<T> {
    fn clone(&self) -> Self {
        Self { protocol: self.protocol.clone(), body_bytes_max: self.body_bytes_max }
    }
}

impl<T: Triage, B> Service<Request<B>> for McpService<T>
where
    B: Body + Send + 'static,
    B::Error: Display,
    B::Data: Send + 'static,
{
    type Response = Response<BoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        <_ as Service<Request<B>>>::poll_ready(&mut self.protocol, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut protocol, bytes_max) = (self.protocol.clone(), self.body_bytes_max);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let is_json = unread::is_json(&head.headers);
            let Some(body) = unread::whole(body, bytes_max).await else { return Ok(unread::cut_short()) };
            let answer = protocol.call(Request::from_parts(head, Full::new(body.clone()))).await?;
            Ok(match answer.status() {
                // Said of JSON, it means that it could not be read.
                StatusCode::UNSUPPORTED_MEDIA_TYPE if is_json => unread::no_message(&body),
                StatusCode::PAYLOAD_TOO_LARGE => unread::too_large(bytes_max),
                _ => answer,
            })
        })
    }
}

fn configuration(limits: Limits) -> StreamableHttpServerConfig {
    let loopback_hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let loopback_origins = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .flat_map(|host| [format!("http://{host}:*"), format!("https://{host}:*")]);
    let origins = limits.allowed_origins.iter().filter_map(|origin| with_port(origin));
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(limits.body_bytes_max)
        .with_allowed_origins(loopback_origins.chain(origins))
        .enforce_origin_validation();
    let has_any = |names: &[String]| names.iter().any(|name| name.trim() == "*");
    let config = if has_any(&limits.allowed_origins) { config.disable_allowed_origins() } else { config };
    if has_any(&limits.allowed_hosts) {
        return config.disable_allowed_hosts();
    }
    config.with_allowed_hosts(loopback_hosts.into_iter().chain(limits.allowed_hosts))
}

/// Gives an origin without a port the default of its scheme, as browsers do; none for `null` and for text
/// without a scheme, which no browser sends.
fn with_port(origin: &str) -> Option<String> {
    let origin = origin.trim().trim_end_matches('/');
    let (scheme, authority) = origin.split_once("://")?;
    let has_port = authority.rsplit(']').next().is_some_and(|after_address| after_address.contains(':'));
    let port = match scheme.to_ascii_lowercase().as_str() {
        _ if has_port => "",
        "http" => ":80",
        "https" => ":443",
        _ => ":*",
    };
    Some(format!("{origin}{port}"))
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_origin_means_the_port_its_browser_would_use() {
        for (origin, expected) in [
            ("https://app.example.com", Some("https://app.example.com:443")),
            ("http://app.example.com/", Some("http://app.example.com:80")),
            ("http://app.example.com:8080", Some("http://app.example.com:8080")),
            ("http://app.example.com:*", Some("http://app.example.com:*")),
            ("http://[::1]", Some("http://[::1]:80")),
            ("http://[::1]:9", Some("http://[::1]:9")),
            ("vscode-webview://x", Some("vscode-webview://x:*")),
            ("null", None),
            ("app.example.com", None),
        ] {
            assert_eq!(with_port(origin).as_deref(), expected, "{origin}");
        }
    }
}
