//! HTTP for people and tools: questions under `/api/v1`, probes and metrics.
//!
//! Promises: every answer under `/api/v1` is JSON (SQL also answers CSV); a list is `{"items": …, "next_cursor": …, "window": …}` and a
//! refusal is a problem (RFC 9457) that says what would be right; a parameter that a route does not have is refused
//! with the nearest name it has, never ignored. The caller's [`Scope`](crate::model::tenant::Scope) comes from the gate
//! in front, never from a parameter. What a route takes and answers is declared once: the same declaration reads the
//! request and writes the OpenAPI document, so neither can know more than the other.
//!
//! Bounds: 16 questions are worked on at once, two of them in SQL, and the next waits two seconds before it is refused with 503, in the
//! order of coming among those of its tenant and by turns among tenants; 256 questions of a tenant may wait and 1,024 in all; a
//! question may take 30 seconds; a list holds at most 1,000 items and 16 MiB, and says where it goes on.
//!
//! Never: it writes nothing, judges nothing, touches no state but through `query`, and allows no other origin (CORS).
//!
//! Reading order: `routes` (which questions there are, and what happens around each), `parameter` and `call` (what was
//! asked), `time`, `cursor`, `answer` (pages), `value` (attributes), `problem`, `nearest`, `document` (OpenAPI), `tally`; then one
//! file a question. `probes` stands apart.

mod anomalies;
mod answer;
mod call;
mod cursor;
mod document;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod impact;
mod log_templates;
mod logs;
mod metric_names;
mod metric_query;
mod nearest;
mod parameter;
mod probes;
mod problem;
mod root_cause;
mod routes;
mod service_health;
mod service_map;
mod services;
mod span_view;
mod spans;
mod sql;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod trace;
mod traces;
mod value;

pub use self::document::document;
pub use self::probes::{PROBES, probes};
pub use self::routes::{Options, policies, router};
pub use self::tally::{Question, Tally};
