//! Operations that are called once or twice each because their names hold what is asked for, such as an id: no statistics tell
//! of one of them, and of all of them together they do.
//!
//! Those of one service and kind are taken for one operation where their names are the same but for the words that hold a digit.
//! What is left is taken together where hardly any name comes again: then it says nothing which of them is called. Rare
//! operations that a service has once and for all stay apart, for another mix of them is no trouble.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::id::{OperationId, ServiceId};
use crate::model::rollup::{Cell, Subject};
use crate::model::span::SpanKind;

use super::evidence::{EdgeEvidence, Evidence, OperationEvidence, Slice, Step, StepEvidence};
use super::stats::LATENCY_COUNT_MIN;

/// Operations of names that differ in digits alone that must be there for the digits to be ids, and not versions.
const SHAPED_MIN: usize = 5;
/// Names that there must be for it to tell something that they do not come again.
const NAMES_MIN: usize = 20;
/// Part of them that must be seen in one of the two windows alone.
const ONCE_PART: f64 = 0.8;

/// For each operation that is one of several the one that stands for them.
type Heads = BTreeMap<OperationId, OperationId>;

/// The evidence with such operations taken for one, that of them that is called most in the window; none where there are none.
pub(super) fn together(evidence: &Evidence) -> Option<Evidence> {
    let mut heads = Heads::new();
    let mut operations = Vec::new();
    for (name, members) in groups(evidence) {
        let most = members.iter().max_by_key(|it| (it.now.count, it.before.count, Reverse(it.id)));
        let Some(&&OperationEvidence { id, service, kind, .. }) = most else { continue };
        let (mut now, mut before) = (Cell::default(), Cell::default());
        for member in members {
            now.merge(&member.now);
            before.merge(&member.before);
            heads.insert(member.id, id);
        }
        operations.push(OperationEvidence { id, service, name, kind, now, before });
    }
    if heads.is_empty() {
        return None;
    }
    operations.extend(evidence.operations.iter().filter(|it| !heads.contains_key(&it.id)).cloned());
    let mut traces = evidence.traces.clone();
    for span in traces.iter_mut().flat_map(|trace| &mut trace.spans) {
        span.operation = head_of(&heads, span.operation);
    }
    Some(Evidence {
        window: evidence.window,
        baseline: evidence.baseline,
        nodes: evidence.nodes.clone(),
        operations,
        edges: edges(&heads, &evidence.edges),
        instances: evidence.instances.clone(),
        templates: evidence.templates.clone(),
        series: evidence.series.clone(),
        unread_series: evidence.unread_series,
        unread_metrics: evidence.unread_metrics,
        places: evidence.places.clone(),
        steps: evidence.steps.iter().map(|step| step_of(&heads, step)).collect(),
        calls: evidence.calls.clone(),
        changes: evidence.changes.clone(),
        traces,
        timeline: timeline(&heads, &evidence.timeline),
    })
}

/// The operations that are taken for one, with what they are called.
fn groups(evidence: &Evidence) -> Vec<(String, Vec<&OperationEvidence>)> {
    let between = evidence.edges.iter().filter(|edge| edge.from != edge.to);
    let called: BTreeSet<OperationId> = between.map(|edge| edge.to).collect();
    let mut alike: BTreeMap<(ServiceId, SpanKind, bool, String), Vec<&OperationEvidence>> = BTreeMap::new();
    // What is counted by its callers alone may be called often.
    let counted = evidence.operations.iter().filter(|it| it.now.count + it.before.count > 0);
    for operation in counted.filter(|it| is_rare(&[*it])) {
        let shape = shape_of(&operation.name);
        // Who is called by users shows what they notice.
        let key = (operation.service, operation.kind, called.contains(&operation.id), shape);
        alike.entry(key).or_default().push(operation);
    }
    let mut groups = Vec::new();
    let mut others: BTreeMap<(ServiceId, SpanKind, bool), Vec<&OperationEvidence>> = BTreeMap::new();
    for ((service, kind, is_called, shape), members) in alike {
        let is_telling = shape.contains(char::is_alphabetic);
        if is_telling && members.len() >= SHAPED_MIN && !is_rare(&members) {
            groups.push((shape, members));
        } else {
            others.entry((service, kind, is_called)).or_default().extend(members);
        }
    }
    for members in others.into_values().filter(|members| !is_rare(members) && are_passing(members)) {
        groups.push((format!("{} operations that are rarely called", members.len()), members));
    }
    groups
}

/// Whether too few calls are known of operations for their latency to be judged, in the window and in the baseline.
fn is_rare(operations: &[&OperationEvidence]) -> bool {
    let now: u64 = operations.iter().map(|it| it.now.count).sum();
    let before: u64 = operations.iter().map(|it| it.before.count).sum();
    now.max(before) < LATENCY_COUNT_MIN
}

/// Whether hardly any of their names comes again.
fn are_passing(operations: &[&OperationEvidence]) -> bool {
    let once = operations.iter().filter(|it| it.now.count == 0 || it.before.count == 0).count();
    operations.len() >= NAMES_MIN && once as f64 >= ONCE_PART * operations.len() as f64
}

/// A name without the words that hold a digit.
fn shape_of(name: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let (mut shape, mut rest) = (String::new(), name);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| is_of_word(c) != is_of_word(first)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let is_value = is_of_word(first) && part.contains(|c: char| c.is_ascii_digit());
        shape.push_str(if is_value { "*" } else { part });
        rest = after;
    }
    shape
}

fn head_of(heads: &Heads, id: OperationId) -> OperationId {
    heads.get(&id).copied().unwrap_or(id)
}

fn step_of(heads: &Heads, step: &StepEvidence) -> StepEvidence {
    let of = |step: Step| match step {
        Step::Call(id) => Step::Call(head_of(heads, id)),
        Step::Begin | Step::Log(_) | Step::End => step,
    };
    StepEvidence {
        operation: head_of(heads, step.operation),
        after: of(step.after),
        then: of(step.then),
        ..*step
    }
}

/// Calls between those that are left.
fn edges(heads: &Heads, edges: &[EdgeEvidence]) -> Vec<EdgeEvidence> {
    let mut kept = Vec::new();
    let mut joined: BTreeMap<(OperationId, OperationId), (Cell, Cell)> = BTreeMap::new();
    for edge in edges {
        if !heads.contains_key(&edge.from) && !heads.contains_key(&edge.to) {
            kept.push(edge.clone());
            continue;
        }
        let ends = (head_of(heads, edge.from), head_of(heads, edge.to));
        let (now, before) = joined.entry(ends).or_default();
        now.merge(&edge.now);
        before.merge(&edge.before);
    }
    kept.extend(joined.into_iter().map(|((from, to), (now, before))| EdgeEvidence { from, to, now, before }));
    kept
}

/// What was counted of those that are left, bucket by bucket.
fn timeline(heads: &Heads, slices: &[Slice]) -> Arc<[Slice]> {
    let mut kept = Vec::new();
    let mut joined: BTreeMap<(OperationId, i64, i64), Slice> = BTreeMap::new();
    for slice in slices {
        let head = match slice.subject {
            Subject::Operation(id) => heads.get(&id).copied(),
            _ => None,
        };
        let Some(head) = head else {
            kept.push(*slice);
            continue;
        };
        let empty = Slice {
            subject: Subject::Operation(head),
            count: 0,
            errors: 0,
            sum_ns: 0,
            other_ns: 0,
            ..*slice
        };
        let sum = joined.entry((head, slice.bucket_s, slice.width_s)).or_insert(empty);
        sum.count += slice.count;
        sum.errors += slice.errors;
        sum.sum_ns = sum.sum_ns.saturating_add(slice.sum_ns);
        sum.other_ns = sum.other_ns.saturating_add(slice.other_ns);
    }
    kept.extend(joined.into_values());
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_digits_are_left_out_of_a_shape() {
        for (name, shape) in [
            ("GET /users/8123", "GET /users/*"),
            ("GET /users/3f2a-77-ab/orders", "GET /users/*/orders"),
            ("SELECT orders WHERE id=17", "SELECT orders WHERE id=*"),
            ("GET /users/{id}", "GET /users/{id}"),
            ("Grüße 7 ✓", "Grüße * ✓"),
            ("", ""),
        ] {
            assert_eq!(shape_of(name), shape);
        }
    }
}
