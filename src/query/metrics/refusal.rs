//! Why a question about metrics has no answer, and how to ask one that has.

use crate::fault::Kind;

/// What is wrong with a question about metrics.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No series of the tenant has this metric name.
    #[error("no metric is called `{name}`")]
    UnknownMetric {
        /// The name that was asked for.
        name: String,
        /// Names that exist and look like it, else some that exist; for suggestions.
        known: Vec<String>,
    },
    /// No series of this metric can answer the function.
    #[error("`{name}` does not answer `{function}`: {reason}")]
    Unfit {
        /// The metric.
        name: String,
        /// The function that was asked for.
        function: String,
        /// Why not, and what to ask instead.
        reason: &'static str,
    },
    /// The window holds no time.
    #[error("the window is empty; let it begin before it ends")]
    EmptyWindow,
    /// The step is shorter than a second or not of whole seconds.
    #[error("the step must be one or more whole seconds")]
    Step,
    /// The range of each step is not a whole number of steps.
    #[error("the range must be a whole number of steps, at least one and at most {max}")]
    Range {
        /// Most steps in a range.
        max: usize,
    },
    /// The window holds too many steps.
    #[error(
        "the window holds {steps} steps, more than {max}; ask for a step of at least {step_seconds} seconds"
    )]
    TooManySteps {
        /// How many.
        steps: u64,
        /// How many there may be.
        max: usize,
        /// The shortest step that would do.
        step_seconds: u64,
    },
    /// More keys or filters than are looked at.
    #[error("{found} {what} are more than {max}")]
    TooManyKeys {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// The metric has too many series.
    #[error(
        "the metric has {max} series or more; filter by service, or ask for a metric with fewer attributes"
    )]
    TooManySeries {
        /// How many are looked at.
        max: usize,
    },
    /// The series have too many points in the window.
    #[error(
        "the series have more than {max} points in the window; shorten it, or filter by service or attribute"
    )]
    TooManyPoints {
        /// How many are looked at.
        max: usize,
    },
    /// Too many groups, or too many steps of them.
    #[error(
        "{groups} groups of {steps} steps are more than {max} values; group by fewer keys, filter, or ask for a longer step"
    )]
    TooManyGroups {
        /// How many groups.
        groups: usize,
        /// How many steps.
        steps: usize,
        /// How many values are reckoned.
        max: usize,
    },
    /// More groups than an answer holds.
    #[error("{groups} groups are more than {max}; ask for the top of them, group by fewer keys, or filter")]
    TooManyToShow {
        /// How many groups.
        groups: usize,
        /// How many an answer holds.
        max: usize,
    },
}

impl Refusal {
    /// What the caller can do.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::UnknownMetric { .. } => Kind::NotFound,
            Self::EmptyWindow | Self::Step | Self::Range { .. } | Self::Unfit { .. } => Kind::Invalid,
            Self::TooManySteps { .. }
            | Self::TooManyKeys { .. }
            | Self::TooManySeries { .. }
            | Self::TooManyPoints { .. }
            | Self::TooManyGroups { .. }
            | Self::TooManyToShow { .. } => Kind::TooLarge,
        }
    }
}
