//! `compare_attributes`: which attribute values the bad spans have more often than the others.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, FILTER, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::Fault;
use crate::time::TimeRange;

const OPERATION: Argument = Argument::text("operation", NAME_BYTES_MAX, "Span name.");
const TARGET: Argument = Argument::choice("target", &BadSet::WORDS, "The bad spans. Default errors.");

const LIMIT_DEFAULT: u32 = 15;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "compare_attributes",
    title: "Compare attributes",
    description: "Attribute values over-represented among failed, slow or matching spans against the rest of the \
                  window or the time before: tenant, region, version, route, host that the trouble follows.",
    arguments: &[
        &SERVICE,
        &OPERATION,
        &TARGET,
        &FILTER
            .described("Only spans with these, such as `http.route=/pay`; with target filter the bad ones."),
        &SINCE,
        &UNTIL,
        &LIMIT.described("Values. Default 15."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which spans an agent wants compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CompareAttributesAsk {
    /// The service that sends them.
    pub service: Option<String>,
    /// Their name.
    pub operation: Option<String>,
    /// Which of them are the bad ones.
    pub target: BadSet,
    /// Attributes of the bad ones where these are the target, else of all that are compared; by key and value.
    pub filter: Vec<(String, String)>,
    /// The window.
    pub range: TimeRange,
    /// Most values listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Which spans are the bad ones; the others of the window are what they are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadSet {
    /// Those that failed.
    Errors,
    /// The slowest twentieth of each operation.
    Slow,
    /// Those with the attributes given, compared with the others.
    Filter,
    /// All of the window, compared with as long a time before it.
    Window,
}

impl BadSet {
    const WORDS: [&'static str; 4] = ["errors", "slow", "filter", "window"];
    const ALL: [Self; 4] = [Self::Errors, Self::Slow, Self::Filter, Self::Window];
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<CompareAttributesAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let target =
        reader.choice(&TARGET, &[("failed", "errors"), ("latency", "slow")]).map(|at| BadSet::ALL[at]);
    let filter = reader.filter();
    if target == Some(BadSet::Filter) && filter.is_empty() {
        reader.refuse("target `filter` needs `filter`, such as `http.route=/pay`");
    }
    let ask = CompareAttributesAsk {
        service: reader.service(),
        operation: reader.text(&OPERATION),
        target: target.unwrap_or(BadSet::Errors),
        filter,
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
