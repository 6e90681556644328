//! What operations do one after the other, in the newest requests of a window and of its baseline.
//!
//! Within a span its log records and its children follow each other as the code has it. Counted over many requests,
//! they tell when an operation takes another way than it used to, even where nothing fails and nothing is slow.

use std::collections::{BTreeMap, HashMap};

use crate::diagnose::evidence::{Step, StepEvidence};
use crate::model::id::{OperationId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::time::{UnixNanos, Window};
use crate::store::read::logs::{LogAsk, StoredLog};
use crate::store::read::spans::SpanAsk;
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;

/// Spans, and log records, of each window that are looked at: the newest.
const LOOKED_AT_MAX: usize = 10_000;
/// Steps of one span that are counted.
const STEPS_MAX: usize = 200;
/// Times that an operation must have taken a step, in both windows, for what follows it to be compared.
const TIMES_MIN: u64 = 5;

/// An operation, and one of its steps.
type Place = (ServiceId, OperationId, Step);
/// How often which step followed at each place.
type Counts = BTreeMap<Place, BTreeMap<Step, u64>>;

impl Query {
    /// What operations did step by step, where there is a baseline to compare it with.
    pub(super) async fn steps(
        &self,
        tenant: TenantNumber,
        window: Window,
        baseline: Option<Window>,
    ) -> Result<Vec<StepEvidence>, Error> {
        let Some(baseline) = baseline else { return Ok(Vec::new()) };
        let (now, before) = tokio::try_join!(
            Box::pin(self.counted_steps(tenant, window)),
            Box::pin(self.counted_steps(tenant, baseline)),
        )?;
        Ok(compared(&now, &before))
    }

    async fn counted_steps(&self, tenant: TenantNumber, window: Window) -> Result<Counts, Error> {
        let newest = self.newest(tenant, window).await?;
        tokio::task::spawn_blocking(move || counts(newest, window)).await.map_err(|_| Error::Abandoned)
    }

    async fn newest(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<(Vec<SpanRow>, Vec<StoredLog>), Error> {
        let spans = SpanAsk::newest(window, LOOKED_AT_MAX);
        let spans = self.store.spans(tenant, &spans).await?;
        // Records before the spans that are known belong to others.
        let from =
            spans.last().filter(|_| spans.len() == LOOKED_AT_MAX).map_or(window.from, |last| last.start);
        let logs = LogAsk::newest(Window::new(from, window.to), LOOKED_AT_MAX);
        let logs = self.store.logs(tenant, &logs).await?.items;
        Ok((spans, logs))
    }
}

/// Counts the steps of the spans that lie wholly in `window` and in what is known of its logs.
fn counts((spans, logs): (Vec<SpanRow>, Vec<StoredLog>), window: Window) -> Counts {
    let oldest = logs.last().filter(|_| logs.len() == LOOKED_AT_MAX).map(|last| last.row.time);
    let known_from = oldest.unwrap_or(window.from).max(window.from);
    let mut steps: HashMap<(TraceId, SpanId), Vec<(UnixNanos, Step)>> = HashMap::new();
    for log in &logs {
        if let (Some(trace), Some(span)) = (log.row.trace_id, log.row.span_id) {
            steps.entry((trace, span)).or_default().push((log.row.time, Step::Log(log.row.template)));
        }
    }
    let mut called: HashMap<(TraceId, SpanId), OperationId> = HashMap::new();
    for span in spans.iter().filter(|span| span.entry) {
        if let Some(parent) = span.parent_id {
            called.insert((span.trace_id, parent), span.operation);
        }
    }
    for span in &spans {
        if let Some(parent) = span.parent_id {
            let answering = called.get(&(span.trace_id, span.span_id)).filter(|_| span.kind.is_outbound());
            let step = Step::Call(*answering.unwrap_or(&span.operation));
            steps.entry((span.trace_id, parent)).or_default().push((span.start, step));
        }
    }
    let mut counts = Counts::new();
    let whole = |span: &&SpanRow| {
        // What a call leads to is its callee's to tell.
        !span.kind.is_outbound() && known_from <= span.start && span.end() <= window.to
    };
    for span in spans.iter().filter(whole) {
        let mut own = steps.remove(&(span.trace_id, span.span_id)).unwrap_or_default();
        own.sort_unstable();
        own.truncate(STEPS_MAX);
        let mut after = Step::Begin;
        for step in own.into_iter().map(|(_, step)| step).chain([Step::End]) {
            let place = (span.service, span.operation, after);
            *counts.entry(place).or_default().entry(step).or_default() += 1;
            after = step;
        }
    }
    counts
}

/// What followed each step in both windows.
fn compared(now: &Counts, before: &Counts) -> Vec<StepEvidence> {
    let mut found = Vec::new();
    for (place, followers_before) in before {
        let Some(followers_now) = now.get(place) else { continue };
        let times = |followers: &BTreeMap<Step, u64>| followers.values().sum::<u64>();
        let (times_now, times_before) = (times(followers_now), times(followers_before));
        if times_now < TIMES_MIN || times_before < TIMES_MIN {
            continue;
        }
        let mut steps: Vec<Step> = followers_now.keys().chain(followers_before.keys()).copied().collect();
        steps.sort_unstable();
        steps.dedup();
        let count = |followers: &BTreeMap<Step, u64>, step: Step| followers.get(&step).copied().unwrap_or(0);
        found.extend(steps.into_iter().map(|then| StepEvidence {
            service: place.0,
            operation: place.1,
            after: place.2,
            then,
            now: (count(followers_now, then), times_now),
            before: (count(followers_before, then), times_before),
        }));
    }
    found
}
