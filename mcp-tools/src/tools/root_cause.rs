//! `root_cause_analysis`: what broke, ranked, with what speaks for and against it.

use serde_json::{Map, Value};

use crate::arguments::{CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const LIMIT_DEFAULT: u32 = 5;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "root_cause_analysis",
    title: "Root cause analysis",
    description: "Ranked causes of the worst symptom in the window, or of one service's: \
                  failing operation, dependency, instance or resource, with confidence, evidence and what \
                  was ruled out. Verdict cause_found, candidates or insufficient_evidence.",
    arguments: &[
        &SERVICE.described("Service with the symptom. Default: the worst symptom anywhere."),
        &SINCE,
        &UNTIL,
        &LIMIT.described("Causes. Default 5."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// What an agent wants explained.
///
/// The answer has a table `causes` whose first columns are `rank`, `service`, `cause`, `confidence`, and a
/// verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RootCauseAsk {
    /// The service with the symptom; absent means the worst symptom of the window.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most causes listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<RootCauseAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = RootCauseAsk {
        service: reader.service(),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
