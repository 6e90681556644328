//! What both doors do with a request: unpack, decode, hand over, count.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tracing::error;

use crate::admit::Budget;
use crate::admit::Permit;
use crate::admit::Turns;
use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::decode;
use crate::decode::Decoded;
use crate::decode::Encoding;
use crate::decode::Limits;
use crate::fault::{self, chain};
use crate::model::batch::Signal;
use crate::model::tenant::{Scope, TenantId};
use crate::model::time::UnixNanos;
use crate::pipeline::Submission;
use crate::rules::Rejected;
use crate::rules::Rules;

use super::Accept;
use super::Error;
use super::Options;
use super::body::Reader;
use super::inflate::{Compression, Inflate};
use super::tally::{LeftOut, Tally};

/// Plain bytes up to which a body is decoded where it was received; a larger one would hold up other requests.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// How long a large body waits for its turn to be decoded: as long as exporters wait for an answer by default.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// A request whose body has arrived.
pub(super) struct Export {
    /// Whose data it is.
    pub(super) scope: Scope,
    /// What it was sent as.
    pub(super) signal: Signal,
    /// How the plain body is written.
    pub(super) encoding: Encoding,
    /// How the body is compressed.
    pub(super) compression: Compression,
    /// The body as it arrived.
    pub(super) body: Bytes,
    /// What covers the body.
    pub(super) permit: Permit,
}

/// What the sender of an accepted request is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Items that were not taken and must not be sent again.
    pub(super) rejected: u64,
    /// What is wrong with them, or a warning about items that were taken.
    pub(super) message: Option<String>,
}

/// What the doors share.
pub(super) struct Intake {
    options: Options,
    limits: Arc<Limits>,
    authenticator: Authenticator,
    budget: Budget,
    pipeline: Box<dyn Accept>,
    clock: Clock,
    decoders: Turns,
    is_serving: AtomicBool,
    tally: Tally,
}

impl Intake {
    /// As [`super::Receive::new`].
    pub(super) fn new(
        options: Options,
        authenticator: Authenticator,
        budget: Budget,
        pipeline: Box<dyn Accept>,
        clock: Clock,
    ) -> Self {
        Self {
            limits: Arc::new(options.limits.clone()),
            // Those that wait hold bytes of the budget.
            decoders: Turns::however_many_wait(options.decoders_max.max(1)),
            is_serving: AtomicBool::new(true),
            tally: Tally::default(),
            options,
            authenticator,
            budget,
            pipeline,
            clock,
        }
    }

    /// What the doors were told at the start.
    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    /// Who may come in.
    pub(super) const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// What came and went.
    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Opens or closes both doors.
    pub(super) fn set_serving(&self, is_serving: bool) {
        self.is_serving.store(is_serving, Ordering::Relaxed);
    }

    /// True while the doors are open.
    pub(super) fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Relaxed)
    }

    /// A reader for a `body` of `tenant`, of which `bytes_max` bytes are kept at most.
    ///
    /// # Errors
    /// When the doors are closed, or the announced length is too large.
    pub(super) fn reader(&self, tenant: &TenantId, body: Body, bytes_max: usize) -> Result<Reader, Error> {
        if !self.is_serving() {
            return Err(Error::Closed);
        }
        Reader::new(body, self.budget.permit_for(tenant, bytes_max), &self.options)
    }

    /// As [`Intake::reader`] for a body of nobody in particular, whether the doors are open or not.
    ///
    /// # Errors
    /// When the announced length is too large.
    pub(super) fn reader_even_closed(&self, body: Body, bytes_max: usize) -> Result<Reader, Error> {
        Reader::new(body, self.budget.permit(bytes_max), &self.options)
    }

    /// Decodes `export` and hands it over; on success all that was not rejected is durable.
    ///
    /// A request without a single valid item is answered at once, because there is nothing to keep.
    ///
    /// # Errors
    /// When the body cannot be read, or the pipeline refuses; then nothing of it is kept.
    pub(super) async fn take(&self, export: Export) -> Result<Accepted, Error> {
        let Export { scope, signal, encoding, compression, body, permit } = export;
        fault::point("receive.arrived");
        let plain_permit = permit.another(self.options.request_bytes_max);
        let inflate = Inflate::new(compression, body, permit, plain_permit)?;
        let received = self.clock.now();
        let (limits, rules) = (Arc::clone(&self.limits), self.options.rules.clone());
        let work = Work { signal, encoding, inflate, received, limits, rules };
        let Unpacked { decoded, turned_away, body, mut permit } = self.unpack(scope.tenant(), work).await?;
        // JSON is packed before it is read.
        let packed = if encoding == Encoding::Json { body.len() } else { 0 };
        permit.cover(packed.saturating_add(decoded.batch.own_bytes()))?;
        let items = decoded.batch.items() as u64;
        self.count(signal, &decoded, &turned_away);
        let Decoded { batch, rejected, message, .. } = decoded;
        let rejected = rejected.saturating_add(turned_away.items());
        let message = match (message, turned_away.message) {
            (Some(first), Some(second)) => Some(format!("{first}; {second}")),
            (first, second) => first.or(second),
        };
        if 0 < items {
            let submission = Submission { encoding, received, body, batch };
            let accepted = self.pipeline.accept(&scope, submission).await;
            accepted.map_err(|kind| {
                self.tally.refused(signal, kind, items);
                Error::NotAccepted { kind }
            })?;
            self.tally.accepted(signal, items);
        }
        drop(permit);
        Ok(Accepted { rejected, message })
    }

    /// Counts what of a request was not taken, by reason.
    fn count(&self, signal: Signal, decoded: &Decoded, turned_away: &Rejected) {
        let (old, ahead) = (decoded.too_old, decoded.in_the_future);
        self.tally.rejected(signal, decoded.rejected.saturating_sub(old.saturating_add(ahead)));
        for (reason, items) in [
            (LeftOut::TooOld, old),
            (LeftOut::InTheFuture, ahead),
            (LeftOut::Service, turned_away.service),
            (LeftOut::Severity, turned_away.severity),
        ] {
            self.tally.left_out(signal, reason, items);
        }
        self.tally.attributes(decoded.attributes_dropped, decoded.attributes_shortened);
    }

    /// Unpacks and decodes: a small body here, a large one beside the reactor, a few at a time. A packed one may be large
    /// and yet hold next to nothing: that takes time too.
    async fn unpack(&self, tenant: &TenantId, mut work: Work) -> Result<Unpacked, Error> {
        let is_small = work.inflate.packed_bytes() <= INLINE_BYTES_MAX;
        if is_small && guarded(|| work.inflate.run(INLINE_BYTES_MAX))? {
            return guarded(|| work.run());
        }
        let turn = self.decoders.wait(tenant, TURN_WAIT).await?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            guarded(|| work.run())
        });
        // It ends early only when the runtime does.
        done.await.unwrap_or(Err(Error::Closed))
    }
}

/// A body on its way to a batch; owned, so that any thread can do it.
struct Work {
    signal: Signal,
    encoding: Encoding,
    inflate: Inflate,
    received: UnixNanos,
    limits: Arc<Limits>,
    rules: Rules,
}

/// A batch, the plain body it came from, and the permit that covers both.
struct Unpacked {
    decoded: Decoded,
    turned_away: Rejected,
    body: Bytes,
    permit: Permit,
}

impl Work {
    fn run(self) -> Result<Unpacked, Error> {
        let (body, permit) = self.inflate.finish()?;
        let mut decoded = decode::decode(self.signal, self.encoding, &body, self.received, &self.limits)?;
        let turned_away = self.rules.admit(&mut decoded.batch);
        Ok(Unpacked { decoded, turned_away, body, permit })
    }
}

/// Works on an export. A panic becomes a refusal that says to come again: it may have come of what the server was about
/// just then, and nothing was acknowledged.
pub(super) async fn contained<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    fault::caught(work).await.unwrap_or_else(|panicked| {
        error!(error = chain(&panicked), "an export ended in a panic");
        Err(Error::Failed)
    })
}

/// Runs `step`; a panic becomes an error, so that the client gets an answer and the connection lives on.
fn guarded<T>(step: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_printed_by_the_panic_hook| {
        error!("decoding a request panicked");
        Err(Error::Panicked)
    })
}
