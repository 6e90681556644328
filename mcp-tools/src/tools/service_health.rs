//! `get_service_health`: which services are well, and which are not.

use serde_json::{Map, Value};

use crate::arguments::{CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const LIMIT_DEFAULT: u32 = 50;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "get_service_health",
    title: "Service health",
    description: "Status and score of every service, worst first, or one service in detail: rate, error \
                  ratio, latency against its baseline, failing operations and dependencies.",
    arguments: &[
        &SERVICE.described("One service. Default: all."),
        &SINCE,
        &UNTIL,
        &LIMIT,
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Whose health an agent wants to know.
///
/// The answer has a table `services` whose first columns are `service`, `status`, `score`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceHealthAsk {
    /// The service; absent means all of them, worst first.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most services listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<ServiceHealthAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = ServiceHealthAsk {
        service: reader.service(),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
