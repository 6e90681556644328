//! Why something is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::diagnose;
use crate::diagnose::averaged::averaged;
use crate::diagnose::evidence::{Evidence, Slice};
use crate::diagnose::split::{INSTANTS_MAX, Instant, Track, instants};
use crate::diagnose::verdict::{Outcome, Verdict};
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};

use super::changed;
use super::compared::{Ahead, Sides};
use super::error::Error;
use super::handle::Query;
use super::log_minutes::LogMinutes;
use super::measured::Readings;
use super::namesakes::{self, Namesakes};
use super::window::{self, Comparison, Trouble};

/// How long before the last span a silence may seem to begin: buckets are that long.
const SILENCE_SLACK: Duration = Duration::from_secs(60);

/// How much must be known before trouble for it to be plain that it was not always so.
pub(super) const PLAIN_AFTER: Duration = Duration::from_secs(300);
/// Onsets so close are one.
const SAME_ONSET: Duration = Duration::from_secs(10);
/// Said where the baseline is not the time just before the window.
const BEFORE_TROUBLE: &str =
    "Trouble that lasts began before this window: it was compared with the time before that began.";
/// How far back fine buckets are surely remembered.
const FINE_REMEMBERED: Duration = Duration::from_secs(30 * 60);
/// How long trouble must have lasted for it to be plain when it began.
const PLAIN_FOR: Duration = Duration::from_secs(120);

/// How the moment between a window and its baseline was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It was given.
    Given,
    /// A symptom began then, which is plain to see.
    Symptom,
    /// Most of what was counted and measured changed then.
    Instant,
    /// Nothing tells: the window as it was asked for begins then.
    Window,
    /// Nothing tells, and nothing older is known: it halves what is known.
    Middle,
}

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
    /// Whether spans or metrics measure anything in the windows.
    pub is_measured: bool,
    /// Who logged in the window, and whether warnings or worse were among it.
    pub logged: BTreeMap<ServiceId, bool>,
    /// Names that several services share, of those that the answer concerns.
    pub namesakes: Vec<Namesakes>,
}

impl Explanation {
    /// The services that the answer concerns beside the one that was asked about.
    fn services(&self) -> impl Iterator<Item = ServiceId> {
        let causes = self.verdict.causes.iter();
        let named = causes.flat_map(|cause| cause.path.iter().copied().chain([cause.service]));
        named.chain(self.verdict.symptom.as_ref().map(|symptom| symptom.service))
    }
}

/// What may be compared.
#[derive(Debug)]
struct Comparisons {
    /// What is likely, with weights.
    likely: Vec<(f64, Comparison)>,
    /// What is left for when that shows nothing.
    last: Option<Comparison>,
    /// The log records around the window, where they had to be read.
    logs: Option<LogMinutes>,
}

/// What shows at first sight.
#[derive(Debug)]
struct Noticed {
    /// The time around the window, bucket by bucket.
    slices: Arc<[Slice]>,
    trouble: Trouble,
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
            let (is_measured, namesakes, logged) = (false, Vec::new(), BTreeMap::new());
            return Ok(Explanation {
                verdict,
                comparison,
                traces: 0,
                nodes: 0,
                is_measured,
                namesakes,
                logged,
            });
        };
        // No comparison of this window, or of a part of it that ends sooner, begins before, but where trouble is older.
        let since = window::minute(window::plain(asked).before.from);
        let noticed = async {
            let slices = self.slices(tenant, Window::new(since, asked.to)).await?;
            let heard = window::heard(asked, &slices);
            let ask = Ask { asked: heard, until: asked.to, symptom, is_whole: false };
            let noticed = self.noticed(ask, slices.clone()).await?;
            Ok((slices, ask, noticed))
        };
        let ((slices, ask, noticed), readings) = tokio::try_join!(
            Box::pin(noticed),
            Box::pin(self.readings(tenant, (since, asked.from, asked.to))),
        )?;
        let counted = Arc::clone(&noticed.slices);
        let mut found =
            Box::pin(self.explained_as_heard(tenant, (ask, asked), (slices, noticed), &readings)).await?;
        let concerned: BTreeSet<ServiceId> = found.services().chain(symptom).collect();
        if !concerned.is_empty() {
            let measured = readings.senders(since);
            let senders = move || namesakes::senders_of(&concerned, &counted, measured);
            found.namesakes = self.namesakes(senders).await?;
        }
        Ok(found)
    }

    /// What is wrong in the window up to the last span of it; where that is nothing, that nobody calls any more.
    async fn explained_as_heard(
        &self,
        tenant: TenantNumber,
        (ask, asked): (Ask, Window),
        (slices, noticed): (Vec<Slice>, Noticed),
        readings: &Readings,
    ) -> Result<Explanation, Error> {
        let heard = ask.asked;
        let mut found = Box::pin(self.explained(tenant, ask, noticed, readings)).await?;
        if heard == asked {
            return Ok(found);
        }
        let is_silent = || {
            let silence = window::around_trouble(asked, &slices, true).comparison.now;
            silence.from.plus(SILENCE_SLACK) >= heard.to
        };
        if is_insufficient(&found) && is_silent() {
            // Where nothing else is wrong, that nobody calls any more is.
            let ask = Ask { asked, is_whole: true, ..ask };
            let noticed = self.noticed(ask, slices).await?;
            let whole = Box::pin(self.explained(tenant, ask, noticed, readings)).await?;
            if !is_insufficient(&whole) {
                return Ok(whole);
            }
        }
        let seconds = asked.to.since(heard.to).as_secs();
        found.verdict.coverage.push(format!(
            "No span of any service was received in the last {seconds} s of the window: spans tell about the time before."
        ));
        Ok(found)
    }

    /// What the time up to the end of the window shows at first sight.
    async fn noticed(&self, ask: Ask, mut slices: Vec<Slice>) -> Result<Noticed, Error> {
        let Ask { asked, symptom, is_whole, .. } = ask;
        slices.retain(|slice| slice.bucket_s < asked.to.seconds());
        let own: Option<Vec<Slice>> = symptom.map(|symptom| {
            slices.iter().filter(|slice| self.node_of(slice.subject) == Some(symptom)).copied().collect()
        });
        let work = tokio::task::spawn_blocking(move || {
            let trouble = window::around_trouble(asked, own.as_deref().unwrap_or(&slices), is_whole);
            Noticed { slices: slices.into(), trouble }
        });
        work.await.map_err(|_| Error::Abandoned)
    }

    /// Both sides of the moment that is given, or else of the likeliest one in the window: of what `service` shows, or
    /// everything.
    pub(super) async fn divided(
        &self,
        tenant: TenantNumber,
        asked: Window,
        (service, given): (Option<ServiceId>, Option<Comparison>),
    ) -> Result<(Evidence, Moment), Error> {
        let since = window::plain(asked).before.from.min(given.map_or(asked.from, |given| given.before.from));
        let since = window::minute(since);
        let ask = Ask { asked, until: asked.to, symptom: service, is_whole: false };
        let noticed = async {
            let slices = self.slices(tenant, Window::new(since, asked.to)).await?;
            self.noticed(ask, slices).await
        };
        let (Noticed { slices, trouble }, readings) = tokio::try_join!(
            Box::pin(noticed),
            Box::pin(self.readings(tenant, (since, asked.from, asked.to))),
        )?;
        let (mut ahead, mut logs) = (None, None);
        let (comparison, moment) = match given {
            Some(given) => (given, Moment::Given),
            None => {
                let known = (&*slices, &readings);
                let (comparisons, read) =
                    Box::pin(self.likely(tenant, (asked, asked.to), trouble, known)).await?;
                (ahead, logs) = (read, comparisons.logs);
                let counted = slices.iter().map(|slice| slice.bucket_s).min().map(UnixNanos::from_seconds);
                let began = counted.into_iter().chain(readings.since).min();
                let likely = comparisons.likely.into_iter().map(|(_, comparison)| comparison).collect();
                changed::chosen(asked, (began, trouble), likely)
            }
        };
        let ends = (asked.to, asked.to);
        let sides = Sides {
            slices: &slices,
            readings: &readings,
            ahead: ahead.as_ref(),
            logs: logs.as_ref(),
            symptom: service,
            ends,
        };
        let evidence = Box::pin(self.both_sides(tenant, &[comparison], &sides)).await?.pop();
        Ok((evidence.unwrap_or_else(|| Evidence::empty(comparison.now)), moment))
    }

    async fn explained(
        &self,
        tenant: TenantNumber,
        Ask { asked, until, symptom, .. }: Ask,
        Noticed { slices, trouble }: Noticed,
        readings: &Readings,
    ) -> Result<Explanation, Error> {
        let (Comparisons { likely, last, logs }, ahead) =
            Box::pin(self.likely(tenant, (asked, until), trouble, (&slices, readings))).await?;
        let asked_for = Sides {
            slices: &slices,
            readings,
            ahead: ahead.as_ref(),
            logs: logs.as_ref(),
            symptom,
            ends: (asked.to, until),
        };
        let (weights, likely): (Vec<f64>, Vec<Comparison>) = likely.into_iter().unzip();
        // On the heap: so much waits in there that a thread's stack would be short of it.
        let mut all = Box::pin(self.compared(tenant, &likely, &asked_for)).await?;
        let verdicts = weights.into_iter().zip(all.iter().map(|found| found.verdict.clone())).collect();
        let (at, verdict) = averaged(verdicts).ok_or(Error::Abandoned)?;
        let mut found = Explanation { verdict, ..all.swap_remove(at) };
        if let Some(last) = last.filter(|_| is_insufficient(&found))
            && let Some(other) = Box::pin(self.compared(tenant, &[last], &asked_for)).await?.pop()
            && (!is_insufficient(&other) || found.verdict.causes.is_empty())
        {
            found = other;
        }
        if is_insufficient(&found)
            && let Some((before, _)) = self.before_trouble(tenant, asked).await?
        {
            let comparison = Comparison { now: asked, before };
            let other = Box::pin(self.compared(tenant, &[comparison], &asked_for)).await?.pop();
            if let Some(mut other) = other.filter(|other| !is_insufficient(other)) {
                other.verdict.coverage.push(BEFORE_TROUBLE.to_owned());
                found = other;
            }
        }
        Ok(found)
    }

    /// What may be compared, and what is read of it meanwhile, whatever that will be.
    async fn likely(
        &self,
        tenant: TenantNumber,
        (asked, until): (Window, UnixNanos),
        trouble: Trouble,
        known: (&[Slice], &Readings),
    ) -> Result<(Comparisons, Option<Ahead>), Error> {
        let since = window::minute(asked.from.minus(length_before(asked, trouble)));
        tokio::try_join!(
            Box::pin(self.comparisons(tenant, (asked, until), trouble, known)),
            Box::pin(self.ahead(tenant, (asked, trouble), (since, until))),
        )
    }

    /// What may be compared. First what is likely, at least one, with weights: what lies around trouble that is plain to
    /// see; where there is none, around the instants in the window at which most changed. Then, where the time before is
    /// known, the window as it was asked for, for when that shows nothing.
    async fn comparisons(
        &self,
        tenant: TenantNumber,
        (asked, until): (Window, UnixNanos),
        trouble: Trouble,
        (slices, readings): (&[Slice], &Readings),
    ) -> Result<Comparisons, Error> {
        let comparison = trouble.comparison;
        let counted = slices.iter().map(|slice| slice.bucket_s).min().map(UnixNanos::from_seconds);
        let Some(first) = counted.into_iter().chain(readings.since).min() else {
            return Ok(Comparisons { likely: vec![(1.0, comparison)], last: None, logs: None });
        };
        let known = first < asked.from.minus(asked.length() / 4);
        let as_asked = window::plain(asked);
        let with_asked = |likely: Vec<(f64, Comparison)>, logs: Option<LogMinutes>| {
            let is_new = likely.iter().all(|(_, comparison)| *comparison != as_asked);
            Comparisons { likely, last: (known && is_new).then_some(as_asked), logs }
        };
        let is_plain =
            trouble.is_plain && counted.is_some_and(|first| comparison.now.from >= first.plus(PLAIN_AFTER));
        if is_plain && comparison.now.length() >= PLAIN_FOR {
            return Ok(with_asked(vec![(1.0, comparison)], None));
        }
        // Where the time before is known, the change must lie inside the window all the same.
        let within = if known { Window::new(asked.from.minus(asked.length()), asked.to) } else { asked };
        let length = length_before(asked, trouble);
        let (logs, waits) = tokio::try_join!(
            // What lies on both sides of the instants as well.
            Box::pin(self.log_minutes(tenant, Window::new(asked.from.minus(length), until.max(asked.to)))),
            Box::pin(self.wait_tracks(tenant, within)),
        )?;
        let mut tracks = readings.tracks(within);
        tracks.extend(logs.tracks(within).into_iter().chain(waits).chain(span_tracks(within, slices)));
        let work =
            tokio::task::spawn_blocking(move || instants(within, &tracks, known.then_some(asked.from)));
        let found = work.await.map_err(|_| Error::Abandoned)?;
        if found.is_empty() {
            return Ok(with_asked(vec![(1.0, comparison)], Some(logs)));
        }
        let around = |Instant { at, weight }| {
            let at = told(at, asked);
            let cut =
                Comparison { now: Window::new(at, asked.to), before: Window::new(at.minus(length), at) };
            (weight, if at == asked.from { as_asked } else { cut })
        };
        let mut likely: Vec<(f64, Comparison)> = Vec::new();
        for (weight, comparison) in found.into_iter().map(around) {
            // Two within a minute may be told alike.
            if likely.iter().all(|(_, known)| *known != comparison) {
                likely.push((weight, comparison));
            }
        }
        if is_plain {
            // It has just begun: too late for an instant of its own.
            let onset = comparison.now.from;
            likely.retain(|(_, other)| other.now.from.0.abs_diff(onset.0) > SAME_ONSET.as_nanos() as u64);
            likely.insert(0, (1.0, comparison));
            likely.truncate(INSTANTS_MAX);
        }
        Ok(with_asked(likely, Some(logs)))
    }
}

fn is_insufficient(found: &Explanation) -> bool {
    found.verdict.outcome == Outcome::InsufficientEvidence
}

/// An instant as precisely as it matters: where most of a long window comes after it, to the minute, as half an hour back
/// there are no finer buckets in memory.
fn told(at: UnixNanos, asked: Window) -> UnixNanos {
    let minute = window::minute(at.plus(Duration::from_secs(COARSE_SECONDS.unsigned_abs() / 2)));
    let is_long_ago = asked.from < minute && at.plus(FINE_REMEMBERED) <= asked.to;
    if is_long_ago { minute } else { at }
}

/// How long the time before an onset is.
fn length_before(asked: Window, trouble: Trouble) -> Duration {
    asked.length().max(trouble.comparison.before.length())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_far_back_is_told_to_the_minute() {
        let at = UnixNanos::from_seconds;
        let asked = Window::new(at(10), at(3_610));
        assert_eq!(told(at(30), asked), at(60));
        for (instant, minute) in [(629, 600), (630, 660), (1_810, 1_800)] {
            assert_eq!(told(at(instant), asked), at(minute));
        }
        for as_it_is in [10, 15, 1_811, 3_505] {
            assert_eq!(told(at(as_it_is), asked), at(as_it_is));
        }
    }
}
