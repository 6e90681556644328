//! Two reports side by side.

use serde_json::Value;

/// The figures that are compared: what they are called, and where a report has them.
const FIGURES: [(&str, &str); 18] = [
    ("spans/s acknowledged", "/acknowledged_spans_per_second"),
    ("log records/s acknowledged", "/acknowledged_logs_per_second"),
    ("points/s acknowledged", "/acknowledged_points_per_second"),
    ("requests/s", "/requests_per_second"),
    ("share accepted at the first try", "/first_try_share"),
    ("bytes sent a span", "/sent_bytes_per_span"),
    ("acknowledgement p50, ms", "/acknowledgement_ms/p50"),
    ("acknowledgement p90, ms", "/acknowledgement_ms/p90"),
    ("acknowledgement p99, ms", "/acknowledgement_ms/p99"),
    ("acknowledgement p99.9, ms", "/acknowledgement_ms/p999"),
    ("acknowledgement max, ms", "/acknowledgement_ms/max"),
    ("server, cores", "/server/cores"),
    ("server, µs a span", "/server/cpu_us_per_span"),
    ("server, MiB resident", "/server/resident_mib"),
    ("server, bytes on disk a span", "/server/disk_bytes_per_span"),
    ("server, s to catch up", "/server/caught_up_seconds"),
    ("loadsim, cores", "/own/cores"),
    ("loadsim, µs a span", "/own/cpu_us_per_span"),
];

/// A table of the figures of two reports and of the second's ratio to the first; a dash where a report lacks one.
pub fn table(first: &Value, second: &Value) -> String {
    let mut table = format!("{:<34}{:>14}{:>14}{:>9}\n", "", "A", "B", "B/A");
    for (name, pointer) in FIGURES {
        let figure = |report: &Value| report.pointer(pointer).and_then(Value::as_f64);
        let (a, b) = (figure(first), figure(second));
        let ratio = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| format!("{:.2}", b / a));
        table.push_str(&format!(
            "{name:<34}{:>14}{:>14}{:>9}\n",
            shown(a),
            shown(b),
            ratio.unwrap_or_else(|| "-".into())
        ));
    }
    table
}

fn shown(figure: Option<f64>) -> String {
    match figure {
        Some(figure) if figure.abs() < 1000.0 => format!("{figure:.2}"),
        Some(figure) => format!("{figure:.0}"),
        None => "-".into(),
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
            "acknowledgement_ms": { "p50": 10.0, "max": 0.0 },
            "server": null,
        });
        let second = json!({
            "acknowledged_spans_per_second": 150000.4,
            "acknowledgement_ms": { "p50": 5.0, "max": 2.0 },
            "server": { "cores": 1.5 },
        });
        let table = table(&first, &second);
        let row = |name: &str| -> Vec<&str> {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap();
            row[name.len()..].split_whitespace().collect()
        };
        assert_eq!(row("spans/s acknowledged"), ["20000", "150000", "7.50"]);
        assert_eq!(row("acknowledgement p50, ms"), ["10.00", "5.00", "0.50"]);
        assert_eq!(row("acknowledgement max, ms"), ["0.00", "2.00", "-"]);
        assert_eq!(row("server, cores"), ["-", "1.50", "-"]);
        assert_eq!(row("loadsim, cores"), ["-", "-", "-"]);
    }
}
