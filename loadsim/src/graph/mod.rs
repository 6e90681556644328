//! Draws how runs went over time: the series of their reports as one SVG, a small panel for each figure, all with the same time
//! below. Colours are classes, so that the drawing follows the reader's choice of light or dark, and it needs no other file.
//!
//! `scale` has the steps of axes, `panel` the figures and their lines.

mod panel;
mod scale;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::panel::{PANELS, Run};
use self::scale::Scale;
use crate::series::Point;

/// Width of the drawing, and what lies beside the panels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 26.0;
/// Height of the legend's line, of a panel, and of the title above it.
const LEGEND: f64 = 34.0;
const HEIGHT: f64 = 112.0;
const TITLE: f64 = 32.0;
/// Height of what stands below the last panel.
const BELOW: f64 = 26.0;
/// Runs of one drawing, for each has a colour.
const RUNS_MAX: usize = 6;
/// Points of all runs in a panel; where there are more, several become one. That keeps the drawing below 60 KB.
const POINTS_MAX: usize = 900;

const STYLE: &str = "\
.paper{fill:#fff}text{fill:#1f2328}.grid{stroke:#d8dee4}.frame{stroke:#8c959f}.faint{fill:#59636e}\
.line{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}\
.c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}.c3{stroke:#aa4499}.c4{stroke:#806000}.c5{stroke:#555}\
@media(prefers-color-scheme:dark){\
.paper{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}.frame{stroke:#6e7681}.faint{fill:#9198a1}\
.c0{stroke:#56b4e9}.c1{stroke:#ff9e4a}.c2{stroke:#3ddc97}.c3{stroke:#e58fd6}.c4{stroke:#f0e442}.c5{stroke:#bbb}}";

/// Draws the series of reports, each with the name that the legend gives it.
///
/// # Errors
/// When there are more reports than colours, or one of them has no series.
pub fn draw(reports: &[(String, Value)]) -> Result<String> {
    ensure!(
        reports.len() <= RUNS_MAX,
        "a drawing has room for {RUNS_MAX} reports, {} are given: draw them in several",
        reports.len()
    );
    let series = reports.iter().map(|(name, report)| Ok((name, points(name, report)?)));
    let series: Vec<(&String, Vec<Point>)> = series.collect::<Result<_>>()?;
    let all: usize = series.iter().map(|(_, points)| points.len()).sum();
    let group = all.div_ceil(POINTS_MAX).max(1);
    let runs: Vec<Run> = series.into_iter().map(|(name, points)| Run::new(name, points, group)).collect();
    let time = Scale::of_time(runs.iter().map(Run::seconds).fold(1.0, f64::max));
    let height = LEGEND + (TITLE + HEIGHT) * PANELS.len() as f64 + BELOW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"system-ui,sans-serif\" font-size=\"12\">\n\
         <title>How loads went over time</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    );
    legend(&mut svg, &runs);
    for (number, panel) in PANELS.iter().enumerate() {
        let top = LEGEND + (TITLE + HEIGHT) * number as f64 + TITLE;
        panel.draw(&mut svg, &runs, &time, top);
    }
    time_below(&mut svg, &time, height - BELOW);
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn points(name: &str, report: &Value) -> Result<Vec<Point>> {
    let Some(series) = report.get("series") else {
        bail!("{name} has no series: run it anew with loadsim --report");
    };
    let points: Vec<Point> = serde_json::from_value(series.clone())
        .with_context(|| format!("{name} has another kind of series: run it anew with loadsim --report"))?;
    ensure!(!points.is_empty(), "{name} has an empty series: the run was shorter than any point");
    Ok(points)
}

fn legend(svg: &mut String, runs: &[Run]) {
    let room = (WIDTH - LEFT - RIGHT) / runs.len().max(1) as f64;
    for (number, run) in runs.iter().enumerate() {
        let x = LEFT + room * number as f64;
        // Letters are about half as wide as they are high.
        let letters = ((room - 40.0) / 6.5) as usize;
        svg.push_str(&format!(
            "<path class=\"line c{number}\" d=\"M{x:.0} 16h20\" stroke-width=\"3\"/>\
             <text x=\"{:.0}\" y=\"20\">{}</text>\n",
            x + 26.0,
            escaped(&shortened(&run.name, letters))
        ));
    }
}

fn time_below(svg: &mut String, time: &Scale, y: f64) {
    for tick in time.ticks() {
        let x = across(time, tick);
        svg.push_str(&format!(
            "<text class=\"faint\" x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\n",
            y + 17.0,
            time.time(tick)
        ));
    }
}

/// Where an instant lies.
fn across(time: &Scale, seconds: f64) -> f64 {
    LEFT + time.share(seconds) * (WIDTH - LEFT - RIGHT)
}

/// A text of so many letters at most; of a longer one its end, which tells files apart.
fn shortened(text: &str, letters: usize) -> String {
    let count = text.chars().count();
    if count <= letters {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(count - letters.saturating_sub(1))).collect()
}

/// A text as it stands in XML. What XML cannot hold becomes a space.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
