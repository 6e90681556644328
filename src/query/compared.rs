//! What lies on both sides of the onsets in question. They share an end, so that most of what is read for one of them is
//! read for all.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnose;
use crate::diagnose::evidence::{ChangeEvidence, Evidence, Slice};
use crate::diagnose::observed::{Observed, observed};
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::{UnixNanos, Window};

use super::error::Error;
use super::handle::Query;
use super::log_minutes::LogMinutes;
use super::measured::Readings;
use super::root_cause::Explanation;
use super::steps::Newest;
use super::window::{Comparison, Trouble};

/// How long after its end a window is over: the minute in which it ends, and as late as telemetry usually comes.
const OVER_AFTER: Duration = Duration::from_secs(90);

/// What is known of a question before anything is compared.
pub(super) struct Sides<'a> {
    /// The time around the window, bucket by bucket.
    pub(super) slices: &'a Arc<[Slice]>,
    pub(super) readings: &'a Readings,
    /// What was read ahead, if anything was.
    pub(super) ahead: Option<&'a Ahead>,
    /// The log records around the window, where they were read.
    pub(super) logs: Option<&'a LogMinutes>,
    pub(super) symptom: Option<ServiceId>,
    /// The end of the window, and until when logs and metrics are followed where it is not cut before its end.
    pub(super) ends: (UnixNanos, UnixNanos),
}

/// What is read of a window before it is known which part of it is looked at: most likely one that ends with it.
pub(super) struct Ahead {
    newest: Newest,
    /// The time whose changes were read.
    changed: Window,
    changes: Vec<ChangeEvidence>,
}

impl Query {
    /// Reads ahead: the newest of a window, and the changes from `since` until log records are followed. Nothing where
    /// `trouble` is over, and may be looked at alone.
    pub(super) async fn ahead(
        &self,
        tenant: TenantNumber,
        (window, trouble): (Window, Trouble),
        (since, until): (UnixNanos, UnixNanos),
    ) -> Result<Option<Ahead>, Error> {
        if trouble.comparison.now.to != window.to {
            return Ok(None);
        }
        let changed = Window::new(since, until.max(window.to));
        let (newest, changes) = tokio::try_join!(
            Box::pin(self.newest(tenant, window)),
            Box::pin(self.changes(tenant, changed)),
        )?;
        Ok(Some(Ahead { newest, changed, changes }))
    }

    /// What each of `comparisons` shows; their windows end at the same instant.
    pub(super) async fn compared(
        &self,
        tenant: TenantNumber,
        comparisons: &[Comparison],
        asked: &Sides<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        let all = Box::pin(self.both_sides(tenant, comparisons, asked)).await?;
        let symptom = asked.symptom;
        let until = asked.until(comparisons);
        let is_over = until.plus(OVER_AFTER) <= self.clock.now();
        let explained = |(evidence, comparison): (Evidence, &Comparison)| {
            let told = Window::new(evidence.window.from, until.max(evidence.window.to));
            // As it was counted.
            let before = evidence.baseline.unwrap_or(comparison.before);
            let comparison = Comparison { now: evidence.window, before };
            let (traces, nodes) = (evidence.traces.len(), evidence.nodes.len());
            let (is_measured, logged) = (evidence.is_measured(), evidence.logged());
            tokio::task::spawn_blocking(move || {
                let mut verdict = diagnose::root_cause(&evidence, symptom, &diagnose::Options::default());
                for proof in verdict.causes.iter_mut().flat_map(|cause| &mut cause.proof) {
                    let observed = observed(&evidence, &proof.reference);
                    let is_firm = matches!(observed, Some(Observed::Requests(_) | Observed::Records(_)));
                    let window =
                        if matches!(observed, Some(Observed::Requests(_))) { evidence.window } else { told };
                    proof.seen =
                        observed.map(|observed| (window, Some(observed).filter(|_| is_over && is_firm)));
                }
                let namesakes = Vec::new();
                Explanation { verdict, comparison, traces, nodes, is_measured, namesakes, logged }
            })
        };
        let work: Vec<_> = all.into_iter().zip(comparisons).map(explained).collect();
        let mut found = Vec::new();
        for one in work {
            found.push(one.await.map_err(|_| Error::Abandoned)?);
        }
        Ok(found)
    }

    /// What spans, logs, metrics and events tell.
    pub(super) async fn both_sides(
        &self,
        tenant: TenantNumber,
        comparisons: &[Comparison],
        asked: &Sides<'_>,
    ) -> Result<Vec<Evidence>, Error> {
        let readings = asked.readings;
        let measured = readings.since.map(|since| Window::new(since, self.clock.now().max(since)));
        let known = match (self.known(tenant).await?, measured) {
            (Some(a), Some(b)) => Window::new(a.from.min(b.from), a.to.max(b.to)),
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => return Ok(comparisons.iter().map(|it| Evidence::empty(it.now)).collect()),
        };
        let cut: Vec<(Window, Option<Window>)> =
            comparisons.iter().map(|comparison| self.known_part(*comparison, known)).collect();
        let until = asked.until(comparisons);
        let told: Vec<(Window, Option<Window>)> = cut
            .iter()
            .map(|(window, baseline)| (Window::new(window.from, until.max(window.to)), *baseline))
            .collect();
        let since = |(told, baseline): &(Window, Option<Window>)| baseline.map_or(told.from, |it| it.from);
        let first = told.iter().map(since).min().unwrap_or(until);
        let changed = Window::new(first, told.iter().map(|(told, _)| told.to).fold(until, UnixNanos::max));
        let windows: Vec<Window> = cut.iter().map(|(window, _)| *window).collect();
        let ahead = asked.ahead.filter(|it| it.changed.from <= changed.from && changed.to == it.changed.to);
        let changes = async {
            match ahead {
                Some(ahead) => Ok(ahead.changes.clone()),
                None => self.changes(tenant, changed).await,
            }
        };
        let (mut all, (templates, patterns), traces, changes, newest) = tokio::try_join!(
            Box::pin(self.counted(tenant, &cut)),
            Box::pin(self.templates(tenant, &told, asked.logs)),
            Box::pin(self.exemplars(tenant, (&windows, asked.slices), asked.symptom.as_slice())),
            Box::pin(changes),
            Box::pin(self.newest_of(tenant, &cut, asked.ahead.map(|ahead| &ahead.newest))),
        )?;
        let steps = Box::pin(self.steps(tenant, &cut, newest, &patterns)).await?;
        let read = told.into_iter().zip(templates).zip(traces).zip(steps);
        for (evidence, (((told, templates), traces), steps)) in all.iter_mut().zip(read) {
            let since = since(&told);
            (evidence.templates, evidence.traces) = (templates, traces);
            let measured = self.measured(tenant, readings, told.0, since);
            (evidence.series, evidence.calls, evidence.unread_series) =
                (measured.series, measured.calls, measured.unread);
            evidence.unread_metrics = measured.others;
            evidence.changes = changes.iter().filter(|change| change.at >= since).cloned().collect();
            self.add_nodes(evidence);
            evidence.places = self.places(evidence, readings);
            evidence.timeline = Arc::clone(asked.slices);
            evidence.forget_empty_baseline();
            if evidence.baseline.is_some() {
                evidence.steps = steps;
            }
        }
        Ok(all)
    }
}

impl Sides<'_> {
    /// Until when logs and metrics are followed.
    fn until(&self, comparisons: &[Comparison]) -> UnixNanos {
        let to = comparisons.iter().map(|comparison| comparison.now.to).max().unwrap_or(self.ends.0);
        if to < self.ends.0 { to } else { self.ends.1 }
    }
}
