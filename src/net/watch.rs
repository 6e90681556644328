//! When a connection has had its time.
//!
//! The stream reports bytes, the service reports requests; from both follows one deadline at any moment. No
//! timer of hyper's is used for this: its header timer also runs between two requests, which would close the
//! connections of well-behaved clients that export once a minute, and its protocol detection has none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Options;

/// Bytes of an answer that a client takes in a second at least.
const TAKEN_PER_SECOND_MIN: u64 = 64 << 10;

/// What every HTTP/2 connection starts with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request did not arrive in time, or an announced end was not made use of.
    Head,
    /// Nothing was asked for a long time.
    Idle,
    /// The client does not take its answer.
    Write,
}

/// Whether somebody waits for a place, as all are taken; then one connection that asked nothing for the header timeout makes
/// room.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    is_waiting: AtomicBool,
    changed: Notify,
}

impl Crowd {
    /// Somebody waits for a place.
    pub(super) fn wait(&self) {
        self.is_waiting.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Nobody waits any more.
    pub(super) fn served(&self) {
        self.is_waiting.store(false, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Whether it is for the one that asks to make room: one does for each that waits.
    fn is_its_turn(&self) -> bool {
        self.is_waiting.swap(false, Ordering::Relaxed)
    }
}

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    crowd: Arc<Crowd>,
    header_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the phase began, or the last request ended.
    since: Instant,
    requests: usize,
    write_blocked_since: Option<Instant>,
    is_body_unread: bool,
    /// HTTP/2: answers that go on when the client takes what it was given, or opens its window, by number; and until when it
    /// has to. The socket is not blocked meanwhile.
    untaken: BTreeMap<u64, Instant>,
    /// The number of the next request.
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte says otherwise yet: so many bytes of the HTTP/2 preface.
    Preface(usize),
    /// Part of an HTTP/1 request's head has arrived.
    Head,
    /// HTTP/1 between two requests.
    Idle,
    /// HTTP/2: pings find dead clients, frames of a head cannot be told apart from here.
    Multiplexed,
    /// The client was told that the connection ends.
    Leaving,
}

impl Watch {
    /// A watch over a connection accepted now.
    pub(super) fn new(options: &Options, crowd: Arc<Crowd>) -> Self {
        let state = State {
            phase: Phase::Preface(0),
            since: Instant::now(),
            requests: 0,
            write_blocked_since: None,
            is_body_unread: false,
            untaken: BTreeMap::new(),
            next: 0,
        };
        Self {
            crowd,
            header_timeout: options.header_timeout,
            idle_timeout: options.idle_timeout,
            write_timeout: options.write_timeout,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// `bytes` have arrived; never empty.
    pub(super) fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        match state.phase {
            Phase::Preface(seen) => {
                let wanted = &PREFACE[seen..];
                let compared = wanted.len().min(bytes.len());
                state.phase = if wanted[..compared] != bytes[..compared] {
                    Phase::Head
                } else if compared == wanted.len() {
                    state.since = Instant::now();
                    Phase::Multiplexed
                } else {
                    Phase::Preface(seen + compared)
                };
            }
            Phase::Idle if state.requests == 0 => {
                state.phase = Phase::Head;
                state.since = Instant::now();
            }
            _ => return,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A request has reached the service; answers its number.
    pub(super) fn request_began(&self) -> u64 {
        let mut state = self.state();
        state.requests += 1;
        state.next += 1;
        let number = state.next;
        if state.phase == Phase::Head {
            state.phase = Phase::Idle;
        }
        drop(state);
        self.changed.notify_one();
        number
    }

    /// The answer to a request goes on when the client has taken so many bytes.
    pub(super) fn awaits_client(&self, number: u64, bytes: usize) {
        let mut state = self.state();
        if state.phase != Phase::Multiplexed {
            return;
        }
        let patience = self.write_timeout + Duration::from_secs(bytes as u64 / TAKEN_PER_SECOND_MIN);
        let until = Instant::now() + patience;
        let is_next = state.untaken.values().all(|other| until <= *other);
        state.untaken.insert(number, until);
        drop(state);
        if is_next {
            self.changed.notify_one();
        }
    }

    /// The answer to a request goes on.
    pub(super) fn goes_on(&self, number: u64) {
        self.state().untaken.remove(&number);
    }

    /// The last byte of a request's answer was handed over, or the request was given up.
    pub(super) fn request_ended(&self, number: u64) {
        let mut state = self.state();
        state.untaken.remove(&number);
        state.requests = state.requests.saturating_sub(1);
        state.since = Instant::now();
        drop(state);
        self.changed.notify_one();
    }

    /// The client does or does not take bytes.
    pub(super) fn write_blocked(&self, is_blocked: bool) {
        let mut state = self.state();
        if state.write_blocked_since.is_some() == is_blocked {
            return;
        }
        state.write_blocked_since = is_blocked.then(Instant::now);
        drop(state);
        self.changed.notify_one();
    }

    /// The client was told that the connection ends; it has the header timeout to leave.
    pub(super) fn leaving(&self) {
        let mut state = self.state();
        state.phase = Phase::Leaving;
        state.since = Instant::now();
    }

    /// A request's body was given up before its end.
    pub(super) fn body_left_unread(&self) {
        self.state().is_body_unread = true;
    }

    /// True when the client may still be sending a body that nobody reads.
    pub(super) fn is_body_unread(&self) -> bool {
        self.state().is_body_unread
    }

    /// Waits until the connection is over, and tells why. May be dropped and asked again.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            // Before the look, so that no change in between goes unheard.
            let mut crowded = std::pin::pin!(self.crowd.changed.notified());
            crowded.as_mut().enable();
            match self.deadline() {
                None => self.changed.notified().await,
                Some((deadline, why)) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {
                        let now = Instant::now();
                        let is_over = self.deadline().is_some_and(|(deadline, _)| deadline <= now);
                        if is_over && (self.is_overdue_anyway(now) || self.crowd.is_its_turn()) {
                            return why;
                        }
                    }
                    () = self.changed.notified() => {}
                    () = crowded => {}
                },
            }
        }
    }

    fn deadline(&self) -> Option<(Instant, Overdue)> {
        self.deadline_where(self.crowd.is_waiting())
    }

    /// Whether it is over though nobody waits for its place.
    fn is_overdue_anyway(&self, now: Instant) -> bool {
        self.deadline_where(false).is_some_and(|(deadline, _)| deadline <= now)
    }

    fn deadline_where(&self, is_crowded: bool) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let waiting = (state.requests == 0).then(|| match state.phase {
            Phase::Preface(_) | Phase::Head | Phase::Leaving => {
                (state.since + self.header_timeout, Overdue::Head)
            }
            Phase::Idle | Phase::Multiplexed => {
                let patience = if is_crowded { self.header_timeout } else { self.idle_timeout };
                (state.since + patience.min(self.idle_timeout), Overdue::Idle)
            }
        });
        let writing = state.write_blocked_since.map(|since| (since + self.write_timeout, Overdue::Write));
        let taking = state.untaken.values().min().map(|until| (*until, Overdue::Write));
        waiting.into_iter().chain(writing).chain(taking).min_by_key(|(deadline, _)| *deadline)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
