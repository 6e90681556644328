//! The gate in front of every route that is not OTLP.

use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use crate::fault::Kind;

use super::Authenticator;
use super::Error;

/// Lets a request through with its [`super::Principal`] and [`crate::model::tenant::Scope`] among its
/// extensions, or answers 401 or 400 as JSON, before any of the body is read.
///
/// For `axum::middleware::from_fn_with_state(authenticator, auth::layer)`. The OTLP routes ask the
/// [`Authenticator`] themselves, because their refusals must speak the caller's encoding.
pub async fn layer(State(authenticator): State<Authenticator>, mut request: Request, next: Next) -> Response {
    match authenticator.authenticate(request.headers()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal.scope.clone());
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> Response {
    let (status, code) = match error.kind() {
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        _ => (StatusCode::BAD_REQUEST, "invalid_tenant"),
    };
    let body = json!({ "error": { "code": code, "message": error.to_string() } }).to_string();
    let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, error.challenge());
    }
    response
}

impl Error {
    /// The `www-authenticate` value of a 401 for this error (RFC 6750, section 3).
    pub const fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::KeyWrong => r#"Bearer realm="otelcontext", error="invalid_token""#,
            Self::KeyMalformed => r#"Bearer realm="otelcontext", error="invalid_request""#,
            _ => r#"Bearer realm="otelcontext""#,
        })
    }
}
