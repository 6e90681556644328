//! How services fare against their own past, never against constants.
//!
//! ```text
//! errors  = share of requests that fail beyond the baseline's share, if beyond chance, else 0
//! slower  = 1 − (baseline latency / latency now), if beyond chance, else 0
//! silent  = share of the expected requests that are missing, if beyond chance, else 0
//! score   = (1 − min(1, 5 · errors)) · (1 − slower / 2) · (1 − silent)
//! ```
//!
//! Each is the mean over the service's operations that take requests, weighted by their traffic. From 0.9 a
//! service is healthy, from 0.6 degraded, below critical. Without a baseline only the failed share counts.
//!
//! What callers lead one to expect is missing where that is more than half of it: an operation that they call as often for
//! each request as before has lost nothing. Users call as they like: an operation that nobody known calls is silent where less
//! than a tenth is left of what its baseline's rate leads one to expect, as for a root cause; where less than half is left, a
//! quarter of that counts. A peak that is over is no baseline. Who asks a queue for messages asks as often as it likes, and is
//! silent where less than a tenth of that is left though there are messages.

use std::collections::BTreeMap;

use crate::model::id::{OperationId, ServiceId};

use super::due::{Due, Dues};
use super::evidence::{Evidence, OperationEvidence};
use super::figures::time_text;
use super::stats::{error_surprise, excess_errors, expected_calls, latency_shift, rate_surprise};
use super::verdict::{Health, Status};

/// Requests below which nothing is said.
const COUNT_MIN: u64 = 5;
/// Standard deviations of noise are this far away at least.
const SURPRISE_MIN: f64 = 3.5;
/// How much a failed share weighs: one request in five failing is the end of the scale.
const ERRORS_WEIGHT: f64 = 5.0;
/// Requests that silence must be measured against, and standard deviations that it must leave behind.
const SILENCE_MIN: (f64, f64) = (20.0, 5.0);
/// Part of the expected requests that is left where requests are missing, and where an operation is silent.
const LEFT: (f64, f64) = (0.5, 0.1);
/// What it is worth that users call less than they did.
const FEWER: f64 = 0.25;
const HEALTHY_MIN: f64 = 0.9;
const DEGRADED_MIN: f64 = 0.6;

/// The health of every service that operations belong to, by service id. `usual_per_s` tells how often operations are called
/// whose baseline is a peak that is over, in calls per second.
pub fn health(evidence: &Evidence, usual_per_s: &BTreeMap<OperationId, f64>) -> Vec<Health> {
    let mut services: BTreeMap<ServiceId, Vec<&OperationEvidence>> = BTreeMap::new();
    for operation in &evidence.operations {
        services.entry(operation.service).or_default().push(operation);
    }
    let past = Past {
        window_s: evidence.window.length().as_secs_f64(),
        baseline_s: evidence.baseline.map_or(0.0, |baseline| baseline.length().as_secs_f64()),
        usual_per_s,
        dues: Dues::new(evidence),
    };
    let mut found = Vec::new();
    for (service, mut all) in services {
        all.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        let inbound: Vec<&OperationEvidence> = all.iter().copied().filter(|it| past.takes_work(it)).collect();
        found.push(past.health_of(service, if inbound.is_empty() { &all } else { &inbound }));
    }
    found
}

/// What operations are compared with; a baseline of 0 seconds means that there is none.
struct Past<'a> {
    window_s: f64,
    baseline_s: f64,
    usual_per_s: &'a BTreeMap<OperationId, f64>,
    dues: Dues,
}

/// What one operation takes from the score, weighted by traffic.
struct Losses {
    weight: f64,
    errors: f64,
    slower: f64,
    silent: f64,
}

/// Requests that one leads to expect.
struct Expected {
    requests: f64,
    /// Whether callers lead to it.
    by_callers: bool,
    /// What leads to it, to be added to a sentence.
    why: &'static str,
}

impl Past<'_> {
    /// Whether an operation tells how its service does: it takes requests, or should take messages.
    fn takes_work(&self, operation: &OperationEvidence) -> bool {
        operation.kind.is_inbound() || matches!(self.dues.of(operation), Due::Stopped(_))
    }

    fn health_of(&self, service: ServiceId, operations: &[&OperationEvidence]) -> Health {
        let seen: u64 = operations.iter().map(|it| it.now.count).sum();
        let expected: f64 = operations.iter().map(|it| self.expected(it).requests).sum();
        if seen < COUNT_MIN && expected < 4.0 * COUNT_MIN as f64 {
            let reasons = vec![format!("Only {seen} requests in the window.")];
            return Health { service, status: Status::Unknown, score: 1.0, reasons };
        }
        let mut reasons: Vec<(f64, String)> = Vec::new();
        let mut total = Losses { weight: 0.0, errors: 0.0, slower: 0.0, silent: 0.0 };
        for operation in operations {
            let losses = self.losses_of(operation, &mut reasons);
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

    /// Requests that callers lead one to expect, or the rate of the baseline where nobody known calls, but for a peak.
    fn expected(&self, operation: &OperationEvidence) -> Expected {
        match self.dues.of(operation) {
            Due::Calls(requests) => Expected { requests, by_callers: true, why: " by what its callers do" },
            Due::Asking => Expected { requests: operation.now.count as f64, by_callers: true, why: "" },
            Due::Stopped(requests) => {
                Expected { requests, by_callers: false, why: ", and messages wait to be asked for" }
            }
            Due::Unknown => {
                let before = expected_calls(&operation.before, self.window_s, self.baseline_s);
                let usual = self.usual_per_s.get(&operation.id).map(|rate| rate * self.window_s);
                let requests = usual.map_or(before, |usual| usual.min(before));
                Expected { requests, by_callers: false, why: "" }
            }
        }
    }

    fn losses_of(&self, operation: &OperationEvidence, reasons: &mut Vec<(f64, String)>) -> Losses {
        let (now, before) = (&operation.now, &operation.before);
        let expected = self.expected(operation);
        let weight = (now.count as f64).max(expected.requests);
        let mut losses = Losses { weight, errors: 0.0, slower: 0.0, silent: 0.0 };
        let known = self.baseline_s > 0.0 && before.count > 0;
        let significant = now.errors >= 3 && error_surprise(now, before) > SURPRISE_MIN;
        if now.count > 0 && (significant || !known) {
            losses.errors =
                if known { excess_errors(now, before) / now.count as f64 } else { now.error_ratio() };
            if losses.errors > 0.0 {
                let was = if known {
                    format!("{:.1} % before", 100.0 * before.error_ratio())
                } else {
                    "no baseline".to_owned()
                };
                let text = format!(
                    "{}: {:.1} % of requests fail, {was}.",
                    operation.name,
                    100.0 * now.error_ratio()
                );
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
        if known && let Some((silent, text)) = self.silence_of(operation, &expected) {
            losses.silent = silent;
            reasons.push((silent * weight, text));
        }
        losses
    }

    /// How much it counts that requests are missing, and in words; none where as many came as chance allows.
    fn silence_of(&self, operation: &OperationEvidence, expected: &Expected) -> Option<(f64, String)> {
        let (now, before) = (operation.now.count as f64, operation.before.count as f64);
        let Expected { requests, by_callers, why } = *expected;
        let left = now / requests.max(1.0);
        if requests < SILENCE_MIN.0 || left >= LEFT.0 {
            return None;
        }
        // What callers made is as well known as what they made before.
        let (length, length_before) =
            if by_callers { (requests, before) } else { (self.window_s, before / requests * self.window_s) };
        if -rate_surprise(now, length, before, length_before) <= SILENCE_MIN.1 {
            return None;
        }
        let is_silent = by_callers || left < LEFT.1;
        let text = format!(
            "{}: {} requests where {requests:.0} were expected{why}.",
            operation.name, operation.now.count
        );
        Some(((1.0 - left) * if is_silent { 1.0 } else { FEWER }, text))
    }
}
