//! Words and references for a suspect: what is wrong, how far down it could be located, and what shows it.

use std::collections::BTreeSet;

use crate::model::id::ServiceId;
use crate::model::rollup::Cell;
use crate::model::span::SpanKind;

use super::blame::Blame;
use super::concentration::{Seat, rolled_out, seat_of};
use super::figures::{
    arriving_text, calls_ratio, calls_text, calls_to_text, elsewhere_text, errors_text, failing_text,
    failures_text, gap_text, given_up_text, mean_text, place_text, self_text, time_text, waits_text,
    whom_text,
};
use super::onset::onset_of;
use super::origin::{CITED_MAX, Citation, first_failing};
use super::rank::{Account, Suspect};
use super::series::is_used_up;
use super::signal::{Source, short};
use super::stats::{excess_errors, has_grown, rate_surprise};
use super::traffic::is_asked_for;
use super::verdict::{Cause, Fault, Level, Proof, Reference, Summary, SymptomKind};
use super::view::{Operation, View};

/// Strength from which on a resource's use is taken for the reason of what its service suffers.
const SATURATED_MIN: f64 = 0.25;
/// References that one cause cites at most.
const PROOF_MAX: usize = 8;

/// A suspect to put into words.
pub(super) struct Finding<'s> {
    pub(super) service: ServiceId,
    pub(super) suspect: &'s Suspect,
    pub(super) confidence: f64,
    pub(super) path: Vec<ServiceId>,
}

/// What is wrong, in the order in which it is found out.
struct Diagnosis {
    level: Level,
    fault: Fault,
    operation: Option<usize>,
    sentence: String,
    proof: Vec<Proof>,
}

/// Puts a suspect into words.
pub(super) fn describe(view: &View<'_>, accounts: &[Account], finding: Finding<'_>) -> Cause {
    let strongest = finding.suspect.blames.iter().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)));
    let strongest = strongest.map(|((kind, blame), share)| (told_kind(view, *kind, *blame), *blame, *share));
    let blamed: f64 = finding.suspect.blames.values().sum();
    let signal = finding.suspect.signals.first();
    let mut diagnosis = match strongest {
        Some((kind, blame, share)) if share > 0.05 || signal.is_none() => {
            of_blame(view, kind, blame, share / blamed.max(f64::MIN_POSITIVE))
        }
        _ => of_signals(view, &finding),
    };
    saturated(view, finding.suspect, &mut diagnosis);
    if let Some((kind, blame, _)) = strongest {
        cite(view, accounts, kind, blame, &mut diagnosis);
    }
    for signal in &finding.suspect.signals {
        let reference = match signal.source {
            Source::Template(id) => Reference::Template(id),
            Source::Resource(id) | Source::Performance(id) => Reference::Series(id),
            Source::Change(at) => Reference::Change(at),
            Source::Step(id) => match view.position(id) {
                Some(at) => reference_of(&view.operations[at]),
                None => continue,
            },
        };
        diagnosis.proof.push(Proof::new(reference, signal.text.clone()));
    }
    diagnosis.proof.truncate(PROOF_MAX);
    let onset = strongest.filter(|_| diagnosis.operation.is_some());
    let onset = onset.and_then(|(kind, blame, _)| onset_of(view, shown_at(view, kind, blame), kind));
    Cause {
        service: finding.service,
        operation: diagnosis
            .operation
            .filter(|at| view.operations[*at].service == finding.service)
            .map(|at| view.operations[at].id),
        level: diagnosis.level,
        fault: diagnosis.fault,
        sentence: diagnosis.sentence,
        confidence: finding.confidence,
        onset,
        path: finding.path,
        proof: diagnosis.proof,
    }
}

/// What is wrong with what is blamed: who fails nobody and takes longer is blamed for callers that give up.
fn told_kind(view: &View<'_>, kind: SymptomKind, blame: Blame) -> SymptomKind {
    let Blame::Operation(at) = blame else { return kind };
    let (now, before) = (&view.operations[at].now, &view.operations[at].before);
    let is_late = kind == SymptomKind::Errors && excess_errors(now, before) < 1.0 && has_grown(now, before);
    if is_late { SymptomKind::Latency } else { kind }
}

/// The operation whose timeline shows what is blamed: where calls do not arrive, or are longer on the way, that of their caller;
/// the host's where no other calls it.
fn shown_at(view: &View<'_>, kind: SymptomKind, blame: Blame) -> usize {
    match blame {
        Blame::Way(from, to) | Blame::Unanswered(from, to)
            if kind != SymptomKind::Silence && view.operations[to].kind != SpanKind::CONSUMER =>
        {
            let host = view.peer(from, view.operations[to].service).map(|peer| peer.at);
            host.filter(|host| view.operations[*host].callers.len() == 1).unwrap_or(from)
        }
        _ => blame.operation(),
    }
}

/// A service that fails or is slow by itself while a resource of it is used up suffers from that.
fn saturated(view: &View<'_>, suspect: &Suspect, diagnosis: &mut Diagnosis) {
    if !matches!(diagnosis.level, Level::Service | Level::Operation)
        || !matches!(diagnosis.fault, Fault::Errors | Fault::Latency)
    {
        return;
    }
    let used_up = suspect.signals.iter().find(|signal| match signal.source {
        Source::Resource(id) => signal.strength >= SATURATED_MIN && is_used_up(view, id, signal.levels.1),
        _ => false,
    });
    let Some(signal) = used_up else { return };
    (diagnosis.level, diagnosis.fault) = (Level::Resource, Fault::Saturation);
    if !diagnosis.sentence.contains(&signal.text) {
        diagnosis.sentence.pop();
        diagnosis.sentence.push_str(&format!(", while {}.", signal.text));
    }
}

fn of_signals(view: &View<'_>, finding: &Finding<'_>) -> Diagnosis {
    let name = view.node_name(finding.service);
    let signal = finding.suspect.signals.first();
    let (level, fault) = match signal.map(|signal| signal.source) {
        Some(Source::Resource(id)) if is_asked_for(view, id) => (Level::Service, Fault::Surge),
        Some(Source::Resource(_)) => (Level::Resource, Fault::Saturation),
        Some(Source::Performance(_)) if signal.is_some_and(|it| it.kind == Some(SymptomKind::Latency)) => {
            (Level::Service, Fault::Latency)
        }
        Some(source) if !source.complains(view) => (Level::Service, Fault::Change),
        _ => (Level::Service, Fault::Errors),
    };
    let sentence = match signal {
        Some(signal) if fault == Fault::Change => format!("{name} changed: {}.", signal.text),
        Some(signal) => format!("{name} stands out: {}.", signal.text),
        None => format!("{name} takes part in what deviates."),
    };
    Diagnosis { level, fault, operation: None, sentence, proof: Vec::new() }
}

/// `share` is the part of the node's blame that sits in this place.
fn of_blame(view: &View<'_>, kind: SymptomKind, blame: Blame, share: f64) -> Diagnosis {
    let at = blame.operation();
    let operation = &view.operations[at];
    let node = view.node_name(operation.service);
    let (level, fault, sentence) = match blame {
        Blame::Operation(_) => return of_operation(view, kind, at, share),
        Blame::Dependency(_) => return of_dependency(view, kind, at),
        Blame::Way(from, to) => of_way(view, kind, (from, to)),
        Blame::Unanswered(from, to) => of_unanswered(view, kind, (from, to)),
        Blame::GivesUp(from, to) => of_given_up(view, (from, to)),
        Blame::MoreCalls(from, to) => {
            let (before, now) = calls_ratio(view, from, to);
            let whom = whom_text(view, to);
            let text = format!("calls {whom} {} times per request, {} before", short(now), short(before));
            (
                Level::Operation,
                Fault::Latency,
                format!("{node}: {} {text}, which takes the added time.", operation.name),
            )
        }
        Blame::FewerCalls(from, to) => {
            let (before, now) = calls_ratio(view, from, to);
            let whom = whom_text(view, to);
            let text = format!("{} calls per request, {} before", short(now), short(before));
            (
                Level::Operation,
                Fault::Silence,
                format!("{node}: {} no longer calls {whom} as it did: {text}.", operation.name),
            )
        }
    };
    Diagnosis { level, fault, operation: Some(at), sentence, proof: Vec::new() }
}

/// The way from one operation to another's.
fn of_way(view: &View<'_>, kind: SymptomKind, (from, to): (usize, usize)) -> (Level, Fault, String) {
    let ends = format!("between {} and {}", place_text(view, from), place_text(view, to));
    if view.operations[to].kind == SpanKind::CONSUMER {
        let waits = waits_text(view, from, to);
        return (Level::Edge, Fault::Latency, format!("Queue: messages wait longer {ends}{waits}."));
    }
    if kind == SymptomKind::Errors {
        let text = failing_text(view, from, to);
        return (
            Level::Edge,
            Fault::Unreachable,
            format!("Network: calls are lost on the way {ends}: {text}."),
        );
    }
    let text = gap_text(view, from, to);
    (Level::Edge, Fault::Latency, format!("Network: calls spend more time on the way {ends}: {text}."))
}

/// Calls that do not arrive, or of which nothing is known there.
fn of_unanswered(view: &View<'_>, kind: SymptomKind, (from, to): (usize, usize)) -> (Level, Fault, String) {
    let operation = &view.operations[to];
    let node = view.node_name(operation.service);
    if kind == SymptomKind::Silence {
        let text = calls_text(operation);
        let caller = place_text(view, from);
        let sentence = format!(
            "{node} has fallen silent: {caller} calls it as before, but {} took {text}.",
            operation.name
        );
        return (Level::Service, Fault::Silence, sentence);
    }
    let (now, before) = view.made(from, operation.service);
    if kind == SymptomKind::Latency && excess_errors(&now, &before) < 1.0 {
        let text = format!(
            "{} take {} on average, {} before, and not all of them are seen",
            calls_to_text(view, from, to),
            time_text(now.mean_ns()),
            time_text(before.mean_ns())
        );
        return (Level::Service, Fault::Latency, format!("{node} answers late or not at all: {text}."));
    }
    let text =
        format!("{} of {} {} fail and do not arrive", now.errors, now.count, calls_to_text(view, from, to));
    (Level::Service, Fault::Unreachable, format!("{node} is unreachable: {text} at {}.", operation.name))
}

/// A caller that does not wait for who answers as well as before.
fn of_given_up(view: &View<'_>, (from, to): (usize, usize)) -> (Level, Fault, String) {
    let [caller, callee] = [from, to].map(|at| view.node_name(view.operations[at].service));
    let operation = &view.operations[to];
    let calls = given_up_text(view, from, to);
    let sentence = format!(
        "{caller} gives up before {callee} answers: {calls}; {} takes {} on average, {} before.",
        operation.name,
        time_text(operation.now.mean_ns()),
        time_text(operation.before.mean_ns())
    );
    (Level::Operation, Fault::Errors, sentence)
}

fn of_operation(view: &View<'_>, kind: SymptomKind, at: usize, share: f64) -> Diagnosis {
    let operation = &view.operations[at];
    let node = view.node_name(operation.service);
    let numbers = match kind {
        SymptomKind::Errors => errors_text(&operation.now, &operation.before),
        SymptomKind::Latency => self_text(view, at),
        SymptomKind::Silence if view.asked_queue(at).is_some() => {
            format!("hardly asks for messages, though there are some: {}", calls_text(operation))
        }
        SymptomKind::Silence => format!("took {}", calls_text(operation)),
    };
    let fault = match kind {
        SymptomKind::Errors => Fault::Errors,
        SymptomKind::Latency => Fault::Latency,
        SymptomKind::Silence => Fault::Silence,
    };
    if let Some(found) = of_seat(view, kind, at, &numbers) {
        return found;
    }
    let mut found = Diagnosis {
        level: if share < 0.6 { Level::Service } else { Level::Operation },
        fault,
        operation: Some(at),
        sentence: match kind {
            SymptomKind::Errors => format!("{node}: {} fails by itself: {numbers}.", operation.name),
            SymptomKind::Latency
                if has_grown(&operation.now, &operation.before) && view.own_growth(at) > 0.0 =>
            {
                format!("{node}: {} is slow by itself: {numbers}.", operation.name)
            }
            SymptomKind::Latency => {
                format!("{node}: {} takes part in what is slow: {numbers}.", operation.name)
            }
            SymptomKind::Silence => format!("{node}: {} has fallen silent: it {numbers}.", operation.name),
        },
        proof: Vec::new(),
    };
    if let Some(growth) = surge(view, operation).filter(|_| kind != SymptomKind::Silence) {
        found.fault = Fault::Surge;
        found.sentence = format!(
            "{node}: {} does not cope with {} times its usual traffic: {numbers}.",
            operation.name,
            short(growth)
        );
    }
    found
}

/// The version or instance in which the operation's fault sits.
fn of_seat(view: &View<'_>, kind: SymptomKind, at: usize, numbers: &str) -> Option<Diagnosis> {
    let service = view.operations[at].service;
    let node = view.node_name(service);
    let compare = |now: &Cell, others: &Cell| elsewhere_text(kind, now, others);
    let instance_proof = |resources: &[crate::model::id::ResourceId], text: &str| {
        resources
            .iter()
            .map(|resource| Proof::new(Reference::Instance { service, resource: *resource }, text.to_owned()))
            .take(3)
            .collect::<Vec<_>>()
    };
    let (level, fault, sentence, proof) = match seat_of(view, service, kind) {
        Some(Seat::Version { version, fresh, resources, now, others }) => {
            let text = compare(&now, &others);
            let new = if fresh { ", first seen just before" } else { "" };
            let sentence = format!(
                "{node}: version {version} is bad{new}: {text}; worst in {}.",
                view.operations[at].name
            );
            (Level::Version, Fault::BadVersion, sentence, instance_proof(&resources, &text))
        }
        Some(Seat::Instance { resource, instance, now, others }) => {
            let text = compare(&now, &others);
            let name = if instance.is_empty() { format!("#{}", resource.0) } else { instance };
            let sentence =
                format!("{node}: instance {name} is bad: {text}; worst in {}.", view.operations[at].name);
            (Level::Instance, Fault::BadInstance, sentence, instance_proof(&[resource], &text))
        }
        None => {
            let (version, _, resources) = rolled_out(view, service)?;
            let sentence = format!(
                "{node}: since version {version} replaced all others, {} {}: {numbers}.",
                view.operations[at].name,
                match kind {
                    SymptomKind::Latency => slow_words(&view.operations[at]),
                    _ => "fails",
                }
            );
            (Level::Version, Fault::BadVersion, sentence, instance_proof(&resources, "runs the new version"))
        }
    };
    Some(Diagnosis { level, fault, operation: Some(at), sentence, proof })
}

fn of_dependency(view: &View<'_>, kind: SymptomKind, at: usize) -> Diagnosis {
    let operation = &view.operations[at];
    let label =
        format!("{} {} ({})", operation.node_kind.name(), view.node_name(operation.service), operation.name);
    let dead =
        operation.now.count >= 5 && operation.now.error_ratio() > 0.9 && operation.before.error_ratio() < 0.5;
    let (fault, sentence) = if dead {
        let text = failures_text(view, at);
        (Fault::Unreachable, format!("The {label} is unreachable: {text}."))
    } else if kind == SymptomKind::Latency {
        let text = mean_text(&operation.now, &operation.before);
        (Fault::Latency, format!("The {label} {}: {text}.", slow_words(operation)))
    } else {
        let text = failures_text(view, at);
        (Fault::Errors, format!("The {label} fails: {text}."))
    };
    Diagnosis { level: Level::Dependency, fault, operation: Some(at), sentence, proof: Vec::new() }
}

/// What takes no longer than before is not slow, though slow requests wait for it.
fn slow_words(operation: &Operation<'_>) -> &'static str {
    if has_grown(&operation.now, &operation.before) { "is slow" } else { "takes part in what is slow" }
}

/// How many times the traffic of the operation grew, where users send that much more too.
fn surge(view: &View<'_>, operation: &Operation<'_>) -> Option<f64> {
    let growth = |now: u64, before: u64| {
        let expected = before as f64 * view.window_s / view.baseline_s.max(1e-9);
        let surprise = rate_surprise(now as f64, view.window_s, before as f64, view.baseline_s);
        (expected >= 5.0 && surprise > 6.0).then(|| now as f64 / expected)
    };
    let entries = (0..view.operations.len()).filter(|at| view.is_entry(*at)).map(|at| &view.operations[at]);
    let (now, before) =
        entries.fold((0, 0), |(now, before), it| (now + it.now.count, before + it.before.count));
    growth(now, before).filter(|growth| *growth > 1.5)?;
    growth(operation.now.count, operation.before.count).filter(|growth| *growth > 1.4)
}

fn cite(view: &View<'_>, accounts: &[Account], kind: SymptomKind, blame: Blame, diagnosis: &mut Diagnosis) {
    let at = blame.operation();
    let operation = &view.operations[at];
    let text = match kind {
        SymptomKind::Errors => failures_text(view, at),
        SymptomKind::Latency => mean_text(&operation.now, &operation.before),
        SymptomKind::Silence => calls_text(operation),
    };
    diagnosis.proof = [ends_proof(view, kind, blame), vec![Proof::new(reference_of(operation), text)]]
        .into_iter()
        .flatten()
        .chain(std::mem::take(&mut diagnosis.proof))
        .collect();
    let cited = citations(view, accounts, kind, blame);
    if let Some(citation) =
        cited.iter().find(|citation| !citation.text.is_empty()).filter(|_| kind == SymptomKind::Errors)
    {
        diagnosis.sentence.pop();
        diagnosis.sentence.push_str(&format!("; “{}”.", citation.text));
    }
    for citation in cited {
        let text = if citation.text.is_empty() { "an example".to_owned() } else { citation.text };
        diagnosis.proof.push(Proof::new(Reference::Span(citation.trace, citation.span), text));
    }
}

/// What shows that something is wrong between two operations: their calls, and those of the caller to the host that the other
/// answers for.
fn ends_proof(view: &View<'_>, kind: SymptomKind, blame: Blame) -> Vec<Proof> {
    let Some((from, to)) = blame.ends() else { return Vec::new() };
    let edge = |to: usize| Reference::Edge { from: view.operations[from].id, to: view.operations[to].id };
    let host = view.peer(from, view.operations[to].service);
    let host = host.filter(|_| kind != SymptomKind::Silence).map(|peer| {
        let text = match kind {
            SymptomKind::Errors => errors_text(&peer.now, &peer.before),
            _ => format!("as the caller counts: {}", mean_text(&peer.now, &peer.before)),
        };
        Proof::new(edge(peer.at), text)
    });
    let is_way = matches!(blame, Blame::Way(..)) && kind == SymptomKind::Latency;
    let text = match blame {
        Blame::Way(..) if is_way => {
            format!("beyond the answer callers wait {}", gap_text(view, from, to))
        }
        Blame::Way(..) | Blame::Unanswered(..) => arriving_text(view, from, to),
        Blame::GivesUp(..) => given_up_text(view, from, to),
        _ => {
            let (before, now) = calls_ratio(view, from, to);
            format!("{} calls per request, {} before", short(now), short(before))
        }
    };
    let host = host.filter(|_| matches!(blame, Blame::Way(..) | Blame::Unanswered(..)));
    std::iter::once(Proof::new(edge(to), text)).chain(host).collect()
}

/// Failing spans to cite: of the caller, to this service, where calls to it are blamed.
fn citations(view: &View<'_>, accounts: &[Account], kind: SymptomKind, blame: Blame) -> Vec<Citation> {
    let at = match blame {
        Blame::Way(from, _) | Blame::Unanswered(from, _) if kind == SymptomKind::Errors => from,
        _ => blame.operation(),
    };
    let service = view.operations[blame.operation()].service;
    let hosts = view.behind.iter().filter(|(_, behind)| **behind == service).map(|(host, _)| *host);
    let hosts: Vec<ServiceId> = if at == blame.operation() { Vec::new() } else { hosts.collect() };
    let is_meant = |it: &&Citation| hosts.is_empty() || it.peer.is_some_and(|peer| hosts.contains(&peer));
    let accounts = accounts.iter().filter(|account| account.deviation.kind == kind);
    let cited = accounts.filter_map(|account| account.citations.get(&at)).flatten();
    let mut seen = BTreeSet::new();
    let cited = cited.filter(is_meant).filter(|it| seen.insert((it.trace, it.span)));
    let cited: Vec<Citation> = cited.take(CITED_MAX).cloned().collect();
    if cited.is_empty() { first_failing(view, at, &hosts).into_iter().collect() } else { cited }
}

fn reference_of(operation: &Operation<'_>) -> Reference {
    Reference::Operation {
        id: operation.id,
        before: Summary::from(&*operation.before),
        now: Summary::from(&*operation.now),
    }
}
