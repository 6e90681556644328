//! Metric series and their points.
//!
//! A series is found by a hash of everything that identifies it, and by which of the senders that share an identity it is
//! of ([`Writers`]). Points are ordered by series and time; points
//! of one series and instant, a retried request for example, are all kept and told apart by `seq`: each commit takes
//! the next numbers of the day, so that nothing need be looked up.
//!
//! Series *rest* and are forgotten as names are, see [`names`](super::names); but their ids are given within a commit.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::connection::Connection;
use super::day::{Day, seen_on};
use super::error::Error;
use super::hours::{self, Touched};
use super::names::info::hash;
use super::names::{OVERFLOW, Oldest};
use super::rows::{PointRow, SeriesDefinition};
use super::values::Values;
use super::writers::{self, Writers};
use super::{dictionaries, partition, table};
use crate::model::id::{SeriesId, ServiceId, TenantNumber};
use crate::model::metric::PointValue;
use crate::model::rollup::HOUR_SECONDS;

/// `points.flags`: the sender says that there is a gap.
const FLAG_GAP: i64 = 1;
/// `points.flags`: the value is one that SQLite cannot hold, a NaN or minus zero, kept as its bits in `int_value`.
const FLAG_BITS: i64 = 2;

/// Identity of a series.
type Identity = (TenantNumber, u128);

/// The series in memory: 48 bytes each.
#[derive(Debug)]
pub(super) struct SeriesTable {
    known: HashMap<Identity, Known>,
    /// How many series of each tenant take room.
    counts: HashMap<TenantNumber, usize>,
    next: u32,
    /// Most series of one tenant, and of all together, that do not rest; and how many more that do. Past it, points of new
    /// series go to one series for each service and kind, whose name is [`OVERFLOW`].
    limits: (usize, usize),
    writers: Writers,
    /// Hours that are noted as not reckoned.
    pub(super) touched: Touched,
    /// What it was last told to have series rest by.
    oldest: Option<Oldest>,
    /// Series that have no points of a day from here on rest. It only rises.
    rests_before: Day,
    /// Series that are to be forgotten if nothing comes of them before.
    unseen: Vec<Identity>,
}

/// What memory holds of a series.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: SeriesId,
    /// The last day of its points, or a later one.
    last: Day,
    /// Whether it takes room; those that others share do not.
    counts: bool,
}

/// What a commit changes in memory once it succeeded.
#[derive(Debug, Default)]
pub(super) struct Staged {
    new: HashMap<Identity, Known>,
    added: HashMap<TenantNumber, usize>,
    /// Series of which points of a later day came, and that day.
    seen: HashMap<Identity, Day>,
    /// Points that went to an overflow series.
    pub(super) overflowed: u64,
    /// The first free `seq` of each day that got points.
    pub(super) seqs: BTreeMap<Day, i64>,
    writers: writers::Staged,
    /// The hours that got points.
    hours: BTreeSet<i64>,
}

/// A series that nothing which is kept has points of, or of which there are too many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unseen {
    identity: Identity,
    pub(super) id: SeriesId,
}

/// A point with its place in the table.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    series: SeriesId,
    seq: i64,
    row: &'a PointRow,
}

/// A series that is not stored yet.
#[derive(Debug)]
struct NewSeries<'a> {
    id: SeriesId,
    hash: u128,
    overflow: bool,
    last: Day,
    row: &'a PointRow,
}

impl SeriesTable {
    /// Reads which series there are.
    pub(super) async fn start(connection: &mut Connection, limits: (usize, usize)) -> Result<Self, Error> {
        let mut table = Self {
            known: HashMap::new(),
            counts: HashMap::new(),
            next: 1,
            limits,
            writers: Writers::default(),
            touched: Touched::new(),
            oldest: None,
            rests_before: Day(i32::MIN),
            unseen: Vec::new(),
        };
        let rows =
            connection.sql(format!("SELECT id, tenant_id, hash, name = '{OVERFLOW}', last_day FROM series"));
        let rows = connection.rows(rows, |row| {
            let hash: [u8; 16] =
                row.get::<&[u8]>(2)?.try_into().map_err(|_| Error::Unreadable { what: "series hash" })?;
            let tenant = TenantNumber(row.get(1)?);
            let known =
                Known { id: SeriesId(row.get(0)?), last: Day(row.get(4)?), counts: !row.get::<bool>(3)? };
            Ok(((tenant, u128::from_be_bytes(hash)), known))
        });
        for (identity, known) in rows.await? {
            table.known.insert(identity, known);
            *table.counts.entry(identity.0).or_default() += usize::from(known.counts);
            table.next = table.next.max(known.id.0 + 1);
        }
        Ok(table)
    }

    /// Writes `points` and the series they open; `seq` answers the first free number of a day. Changes nothing in
    /// memory; see [`SeriesTable::take`].
    pub(super) async fn write(
        &self,
        connection: &mut Connection,
        points: &[PointRow],
        seq: impl Fn(Day) -> i64,
    ) -> Result<Staged, Error> {
        let mut staged = Staged::default();
        let mut new = Vec::new();
        let mut definitions = Definitions::default();
        let mut placed: BTreeMap<Day, Vec<Placed<'_>>> = BTreeMap::new();
        for row in points {
            let series = self.settle(self.identity(&mut definitions, row), row, &mut staged, &mut new);
            staged.hours.insert(row.point.time.bucket_seconds(HOUR_SECONDS));
            placed.entry(Day::of(row.point.time)).or_default().push(Placed { series, seq: 0, row });
        }
        let fresh = staged.hours.iter().copied().filter(|hour| !self.touched.has(*hour));
        hours::note(connection, "unreckoned", fresh).await?;
        // What came late takes room as well.
        let new_days = staged.new.values_mut().map(|known| &mut known.last);
        for last in staged.seen.values_mut().chain(new_days) {
            *last = self.rests_before.max(*last);
        }
        for series in &mut new {
            let opened = staged.new.get(&(series.row.tenant, series.hash));
            series.last = opened.map_or(series.last, |opened| opened.last);
        }
        connection.insert(&table::SERIES.whole(), &new, bind_series).await?;
        self.write_last_days(connection, &staged).await?;
        for (day, mut placed) in placed {
            placed.sort_by_key(|placed| (placed.series, placed.row.point.time));
            let first = seq(day);
            let mut next = first;
            let instant = |placed: &Placed<'_>| (placed.series, placed.row.point.time.0);
            for run in placed.chunk_by_mut(|a, b| instant(a) == instant(b)) {
                for (placed, seq) in run.iter_mut().zip(first..) {
                    placed.seq = seq;
                    next = next.max(seq + 1);
                }
            }
            staged.seqs.insert(day, next);
            let target = table::POINTS.on(partition::POINTS, day);
            connection.insert(&target, &placed, bind_point).await?;
        }
        Ok(staged)
    }

    async fn write_last_days(&self, connection: &mut Connection, staged: &Staged) -> Result<(), Error> {
        let mut last_days: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
        for (identity, day) in &staged.seen {
            if let Some(known) = self.known.get(identity) {
                last_days.entry(*day).or_default().push(known.id.0);
            }
        }
        for (day, mut ids) in last_days {
            ids.sort_unstable();
            dictionaries::set_last_day(connection, table::SERIES.name, day, &ids).await?;
        }
        Ok(())
    }

    /// Takes over what [`SeriesTable::write`] wrote.
    pub(super) fn take(&mut self, staged: Staged) {
        for known in staged.new.values() {
            self.next = self.next.max(known.id.0 + 1);
        }
        for (identity, last) in staged.seen {
            let Some(known) = self.known.get_mut(&identity) else { continue };
            let rested = known.last < self.rests_before;
            known.last = known.last.max(last);
            if rested && known.counts {
                *self.counts.entry(identity.0).or_default() += 1;
            }
        }
        self.touched.touch(staged.hours);
        self.known.extend(staged.new);
        self.writers.take(staged.writers);
        for (tenant, added) in staged.added {
            *self.counts.entry(tenant).or_default() += added;
        }
    }

    /// What the series of a point is told apart by. One that is known from when attributes went by the order in which they came
    /// goes on.
    fn identity<'a>(&self, definitions: &mut Definitions<'a>, row: &'a PointRow) -> u128 {
        let attributes = row.point.attributes.identity();
        if let Cow::Owned(_) = attributes {
            let as_they_came = definitions.series_hash(row, row.point.attributes.as_bytes());
            if self.known.contains_key(&(row.tenant, as_they_came)) {
                return as_they_came;
            }
        }
        definitions.series_hash(row, &attributes)
    }

    /// The series that a point goes to.
    fn settle<'a>(
        &self,
        identity: u128,
        row: &'a PointRow,
        staged: &mut Staged,
        new: &mut Vec<NewSeries<'a>>,
    ) -> SeriesId {
        let Some(first) = self.find_or_open(identity, row, staged, new) else {
            return self.overflow(row, staged, new);
        };
        let writer = self.writers.writer(first, row, &mut staged.writers);
        if writer == 0 {
            return first;
        }
        let identity = hash(&[&identity.to_le_bytes(), &[writer]]);
        self.find_or_open(identity, row, staged, new).unwrap_or_else(|| self.overflow(row, staged, new))
    }

    /// The series with this hash; none when it would be one too many.
    fn find_or_open<'a>(
        &self,
        hash: u128,
        row: &'a PointRow,
        staged: &mut Staged,
        new: &mut Vec<NewSeries<'a>>,
    ) -> Option<SeriesId> {
        let key = (row.tenant, hash);
        if let Some(id) = self.find(key, row, staged) {
            return Some(id);
        }
        let count = |counts: &HashMap<_, usize>| counts.get(&row.tenant).copied().unwrap_or(0);
        let all = |counts: &HashMap<_, usize>| counts.values().sum::<usize>();
        let is_full = count(&self.counts) + count(&staged.added) >= self.limits.0
            || all(&self.counts) + all(&staged.added) >= self.limits.1;
        if is_full {
            return None;
        }
        *staged.added.entry(row.tenant).or_default() += 1;
        Some(self.open(key, row, false, (staged, new)))
    }

    /// The series of what is too much.
    fn overflow<'a>(&self, row: &'a PointRow, staged: &mut Staged, new: &mut Vec<NewSeries<'a>>) -> SeriesId {
        staged.overflowed += 1;
        let key = (row.tenant, overflow_hash(row));
        match self.find(key, row, staged) {
            Some(id) => id,
            None => self.open(key, row, true, (staged, new)),
        }
    }

    /// A series that is there; notes the day of the point.
    fn find(&self, key: Identity, row: &PointRow, staged: &mut Staged) -> Option<SeriesId> {
        if let Some(known) = self.known.get(&key) {
            let day = seen_on(known.id.0, row.point.time);
            if known.last < day {
                let last = staged.seen.entry(key).or_insert(day);
                *last = day.max(*last);
            }
            return Some(known.id);
        }
        let opened = staged.new.get_mut(&key)?;
        opened.last = opened.last.max(seen_on(opened.id.0, row.point.time));
        Some(opened.id)
    }

    fn open<'a>(
        &self,
        key: Identity,
        row: &'a PointRow,
        overflow: bool,
        (staged, new): (&mut Staged, &mut Vec<NewSeries<'a>>),
    ) -> SeriesId {
        let offset = u32::try_from(new.len()).expect("a commit has fewer than four billion points");
        let id = SeriesId(self.next + offset);
        let last = seen_on(id.0, row.point.time);
        staged.new.insert(key, Known { id, last, counts: !overflow });
        new.push(NewSeries { id, hash: key.1, overflow, last, row });
        id
    }
}

impl SeriesTable {
    /// Has series rest that have no points of a day from `oldest.usual` on, or from that of an earlier call. Of those that have
    /// none of anything kept, and of the others older than `oldest.raw` while more rest than there is room for, it remembers
    /// that they are to be forgotten, those whose points are newer for last. Where `oldest` is as in the last call, it does
    /// nothing; else it takes some dozen milliseconds for each million series.
    pub(super) fn rest(&mut self, oldest: Oldest) {
        if self.oldest == Some(oldest) {
            return;
        }
        self.oldest = Some(oldest);
        self.rests_before = self.rests_before.max(oldest.usual);
        self.counts.clear();
        let mut resting = Vec::new();
        for (identity, known) in &self.known {
            if known.last < self.rests_before {
                resting.push((known.last, known.id, *identity));
            } else {
                *self.counts.entry(identity.0).or_default() += usize::from(known.counts);
            }
        }
        resting.sort_unstable();
        let (mut kept, mut of_tenants) = (0, HashMap::new());
        self.unseen.clear();
        for (last, _, identity) in resting.into_iter().rev() {
            let of_tenant: &mut usize = of_tenants.entry(identity.0).or_default();
            let has_room = kept < self.limits.1 && *of_tenant < self.limits.0;
            if last >= oldest.raw || last >= oldest.any && has_room {
                kept += 1;
                *of_tenant += 1;
            } else {
                self.unseen.push(identity);
            }
        }
    }

    /// The next `most` series that are to be forgotten: remove them from the table, and say so by [`SeriesTable::forget`].
    pub(super) fn unseen(&self, most: usize) -> Vec<Unseen> {
        self.unseen.iter().rev().filter_map(|identity| self.leaving(*identity)).take(most).collect()
    }

    /// Forgets series that were removed from the table.
    pub(super) fn forget(&mut self, unseen: &[Unseen]) {
        for Unseen { identity, id } in unseen {
            self.known.remove(identity);
            self.writers.forget(*id);
        }
        while let Some(identity) = self.unseen.last().copied()
            && self.leaving(identity).is_none()
        {
            self.unseen.pop();
        }
    }

    /// A series that is to be forgotten, unless points of it came, or it is the one with the highest id: that one stays, so that
    /// after a restart too its id is not given again.
    fn leaving(&self, identity: Identity) -> Option<Unseen> {
        let known = self.known.get(&identity)?;
        let is_last = known.id.0 + 1 == self.next;
        let rests = self.oldest.is_some_and(|oldest| known.last < oldest.raw);
        (rests && !is_last).then_some(Unseen { identity, id: known.id })
    }
}

/// Remembers the hash of the definition seen last: points of one metric follow each other.
#[derive(Debug, Default)]
struct Definitions<'a> {
    last: Option<(&'a Arc<SeriesDefinition>, u128)>,
}

impl<'a> Definitions<'a> {
    fn series_hash(&mut self, row: &'a PointRow, attributes: &[u8]) -> u128 {
        let definition = match self.last {
            Some((definition, hash)) if Arc::ptr_eq(definition, &row.series) => hash,
            _ => definition_hash(&row.series),
        };
        self.last = Some((&row.series, definition));
        hash(&[
            &definition.to_le_bytes(),
            &row.service.0.to_le_bytes(),
            &row.resource.0.to_le_bytes(),
            &row.instrumentation.0.to_le_bytes(),
            attributes,
        ])
    }
}

fn definition_hash(series: &SeriesDefinition) -> u128 {
    hash(&[
        series.name.as_str().as_bytes(),
        series.unit.as_str().as_bytes(),
        &[series.kind as u8, series.temporality as u8, u8::from(series.monotonic)],
    ])
}

fn overflow_hash(row: &PointRow) -> u128 {
    hash(&[OVERFLOW.as_bytes(), &[row.series.kind as u8], &row.service.0.to_le_bytes()])
}

fn bind_series(values: &mut Values, series: &NewSeries<'_>) {
    let row = series.row;
    let definition = &row.series;
    let ServiceId(service) = row.service;
    values.int(series.id.0);
    values.int(row.tenant.0);
    values.blob(&series.hash.to_be_bytes());
    if series.overflow {
        values.text(OVERFLOW);
        values.text("");
        values.text("");
        values.blob(&[]);
    } else {
        values.text(definition.name.as_str());
        values.text(definition.unit.as_str());
        values.text(definition.description.as_str());
        values.blob(definition.metadata.as_bytes());
    }
    values.int(definition.kind as u8);
    values.int(definition.temporality as u8);
    values.int(definition.monotonic);
    values.int(service);
    values.int(row.resource.0);
    values.int(row.instrumentation.0);
    values.blob(if series.overflow { &[] } else { row.point.attributes.as_bytes() });
    values.int(row.point.time.0);
    values.int(series.last.0);
}

fn bind_point(values: &mut Values, placed: &Placed<'_>) {
    let point = &placed.row.point;
    values.int(placed.series.0);
    values.int(point.time.0);
    values.int(placed.seq);
    values.int(point.start.0);
    let (int, real, count) = match point.value {
        PointValue::Gap => (None, None, None),
        PointValue::Int(value) => (Some(value), None, None),
        PointValue::Double(value) => (None, Some(value), None),
        PointValue::Distribution { count, sum } => (None, sum, Some(count.cast_signed())),
    };
    // SQLite has no NaN and no minus zero: they would become "no value" and zero.
    let is_lost = |value: &f64| value.is_nan() || (*value == 0.0 && value.is_sign_negative());
    let bits = real.filter(is_lost).map(|value| value.to_bits().cast_signed());
    let gap = matches!(point.value, PointValue::Gap);
    values.int(if gap { FLAG_GAP } else { 0 } | if bits.is_some() { FLAG_BITS } else { 0 });
    values.optional_int(int.or(bits));
    values.optional_real(real.filter(|value| !value.is_nan()));
    values.optional_int(count);
    let detail = point.detail.as_bytes();
    values.optional_blob((!detail.is_empty()).then_some(detail));
}
