//! How services fare against their own past, never against constants.
//!
//! ```text
//! errors  = share of requests that fail beyond the baseline's share, if beyond chance, else 0
//! slower  = 1 − (baseline latency / latency now), if beyond chance, else 0
//! silent  = share of the expected requests that are missing, if more than half and beyond chance, else 0
//! score   = (1 − min(1, 5 · errors)) · (1 − slower / 2) · (1 − silent)
//! ```
//!
//! Each is the mean over the service's operations that take requests, weighted by their traffic. From 0.9 a
//! service is healthy, from 0.6 degraded, below critical. Without a baseline only the failed share counts.

use std::collections::BTreeMap;

use crate::model::id::ServiceId;

use super::evidence::OperationEvidence;
use super::sentence::time_text;
use super::stats::{error_surprise, excess_errors, expected_calls, latency_shift, rate_surprise};
use super::verdict::{Health, Status};

/// Requests below which nothing is said.
const COUNT_MIN: u64 = 5;
/// Standard deviations of noise are this far away at least.
const SURPRISE_MIN: f64 = 3.5;
/// How much a failed share weighs: one request in five failing is the end of the scale.
const ERRORS_WEIGHT: f64 = 5.0;
const HEALTHY_MIN: f64 = 0.9;
const DEGRADED_MIN: f64 = 0.6;

/// Lengths of the compared windows in seconds; a baseline of 0 seconds means that there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// The window.
    pub window_s: f64,
    /// The baseline.
    pub baseline_s: f64,
}

/// The health of every service that the operations belong to, by service id.
pub fn health(operations: &[&OperationEvidence], lengths: Lengths) -> Vec<Health> {
    let mut services: BTreeMap<ServiceId, Vec<&OperationEvidence>> = BTreeMap::new();
    for operation in operations {
        services.entry(operation.service).or_default().push(operation);
    }
    let mut found = Vec::new();
    for (service, mut all) in services {
        all.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        let inbound: Vec<&OperationEvidence> =
            all.iter().copied().filter(|it| it.kind.is_inbound()).collect();
        found.push(health_of(service, if inbound.is_empty() { &all } else { &inbound }, lengths));
    }
    found
}

/// What one operation takes from the score, weighted by traffic.
struct Losses {
    weight: f64,
    errors: f64,
    slower: f64,
    silent: f64,
}

fn health_of(service: ServiceId, operations: &[&OperationEvidence], lengths: Lengths) -> Health {
    let seen: u64 = operations.iter().map(|it| it.now.count).sum();
    let expected: f64 = operations.iter().map(|it| expected(it, lengths)).sum();
    if seen < COUNT_MIN && expected < 4.0 * COUNT_MIN as f64 {
        let reasons = vec![format!("Only {seen} requests in the window.")];
        return Health { service, status: Status::Unknown, score: 1.0, reasons };
    }
    let mut reasons: Vec<(f64, String)> = Vec::new();
    let mut total = Losses { weight: 0.0, errors: 0.0, slower: 0.0, silent: 0.0 };
    for operation in operations {
        let losses = losses_of(operation, lengths, &mut reasons);
        total.weight += losses.weight;
        total.errors += losses.weight * losses.errors;
        total.slower += losses.weight * losses.slower;
        total.silent += losses.weight * losses.silent;
    }
    let mean = |sum: f64| if total.weight > 0.0 { sum / total.weight } else { 0.0 };
    let score = (1.0 - (ERRORS_WEIGHT * mean(total.errors)).min(1.0))
        * (1.0 - mean(total.slower) / 2.0)
        * (1.0 - mean(total.silent));
    let status = match score {
        score if score >= HEALTHY_MIN => Status::Healthy,
        score if score >= DEGRADED_MIN => Status::Degraded,
        _ => Status::Critical,
    };
    reasons.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let reasons = if status == Status::Healthy {
        Vec::new()
    } else {
        reasons.into_iter().map(|(_, text)| text).take(5).collect()
    };
    Health { service, status, score: score.clamp(0.0, 1.0), reasons }
}

/// Requests that the baseline's rate leads one to expect.
fn expected(operation: &OperationEvidence, lengths: Lengths) -> f64 {
    expected_calls(&operation.before, lengths.window_s, lengths.baseline_s)
}

fn losses_of(operation: &OperationEvidence, lengths: Lengths, reasons: &mut Vec<(f64, String)>) -> Losses {
    let (now, before) = (&operation.now, &operation.before);
    let expected = expected(operation, lengths);
    let weight = (now.count as f64).max(expected);
    let mut losses = Losses { weight, errors: 0.0, slower: 0.0, silent: 0.0 };
    let known = lengths.baseline_s > 0.0 && before.count > 0;
    let significant = now.errors >= 3 && error_surprise(now, before) > SURPRISE_MIN;
    if now.count > 0 && (significant || !known) {
        losses.errors = if known { excess_errors(now, before) / now.count as f64 } else { now.error_ratio() };
        if losses.errors > 0.0 {
            let was = if known {
                format!("{:.1} % before", 100.0 * before.error_ratio())
            } else {
                "no baseline".to_owned()
            };
            let text =
                format!("{}: {:.1} % of requests fail, {was}.", operation.name, 100.0 * now.error_ratio());
            reasons.push((ERRORS_WEIGHT * losses.errors * weight, text));
        }
    }
    let shift = latency_shift(now, before);
    if known && shift.surprise > SURPRISE_MIN && shift.growth > 0.15 {
        losses.slower = 1.0 - 1.0 / (1.0 + shift.growth);
        let text = format!(
            "{}: {} on average, {} before.",
            operation.name,
            time_text(now.mean_ns()),
            time_text(before.mean_ns())
        );
        reasons.push((0.5 * losses.slower * weight, text));
    }
    let surprise = rate_surprise(now.count as f64, lengths.window_s, before.count as f64, lengths.baseline_s);
    if known && expected >= 20.0 && (now.count as f64) < 0.5 * expected && surprise < -5.0 {
        losses.silent = 1.0 - now.count as f64 / expected;
        let text = format!("{}: {} requests where {expected:.0} were expected.", operation.name, now.count);
        reasons.push((losses.silent * weight, text));
    }
    losses
}
