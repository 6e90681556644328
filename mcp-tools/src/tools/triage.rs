//! `triage`: what is wrong now, in one call.

use serde_json::{Map, Value};

use crate::arguments::{LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const LIMIT_DEFAULT: u32 = 5;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "triage",
    title: "Triage",
    description: "Start here. One call: what is wrong, ranked causes with confidence, who is affected, what \
                  left its normal course, unhealthy services, and the calls to make next.",
    arguments: &[
        &SERVICE.described("Service with the symptom. Default: the worst anywhere."),
        &SINCE,
        &UNTIL,
        &LIMIT.described("Rows of each table. Default 5."),
        &MAX_TOKENS,
    ],
};

/// What an agent wants an overview of.
///
/// The answer has a verdict and a table `causes` whose first columns are `rank`, `service`, `cause`, `confidence`;
/// where there is something to tell also `affected`, `anomalies`, `services` and `changes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TriageAsk {
    /// The service with the symptom; absent means the worst symptom of the window.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most rows of each table, 1 to 500.
    pub limit: usize,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<TriageAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = TriageAsk {
        service: reader.service(),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
