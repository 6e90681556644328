//! The gate in front of the routes.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::fault::Kind;

use super::policy::{Policies, Policy};
use super::{Asking, Authenticator, Error};

/// What the gate knows; cheap to clone.
#[derive(Clone)]
pub struct Gate {
    authenticator: Authenticator,
    policies: Arc<Policies>,
}

impl Gate {
    /// A gate that asks callers for what `policies` say.
    pub fn new(authenticator: Authenticator, policies: Policies) -> Self {
        Self { authenticator, policies: Arc::new(policies) }
    }
}

/// Lets a request through to its route as the policy of that says, with its [`super::Principal`] and
/// [`crate::model::tenant::Scope`] among its extensions where the gate looked; else answers 401, 403, 400 or 429 as JSON, before
/// any of the body is read. What leads to no route goes on to the fallback.
///
/// For `axum::middleware::from_fn_with_state(gate, auth::layer)`.
pub async fn layer(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return next.run(request).await };
    let right = match gate.policies.of(path.as_str()) {
        Some(Policy::Open | Policy::Asks(_)) => return next.run(request).await,
        Some(Policy::Needs(right)) => right,
        None => return unlisted(),
    };
    let (mut head, body) = request.into_parts();
    let asking = Asking::http(&head);
    let peer = asking.peer;
    match gate.authenticator.admit(asking, right).await {
        Ok(principal) => {
            if let Err(wait) = gate.authenticator.question(&principal, peer) {
                return too_often(wait);
            }
            head.extensions.insert(principal.scope.clone());
            head.extensions.insert(principal);
            next.run(Request::from_parts(head, body)).await
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> Response {
    let (status, code) = match error.kind() {
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Denied => (StatusCode::FORBIDDEN, "denied"),
        _ => (StatusCode::BAD_REQUEST, "invalid_tenant"),
    };
    let mut response = answer(status, code, &error.to_string());
    if let Some(challenge) = error.challenge() {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn too_often(wait: std::time::Duration) -> Response {
    let message = "more questions than API_RATE_LIMIT_RPS allows; ask again later";
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    response
}

fn unlisted() -> Response {
    answer(StatusCode::FORBIDDEN, "denied", "this route has no policy and lets nobody in")
}

fn answer(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message } }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

impl Error {
    /// The `www-authenticate` value of a 401 or 403 for this error (RFC 6750, section 3).
    pub const fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(match self {
            Self::KeyMissing => r#"Bearer realm="otelcontext""#,
            Self::KeyWrong | Self::KeyExpired => r#"Bearer realm="otelcontext", error="invalid_token""#,
            Self::KeyMalformed => r#"Bearer realm="otelcontext", error="invalid_request""#,
            Self::NoRight(_) => r#"Bearer realm="otelcontext", error="insufficient_scope""#,
            Self::TenantBound | Self::TenantInvalid(_) | Self::TenantsConflict => return None,
        }))
    }
}
