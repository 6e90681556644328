//! How many templates there are of each service, each tenant and in all, and who has most.

use std::collections::{BTreeSet, HashMap};

use crate::model::id::{ServiceId, TenantNumber};

use super::Whose;

/// The numbers of templates. Who has most is known without a look at all.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    total: usize,
    tenants: HashMap<TenantNumber, OfTenant>,
    by_size: BTreeSet<(usize, TenantNumber)>,
}

#[derive(Debug, Default)]
struct OfTenant {
    total: usize,
    services: HashMap<ServiceId, usize>,
    by_size: BTreeSet<(usize, ServiceId)>,
}

impl Sizes {
    /// A service has `size` templates now.
    pub(super) fn set(&mut self, (tenant, service): Whose, size: usize) {
        let own = self.tenants.entry(tenant).or_default();
        self.by_size.remove(&(own.total, tenant));
        let before = own.services.remove(&service).unwrap_or_default();
        own.by_size.remove(&(before, service));
        own.total = own.total - before + size;
        self.total = self.total - before + size;
        if size > 0 {
            own.services.insert(service, size);
            own.by_size.insert((size, service));
        }
        if own.total > 0 {
            self.by_size.insert((own.total, tenant));
        } else {
            self.tenants.remove(&tenant);
        }
    }

    /// Those of all tenants.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Those of a tenant.
    pub(super) fn of_tenant(&self, tenant: TenantNumber) -> usize {
        self.tenants.get(&tenant).map_or(0, |own| own.total)
    }

    /// Those of a service.
    pub(super) fn of_service(&self, (tenant, service): Whose) -> usize {
        let own = self.tenants.get(&tenant);
        own.and_then(|own| own.services.get(&service)).copied().unwrap_or_default()
    }

    /// The service of a tenant that has most.
    pub(super) fn largest_of(&self, tenant: TenantNumber) -> Option<Whose> {
        let (_, service) = self.tenants.get(&tenant)?.by_size.last()?;
        Some((tenant, *service))
    }

    /// The service that has most of those of the tenant that has most.
    pub(super) fn largest(&self) -> Option<Whose> {
        self.largest_of(self.by_size.last()?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_is_known() {
        let whose = |tenant, service| (TenantNumber(tenant), ServiceId(service));
        let mut sizes = Sizes::default();
        assert_eq!((sizes.largest(), sizes.largest_of(TenantNumber(1))), (None, None));
        for (tenant, service, size) in [(1, 1, 5), (1, 2, 7), (2, 3, 11), (1, 1, 6), (2, 4, 1)] {
            sizes.set(whose(tenant, service), size);
        }
        assert_eq!((sizes.total(), sizes.of_tenant(TenantNumber(1))), (25, 13));
        assert_eq!(sizes.of_service(whose(1, 1)), 6);
        assert_eq!(sizes.largest(), Some(whose(1, 2)));
        assert_eq!(sizes.largest_of(TenantNumber(2)), Some(whose(2, 3)));
        sizes.set(whose(1, 2), 0);
        assert_eq!((sizes.largest(), sizes.total()), (Some(whose(2, 3)), 18));
        for (tenant, service) in [(1, 1), (2, 3), (2, 4)] {
            sizes.set(whose(tenant, service), 0);
        }
        assert_eq!((sizes.largest(), sizes.total()), (None, 0));
        assert!(sizes.tenants.is_empty() && sizes.by_size.is_empty());
    }
}
