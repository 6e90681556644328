//! Intervals in a row: the points of a series cut into steps, and windows that slide over them.

use super::nature::Nature;
use super::rollup::{Growth, Rollup};
use crate::model::metric::Point;
use crate::model::time::UnixNanos;

/// Steps of equal length, one after the other, and the window that ends with each of them. Like every
/// [`Window`](crate::model::time::Window) a step holds the instant it begins with, not the one it ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Where the first step begins.
    pub from: UnixNanos,
    /// Length of a step in nanoseconds, above zero.
    pub step_ns: i64,
    /// How many steps.
    pub steps: usize,
    /// How many steps, the last one included, the window of a step is long; above zero.
    pub window_steps: usize,
    /// Where the question ends: before the end of the last step, where that goes on.
    pub to: UnixNanos,
    /// From when on points were looked for; a series without an earlier point may have begun since then.
    pub known_from: UnixNanos,
}

/// A roll-up of one step; steps before the first one have negative numbers.
pub type Cell = (i64, Rollup);

impl Plan {
    /// Length of the window that ends with a step, in nanoseconds, up to where the question ends.
    pub fn window_ns(&self, step: usize) -> u64 {
        let ahead = |steps: usize| self.step_ns.saturating_mul(i64::try_from(steps).unwrap_or(i64::MAX));
        let end = self.from.0.saturating_add(ahead(step.saturating_add(1)));
        let length = ahead(self.window_steps).saturating_sub(end.saturating_sub(self.to.0).max(0));
        length.max(1).unsigned_abs()
    }

    /// The step that holds an instant; negative before the first one.
    fn place(&self, time: UnixNanos) -> i64 {
        time.0.saturating_sub(self.from.0).div_euclid(self.step_ns)
    }

    /// The roll-ups of the steps in which the series has points, in order; points may come in any order.
    pub fn cells(&self, nature: Nature, points: &[Point]) -> Vec<Cell> {
        let mut ordered: Vec<&Point> = points.iter().collect();
        ordered.sort_by_key(|point| point.time);
        let place = |point: &Point| self.place(point.time);
        let runs = ordered.chunk_by(|a, b| place(a) == place(b));
        runs.filter_map(|run| Some((place(run.first()?), Rollup::of_ordered(nature, run)))).collect()
    }

    /// The roll-ups of the steps, in order, from those of shorter intervals: each with its beginning, one behind the
    /// other. Steps are whole numbers of such intervals.
    pub fn joined(&self, shorter: impl IntoIterator<Item = (UnixNanos, Rollup)>) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::new();
        for (from, rollup) in shorter {
            let place = self.place(from);
            match cells.pop_if(|(step, _)| *step == place) {
                Some((_, earlier)) => cells.push((place, joined(Some(earlier), &rollup))),
                None => cells.push((place, rollup)),
            }
        }
        cells
    }

    /// Shows `each` the windows in which the series has points, by the number of the step they end with: the roll-up
    /// of the window, and what the series counted in it. Takes time in proportion to cells and steps, however long the
    /// windows are.
    pub fn windows(&self, cells: &[Cell], mut each: impl FnMut(usize, &Rollup, Growth)) {
        if self.window_steps == 1 {
            return self.single_steps(cells, each);
        }
        let mut sliding = Sliding::default();
        let mut coming = cells.iter().peekable();
        for step in 0..self.steps {
            let last = i64::try_from(step).unwrap_or(i64::MAX);
            let first = last.saturating_sub(i64::try_from(self.window_steps).unwrap_or(i64::MAX) - 1);
            while let Some(cell) = coming.next_if(|(place, _)| *place <= last) {
                sliding.push(cell);
            }
            sliding.forget_before(first);
            let Some(rollup) = sliding.rollup() else { continue };
            let from = UnixNanos(self.from.0.saturating_add(first.saturating_mul(self.step_ns)));
            let growth = rollup.growth(sliding.before, self.known_from, from);
            each(step, &rollup, growth);
        }
    }

    /// The same where each window is one step: nothing has to be merged.
    fn single_steps(&self, cells: &[Cell], mut each: impl FnMut(usize, &Rollup, Growth)) {
        let mut before: Option<&Rollup> = None;
        for (place, rollup) in cells {
            if let Some(step) = usize::try_from(*place).ok().filter(|step| *step < self.steps) {
                let from = UnixNanos(self.from.0.saturating_add(place.saturating_mul(self.step_ns)));
                each(step, rollup, rollup.growth(before, self.known_from, from));
            }
            if rollup.has_points() {
                before = Some(rollup);
            }
        }
    }
}

/// The cells of a window that slides forward: two stacks, so that each cell is merged a few times at most.
#[derive(Default)]
struct Sliding<'a> {
    /// The older cells, newest first, each merged with all older-stack cells behind it.
    older: Vec<Cell>,
    newer: Vec<&'a Cell>,
    newer_sum: Option<Rollup>,
    /// The last cell with a point before the window.
    before: Option<&'a Rollup>,
    /// Cells in order, from the first that is in the window.
    inside: std::collections::VecDeque<&'a Cell>,
}

impl<'a> Sliding<'a> {
    fn push(&mut self, cell: &'a Cell) {
        self.inside.push_back(cell);
        self.newer.push(cell);
        self.newer_sum = Some(joined(self.newer_sum.take(), &cell.1));
    }

    fn forget_before(&mut self, first: i64) {
        while let Some((_, rollup)) = self.inside.pop_front_if(|(place, _)| *place < first) {
            if rollup.has_points() {
                self.before = Some(rollup);
            }
            if self.older.is_empty() {
                for (place, rollup) in self.newer.drain(..).rev() {
                    let behind = self.older.last().map(|(_, behind)| behind);
                    let sum = behind.map_or_else(|| rollup.clone(), |it| joined(Some(rollup.clone()), it));
                    self.older.push((*place, sum));
                }
                self.newer_sum = None;
            }
            self.older.pop();
        }
    }

    fn rollup(&self) -> Option<Rollup> {
        match (self.older.last(), &self.newer_sum) {
            (Some((_, older)), Some(newer)) => Some(joined(Some(older.clone()), newer)),
            (Some((_, only)), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        }
    }
}

fn joined(earlier: Option<Rollup>, later: &Rollup) -> Rollup {
    let Some(mut sum) = earlier else { return later.clone() };
    sum.merge(later).expect("cells of one series were cut by time, so that a later one begins later");
    sum
}
