//! Why a request was not accepted.

use std::sync::Arc;

use crate::fault::Kind;
use crate::journal;

/// Why [`super::Handle::accept`] refused; nothing of the request is kept.
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
            Self::Stopping => Kind::Unavailable,
            Self::Journal(error) => error.kind(),
        }
    }
}
