//! The bytes of a request as they arrive.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use bytes::BytesMut;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::admit;
use crate::admit::Permit;

use super::Error;
use super::Options;

/// Least bytes of a body that must arrive in each [`Options::body_pace`], or the request is given up.
const PACE_BYTES_MIN: usize = 1024;

/// Most bytes set aside because a client announced them; the rest is set aside as it arrives.
const RESERVED_BYTES_MAX: usize = 256 << 10;

/// Bytes that have to arrive before room is set aside for what a message's prefix announces.
const VOUCHED_BYTES_MIN: usize = 16 << 10;
/// Times as much as has arrived that is set aside then. What is not written to takes up no memory.
const VOUCHED: usize = 8;

/// Collects one body. Every piece is admitted before it is kept.
pub(super) struct Reader {
    body: Body,
    permit: Permit,
    collected: BytesMut,
    pace: Pace,
}

impl Reader {
    /// A reader that keeps what `permit` admits.
    ///
    /// # Errors
    /// [`admit::Error::TooLarge`] when the announced length already exceeds the permit's limit.
    pub(super) fn new(body: Body, permit: Permit, options: &Options) -> Result<Self, Error> {
        let bytes_max = permit.request_bytes_max();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if bytes_max < announced {
            return Err(admit::Error::TooLarge { bytes_max }.into());
        }
        let collected = BytesMut::with_capacity(announced.min(RESERVED_BYTES_MAX));
        Ok(Self { body, permit, collected, pace: Pace::new(options) })
    }

    /// Takes one more piece; false at the end of the body.
    ///
    /// # Errors
    /// When the piece is not admitted, comes too slowly, or the client is gone.
    pub(super) async fn next(&mut self) -> Result<bool, Error> {
        let frame = loop {
            match tokio::time::timeout_at(self.pace.next_look(), self.body.frame()).await {
                Ok(frame) => break frame,
                Err(_elapsed) => self.pace.look()?,
            }
        };
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|_gone| Error::BrokenOff)?;
        if let Ok(piece) = frame.into_data() {
            self.permit.grow(piece.len())?;
            self.pace.advance(piece.len())?;
            self.collected.extend_from_slice(&piece);
        }
        Ok(true)
    }

    /// Sets aside room for `bytes` in all, as far as what has arrived vouches for them: a large body that grows by doubling
    /// is copied once more than it is read.
    pub(super) fn expect(&mut self, bytes: usize) {
        let (arrived, room) = (self.collected.len(), self.collected.capacity());
        if VOUCHED_BYTES_MIN <= arrived && room < bytes && room < arrived.saturating_mul(2) {
            let wanted = bytes.min(arrived.saturating_mul(VOUCHED));
            self.collected.reserve(wanted.saturating_sub(arrived));
        }
    }

    /// What has arrived so far.
    pub(super) fn collected(&self) -> &[u8] {
        &self.collected
    }

    /// What has arrived, with the permit that covers it.
    pub(super) fn finish(self) -> (Bytes, Permit) {
        (self.collected.freeze(), self.permit)
    }
}

/// How slowly a body may come.
struct Pace {
    started: Instant,
    deadline: Instant,
    stretch: Duration,
    stretch_end: Instant,
    stretch_bytes: usize,
}

impl Pace {
    fn new(options: &Options) -> Self {
        let started = Instant::now();
        Self {
            started,
            deadline: started + options.body_timeout,
            stretch: options.body_pace,
            stretch_end: started + options.body_pace,
            stretch_bytes: 0,
        }
    }

    fn next_look(&self) -> Instant {
        self.deadline.min(self.stretch_end)
    }

    fn advance(&mut self, bytes: usize) -> Result<(), Error> {
        self.stretch_bytes = self.stretch_bytes.saturating_add(bytes);
        if self.next_look() <= Instant::now() { self.look() } else { Ok(()) }
    }

    /// Judges the stretch that has ended and begins the next.
    fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.deadline <= now || self.stretch_bytes < PACE_BYTES_MIN {
            return Err(Error::Stalled { waited: now - self.started });
        }
        self.stretch_end = now + self.stretch;
        self.stretch_bytes = 0;
        Ok(())
    }
}
