//! Drawings of series that are made up.

use serde_json::{Value, json};

use super::*;

/// A report of so many seconds, with a point each second.
fn report(seconds: u32) -> Value {
    let point = |second: u32| Point {
        seconds: f64::from(second) + 0.001_234_567,
        acknowledged_spans_per_second: 150_000.0 + f64::from(second * 7_919 % 1_000) / 7.0,
        acknowledgement_p99_ms: Some(20.0 + f64::from(second * 31 % 97) / 3.0),
        server_cores: Some(1.4 + f64::from(second % 13) / 40.0),
        resident_mib: Some(800.0 + f64::from(second) / 9.0),
        disk_bytes_per_span: Some(109.0 + 5_000.0 / f64::from(second).powi(2)),
        ..Point::default()
    };
    json!({"series": (1..=seconds).map(point).collect::<Vec<_>>()})
}

fn drawn(reports: &[Value]) -> String {
    let named: Vec<(String, Value)> =
        reports.iter().enumerate().map(|(number, it)| (format!("run <{number}> & on"), it.clone())).collect();
    draw(&named).unwrap()
}

/// The coordinates of the lines of a class, by piece.
fn lines(svg: &str, class: &str) -> Vec<Vec<f64>> {
    let starts = format!("<path class=\"line {class}\" d=\"M");
    let paths = svg.split(&starts).skip(2).filter_map(|rest| rest.split('"').next());
    let numbers = |piece: &str| piece.split([' ', 'h']).map(|number| number.parse().unwrap()).collect();
    paths.flat_map(|path| path.split('M').map(numbers).collect::<Vec<Vec<f64>>>()).collect()
}

#[test]
fn every_figure_has_a_panel_and_every_run_a_line_in_each() {
    let svg = drawn(&[report(60), report(30)]);
    for panel in [
        "Spans acknowledged a second",
        "Acknowledgement p99, ms",
        "Server, cores",
        "Server, MiB resident",
        "Server, bytes on disk a span",
    ] {
        assert!(svg.contains(&format!(">{panel}</text>")), "{panel}");
    }
    assert!(svg.contains(">run &lt;0&gt; &amp; on</text>") && svg.contains(">run &lt;1&gt; &amp; on</text>"));
    assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("not measured"));
    let (first, second) = (lines(&svg, "c0"), lines(&svg, "c1"));
    assert_eq!((first.len(), second.len()), (PANELS.len(), PANELS.len()));
    for (line, points) in first.iter().map(|line| (line, 60)).chain(second.iter().map(|line| (line, 30))) {
        assert_eq!(line.len(), 2 * points);
        assert!(line.chunks(2).is_sorted_by(|a, b| a[0] <= b[0]), "{line:?}");
    }
    let (left, right) = (LEFT, WIDTH - RIGHT);
    assert!((first[0][118] - right).abs() < 1.0, "{:?}", first[0]);
    assert!((second[0][58] - f64::midpoint(left, right)).abs() < 1.0, "half as long is half as wide");
}

#[test]
fn what_is_larger_is_higher_and_stays_within_its_panel() {
    let svg = drawn(&[report(100)]);
    let lines = lines(&svg, "c0");
    for (number, line) in lines.iter().enumerate() {
        let top = LEGEND + (TITLE + HEIGHT) * number as f64 + TITLE;
        let heights: Vec<f64> = line.chunks(2).map(|place| place[1]).collect();
        assert!(heights.iter().all(|y| (top..=top + HEIGHT).contains(y)), "{number}: {heights:?}");
    }
    let resident: Vec<f64> = lines[3].chunks(2).map(|place| place[1]).collect();
    assert!(resident.is_sorted_by(|a, b| a >= b) && resident[0] > resident[99], "{resident:?}");
    // The first seconds divide by little; they do not press the rest down.
    let disk: Vec<f64> = lines[4].chunks(2).map(|place| place[1]).collect();
    let top = LEGEND + (TITLE + HEIGHT) * 5.0 - HEIGHT;
    assert!(disk[0] == top && disk[99] < top + HEIGHT / 2.0, "{disk:?}");
}

#[test]
fn many_points_of_many_runs_stay_small() {
    let runs: Vec<Value> = (0..RUNS_MAX).map(|_| report(650)).collect();
    for count in [1, 2, RUNS_MAX] {
        let svg = drawn(&runs[..count]);
        assert!(svg.len() < 60_000, "{count} runs take {} bytes", svg.len());
    }
    assert_eq!(lines(&drawn(&runs[..1]), "c0")[0].len(), 2 * 650, "all points of one run are drawn");
    // A peak is not lost among its neighbours.
    let mut peak = report(650);
    peak["series"][300]["acknowledgement_p99_ms"] = json!(5_000.0);
    assert!(drawn(&[peak, report(650), report(650)]).contains(">5000</text>"));
}

#[test]
fn a_line_breaks_where_nothing_was_measured() {
    let mut gap = report(10);
    gap["series"][4]["server_cores"] = Value::Null;
    gap["series"][6]["server_cores"] = Value::Null;
    let pieces: Vec<usize> = lines(&drawn(&[gap]), "c0").iter().map(Vec::len).collect();
    assert_eq!(pieces, [20, 20, 8, 3, 6, 20, 20]);
    let mut bare = report(10);
    for point in bare["series"].as_array_mut().unwrap() {
        for figure in ["server_cores", "resident_mib", "disk_bytes_per_span"] {
            point[figure] = Value::Null;
        }
    }
    assert_eq!(drawn(&[bare]).matches("not measured (needs --metrics-url)").count(), 3);
}

#[test]
fn what_cannot_be_drawn_is_refused_with_the_way_out() {
    let refused = |reports: &[(String, Value)]| draw(reports).unwrap_err().to_string();
    let named = |report: Value| ("A.json".to_owned(), report);
    assert_eq!(refused(&[named(json!({}))]), "A.json has no series: run it anew with loadsim --report");
    assert!(refused(&[named(json!({"series": 5}))]).contains("run it anew"));
    assert!(refused(&[named(json!({"series": []}))]).contains("empty series"));
    let many = vec![named(report(5)); RUNS_MAX + 1];
    assert!(refused(&many).contains("room for 6 reports, 7 are given: draw them in several"));
}

#[test]
fn long_names_keep_their_ends() {
    assert_eq!(shortened("day/A.json", 10), "day/A.json");
    assert_eq!(shortened("2026/day/A.json", 7), "…A.json");
}
