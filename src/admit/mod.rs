//! Decides whether the bytes of a request may stay in memory.
//!
//! One [`Budget`] covers all requests of the process. A request opens a [`Permit`] and grows it by each piece
//! that has arrived, so a client that promises much and sends little holds little. What does not fit is refused
//! at once and may come again later; nothing ever waits here. Dropping the permit gives its bytes back. While several tenants
//! send, one of them holds half of it at most, so that there is room for the others.
//!
//! [`Recent`] tells whether others send, here and wherever else a share holds beside others alone.
//!
//! [`Turns`] are the same for questions: so many are worked on at once, and beside others one tenant has half of them. There
//! questions may wait, so many of them, in the order in which they came.
//!
//! The size of one request is the other limit: a permit that would grow beyond it is refused for good.

mod recent;
mod shares;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::recent::Recent;
use self::shares::Shares;
pub use self::turns::{Turn, Turns};
use crate::fault::Kind;
use crate::model::tenant::TenantId;

/// Bytes of bodies that may be in memory at once, by default.
pub const BUDGET_BYTES_MAX_DEFAULT: u64 = 256 << 20;

/// Bytes of one request, compressed and decompressed alike, by default: what OTLP 1.11 recommends.
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// Why bytes, or a question, were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is larger than one request may be.
    #[error("the request is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit that was passed.
        bytes_max: usize,
    },
    /// All requests together are at the budget.
    #[error("the requests in flight already hold {bytes_max} bytes")]
    Overloaded {
        /// The budget.
        bytes_max: u64,
    },
    /// The requests of one tenant are at its share, and others send too.
    #[error("the tenant's requests in flight already hold {bytes_max} bytes, and others send too")]
    Crowded {
        /// The share.
        bytes_max: u64,
    },
    /// A question's turn did not come in time.
    #[error("as many are worked on as may be, and none made room within {} ms", wait.as_millis())]
    Busy {
        /// How long it waited.
        wait: Duration,
    },
    /// As many questions wait for their turn as may.
    #[error("{waiting_max} wait for their turn already")]
    Waiting {
        /// How many may.
        waiting_max: usize,
    },
    /// As many questions of one tenant wait for their turn as may.
    #[error("{waiting_max} of the tenant wait for their turn already")]
    TenantWaits {
        /// How many may.
        waiting_max: usize,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Overloaded { .. }
            | Self::Crowded { .. }
            | Self::Busy { .. }
            | Self::Waiting { .. }
            | Self::TenantWaits { .. } => Kind::Overloaded,
        }
    }
}

/// The bytes that all requests together may hold; cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    held: AtomicU64,
    refused: AtomicU64,
    shares: Shares,
}

impl Budget {
    /// A budget of `bytes_max`. At zero every byte is refused.
    pub fn new(bytes_max: u64) -> Self {
        let (held, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { bytes_max, held, refused, shares: Shares::default() }) }
    }

    /// Opens an empty permit for a request of nobody in particular that may hold `request_bytes_max` bytes.
    pub fn permit(&self, request_bytes_max: usize) -> Permit {
        Permit { shared: Arc::clone(&self.shared), request: None, held: 0, request_bytes_max }
    }

    /// As [`Budget::permit`], within the share of a tenant.
    pub fn permit_for(&self, tenant: &TenantId, request_bytes_max: usize) -> Permit {
        self.shared.shares.enter(tenant);
        let request = Arc::new(Request { shared: Arc::clone(&self.shared), tenant: tenant.clone() });
        let (shared, request) = (Arc::clone(&self.shared), Some(request));
        Permit { shared, request, held: 0, request_bytes_max }
    }

    /// Bytes held by requests now.
    pub fn held_bytes(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Requests refused because the budget was spent, since the start.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

/// One request of a tenant, for as long as it holds anything.
#[derive(Debug)]
struct Request {
    shared: Arc<Shared>,
    tenant: TenantId,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.shared.shares.leave(&self.tenant);
    }
}

/// The bytes one request holds; they go back to the budget when it is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    request: Option<Arc<Request>>,
    held: usize,
    request_bytes_max: usize,
}

impl Permit {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the size of one request, [`Error::Overloaded`] past the budget, [`Error::Crowded`] past the
    /// tenant's share. What was held before stays held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let request_bytes_max = self.request_bytes_max;
        let grown = self.held.checked_add(bytes).filter(|&grown| grown <= request_bytes_max);
        let grown = grown.ok_or(Error::TooLarge { bytes_max: request_bytes_max })?;
        self.take(bytes)?;
        self.held = grown;
        Ok(())
    }

    /// Takes `bytes` more for what was made of the request, which may be larger than a request.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the whole budget would not do, [`Error::Overloaded`] past what is left of it, [`Error::Crowded`]
    /// past the tenant's share. What was held before stays held.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Error> {
        self.take(bytes)?;
        self.held = self.held.saturating_add(bytes);
        Ok(())
    }

    fn take(&self, bytes: usize) -> Result<(), Error> {
        let Shared { bytes_max, held, refused, shares } = &*self.shared;
        let (bytes, bytes_max) = (bytes as u64, *bytes_max);
        if (self.held as u64).saturating_add(bytes) > bytes_max {
            // Whenever it comes again, there will be no more room than this.
            return Err(Error::TooLarge { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) });
        }
        let share = bytes_max / 2;
        if let Some(request) = &self.request
            && !shares.take(&request.tenant, bytes, share)
        {
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Crowded { bytes_max: share });
        }
        let fits = |held: u64| held.checked_add(bytes).filter(|&held| held <= bytes_max);
        if held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            self.request.iter().for_each(|request| shares.give_back(&request.tenant, bytes));
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Overloaded { bytes_max });
        }
        Ok(())
    }

    /// Another one for the same request, of which `request_bytes_max` bytes more may be held.
    pub fn another(&self, request_bytes_max: usize) -> Self {
        let (shared, request) = (Arc::clone(&self.shared), self.request.clone());
        Self { shared, request, held: 0, request_bytes_max }
    }

    /// Bytes this permit holds.
    pub const fn held_bytes(&self) -> usize {
        self.held
    }

    /// Bytes this permit may hold at most.
    pub const fn request_bytes_max(&self) -> usize {
        self.request_bytes_max
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.held as u64, Ordering::Relaxed);
        if let Some(request) = &self.request {
            self.shared.shares.give_back(&request.tenant, self.held as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_request_is_refused_for_good_past_its_own_size() {
        let budget = Budget::new(100);
        let mut permit = budget.permit(10);
        assert_eq!(permit.grow(10), Ok(()));
        let error = permit.grow(1).unwrap_err();
        assert_eq!(error, Error::TooLarge { bytes_max: 10 });
        assert!(!error.kind().is_retryable());
        assert_eq!(permit.grow(usize::MAX), Err(error));
        assert_eq!((permit.held_bytes(), budget.held_bytes(), budget.refused()), (10, 10, 0));
    }

    #[test]
    fn the_budget_refuses_for_now_and_is_given_back() {
        let budget = Budget::new(15);
        let mut first = budget.permit(10);
        let mut second = budget.permit(10);
        assert_eq!(first.grow(10), Ok(()));
        let error = second.grow(6).unwrap_err();
        assert_eq!(error, Error::Overloaded { bytes_max: 15 });
        assert!(error.kind().is_retryable());
        assert_eq!((second.held_bytes(), budget.held_bytes(), budget.refused()), (0, 10, 1));
        drop(first);
        assert_eq!(second.grow(6), Ok(()));
        // What was made of a request may be larger than one.
        assert_eq!(second.cover(9), Ok(()));
        // It never fits, whenever it comes again.
        assert_eq!(second.cover(1), Err(Error::TooLarge { bytes_max: 15 }));
        assert_eq!((second.held_bytes(), budget.held_bytes()), (15, 15));
        drop(second);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn c3_a_tenant_beside_others_has_half_and_one_request_at_a_time_in_any_case() {
        let budget = Budget::new(100);
        let [noisy, quiet] = ["noisy", "quiet"].map(|name| TenantId::try_from(name).unwrap());
        let mut first = budget.permit_for(&noisy, 90);
        assert_eq!(first.grow(70), Ok(()), "it is alone");
        let mut other = budget.permit_for(&quiet, 90);
        assert_eq!(other.grow(10), Ok(()));
        let mut second = budget.permit_for(&noisy, 90);
        let crowded = second.grow(1).unwrap_err();
        assert_eq!(crowded, Error::Crowded { bytes_max: 50 });
        assert!(crowded.kind().is_retryable());
        assert_eq!(first.grow(1), Err(crowded), "one of two");
        assert_eq!((budget.held_bytes(), budget.refused()), (80, 2));
        drop(first);
        assert_eq!(second.grow(40), Ok(()));
        let mut more = second.another(90);
        assert_eq!(more.grow(30), Ok(()), "the only request of its tenant");
        assert_eq!(other.grow(80), Err(Error::Overloaded { bytes_max: 100 }));
        drop((second, more, other));
        assert_eq!(budget.held_bytes(), 0);
        assert!(budget.shared.shares.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_held_is_what_was_granted(sizes in proptest::collection::vec((0_usize..4, 0_usize..50), 0..60)) {
            let budget = Budget::new(120);
            let mut permits: Vec<Permit> = (0..4).map(|_| budget.permit(60)).collect();
            let mut granted = [0; 4];
            for (at, bytes) in sizes {
                if permits[at].grow(bytes).is_ok() {
                    granted[at] += bytes;
                }
                prop_assert!(granted[at] <= 60 && granted.iter().sum::<usize>() <= 120);
                prop_assert_eq!(budget.held_bytes(), granted.iter().sum::<usize>() as u64);
            }
            permits.clear();
            prop_assert_eq!(budget.held_bytes(), 0);
        }
    }
}
