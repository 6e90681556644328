//! What must be true of a database, whatever happened: spans are there once, and sums are those of what they count.

use std::collections::HashSet;

use super::kept::Asked;

/// All spans, each with its kind, the instant it began, and its trace.
const SPANS: &str = "(SELECT s.span_id, s.parent_id, s.operation_id, o.kind, s.status, s.dependency_id, s.duration_ns, \
     s.day * 86400000000000 + s.start_ns AS start_ns, t.trace_key, t.trace_id \
     FROM spans s JOIN traces t ON t.day = s.day AND t.id = s.trace_row JOIN operations o ON o.id = s.operation_id)";
/// Roll-ups by the minute of operations with spans of their own.
const OPERATIONS: [&str; 2] = [
    "SELECT r.a, r.bucket, r.count, r.errors, r.sum_ns, r.max_ns FROM rollups r JOIN operations o ON o.id = r.a \
     JOIN services s ON s.id = o.service_id WHERE r.kind = 0 AND r.width = 60 AND s.kind = 0",
    "SELECT operation_id, start_ns / 1000000000 / 60 * 60, count(*), sum(CASE status WHEN 2 THEN 1 ELSE 0 END), \
     sum(duration_ns), max(duration_ns) FROM {spans} a GROUP BY 1, 2",
];
/// Calls of databases, queues and hosts, which have no spans.
const DEPENDENCIES: [&str; 2] = [
    "SELECT s.id, r.bucket, sum(r.count) FROM rollups r JOIN operations o ON o.id = r.a \
     JOIN services s ON s.id = o.service_id WHERE r.kind = 0 AND r.width = 60 AND s.kind <> 0 GROUP BY 1, 2",
    "SELECT dependency_id, start_ns / 1000000000 / 60 * 60, count(*) FROM {spans} a \
     WHERE dependency_id IS NOT NULL AND kind <> 5 GROUP BY 1, 2",
];
/// Calls between operations with spans of their own; over a queue, the queue's own edges tell the way.
const EDGES: [&str; 2] = [
    "SELECT r.a, r.b, sum(r.count) FROM rollups r \
     JOIN operations o ON o.id = r.a JOIN services s ON s.id = o.service_id \
     JOIN operations p ON p.id = r.b JOIN services t ON t.id = p.service_id \
     WHERE r.kind = 2 AND r.width = 60 AND s.kind = 0 AND t.kind = 0 GROUP BY 1, 2",
    "SELECT p.operation_id, c.operation_id, count(*) FROM {spans} c JOIN {spans} p \
     ON p.trace_key = c.trace_key AND p.trace_id = c.trace_id AND p.span_id = c.parent_id \
     LEFT JOIN services q ON q.id = p.dependency_id LEFT JOIN services d ON d.id = c.dependency_id \
     WHERE NOT (c.kind = 5 AND coalesce(q.kind, 0) = 2 AND coalesce(d.kind, 0) = 2) GROUP BY 1, 2",
];
/// Log records by template.
const TEMPLATES: [&str; 2] = [
    "SELECT a, b, bucket, sum(count) FROM rollups WHERE kind = 3 AND width = 60 GROUP BY 1, 2, 3",
    "SELECT service_id, template_id, day * 86400 + time_ns / 1000000000 / 60 * 60, count(*) FROM logs GROUP BY 1, 2, 3",
];

/// Checks all of it; answers how many spans are stored. `acknowledged` are spans as a ledger lists them.
pub(super) fn check(asked: &Asked<'_>, acknowledged: &[String]) -> usize {
    let ids = format!("SELECT {} || ' ' || {} FROM {SPANS} a", asked.hex("trace_id"), asked.hex("span_id"));
    let rows = asked.rows(&ids);
    let stored: HashSet<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(rows.len() - stored.len(), 0, "spans are stored more than once, of {}", rows.len());
    let missing: Vec<_> = acknowledged.iter().filter(|span| !stored.contains(span.as_str())).collect();
    let (missed, first) = (missing.len(), missing.first());
    assert_eq!(missed, 0, "of {} acknowledged spans are not stored, {first:?} first", acknowledged.len());

    let trace = asked.hex("trace_id");
    let summaries =
        format!("SELECT trace_key, {trace}, spans, errors, day * 86400000000000 + start_ns FROM traces");
    let counted = format!(
        "SELECT trace_key, {trace}, count(*), sum(CASE status WHEN 2 THEN 1 ELSE 0 END), min(start_ns) \
         FROM {SPANS} a GROUP BY trace_key, trace_id"
    );
    agree(asked, "summaries of traces", [&summaries, &counted]);
    agree(asked, "roll-ups of operations", OPERATIONS);
    agree(asked, "roll-ups of dependencies", DEPENDENCIES);
    agree(asked, "roll-ups of edges", EDGES);
    agree(asked, "roll-ups of logs", TEMPLATES);
    rows.len()
}

/// Checks that what was summed up is what can be counted.
fn agree(asked: &Asked<'_>, what: &str, [summed, counted]: [&str; 2]) {
    let (summed, counted) = (asked.rows(summed), asked.rows(&counted.replace("{spans}", SPANS)));
    assert!(!counted.is_empty(), "{what}: there is nothing to count");
    let only = |these: &[String], those: &[String]| {
        let those: HashSet<&String> = those.iter().collect();
        these.iter().filter(|row| !those.contains(row)).take(5).cloned().collect::<Vec<_>>()
    };
    let (more, less) = (only(&summed, &counted), only(&counted, &summed));
    assert!(summed == counted, "{what} differ: summed {more:?}, counted {less:?}");
}
