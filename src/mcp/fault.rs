//! What went wrong, in words an agent can act on.

use mcp_tools::Fault;

use crate::fault::{Kind, chain};
use crate::query::Error;
use crate::query::metrics::refusal::Refusal;

/// The contract's fault for a question that has no answer. Details of our own parts go to the log, not to the agent.
pub(super) fn of(error: Error) -> Fault {
    match &error {
        Error::UnknownService { name, known } => {
            Fault::unknown("service", name, known.iter().map(String::as_str))
        }
        Error::UnknownOperation { name, known } => {
            Fault::unknown("operation", name, known.iter().map(String::as_str))
        }
        Error::Metrics(Refusal::UnknownMetric { name, known }) => {
            Fault::unknown("metric", name, known.iter().map(String::as_str))
        }
        Error::Search(search) if search.kind() == Kind::Invalid => Fault::invalid(search.to_string()),
        Error::SearchOff | Error::TooManyTemplates { .. } | Error::Metrics(_) => {
            Fault::invalid(error.to_string())
        }
        _ => match error.kind() {
            Kind::Overloaded | Kind::Unavailable => Fault::Overloaded,
            Kind::TimedOut => Fault::TimedOut,
            _ => Fault::internal(chain(&error)),
        },
    }
}
