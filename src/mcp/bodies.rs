//! The bodies of calls: how large one may be, how many bytes all of them hold, and in what time one has to come.
//!
//! They have a budget of their own, so that agents are answered also while what is sent to the server fills its own. Each
//! piece is admitted before it is kept; what is past a bound is refused in the words of JSON-RPC, about no message, for none
//! was read.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::admit::{self, Budget, Permit};

use super::Caller;

/// Bytes that the bodies of all calls may hold: 32 of the largest. One tenant has half beside others.
const BYTES_MAX: u64 = 32 << 20;
/// How long the body of a call may take to come.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Gathers the bodies of calls; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    budget: Budget,
    body_bytes_max: usize,
}

/// Why a body was not taken.
#[derive(Debug)]
enum Refused {
    Unfit(admit::Error),
    CutShort,
    Late,
}

impl Bodies {
    /// Bodies of so many bytes at most.
    pub(super) fn new(body_bytes_max: usize) -> Self {
        Self { budget: Budget::new(BYTES_MAX), body_bytes_max }
    }

    /// Lets a call through once its body has come, which is counted until the answer begins; or tells why not: who sends a
    /// byte now and then must not hold a place.
    pub(super) async fn gathered(self, request: Request, next: Next) -> Response {
        let (head, body) = request.into_parts();
        let permit = match head.extensions.get::<Caller>() {
            Some(caller) => self.budget.permit_for(caller.scope.tenant(), self.body_bytes_max),
            None => self.budget.permit(self.body_bytes_max),
        };
        let come = tokio::time::timeout(TIME_MAX, whole(body, permit)).await;
        match come.unwrap_or(Err(Refused::Late)) {
            Ok((body, permit)) => {
                let response = next.run(Request::from_parts(head, body.into())).await;
                drop(permit);
                response
            }
            Err(refused) => refused.into_response(),
        }
    }
}

/// The whole body in one piece, and what it holds of the budget.
async fn whole(mut body: Body, mut permit: Permit) -> Result<(Bytes, Permit), Refused> {
    let bytes_max = permit.request_bytes_max();
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Refused::Unfit(admit::Error::TooLarge { bytes_max }));
    }
    let (mut first, mut read) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_gone| Refused::CutShort)?.into_data() else { continue };
        permit.grow(piece.len()).map_err(Refused::Unfit)?;
        if first.is_empty() && read.is_empty() {
            first = piece;
        } else {
            read.extend_from_slice(&std::mem::take(&mut first));
            read.extend_from_slice(&piece);
        }
    }
    Ok((if read.is_empty() { first } else { read.freeze() }, permit))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Unfit(admit::Error::TooLarge { bytes_max }) => {
                let message = format!("a call has at most {bytes_max} bytes");
                (StatusCode::PAYLOAD_TOO_LARGE, mcp_tools::refusal_json(&message))
            }
            Self::Unfit(full) => {
                let message = format!("{full}: call again in a moment");
                (StatusCode::SERVICE_UNAVAILABLE, mcp_tools::overloaded_json(&message))
            }
            Self::CutShort => {
                let message = "the body of the call did not come whole";
                (StatusCode::BAD_REQUEST, mcp_tools::refusal_json(message))
            }
            Self::Late => {
                let message = "the body of the call did not come in time";
                (StatusCode::REQUEST_TIMEOUT, mcp_tools::refusal_json(message))
            }
        };
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use axum::Router;
    use axum::http::Request;
    use axum::middleware;
    use axum::routing::post;
    use http_body::Frame;
    use serde_json::Value;
    use tokio::sync::Semaphore;
    use tower::ServiceExt;

    use super::*;
    use crate::model::tenant::{Scope, TenantId};

    async fn call(router: &Router, tenant: &str, bytes: usize) -> Response {
        let mut request = Request::post("/").body(Body::from("x".repeat(bytes))).unwrap();
        let scope = Scope::authorized(TenantId::try_from(tenant).unwrap());
        request.extensions_mut().insert(Caller { scope, may_write: false });
        router.clone().oneshot(request).await.unwrap()
    }

    async fn check(response: Response, status: u16, code: i64, expected: &str) {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &Value::from(code)), "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains(expected), "{told}");
    }

    #[tokio::test]
    async fn bodies_of_calls_hold_so_many_bytes_and_no_more() {
        let (bodies, go_on) =
            (Bodies { budget: Budget::new(100), body_bytes_max: 60 }, Arc::new(Semaphore::new(0)));
        let budget = bodies.budget.clone();
        let answer = {
            let go_on = Arc::clone(&go_on);
            move |body: Bytes| async move {
                go_on.acquire().await.unwrap().forget();
                body.len().to_string()
            }
        };
        let gathered = middleware::from_fn(move |request, next| bodies.clone().gathered(request, next));
        let router = Router::new().route("/", post(answer)).layer(gathered);
        check(call(&router, "a", 61).await, 413, -32_600, "at most 60 bytes").await;
        let first = tokio::spawn({
            let router = router.clone();
            async move { call(&router, "a", 60).await }
        });
        while budget.held_bytes() < 60 {
            tokio::task::yield_now().await;
        }
        check(call(&router, "a", 41).await, 503, -32_000, "100 bytes").await;
        check(call(&router, "b", 41).await, 503, -32_000, "100 bytes").await;
        // The tenant has its share, and others call too.
        check(call(&router, "a", 1).await, 503, -32_000, "50 bytes").await;
        go_on.add_permits(2);
        assert_eq!(call(&router, "b", 40).await.status(), 200);
        assert_eq!(first.await.unwrap().status(), 200);
        assert_eq!(budget.held_bytes(), 0);
    }

    /// A body of which nothing comes.
    struct Silent;

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let silent = Body::new(Silent);
        let bodies = Bodies::new(60);
        let gathered = middleware::from_fn(move |request, next| bodies.clone().gathered(request, next));
        let router = Router::new().route("/", post(|| async {})).layer(gathered);
        let response = router.oneshot(Request::post("/").body(silent).unwrap()).await.unwrap();
        check(response, 408, -32_600, "in time").await;
    }
}
