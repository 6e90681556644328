//! What the applier asks of the store; a trait, so that a simulation can put one in its place that loses power.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::id::{ServiceId, TemplateId, TenantNumber, TraceId};
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::names::Names;
use crate::store::recall::Recalled;
use crate::store::rows::{Commit, Committed, TemplateRow};
use crate::templates;

/// Keeps what is committed; see the methods of [`Store`] with these names for what each promises.
pub trait Keep: Clone + Send + Sync + 'static {
    /// The dictionaries.
    fn names(&self) -> &Names;
    /// The templates to start from, those that were seen last at the end, and the highest number that one ever had.
    fn templates(&self) -> impl Future<Output = Result<(Vec<TemplateRow>, u32), Error>> + Send;
    /// Begins to work out what can be known of a commit before its turn.
    fn await_turn(&self, _commit: &Arc<Commit>) {}
    /// Writes everything, or nothing.
    fn commit(&self, commit: Arc<Commit>) -> impl Future<Output = Result<Committed, Error>> + Send;
    /// Errs where [`Keep::commit`] would, and changes nothing.
    fn try_out(&self, commit: Arc<Commit>) -> impl Future<Output = Result<(), Error>> + Send;
    /// Finds traces that were begun before.
    fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> impl Future<Output = Result<Vec<Recalled>, Error>> + Send;
    /// Makes the commits so far survive a power cut, and answers the position that does.
    fn sync(&self) -> impl Future<Output = Result<u64, Error>> + Send;
}

impl Keep for Store {
    fn names(&self) -> &Names {
        Self::names(self)
    }

    async fn templates(&self) -> Result<(Vec<TemplateRow>, u32), Error> {
        let options = templates::Options::default();
        let mut rows = self.newest_templates(options.templates_max).await?;
        let mut counted: BTreeSet<TemplateId> = BTreeSet::new();
        for tenant in crowded(&rows, &options) {
            let lately = self.templates_counted_lately(tenant).await?;
            let mut missing = lately.clone();
            for row in &rows {
                missing.remove(&row.id);
            }
            // Those that every day brings are among the oldest as a rule.
            rows.extend(self.templates_by_id(tenant, &missing).await?);
            counted.extend(lately);
        }
        rows.sort_by_key(|row| (counted.contains(&row.id), row.id));
        Ok((rows, self.template_highest().await?))
    }

    fn await_turn(&self, commit: &Arc<Commit>) {
        Self::await_turn(self, commit);
    }

    async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, Error> {
        Self::commit(self, commit).await
    }

    async fn try_out(&self, commit: Arc<Commit>) -> Result<(), Error> {
        Self::try_out(self, commit).await
    }

    async fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> Result<Vec<Recalled>, Error> {
        Self::recall(self, tenant, traces).await
    }

    async fn sync(&self) -> Result<u64, Error> {
        Self::sync(self).await
    }
}

/// The tenants whose templates the miner cannot all remember; all of them where it cannot remember those of all.
fn crowded(rows: &[TemplateRow], options: &templates::Options) -> BTreeSet<TenantNumber> {
    let mut of_services: HashMap<(TenantNumber, ServiceId), usize> = HashMap::new();
    let mut of_tenants: HashMap<TenantNumber, usize> = HashMap::new();
    for row in rows {
        *of_services.entry((row.tenant, row.service)).or_default() += 1;
        *of_tenants.entry(row.tenant).or_default() += 1;
    }
    let services = of_services.into_iter().filter(|(_, count)| *count > options.templates_max_per_service);
    let tenants = of_tenants.into_iter().filter(|(_, count)| {
        *count > options.templates_max_per_tenant || rows.len() >= options.templates_max
    });
    services.map(|((tenant, _), _)| tenant).chain(tenants.map(|(tenant, _)| tenant)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_with_too_many_templates_are_told() {
        let options = templates::Options {
            templates_max_per_service: 2,
            templates_max_per_tenant: 3,
            templates_max: 9,
            ..templates::Options::default()
        };
        let row = |(tenant, service)| TemplateRow {
            id: TemplateId(1),
            tenant: TenantNumber(tenant),
            service: ServiceId(service),
            text: String::new(),
            sample: String::new(),
            first_seen: UnixNanos(0),
        };
        let crowded_of = |whose: &[(u32, u32)]| {
            let rows: Vec<TemplateRow> = whose.iter().copied().map(row).collect();
            crowded(&rows, &options).into_iter().map(|tenant| tenant.0).collect::<Vec<u32>>()
        };
        assert!(crowded_of(&[(1, 1), (1, 1), (1, 2), (2, 3), (2, 3)]).is_empty(), "all are at their bounds");
        assert_eq!(crowded_of(&[(1, 1), (1, 1), (1, 1), (2, 3)]), [1], "a service has more");
        assert_eq!(crowded_of(&[(1, 1), (2, 2), (2, 3), (2, 4), (2, 5)]), [2], "a tenant has more");
        assert_eq!(
            crowded_of(&[(1, 1), (2, 2), (3, 3), (1, 1), (2, 2), (3, 3), (4, 4), (4, 4), (4, 5)]),
            [1, 2, 3, 4]
        );
    }
}
