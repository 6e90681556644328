//! `query_metrics`: metrics over time.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, FILTER, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::{Fault, listed};
use crate::filter;
use crate::time::TimeRange;

const METRIC: Argument =
    Argument::text("metric", NAME_BYTES_MAX, "Exact name. Without it: the names there are.");
const MATCH: Argument = Argument::text("match", NAME_BYTES_MAX, "Part of the name, where names are listed.");
const FUNCTION: Argument = Argument::text(
    "function",
    16,
    "avg, sum, min, max, last, count, rate, increase or a percentile such as p95. Default: rate of counters, avg of others.",
);
const GROUP_BY: Argument = Argument::text(
    "group_by",
    1_024,
    "Keys with commas: service, instance, version, attributes. Default service.",
);
const STEP: Argument = Argument::integer("step_s", 1, 86_400, "Seconds of a step. Default: 12 steps.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "query_metrics",
    title: "Query metrics",
    description: "A metric over time by group: rates of counters, percentiles of histograms, levels of gauges, with \
                  the value of each step; or the names of the metrics there are.",
    arguments: &[
        &METRIC,
        &MATCH,
        &FUNCTION,
        &GROUP_BY,
        &FILTER.described("Only series with these `key=value`."),
        &STEP,
        &SERVICE,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Groups or names. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which metric an agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryMetricsAsk {
    /// Its name; absent asks for the names there are.
    pub metric: Option<String>,
    /// Part of the name, in any letter case, where names are asked for.
    pub part: Option<String>,
    /// What to reckon of the points in each step; absent is the rate of counters and the mean of others.
    pub function: Option<String>,
    /// One answer for each combination of values of these; absent groups by service, an empty list cannot be asked for.
    pub group_by: Option<Vec<String>>,
    /// Only series with these values, by key.
    pub filter: Vec<(String, String)>,
    /// Seconds of a step, 1 to 86,400.
    pub step_s: Option<u32>,
    /// Only what this service sends.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most groups or names listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<QueryMetricsAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let metric = reader.text(&METRIC);
    let (service, filter) = match metric {
        Some(_) => filter::with_service(&mut reader),
        None => filter::with_service_alone(&mut reader),
    };
    let ask = QueryMetricsAsk {
        metric,
        part: reader.text(&MATCH),
        function: reader.text(&FUNCTION),
        group_by: reader.list(&GROUP_BY),
        filter,
        step_s: reader.integer_if_given(&STEP),
        service,
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    if ask.metric.is_none() {
        let of_one = [
            (FUNCTION.name, ask.function.is_some()),
            (GROUP_BY.name, ask.group_by.is_some()),
            (FILTER.name, !ask.filter.is_empty()),
            (STEP.name, ask.step_s.is_some()),
        ];
        let given: Vec<&str> = of_one.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if !given.is_empty() {
            let given = listed(&given);
            reader.refuse(&format!(
                "give `metric` with {given}: without it only names are listed, by `match` and `service`"
            ));
        }
    }
    reader.finish(ask)
}
