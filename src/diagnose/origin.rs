//! Where failing and slow traces begin to fail or to be slow.
//!
//! The origin of a failure is a failing span none of whose children failed. The origin of slowness is time that
//! a span spent itself, outside its children, beyond what its operation spent in the baseline. The entry span is
//! never blamed for what happened below it. Every trace has one vote, split between its origins.

use std::collections::BTreeMap;

use crate::model::id::{ServiceId, SpanId, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;
use crate::model::span::SpanKind;

use super::awaited::Wait;
use super::blame::{Blame, Flow, Ledger, Matter};
use super::evidence::{ExemplarSpan, ExemplarTrace};
use super::message::{Hint, hint_of, is_late, told_of};
use super::stats::{LATENCY_COUNT_MIN, excess_errors, latency_shift};
use super::symptom::Deviation;
use super::view::{View, Way};
use super::ways::gap_surprise;

/// Most spans of one trace that are read.
const SPANS_MAX: usize = 4_000;
/// The vote of a failure that its callers tolerated.
const TOLERATED: f64 = 0.2;
/// Share of a trace's lateness that its spans' own time must explain; else it was late by repeating calls.
const EXPLAINED_MIN: f64 = 0.4;
/// Spans that are kept to be cited for an operation and whom it calls.
pub(super) const CITED_MAX: usize = 3;
/// Standard deviations from which on a roll-up has moved in full.
const MOVED: f64 = 4.0;

/// A failing span that can be cited.
#[derive(Debug, Clone)]
pub(super) struct Citation {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// The database, queue or host that it says it calls.
    pub(super) peer: Option<ServiceId>,
    /// Exception or status message, its own or that of who waited for it; may be empty.
    pub(super) text: String,
}

/// The votes of the exemplars.
#[derive(Default)]
pub(super) struct Votes {
    pub(super) ledger: Ledger,
    /// Traces that had a vote.
    pub(super) traces: usize,
    /// Votes that were given; the rest of the traces abstained.
    pub(super) weight: f64,
    /// Spans to cite for an operation's position, in order of trace id, a few each.
    pub(super) citations: BTreeMap<usize, Vec<Citation>>,
}

/// A trace's spans with their children.
struct Tree<'t> {
    spans: Vec<&'t ExemplarSpan>,
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

impl<'t> Tree<'t> {
    fn new(trace: &'t ExemplarTrace) -> Self {
        let mut spans: Vec<&ExemplarSpan> = trace.spans.iter().collect();
        spans.sort_by_key(|span| (span.span_id, span.start));
        spans.dedup_by_key(|span| span.span_id);
        spans.truncate(SPANS_MAX);
        let find = |id: SpanId| spans.binary_search_by_key(&id, |span| span.span_id).ok();
        let parents: Vec<Option<usize>> = (0..spans.len())
            .map(|at| spans[at].parent_id.and_then(find).filter(|parent| *parent != at))
            .collect();
        let mut children = vec![Vec::new(); spans.len()];
        for (at, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(at);
            }
        }
        Self { spans, parents, children }
    }

    fn parent_of(&self, span: &ExemplarSpan) -> Option<&'t ExemplarSpan> {
        let at = self.spans.binary_search_by_key(&span.parent_id?, |other| other.span_id).ok()?;
        Some(self.spans[at])
    }

    /// The operation of another service that a call led to, where its span is in the trace.
    fn answering(&self, view: &View<'_>, at: usize) -> Option<usize> {
        let mut children = self.children[at].iter().map(|child| self.spans[*child]);
        let callee = children.find(|child| child.service != self.spans[at].service)?;
        view.position(callee.operation)
    }

    /// The failing chain above a failing span: its topmost failing ancestor, and whether `wanted` lies on the chain.
    fn surfaces(&self, mut at: usize, wanted: Option<ServiceId>) -> (usize, bool) {
        let mut met = wanted == Some(self.spans[at].service);
        for _ in 0..self.spans.len() {
            match self.parents[at] {
                Some(parent) if self.spans[parent].error => at = parent,
                _ => break,
            }
            met |= wanted == Some(self.spans[at].service);
        }
        (at, met)
    }

    /// Nanoseconds that the span spent outside its children, overlaps counted once. Work inside a service that runs beside
    /// a call of the same parent waits for that call, whoever of the two is written as the parent. `waits` tells for each span
    /// whether its parent waits for it: what it does not wait for takes nothing of its time.
    fn self_ns(&self, at: usize, waits: &[Wait]) -> f64 {
        let span = self.spans[at];
        let end_of = |span: &ExemplarSpan| span.start.0.saturating_add_unsigned(span.duration_ns);
        let (from, to) = (span.start.0, end_of(span));
        let siblings = self.parents[at].map_or(&[][..], |parent| &self.children[parent]);
        let beside = siblings.iter().filter(|other| {
            let other = self.spans[**other];
            !span.kind.is_outbound() && other.kind.is_outbound() && other.service == span.service
        });
        let mut parts: Vec<(i64, i64)> = self.children[at]
            .iter()
            .chain(beside)
            .filter(|child| waits[**child] != Wait::Not)
            .map(|child| (self.spans[*child].start.0.max(from), end_of(self.spans[*child]).min(to)))
            .filter(|(start, end)| start < end)
            .collect();
        parts.sort_unstable();
        let (mut covered, mut reached) = (0, from);
        for (start, end) in parts {
            covered += (end - start.max(reached)).max(0);
            reached = reached.max(end);
        }
        span.duration_ns as f64 - covered as f64
    }
}

impl Flow<'_, '_> {
    /// The votes of failing traces; with `symptom`, of those that fail there, if any do. Those alone of traces that show failures
    /// that callers tolerate, where `deviation` is about these.
    pub(super) fn error_votes(&self, deviation: &Deviation, symptom: Option<ServiceId>) -> Votes {
        let is_shown = |span: &ExemplarSpan| {
            let position = self.view.position(span.operation);
            span.error && position.is_some_and(|position| deviation.excess.contains_key(&position))
        };
        let traces = self.view.traces.iter();
        let traces = traces.filter(|trace| !deviation.is_tolerated || trace.spans.iter().any(is_shown));
        let trees: Vec<(TraceId, Tree<'_>)> =
            traces.map(|trace| (trace.trace_id, Tree::new(trace))).collect();
        let place = deviation.is_tolerated.then(|| self.view.operations[deviation.worst].service);
        let symptom = symptom.or(place);
        let fails_there =
            |tree: &Tree<'_>| tree.spans.iter().any(|span| span.error && Some(span.service) == symptom);
        let wanted = symptom.filter(|_| trees.iter().any(|(_, tree)| fails_there(tree)));
        let mut votes = Votes::default();
        for (trace, tree) in &trees {
            let origins = self.origins(tree, wanted);
            let total: f64 = origins.iter().map(|(_, weight)| weight).sum();
            if total <= 0.0 {
                continue;
            }
            votes.traces += 1;
            votes.weight += 1.0;
            for (at, weight) in origins {
                self.vote(tree, at, weight / total, &mut votes.ledger);
                self.cite(*trace, tree, tree.spans[at], &mut votes.citations);
            }
        }
        votes.ledger.normalize();
        votes
    }

    /// Failing spans without failing children, weighted; those that fail as usual weigh little.
    fn origins(&self, tree: &Tree<'_>, wanted: Option<ServiceId>) -> Vec<(usize, f64)> {
        let failing = (0..tree.spans.len()).filter(|at| tree.spans[*at].error);
        let deepest = failing.filter(|at| !tree.children[*at].iter().any(|child| tree.spans[*child].error));
        let weigh = |at: usize| {
            let (top, met) = tree.surfaces(at, wanted);
            let surfaced = if wanted.is_some() { met } else { tree.parents[top].is_none() };
            let new = self.view.position(tree.spans[at].operation).map_or(1.0, |position| {
                let operation = &self.view.operations[position];
                let excess = excess_errors(&operation.now, &operation.before);
                if operation.now.errors == 0 { 1.0 } else { excess / operation.now.errors as f64 }
            });
            (at, new * if surfaced { 1.0 } else { TOLERATED })
        };
        deepest.map(weigh).filter(|(_, weight)| *weight > 0.0).collect()
    }

    /// Blames one origin. A failing call to a dependency may be the dependency's fault; one whose other side is
    /// instrumented but missing from the trace is judged by the roll-ups.
    fn vote(&self, tree: &Tree<'_>, at: usize, weight: f64, ledger: &mut Ledger) {
        let span = tree.spans[at];
        let Some(position) = self.view.position(span.operation) else { return };
        let calls_out = span.kind.is_outbound()
            && tree.children[at].iter().all(|child| tree.spans[*child].service == span.service);
        let leads_on = self.calls_of(position).any(|edge| matches!(edge.way, Way::Remote | Way::Dependency));
        if calls_out && leads_on || self.calls_of(position).any(|edge| edge.way == Way::Dependency) {
            let part = self.run(Matter::Errors, &BTreeMap::from([(position, 1.0)]));
            ledger.add(&part, weight);
            return;
        }
        let unheard = span.kind.is_outbound() && hint_of(span) == Hint::Unreachable;
        let callee = tree.answering(self.view, at).filter(|_| unheard);
        let callee = callee.filter(|to| self.calls_of(position).any(|edge| edge.to == *to));
        let blame = match callee {
            Some(to) if is_late(span) && self.has_slowed(to) => {
                ledger.add(&self.run(Matter::Latency, &BTreeMap::from([(to, 1.0)])), weight);
                return;
            }
            Some(to) if is_late(span) => Blame::GivesUp(position, to),
            Some(to) => Blame::Way(position, to),
            None if self.view.asked_queue(position).is_some() => self.failure_of(position),
            None => Blame::Operation(position),
        };
        *ledger.shares.entry(blame).or_default() += weight;
        *ledger.reached.entry(span.service).or_default() += weight;
    }

    /// Keeps a few spans for each operation and whom it calls.
    fn cite(
        &self,
        trace: TraceId,
        tree: &Tree<'_>,
        span: &ExemplarSpan,
        citations: &mut BTreeMap<usize, Vec<Citation>>,
    ) {
        let Some(position) = self.view.position(span.operation) else { return };
        let dependencies = self
            .calls_of(position)
            .filter(|edge| self.view.operations[edge.to].node_kind != NodeKind::Service);
        for at in dependencies.map(|edge| edge.to).chain([position]) {
            let cited = citations.entry(at).or_default();
            if cited.iter().filter(|other| other.peer == span.peer).count() < CITED_MAX {
                let text = told_of(span, |of| tree.parent_of(of));
                cited.push(Citation { trace, span: span.span_id, peer: span.peer, text });
            }
        }
    }

    /// The votes of traces in which an operation of `deviation` was slow.
    pub(super) fn latency_votes(&self, deviation: &Deviation) -> Votes {
        let (mut votes, mut all) = (Votes::default(), 0.0);
        for trace in &self.view.traces {
            let tree = Tree::new(trace);
            let late_ns = self.late_ns(&tree, deviation);
            if late_ns <= 0.0 {
                continue;
            }
            let waits = self.waits(&tree);
            let beyond = |most: Wait| self.beyond_usual((&tree, &waits), deviation, most);
            let mut excess = beyond(Wait::ToTheEnd);
            if excess.values().map(|(beyond, _)| beyond).sum::<f64>() < EXPLAINED_MIN * late_ns {
                excess = beyond(Wait::PerhapsNot);
            }
            let total: f64 = excess.values().map(|(beyond, _)| beyond).sum();
            votes.traces += 1;
            if total < EXPLAINED_MIN * late_ns {
                continue;
            }
            let explained = (total / late_ns).min(1.0);
            for (position, (beyond, at)) in
                excess.into_iter().filter(|(_, (beyond, _))| *beyond >= 0.15 * total)
            {
                let blame = self.blame_of_time(&tree, at, position);
                let moved = beyond * self.moved(blame);
                all += explained * beyond / total;
                if moved > 0.0 {
                    *votes.ledger.shares.entry(blame).or_default() += explained * moved / total;
                    self.cite(trace.trace_id, &tree, tree.spans[at], &mut votes.citations);
                }
            }
            votes.weight += explained;
        }
        // What did not move is nobody's, and makes no other part larger.
        votes.ledger.divide(all);
        votes
    }

    /// Whether the parent of each span waits for it.
    fn waits(&self, tree: &Tree<'_>) -> Vec<Wait> {
        let wait_of = |(at, parent): (usize, &Option<usize>)| {
            let (span, parent) = (tree.spans[at], tree.spans[(*parent)?]);
            let is_handed_over = parent.kind == SpanKind::PRODUCER || span.service != parent.service;
            if span.kind == SpanKind::CONSUMER && is_handed_over {
                return Some(Wait::Not);
            }
            let ends = (self.view.position(parent.operation)?, self.view.position(span.operation)?);
            Some(self.view.edge(ends.0, ends.1)?.wait)
        };
        tree.parents.iter().enumerate().map(|it| wait_of(it).unwrap_or(Wait::ToTheEnd)).collect()
    }

    /// Time that spans spent themselves beyond what is usual for their operations, with the first span of each; of those alone
    /// that can have made a span of `deviation` late: up to it each is waited for, by `most` at least.
    fn beyond_usual(
        &self,
        (tree, waits): (&Tree<'_>, &[Wait]),
        deviation: &Deviation,
        most: Wait,
    ) -> BTreeMap<usize, (f64, usize)> {
        let mut excess: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
        let deviates = |at: usize| {
            let position = self.view.position(tree.spans[at].operation);
            position.is_some_and(|position| deviation.excess.contains_key(&position))
        };
        let may_delay = |mut at: usize| {
            for _ in 0..tree.spans.len() {
                match tree.parents[at].filter(|_| !deviates(at)) {
                    Some(_) if waits[at] > most => return false,
                    Some(parent) => at = parent,
                    None => break,
                }
            }
            true
        };
        for at in (0..tree.spans.len()).filter(|at| may_delay(*at)) {
            let Some(position) = self.view.position(tree.spans[at].operation) else { continue };
            let (_, usual) = self.view.own_means(position);
            let beyond = tree.self_ns(at, waits) - usual;
            if beyond > 0.0 {
                excess.entry(position).or_insert((0.0, at)).0 += beyond;
            }
        }
        excess
    }

    /// By how much the trace was late where the deviation shows; 0 where it was not late by half the deviation.
    fn late_ns(&self, tree: &Tree<'_>, deviation: &Deviation) -> f64 {
        let late = tree.spans.iter().filter_map(|span| {
            let position = self.view.position(span.operation)?;
            let operation = &self.view.operations[position];
            let (now, before) = (operation.now.mean_ns(), operation.before.mean_ns());
            let late = span.duration_ns as f64 - before;
            (deviation.excess.contains_key(&position) && late > 0.5 * (now - before)).then_some(late)
        });
        late.fold(0.0, f64::max)
    }

    /// Time that a span spent outside its children: in its dependency, on the way to a remote child, or itself.
    fn blame_of_time(&self, tree: &Tree<'_>, at: usize, position: usize) -> Blame {
        let span = tree.spans[at];
        let dependency = self.calls_of(position).find(|edge| edge.way == Way::Dependency);
        let callee = tree.answering(self.view, at);
        if let Some(edge) = dependency {
            Blame::Dependency(edge.to)
        } else if let Some(to) = callee.filter(|_| span.kind.is_outbound()) {
            Blame::Way(position, to)
        } else if let Some(to) = self.meant(span, position).filter(|_| span.kind.is_outbound()) {
            Blame::Unanswered(position, to)
        } else {
            Blame::Operation(position)
        }
    }

    /// The operation that a call that nobody answered was meant for: of the service that the span names, where it names one.
    fn meant(&self, span: &ExemplarSpan, position: usize) -> Option<usize> {
        let named = span.peer.and_then(|host| self.view.behind.get(&host).copied());
        let is_meant = |to: usize| named.is_none_or(|named| named == self.view.operations[to].service);
        let mut called = self.calls_of(position).filter(|edge| edge.way == Way::Remote);
        called.find(|edge| is_meant(edge.to)).map(|edge| edge.to)
    }

    /// How far what is blamed for time takes longer than before by its roll-up, 0 to 1; 1 where too little is counted to tell.
    /// Traces are looked at because they are late, and in those whatever varies most is beyond its mean.
    fn moved(&self, blame: Blame) -> f64 {
        let of_cells = |now: &Cell, before: &Cell| {
            let shift = latency_shift(now, before);
            let is_known = now.count.min(before.count) >= LATENCY_COUNT_MIN;
            (is_known, if shift.growth > 0.0 { shift.surprise } else { 0.0 })
        };
        let (is_known, surprise) = match blame {
            Blame::Way(from, to) => {
                match self.view.edge(from, to).map(|edge| gap_surprise(edge.now, edge.before)) {
                    Some(Some(surprise)) => (true, surprise),
                    _ => (false, 0.0),
                }
            }
            Blame::Operation(at) | Blame::Unanswered(at, _) => {
                let operation = &self.view.operations[at];
                let (is_known, surprise) = of_cells(&operation.now, &operation.before);
                (is_known, if self.view.own_growth(at) > 0.0 { surprise } else { 0.0 })
            }
            // Of many callers one may suffer alone.
            _ => {
                let callers = self.view.operations[blame.operation()].callers.iter();
                let callers = callers.map(|edge| &self.view.edges[*edge]);
                callers
                    .map(|edge| of_cells(edge.now, edge.before))
                    .fold((false, 0.0), |most, of| (most.0 || of.0, f64::max(most.1, of.1)))
            }
        };
        if is_known { (surprise / MOVED).clamp(0.0, 1.0) } else { 1.0 }
    }
}

/// A failing span of an operation's exemplars, for citing what no vote cited: of those that call one of `peers`, where
/// there are any.
pub(super) fn first_failing(view: &View<'_>, position: usize, peers: &[ServiceId]) -> Option<Citation> {
    let operation = view.operations[position].id;
    let is_meant =
        |span: &&ExemplarSpan| peers.is_empty() || span.peer.is_some_and(|peer| peers.contains(&peer));
    view.traces.iter().find_map(|trace| {
        let failing = trace.spans.iter().filter(|span| span.error && span.operation == operation);
        let span = failing.filter(is_meant).min_by_key(|span| span.span_id)?;
        let parent_of = |of: &ExemplarSpan| trace.spans.iter().find(|it| Some(it.span_id) == of.parent_id);
        let text = told_of(span, parent_of);
        Some(Citation { trace: trace.trace_id, span: span.span_id, peer: span.peer, text })
    })
}
