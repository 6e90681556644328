//! Why something is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnose;
use crate::diagnose::evidence::{Evidence, Slice};
use crate::diagnose::split::{Track, split};
use crate::diagnose::verdict::{Outcome, Verdict};
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::rollup::Subject;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};

use super::error::Error;
use super::handle::Query;
use super::measured::Readings;
use super::window::{self, Comparison, Trouble};

/// How long before the last span a silence may seem to begin: buckets are that long.
const SILENCE_SLACK: Duration = Duration::from_secs(60);

/// The answer with the windows it rests on.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// The window that was explained (from the onset, where one was found) and its baseline.
    pub comparison: Comparison,
    /// Traces that were looked into.
    pub traces: usize,
    /// Services, databases, queues and hosts that were looked at.
    pub nodes: usize,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
struct Ask {
    asked: Window,
    /// Until when logs and metrics are followed.
    until: UnixNanos,
    symptom: Option<ServiceId>,
    /// Whether a silence of everybody is trouble too.
    is_whole: bool,
}

impl Query {
    /// The root cause of what is wrong with `service` in `window`; without a service, of the window's worst symptom.
    ///
    /// Where trouble began inside the window the time before its onset is the baseline, so that a window may be asked
    /// for generously.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn root_cause(
        &self,
        scope: &Scope,
        asked: Window,
        service: Option<&str>,
    ) -> Result<Explanation, Error> {
        let symptom = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let Some(tenant) = self.tenant(scope) else {
            let evidence = Evidence::empty(asked);
            let verdict = diagnose::root_cause(&evidence, symptom, &diagnose::Options::default());
            let comparison = window::plain(asked);
            return Ok(Explanation { verdict, comparison, traces: 0, nodes: 0 });
        };
        // No comparison of this window, or of a part of it that ends sooner, begins before.
        let since = window::plain(asked).before.from;
        let (slices, readings) = tokio::try_join!(
            Box::pin(self.slices(tenant, Window::new(since, asked.to))),
            Box::pin(self.readings(tenant, (since, asked.from, asked.to))),
        )?;
        let heard = window::heard(asked, &slices);
        let ask = Ask { asked: heard, until: asked.to, symptom, is_whole: false };
        if heard == asked {
            return Box::pin(self.explained(tenant, ask, (slices, &readings))).await;
        }
        let mut found = Box::pin(self.explained(tenant, ask, (slices.clone(), &readings))).await?;
        let is_silent = || {
            let silence = window::around_trouble(asked, &slices, true).comparison.now;
            silence.from.plus(SILENCE_SLACK) >= heard.to
        };
        if found.verdict.outcome == Outcome::InsufficientEvidence && is_silent() {
            // Where nothing else is wrong, that nobody calls any more is.
            let ask = Ask { asked, is_whole: true, ..ask };
            let whole = Box::pin(self.explained(tenant, ask, (slices, &readings))).await?;
            if whole.verdict.outcome != Outcome::InsufficientEvidence {
                return Ok(whole);
            }
        }
        let seconds = asked.to.since(heard.to).as_secs();
        found.verdict.coverage.push(format!(
            "No span of any service was received in the last {seconds} s of the window: spans tell about the time before."
        ));
        Ok(found)
    }

    async fn explained(
        &self,
        tenant: TenantNumber,
        ask: Ask,
        (mut slices, readings): (Vec<Slice>, &Readings),
    ) -> Result<Explanation, Error> {
        let Ask { asked, until, symptom, is_whole } = ask;
        slices.retain(|slice| slice.bucket_s < asked.to.seconds());
        let own: Option<Vec<Slice>> = symptom.map(|symptom| {
            slices.iter().filter(|slice| self.node_of(slice.subject) == Some(symptom)).copied().collect()
        });
        let work = tokio::task::spawn_blocking(move || {
            let trouble = window::around_trouble(asked, own.as_deref().unwrap_or(&slices), is_whole);
            (slices, trouble)
        });
        let (slices, trouble) = work.await.map_err(|_| Error::Abandoned)?;
        let comparisons = Box::pin(self.comparisons(tenant, asked, trouble, (&slices, readings))).await?;
        let mut answer: Option<Explanation> = None;
        for comparison in comparisons {
            let until = if comparison.now.to < asked.to { comparison.now.to } else { until };
            // On the heap: so much waits in there that a thread's stack would be short of it.
            let mut evidence =
                Box::pin(self.all_evidence(tenant, (comparison, until), symptom, readings)).await?;
            evidence.timeline.clone_from(&slices);
            let (traces, nodes) = (evidence.traces.len(), evidence.nodes.len());
            let comparison = Comparison { now: evidence.window, ..comparison };
            let work = tokio::task::spawn_blocking(move || {
                diagnose::root_cause(&evidence, symptom, &diagnose::Options::default())
            });
            let verdict = work.await.map_err(|_| Error::Abandoned)?;
            let explains = verdict.outcome != Outcome::InsufficientEvidence;
            let found = Explanation { verdict, comparison, traces, nodes };
            if explains {
                return Ok(found);
            }
            if answer.as_ref().is_none_or(|known| known.verdict.causes.is_empty()) {
                answer = Some(found);
            }
        }
        answer.ok_or(Error::Abandoned)
    }

    /// What may be compared, at least one: the first that shows anything explains the window. That is what lies around
    /// trouble that is plain to see; where there is none, around the instant in the window at which most changed, and then,
    /// where the time before is known, the window as it was asked for.
    async fn comparisons(
        &self,
        tenant: TenantNumber,
        asked: Window,
        trouble: Trouble,
        (slices, readings): (&[Slice], &Readings),
    ) -> Result<Vec<Comparison>, Error> {
        let comparison = trouble.comparison;
        let counted = slices.iter().map(|slice| slice.bucket_s).min().map(UnixNanos::from_seconds);
        let Some(first) = counted.into_iter().chain(readings.since).min() else {
            return Ok(vec![comparison]);
        };
        let known = first < asked.from.minus(asked.length() / 4);
        let as_asked = window::plain(asked);
        let with_asked = |mut found: Vec<Comparison>| {
            if known && !found.contains(&as_asked) {
                found.push(as_asked);
            }
            found
        };
        if trouble.is_plain {
            return Ok(with_asked(vec![comparison]));
        }
        // Where the time before is known, the change must lie inside the window all the same.
        let within = if known { Window::new(asked.from.minus(asked.length()), asked.to) } else { asked };
        let (logs, waits) = tokio::try_join!(
            Box::pin(self.log_tracks(tenant, within)),
            Box::pin(self.wait_tracks(tenant, within)),
        )?;
        let mut tracks = readings.tracks(within);
        tracks.extend(logs.into_iter().chain(waits).chain(span_tracks(within, slices)));
        let work = tokio::task::spawn_blocking(move || split(within, &tracks, known.then_some(asked.from)));
        let Some(at) = work.await.map_err(|_| Error::Abandoned)? else {
            return Ok(with_asked(vec![comparison]));
        };
        let length = asked.length().max(comparison.before.length());
        let cut = Comparison { now: Window::new(at, asked.to), before: Window::new(at.minus(length), at) };
        Ok(with_asked(vec![cut]))
    }

    /// What spans, logs, metrics and events tell.
    async fn all_evidence(
        &self,
        tenant: TenantNumber,
        (comparison, until): (Comparison, UnixNanos),
        symptom: Option<ServiceId>,
        readings: &Readings,
    ) -> Result<Evidence, Error> {
        let measured = readings.since.map(|since| Window::new(since, self.clock.now().max(since)));
        let known = match (self.known(tenant).await?, measured) {
            (Some(a), Some(b)) => Window::new(a.from.min(b.from), a.to.max(b.to)),
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => return Ok(Evidence::empty(comparison.now)),
        };
        let mut evidence = Box::pin(self.counted(tenant, comparison, known)).await?;
        let (window, baseline) = (evidence.window, evidence.baseline);
        let told = Window::new(window.from, until.max(window.to));
        let since = baseline.map_or(window.from, |baseline| baseline.from);
        let has_spans = !evidence.operations.is_empty();
        let patterns = self.store.templates(Some(tenant)).await?;
        let (templates, traces, changes, steps) = tokio::try_join!(
            Box::pin(self.templates(tenant, (told, baseline), &patterns)),
            Box::pin(self.exemplars(tenant, &evidence, symptom.as_slice())),
            Box::pin(self.changes(tenant, Window::new(since, told.to))),
            Box::pin(self.steps(tenant, window, baseline.filter(|_| has_spans), &patterns)),
        )?;
        (evidence.templates, evidence.traces) = (templates, traces);
        let measured = self.measured(tenant, readings, told, since);
        (evidence.series, evidence.calls, evidence.unread_series) =
            (measured.series, measured.calls, measured.unread);
        evidence.changes = changes;
        self.add_nodes(&mut evidence);
        evidence.forget_empty_baseline();
        if evidence.baseline.is_some() {
            evidence.steps = steps;
        }
        Ok(evidence)
    }
}

/// How long each instance's requests took, and the share that failed, as tracks.
fn span_tracks(window: Window, slices: &[Slice]) -> Vec<Track> {
    let mut by_subject: BTreeMap<Subject, Vec<&Slice>> = BTreeMap::new();
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let counted = slices.iter().filter(|slice| slice.count > 0 && (from..to).contains(&slice.bucket_s));
    for slice in counted.filter(|slice| matches!(slice.subject, Subject::Instance(..))) {
        by_subject.entry(slice.subject).or_default().push(slice);
    }
    let tracks = by_subject.into_values().flat_map(|mut slices| {
        slices.sort_by_key(|slice| slice.bucket_s);
        let mean = |slice: &&Slice| (slice.bucket_s, slice.sum_ns as f64 / slice.count as f64);
        let failed = |slice: &&Slice| (slice.bucket_s, slice.errors, slice.count);
        [Track::Level(slices.iter().map(mean).collect()), Track::Share(slices.iter().map(failed).collect())]
    });
    tracks.collect()
}
