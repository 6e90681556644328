//! Whether a host or a zone can be what a service suffers from: three of the questions that are asked of a node, answered by
//! how its instances do next to others of the same services.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{ResourceId, ServiceId};

use super::apart::parted;
use super::evidence::{Evidence, PlaceKind, Placed};
use super::hypothesis::{Finding, Judgement, Question, Speaks, Tested};
use super::place::{SEPARATION_MIN, by_place, tally_text};
use super::silence::reachable;
use super::view::View;

/// Separation below which a place is not what the bad instances have in common.
const SEPARATION_AGAINST: f64 = 0.3;
/// Services that are named.
const NAMES_MAX: usize = 3;

/// Tests whether the place called `name` can be what `effect` suffers from.
pub fn test(evidence: &Evidence, name: &str, effect: ServiceId) -> Tested {
    let view = View::new(evidence);
    let named = evidence.places.iter().filter(|it| it.name == name);
    let kind = named.clone().map(|it| it.kind).min().unwrap_or(PlaceKind::Host);
    let there: BTreeSet<ResourceId> = named
        .filter_map(|it| match it.of {
            Placed::Instance(resource) => Some(resource),
            Placed::Series(_) => None,
        })
        .collect();
    let running = evidence.instances.iter().filter(|it| it.now.count > 0 && there.contains(&it.resource));
    let services: BTreeSet<ServiceId> = running.map(|it| it.service).collect();
    let findings = vec![
        is_led_to(&view, &services, effect),
        deviates(&view, name, &there),
        separates(&view, (kind, name)),
    ];
    Tested { judgement: judged(&findings), findings, path: Vec::new() }
}

/// All must speak for it; one against it is enough to refute.
fn judged(findings: &[Finding]) -> Judgement {
    if findings.iter().any(|it| it.speaks == Speaks::Against) {
        Judgement::Refuted
    } else if findings.iter().all(|it| it.speaks == Speaks::For) {
        Judgement::Supported
    } else {
        Judgement::Undecided
    }
}

fn is_led_to(view: &View<'_>, services: &BTreeSet<ServiceId>, effect: ServiceId) -> Finding {
    let within = reachable(&view.callees_by_service(), effect);
    let found: Vec<&str> = services.intersection(&within).map(|it| view.node_name(*it)).collect();
    let sufferer = view.node_name(effect);
    let (speaks, text) = if services.is_empty() {
        (Speaks::Neither, "no instance there took a request in the window".to_owned())
    } else if found.is_empty() {
        (Speaks::Against, format!("neither {sufferer} nor whom it calls has an instance there"))
    } else {
        let shown = found[..found.len().min(NAMES_MAX)].join(", ");
        let more = found.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (Speaks::For, format!("of {sufferer} and whom it calls, instances of {shown}{more} are there"))
    };
    Finding { question: Question::Path, speaks, value: None, text }
}

fn deviates(view: &View<'_>, name: &str, there: &BTreeSet<ResourceId>) -> Finding {
    let parted = parted(view);
    let worst = parted.iter().flat_map(|part| part.worse.iter().map(move |it| (part.service, it)));
    let mut worst = worst.filter(|(_, it)| there.contains(&it.instance.resource));
    // Who has nobody to be compared with tells neither way.
    let asked = || view.evidence.instances.iter().filter(|it| it.now.count > 0);
    let mut by_service: BTreeMap<ServiceId, usize> = BTreeMap::new();
    asked().for_each(|it| *by_service.entry(it.service).or_default() += 1);
    let is_beside_others = |service: &ServiceId| by_service.get(service).is_some_and(|count| *count > 1);
    let here = asked().filter(|it| there.contains(&it.resource));
    let compared = here.filter(|it| is_beside_others(&it.service)).count();
    let (speaks, text) = match worst.next() {
        Some((service, it)) => (Speaks::For, format!("{}: {}", view.node_name(service), it.text)),
        None if compared == 0 => {
            (Speaks::Neither, format!("no service has instances on {name} and elsewhere"))
        }
        None => (Speaks::Against, "its instances do as well as others of the same services".to_owned()),
    };
    Finding { question: Question::Deviation, speaks, value: None, text }
}

/// Whether the bad instances are there and the healthy ones are not.
fn separates(view: &View<'_>, name: (PlaceKind, &str)) -> Finding {
    let found = |speaks, value, text| Finding { question: Question::Own, speaks, value, text };
    let parted = parted(view);
    let all: usize = parted.iter().map(|it| it.worse.len()).sum();
    let places = by_place(view, &parted);
    let here = places.get(&name).filter(|here| !here.worse.is_empty());
    let Some(here) = here else {
        return found(Speaks::Neither, None, "none of its instances is worse than others".to_owned());
    };
    let separation = here.separation(all);
    let speaks = match separation {
        _ if separation >= SEPARATION_MIN => Speaks::For,
        _ if separation < SEPARATION_AGAINST => Speaks::Against,
        _ => Speaks::Neither,
    };
    found(speaks, Some(separation), tally_text(name.0, here, &parted))
}
