//! The acknowledgement: a request is accepted once the journal has it on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::decode::Encoding;
use crate::fault;
use crate::journal::{Entry, Journal, Prepared};
use crate::model::batch::Batch;
use crate::model::tenant::{Scope, TenantId};
use crate::model::time::UnixNanos;

use super::error::Error;
use super::queue::{Claim, Queue, Source};
use super::tally::Tally;

/// Bodies above this are compressed off the reactor.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// One decoded request and the bytes it came in.
#[derive(Debug)]
pub struct Submission {
    /// How `body` is encoded.
    pub encoding: Encoding,
    /// When it was received; decoding it again with this instant gives the same batch.
    pub received: UnixNanos,
    /// The OTLP request, decompressed.
    pub body: Bytes,
    /// What it decodes to.
    pub batch: Batch,
}

/// The way in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) journal: Journal,
    pub(super) queue: Arc<Queue>,
    pub(super) tally: Arc<Tally>,
    pub(super) acknowledged_within: Duration,
}

impl Handle {
    /// Takes a request for the tenant of `scope`; resolves once it is durable.
    ///
    /// Dropping the future after it was first polled may still accept the request: the caller then does not know,
    /// as with any lost reply.
    ///
    /// # Errors
    /// Refuses when too much waits, the journal is full or failed, or the server stops. Nothing is kept then. After
    /// [`Error::Unanswered`] nobody knows, as with any lost reply: the request is kept once the device answers.
    pub async fn accept(&self, scope: &Scope, submission: Submission) -> Result<(), Error> {
        let (signal, items) = (submission.batch.signal(), submission.batch.items() as u64);
        // In a task of its own: whoever stops listening for the outcome does not take the request out of the accounts.
        let (this, tenant) = (self.clone(), scope.tenant().clone());
        let work = tokio::spawn(async move {
            let outcome = this.journaled(tenant, submission).await;
            match &outcome {
                Ok(()) => this.tally.accepted(signal, items),
                Err(error) => this.tally.refused(signal, items, error),
            }
            outcome
        });
        let waited = self.acknowledged_within;
        match tokio::time::timeout(waited, work).await {
            Ok(outcome) => outcome.unwrap_or(Err(Error::Stopping)),
            // It goes on, and is accounted for when the device answers.
            Err(_) => Err(Error::Unanswered { waited }),
        }
    }

    async fn journaled(&self, tenant: TenantId, submission: Submission) -> Result<(), Error> {
        let Submission { encoding, received, body, batch } = submission;
        let (signal, body_bytes) = (batch.signal(), body.len());
        let source = Source { encoding, received, body: body.clone() };
        let claim = Claim::of(&tenant, &batch, &source);
        self.queue.check(&claim)?;
        let entry = Entry { tenant, signal, encoding: encoding.number(), received, body };
        let prepared = if body_bytes > INLINE_BYTES_MAX {
            let work = tokio::task::spawn_blocking(move || Prepared::new(&entry));
            work.await.map_err(|_| Error::Stopping)?
        } else {
            Prepared::new(&entry)
        };
        let prepared = prepared.map_err(Error::Journal)?;
        let appended = self.queue.push(&self.journal, prepared, claim, (batch, source))?;
        let lsn = appended.lsn;
        fault::point("accept.queued");
        appended.durable().await.map_err(|error| {
            // Refused is not kept: the client will send it again.
            self.queue.withdraw(lsn);
            Error::Journal(error)
        })?;
        fault::point("accept.durable");
        Ok(())
    }

    /// The accounts.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Requests and bytes that wait to be stored.
    pub fn waiting(&self) -> (usize, usize) {
        let depth = self.queue.depth();
        (depth.requests, depth.bytes)
    }

    /// Items that wait to be stored, and how many may, by how fast they are stored; none where that is not known yet.
    pub fn waiting_items(&self) -> (usize, Option<usize>) {
        let (items, most) = self.queue.items();
        (items, Some(most).filter(|most| *most < usize::MAX))
    }

    /// Refuses new requests from now on and lets the applier finish what waits.
    pub fn stop(&self) {
        self.queue.stop();
    }
}
