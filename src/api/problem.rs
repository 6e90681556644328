//! Refusals as problem details (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::error;

use crate::admit;
use crate::fault::{Kind, chain};
use crate::query::Error;
use crate::query::metrics::refusal::Refusal;
use crate::store;

use super::nearest::nearest;

/// Names that a refusal lists at most.
const ALLOWED_MAX: usize = 50;
/// Characters of a caller's text that a refusal repeats.
const ECHOED_CHARS_MAX: usize = 60;

/// Why there is no answer, and what would be right.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    retry_after_seconds: Option<u64>,
    details: Box<Details>,
}

/// Why a request has no answer (RFC 9457, `application/problem+json`).
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct Details {
    /// The kind of problem, as a URI that stays the same between versions.
    #[serde(rename = "type")]
    #[schema(example = "urn:otelcontext:problem:unknown-parameter")]
    kind: String,
    /// The kind of problem in a few words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request, and what would be right.
    detail: String,
    /// The parameter that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// The valid name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    suggestion: Option<String>,
    /// Valid names, at most 50 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<String>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let details = Details {
            kind: format!("urn:otelcontext:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            parameter: None,
            suggestion: None,
            allowed: Vec::new(),
        };
        Self { status, retry_after_seconds: None, details: Box::new(details) }
    }

    /// 400: the value of `parameter` is not one.
    pub(super) fn invalid(parameter: &str, detail: impl Into<String>) -> Self {
        let title = "a parameter has a value that it cannot have";
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", title, detail);
        problem.details.parameter = Some(parameter.to_owned());
        problem
    }

    /// 400: the value of `parameter` is not among the names that it can have; `known` are some of them.
    pub(super) fn no_such_value(parameter: &str, value: &str, detail: &str, known: &[&str]) -> Self {
        let mut problem = Self::invalid(parameter, detail);
        problem.suggest(value, known.iter().copied());
        problem
    }

    /// 400: the route has no parameter of this name.
    pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> Self {
        let detail = format!("this route has no parameter `{}`", echoed(name));
        let title = "the route does not have this parameter";
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "unknown-parameter", title, detail);
        problem.details.parameter = Some(echoed(name));
        problem.suggest(name, known.iter().copied());
        problem
    }

    /// 400: the query string is not one.
    pub(super) fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable-query", "the query string cannot be read", detail)
    }

    /// 404: nothing is stored under this id.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "nothing is stored under this id", detail)
    }

    /// 404: there is no such route.
    pub(super) fn no_route(path: &str, known: &[&str]) -> Self {
        let detail = format!("there is no `{}`; see /api/v1/openapi.json", echoed(path));
        let mut problem = Self::new(StatusCode::NOT_FOUND, "no-such-route", "there is no such route", detail);
        problem.suggest(path, known.iter().copied());
        problem
    }

    /// 405: the route only answers questions, and by the methods of `allow`.
    pub(super) fn method(allow: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "the route does not take this method",
            format!("this route takes {allow}"),
        )
    }

    /// 413: the body is too long.
    pub(super) fn body_bytes(bytes_max: usize) -> Self {
        let detail = format!("the body does not end within {bytes_max} bytes: send less");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is too large", detail)
    }

    /// 415: the body is of a kind that is not read.
    pub(super) fn body_kind(kind: &str) -> Self {
        let title = "the body is of a kind that is not read";
        let detail = format!("`{}` is not read here: send `text/plain` or `application/sql`", echoed(kind));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-body", title, detail)
    }

    /// 403: not for this caller, or not on this server.
    pub(super) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", "this is not answered here", detail)
    }

    /// 503: the server works on as many questions as it may.
    pub(super) fn overloaded() -> Self {
        Self::at_a_limit("the server works on as many questions as it may; ask again in a moment")
    }

    /// 503: the question has no turn, because of `refused`.
    pub(super) fn no_turn(refused: &admit::Error) -> Self {
        Self::at_a_limit(format!("{refused}; ask again in a moment"))
    }

    fn at_a_limit(detail: impl Into<String>) -> Self {
        let title = "the server is at a limit";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title, detail)
            .retried_after(Kind::Overloaded)
    }

    /// 504: the question took longer than a question may.
    pub(super) fn timed_out() -> Self {
        let detail = "the question took too long; ask about less time, or name a service";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timed-out", "the time allowed ran out", detail)
    }

    /// 500: a defect of the server; `cause` goes to the log and not to the caller.
    pub(super) fn internal(cause: &str) -> Self {
        error!(cause, "a question failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed",
            "the cause is in the server's log; please report it",
        )
    }

    fn retried_after(mut self, kind: Kind) -> Self {
        self.retry_after_seconds = kind.retry_after().map(|wait| wait.as_secs().max(1));
        self
    }

    fn suggest<'a>(&mut self, name: &str, known: impl Iterator<Item = &'a str> + Clone) {
        self.details.suggestion = nearest(name, known.clone()).map(str::to_owned);
        if let Some(suggestion) = &self.details.suggestion {
            self.details.detail.push_str(&format!("; did you mean `{suggestion}`?"));
        }
        self.details.allowed = known.take(ALLOWED_MAX).map(str::to_owned).collect();
    }

    fn unknown_name(what: &str, parameter: &str, name: &str, known: &[String]) -> Self {
        let detail = format!("no {what} is called `{}`", echoed(name));
        let mut problem =
            Self::new(StatusCode::NOT_FOUND, "unknown-name", "there is nothing of this name", detail);
        problem.details.parameter = Some(parameter.to_owned());
        problem.suggest(name, known.iter().map(String::as_str));
        problem
    }
}

impl Problem {
    /// What is wrong with a parameter of a question about metrics; none where it asks for too much.
    fn of_metrics(refusal: &Refusal) -> Option<Self> {
        let parameter = match refusal {
            Refusal::UnknownMetric { name, known } => {
                return Some(Self::unknown_name("metric", "name", name, known));
            }
            Refusal::Unfit { .. } => "function",
            Refusal::EmptyWindow => "from",
            Refusal::Step => {
                let detail = format!("{refusal}; write it with a unit, such as `60s` or `5m`");
                return Some(Self::invalid("step", detail));
            }
            Refusal::Range { .. } => "range",
            _ => return None,
        };
        Some(Self::invalid(parameter, refusal.to_string()))
    }
}

impl From<Error> for Problem {
    /// Details of the server's own parts go to the log, not to the caller.
    fn from(error: Error) -> Self {
        match &error {
            Error::UnknownService { name, known } => {
                return Self::unknown_name("service", "service", name, known);
            }
            Error::UnknownOperation { name, known } => {
                return Self::unknown_name("operation", "operation", name, known);
            }
            Error::Metrics(refusal) => {
                if let Some(problem) = Self::of_metrics(refusal) {
                    return problem;
                }
            }
            Error::Search(search) if search.kind() == Kind::Invalid => {
                return Self::invalid("q", search.to_string());
            }
            Error::Store(store @ store::error::Error::Shared) => return Self::denied(store.to_string()),
            Error::Store(store) if store.kind() == Kind::Invalid => return Self::invalid("q", chain(store)),
            Error::SearchOff | Error::TooManyTemplates { .. } => {
                return Self::invalid("q", error.to_string());
            }
            _ => {}
        }
        match error.kind() {
            Kind::Overloaded => Self::overloaded(),
            Kind::Unavailable => {
                let detail = "a part that the server depends on is away for now; ask again in a moment";
                let title = "a part of the server is away";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
                    .retried_after(Kind::Unavailable)
            }
            Kind::TimedOut => Self::timed_out(),
            Kind::Invalid | Kind::TooLarge => {
                let title = "the question asks for more than is answered at once";
                Self::new(StatusCode::BAD_REQUEST, "too-much", title, chain(&error))
            }
            Kind::NotFound => Self::not_found(chain(&error)),
            Kind::Unauthenticated | Kind::Denied | Kind::Internal => Self::internal(&chain(&error)),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.details).unwrap_or_default();
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (self.status, [kind, (header::CACHE_CONTROL, "no-store")], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A caller's text as a refusal may repeat it: without hidden characters, and short.
pub(super) fn echoed(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ECHOED_CHARS_MAX).collect()
}
