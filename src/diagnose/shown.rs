//! Whether traces of a sufferer's trouble show that of a suspect.

use std::collections::BTreeSet;

use crate::model::id::{OperationId, ServiceId, SpanId};
use crate::model::node::NodeKind;

use super::absent::{Lack, unanswered};
use super::evidence::ExemplarTrace;
use super::hypothesis::{Deviation, Finding, Question, SURPRISE_MIN, Speaks, Trial};
use super::verdict::SymptomKind;
use super::view::Way;

/// Traces of the sufferer's failures that must be known.
const EXAMPLES_MIN: usize = 5;
/// Part of them that show the suspect, from which on they speak for it, and below which against it.
const EXAMPLES: (f64, f64) = (0.6, 0.2);
/// Part of a slow span that a span of the suspect must take.
const SLOW_PART: f64 = 0.3;

impl Trial<'_> {
    pub(super) fn has_examples(&self, suspect: Option<&Deviation>, sufferer: Option<&Deviation>) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Examples, speaks, value, text };
        let (Some(suspect), Some(sufferer)) = (suspect, sufferer) else {
            return found(Speaks::Neither, None, "one of the two does not deviate".to_owned());
        };
        let lack = |of: &Deviation| of.absence.as_ref().map(|it| it.lack);
        if [suspect, sufferer].iter().any(|it| lack(it) == Some(Lack::Missing)) {
            return found(Speaks::Neither, None, "what is not called shows in no trace".to_owned());
        }
        let (suffering, suspected) = (self.view.operations[sufferer.at].id, self.seen(self.cause));
        let unanswering = self.unanswering();
        let shows = |trace: &&ExemplarTrace| -> Option<bool> {
            let bad = trace.spans.iter().filter(|span| span.operation == suffering);
            let bad = bad.filter(|span| span.error == (sufferer.kind != SymptomKind::Latency));
            let worst = bad.max_by_key(|span| span.duration_ns)?;
            let is_part = |duration_ns: u64| duration_ns as f64 >= SLOW_PART * worst.duration_ns as f64;
            // What is slow below may fail above, by whose patience ends.
            let mut own = trace.spans.iter().filter(|span| suspected.contains(&span.operation));
            let shows = own.any(|span| match suspect.kind {
                SymptomKind::Latency => is_part(span.duration_ns),
                SymptomKind::Errors | SymptomKind::Silence => span.error,
            });
            let is_delayed = lack(suspect) == Some(Lack::Delayed) && self.waited_for(trace).any(is_part);
            Some(shows || is_delayed || self.is_unanswered(trace, &unanswering))
        };
        let answers: Vec<bool> = self.view.traces.iter().filter_map(shows).collect();
        let (all, shown) = (answers.len(), answers.iter().filter(|shows| **shows).count());
        let text = format!("{shown} of {all} traces of the trouble show it in {}", self.name(self.cause));
        if all < EXAMPLES_MIN {
            return found(Speaks::Neither, None, text);
        }
        let part = shown as f64 / all as f64;
        found(Speaks::between(part, EXAMPLES), Some(part), text)
    }

    /// How long the callers of the suspect waited in a trace beyond its answers, each in nanoseconds.
    fn waited_for(&self, trace: &ExemplarTrace) -> impl Iterator<Item = u64> {
        let answers = trace.spans.iter().filter(move |span| span.service == self.cause);
        answers.filter_map(move |answer| {
            let mut spans = trace.spans.iter();
            let caller = spans.find(|span| Some(span.span_id) == answer.parent_id)?;
            let is_call = caller.service != answer.service && caller.kind.is_outbound();
            is_call.then(|| caller.duration_ns.saturating_sub(answer.duration_ns))
        })
    }

    /// The operations that call the suspect and wait for it, where calls to it do not arrive; none where they do.
    fn unanswering(&self) -> BTreeSet<OperationId> {
        let view = self.view;
        let lost = unanswered(self.flow, self.cause).filter(|it| it.surprise > SURPRISE_MIN);
        let calls = view.edges.iter().filter(|edge| {
            lost.is_some() && edge.way == Way::Remote && view.operations[edge.to].service == self.cause
        });
        let from = calls.map(|edge| &view.operations[edge.from]).filter(|from| from.kind.is_outbound());
        from.map(|from| from.id).collect()
    }

    /// Whether a call to the suspect fails in a trace without a span of the suspect below it.
    fn is_unanswered(&self, trace: &ExemplarTrace, calls: &BTreeSet<OperationId>) -> bool {
        let answers = trace.spans.iter().filter(|span| span.service == self.cause);
        let answered: BTreeSet<SpanId> = answers.filter_map(|span| span.parent_id).collect();
        // One name may stand for calls to many, of whom a span may say which one it calls.
        let is_meant = |host: ServiceId| self.view.behind.get(&host).is_none_or(|it| *it == self.cause);
        let mut failing = trace.spans.iter().filter(|span| span.error && calls.contains(&span.operation));
        failing.any(|span| !answered.contains(&span.span_id) && span.peer.is_none_or(is_meant))
    }

    /// Those whose spans show a node: its own, and for one that sends none the calls to it.
    fn seen(&self, service: ServiceId) -> BTreeSet<OperationId> {
        let view = self.view;
        let own = self.measured(service);
        let calls =
            own.iter().flat_map(|at| &view.operations[*at].callers).map(|edge| view.edges[*edge].from);
        let is_silent = view.nodes.get(&service).is_some_and(|node| node.kind != NodeKind::Service);
        let calls: Vec<usize> = if is_silent { calls.collect() } else { Vec::new() };
        own.iter().chain(&calls).map(|at| view.operations[*at].id).collect()
    }
}
