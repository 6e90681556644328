//! What was counted in windows of time, from the graph where it still remembers them, else from the store.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fault;
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, HOUR_SECONDS, Subject};
use crate::model::subject_map::SubjectMap;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::rollups::{RollupKind, is_about};

use super::error::Error;
use super::handle::Query;
use super::window::{self, Comparison, Part};

/// Ages up to which buckets of ten seconds, and of a minute, are kept: a little less than the usual two days and thirty.
const FINE_KEPT: Duration = Duration::from_secs(46 * 3_600);
/// See [`FINE_KEPT`].
const MINUTES_KEPT: Duration = Duration::from_secs(28 * 86_400);

/// Sums by subject.
pub type Sums = SubjectMap<Cell>;

impl Query {
    /// The time from which anything of the tenant is known, up to now.
    pub(super) async fn known(&self, tenant: TenantNumber) -> Result<Option<Window>, Error> {
        let range = self.store.rollup_range(tenant).await?;
        Ok(range.map(|range| Window::new(range.from, range.to.max(self.clock.now()))))
    }

    /// The width in seconds of the buckets that are surely kept of a time, under the usual retention.
    pub(super) fn kept_width(&self, at: UnixNanos) -> i64 {
        let age = self.clock.now().since(at.min(self.clock.now()));
        match age {
            _ if age < FINE_KEPT => FINE_SECONDS,
            _ if age < MINUTES_KEPT => COARSE_SECONDS,
            _ => HOUR_SECONDS,
        }
    }

    /// The window in whole buckets of the width that is kept of its time: what begins and ends within one cannot be told apart.
    pub(super) fn kept(&self, window: Window) -> Window {
        match self.kept_width(window.from) {
            FINE_SECONDS => window,
            width => window::whole_buckets(window, width),
        }
    }

    /// Both windows of a comparison, cut to what is known and kept; see [`window::known_part`].
    pub(super) fn known_part(&self, comparison: Comparison, known: Window) -> (Window, Option<Window>) {
        let (now, before) = window::known_part(comparison, known);
        // One width for both, so that they touch.
        let width = self.kept_width(before.map_or(now.from, |before| before.from.min(now.from)));
        if width == FINE_SECONDS {
            return (now, before);
        }
        let now = window::whole_buckets(now, width);
        let before = before.map(|before| {
            let whole = window::whole_buckets(before, width);
            let last = UnixNanos::from_seconds(now.from.seconds() - width);
            Window::new(whole.from.min(last), whole.to.min(now.from))
        });
        (now, before)
    }

    /// What happened in `window`, summed over it.
    pub(super) async fn sums(&self, tenant: TenantNumber, window: Window) -> Result<Sums, Error> {
        Ok(self.sums_of(tenant, &[window]).await?.pop().unwrap_or_default())
    }

    /// What happened in each of `windows`.
    pub(super) async fn sums_of(&self, tenant: TenantNumber, windows: &[Window]) -> Result<Vec<Sums>, Error> {
        self.sums_about(tenant, windows, None).await
    }

    /// The same for those subjects alone that are about some numbers, where there are any.
    pub(super) async fn sums_about(
        &self,
        tenant: TenantNumber,
        windows: &[Window],
        numbers: Option<BTreeSet<u32>>,
    ) -> Result<Vec<Sums>, Error> {
        let parts = windows.iter().map(|window| window::parts(self.kept(*window))).collect();
        let kinds = &[RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];
        self.added_up(tenant, parts, (kinds, numbers)).await
    }

    /// How many log records of each template came in each of `windows`, which are whole minutes.
    pub(super) async fn logs_of(&self, tenant: TenantNumber, windows: &[Window]) -> Result<Vec<Sums>, Error> {
        let part = |window: &Window| vec![Part { window: *window, width_seconds: COARSE_SECONDS }];
        self.added_up(tenant, windows.iter().map(part).collect(), (&[RollupKind::Logs], None)).await
    }

    /// The cells of subjects of some kinds, or of those alone that are about some numbers, in each of several windows, each
    /// made of parts.
    async fn added_up(
        &self,
        tenant: TenantNumber,
        parts: Vec<Vec<Part>>,
        (kinds, numbers): (&'static [RollupKind], Option<BTreeSet<u32>>),
    ) -> Result<Vec<Sums>, Error> {
        let is_remembered = |part: &Part| self.graph.covers_by(tenant, part.window, part.width_seconds);
        let (remembered, stored): (Vec<Vec<Part>>, Vec<Vec<Part>>) =
            parts.into_iter().map(|parts| parts.into_iter().partition::<Vec<Part>, _>(is_remembered)).unzip();
        let (graph, about) = (self.graph.clone(), numbers.clone());
        let remembered = tokio::task::spawn_blocking(move || {
            fault::point("query.summed");
            let part = |part: &Part| (part.window, part.width_seconds);
            let parts: Vec<Vec<(Window, i64)>> =
                remembered.iter().map(|parts| parts.iter().map(part).collect()).collect();
            let is_wanted = |subject: &Subject| {
                kinds.contains(&RollupKind::of(subject))
                    && about.as_ref().is_none_or(|numbers| is_about(subject, numbers))
            };
            graph.merged_each(tenant, &parts, is_wanted)
        });
        let (mut sums, remembered) =
            tokio::try_join!(self.stored(tenant, &stored, (kinds, numbers.as_ref())), async {
                remembered.await.map_err(|_| Error::Abandoned)
            })?;
        if sums.iter().all(Sums::is_empty) {
            return Ok(remembered);
        }
        let work = tokio::task::spawn_blocking(move || {
            sums.iter_mut().zip(remembered).for_each(|(sums, more)| add(sums, more));
            sums
        });
        work.await.map_err(|_| Error::Abandoned)
    }

    /// What the store has of windows, each made of parts; what several have in common is read once.
    async fn stored(
        &self,
        tenant: TenantNumber,
        parts: &[Vec<Part>],
        (kinds, numbers): (&[RollupKind], Option<&BTreeSet<u32>>),
    ) -> Result<Vec<Sums>, Error> {
        let mut known = Vec::new();
        for piece in pieces(parts) {
            let Part { window, width_seconds } = piece;
            let cells = match numbers {
                Some(numbers) => {
                    let about = (kinds, numbers);
                    self.store.merged_rollups_about(tenant, width_seconds, window, about).await?
                }
                None => self.store.merged_rollups(tenant, width_seconds, window, kinds).await?,
            };
            known.push((piece, cells));
        }
        Ok(together(parts, known))
    }
}

/// All parts, cut wherever one of the same width begins or ends, so that what several have in common is read once.
fn pieces(parts: &[Vec<Part>]) -> Vec<Part> {
    let mut pieces = Vec::new();
    for width_seconds in [FINE_SECONDS, COARSE_SECONDS] {
        let own = || {
            let all = parts.iter().flatten();
            all.filter(|part| part.width_seconds == width_seconds).map(|part| part.window)
        };
        let cuts: BTreeSet<UnixNanos> = own().flat_map(|window| [window.from, window.to]).collect();
        let between = cuts.iter().zip(cuts.iter().skip(1)).map(|(from, to)| Window::new(*from, *to));
        let wanted = between.filter(|piece| own().any(|window| is_within(*piece, window)));
        pieces.extend(wanted.map(|window| Part { window, width_seconds }));
    }
    pieces
}

/// The sums of the pieces of each list of parts.
fn together(parts: &[Vec<Part>], known: Vec<(Part, Sums)>) -> Vec<Sums> {
    let is_of = |piece: &Part, part: &Part| {
        piece.width_seconds == part.width_seconds && is_within(piece.window, part.window)
    };
    let mut sums: Vec<Sums> = parts.iter().map(|_| Sums::default()).collect();
    for (piece, cells) in known {
        let mut wanted: Vec<&mut Sums> = sums
            .iter_mut()
            .zip(parts)
            .filter_map(|(sums, own)| own.iter().any(|part| is_of(&piece, part)).then_some(sums))
            .collect();
        let last = wanted.pop();
        for sums in wanted {
            add(sums, cells.clone());
        }
        if let Some(sums) = last {
            add(sums, cells);
        }
    }
    sums
}

fn add(sums: &mut Sums, cells: Sums) {
    if sums.is_empty() {
        *sums = cells;
        return;
    }
    for (subject, cell) in cells {
        sums.entry(subject).or_default().merge(&cell);
    }
}

fn is_within(piece: Window, window: Window) -> bool {
    window.from <= piece.from && piece.to <= window.to
}

#[cfg(test)]
mod tests {
    use crate::model::id::OperationId;

    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to))
    }

    #[test]
    fn what_windows_have_in_common_is_one_piece() {
        let parts = [window::parts(window(0, 600)), window::parts(window(130, 600))];
        let cut: Vec<(Window, i64)> =
            pieces(&parts).into_iter().map(|piece| (piece.window, piece.width_seconds)).collect();
        assert_eq!(cut, [(window(130, 180), 10), (window(0, 180), 60), (window(180, 600), 60)]);
    }

    #[test]
    fn nothing_between_windows_is_read() {
        let parts = [window::parts(window(0, 60)), window::parts(window(120, 180))];
        let cut: Vec<Window> = pieces(&parts).into_iter().map(|piece| piece.window).collect();
        assert_eq!(cut, [window(0, 60), window(120, 180)]);
    }

    #[test]
    fn each_window_has_the_sum_of_its_pieces() {
        let parts = [window::parts(window(0, 600)), window::parts(window(180, 600))];
        let counted = |count| {
            Sums::from_iter([(Subject::Operation(OperationId(1)), Cell { count, ..Cell::default() })])
        };
        let known = pieces(&parts).into_iter().zip([counted(3), counted(7)]).collect();
        let sums: Vec<u64> =
            together(&parts, known).iter().map(|sums| sums.values().map(|cell| cell.count).sum()).collect();
        assert_eq!(sums, [10, 7]);
    }
}
