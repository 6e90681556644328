//! At the door: which services and which severities are taken.

use std::fmt::Write;

use crate::model::batch::{Batch, Group, Signal};
use crate::model::log::{LogRecord, Severity};
use crate::model::metric::Metric;

use super::{Rules, severity};

/// What a batch lost at the door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Items of services that are not taken.
    pub service: u64,
    /// Log records that are not severe enough to be taken.
    pub severity: u64,
    /// What was rejected and why, in English and below 1 KiB; none when all was taken and will be stored.
    pub message: Option<String>,
}

impl Rejected {
    /// All rejected items.
    pub const fn items(&self) -> u64 {
        self.service.saturating_add(self.severity)
    }
}

impl Rules {
    /// Takes out of `batch` what the rules reject, and gives log records without a severity the one that their body
    /// tells. The same batch always ends the same.
    pub fn admit(&self, batch: &mut Batch) -> Rejected {
        let signal = batch.signal();
        let mut rejected = Rejected::default();
        let mut counted_only = 0;
        match batch {
            Batch::Traces(groups) => rejected.service = self.take_services(groups, |items| items.len()),
            Batch::Metrics(groups) => rejected.service = self.take_services(groups, points),
            Batch::Logs(groups) => {
                rejected.service = self.take_services(groups, |items| items.len());
                (rejected.severity, counted_only) = self.take_severities(groups);
            }
        }
        rejected.message = self.message(signal, &rejected, counted_only);
        rejected
    }

    /// True when a record of this severity gets a row.
    pub fn stores(&self, severity: Severity) -> bool {
        is_enough(severity, self.inner.options.store_severity_min)
    }

    /// Removes the groups of services that are not taken; answers how many items they held.
    fn take_services<T>(&self, groups: &mut Vec<Group<T>>, count: fn(&[T]) -> usize) -> u64 {
        let (allowed, excluded) = (&self.inner.allowed_services, &self.inner.excluded_services);
        if allowed.is_empty() && excluded.is_empty() {
            return 0;
        }
        let mut rejected = 0;
        groups.retain(|group| {
            let service = group.resource.service.as_bytes();
            let is_taken = (allowed.is_empty() || allowed.has(service)) && !excluded.has(service);
            rejected += if is_taken { 0 } else { count(&group.items) as u64 };
            is_taken
        });
        rejected
    }

    /// Reads severities out of bodies and removes records that are not severe enough. Answers how many were removed,
    /// and how many of the others will get no row.
    fn take_severities(&self, groups: &mut Vec<Group<LogRecord>>) -> (u64, u64) {
        let options = &self.inner.options;
        let (ingest, store) = (options.ingest_severity_min, options.store_severity_min);
        let (mut rejected, mut counted_only) = (0, 0);
        if options.severity_from_body {
            for record in groups.iter_mut().flat_map(|group| &mut group.items) {
                if record.severity == Severity(0) {
                    record.severity = severity::of_body(record.detail.body()).unwrap_or_default();
                }
            }
        }
        if ingest == Severity(0) && store == Severity(0) {
            return (0, 0);
        }
        for group in groups.iter_mut() {
            group.items.retain(|record| {
                let is_taken = is_enough(record.severity, ingest);
                rejected += u64::from(!is_taken);
                counted_only += u64::from(is_taken && !is_enough(record.severity, store));
                is_taken
            });
        }
        groups.retain(|group| !group.items.is_empty());
        (rejected, counted_only)
    }

    fn message(&self, signal: Signal, rejected: &Rejected, counted_only: u64) -> Option<String> {
        if rejected.items() == 0 && counted_only == 0 {
            return None;
        }
        let noun = match signal {
            Signal::Traces => "spans",
            Signal::Logs => "log records",
            Signal::Metrics => "data points",
        };
        let options = &self.inner.options;
        let mut parts = Vec::new();
        if rejected.service > 0 {
            parts.push(format!(
                "{} {noun} rejected: INGEST_ALLOWED_SERVICES or INGEST_EXCLUDED_SERVICES leaves their service out",
                rejected.service
            ));
        }
        if rejected.severity > 0 {
            let least = options.ingest_severity_min.name();
            parts.push(format!("{} {noun} rejected: below INGEST_MIN_SEVERITY={least}", rejected.severity));
        }
        if counted_only > 0 {
            let mut part = format!("{counted_only} {noun} counted and not stored: ");
            let _ = write!(part, "below STORE_MIN_SEVERITY={}", options.store_severity_min.name());
            parts.push(part);
        }
        Some(parts.join("; "))
    }
}

/// True when `severity` is unknown or at least `least`.
fn is_enough(severity: Severity, least: Severity) -> bool {
    severity == Severity(0) || severity >= least
}

fn points(metrics: &[Metric]) -> usize {
    metrics.iter().map(|metric| metric.points.len()).sum()
}
