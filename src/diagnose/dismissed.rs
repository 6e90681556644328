//! Who is no cause though it deviates, and why.

use std::collections::BTreeMap;

use crate::model::id::ServiceId;

use super::rank::Account;
use super::symptom::deviates;
use super::verdict::{RuledOut, SymptomKind};
use super::view::View;

/// Nodes that deviate, or that blame passed through, and that are no causes.
pub(super) fn dismissed(
    view: &View<'_>,
    accounts: &[Account],
    named: &[ServiceId],
    target: Option<ServiceId>,
    max: usize,
) -> Vec<RuledOut> {
    let mut found: BTreeMap<ServiceId, (f64, String)> = BTreeMap::new();
    for account in accounts {
        let noun = match account.deviation.kind {
            SymptomKind::Errors => "failures",
            SymptomKind::Latency => "added time",
            SymptomKind::Silence => "missing calls",
        };
        for (service, targets) in &account.ledger.passed {
            let reached = account.ledger.reached.get(service).copied().unwrap_or(0.0);
            let (to, share) = match targets.iter().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a))) {
                Some((to, share)) if reached > 0.01 => (*to, *share / reached),
                _ => continue,
            };
            let weight = reached * account.weight;
            if share > 0.5 && found.get(service).is_none_or(|(known, _)| weight > *known) {
                let percent = (100.0 * share).min(100.0).round();
                let text =
                    format!("{percent:.0} % of its {noun} come from {}, which it calls.", view.node_name(to));
                found.insert(*service, (weight, text));
            }
        }
    }
    for (at, operation) in view.operations.iter().enumerate() {
        if target.is_none() || found.contains_key(&operation.service) {
            continue;
        }
        if [SymptomKind::Errors, SymptomKind::Latency].iter().any(|kind| deviates(view, *kind, at)) {
            let text = format!("{} deviates, but explains nothing of the symptom.", operation.name);
            found.insert(operation.service, (0.0, text));
        }
    }
    let mut list: Vec<(ServiceId, (f64, String))> =
        found.into_iter().filter(|(service, _)| !named.contains(service)).collect();
    list.sort_by(|a, b| {
        b.1.0.total_cmp(&a.1.0).then_with(|| view.node_name(a.0).cmp(view.node_name(b.0))).then(a.0.cmp(&b.0))
    });
    list.into_iter().take(max).map(|(service, (_, reason))| RuledOut { service, reason }).collect()
}
