//! Which change may have brought about what is wrong.
//!
//! Each change is judged by three things: whether it touches a service that is suspected, how long before the trouble it came
//! into effect, and whether it speaks of what the evidence speaks of. A revision comes into effect with the deployment that
//! carries it.
//!
//! ```text
//! score = place · (0.4 · 1 / (1 + age / 30 min) + 0.6 · common / (common + 1)) · (0.3 where no program changes)
//! ```
//!
//! `place` is the suspicion of the service next to the first one's, and 0.4 of the first one's where the change names no
//! suspect; a change after the trouble began counts a fifth. `common` adds, for each word that change and evidence share, one
//! divided by the number of changes that have it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::id::ServiceId;
use crate::model::time::UnixNanos;

use super::evidence::ChangeEvidence;
use super::message::cut;
use super::stats::saturate;
use super::verdict::{Cause, RankedChange, Reference};
use super::view::View;

/// How old a change is that counts half.
const AGE_HALF: Duration = Duration::from_secs(30 * 60);
/// How long after the first signs a change may come into effect, for clocks and buckets are coarse.
const SLACK: Duration = Duration::from_secs(60);
/// What a change counts that came after the trouble.
const AFTERWARDS: f64 = 0.2;
/// What a change counts that touches no suspect: what services share may still be to blame.
const ELSEWHERE: f64 = 0.4;
/// Parts of the score for when it came and for what it speaks of.
const PARTS: (f64, f64) = (0.4, 0.6);
/// What a change counts that says that it changes no program (types of Conventional Commits).
const HARMLESS: f64 = 0.3;
/// Words that say so.
const HARMLESS_TYPES: [&str; 4] = ["docs", "style", "test", "ci"];
/// Characters of the shortest word that tells something.
const WORD_MIN: usize = 4;
/// Changes that are named at most.
const CHANGES_MAX: usize = 10;
/// Changes with a smaller score are not worth naming.
const SCORE_MIN: f64 = 0.05;
/// Characters of a change's text that are shown.
const SHOWN_MAX: usize = 120;

/// The changes that may have brought about `causes`, which show from `onset` on; the most probable first.
pub(super) fn ranked(view: &View<'_>, causes: &[Cause], onset: UnixNanos) -> Vec<RankedChange> {
    let changes = &view.evidence.changes;
    let Some(first) = causes.first().filter(|_| !changes.is_empty()) else { return Vec::new() };
    let suspicion = suspicion(view, causes);
    let texts: Vec<String> = changes.iter().map(spoken).collect();
    let words: Vec<BTreeSet<String>> = texts.iter().map(|text| words_of(text)).collect();
    let mut having: BTreeMap<&str, usize> = BTreeMap::new();
    words.iter().flatten().for_each(|word| *having.entry(word).or_default() += 1);
    let told = told(view, first);
    let carried = carried(changes);
    let mut found: Vec<RankedChange> = Vec::new();
    for ((change, text), words) in changes.iter().zip(&texts).zip(&words) {
        let deployment = carried.get(revision(change).unwrap_or_default()).filter(|_| !is_deployment(change));
        let (at, service) = deployment.copied().unwrap_or((change.at, change.service));
        let common: Vec<&str> =
            words.iter().map(String::as_str).filter(|word| told.contains(*word)).collect();
        let weight: f64 = common.iter().map(|word| 1.0 / having[word] as f64).sum();
        let place = place(view, &suspicion, service, text);
        let age = onset.0.saturating_sub(at.0) as f64 / AGE_HALF.as_nanos() as f64;
        let time = if at <= onset.plus(SLACK) { 1.0 / (1.0 + age.max(0.0)) } else { AFTERWARDS };
        let harmless = if is_harmless(&change.text) { HARMLESS } else { 1.0 };
        let score = place * (PARTS.0 * time + PARTS.1 * saturate(weight, 1.0)) * harmless;
        if score >= SCORE_MIN {
            found.push(RankedChange {
                at: change.at,
                service: service.filter(|service| view.nodes.contains_key(service)),
                kind: change.kind.clone(),
                text: cut(&change.text, SHOWN_MAX),
                revision: change.revision.clone(),
                score,
                reason: reason(at, onset, &common, deployment.is_some()),
            });
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.at.cmp(&a.at)).then(a.text.cmp(&b.text)));
    // A deployment and the commit that it carries are one change.
    let mut seen = BTreeSet::new();
    found.retain(|change| change.revision.is_empty() || seen.insert(change.revision.clone()));
    found.truncate(CHANGES_MAX);
    found
}

/// Each suspect's confidence next to the first one's.
fn suspicion(view: &View<'_>, causes: &[Cause]) -> BTreeMap<ServiceId, f64> {
    let most = causes.first().map_or(1.0, |cause| cause.confidence).max(1e-9);
    let known = causes.iter().filter(|cause| view.nodes.contains_key(&cause.service));
    known.map(|cause| (cause.service, (cause.confidence / most).min(1.0).sqrt())).collect()
}

/// How suspicious the place of a change is: by its service, or by the suspects that it names.
fn place(
    view: &View<'_>,
    suspicion: &BTreeMap<ServiceId, f64>,
    service: Option<ServiceId>,
    spoken: &str,
) -> f64 {
    let own = service.and_then(|service| suspicion.get(&service)).copied().unwrap_or(0.0);
    let spoken = spoken.to_ascii_lowercase();
    let named = suspicion
        .iter()
        .filter(|(service, _)| {
            let name = view.node_name(**service).to_ascii_lowercase();
            let stem = name.trim_end_matches("service").trim_end_matches(['-', '_', '.']);
            stem.len() >= WORD_MIN && spoken.contains(stem)
        })
        .map(|(_, suspicion)| *suspicion)
        .fold(0.0, f64::max);
    own.max(named).max(ELSEWHERE)
}

/// When and where revisions were deployed, the first time.
fn carried(changes: &[ChangeEvidence]) -> BTreeMap<&str, (UnixNanos, Option<ServiceId>)> {
    let mut carried = BTreeMap::new();
    let mut deployments: Vec<_> = changes.iter().filter(|change| is_deployment(change)).collect();
    deployments.sort_by_key(|change| change.at);
    for change in deployments {
        if let Some(revision) = revision(change) {
            carried.entry(revision).or_insert((change.at, change.service));
        }
    }
    carried
}

fn is_deployment(change: &ChangeEvidence) -> bool {
    change.kind.starts_with("deployment") || change.kind == "release" || change.kind == "rollout"
}

fn revision(change: &ChangeEvidence) -> Option<&str> {
    Some(change.revision.as_str()).filter(|revision| !revision.is_empty())
}

/// What a change speaks of: what its attributes are called says nothing.
fn spoken(change: &ChangeEvidence) -> String {
    let is_key = |key: &str| {
        key.contains('.') && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let parts = change.text.split(", ").map(|part| match part.split_once('=') {
        Some((key, value)) if is_key(key) => value,
        _ => part,
    });
    let parts: Vec<&str> = parts.chain([change.files.as_str()]).collect();
    parts.join(" ")
}

fn is_harmless(text: &str) -> bool {
    let kind = text.split([':', '(', '!']).next().unwrap_or_default().trim().to_ascii_lowercase();
    HARMLESS_TYPES.contains(&kind.as_str())
}

/// The words of what shows the first cause, and of the log patterns of its service that are new.
fn told(view: &View<'_>, first: &Cause) -> BTreeSet<String> {
    let mut text = String::new();
    // A change does not speak for itself.
    for proof in first.proof.iter().filter(|proof| !matches!(proof.reference, Reference::Change(_))) {
        // Of a pattern what was logged, of a series what is measured: how much is said in words of our own.
        let evidence = view.evidence;
        let own = match proof.reference {
            Reference::Template(id) => evidence.templates.iter().find(|it| it.id == id).map(|it| &it.text),
            Reference::Series(id) => evidence.series.iter().find(|it| it.id == id).map(|it| &it.name),
            _ => None,
        };
        text.push(' ');
        text.push_str(own.unwrap_or(&proof.text));
    }
    let fresh = |count: u64, before: u64| count >= 3 && before * 5 <= count;
    for template in view.evidence.templates.iter().filter(|it| it.service == first.service) {
        if fresh(template.now, template.before) {
            text.push(' ');
            text.push_str(&template.text);
        }
    }
    let service = words_of(view.node_name(first.service));
    words_of(&text).into_iter().filter(|word| !service.contains(word)).collect()
}

/// Words in lower case, compound ones in parts, the plural as the singular.
fn words_of(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in text.chars().chain([' ']) {
        if !c.is_ascii_alphabetic() || was_lower && c.is_ascii_uppercase() {
            let found = word.trim_end_matches('s').to_ascii_lowercase();
            if found.len() >= WORD_MIN {
                words.insert(found);
            }
            word.clear();
        }
        if c.is_ascii_alphabetic() {
            word.push(c);
        }
        was_lower = c.is_ascii_lowercase();
    }
    words
}

fn reason(at: UnixNanos, onset: UnixNanos, common: &[&str], deployed: bool) -> String {
    let minutes = (onset.0 - at.0) as f64 / 6e10;
    let what = if deployed { "deployed" } else { "made" };
    // An onset is known as the minute, or part of one, in which it lies.
    let when = if at > onset.plus(SLACK) {
        format!("{what} {:.0} min after the trouble began", -minutes)
    } else if minutes < 0.5 {
        format!("{what} in the minute in which the trouble began")
    } else {
        format!("{what} {minutes:.0} min before the trouble began")
    };
    let shared: Vec<&str> = common.iter().copied().take(5).collect();
    if shared.is_empty() {
        when
    } else {
        format!("{when}; it and the evidence speak of {}", shared.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_apart() {
        let words: Vec<String> = words_of("pkg/db/CasRetryPolicy.go: lowers maxConns").into_iter().collect();
        assert_eq!(words, ["conn", "lower", "policy", "retry"]);
    }

    #[test]
    fn a_change_in_the_minute_of_the_onset_is_not_told_to_be_late() {
        let onset = UnixNanos::from_seconds(6_000);
        for (second, wanted) in [
            (5_700, "made 5 min before the trouble began"),
            (5_990, "made in the minute in which the trouble began"),
            (6_059, "made in the minute in which the trouble began"),
            (6_120, "made 2 min after the trouble began"),
        ] {
            assert_eq!(reason(UnixNanos::from_seconds(second), onset, &[], false), wanted);
        }
    }

    #[test]
    fn keys_of_attributes_are_not_spoken_of() {
        let change = ChangeEvidence {
            at: UnixNanos(0),
            service: None,
            kind: "config.change".to_owned(),
            text: "config applied, config.new=timeout=22ms, a.b c=d".to_owned(),
            revision: String::new(),
            files: "fare.toml".to_owned(),
        };
        assert_eq!(spoken(&change), "config applied timeout=22ms a.b c=d fare.toml");
    }

    #[test]
    fn a_type_says_that_nothing_changes() {
        assert!(is_harmless("test: golden files") && is_harmless("ci(lint): pin") && is_harmless("docs!: x"));
        assert!(!is_harmless("refactor: tidy") && !is_harmless("Lower the limit"));
    }
}
