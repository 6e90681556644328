//! The log templates that the miner starts from: those of the ones that the store has for which there are places.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::read::templates::OfService;
use crate::store::rows::TemplateRow;
use crate::templates::{Options, VARIABLE};

/// How long a start looks, beyond the newest templates, for those that are old and still counted.
const LOOKING_MAX: Duration = Duration::from_secs(10);

/// What is known of templates at a start.
#[derive(Debug, Default)]
pub struct Known {
    /// Those that have a place, the ones that were seen last at the end: no more than there are places.
    pub placed: Vec<TemplateRow>,
    /// Others, of which no more is needed than that their texts have their ids.
    pub others: Vec<TemplateRow>,
    /// How many of each service are stored and do not rest.
    pub stored: Vec<(TenantNumber, ServiceId, usize)>,
    /// The highest number that one ever had.
    pub highest: u32,
}

impl Known {
    /// Reads the newest of all, and in tenants that have more than there are places also those that were counted lately.
    ///
    /// # Errors
    /// When the database cannot be read. Where it takes long, the newest will do.
    pub(super) async fn read(store: &Store) -> Result<Self, Error> {
        let (options, names) = (Options::default(), store.names());
        let tenant_of = |service| names.service_info(service).map(|info| info.tenant);
        let counted = store.templates_of_services().await?.into_iter();
        // Those of services that are forgotten are about to go.
        let counted: Vec<(TenantNumber, OfService)> =
            counted.filter_map(|own| tenant_of(own.service).map(|tenant| (tenant, own))).collect();
        let all: Vec<(TenantNumber, ServiceId, usize)> =
            counted.iter().map(|(tenant, own)| (*tenant, own.service, own.all)).collect();
        let stored = counted.iter().map(|(tenant, own)| (*tenant, own.service, own.taking_room())).collect();
        let mut rows = store.newest_templates(options.templates_max).await?;
        let mut looked = Looked { has: rows.iter().map(|row| row.id).collect(), ..Looked::default() };
        looked.look(store, crowded(&all, &rows, &options), &all, &options).await?;
        rows.extend(looked.rows);
        rows.retain(|row| tenant_of(row.service).is_some());
        rows.sort_by_key(|row| (looked.lately.contains(&row.id), row.id));
        let (placed, others) = choose(rows, &options);
        Ok(Self { placed, others, stored, highest: store.template_highest().await? })
    }
}

/// What was found beside the newest templates.
#[derive(Debug, Default)]
struct Looked {
    /// What was read already.
    has: HashSet<TemplateId>,
    lately: BTreeSet<TemplateId>,
    rows: Vec<TemplateRow>,
}

impl Looked {
    /// Looks in these tenants, one after the other, for as long as that may take in all.
    async fn look(
        &mut self,
        store: &Store,
        tenants: Vec<TenantNumber>,
        stored: &[(TenantNumber, ServiceId, usize)],
        options: &Options,
    ) -> Result<(), Error> {
        let until = Instant::now() + LOOKING_MAX;
        let (count, mut cut_short) = (tenants.len(), 0);
        for (place, tenant) in tenants.into_iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            // One that takes long leaves time for others.
            let share = if place + 1 == count { left } else { left / 2 };
            let is_read = if share.is_zero() {
                false
            } else if let Ok(read) = timeout(share, self.lately_of(store, tenant, options)).await {
                read?
            } else {
                false
            };
            if is_read {
                continue;
            }
            cut_short += 1;
            let left = until.saturating_duration_since(Instant::now());
            let own = stored.iter().filter(|(other, ..)| *other == tenant);
            let services: Vec<ServiceId> = own.map(|(_, service, _)| *service).collect();
            let newest = self.newest_of(store, &services, options);
            if !left.is_zero()
                && let Ok(read) = timeout(left, newest).await
            {
                read?;
            }
        }
        if cut_short > 0 {
            warn!(
                tenants = cut_short,
                "which log templates were counted lately took too long to read: the newest ones are told apart, and older \
                 ones that come again may begin anew"
            );
        }
        Ok(())
    }

    /// Adds those of a tenant that were counted lately. False where so much was counted that this cannot be read.
    async fn lately_of(
        &mut self,
        store: &Store,
        tenant: TenantNumber,
        options: &Options,
    ) -> Result<bool, Error> {
        let Some(lately) = store.templates_counted_lately(tenant).await? else { return Ok(false) };
        let missing = lately.iter().rev().filter(|id| !self.has.contains(*id));
        let missing: BTreeSet<TemplateId> = missing.take(options.templates_max_per_tenant).copied().collect();
        // Those that every day brings are among the oldest as a rule.
        let rows = store.templates_by_id(tenant, &missing).await?;
        self.lately.extend(lately);
        self.add(rows);
        Ok(true)
    }

    /// Adds the newest of these services, as many as one may have.
    async fn newest_of(
        &mut self,
        store: &Store,
        services: &[ServiceId],
        options: &Options,
    ) -> Result<(), Error> {
        for service in services {
            let rows = store.newest_templates_of(*service, options.templates_max_per_service).await?;
            self.add(rows);
        }
        Ok(())
    }

    fn add(&mut self, rows: Vec<TemplateRow>) {
        let Self { has, rows: all, .. } = self;
        all.extend(rows.into_iter().filter(|row| has.insert(row.id)));
    }
}

/// The tenants that have more templates than there are places, all of them where the newest are not all; those with fewest
/// among the newest first.
fn crowded(
    stored: &[(TenantNumber, ServiceId, usize)],
    newest: &[TemplateRow],
    options: &Options,
) -> Vec<TenantNumber> {
    let mut of_tenants: BTreeMap<TenantNumber, usize> = BTreeMap::new();
    let mut crowded = BTreeSet::new();
    for (tenant, _, count) in stored {
        let of_tenant = of_tenants.entry(*tenant).or_default();
        *of_tenant += count;
        if *count > options.templates_max_per_service
            || *of_tenant > options.templates_max_per_tenant
            || newest.len() >= options.templates_max
        {
            crowded.insert(*tenant);
        }
    }
    let mut among_newest: HashMap<TenantNumber, usize> = HashMap::new();
    for row in newest {
        *among_newest.entry(row.tenant).or_default() += 1;
    }
    let mut crowded: Vec<TenantNumber> = crowded.into_iter().collect();
    crowded.sort_by_key(|tenant| (among_newest.get(tenant).copied().unwrap_or_default(), *tenant));
    crowded
}

/// Parts rows, the ones that were seen last at the end, into those that have a place and the others. At a bound whoever has
/// most lets go of most. The oldest `<*>` of a service always has a place.
fn choose(rows: Vec<TemplateRow>, options: &Options) -> (Vec<TemplateRow>, Vec<TemplateRow>) {
    let mut left = places(&rows, options);
    let mut variable: HashMap<ServiceId, TemplateId> = HashMap::new();
    for row in rows.iter().filter(|row| row.text == VARIABLE) {
        let oldest = variable.entry(row.service).or_insert(row.id);
        *oldest = row.id.min(*oldest);
    }
    for service in variable.keys() {
        left.entry(*service).and_modify(|left| *left = left.saturating_sub(1));
    }
    let (mut placed, mut others) = (Vec::new(), Vec::new());
    for row in rows.into_iter().rev() {
        let left = left.get_mut(&row.service).filter(|left| **left > 0);
        if variable.get(&row.service) == Some(&row.id) {
            placed.push(row);
        } else if let Some(left) = left {
            *left -= 1;
            placed.push(row);
        } else {
            others.push(row);
        }
    }
    placed.reverse();
    (placed, others)
}

/// How many places each service has for its rows.
fn places(rows: &[TemplateRow], options: &Options) -> HashMap<ServiceId, usize> {
    let mut services: BTreeMap<TenantNumber, BTreeMap<ServiceId, usize>> = BTreeMap::new();
    for row in rows {
        let of_service = services.entry(row.tenant).or_default().entry(row.service).or_default();
        *of_service = (*of_service + 1).min(options.templates_max_per_service);
    }
    let totals =
        services.values().map(|own| own.values().sum::<usize>().min(options.templates_max_per_tenant));
    let of_tenant = level(totals.collect(), options.templates_max).min(options.templates_max_per_tenant);
    let mut places = HashMap::new();
    for own in services.into_values() {
        let of_service = level(own.values().copied().collect(), of_tenant);
        places.extend(own.into_iter().map(|(service, count)| (service, count.min(of_service))));
    }
    places
}

/// The highest bound that keeps the sum of sizes within `max`.
fn level(mut sizes: Vec<usize>, max: usize) -> usize {
    sizes.sort_unstable();
    let (count, mut left) = (sizes.len(), max);
    for (place, size) in sizes.into_iter().enumerate() {
        let share = left / (count - place);
        if size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::UnixNanos;

    fn options() -> Options {
        Options {
            templates_max_per_service: 3,
            templates_max_per_tenant: 5,
            templates_max: 9,
            ..Options::default()
        }
    }

    fn row((id, tenant, service): (u32, u32, u32)) -> TemplateRow {
        TemplateRow {
            id: TemplateId(id),
            tenant: TenantNumber(tenant),
            service: ServiceId(service),
            text: format!("line {id}"),
            sample: String::new(),
            first_seen: UnixNanos(0),
        }
    }

    #[test]
    fn tenants_with_too_many_templates_are_told() {
        let crowded_of = |stored: &[(u32, u32, usize)], newest: &[(u32, u32, u32)]| {
            let stored = stored
                .iter()
                .map(|(tenant, service, count)| (TenantNumber(*tenant), ServiceId(*service), *count));
            let newest: Vec<TemplateRow> = newest.iter().copied().map(row).collect();
            let crowded = crowded(&stored.collect::<Vec<_>>(), &newest, &options());
            crowded.into_iter().map(|tenant| tenant.0).collect::<Vec<u32>>()
        };
        assert!(crowded_of(&[(1, 1, 3), (1, 2, 2), (2, 3, 3)], &[]).is_empty(), "all are at their bounds");
        assert_eq!(crowded_of(&[(1, 1, 4), (2, 3, 1)], &[]), [1], "a service has more");
        assert_eq!(crowded_of(&[(1, 1, 1), (2, 2, 3), (2, 3, 3)], &[]), [2], "a tenant has more");
        let newest: Vec<(u32, u32, u32)> = (1..=9).map(|id| (id, 2, 2)).collect();
        let all = crowded_of(&[(1, 1, 1), (2, 2, 9), (3, 3, 1)], &newest);
        assert_eq!(all, [1, 3, 2], "also those that have none among the newest, and these first");
    }

    #[test]
    fn the_bound_that_all_fit_under_is_found() {
        for (sizes, max, expected) in [
            (vec![], 3, usize::MAX),
            (vec![1, 2], 3, usize::MAX),
            (vec![5, 1, 9], 9, 4),
            (vec![5, 5, 5], 10, 3),
            (vec![7], 0, 0),
        ] {
            assert_eq!(level(sizes, max), expected);
        }
    }

    #[test]
    fn those_seen_last_have_places_and_whoever_has_few_loses_none() {
        let chosen = |rows: Vec<TemplateRow>| {
            let (placed, others) = choose(rows, &options());
            let ids = |rows: Vec<TemplateRow>| rows.iter().map(|row| row.id.0).collect::<Vec<u32>>();
            (ids(placed), ids(others))
        };
        // A service has three places.
        let own = (1..=5).map(|id| row((id, 1, 1)));
        assert_eq!(chosen(own.clone().collect()), (vec![3, 4, 5], vec![2, 1]));
        // A tenant has five, of which the smaller service needs two.
        let both = own.clone().chain([row((6, 1, 2)), row((7, 1, 2))]);
        assert_eq!(chosen(both.collect()).0, [3, 4, 5, 6, 7]);
        let three = own.clone().chain((6..=9).map(|id| row((id, 1, 2)))).chain([row((10, 1, 3))]);
        assert_eq!(chosen(three.collect()).0, [4, 5, 8, 9, 10]);
        // What takes everything stays, however long ago it was seen.
        let mut rows: Vec<TemplateRow> = own.collect();
        rows[0].text = VARIABLE.to_owned();
        assert_eq!(chosen(rows), (vec![1, 4, 5], vec![3, 2]));
    }
}
