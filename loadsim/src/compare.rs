//! Two reports side by side.

use serde_json::Value;

/// A figure that is compared.
struct Figure {
    name: &'static str,
    /// Where a report has it, or its parts.
    pointers: &'static [&'static str],
    decimals: usize,
}

const fn figure(name: &'static str, pointers: &'static [&'static str], decimals: usize) -> Figure {
    Figure { name, pointers, decimals }
}

const FIGURES: [Figure; 34] = [
    figure("spans/s acknowledged", &["/acknowledged_spans_per_second"], 2),
    figure("log records/s acknowledged", &["/acknowledged_logs_per_second"], 2),
    figure("points/s acknowledged", &["/acknowledged_points_per_second"], 2),
    figure("requests/s", &["/requests_per_second"], 2),
    figure("share accepted at the first try", &["/first_try_share"], 4),
    figure("items refused", &["/spans/refused", "/logs/refused", "/points/refused"], 0),
    figure("items unknown", &["/spans/unknown", "/logs/unknown", "/points/unknown"], 0),
    figure("retries", &["/spans/retries", "/logs/retries", "/points/retries"], 0),
    figure("bytes sent a span", &["/sent_bytes_per_span"], 2),
    figure("acknowledgement p50, ms", &["/acknowledgement_ms/p50"], 2),
    figure("acknowledgement p90, ms", &["/acknowledgement_ms/p90"], 2),
    figure("acknowledgement p99, ms", &["/acknowledgement_ms/p99"], 2),
    figure("acknowledgement p99.9, ms", &["/acknowledgement_ms/p999"], 2),
    figure("acknowledgement max, ms", &["/acknowledgement_ms/max"], 2),
    figure("server, cores", &["/server/cores"], 2),
    figure("server, µs a span", &["/server/cpu_us_per_span"], 2),
    figure("server, µs an item", &["/server/cpu_us_per_item"], 2),
    figure("server, MiB resident", &["/server/resident_mib"], 2),
    figure("server, bytes on disk a span", &["/server/disk_bytes_per_span"], 2),
    figure("server, bytes on disk an item", &["/server/disk_bytes_per_item"], 2),
    figure("server, duplicates", &["/server/duplicates"], 0),
    figure("server, items not stored", &["/server/unstored_items"], 0),
    figure("server, s to catch up", &["/server/caught_up_seconds"], 2),
    figure("s until last traces are answered", &["/queryable_seconds/traces"], 2),
    figure("s until newest log is found", &["/queryable_seconds/logs"], 2),
    figure("questions", &["/asked/count"], 0),
    figure("questions failed", &["/asked/errors"], 0),
    figure("questions never put", &["/asked/unasked"], 0),
    figure("questions p50, ms", &["/asked/p50_ms"], 2),
    figure("questions p95, ms", &["/asked/p95_ms"], 2),
    figure("questions max, ms", &["/asked/max_ms"], 2),
    figure("loadsim, cores", &["/own/cores"], 2),
    figure("loadsim, µs a span", &["/own/cpu_us_per_span"], 2),
    figure("loadsim, µs an item", &["/own/cpu_us_per_item"], 2),
];

/// A table of the figures of two reports and of the second's ratio to the first; a dash where a report lacks one. Tools that both
/// asked stand below, with the p95 of their answers.
pub fn table(first: &Value, second: &Value) -> String {
    let mut table = row("", "A", "B", "B/A");
    for figure in FIGURES {
        table.push_str(&compared(figure.name, figure.decimals, figure.of(first), figure.of(second)));
    }
    let asked = |report: &Value| report.pointer("/asked/tools").and_then(Value::as_array).cloned();
    let others = asked(second).unwrap_or_default();
    for tool in asked(first).unwrap_or_default() {
        let is_same = |other: &&Value| ["tool", "arguments"].iter().all(|it| tool[it] == other[it]);
        if let Some(other) = others.iter().find(is_same) {
            let name = [&tool["tool"], &tool["arguments"]].map(|it| it.as_str().unwrap_or_default());
            let [a, b] = [&tool, other].map(|it| it["p95_ms"].as_f64());
            table.push_str(&compared(&format!("{}, ms", name.join(" ").trim_end()), 2, a, b));
        }
    }
    table
}

fn compared(name: &str, decimals: usize, a: Option<f64>, b: Option<f64>) -> String {
    let ratio = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| format!("{:.2}", b / a));
    row(name, &shown(a, decimals), &shown(b, decimals), &ratio.unwrap_or_else(|| "-".into()))
}

fn row(name: &str, a: &str, b: &str, ratio: &str) -> String {
    format!("{name:<47}{a:>14}{b:>14}{ratio:>9}\n")
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.abs() < 1000.0 => format!("{value:.decimals$}"),
        Some(value) => format!("{value:.0}"),
        None => "-".into(),
    }
}

impl Figure {
    /// Its value, or the sum of its parts; nothing where the report lacks one of them.
    fn of(&self, report: &Value) -> Option<f64> {
        self.pointers.iter().map(|pointer| report.pointer(pointer).and_then(Value::as_f64)).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_stand_side_by_side_with_their_ratio() {
        let first = json!({
            "acknowledged_spans_per_second": 20000.0,
            "first_try_share": 1.0,
            "spans": { "refused": 3, "unknown": 1, "retries": 2000 },
            "logs": { "refused": 4, "unknown": 1, "retries": 0 },
            "points": { "refused": 0, "unknown": 0, "retries": 34 },
            "acknowledgement_ms": { "p50": 10.0, "max": 0.0 },
            "server": null,
            "asked": { "p95_ms": 40.0, "tools": [
                { "tool": "triage", "arguments": "", "p95_ms": 90.0 },
                { "tool": "search_logs", "arguments": "severity=error", "p95_ms": 4.0 },
            ] },
        });
        let second = json!({
            "acknowledged_spans_per_second": 150000.4,
            "first_try_share": 0.99987,
            "spans": { "refused": 0, "unknown": 4, "retries": 0 },
            "logs": { "refused": 14, "unknown": 0, "retries": 0 },
            "points": { "refused": 0, "unknown": 0 },
            "acknowledgement_ms": { "p50": 5.0, "max": 2.0 },
            "server": { "cores": 1.5, "duplicates": 12.0, "cpu_us_per_span": null, "cpu_us_per_item": 2.5 },
            "asked": { "p95_ms": 50.0, "tools": [
                { "tool": "search_logs", "arguments": "query=a", "p95_ms": 7.0 },
                { "tool": "search_logs", "arguments": "severity=error", "p95_ms": 5.0 },
            ] },
        });
        let table = table(&first, &second);
        let row = |name: &str| -> Vec<&str> {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap();
            row[name.len()..].split_whitespace().collect()
        };
        assert_eq!(row("spans/s acknowledged"), ["20000", "150000", "7.50"]);
        assert_eq!(row("acknowledgement p50, ms"), ["10.00", "5.00", "0.50"]);
        assert_eq!(row("acknowledgement max, ms"), ["0.00", "2.00", "-"]);
        assert_eq!(row("share accepted at the first try"), ["1.0000", "0.9999", "1.00"]);
        assert_eq!(row("items refused"), ["7", "14", "2.00"]);
        assert_eq!(row("items unknown"), ["2", "4", "2.00"]);
        assert_eq!(row("retries"), ["2034", "-", "-"]);
        assert_eq!(row("server, duplicates"), ["-", "12", "-"]);
        assert_eq!(row("server, µs a span"), ["-", "-", "-"]);
        assert_eq!(row("server, µs an item"), ["-", "2.50", "-"]);
        assert_eq!(row("server, cores"), ["-", "1.50", "-"]);
        assert_eq!(row("loadsim, cores"), ["-", "-", "-"]);
        assert_eq!(row("questions p95, ms"), ["40.00", "50.00", "1.25"]);
        assert_eq!(row("search_logs severity=error, ms"), ["4.00", "5.00", "1.25"]);
        assert!(!table.contains("triage") && !table.contains("query=a"), "{table}");
    }
}
