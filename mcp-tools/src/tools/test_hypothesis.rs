//! `test_hypothesis`: whether one service can be what another one suffers from.

use serde_json::{Map, Value};

use crate::arguments::{Argument, MAX_TOKENS, NAME_BYTES_MAX, Reader, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const CAUSE: Argument =
    Argument::text("cause", NAME_BYTES_MAX, "Suspected service, database, queue, host, machine or zone.")
        .required();
const EFFECT: Argument =
    Argument::text("effect", NAME_BYTES_MAX, "Service that suffers. Default: the worst symptom.");

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "test_hypothesis",
    title: "Test a hypothesis",
    description: "Tries to refute that one service is the cause of another's trouble: path, deviation of its own, order \
                  in time, dose, and traces that do not show it. Verdict supported, refuted or undecided.",
    arguments: &[&CAUSE, &EFFECT, &SINCE, &UNTIL, &MAX_TOKENS],
};

/// Which hypothesis an agent wants tested.
///
/// The answer has a verdict and a table `checks` beginning with `check`, `speaks`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TestHypothesisAsk {
    /// The suspect.
    pub cause: String,
    /// Who suffers; absent means the worst symptom of the window.
    pub effect: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<TestHypothesisAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = TestHypothesisAsk {
        cause: reader.required_text(&CAUSE),
        effect: reader.text(&EFFECT),
        range: reader.range(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
