//! Points out of the store, page by page, so that memory holds one page and the answer however many there are.
//!
//! Where steps are whole hours, the hours that were reckoned are read, and points only of those that were not: the answer
//! is the same, takes less reading, and goes back further than points are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::POINTS_MAX;
use super::hours::{self, StoredHours};
use super::refusal::Refusal;
use crate::model::id::{SeriesId, TenantNumber};
use crate::model::metric::Point;
use crate::model::time::{UnixNanos, Window};
use crate::query::error::Error;
use crate::query::handle::Query;
use crate::reckon::Nature;
use crate::reckon::gather::Gathered;
use crate::reckon::steps::Plan;
use crate::store::read::metrics::PointsAsk;

/// How many points are read, and what of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::query) struct Pages {
    /// Points of one page; a single series must have fewer.
    pub(super) page_points: usize,
    /// Hours of one page; a single series may have no more.
    pub(super) page_hours: usize,
    /// Points and hours of all pages together.
    pub(super) points: usize,
    /// Whether the buckets and percentiles of distributions are wanted too: without them count and sum are known.
    pub(super) with_detail: bool,
}

impl Pages {
    /// What a question may read: a page holds some tens of megabytes.
    pub(in crate::query) const OF_A_QUESTION: Self =
        Self { page_points: 100_000, page_hours: 20_000, points: POINTS_MAX, with_detail: true };
    /// The same for a question about levels alone.
    pub(in crate::query) const OF_LEVELS: Self = Self { with_detail: false, ..Self::OF_A_QUESTION };
}

const _: () = assert!(Pages::OF_A_QUESTION.page_points <= crate::store::read::metrics::POINTS_MAX);
const _: () = assert!(Pages::OF_A_QUESTION.page_hours < crate::store::read::metric_hours::HOURS_MAX);

/// What was gathered: for each group and step, none where no series has points. Most have none.
pub(in crate::query) type Groups = Vec<Vec<Option<Box<Gathered>>>>;

/// The series of one kind and unit, in groups.
#[derive(Debug)]
pub(in crate::query) struct Part {
    /// Why they do not answer the function.
    pub(super) unfit: Option<&'static str>,
    nature: Nature,
    groups: BTreeMap<Vec<String>, Group>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Group {
    number: usize,
    series: usize,
}

/// A series and the group it is in.
#[derive(Debug, Clone, Copy)]
struct Member {
    series: SeriesId,
    nature: Nature,
    group: usize,
}

impl Part {
    /// No series yet; `nature` is that of the first.
    pub(in crate::query) const fn new(unfit: Option<&'static str>, nature: Nature) -> Self {
        Self { unfit, nature, groups: BTreeMap::new(), members: Vec::new() }
    }

    /// Adds a series to the group of its labels.
    pub(in crate::query) fn add(&mut self, labels: Vec<String>, series: SeriesId, nature: Nature) {
        let number = self.groups.len();
        let group = self.groups.entry(labels).or_insert(Group { number, series: 0 });
        group.series += 1;
        self.members.push(Member { series, nature, group: group.number });
    }

    /// How many groups there are.
    pub(in crate::query) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The labels of each group and how many series it has, in the order of [`Groups`].
    pub(in crate::query) fn into_labels(self) -> Vec<(Vec<String>, usize)> {
        let mut groups: Vec<(Vec<String>, Group)> = self.groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| group.number);
        groups.into_iter().map(|(labels, group)| (labels, group.series)).collect()
    }
}

impl Query {
    /// Gathers the points of all series of `part`.
    ///
    /// # Errors
    /// [`Refusal::TooManyPoints`] beyond `pages`; [`Error::Store`] when the store does not answer.
    pub(in crate::query) async fn reckon(
        &self,
        tenant: TenantNumber,
        part: &Part,
        plan: Plan,
        pages: Pages,
    ) -> Result<Groups, Error> {
        let to = plan.step_ns.saturating_mul(i64::try_from(plan.steps).unwrap_or(i64::MAX));
        let window = Window::new(plan.known_from, UnixNanos(plan.from.0.saturating_add(to)));
        let mut groups = vec![vec![None; plan.steps]; part.groups()];
        let mut members = part.members.clone();
        members.sort_by_key(|member| member.series);
        let members: Arc<[Member]> = members.into();
        let of_hours = hours::make(plan.step_ns);
        let windows = if of_hours { self.unreckoned(window).await? } else { vec![window] };
        let at_once = if of_hours { hours::series_at_once(window, pages.page_hours) } else { usize::MAX };
        let (mut done, mut read) = (0, 0);
        while done < members.len() {
            let ids: Vec<SeriesId> =
                members[done..].iter().take(at_once).map(|member| member.series).collect();
            let ask =
                PointsAsk { windows: &windows, limit: pages.page_points, with_detail: pages.with_detail };
            let points = self.store.points_within(tenant, &ids, ask).await?;
            // The last series of a full page may go on behind it, so the next page begins with it.
            let unfinished =
                points.last().filter(|_| points.len() >= pages.page_points).map(|(series, _)| *series);
            let whole = unfinished.map_or(ids.len(), |series| ids.partition_point(|id| *id < series));
            // Read behind the points: what is given up between the two was reckoned before.
            let hours = match of_hours {
                true => self.hours(tenant, &ids[..whole], window, pages.page_hours).await?,
                false => StoredHours::new(),
            };
            read += points.len() + hours.len();
            let refused = [
                (whole == 0, pages.page_points),
                (hours.len() > pages.page_hours, pages.page_hours),
                (read > pages.points, pages.points),
            ];
            if let Some((_, max)) = refused.into_iter().find(|(refused, _)| *refused) {
                return Err(Refusal::TooManyPoints { max }.into());
            }
            let (sharing, nature) = (Arc::clone(&members), part.nature);
            let work = tokio::task::spawn_blocking(move || {
                gather(&sharing[done..done + whole], (points, hours), plan, nature, &mut groups)?;
                Ok::<Groups, Error>(groups)
            });
            groups = work.await.map_err(|_| Error::Abandoned)??;
            done += whole;
        }
        Ok(groups)
    }
}

/// Adds the points and hours of `members`, which come by series and time, to their groups; those of others are left out.
fn gather(
    members: &[Member],
    (points, hours): (Vec<(SeriesId, Point)>, StoredHours),
    plan: Plan,
    nature: Nature,
    groups: &mut Groups,
) -> Result<(), Error> {
    let mut page = points.into_iter().peekable();
    let mut hours = hours.into_iter().peekable();
    let mut points = Vec::new();
    for member in members {
        points.clear();
        while let Some((_, point)) = page.next_if(|(series, _)| *series == member.series) {
            points.push(point);
        }
        let stored = std::iter::from_fn(|| hours.next_if(|(_, hour)| hour.series == member.series));
        let cells = match hours::make(plan.step_ns) {
            true => plan.joined(hours::join(member.nature, &points, stored)?),
            false => plan.cells(member.nature, &points),
        };
        plan.windows(&cells, |step, rollup, growth| {
            let gathered = groups[member.group][step].get_or_insert_with(|| Box::new(Gathered::new(nature)));
            gathered.add(rollup, growth, plan.window_ns(step));
        });
    }
    Ok(())
}
