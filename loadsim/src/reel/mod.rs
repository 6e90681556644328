//! A reel: some traffic that is made and encoded once, to be played again and again. What changes from one playing to the
//! next is the id of every trace and every time, so that a server sees traces that it has not seen.
//!
//! All else repeats: span ids, attributes, bodies and values. A counter that only grows, of which `chatter` makes one, begins anew
//! with each round of its loop, which may last several playings, so that it never falls.
//!
//! `making` plays requests and has them encoded, with `chatter` for what services say beside; `places` finds where an encoded
//! item holds what changes; a `strip` is what one connection sends of one signal, and cuts it into requests; `playing` sends
//! them when they are due.

mod chatter;
mod making;
mod places;
pub(crate) mod playing;
mod strip;
#[cfg(test)]
mod tests;

use self::places::Change;
use self::strip::{Cut, Heads, Limits, Strip};
use crate::dice::Dice;
use crate::send::{Request, Signal};
use crate::sharing::Sharing;

/// What a reel is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Repeats it.
    pub(crate) seed: u64,
    /// Spans a second, in all.
    pub(crate) spans_per_second: f64,
    /// Connections to share them out among.
    pub(crate) connections: usize,
    /// How they are shared out.
    pub(crate) sharing: Sharing,
    /// Log records for each request that a service handles without failure.
    pub(crate) chatter: f64,
    /// Log records a second for each service beside those.
    pub(crate) log_rate: f64,
    /// Metric points a second for each service beside those about requests.
    pub(crate) point_rate: f64,
}

/// Encoded traffic of five seconds at most.
#[derive(Debug)]
pub(crate) struct Reel {
    /// What each connection sends of each signal.
    pub(crate) strips: Vec<Strip>,
    /// How long one playing lasts.
    pub(crate) length_ns: u64,
    base_ns: u64,
    /// Decides what goes over the ids of traces.
    seed: u64,
    resources: Vec<Vec<u8>>,
    scope: Vec<u8>,
}

/// When and as what a reel is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Showing {
    /// The number of its first playing: no two playings of a run have the same.
    pub(crate) first: u64,
    /// When the phase began, since the Unix epoch.
    pub(crate) started_ns: u64,
    /// How far back the times are spread; zero plays what happens now.
    pub(crate) backfill_ns: u64,
    /// How long the phase is, for that.
    pub(crate) end_ns: u64,
}

impl Reel {
    /// The request of a cut from one of the strips.
    pub(crate) fn request(&self, strip: &Strip, cut: &Cut, showing: &Showing) -> Request {
        let heads = Heads { resources: &self.resources, scope: &self.scope };
        strip.request(cut, heads, |playing, offset_ns| self.change(strip.signal, playing, offset_ns, showing))
    }

    /// When requests are cut in a phase of `end_ns`.
    pub(crate) const fn limits(&self, batch: u64, flush_ns: u64, end_ns: u64) -> Limits {
        Limits { batch, flush_ns, reel_ns: self.length_ns, end_ns }
    }

    /// What differs in an item that is due so long after the start of a playing of the phase. Spans and records of one trace
    /// are due together and so move together. All points of a playing do, or their counters would begin at many times.
    fn change(&self, signal: Signal, playing: u64, offset_ns: u64, showing: &Showing) -> Change {
        let offset_ns = if signal == Signal::Metrics { 0 } else { offset_ns };
        let at_ns = playing * self.length_ns + offset_ns;
        let instant_ns = if showing.backfill_ns == 0 {
            showing.started_ns + at_ns
        } else {
            let left = 1.0 - at_ns as f64 / showing.end_ns.max(1) as f64;
            showing.started_ns.saturating_sub((showing.backfill_ns as f64 * left.clamp(0.0, 1.0)) as u64)
        };
        let later_ns = instant_ns.wrapping_sub(self.base_ns + offset_ns);
        Change { word: self.word(showing.first + playing), later_ns }
    }

    /// What goes over the ids of traces in a playing: something else in each, and never nothing.
    fn word(&self, playing: u64) -> u64 {
        // The dice give a different first word for each seed, so that one seed alone gives zero; the seed before the first is
        // that of no playing.
        let word = |number: u64| Dice::new(self.seed.wrapping_add(number)).word();
        match word(playing) {
            0 => word(u64::MAX),
            other => other,
        }
    }
}
