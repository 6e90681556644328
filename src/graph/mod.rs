//! The service graph: what the joined spans of the last two hours say about operations, instances and the calls
//! between them; and how many log records there were of each template, minute by minute.
//!
//! Promise: the sums in memory equal those that the store keeps for the same buckets, whatever the order of
//! arrival; [`Graph::covers_by`] says for which windows they are all here. Everything is derived: losing it loses
//! nothing that [`Graph::restore`] cannot bring back from the store.
//!
//! Never: reads a clock, the store or the environment, waits for anything but its own locks, or shows one tenant
//! what belongs to another. Tenants share no lock but that of the list of tenants.
//!
//! Reading order: [`join`] (spans to observations), this file, `ring` (buckets of one width), `sealed` (cells of
//! a bucket that is rarely changed, as bytes), `joined` (ten buckets as one), [`topology`] (who calls whom in a window). The one public handle
//! is [`Graph`]; [`join::Joiner`] belongs to the one task that feeds it.

pub mod join;
mod joined;
mod ring;
mod sealed;
#[cfg(test)]
mod tests;
pub mod topology;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Folded, FoldedCell, Subject};
use crate::model::subject_map::SubjectMap;
use crate::model::time::{UnixNanos, Window};

use ring::{Ring, Snapshot};
use topology::Topology;

/// Seconds for which fine buckets are kept, back from the newest.
pub const FINE_KEPT_SECONDS: i64 = 1_920;
/// Seconds for which coarse buckets are kept, back from the newest.
pub const COARSE_KEPT_SECONDS: i64 = 7_860;

/// Newest buckets that stay ready for changes: a minute of fine ones, two minutes of coarse ones.
const FINE_OPEN: i64 = 6;
const COARSE_OPEN: i64 = 2;
/// Cells recorded under one hold of a tenant's lock, about half a millisecond of work.
const CELLS_PER_HOLD: usize = 1_024;

/// The recent roll-ups of all tenants. Cheap to clone; clones share the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tenants: Arc<RwLock<HashMap<TenantNumber, Arc<RwLock<Tenant>>>>>,
}

/// How much a tenant's graph holds and has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that operations were declared for.
    pub nodes: usize,
    /// Operations declared.
    pub operations: usize,
    /// Edges between operations that are in memory.
    pub edges: usize,
    /// Observations recorded since start.
    pub observations: u64,
    /// Observations ignored since start because they were older than [`COARSE_KEPT_SECONDS`]; the store has them.
    pub late: u64,
}

impl Graph {
    /// A graph that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds cells. Those older than the rings reach, counted back from the newest seen, are ignored and counted in
    /// [`Counts::late`]. Those whose buckets begin after `latest` are ignored as well, as they would push everything else out:
    /// windows with those buckets are not covered.
    pub fn record(&self, cells: &Folded, latest: UnixNanos) {
        let latest = latest.bucket_seconds(FINE_SECONDS);
        let (mut cells, ahead): (Vec<FoldedCell<'_>>, Vec<_>) =
            cells.iter().partition(|cell| cell.bucket_s <= latest);
        for cell in ahead {
            let to = cell.bucket_s.saturating_add(FINE_SECONDS);
            let skipped = Window::new(UnixNanos::from_seconds(cell.bucket_s), UnixNanos::from_seconds(to));
            self.leave_out(cell.tenant, skipped);
        }
        // The newest first: it tells what is too old.
        cells.sort_unstable_by_key(|cell| (cell.tenant, Reverse(cell.bucket_s)));
        for run in cells.chunk_by(|one, other| one.tenant == other.tenant) {
            let tenant = self.tenant_or_new(run[0].tenant);
            for part in run.chunks(CELLS_PER_HOLD) {
                let mut tenant = write(&tenant);
                part.iter().for_each(|cell| tenant.record(cell));
            }
        }
    }

    /// Says which node an operation belongs to; saying it again changes nothing.
    pub fn declare(&self, tenant: TenantNumber, operation: OperationId, service: ServiceId) {
        let tenant = self.tenant_or_new(tenant);
        if read(&tenant).owners.get(&operation) == Some(&service) {
            return;
        }
        let mut tenant = write(&tenant);
        let tenant = &mut *tenant;
        if let Some(former) = Arc::make_mut(&mut tenant.owners).insert(operation, service) {
            tenant.leave(former);
        }
        *tenant.nodes.entry(service).or_insert(0) += 1;
    }

    /// Forgets to which nodes operations belong, which will not come again under these ids.
    pub fn forget(&self, operations: &[(TenantNumber, OperationId)]) {
        for operations in operations.chunk_by(|(one, _), (other, _)| one == other) {
            let Some(tenant) = operations.first().and_then(|(tenant, _)| self.tenant(*tenant)) else {
                continue;
            };
            let mut tenant = write(&tenant);
            let owners = Arc::make_mut(&mut tenant.owners);
            let left: Vec<ServiceId> = operations.iter().filter_map(|(_, id)| owners.remove(id)).collect();
            left.into_iter().for_each(|service| tenant.leave(service));
        }
    }

    /// Takes cells from the store, at start and before anything is recorded for the tenant: buckets of
    /// [`FINE_SECONDS`] and [`COARSE_SECONDS`] in two calls, cells of any other width are ignored. Only whole
    /// buckets may be given, in any order: all of those that begin at `since` or later, in seconds, or all that there are.
    /// Windows that begin before `since` are not covered.
    pub fn restore(
        &self,
        tenant: TenantNumber,
        width_seconds: i64,
        since: Option<i64>,
        cells: impl Iterator<Item = (i64, Subject, Cell)>,
    ) {
        let tenant = self.tenant_or_new(tenant);
        let mut tenant = write(&tenant);
        for (bucket, subject, cell) in cells {
            let bucket = UnixNanos::from_seconds(bucket).bucket_seconds(width_seconds.max(1));
            tenant.restore(width_seconds, bucket, subject, &cell);
        }
        if let Some(ring) = tenant.ring_mut(width_seconds) {
            ring.complete_from(since.unwrap_or(i64::MIN));
            ring.seal();
        }
    }

    /// Says that what lies in `window` is in the store alone, or some of it.
    pub fn leave_out(&self, tenant: TenantNumber, window: Window) {
        let tenant = self.tenant_or_new(tenant);
        let mut tenant = write(&tenant);
        // Whole minutes: a coarse bucket that lacks something is not whole.
        let to = window.to.0.saturating_sub(1);
        let window = Window::new(
            UnixNanos::from_seconds(window.from.bucket_seconds(COARSE_SECONDS)),
            UnixNanos::from_seconds(
                UnixNanos(to).bucket_seconds(COARSE_SECONDS).saturating_add(COARSE_SECONDS),
            ),
        );
        let known = tenant.left_out.unwrap_or(window);
        tenant.left_out = Some(Window::new(known.from.min(window.from), known.to.max(window.to)));
    }

    /// True when buckets of this width in memory hold everything known about `window`; otherwise the store has to be asked,
    /// as about a tenant that sent nothing since start. Log records are counted in buckets of [`COARSE_SECONDS`] alone.
    pub fn covers_by(&self, tenant: TenantNumber, window: Window, width_seconds: i64) -> bool {
        let Some(tenant) = self.tenant(tenant) else { return false };
        let tenant = read(&tenant);
        let whole = tenant.left_out.is_none_or(|out| window.to <= out.from || out.to <= window.from);
        whole && tenant.ring(width_seconds).is_some_and(|ring| ring.covers(window))
    }

    /// What is known about each subject in the buckets that overlap `window`, added up. Empty for a width that
    /// is neither [`FINE_SECONDS`] nor [`COARSE_SECONDS`].
    pub fn merged(&self, tenant: TenantNumber, window: Window, width_seconds: i64) -> SubjectMap<Cell> {
        self.merged_each(tenant, &[vec![(window, width_seconds)]], |_| true).pop().unwrap_or_default()
    }

    /// The same for several windows at once, each made of parts that differ in the width of their buckets, and for the
    /// subjects that `filter` picks: buckets that windows have in common are read once.
    pub fn merged_each(
        &self,
        tenant: TenantNumber,
        windows: &[Vec<(Window, i64)>],
        filter: impl Fn(&Subject) -> bool,
    ) -> Vec<SubjectMap<Cell>> {
        let merged = self.merged_of(tenant, windows, filter);
        merged.into_iter().map(|cells| cells.into_iter().collect()).collect()
    }

    /// The cells of the subjects that `filter` picks, without their sketches, one for each bucket that overlaps
    /// `window`, in order of bucket and subject.
    pub fn series(
        &self,
        tenant: TenantNumber,
        window: Window,
        width_seconds: i64,
        filter: impl Fn(&Subject) -> bool,
    ) -> Vec<(i64, Subject, Cell)> {
        let mut found: Vec<(i64, Subject, Cell)> = Vec::new();
        let windows = [vec![(window, width_seconds)]];
        if let Some(snapshot) =
            self.tenant(tenant).map(|tenant| read(&tenant).snapshot(&windows, false, &filter))
        {
            snapshot.visit_totals(filter, |bucket, subject, cell| found.push((bucket, subject, cell)));
        }
        // What is sealed lies in order already, bucket by bucket.
        found.sort_by_key(|(bucket, subject, _)| (*bucket, *subject));
        found.dedup_by(|later, first| {
            let same = (later.0, later.1) == (first.0, first.1);
            if same {
                first.2.merge(&later.2);
            }
            same
        });
        found
    }

    /// Who calls whom within `window`.
    pub fn topology(&self, tenant: TenantNumber, window: Window, width_seconds: i64) -> Topology {
        let is_edge = |subject: &Subject| matches!(subject, Subject::Edge(..));
        let merged = self.merged_of(tenant, &[vec![(window, width_seconds)]], is_edge);
        Topology::new(merged.into_iter().flatten(), &self.owners(tenant))
    }

    /// Which node each declared operation belongs to, as of now.
    pub fn owners(&self, tenant: TenantNumber) -> Arc<HashMap<OperationId, ServiceId>> {
        self.tenant(tenant).map(|tenant| Arc::clone(&read(&tenant).owners)).unwrap_or_default()
    }

    /// How much is held and was seen; zeros for an unknown tenant.
    pub fn counts(&self, tenant: TenantNumber) -> Counts {
        let Some(tenant) = self.tenant(tenant) else { return Counts::default() };
        let tenant = read(&tenant);
        Counts {
            nodes: tenant.nodes.len(),
            operations: tenant.owners.len(),
            edges: tenant.edges.len(),
            observations: tenant.observations,
            late: tenant.late,
        }
    }

    /// Drops the cells of tenants whose newest observation lies a bucket before `before`; what operations belong
    /// to and the totals stay. Returns how many tenants that were. Within a tenant that goes on sending, idle
    /// subjects leave by themselves with their last bucket.
    pub fn evict_idle(&self, before: UnixNanos) -> usize {
        let tenants: Vec<_> = read(&self.tenants).values().cloned().collect();
        let mut evicted = 0;
        for tenant in tenants {
            let mut tenant = write(&tenant);
            if tenant.coarse.ended_before(before.seconds()) {
                tenant.clear();
                evicted += 1;
            }
        }
        evicted
    }

    /// Tenants that were mentioned since start, in order.
    pub fn tenants(&self) -> Vec<TenantNumber> {
        let mut tenants: Vec<_> = read(&self.tenants).keys().copied().collect();
        tenants.sort_unstable();
        tenants
    }

    /// Takes what is needed under the lock, adds it up afterwards, and leaves less to add up for the next one.
    fn merged_of(
        &self,
        tenant: TenantNumber,
        windows: &[Vec<(Window, i64)>],
        filter: impl Fn(&Subject) -> bool,
    ) -> Vec<Vec<(Subject, Cell)>> {
        let Some(tenant) = self.tenant(tenant) else { return vec![Vec::new(); windows.len()] };
        let mut snapshot = read(&tenant).snapshot(windows, true, &filter);
        let wanted = snapshot.take_wanted();
        let merged = snapshot.merged(windows.len(), filter);
        if !wanted.is_empty() {
            let made = wanted.into_iter().map(|wanted| {
                let whole = Snapshot::made(&wanted);
                (wanted, whole)
            });
            let made = made.collect();
            // None of the fine buckets: no window has ten of them.
            read(&tenant).coarse.keep(made);
        }
        merged
    }

    fn tenant(&self, tenant: TenantNumber) -> Option<Arc<RwLock<Tenant>>> {
        read(&self.tenants).get(&tenant).cloned()
    }

    fn tenant_or_new(&self, tenant: TenantNumber) -> Arc<RwLock<Tenant>> {
        match self.tenant(tenant) {
            Some(tenant) => tenant,
            None => Arc::clone(write(&self.tenants).entry(tenant).or_default()),
        }
    }
}

/// What one tenant's lock guards.
#[derive(Debug)]
struct Tenant {
    fine: Ring,
    coarse: Ring,
    owners: Arc<HashMap<OperationId, ServiceId>>,
    /// How many declared operations each node has.
    nodes: HashMap<ServiceId, usize>,
    /// The newest coarse bucket in which each edge began to be used; an edge whose buckets are all gone leaves.
    edges: SubjectMap<i64>,
    observations: u64,
    late: u64,
    /// Time in which something is in the store that is not here.
    left_out: Option<Window>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            fine: Ring::new(FINE_SECONDS, FINE_KEPT_SECONDS / FINE_SECONDS, FINE_OPEN),
            coarse: Ring::new(COARSE_SECONDS, COARSE_KEPT_SECONDS / COARSE_SECONDS, COARSE_OPEN),
            owners: Arc::default(),
            nodes: HashMap::new(),
            edges: SubjectMap::default(),
            observations: 0,
            late: 0,
            left_out: None,
        }
    }
}

impl Tenant {
    fn record(&mut self, folded: &FoldedCell<'_>) {
        let FoldedCell { bucket_s, subject, cell, observations, .. } = *folded;
        let coarse = bucket_s.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        if !self.advance(coarse) {
            self.late += observations;
            return;
        }
        self.observations += observations;
        if matches!(subject, Subject::Logs(..)) {
            // Counted a minute at a time, as in the store.
            self.fine.advance(bucket_s);
        } else if let Some(sum) = self.fine.cell(bucket_s, subject) {
            sum.merge(cell);
        }
        if let Some(sum) = self.coarse.cell(coarse, subject) {
            let is_new = *sum == Cell::default();
            sum.merge(cell);
            if is_new {
                self.use_edge(coarse, subject);
            }
        }
    }

    fn clear(&mut self) {
        self.fine.clear();
        self.coarse.clear();
        self.edges = SubjectMap::default();
    }

    fn restore(&mut self, width_seconds: i64, bucket: i64, subject: Subject, cell: &Cell) {
        if width_seconds == COARSE_SECONDS && self.advance(bucket) {
            self.use_edge(bucket, subject);
        }
        if let Some(ring) = self.ring_mut(width_seconds) {
            ring.restore(bucket, subject, cell);
        }
    }

    /// Moves the coarse ring on; false when `bucket` lies before what it keeps.
    fn advance(&mut self, bucket: i64) -> bool {
        if self.coarse.advance(bucket) {
            let kept = self.coarse.kept_from();
            self.edges.retain(|_, used| *used >= kept);
            self.left_out = self.left_out.filter(|out| out.to.seconds() > kept);
        }
        bucket >= self.coarse.kept_from()
    }

    fn use_edge(&mut self, bucket: i64, subject: Subject) {
        if matches!(subject, Subject::Edge(..)) {
            let used = self.edges.entry(subject).or_insert(bucket);
            *used = bucket.max(*used);
        }
    }

    fn leave(&mut self, service: ServiceId) {
        if let Some(operations) = self.nodes.get_mut(&service) {
            *operations -= 1;
            if *operations == 0 {
                self.nodes.remove(&service);
            }
        }
    }

    /// The buckets of each width that parts of windows with that width overlap.
    fn snapshot(
        &self,
        windows: &[Vec<(Window, i64)>],
        by_blocks: bool,
        filter: impl Fn(&Subject) -> bool,
    ) -> Snapshot {
        let of_width = |width: i64| -> Vec<(usize, Window)> {
            let parts =
                windows.iter().enumerate().flat_map(|(at, parts)| parts.iter().map(move |it| (at, it)));
            parts.filter(|(_, part)| part.1 == width).map(|(at, part)| (at, part.0)).collect()
        };
        let mut snapshot = self.fine.snapshot(&of_width(FINE_SECONDS), false, &filter);
        snapshot.join(self.coarse.snapshot(&of_width(COARSE_SECONDS), by_blocks, &filter));
        snapshot
    }

    fn ring(&self, width_seconds: i64) -> Option<&Ring> {
        match width_seconds {
            FINE_SECONDS => Some(&self.fine),
            COARSE_SECONDS => Some(&self.coarse),
            _ => None,
        }
    }

    fn ring_mut(&mut self, width_seconds: i64) -> Option<&mut Ring> {
        match width_seconds {
            FINE_SECONDS => Some(&mut self.fine),
            COARSE_SECONDS => Some(&mut self.coarse),
            _ => None,
        }
    }
}

/// A panic elsewhere leaves sums that are whole, at worst short of some observations: going on beats stopping.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
