//! One figure over time.

use super::scale::Scale;
use super::{HEIGHT, LEFT, RIGHT, WIDTH, across};
use crate::series::Point;

/// A figure of points.
#[derive(Debug)]
pub(super) struct Panel {
    title: &'static str,
    of: fn(&Point) -> Option<f64>,
    together: Together,
    /// True where the beginning says little and may reach over the top: what is small then divides by little.
    settles: bool,
}

/// What several points become where there are more than can be drawn.
#[derive(Debug)]
enum Together {
    Mean,
    Most,
}

/// The figures that are drawn, from above.
pub(super) const PANELS: [Panel; 5] = [
    Panel {
        title: "Spans acknowledged a second",
        of: |point| Some(point.acknowledged_spans_per_second),
        together: Together::Mean,
        settles: false,
    },
    Panel {
        title: "Acknowledgement p99, ms",
        of: |point| point.acknowledgement_p99_ms,
        together: Together::Most,
        settles: false,
    },
    Panel {
        title: "Server, cores",
        of: |point| point.server_cores,
        together: Together::Mean,
        settles: false,
    },
    Panel {
        title: "Server, MiB resident",
        of: |point| point.resident_mib,
        together: Together::Most,
        settles: false,
    },
    Panel {
        title: "Server, bytes on disk a span",
        of: |point| point.disk_bytes_per_span,
        together: Together::Mean,
        settles: true,
    },
];

/// A run, with points grouped so that there are few enough.
#[derive(Debug)]
pub(super) struct Run {
    /// What the legend calls it.
    pub(super) name: String,
    groups: Vec<Vec<Point>>,
}

impl Run {
    /// A run whose points are drawn in groups of so many.
    pub(super) fn new(name: &str, points: Vec<Point>, group: usize) -> Self {
        Self { name: name.to_owned(), groups: points.chunks(group).map(<[Point]>::to_vec).collect() }
    }

    /// How long it took.
    pub(super) fn seconds(&self) -> f64 {
        self.groups.last().map_or(0.0, |group| end(group))
    }
}

fn end(group: &[Point]) -> f64 {
    group.last().map_or(0.0, |point| point.seconds)
}

impl Panel {
    /// Draws it with its upper edge at `top`.
    pub(super) fn draw(&self, svg: &mut String, runs: &[Run], time: &Scale, top: f64) {
        let scale = Scale::of_values(self.most(runs));
        let (right, bottom) = (WIDTH - RIGHT, top + HEIGHT);
        svg.push_str(&format!(
            "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"600\">{}</text>\n",
            top - 8.0,
            self.title
        ));
        for tick in scale.ticks() {
            let y = bottom - scale.share(tick) * HEIGHT;
            svg.push_str(&format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"faint\" x=\"{:.0}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>\n",
                LEFT - 6.0,
                y + 4.0,
                scale.value(tick)
            ));
        }
        let steps: String =
            time.ticks().map(|tick| format!("M{:.0} {bottom}v4", across(time, tick))).collect();
        svg.push_str(&format!("<path class=\"frame\" d=\"M{LEFT} {bottom}H{right}{steps}\"/>\n"));
        let mut is_empty = true;
        for (number, run) in runs.iter().enumerate() {
            let path = self.path(run, &scale, time, bottom);
            is_empty &= path.is_empty();
            svg.push_str(&format!("<path class=\"line c{number}\" d=\"{path}\"/>\n"));
        }
        if is_empty {
            svg.push_str(&format!(
                "<text class=\"faint\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">not measured (needs --metrics-url)\
                 </text>\n",
                f64::midpoint(LEFT, right),
                top + HEIGHT / 2.0
            ));
        }
    }

    /// The largest value that has to fit in.
    fn most(&self, runs: &[Run]) -> f64 {
        let values = runs.iter().flat_map(|run| {
            let first = if self.settles { run.groups.len() / 10 } else { 0 };
            run.groups[first..].iter().filter_map(|group| self.value(group))
        });
        values.fold(0.0, f64::max)
    }

    /// The line of a run, broken where it has no value.
    fn path(&self, run: &Run, scale: &Scale, time: &Scale, bottom: f64) -> String {
        let mut path = String::new();
        for piece in
            run.groups.chunk_by(|one, other| self.value(one).is_some() == self.value(other).is_some())
        {
            let places = piece.iter().filter_map(|group| {
                // What reaches over the top stays at it.
                let share = scale.share(self.value(group)?).clamp(0.0, 1.0);
                Some(format!("{:.0} {:.1}", across(time, end(group)), bottom - share * HEIGHT))
            });
            let places: Vec<String> = places.collect();
            match places.as_slice() {
                [] => {}
                // A dot.
                [only] => path.push_str(&format!("M{only}h0")),
                places => path.push_str(&format!("M{}", places.join(" "))),
            }
        }
        path
    }

    /// What the points of a group are together; nothing where none has a value.
    fn value(&self, group: &[Point]) -> Option<f64> {
        let values = || group.iter().filter_map(self.of);
        let count = values().count();
        match self.together {
            _ if count == 0 => None,
            Together::Mean => Some(values().sum::<f64>() / count as f64),
            Together::Most => values().reduce(f64::max),
        }
    }
}
