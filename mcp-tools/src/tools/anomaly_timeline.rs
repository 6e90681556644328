//! `get_anomaly_timeline`: what went wrong, in the order it did.

use serde_json::{Map, Value};

use crate::arguments::{CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const LIMIT_DEFAULT: u32 = 50;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "get_anomaly_timeline",
    title: "Anomaly timeline",
    description: "Anomalies in the order they began: service, signal, start, end and size against the \
                  baseline.",
    arguments: &[
        &SERVICE.described("One service. Default: all."),
        &SINCE,
        &UNTIL,
        &LIMIT,
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Whose anomalies an agent wants in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnomalyTimelineAsk {
    /// The service; absent means all of them.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most anomalies listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<AnomalyTimelineAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = AnomalyTimelineAsk {
        service: reader.service(),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
