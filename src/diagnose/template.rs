//! Log patterns that are new, more frequent, or gone.
//!
//! Records are counted against the requests that the service took in the same time, so that a service that is called
//! less, or a window that was recorded less completely, does not look silent.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::log::Severity;
use crate::model::node::NodeKind;

use super::evidence::TemplateEvidence;
use super::message::{cut, is_unreachable};
use super::signal::{OneKind, Signal, Source, keep_strongest, short};
use super::spoken::Names;
use super::stats::{error_surprise, rate_surprise, saturate};
use super::view::{Operation, View};

/// Standard deviations that a growing pattern must leave behind.
const GROWN_MIN: f64 = 4.0;
/// Standard deviations that a ceasing pattern must leave behind.
const CEASED_MIN: f64 = 4.0;
/// Records that a ceasing pattern must have been expected to have.
const EXPECTED_MIN: f64 = 8.0;
/// Requests of the baseline that a service's own traffic must rest on to be counted against.
const REQUESTS_MIN: u64 = 20;

/// What a pattern is worth that says that others do not answer, where spans tell the same.
const OF_OTHERS: f64 = 0.3;

/// The strongest pattern of each service.
pub(super) fn signals(view: &View<'_>) -> OneKind {
    let mut found = BTreeMap::new();
    if view.baseline_s <= 0.0 {
        return found;
    }
    let requests = requests_by_service(view);
    let by_operation = requests_by_operation(view);
    let (told, names) = (calling_in_vain(view), Names::new(view));
    let everything = requests.values().fold((0, 0), |(now, before), it| (now + it.0, before + it.1));
    let templates = view.evidence.templates.iter();
    for template in templates.filter(|template| view.nodes.contains_key(&template.service)) {
        let enough = |it: &(u64, u64)| it.1 >= REQUESTS_MIN;
        let own = requests.get(&template.service).copied().filter(enough);
        let exposure = match own.or(Some(everything).filter(enough)) {
            Some((now, before)) => (now as f64, before as f64),
            None => (view.window_s, view.baseline_s),
        };
        let of_service = by_operation.get(&template.service).map_or(&[][..], Vec::as_slice);
        let Some((mut strength, mut text)) = strength(view, template, exposure, of_service) else { continue };
        if told.contains(&template.service) && is_unreachable(&template.text) {
            strength *= OF_OTHERS;
        }
        let grows = template.now as f64 * exposure.1 > template.before as f64 * exposure.0;
        let complains = grows && (template.severity >= Severity::WARN || is_unreachable(&template.text));
        let other = names.other_in(&template.text, template.service).filter(|_| complains);
        if other.is_some() {
            text = format!("{} has {text}", view.node_name(template.service));
        }
        let source = Source::Template(template.id);
        let signal = Signal { strength, source, kind: None, slower_s: None, levels: (0.0, 0.0), text };
        keep_strongest(&mut found, other.unwrap_or(template.service), signal);
    }
    found
}

/// Services whose spans show that calls of theirs fail as they did not before.
fn calling_in_vain(view: &View<'_>) -> BTreeSet<ServiceId> {
    let fails = |it: &&Operation<'_>| it.kind.is_outbound() && error_surprise(&it.now, &it.before) > 3.0;
    view.operations.iter().filter(fails).map(|operation| operation.service).collect()
}

/// Requests that each service took in the window and in the baseline.
fn requests_by_service(view: &View<'_>) -> BTreeMap<ServiceId, (u64, u64)> {
    let mut requests: BTreeMap<ServiceId, (u64, u64)> = BTreeMap::new();
    for (at, operation) in view.operations.iter().enumerate() {
        if operation.node_kind == NodeKind::Service && (operation.kind.is_inbound() || view.is_entry(at)) {
            let known = requests.entry(operation.service).or_default();
            known.0 += operation.now.count;
            known.1 += operation.before.count;
        }
    }
    requests
}

/// Requests that each operation took in the window and in the baseline, by service.
fn requests_by_operation(view: &View<'_>) -> BTreeMap<ServiceId, Vec<(f64, f64)>> {
    let mut found: BTreeMap<ServiceId, Vec<(f64, f64)>> = BTreeMap::new();
    for (at, operation) in view.operations.iter().enumerate() {
        if operation.node_kind == NodeKind::Service && (operation.kind.is_inbound() || view.is_entry(at)) {
            let counts = (operation.now.count as f64, operation.before.count as f64);
            found.entry(operation.service).or_default().push(counts);
        }
    }
    found
}

/// The surprise that is left when the pattern is counted against the operation that explains it best: of those that were
/// called at least half as often as it was logged.
fn least_surprise(template: &TemplateEvidence, exposure: (f64, f64), operations: &[(f64, f64)]) -> f64 {
    let (now, before) = (template.now as f64, template.before as f64);
    let whole = rate_surprise(now, exposure.0, before, exposure.1);
    let logged = now.max(before);
    let likely = operations.iter().filter(|it| 2.0 * (it.0 + it.1) >= logged && it.1 > 0.0 && it.0 > 0.0);
    likely
        .map(|it| rate_surprise(now, it.0, before, it.1))
        .filter(|surprise| surprise.signum() == whole.signum() || surprise.abs() < whole.abs())
        .fold(whole, |least, surprise| if surprise.abs() < least.abs() { surprise } else { least })
}

/// How suspicious the pattern is after so many requests now and before, and why.
fn strength(
    view: &View<'_>,
    template: &TemplateEvidence,
    exposure: (f64, f64),
    operations: &[(f64, f64)],
) -> Option<(f64, String)> {
    let (now, before) = (template.now as f64, template.before as f64);
    let surprise = least_surprise(template, exposure, operations);
    let fresh = template.before == 0 && template.first_seen >= view.evidence.baseline?.from;
    let weight = match template.severity {
        severity if severity >= Severity::ERROR => 1.0,
        severity if severity >= Severity::WARN => 0.6,
        _ => 0.2,
    };
    let quote = cut(&template.text, 100);
    // Windows are seldom of one length, and counts of unequal times say nothing side by side.
    let expected = before * exposure.0 / exposure.1;
    if surprise > GROWN_MIN {
        let word = if fresh { "new log pattern" } else { "log pattern" };
        let usual = match template.before {
            0 => "where there were none before".to_owned(),
            _ if expected < 10.0 => format!("where {} were expected", short(expected)),
            _ => format!("where {expected:.0} were expected"),
        };
        let text = format!("{word} “{quote}”: {} records {usual}", template.now);
        let grown = saturate(surprise - GROWN_MIN + 1.0, 4.0);
        return Some((grown * weight * if fresh { 1.0 } else { 0.7 }, text));
    }
    if surprise < -CEASED_MIN && expected >= EXPECTED_MIN && now < 0.1 * expected {
        let text = format!(
            "log pattern “{quote}” ceased: {} records where {expected:.0} were expected",
            template.now
        );
        return Some((0.6 * saturate(-surprise - CEASED_MIN + 1.0, 4.0), text));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::diagnose::evidence::Evidence;
    use crate::model::id::TemplateId;
    use crate::model::time::{UnixNanos, Window};

    use super::*;

    #[test]
    fn counts_of_unequal_times_are_told_as_what_was_expected() {
        let at = UnixNanos::from_seconds;
        let mut evidence = Evidence::empty(Window::new(at(1_680), at(1_800)));
        evidence.baseline = Some(Window::new(at(0), at(1_680)));
        let view = View::new(&evidence);
        let said = |now, before| {
            let template = TemplateEvidence {
                id: TemplateId(1),
                service: ServiceId(1),
                severity: Severity::ERROR,
                text: "refused".to_owned(),
                first_seen: at(-100),
                now,
                before,
            };
            strength(&view, &template, (120.0, 1_680.0), &[]).map(|(_, text)| text)
        };
        let text = "log pattern “refused”: 900 records where 275 were expected";
        assert_eq!(said(900, 3_855).as_deref(), Some(text));
        assert_eq!(said(331, 3_855).as_deref(), None, "no more than expected");
        let text = "log pattern “refused”: 90 records where there were none before";
        assert_eq!(said(90, 0).as_deref(), Some(text));
    }
}
