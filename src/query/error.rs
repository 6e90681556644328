//! Why a question has no answer.

use crate::fault::Kind;
use crate::query::metrics::refusal::Refusal;
use crate::search;
use crate::store;

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No service of the tenant has this name.
    #[error("no service is called `{name}`")]
    UnknownService {
        /// The name that was asked for.
        name: String,
        /// The names that exist, for suggestions.
        known: Vec<String>,
    },
    /// The service has no operation of this name.
    #[error("the service has no operation `{name}`")]
    UnknownOperation {
        /// The name that was asked for.
        name: String,
        /// The names that exist, for suggestions.
        known: Vec<String>,
    },
    /// Words cannot be searched because no index is kept.
    #[error(
        "full-text search is switched off (LOG_FTS_ENABLED=false); filter by service, severity or trace instead"
    )]
    SearchOff,
    /// A text names more templates than are searched together with those that have their texts.
    #[error("the text names {named} templates and may name {max}: ask for some of them at a time")]
    TooManyTemplates {
        /// How many different ones.
        named: usize,
        /// How many there may be.
        max: usize,
    },
    /// The search index did not answer.
    #[error("the search did not work: {0}")]
    Search(#[source] search::Error),
    /// A question about metrics is beyond a limit, or names no metric or no function of it.
    #[error(transparent)]
    Metrics(#[from] Refusal),
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[source] store::error::Error),
    /// The question was abandoned while it was worked on.
    #[error("the work on the question ended early")]
    Abandoned,
}

impl Error {
    /// What the caller can do.
    pub fn kind(&self) -> Kind {
        match self {
            Self::UnknownService { .. } | Self::UnknownOperation { .. } => Kind::NotFound,
            Self::SearchOff | Self::TooManyTemplates { .. } => Kind::Invalid,
            Self::Search(error) => error.kind(),
            Self::Metrics(refusal) => refusal.kind(),
            Self::Store(error) => error.kind(),
            Self::Abandoned => Kind::Unavailable,
        }
    }
}

impl From<store::error::Error> for Error {
    fn from(error: store::error::Error) -> Self {
        Self::Store(error)
    }
}

impl From<search::Error> for Error {
    fn from(error: search::Error) -> Self {
        Self::Search(error)
    }
}
