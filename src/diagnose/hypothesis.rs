//! Whether one node can be what another one suffers from: six questions, each answered by evidence for, against, or neither.
//!
//! A node deviates by its own spans, by calls to it that do not arrive (those that do may be well) or are longer on the way, or by
//! what is no longer called. What of its trouble is its own is told by the shares that causes are ranked by as well.
//!
//! One answer against is enough to refute where it leaves no way: nothing leads from one to the other, the suspect does as it
//! always did, has its trouble from somebody else, began later, or is missing where the sufferer fails. For support the way,
//! the deviation and at least one of order, dose and examples must speak for it.

use std::collections::{BTreeMap, VecDeque};

use crate::model::id::ServiceId;
use crate::model::rollup::Subject;
use crate::model::time::UnixNanos;

use super::absent::{Absence, Lack, delayed, silent, unanswered};
use super::alike::together;
use super::blame::Flow;
use super::correlation::rank_correlation;
use super::difference::{Difference, DifferenceKind, differences};
use super::evidence::Evidence;
use super::kept::kept;
use super::message::Hints;
use super::moved::{Move, moved};
use super::onset::onset_of;
use super::stats::{error_surprise, excess_errors, latency_shift};
use super::verdict::SymptomKind;
use super::view::{View, Way};

/// Standard deviations that a deviation must leave behind.
pub(super) const SURPRISE_MIN: f64 = 4.0;
/// Part of all requests that must fail more, and growth of a duration in part of what it was, to be a deviation.
const ERRORS_MIN: f64 = 0.005;
const LATENCY_MIN: f64 = 0.15;
/// Part of its trouble that must be a suspect's own, and below which it is somebody else's.
const OWN_PARTS: (f64, f64) = (0.3, 0.15);
/// Buckets that both must have for the dose to tell.
const BUCKETS_MIN: usize = 8;
/// Rank correlation from which on the dose speaks for it, and below which it speaks against it.
const DOSES: (f64, f64) = (0.4, 0.0);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// Do calls lead from one to the other?
    Path,
    /// Does the suspect do other than before?
    Deviation,
    /// Is its trouble its own?
    Own,
    /// Did it begin first?
    Order,
    /// Is the one worse where the other is?
    Dose,
    /// Do traces of the sufferer's trouble show the suspect's?
    Examples,
}

impl Question {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["path", "deviation", "own", "order", "dose", "examples"][self as usize]
    }
}

/// Which way evidence speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// For it.
    For,
    /// Against it.
    Against,
    /// Neither way, or there is none.
    Neither,
}

impl Speaks {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["for", "against", "neither"][self as usize]
    }

    pub(super) fn between(value: f64, (for_from, against_below): (f64, f64)) -> Self {
        match value {
            _ if value >= for_from => Self::For,
            _ if value < against_below => Self::Against,
            _ => Self::Neither,
        }
    }
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The question.
    pub question: Question,
    /// Which way it speaks.
    pub speaks: Speaks,
    /// The measure behind it: calls, standard deviations, a part, seconds, a correlation, a part; none where it is not known.
    pub value: Option<f64>,
    /// What was found, in one sentence.
    pub text: String,
}

/// What becomes of a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Evidence speaks for it and none against it.
    Supported,
    /// Evidence leaves no way for it.
    Refuted,
    /// There is too little evidence.
    Undecided,
}

/// A tested hypothesis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// What becomes of it.
    pub judgement: Judgement,
    /// The answers, in the order of the questions.
    pub findings: Vec<Finding>,
    /// The nodes from the sufferer to the suspect, both included; empty where no calls lead there.
    pub path: Vec<ServiceId>,
}

/// Tests whether `cause` can be what `effect` suffers from.
pub fn test(evidence: &Evidence, cause: ServiceId, effect: ServiceId) -> Tested {
    let together = together(evidence);
    let view = View::new(together.as_ref().unwrap_or(evidence));
    let hints = Hints::new(&view);
    let flow = Flow { view: &view, hints: &hints };
    let trial = Trial { view: &view, flow: &flow, cause, effect, kept: kept(&flow, cause, effect) };
    let path = trial.path();
    let (suspect, sufferer) = (trial.worst(cause), trial.worst(effect));
    let (suspect, sufferer) = (suspect.as_ref(), sufferer.as_ref());
    let findings = vec![
        trial.is_led_to(&path),
        trial.deviates(suspect, &path),
        trial.is_own(suspect),
        trial.is_first(suspect, sufferer),
        trial.has_dose(suspect, sufferer),
        trial.has_examples(suspect, sufferer),
    ];
    Tested { judgement: judged(&findings), findings, path }
}

fn judged(findings: &[Finding]) -> Judgement {
    let speaks =
        |question| findings.iter().find(|it| it.question == question).map_or(Speaks::Neither, |it| it.speaks);
    if findings.iter().any(|it| it.speaks == Speaks::Against && it.question != Question::Dose) {
        return Judgement::Refuted;
    }
    let grounds = [Question::Path, Question::Deviation].map(speaks);
    let more = [Question::Order, Question::Dose, Question::Examples].map(speaks);
    if grounds == [Speaks::For; 2] && more.contains(&Speaks::For) && !more.contains(&Speaks::Against) {
        Judgement::Supported
    } else {
        Judgement::Undecided
    }
}

/// How a node deviates.
pub(super) struct Deviation {
    /// The position of the operation that shows it.
    pub(super) at: usize,
    pub(super) kind: SymptomKind,
    /// Standard deviations.
    pub(super) surprise: f64,
    /// Why its own spans do not show it, where they do not.
    pub(super) absence: Option<Absence>,
}

/// A suspicion with what is known about it.
pub(super) struct Trial<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) flow: &'a Flow<'a, 'a>,
    pub(super) cause: ServiceId,
    effect: ServiceId,
    /// Part of the sufferer's trouble that stays with the suspect, of what of it reaches the suspect.
    kept: Option<f64>,
}

impl Trial<'_> {
    pub(super) fn name(&self, service: ServiceId) -> &str {
        self.view.node_name(service)
    }

    /// The operations that tell how a node does: its own.
    pub(super) fn measured(&self, service: ServiceId) -> Vec<usize> {
        let own = self.view.operations.iter().enumerate().filter(|(_, it)| it.service == service);
        own.map(|(at, _)| at).collect()
    }

    /// How a node deviates most: by its own spans or by calls to it that do not arrive, else by calls that are longer on the way,
    /// else by what is no longer called.
    fn worst(&self, service: ServiceId) -> Option<Deviation> {
        let of = |at: usize| {
            let operation = &self.view.operations[at];
            let (now, before) = (&operation.now, &operation.before);
            let more = now.error_ratio() - before.error_ratio() > ERRORS_MIN;
            let shift = latency_shift(now, before);
            let own = |kind, surprise| Deviation { at, kind, surprise, absence: None };
            let errors = own(SymptomKind::Errors, if more { error_surprise(now, before) } else { 0.0 });
            let slower = if shift.growth > LATENCY_MIN { shift.surprise } else { 0.0 };
            [errors, own(SymptomKind::Latency, slower)]
        };
        let absent = |absence: Absence| Deviation {
            at: absence.at,
            kind: absence.kind,
            surprise: absence.surprise,
            absence: Some(absence),
        };
        let own = self.measured(service).into_iter().flat_map(of);
        let all = own.chain(unanswered(self.flow, service).map(absent));
        all.filter(|it| it.surprise > SURPRISE_MIN)
            .max_by(|a, b| a.surprise.total_cmp(&b.surprise).then(b.at.cmp(&a.at)))
            .or_else(|| delayed(self.flow, service).map(absent))
            .or_else(|| silent(self.flow, service).map(absent))
    }

    /// The nodes from the sufferer to the suspect along calls; empty where none lead there.
    fn path(&self) -> Vec<ServiceId> {
        let callees = self.view.callees_by_service();
        let mut from: BTreeMap<ServiceId, ServiceId> = BTreeMap::new();
        let mut waiting = VecDeque::from([self.effect]);
        while let Some(service) = waiting.pop_front() {
            if service == self.cause {
                let mut path = vec![service];
                while let Some(caller) = path.last().and_then(|last| from.get(last)) {
                    path.push(*caller);
                }
                path.reverse();
                return path;
            }
            for callee in callees.get(&service).into_iter().flatten() {
                if *callee != self.effect && !from.contains_key(callee) {
                    from.insert(*callee, service);
                    waiting.push_back(*callee);
                }
            }
        }
        Vec::new()
    }

    fn is_led_to(&self, path: &[ServiceId]) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Path, speaks, value, text };
        let (cause, effect) = (self.name(self.cause), self.name(self.effect));
        if !path.is_empty() {
            let names: Vec<&str> = path.iter().map(|id| self.name(*id)).collect();
            let calls = path.len() as f64 - 1.0;
            return found(Speaks::For, Some(calls), format!("calls lead there: {}", names.join(" -> ")));
        }
        // A caller does harm by how much it calls.
        let view = self.view;
        let between = view.edges.iter().filter(|edge| {
            view.operations[edge.from].service == self.cause
                && view.operations[edge.to].service == self.effect
        });
        let (now, before) =
            between.fold((0, 0), |(now, before), edge| (now + edge.now.count, before + edge.before.count));
        let calls = moved((now, view.window_s), (before, view.baseline_s));
        match calls.kind {
            Move::New | Move::Up => found(
                Speaks::For,
                Some(0.0),
                format!("{cause} calls {effect}, {:.1} times as often as before", calls.ratio),
            ),
            _ => {
                let text = if now + before > 0 {
                    format!("{cause} calls {effect}, not more often than before, and is not called by it")
                } else {
                    format!("no calls lead from {effect} to {cause}")
                };
                match self.harm_beside_calls() {
                    Some(harm) => found(Speaks::Neither, None, format!("{text}; {harm}")),
                    None => found(Speaks::Against, None, text),
                }
            }
        }
    }

    /// Why the suspect may do harm that no calls tell of; none where calls would tell.
    fn harm_beside_calls(&self) -> Option<String> {
        let view = self.view;
        let cause = self.name(self.cause);
        let is_counted = |at: &usize| view.operations[*at].now.count + view.operations[*at].before.count > 0;
        if !self.measured(self.cause).iter().any(is_counted) {
            return Some(format!("no spans of {cause} are known that would tell"));
        }
        let changed = view.evidence.changes.iter().any(|change| change.service == Some(self.cause));
        changed.then(|| format!("{cause} changed, which may do harm without a call"))
    }

    fn deviates(&self, suspect: Option<&Deviation>, path: &[ServiceId]) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Deviation, speaks, value, text };
        if let Some(Deviation { at, kind, surprise, absence }) = suspect {
            let operation = &self.view.operations[*at];
            let (now, before) = (&operation.now, &operation.before);
            let text = match (absence, kind) {
                (Some(absence), _) => absence.text.clone(),
                (None, SymptomKind::Errors) => format!(
                    "{} fails {:.1} % of the time, {:.1} % before",
                    operation.name,
                    100.0 * now.error_ratio(),
                    100.0 * before.error_ratio()
                ),
                _ => format!(
                    "{} takes {:.1} ms on average, {:.1} ms before",
                    operation.name,
                    now.mean_ns() / 1e6,
                    before.mean_ns() / 1e6
                ),
            };
            return found(Speaks::For, Some(*surprise), text);
        }
        if !self.view.has_baseline() {
            return found(Speaks::Neither, None, "nothing is known of the time before".to_owned());
        }
        let telling = [
            DifferenceKind::Event,
            DifferenceKind::Version,
            DifferenceKind::LogPattern,
            DifferenceKind::Metric,
        ];
        let all = differences(self.view.evidence).changed;
        let own = all.iter().find(|it| it.service == Some(self.cause) && telling.contains(&it.kind));
        if let Some(own) = own {
            let text = format!("no operation deviates, but this does: {} {}", own.kind.name(), own.name);
            return found(Speaks::For, None, text);
        }
        let is_busier = |it: &Difference| it.kind == DifferenceKind::Traffic && it.now > it.before;
        if path.is_empty() && all.iter().any(|it| it.service == Some(self.cause) && is_busier(it)) {
            // Who does harm by calling deviates by how much it is at work.
            return found(Speaks::For, None, "it is at work more often than before".to_owned());
        }
        let cause = self.name(self.cause);
        if self.measured(self.cause).iter().all(|at| self.view.operations[*at].now.count == 0) {
            return found(Speaks::Neither, None, format!("nothing was measured of {cause} in the window"));
        }
        let speaks = if self.kept.is_some() { Speaks::Neither } else { Speaks::Against };
        found(speaks, None, format!("{cause} fails no more, and takes no longer, than before"))
    }

    /// How much of the suspect's trouble is not that of those whom it calls.
    fn is_own(&self, suspect: Option<&Deviation>) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Own, speaks, value, text };
        let Some(Deviation { at, kind, absence, .. }) = suspect else {
            return found(Speaks::Neither, None, "no operation of it deviates".to_owned());
        };
        if let Some(absence) = absence {
            let (speaks, part, text) = match absence.lack {
                Lack::Unanswered => {
                    (Speaks::For, Some(1.0), "calls that do not arrive reach nobody that it calls")
                }
                Lack::Delayed => {
                    (Speaks::For, Some(1.0), "time on the way to it is not that of those it calls")
                }
                Lack::Missing => {
                    (Speaks::Neither, None, "that calls are missing does not tell whose doing it is")
                }
            };
            return found(speaks, part, text.to_owned());
        }
        let operation = &self.view.operations[*at];
        let (now, before) = (&*operation.now, &*operation.before);
        let waits = |edge: &&usize| {
            matches!(self.view.edges[**edge].way, Way::Remote | Way::Dependency | Way::Within)
        };
        let called: Vec<&usize> = operation.callees.iter().filter(waits).collect();
        if called.is_empty() {
            return found(Speaks::For, Some(1.0), format!("{} calls nobody", operation.name));
        }
        let (own, all) = match kind {
            SymptomKind::Errors => {
                let all = excess_errors(now, before);
                let theirs = called
                    .iter()
                    .map(|edge| excess_errors(self.view.edges[**edge].now, self.view.edges[**edge].before));
                ((all - theirs.sum::<f64>()).max(0.0), all)
            }
            _ => (self.view.own_growth(*at).max(0.0), now.mean_ns() - before.mean_ns()),
        };
        let part = if all > 0.0 { (own / all).min(1.0) } else { 1.0 };
        // How often it calls others, and how long it waits for them, is its own doing.
        if let Some(kept) = self.kept.filter(|kept| *kept > part) {
            let text = format!("{:.0} % of its trouble stays with it, by how it calls others", 100.0 * kept);
            return found(Speaks::between(kept, OWN_PARTS), Some(kept), text);
        }
        let text = format!("{:.0} % of its trouble is its own, not that of those it calls", 100.0 * part);
        found(Speaks::between(part, OWN_PARTS), Some(part), text)
    }

    fn is_first(&self, suspect: Option<&Deviation>, sufferer: Option<&Deviation>) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Order, speaks, value, text };
        if self.cause == self.effect {
            return found(Speaks::Neither, None, "it is the same service".to_owned());
        }
        let onset = |of: Option<&Deviation>| -> Option<UnixNanos> {
            let Deviation { at, kind, .. } = of?;
            onset_of(self.view, *at, *kind)
        };
        let (Some(first), Some(second)) = (onset(suspect), onset(sufferer)) else {
            return found(Speaks::Neither, None, "no timeline tells when both began".to_owned());
        };
        let width = self.view.evidence.timeline.iter().map(|slice| slice.width_s).max().unwrap_or(0);
        let earlier = (second.0 - first.0) as f64 / 1e9;
        let slack = 2.0 * width as f64;
        let speaks = match earlier {
            _ if earlier > slack => Speaks::For,
            _ if earlier < -slack => Speaks::Against,
            _ => Speaks::Neither,
        };
        let text = match earlier {
            _ if earlier > 0.0 => format!("it began {earlier:.0} s before (buckets of {width} s)"),
            _ if earlier < 0.0 => format!("it began {:.0} s after (buckets of {width} s)", -earlier),
            _ => format!("both began in the same {width} s"),
        };
        found(speaks, Some(earlier), text)
    }

    fn has_dose(&self, suspect: Option<&Deviation>, sufferer: Option<&Deviation>) -> Finding {
        let found = |speaks, value, text| Finding { question: Question::Dose, speaks, value, text };
        if self.cause == self.effect {
            return found(Speaks::Neither, None, "it is the same service".to_owned());
        }
        let (Some(suspect), Some(sufferer)) = (suspect, sufferer) else {
            return found(Speaks::Neither, None, "one of the two does not deviate".to_owned());
        };
        let (suspect, sufferer) = (self.course(suspect), self.course(sufferer));
        let pairs: Vec<(f64, f64)> =
            suspect.iter().filter_map(|(bucket, one)| Some((*one, *sufferer.get(bucket)?))).collect();
        if pairs.len() < BUCKETS_MIN {
            return found(Speaks::Neither, None, format!("{} buckets of time have both", pairs.len()));
        }
        let dose = rank_correlation(&pairs);
        let text = format!("over {} buckets of time their trouble correlates by {dose:.2}", pairs.len());
        found(Speaks::between(dose, DOSES), Some(dose), text)
    }

    /// How bad a deviation was, bucket by bucket; what is missing is the worse the less there is.
    fn course(&self, of: &Deviation) -> BTreeMap<i64, f64> {
        let subject = Subject::Operation(self.view.operations[of.at].id);
        let timeline = self.view.evidence.timeline.iter();
        let is_missing = of.kind == SymptomKind::Silence;
        let empty = timeline.clone().filter(|_| is_missing).map(|slice| (slice.bucket_s, 0.0));
        let mut course: BTreeMap<i64, f64> = empty.collect();
        let bad = |sum: f64, count: u64| sum / count as f64;
        let own = timeline.filter(|slice| slice.subject == subject && slice.count > 0);
        course.extend(own.map(|slice| {
            let value = match of.kind {
                SymptomKind::Errors => bad(slice.errors as f64, slice.count),
                SymptomKind::Latency => bad(slice.sum_ns as f64, slice.count),
                SymptomKind::Silence => -(slice.count as f64),
            };
            (slice.bucket_s, value)
        }));
        course
    }
}
