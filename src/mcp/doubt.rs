//! What makes the values of metrics doubtful, and why there are none.

use crate::model::metric::MetricKind;
use crate::query::metrics::{Function, PartAnswer};

/// Part of the points that must have begun anew, come twice or been none at all before that is told: now and then a process
/// starts again, and a batch is sent again.
const PART_MIN: f64 = 0.1;
/// How many must have at least: a short window has few points.
const COUNT_MIN: u64 = 3;

/// What of the points makes the values doubtful, and what would mend it.
pub(super) fn warnings(parts: &[PartAnswer], function: Function) -> Vec<String> {
    let sum = |count: fn(&PartAnswer) -> u64| parts.iter().map(count).sum::<u64>();
    let overlaps = sum(|part| part.tally.overlaps);
    let duplicates = sum(|part| part.tally.duplicates);
    let skipped = sum(|part| part.tally.skipped);
    let resets = sum(|part| part.tally.resets);
    let points = sum(|part| part.tally.points) + duplicates + skipped;
    let is_much = |count: u64| count >= COUNT_MIN && count as f64 > PART_MIN * points as f64;
    let mut told = Vec::new();
    if overlaps > 0 {
        told.push(format!(
            "{overlaps} of {points} points overlap the one before them, so counts may be wrong: two senders share one \
             identity, or a clock went back; give each a `service.instance.id`"
        ));
    }
    if is_much(resets) {
        told.push(format!(
            "counters began anew at {resets} of {points} points: their process starts again and again, or several senders \
             share one identity; give each a `service.instance.id`"
        ));
    }
    if is_much(duplicates) {
        told.push(format!(
            "{duplicates} of {points} points are of the same instant as another one of their series, and the later one was \
             taken: they are sent twice, or two senders share one identity"
        ));
    }
    if is_much(skipped) {
        told.push(format!(
            "{skipped} of {points} points are no measurements (NaN or infinite) and were left out"
        ));
    }
    told.extend(parts.iter().filter(|part| part.not_told > 0).map(|part| not_told(part, function)));
    told
}

/// Why values are none although there are measurements.
fn not_told(part: &PartAnswer, function: Function) -> String {
    let why = match (function, part.kind) {
        (Function::Average | Function::Sum, _) => {
            "their senders do not say the sum of the measurements; ask for rate, count or a percentile"
        }
        (_, MetricKind::Summary) => {
            "their senders do not report this percentile; ask for avg, rate, count or another percentile"
        }
        _ => {
            "their histograms have no bounds, or none in common; group by what tells the senders apart, such as `instance`, \
             or ask for avg, rate or count"
        }
    };
    format!("{} values are null although there are measurements: {why}", part.not_told)
}

/// Why there is nothing to show; none where there is something.
pub(super) fn why_empty(parts: &[PartAnswer], function: Function) -> Option<String> {
    let groups = || parts.iter().flat_map(|part| &part.groups);
    if groups().next().is_none() {
        return Some("no series of the metric passes the filters; drop `filter` or `service`".to_owned());
    }
    if groups().any(|group| group.values.iter().any(Option::is_some)) {
        return None;
    }
    let not_told: usize = parts.iter().map(|part| part.not_told).sum();
    let points: u64 = parts.iter().map(|part| part.tally.points).sum();
    let skipped: u64 = parts.iter().map(|part| part.tally.skipped).sum();
    Some(if not_told > 0 {
        format!("there are measurements in the window that do not tell {function}; see `warnings`")
    } else if points > 0 {
        format!(
            "the {points} points in the window do not tell {function}: what was counted lies between two points of a series; \
             try a longer `since`, or another function such as last or max"
        )
    } else if skipped > 0 {
        format!("all {skipped} points in the window are no measurements (NaN or infinite)")
    } else {
        "the series have no point in the window; try a longer `since`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::metrics::GroupAnswer;
    use crate::reckon::rollup::Tally;

    fn part(kind: MetricKind, value: Option<f64>, (tally, not_told): (Tally, usize)) -> PartAnswer {
        let group = GroupAnswer { labels: Vec::new(), series: 1, values: vec![value], told_by: vec![1] };
        PartAnswer {
            kind,
            unit: String::new(),
            monotonic: true,
            unfit: None,
            groups: vec![group],
            groups_left_out: 0,
            not_told,
            tally,
        }
    }

    fn told(tally: Tally) -> String {
        warnings(&[part(MetricKind::Sum, Some(1.0), (tally, 0))], Function::Rate).join("\n")
    }

    #[test]
    fn doubtful_points_are_told() {
        let points = Tally { points: 100, ..Tally::default() };
        assert_eq!(told(points), "");
        assert_eq!(told(Tally { resets: 2, duplicates: 10, skipped: 10, ..points }), "", "now and then");
        assert_eq!(told(Tally { points: 2, resets: 2, ..Tally::default() }), "", "too few to tell");
        assert!(told(Tally { overlaps: 1, ..points }).contains("`service.instance.id`"));
        assert!(told(Tally { resets: 40, ..points }).contains("began anew at 40 of 100 points"));
        assert!(
            told(Tally { duplicates: 40, ..points }).contains("40 of 140 points are of the same instant")
        );
        assert!(told(Tally { skipped: 40, ..points }).contains("40 of 140 points are no measurements"));
    }

    #[test]
    fn values_that_are_not_told_say_why() {
        let points = Tally { points: 4, ..Tally::default() };
        for (kind, function, expected) in [
            (MetricKind::Histogram, Function::Quantile(0.5), "none in common"),
            (MetricKind::Summary, Function::Quantile(0.5), "do not report this percentile"),
            (MetricKind::Histogram, Function::Average, "do not say the sum"),
        ] {
            let parts = [part(kind, None, (points, 4))];
            let told = warnings(&parts, function);
            assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
            assert!(why_empty(&parts, function).unwrap().contains("see `warnings`"));
        }
    }

    #[test]
    fn nothing_to_show_says_whether_there_were_points() {
        let why = |tally| why_empty(&[part(MetricKind::Sum, None, (tally, 0))], Function::Rate).unwrap();
        assert!(why(Tally { points: 1, ..Tally::default() }).contains("do not tell rate"));
        assert!(why(Tally { skipped: 3, ..Tally::default() }).contains("no measurements"));
        assert!(why(Tally::default()).contains("no point in the window"));
        assert!(why_empty(&[], Function::Rate).unwrap().contains("drop `filter`"));
        assert_eq!(
            why_empty(&[part(MetricKind::Sum, Some(0.0), (Tally::default(), 0))], Function::Rate),
            None
        );
    }
}
