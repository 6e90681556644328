//! Which entries rest, and which are forgotten.
//!
//! Ids are handed out long before the rows that have them are written: by then an entry must not have been forgotten. So it
//! is said first from which day on entries stay, and whatever is handed out from then on counts as named on that day at
//! least. What was handed out before is written once the commits that were under way have ended.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Limits;
use super::info;
use super::key::{Dictionary, Key};
use super::state::State;
use super::table::Mark;
use crate::model::id::TenantNumber;
use crate::model::rollup::{Folded, FoldedCell};
use crate::model::time::UnixNanos;
use crate::store::day::{Day, seen_on};
use crate::store::partition::{Family, Partitions};

/// Spans lie on the day on which their trace began, which may be the day before or after their own.
const SLACK_DAYS: i32 = 1;
/// Commits that may be under way at once: one that is stored and one that is made. And one more.
const UNDER_WAY: u64 = 3;

/// The families that name entries as they come; roll-ups of them are kept longer.
const RAW: [Family; 3] = [Family::Spans, Family::Logs, Family::Points];

/// The oldest days that rows which are kept may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Oldest {
    /// Spans, log records and metric points, without days that came back because something came late, as far as that can
    /// be told: what was last seen before rests.
    pub(in crate::store) usual: Day,
    /// Any spans, log records and metric points: what was last seen from here on is not forgotten.
    pub(in crate::store) raw: Day,
    /// Anything: roll-ups are kept longer.
    pub(in crate::store) any: Day,
}

impl Oldest {
    /// What `partitions` tell; none where they hold no span, log record or point.
    pub(in crate::store) fn of(partitions: &Partitions) -> Option<Self> {
        let mut raw: BTreeMap<Day, usize> = BTreeMap::new();
        for partition in partitions.0.iter().filter(|partition| RAW.contains(&partition.family)) {
            *raw.entry(partition.day).or_default() += 1;
        }
        let (first, _) = raw.first_key_value()?;
        let any = partitions.0.iter().map(|partition| partition.day).min()?;
        let days = [oldest_usual(&raw).unwrap_or(*first), *first, any];
        let [usual, raw, any] = days.map(|day| day.plus(-SLACK_DAYS));
        Some(Self { usual, raw, any })
    }
}

/// The oldest of the days that follow each other without a gap and of which one has all families: each day on which the server
/// ran once had. What came late made those that it needs, of a day that others gave up.
fn oldest_usual(families: &BTreeMap<Day, usize>) -> Option<Day> {
    let days: Vec<(Day, usize)> = families.iter().map(|(day, families)| (*day, *families)).collect();
    let mut runs = days.chunk_by(|(day, _), (next, _)| day.plus(1) == *next);
    let usual = runs.find(|run| run.iter().any(|(_, families)| *families == RAW.len()))?;
    usual.first().map(|(day, _)| *day)
}

/// How far forgetting is.
#[derive(Debug)]
pub(super) struct Pass {
    /// Whatever is handed out counts as named on this day at least, and what was last named before rests. It only rises:
    /// while a day is there again because something came late, what rested takes no room again.
    floor: Day,
    /// How many commits had moved the position when that was said.
    floor_at: u64,
    commits: u64,
    /// What it began with.
    oldest: Option<Oldest>,
    /// Whether nothing is left that could be forgotten.
    is_done: bool,
}

impl Default for Pass {
    fn default() -> Self {
        Self { floor: Day(i32::MIN), floor_at: 0, commits: 0, oldest: None, is_done: true }
    }
}

impl Pass {
    /// The day that an entry counts as named on at `at`.
    pub(super) fn day(&self, id: u32, at: UnixNanos) -> Day {
        seen_on(id, at).max(self.floor)
    }

    /// A commit moved the position.
    pub(super) const fn moved_on(&mut self) {
        self.commits += 1;
    }

    /// Begins anew where `oldest` is another one than before; answers whether it is.
    pub(super) fn begin(&mut self, oldest: Oldest) -> bool {
        if self.oldest == Some(oldest) {
            return false;
        }
        if oldest.usual > self.floor {
            (self.floor, self.floor_at) = (oldest.usual, self.commits);
        }
        (self.oldest, self.is_done) = (Some(oldest), false);
        true
    }

    pub(super) const fn end(&mut self) {
        self.is_done = true;
    }

    /// Whether something is left to forget, and whatever was handed out before the floor was said is written.
    pub(super) const fn may_forget(&self) -> bool {
        !self.is_done && self.commits >= self.floor_at + UNDER_WAY
    }
}

impl State {
    /// The entries that `cells` are about and that were last named before that.
    pub(super) fn behind(&self, cells: &Folded) -> Vec<(TenantNumber, Key, UnixNanos)> {
        let mut behind = Vec::new();
        for FoldedCell { tenant, bucket_s, subject, .. } in cells.iter() {
            let at = UnixNanos::from_seconds(bucket_s);
            let keys = Key::of(subject).into_iter().flatten();
            behind.extend(keys.filter(|key| self.is_behind(*key, at)).map(|key| (tenant, key, at)));
        }
        behind
    }

    /// Counts which entries of a tenant take room when those rest that were last named before the floor.
    pub(super) fn rest(&mut self, tenant: TenantNumber) {
        let before = self.pass.floor;
        let mut counts = [0; Dictionary::ALL.len()];
        self.walk(tenant, |key, entry| {
            counts[key.dictionary as usize] += usize::from(entry.counts && entry.last >= before);
        });
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            (tenant.counts, tenant.rests_before) = (counts, Some(before));
        }
    }

    /// Forgets entries of a tenant that rest, see [`super::Names::forget`].
    pub(super) fn forget(
        &mut self,
        tenant: TenantNumber,
        (oldest, limits): (Oldest, &Limits),
        referred: &HashSet<Key>,
        most: usize,
    ) -> Vec<Key> {
        let Some(before) = self.tenants.get(&tenant).and_then(|tenant| tenant.rests_before) else {
            return Vec::new();
        };
        let mut resting: [Vec<(Day, u32)>; Dictionary::ALL.len()] = Default::default();
        self.walk(tenant, |key, entry| {
            if entry.last < before {
                resting[key.dictionary as usize].push((entry.last, key.id));
            }
        });
        let stays = Stays { before: before.min(oldest.raw), from: self.last_written(), referred };
        let mut gone = Vec::new();
        for dictionary in Dictionary::ALL {
            let mut resting = std::mem::take(&mut resting[dictionary as usize]);
            resting.sort_unstable();
            let beyond = resting.len().saturating_sub(limits.of(dictionary));
            let too_many = resting.iter().zip(0..);
            let too_many = too_many.take_while(|((last, _), place)| *last < oldest.any || *place < beyond);
            for ((_, id), _) in too_many {
                if gone.len() >= most {
                    break;
                }
                gone.extend(self.leaving(Key { dictionary, id: *id }, &stays));
            }
        }
        // A node was forgotten with what it has, which rested as well.
        gone.sort_unstable();
        gone.dedup();
        self.remove(tenant, &gone);
        self.pending.gone.extend(&gone);
        gone
    }

    /// What leaves when an entry does: itself, and of a node its operations and resources; nothing where some of it stays.
    fn leaving(&self, key: Key, stays: &Stays<'_>) -> Vec<Key> {
        let mut leaving = vec![key];
        if key.dictionary == Dictionary::Services
            && let Some(service) = self.services.get(key.id)
        {
            leaving.extend(service.operations.values().flatten().map(|(_, id)| Key::from(*id)));
            leaving.extend(service.resources.iter().map(|id| Key::from(*id)));
        }
        let leaves = |key: &Key| self.mark(*key).is_none_or(|entry| stays.lets_go(*key, entry));
        if leaving.iter().all(leaves) { leaving } else { Vec::new() }
    }

    /// Of each dictionary the highest id that is in the database, or may be: what has it stays, so that after a restart too
    /// no id is given twice.
    fn last_written(&self) -> [u32; Dictionary::ALL.len()] {
        let pending = &self.pending;
        let next = [
            pending.services.first().map_or(self.services.next(), |dated| dated.entry.id.0),
            pending.operations.first().map_or(self.operations.next(), |dated| dated.entry.id.0),
            pending.resources.first().map_or(self.resources.next(), |dated| dated.entry.id.0),
            pending.instrumentations.first().map_or(self.instrumentations.next(), |dated| dated.entry.id.0),
        ];
        next.map(|next| next.saturating_sub(1))
    }

    /// Takes entries out, of no node without its operations and resources.
    fn remove(&mut self, tenant: TenantNumber, gone: &[Key]) {
        let Some(tenant) = self.tenants.get_mut(&tenant) else { return };
        let mut senders = HashSet::new();
        for key in gone {
            match key.dictionary {
                Dictionary::Services => {
                    if let Some(service) = self.services.remove(key.id) {
                        tenant.services[service.info.kind as usize].remove(&service.info.name);
                    }
                }
                Dictionary::Operations => {
                    let Some(info) = self.operations.remove(key.id) else { continue };
                    let Some(service) = self.services.get_mut(info.service.0) else { continue };
                    if let Some(kinds) = service.operations.get_mut(&info.name) {
                        kinds.retain(|(_, id)| *id != info.id);
                        if kinds.is_empty() {
                            service.operations.remove(&info.name);
                        }
                    }
                }
                Dictionary::Resources => {
                    let Some(info) = self.resources.remove(key.id) else { continue };
                    tenant.resources.remove(info::resource_hash(&info.resource), info.id);
                    senders.insert(info.service);
                }
                Dictionary::Instrumentations => {
                    let Some(info) = self.instrumentations.remove(key.id) else { continue };
                    let hash = info::instrumentation_hash(&info.instrumentation);
                    tenant.instrumentations.remove(hash, info.id);
                }
            }
        }
        for service in senders {
            if let Some(service) = self.services.get_mut(service.0) {
                service.resources.retain(|id| self.resources.get(id.0).is_some());
            }
        }
    }

    /// Visits every entry of a tenant.
    fn walk(&self, tenant: TenantNumber, mut visit: impl FnMut(Key, Mark)) {
        let Some(tenant) = self.tenants.get(&tenant) else { return };
        let mut visit = |key: Key| {
            if let Some(entry) = self.mark(key) {
                visit(key, entry);
            }
        };
        for id in tenant.services.iter().flat_map(HashMap::values) {
            visit((*id).into());
            let Some(service) = self.services.get(id.0) else { continue };
            service.operations.values().flatten().for_each(|(_, id)| visit((*id).into()));
        }
        tenant.resources.ids().for_each(|id| visit(id.into()));
        tenant.instrumentations.ids().for_each(|id| visit(id.into()));
    }
}

/// What stays, however long ago it was named.
struct Stays<'r> {
    /// What was named from this day on.
    before: Day,
    /// Of each dictionary the ids from here on.
    from: [u32; Dictionary::ALL.len()],
    referred: &'r HashSet<Key>,
}

impl Stays<'_> {
    fn lets_go(&self, key: Key, entry: Mark) -> bool {
        entry.last < self.before
            && key.id < self.from[key.dictionary as usize]
            && !self.referred.contains(&key)
    }
}
