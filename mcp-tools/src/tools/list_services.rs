//! `list_services`: which services there are.

use serde_json::{Map, Value};

use crate::arguments::{Argument, CURSOR, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const MATCH: Argument = Argument::text("match", NAME_BYTES_MAX, "Part of the name.");
const SORT: Argument = Argument::choice("sort", &ServiceSort::WORDS, "Greatest first. Default rate.");

const LIMIT_DEFAULT: u32 = 50;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "list_services",
    title: "List services",
    description: "Services, databases, queues and hosts by exact name, with kind, rate, error ratio, latency and \
                  versions in the window.",
    arguments: &[&MATCH, &SORT, &SINCE, &UNTIL, &LIMIT, &CURSOR, &MAX_TOKENS],
};

/// Which services an agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListServicesAsk {
    /// Part of their name.
    pub part: Option<String>,
    /// What comes first.
    pub sort: ServiceSort,
    /// The window whose requests are counted.
    pub range: TimeRange,
    /// Most services listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// What services are sorted by, the greatest first; names by the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceSort {
    /// Requests a second.
    Rate,
    /// The share that failed.
    Errors,
    /// The 95th percentile of their duration.
    P95,
    /// The name.
    Name,
}

impl ServiceSort {
    const WORDS: [&'static str; 4] = ["rate", "errors", "p95", "name"];
    const ALL: [Self; 4] = [Self::Rate, Self::Errors, Self::P95, Self::Name];
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<ListServicesAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = ListServicesAsk {
        part: reader.text(&MATCH),
        sort: reader.choice(&SORT, &[]).map_or(ServiceSort::Rate, |at| ServiceSort::ALL[at]),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
