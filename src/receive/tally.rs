//! Counts what came and went, so that received = accepted + rejected + refused can be checked from outside.

use std::sync::atomic::{AtomicU64, Ordering};

use tonic::Code;

use crate::fault::Kind;
use crate::model::batch::Signal;

use super::Error;
use super::grpc::export_path;

/// One value of one metric: its name, its labels, its count since the start.
pub type Sample = (&'static str, Vec<(&'static str, &'static str)>, u64);

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// OTLP over HTTP.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Http, "http"), (Transport::Grpc, "grpc")];

/// Every kind of refusal, as the `reason` label has it.
const REASONS: [(Kind, &str); 9] = [
    (Kind::Invalid, "invalid"),
    (Kind::TooLarge, "too_large"),
    (Kind::NotFound, "not_found"),
    (Kind::Unauthenticated, "unauthenticated"),
    (Kind::Denied, "denied"),
    (Kind::Overloaded, "overloaded"),
    (Kind::Unavailable, "unavailable"),
    (Kind::TimedOut, "timed_out"),
    (Kind::Internal, "internal"),
];

/// Why single items of a good request were not taken although they are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Older than what is kept.
    TooOld,
    /// Too far ahead of the clock.
    InTheFuture,
    /// Of a service that is not taken.
    Service,
    /// Not severe enough.
    Severity,
}

/// The `reason` labels of [`LeftOut`], in order.
const LEFT_OUT: [&str; 4] = ["too_old", "in_the_future", "service", "severity"];

/// Every code a call can end with, as the `status` label has it.
const CODES: [(Code, &str); 9] = [
    (Code::Ok, "OK"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

const SIGNALS: usize = Signal::ALL.len();

/// The counters of both doors.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: [[AtomicU64; SIGNALS]; TRANSPORTS.len()],
    bytes: [AtomicU64; TRANSPORTS.len()],
    payloads_refused: [[[AtomicU64; REASONS.len()]; SIGNALS]; TRANSPORTS.len()],
    items_accepted: [AtomicU64; SIGNALS],
    items_refused: [[AtomicU64; REASONS.len()]; SIGNALS],
    items_left_out: [[AtomicU64; LEFT_OUT.len()]; SIGNALS],
    attributes_dropped: AtomicU64,
    attributes_shortened: AtomicU64,
    http_throttled: [AtomicU64; SIGNALS],
    grpc_answered: [[AtomicU64; CODES.len()]; SIGNALS],
}

impl Tally {
    /// A request has arrived, whatever becomes of it.
    pub(super) fn request(&self, transport: Transport, signal: Signal) {
        add(&self.requests[transport as usize][signal as usize], 1);
    }

    /// A body has arrived in full.
    pub(super) fn received(&self, transport: Transport, bytes: usize) {
        add(&self.bytes[transport as usize], bytes as u64);
    }

    /// Items became durable.
    pub(super) fn accepted(&self, signal: Signal, items: u64) {
        add(&self.items_accepted[signal as usize], items);
    }

    /// Items of a request were invalid.
    pub(super) fn rejected(&self, signal: Signal, items: u64) {
        self.refused(signal, Kind::Invalid, items);
    }

    /// Valid items of a good request were not taken.
    pub(super) fn left_out(&self, signal: Signal, reason: LeftOut, items: u64) {
        add(&self.items_left_out[signal as usize][reason as usize], items);
    }

    /// Attributes were left out for being too many, and values were cut.
    pub(super) fn attributes(&self, dropped: u64, shortened: u64) {
        add(&self.attributes_dropped, dropped);
        add(&self.attributes_shortened, shortened);
    }

    /// Attributes left out and values cut so far.
    pub(super) fn attributes_changed(&self) -> (u64, u64) {
        (get(&self.attributes_dropped), get(&self.attributes_shortened))
    }

    /// Valid items were refused with their request.
    pub(super) fn refused(&self, signal: Signal, kind: Kind, items: u64) {
        add(&self.items_refused[signal as usize][reason(kind)], items);
    }

    /// A whole request was refused.
    pub(super) fn payload_refused(&self, transport: Transport, signal: Signal, error: &Error) {
        add(&self.payloads_refused[transport as usize][signal as usize][reason(error.kind())], 1);
    }

    /// As [`Tally::payload_refused`], over HTTP.
    pub(super) fn http_refused(&self, signal: Signal, error: &Error) {
        self.payload_refused(Transport::Http, signal, error);
        if error.kind().is_retryable() {
            add(&self.http_throttled[signal as usize], 1);
        }
    }

    /// A call has ended.
    pub(super) fn grpc_answered(&self, signal: Signal, code: Code) {
        if let Some(at) = CODES.iter().position(|(known, _)| *known == code) {
            add(&self.grpc_answered[signal as usize][at], 1);
        }
    }

    /// All counters.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let doors = TRANSPORTS.into_iter().flat_map(|(transport, name)| self.of_door(transport, name));
        doors.chain(Signal::ALL.into_iter().flat_map(|signal| self.of_signal(signal)))
    }

    fn of_door(&self, transport: Transport, name: &'static str) -> Vec<Sample> {
        let at = transport as usize;
        let transport = ("transport", name);
        let mut samples = vec![("otelcontext_otlp_bytes_total", vec![transport], get(&self.bytes[at]))];
        for signal in Signal::ALL {
            let labels = vec![transport, ("signal", signal.name())];
            let requests = get(&self.requests[at][signal as usize]);
            samples.push(("otelcontext_otlp_requests_total", labels.clone(), requests));
            for ((_, reason), count) in REASONS.iter().zip(&self.payloads_refused[at][signal as usize]) {
                let labels = [labels.as_slice(), &[("reason", *reason)]].concat();
                samples.push(("otelcontext_otlp_payload_rejected_total", labels, get(count)));
            }
        }
        samples
    }

    fn of_signal(&self, signal: Signal) -> Vec<Sample> {
        let at = signal as usize;
        let label = ("signal", signal.name());
        let mut samples = vec![
            ("otelcontext_otlp_items_accepted_total", vec![label], get(&self.items_accepted[at])),
            ("otelcontext_http_otlp_throttled_total", vec![label], get(&self.http_throttled[at])),
        ];
        for ((_, reason), count) in REASONS.iter().zip(&self.items_refused[at]) {
            let labels = vec![label, ("reason", *reason)];
            samples.push(("otelcontext_otlp_items_rejected_total", labels, get(count)));
        }
        for (reason, count) in LEFT_OUT.iter().zip(&self.items_left_out[at]) {
            let labels = vec![label, ("reason", *reason)];
            samples.push(("otelcontext_otlp_items_rejected_total", labels, get(count)));
        }
        for ((_, status), count) in CODES.iter().zip(&self.grpc_answered[at]) {
            let labels = vec![("method", export_path(signal)), ("status", *status)];
            samples.push(("otelcontext_grpc_requests_total", labels, get(count)));
        }
        samples
    }
}

fn reason(kind: Kind) -> usize {
    REASONS.iter().position(|(known, _)| *known == kind).unwrap_or(REASONS.len() - 1)
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
