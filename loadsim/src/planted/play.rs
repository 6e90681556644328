//! Plays a system up to now.

use std::time::Duration;

use anyhow::Result;

use super::plant::Planted;
use crate::dice::Dice;
use crate::encode;
use crate::send::{Request, Sender, deliver_all};
use crate::traffic::{Span, Traffic};

/// Requests from outside, each second.
pub(super) const REQUESTS_PER_SECOND: f64 = 8.0;
/// Telemetry is exported this much at a time.
const SLICE_NS: u64 = 10_000_000_000;
/// Log records for each request that is handled without failure.
const CHATTER: f64 = 0.2;

/// How long a system is well, and how long the fault lasts by the end.
pub(super) const WELL: Duration = Duration::from_secs(15 * 60);
/// See [`WELL`].
pub(super) const FAULTY: Duration = Duration::from_secs(5 * 60);

/// Sends what the system recorded up to `now_ns`; answers how many spans.
pub(super) async fn play(planted: &Planted, now_ns: u64, sender: &Sender) -> Result<usize> {
    let faults = planted.fault.iter().cloned().collect();
    let mut traffic = Traffic::new(planted.topology.clone(), faults, planted.seed);
    let mut dice = Dice::new(planted.seed).branch(12);
    let mut from_ns = now_ns - (WELL + FAULTY).as_nanos() as u64;
    let (mut sent, mut late): (usize, Vec<Span>) = (0, Vec::new());
    while from_ns < now_ns {
        let to_ns = (from_ns + SLICE_NS).min(now_ns);
        let seconds = (to_ns - from_ns) as f64 / 1e9;
        let count = (REQUESTS_PER_SECOND * seconds * traffic.load(from_ns)).round() as usize;
        let mut spans = std::mem::take(&mut late);
        for _ in 0..count {
            traffic.request(from_ns + dice.word() % (to_ns - from_ns), &mut spans);
        }
        // A span is exported once it has ended.
        (spans, late) = spans.into_iter().partition(|span| span.start_ns + span.duration_ns <= to_ns);
        sent += spans.len();
        let requests = [
            Request::traces(&encode::spans(&traffic, &spans)),
            Request::logs(&encode::logs(&traffic, &spans, CHATTER, &mut dice)),
            Request::metrics(&encode::metrics(&traffic, &spans, (from_ns, to_ns), &mut dice), 0),
        ];
        deliver_all(sender, &requests).await?;
        from_ns = to_ns;
    }
    Ok(sent)
}
