//! Where the fate of requests is entered.

use std::sync::Arc;
use std::time::Duration;

use crate::lasts::Lasts;
use crate::ledger::Ledger;
use crate::oracle::book::Book;
use crate::send::{Delivery, Request};

/// The accounts of one phase; cheap to clone.
#[derive(Clone)]
pub(crate) struct Accounts {
    /// Sums of what was sent.
    pub(crate) sums: Arc<Ledger>,
    /// What was sent, item by item, where a book is kept.
    pub(crate) book: Option<Arc<Book>>,
    /// What was acknowledged last, where that is asked for afterwards.
    pub(crate) lasts: Option<Arc<Lasts>>,
}

impl Accounts {
    /// Enters what became of a request of a connection, which waited so long from when it was due.
    pub(crate) fn enter(&self, lane: usize, request: &Request, delivery: &Delivery, waited: Duration) {
        self.sums.enter(request, delivery, waited);
        if let Some(lasts) = &self.lasts {
            lasts.note(lane, request, &delivery.outcome);
        }
    }
}
