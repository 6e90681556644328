//! Completions: what a person may be typing.

use rmcp::model::{CompleteRequestParams, CompletionInfo, Reference};

use crate::plain;
use crate::prompts;
use crate::resources::SERVICE_TEMPLATE;

const TIMES: [&str; 6] = ["15m", "1h", "6h", "24h", "7d", "30d"];

/// What is being completed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The name of a service.
    Service,
    /// A moment.
    Time,
    /// Nothing that can be completed.
    Nothing,
}

/// Tells what a request wants completed; an unknown prompt or template completes to nothing.
pub(crate) fn subject(request: &CompleteRequestParams) -> Subject {
    let argument = request.argument.name.as_str();
    match &request.r#ref {
        Reference::Prompt(prompt) if prompts::takes(&prompt.name, argument) => match argument {
            "service" => Subject::Service,
            "since" | "at" => Subject::Time,
            _ => Subject::Nothing,
        },
        Reference::Resource(template) if template.uri == SERVICE_TEMPLATE && argument == "service" => {
            Subject::Service
        }
        _ => Subject::Nothing,
    }
}

/// The names that hold what was typed, in any letter case: those that begin with it first, then by the
/// alphabet, at most a hundred, with how many there are.
pub(crate) fn matching(typed: &str, names: Vec<String>) -> CompletionInfo {
    let wanted = typed.to_lowercase();
    let mut found: Vec<(usize, String)> = names
        .into_iter()
        .map(|name| plain::escaped(&name).into_owned())
        .filter_map(|name| name.to_lowercase().find(&wanted).map(|at| (usize::from(0 < at), name)))
        .collect();
    found.sort_unstable();
    found.dedup();
    let total = found.len();
    let values = found.into_iter().map(|(_, name)| name).take(CompletionInfo::MAX_VALUES).collect();
    let total_wire = u32::try_from(total).unwrap_or(u32::MAX);
    CompletionInfo::with_pagination(values, Some(total_wire), CompletionInfo::MAX_VALUES < total)
        .unwrap_or_default()
}

/// The usual stretches of time that begin with what was typed, shortest first.
pub(crate) fn times(typed: &str) -> CompletionInfo {
    let values = TIMES.iter().filter(|time| time.starts_with(typed)).map(|time| (*time).to_owned()).collect();
    CompletionInfo::with_all_values(values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{matching, times};

    #[test]
    fn names_that_begin_with_it_come_first() {
        let names = ["recheck", "cart", "Checkout", "check"].map(str::to_owned).to_vec();
        let completion = matching("CHECK", names);
        assert_eq!(completion.values, ["Checkout", "check", "recheck"]);
        assert_eq!((completion.total, completion.has_more), (Some(3), Some(false)));
        assert_eq!(times("1").values, ["15m", "1h"]);
    }

    #[test]
    fn at_most_a_hundred_are_sent_and_all_are_counted() {
        let completion = matching("", (0..150).map(|at| format!("s{at:03}")).collect());
        assert_eq!(
            (completion.values.len(), completion.total, completion.has_more),
            (100, Some(150), Some(true))
        );
    }
}
