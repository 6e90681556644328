//! From evidence to an ordered verdict.
//!
//! Every node collects lines of evidence, each between 0 and 1: its share of the blame for failures, for time and
//! for missing calls (each weighed by how bad that symptom is next to the worst one), and what logs, measured
//! series and changes say. They combine so that each line can only add:
//!
//! ```text
//! score      = 1 − Π (1 − weight · line)
//! certainty  = (surprise − 2) / (surprise − 2 + 2) · volume / (volume + 10)
//! margin     = (score − score of the next) / score                            (0 for all but the first)
//! raw        = score · certainty · (0.7 + 0.3 · margin) · (0.7 without a baseline)
//! confidence = 6 · raw / (1 + 5 · raw)
//! ```
//!
//! The last line makes the odds six times as high: fitted to how often the first cause is right among planted and recorded
//! faults (docs/ACCURACY.md). `surprise` is how many standard deviations the symptom is away from its baseline, `volume` the requests it
//! rests on. Ties are broken by name, then by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;

use super::blame::{Blame, Flow, Ledger, Matter};
use super::dismissed::dismissed;
use super::message::Hints;
use super::onset::onset_of;
use super::origin::{Citation, Votes};
use super::place::Shared;
use super::sentence::{Finding, describe};
use super::signal::{Signal, Signals, Source};
use super::silence::missing_calls;
use super::stats::saturate;
use super::symptom::{Deviation, deviations};
use super::verdict::{Outcome, Symptom, SymptomKind, Verdict};
use super::view::View;
use super::waiting::longer_waits;
use super::ways::Ways;
use super::{Options, change, path};

/// What a full share of blame is worth.
pub(super) const BLAME_WEIGHT: f64 = 0.95;
/// What a full signal is worth beside a symptom that spans show, and without one.
pub(super) const SIGNAL_WEIGHT: (f64, f64) = (0.35, 0.6);
/// Part of the blame for calls no longer made that goes to a callee that surely answers otherwise.
const ANSWERED_OTHERWISE: f64 = 0.9;
/// The same for an operation that takes another way.
const STEP_WEIGHT: (f64, f64) = (0.7, 0.9);
/// What a change is worth; it never stands alone.
const CHANGE_WEIGHT: f64 = 0.3;
/// Causes with a smaller score are not worth naming.
pub(super) const SCORE_MIN: f64 = 0.03;
/// Nodes that passed most of their blame on must reach this part of the best score to be named all the same.
const HEIR_SCORE_MIN: f64 = 0.3;
/// Severity from which on a symptom counts in full; the worst one does not grow by being alone.
const SEVERE: f64 = 0.25;
/// How much higher the odds of the first cause are than its raw confidence says.
const ODDS: f64 = 6.0;
/// Confidence from which on a cause is found, and from which on causes are candidates.
const FOUND_MIN: f64 = 0.85;
/// See [`FOUND_MIN`].
const CANDIDATES_MIN: f64 = 0.35;
/// How many times the next cause the first must be for it to be clearly ahead.
pub(super) const CLEAR: f64 = 1.4;
/// Traces whose votes weigh as much as the roll-ups.
const VOTES_HALF: f64 = 3.0;

/// The blame of one kind of symptom.
pub(super) struct Account {
    pub(super) deviation: Deviation,
    pub(super) ledger: Ledger,
    pub(super) citations: BTreeMap<usize, Vec<Citation>>,
    /// How bad next to the worst kind, 0 to 1.
    pub(super) weight: f64,
}

/// What is held against one node.
#[derive(Default)]
pub(super) struct Suspect {
    pub(super) score: f64,
    /// Weighted shares by kind of symptom and place, and the same shares unweighted.
    pub(super) blames: BTreeMap<(SymptomKind, Blame), f64>,
    pub(super) signals: Vec<Signal>,
}

/// Explains the worst symptom of the window, or that of `symptom`; see [`super::root_cause`].
pub(super) fn root_cause(view: &View<'_>, symptom: Option<ServiceId>, options: &Options) -> Verdict {
    let hints = Hints::new(view);
    let flow = Flow { view, hints: &hints };
    let mut coverage = coverage_of(view);
    let accounts = accounts(&flow, symptom);
    let mut signals = Signals::new(view, symptom);
    if accounts.is_empty() {
        signals.focus(view);
    }
    let mut suspects = suspects(view, &accounts, &signals, symptom);
    let inherits_all = |service| inherits(&accounts, service);
    let shared =
        if accounts.is_empty() { None } else { Shared::new(view, &suspects, &signals, inherits_all) };
    if let Some(shared) = &shared {
        shared.take_over(&mut suspects);
    }
    let mut order: Vec<(&ServiceId, &Suspect)> =
        suspects.iter().filter(|(_, it)| it.score >= SCORE_MIN).collect();
    order.sort_by(|a, b| {
        b.1.score
            .total_cmp(&a.1.score)
            .then_with(|| view.node_name(*a.0).cmp(view.node_name(*b.0)))
            .then(a.0.cmp(b.0))
    });
    let best = order.first().map_or(0.0, |(_, best)| best.score);
    order.retain(|(service, suspect)| {
        suspect.score >= HEIR_SCORE_MIN * best || !inherits(&accounts, **service)
    });
    // A service is told as itself, not by the name of its host too.
    let hosts = view.answered_nodes();
    if order.iter().any(|(service, _)| !hosts.contains(*service)) {
        order.retain(|(service, _)| !hosts.contains(*service));
    }
    let shown = symptom_of(view, &accounts, &signals);
    if accounts.is_empty() {
        coverage.push(match symptom {
            Some(service) => format!(
                "No operation of {} deviates significantly from its baseline.",
                view.node_name(service)
            ),
            None => "No operation deviates significantly from its baseline.".to_owned(),
        });
    }
    let certainty = certainty(view, &accounts);
    let target = shown.as_ref().map(|symptom| symptom.service);
    let paths = path::Paths::new(view, &accounts, target.or(symptom));
    let causes: Vec<_> = order
        .iter()
        .enumerate()
        .take(options.causes_max)
        .map(|(rank, (service, suspect))| {
            let next = order.get(1).map_or(0.0, |(_, next)| next.score);
            let margin = if rank == 0 { (suspect.score - next) / suspect.score } else { 0.0 };
            let confidence = calibrated(suspect.score * certainty * (0.7 + 0.3 * margin));
            let finding = Finding { service: **service, suspect, confidence, path: paths.from(**service) };
            let cause = describe(view, &accounts, finding);
            if let Some(shared) = &shared { shared.told(cause) } else { cause }
        })
        .collect();
    let outcome = outcome_of(&order, causes.first().map_or(0.0, |cause| cause.confidence), &accounts);
    let explained = shared.iter().flat_map(Shared::parts).copied();
    let named: Vec<ServiceId> =
        causes.iter().map(|cause| cause.service).chain(explained).chain(hosts).collect();
    let ruled_out = dismissed(view, &accounts, &named, target, options.ruled_out_max);
    let onsets =
        [shown.as_ref().and_then(|symptom| symptom.onset), causes.first().and_then(|cause| cause.onset)];
    let onset = onsets.into_iter().flatten().min().unwrap_or(view.evidence.window.from);
    let changes = change::ranked(view, &causes, onset);
    Verdict { outcome, symptom: shown, causes, changes, ruled_out, coverage }
}

fn coverage_of(view: &View<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if !view.has_baseline() {
        notes.push("There is no baseline to compare with: failures are judged by their share alone, and slowness cannot be judged.".to_owned());
    }
    if view.operations.is_empty() {
        notes.push("No spans were seen: the answer rests on logs and measured series.".to_owned());
    } else if view.traces.is_empty() {
        notes.push("No exemplar traces were kept: the answer rests on roll-ups.".to_owned());
    }
    if view.evidence.unread_series > 0 {
        notes.push(format!("{} measured series were too many to be read.", view.evidence.unread_series));
    }
    notes
}

/// The blame for each kind of symptom that deviates, worst first.
pub(super) fn accounts(flow: &Flow<'_, '_>, symptom: Option<ServiceId>) -> Vec<Account> {
    let mut accounts = Vec::new();
    for deviation in deviations(flow.view, symptom) {
        let (matter, votes) = match deviation.kind {
            SymptomKind::Errors => (Matter::Errors, flow.error_votes(&deviation, symptom)),
            SymptomKind::Latency => (Matter::Latency, flow.latency_votes(&deviation)),
            SymptomKind::Silence => {
                let mut ledger = Ledger::default();
                for (at, lost) in &deviation.excess {
                    *ledger.shares.entry(Blame::Operation(*at)).or_default() += lost;
                }
                ledger.normalize();
                accounts.push(Account { deviation, ledger, citations: BTreeMap::new(), weight: 0.0 });
                continue;
            }
        };
        let mut ledger = flow.run(matter, &deviation.excess);
        let Votes { ledger: voted, traces, weight, citations } = votes;
        let trust = if voted.shares.is_empty() {
            0.0
        } else {
            0.5 * saturate(weight, VOTES_HALF) * (weight / traces as f64)
        };
        let voices = trust / (1.0 - trust);
        let total = ledger.total() + voices;
        ledger.add(&voted, voices);
        ledger.divide(total);
        accounts.push(Account { deviation, ledger, citations, weight: 0.0 });
    }
    if let Some((deviation, ledger)) = missing_calls(flow, symptom) {
        accounts.push(Account { deviation, ledger, citations: BTreeMap::new(), weight: 0.0 });
    }
    if let Some((deviation, ledger)) = longer_waits(flow.view, symptom) {
        accounts.push(Account { deviation, ledger, citations: BTreeMap::new(), weight: 0.0 });
    }
    let worst = accounts.iter().map(|account| account.deviation.severity).fold(0.0, f64::max);
    for account in &mut accounts {
        account.weight = account.deviation.severity / worst.max(SEVERE);
    }
    accounts.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.deviation.kind.cmp(&b.deviation.kind)));
    accounts
}

fn suspects(
    view: &View<'_>,
    accounts: &[Account],
    signals: &Signals,
    symptom: Option<ServiceId>,
) -> BTreeMap<ServiceId, Suspect> {
    let mut suspects: BTreeMap<ServiceId, Suspect> = BTreeMap::new();
    let ways = Ways::new(view);
    let answers = Answers::new(view, signals);
    for account in accounts {
        for ((service, blame), share) in answers.passed_on(seated(view, &account.ledger, &ways)) {
            let suspect = suspects.entry(service).or_default();
            *suspect.blames.entry((account.deviation.kind, blame)).or_default() += share * account.weight;
        }
    }
    let reachable = symptom.map(|service| super::silence::reachable(&view.callees_by_service(), service));
    let within = |service: &ServiceId| reachable.as_ref().is_none_or(|reachable| reachable.contains(service));
    for (service, list) in signals.by_service.iter().filter(|(service, _)| within(service)) {
        let alone = list.iter().all(|signal| matches!(signal.source, Source::Change(_)));
        if !alone || suspects.contains_key(service) {
            suspects.entry(*service).or_default().signals.clone_from(list);
        }
    }
    let alone = accounts.is_empty();
    let signal_weight = if alone { SIGNAL_WEIGHT.1 } else { SIGNAL_WEIGHT.0 };
    let step_weight = if alone { STEP_WEIGHT.1 } else { STEP_WEIGHT.0 };
    for suspect in suspects.values_mut() {
        let mut by_kind: BTreeMap<SymptomKind, f64> = BTreeMap::new();
        for ((kind, _), share) in &suspect.blames {
            *by_kind.entry(*kind).or_default() += share;
        }
        let blamed = by_kind.values().map(|share| 1.0 - BLAME_WEIGHT * share.min(1.0));
        let mut innocence: f64 = blamed.product();
        let weigh = |signal: &Signal| match signal.source {
            Source::Change(_) => CHANGE_WEIGHT * (1.0 - innocence),
            Source::Step(_) => step_weight,
            _ => signal_weight,
        };
        innocence *=
            suspect.signals.iter().map(|signal| 1.0 - weigh(signal) * signal.strength).product::<f64>();
        suspect.score = 1.0 - innocence;
    }
    suspects
}

/// Blames by node and place.
pub(super) type Seats = BTreeMap<(ServiceId, Blame), f64>;

/// Services that others may be answered otherwise by: they take another way than they used to.
struct Answers {
    callees: BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    /// The operation of each, and how strongly it shows.
    changed: BTreeMap<ServiceId, (usize, f64)>,
}

impl Answers {
    fn new(view: &View<'_>, signals: &Signals) -> Self {
        let changed = signals.by_service.iter().filter_map(|(service, list)| {
            list.iter().find_map(|signal| match signal.source {
                Source::Step(operation) => Some((*service, (view.position(operation)?, signal.strength))),
                _ => None,
            })
        });
        Self { callees: view.callees_by_service(), changed: changed.collect() }
    }

    /// Moves blame for calls that are no longer made to a callee that takes another way itself: who gets another answer
    /// goes on otherwise.
    fn passed_on(&self, seats: Seats) -> Seats {
        let mut moved = Seats::new();
        for ((service, blame), share) in seats {
            let below = self.callees.get(&service).into_iter().flatten();
            let changed = below.filter_map(|callee| Some((*callee, *self.changed.get(callee)?)));
            let heir = changed.max_by(|(a, x), (b, y)| x.1.total_cmp(&y.1).then(b.cmp(a)));
            let heir = heir.filter(|_| matches!(blame, Blame::FewerCalls(..)));
            let given = heir.map_or(0.0, |(_, (_, strength))| ANSWERED_OTHERWISE * saturate(strength, 0.1));
            if let Some((heir, (at, _))) = heir {
                *moved.entry((heir, Blame::Operation(at))).or_default() += share * given;
            }
            *moved.entry((service, blame)).or_default() += share * (1.0 - given);
        }
        moved
    }
}

/// Blames by node; the way between two nodes is charged to one of them.
pub(super) fn seated(view: &View<'_>, ledger: &Ledger, ways: &Ways) -> Seats {
    let service = |at: usize| view.operations[at].service;
    let mut by_ends: BTreeMap<(ServiceId, ServiceId), f64> = BTreeMap::new();
    for (blame, share) in &ledger.shares {
        if let Blame::Way(from, to) = blame {
            *by_ends.entry((service(*from), service(*to))).or_default() += share;
        }
    }
    let charged = ways.charge(&by_ends);
    let mut seats = BTreeMap::new();
    for (blame, share) in &ledger.shares {
        let seat = match blame {
            Blame::Way(from, to) => charged.get(&(service(*from), service(*to))).copied(),
            _ => None,
        };
        *seats.entry((seat.unwrap_or(service(blame.operation())), *blame)).or_default() += share;
    }
    seats
}

/// True when most of the blame that reached the node went on to others.
fn inherits(accounts: &[Account], service: ServiceId) -> bool {
    accounts.iter().any(|account| {
        let passed: f64 = account.ledger.passed.get(&service).into_iter().flat_map(BTreeMap::values).sum();
        let reached = account.ledger.reached.get(&service).copied().unwrap_or(0.0);
        reached > 0.05 && passed > 0.5 * reached
    })
}

/// As often right as it says.
fn calibrated(raw: f64) -> f64 {
    let raw = raw.clamp(0.0, 1.0);
    ODDS * raw / (1.0 + (ODDS - 1.0) * raw)
}

fn certainty(view: &View<'_>, accounts: &[Account]) -> f64 {
    let baseline = if view.has_baseline() { 1.0 } else { 0.7 };
    let of =
        |deviation: &Deviation| saturate(deviation.surprise - 2.0, 2.0) * saturate(deviation.volume, 10.0);
    let best = accounts.iter().map(|account| account.weight * of(&account.deviation)).fold(0.0, f64::max);
    baseline * if accounts.is_empty() { 0.7 } else { best }
}

fn outcome_of(order: &[(&ServiceId, &Suspect)], confidence: f64, accounts: &[Account]) -> Outcome {
    let Some((_, first)) = order.first() else { return Outcome::InsufficientEvidence };
    let next = order.get(1).map_or(0.0, |(_, next)| next.score);
    outcome_by(confidence, !accounts.is_empty() && first.score >= CLEAR * next)
}

/// How far a verdict goes whose first cause is so sure, and clearly ahead or not.
pub(super) fn outcome_by(confidence: f64, is_clear: bool) -> Outcome {
    if is_clear && confidence >= FOUND_MIN {
        Outcome::CauseFound
    } else if confidence >= CANDIDATES_MIN {
        Outcome::Candidates
    } else {
        Outcome::InsufficientEvidence
    }
}

/// The symptom to show: that of the worst account, else the measured one. What was logged, changed or done otherwise is none.
fn symptom_of(view: &View<'_>, accounts: &[Account], signals: &Signals) -> Option<Symptom> {
    let Some(account) = accounts.first() else {
        let (service, signal) = signals.symptom()?;
        let (before, now) = signal.levels;
        return Some(Symptom { service, operation: None, kind: signal.kind?, before, now, onset: None });
    };
    let operation = &view.operations[account.deviation.worst];
    let kind = account.deviation.kind;
    let (before, now) = account.deviation.levels.unwrap_or(match kind {
        SymptomKind::Errors => (operation.before.error_ratio(), operation.now.error_ratio()),
        SymptomKind::Latency => (operation.before.mean_ns(), operation.now.mean_ns()),
        SymptomKind::Silence => (
            operation.before.count as f64 / view.baseline_s.max(1.0),
            operation.now.count as f64 / view.window_s.max(1.0),
        ),
    });
    let onset = onset_of(view, account.deviation.worst, kind);
    Some(Symptom { service: operation.service, operation: Some(operation.id), kind, before, now, onset })
}
