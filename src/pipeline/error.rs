//! Why a request was not accepted.

use std::sync::Arc;
use std::time::Duration;

use crate::fault::Kind;
use crate::journal;

/// Why [`super::Handle::accept`] refused; nothing of the request is kept, but after [`Error::Unanswered`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As many requests wait as may.
    #[error("{waiting} requests wait to be stored, as many as may")]
    TooManyWaiting {
        /// Requests waiting.
        waiting: usize,
    },
    /// As many bytes wait as may.
    #[error("{waiting_bytes} bytes wait to be stored, as many as may")]
    TooManyBytes {
        /// Bytes waiting.
        waiting_bytes: usize,
    },
    /// The tenant has its share of the queue, and others send too.
    #[error("so much of this tenant waits to be stored as may while others send too")]
    TenantCrowds,
    /// The service has its share of its tenant's, and others of the tenant send too.
    #[error("so much of service `{service}` waits to be stored as may while others send too")]
    ServiceCrowds {
        /// The service.
        service: Arc<str>,
    },
    /// The journal's device does not answer.
    #[error("the journal's device did not answer within {} s", waited.as_secs())]
    Unanswered {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The journal refused or failed.
    #[error("the journal did not take the request")]
    Journal(#[source] journal::Error),
}

impl Error {
    /// What the caller can do.
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooManyWaiting { .. }
            | Self::TooManyBytes { .. }
            | Self::TenantCrowds
            | Self::ServiceCrowds { .. } => Kind::Overloaded,
            Self::Stopping | Self::Unanswered { .. } => Kind::Unavailable,
            Self::Journal(error) => error.kind(),
        }
    }
}
