//! Who is let in: the gate, the key file while it changes, and a look at each route before it is served.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Version, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::info;

use crate::auth::{self, Authenticator, Policy, Reload};
use crate::clock::Clock;
use crate::config::Config;
use crate::fault::chain;
use crate::vitals::metrics::Metrics;

use super::follow::Seen;
use super::routes::Behind;

/// Between two looks at the key file.
const LOOK: Duration = Duration::from_secs(1);
/// gRPC's code for a call without a credential.
const UNAUTHENTICATED: &str = "16";

/// The gate as `config` asks for it.
pub(super) fn authenticator(config: &Config, clock: &Clock) -> Result<Authenticator> {
    let external = config.access.external.as_ref();
    let options = auth::Options {
        api_key: config.api_key.clone(),
        key_file: config.access.key_file.clone(),
        external: external.map(|external| auth::External {
            proxies: external.proxies.clone(),
            header: external.header.clone(),
        }),
        default_tenant: config.default_tenant.clone(),
        questions_per_second: config.access.questions_per_second,
    };
    let shown = config.access.key_file.as_ref().map(|path| path.display().to_string());
    Authenticator::new(options, clock.clone())
        .with_context(|| format!("API_TENANT_KEYS_FILE {}", shown.unwrap_or_default()))
}

/// Reads the key file again whenever it changes.
pub(super) fn follow_keys(authenticator: Authenticator, stop: CancellationToken) -> JoinHandle<()> {
    let look = move || {
        Some(match authenticator.reload()? {
            Reload::Unchanged => Seen::Same,
            Reload::Read(keys) => {
                info!(keys, "the key file was read again");
                Seen::Other
            }
            Reload::Failed(error) => Seen::Unusable(chain(&error)),
        })
    };
    super::follow::follow(LOOK, "the key file cannot be read again; the keys stay as they were", look, stop)
}

/// Where a credential is required asks each route without one, and is content when those that need it refuse: what the
/// configuration says about keys is in force. It asks routers of its own, made like those that are served, so that what they
/// refuse is counted nowhere.
pub(super) async fn try_doors(config: &Config, behind: &Behind, served: &Authenticator) -> Result<()> {
    if !served.requires_key() {
        return Ok(());
    }
    let authenticator = served.apart();
    let receive = behind.receive(&authenticator);
    for (router, policies) in behind.routers(config, &receive, (&authenticator, &Metrics::default())) {
        for (path, policy) in policies.iter().filter(|(_, policy)| *policy != Policy::Open) {
            let asked = some_path(path);
            let response = router.clone().oneshot(question(&asked, policy)?).await?;
            if !refuses(&response) {
                bail!("{asked} lets callers in without a key, though keys are required; nothing is served");
            }
        }
    }
    Ok(())
}

fn question(path: &str, policy: Policy) -> Result<Request<Body>> {
    let method = if matches!(policy, Policy::Needs(_)) { Method::GET } else { Method::POST };
    let (version, kind) = match path.starts_with("/opentelemetry.") {
        true => (Version::HTTP_2, "application/grpc"),
        false => (Version::HTTP_11, "application/json"),
    };
    let request = Request::builder().method(method).uri(path).version(version);
    Ok(request.header(header::HOST, "localhost").header(header::CONTENT_TYPE, kind).body(Body::empty())?)
}

fn refuses(response: &Response<Body>) -> bool {
    let code = response.headers().get("grpc-status");
    response.status() == StatusCode::UNAUTHORIZED || code.is_some_and(|code| code == UNAUTHENTICATED)
}

/// A path that leads to the route `pattern`.
fn some_path(pattern: &str) -> String {
    let parts = pattern.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
