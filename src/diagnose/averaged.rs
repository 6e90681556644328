//! One verdict from several, where it is not certain when trouble began.
//!
//! Each verdict explains the window from another onset. How sure a cause is, is the mean of how sure it is from each,
//! weighed by how much speaks for that onset (Bayesian model averaging: Hoeting et al., "Bayesian Model Averaging: A
//! Tutorial", Statistical Science 14, 1999). A cause that stands out from whatever onset is then ahead of one that a
//! lucky cut brought up.

use std::collections::BTreeMap;

use crate::model::id::ServiceId;

use super::place::place_of;
use super::rank::{CLEAR, outcome_by};
use super::verdict::{Cause, Outcome, Verdict};

/// The average of `verdicts` (each with its weight, above 0), and the position of the one that makes most of its first
/// cause; none of none.
pub fn averaged(mut verdicts: Vec<(f64, Verdict)>) -> Option<(usize, Verdict)> {
    if verdicts.len() < 2 {
        return verdicts.pop().map(|(_, only)| (0, only));
    }
    let all: f64 = verdicts.iter().map(|(weight, _)| weight).sum();
    let leads = leads(&verdicts);
    let node = |cause: &Cause| place_of(cause).and_then(|place| leads.get(place)).copied();
    let mut sure: BTreeMap<ServiceId, f64> = BTreeMap::new();
    let mut told: BTreeMap<ServiceId, (f64, usize, usize)> = BTreeMap::new();
    for (at, (weight, verdict)) in verdicts.iter().enumerate() {
        for (rank, cause) in verdict.causes.iter().enumerate() {
            let part = weight / all * cause.confidence;
            let node = node(cause).unwrap_or(cause.service);
            *sure.entry(node).or_default() += part;
            let best = told.entry(node).or_insert((part, at, rank));
            if part > best.0 {
                *best = (part, at, rank);
            }
        }
    }
    let told = told.into_iter().map(|(service, (_, at, rank))| (sure[&service], at, rank));
    let mut order: Vec<(f64, usize, usize)> = told.collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
    let base = order.first().map_or(0, |(_, at, _)| *at);
    let most = verdicts.iter().map(|(_, verdict)| verdict.causes.len()).max().unwrap_or(0);
    let told = |(confidence, at, rank): &(f64, usize, usize)| Cause {
        confidence: *confidence,
        ..verdicts[*at].1.causes[*rank].clone()
    };
    let causes: Vec<Cause> = order.iter().take(most).map(told).collect();
    let mut verdict = verdicts.swap_remove(base).1;
    let confidence = |rank: usize| causes.get(rank).map_or(0.0, |cause| cause.confidence);
    let is_clear = verdict.outcome == Outcome::CauseFound && confidence(0) >= CLEAR * confidence(1);
    verdict.outcome = outcome_by(confidence(0), is_clear);
    verdict.ruled_out.retain(|out| causes.iter().all(|cause| cause.service != out.service));
    verdict.causes = causes;
    Some((base, verdict))
}

/// The service that stands for each place: the one that does so in the verdict that is surest of it. From another onset
/// another one may, and the place is the same.
fn leads(verdicts: &[(f64, Verdict)]) -> BTreeMap<String, ServiceId> {
    let mut surest: BTreeMap<String, (f64, ServiceId)> = BTreeMap::new();
    for (weight, verdict) in verdicts {
        for cause in &verdict.causes {
            let Some(place) = place_of(cause) else { continue };
            let part = weight * cause.confidence;
            let known = surest.entry(place.to_owned()).or_insert((part, cause.service));
            if part > known.0 {
                *known = (part, cause.service);
            }
        }
    }
    surest.into_iter().map(|(place, (_, service))| (place, service)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::verdict::{Fault, Level};

    fn verdict(outcome: Outcome, causes: &[(u32, f64)]) -> Verdict {
        let cause = |(service, confidence): &(u32, f64)| Cause {
            service: ServiceId(*service),
            operation: None,
            level: Level::Service,
            fault: Fault::Errors,
            sentence: format!("{service} at {confidence}"),
            confidence: *confidence,
            onset: None,
            path: Vec::new(),
            proof: Vec::new(),
        };
        let causes = causes.iter().map(cause).collect();
        Verdict { outcome, symptom: None, causes, changes: vec![], ruled_out: vec![], coverage: vec![] }
    }

    #[test]
    fn what_stands_out_from_every_onset_is_ahead_of_what_one_brought_up() {
        let lucky = verdict(Outcome::Candidates, &[(1, 0.7), (2, 0.6)]);
        let other = verdict(Outcome::Candidates, &[(2, 0.5), (3, 0.2)]);
        let (base, averaged) = averaged(vec![(1.0, lucky), (1.0, other)]).unwrap();
        let told: Vec<(u32, f64)> =
            averaged.causes.iter().map(|cause| (cause.service.0, cause.confidence)).collect();
        assert_eq!((base, told), (0, vec![(2, 0.55), (1, 0.35)]));
        assert_eq!(averaged.causes[0].sentence, "2 at 0.6", "told by the onset from which it is surest");
        assert_eq!(averaged.outcome, Outcome::Candidates);
    }

    #[test]
    fn one_verdict_stays_and_weak_ones_weaken() {
        assert_eq!(averaged(Vec::new()), None);
        let only = verdict(Outcome::CauseFound, &[(1, 0.9)]);
        assert_eq!(averaged(vec![(0.5, only.clone())]), Some((0, only.clone())));
        let nothing = verdict(Outcome::InsufficientEvidence, &[]);
        let (base, weakened) = averaged(vec![(1.0, nothing), (1.0, only.clone())]).unwrap();
        assert_eq!((base, weakened.outcome, weakened.causes[0].confidence), (1, Outcome::Candidates, 0.45));
        let close = verdict(Outcome::CauseFound, &[(2, 0.95), (1, 0.85)]);
        let (_, both) = averaged(vec![(1.0, only), (1.0, close)]).unwrap();
        assert_eq!((both.causes[0].service, both.outcome), (ServiceId(1), Outcome::CauseFound));
    }

    #[test]
    fn a_place_is_one_cause_whoever_stands_for_it() {
        let mut verdicts = [&[(1, 0.8), (3, 0.1)], &[(2, 0.6), (3, 0.1)]]
            .map(|causes| (1.0, verdict(Outcome::Candidates, causes)));
        for (_, verdict) in &mut verdicts {
            verdict.causes[0].level = Level::Host;
            verdict.causes[0].sentence = "Host node-3: 4 of 4 bad instances run on it.".to_owned();
        }
        let (_, averaged) = averaged(verdicts.to_vec()).unwrap();
        let told: Vec<(u32, f64)> =
            averaged.causes.iter().map(|cause| (cause.service.0, cause.confidence)).collect();
        assert_eq!(told, [(1, 0.7), (3, 0.1)]);
    }
}
