//! Who holds how much of the queue, so that one sender does not fill it for all.
//!
//! A tenant that is alone may fill the queue. As soon as another one sends too, each has its share, so that there is room
//! for those that send little; the same holds for services within the share of their tenant. Shares are bounds, not
//! reservations.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admit::Recent;
use crate::model::batch::Batch;
use crate::model::tenant::TenantId;

use super::error::Error;
use super::queue::Depth;

/// How long somebody who sent counts as sending.
const ACTIVE: Duration = Duration::from_secs(300);
/// Tenants whose services are told apart.
const TENANTS_MAX: usize = 10_000;
/// Between two looks for tenants that are silent.
const SWEEP: Duration = Duration::from_secs(1);

/// What each tenant and service holds.
#[derive(Debug, Default)]
pub(super) struct Shares {
    tenants: Holders<TenantId>,
    services: HashMap<TenantId, Holders<Arc<str>>>,
    swept: Option<Instant>,
}

/// Whose a request is: its tenant, and its service where all of it is of one.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) tenant: TenantId,
    service: Option<Arc<str>>,
}

/// What some hold, without those that hold nothing.
#[derive(Debug)]
struct Holders<K> {
    held: HashMap<K, Depth>,
    recent: Recent<K>,
}

impl<K> Default for Holders<K> {
    fn default() -> Self {
        Self { held: HashMap::new(), recent: Recent::default() }
    }
}

impl<K: Hash + Eq + Clone> Holders<K> {
    /// Whether `key` would hold too much with another request of `bytes`: more than `most`, while others send too. One request
    /// at a time is never too much.
    fn crowds(&self, key: &K, bytes: usize, most: Depth, now: Instant) -> bool {
        let Some(held) = self.held.get(key) else { return false };
        let beyond = held.requests >= most.requests || held.bytes.saturating_add(bytes) > most.bytes;
        beyond && self.recent.has_others(key, now, ACTIVE)
    }

    fn add(&mut self, key: &K, bytes: usize) {
        let held = self.held.entry(key.clone()).or_default();
        *held = Depth { requests: held.requests + 1, bytes: held.bytes + bytes };
    }

    /// Whether nobody holds anything, and nobody sent of late.
    fn is_silent(&self, now: Instant) -> bool {
        self.held.is_empty() && self.recent.is_silent(now, ACTIVE)
    }

    fn remove(&mut self, key: &K, bytes: usize) {
        let Some(held) = self.held.get_mut(key) else { return };
        *held = Depth { requests: held.requests - 1, bytes: held.bytes.saturating_sub(bytes) };
        if held.requests == 0 {
            self.held.remove(key);
        }
    }
}

impl Sender {
    pub(super) fn of(tenant: &TenantId, batch: &Batch) -> Self {
        Self { tenant: tenant.clone(), service: batch.only_service().cloned() }
    }
}

impl Shares {
    /// Whether a request of `bytes` fits the shares of `sender`: a tenant may hold `share` beside others and `most` alone, and a
    /// service beside others half of that.
    pub(super) fn check(
        &self,
        sender: &Sender,
        bytes: usize,
        (share, most): (Depth, Depth),
        now: Instant,
    ) -> Result<(), Error> {
        if self.tenants.crowds(&sender.tenant, bytes, share, now) {
            return Err(Error::TenantCrowds);
        }
        let whole = if self.tenants.recent.has_others(&sender.tenant, now, ACTIVE) { share } else { most };
        let half = Depth { requests: whole.requests.div_ceil(2), bytes: whole.bytes / 2 };
        let services = self.services.get(&sender.tenant);
        match (services, &sender.service) {
            (Some(services), Some(service)) if services.crowds(service, bytes, half, now) => {
                Err(Error::ServiceCrowds { service: Arc::clone(service) })
            }
            _ => Ok(()),
        }
    }

    /// What part of `all` bytes that wait the tenant of `sender` holds; where no other tenant sends, what its service holds;
    /// all of it where no other service does either.
    pub(super) fn part_of(&self, sender: &Sender, all: usize, now: Instant) -> f64 {
        let held = if self.tenants.recent.has_others(&sender.tenant, now, ACTIVE) {
            self.tenants.held.get(&sender.tenant)
        } else {
            match (self.services.get(&sender.tenant), &sender.service) {
                (Some(services), Some(service)) if services.recent.has_others(service, now, ACTIVE) => {
                    services.held.get(service)
                }
                _ => return 1.0,
            }
        };
        held.map_or(0, |held| held.bytes) as f64 / all.max(1) as f64
    }

    /// `sender` would send something, and counts as sending from now on, whether or not there is room for it.
    pub(super) fn note(&mut self, sender: &Sender, now: Instant) {
        self.tenants.recent.note(&sender.tenant, now);
        if let Some(service) = &sender.service
            && (self.services.contains_key(&sender.tenant) || self.has_room(now))
        {
            self.services.entry(sender.tenant.clone()).or_default().recent.note(service, now);
        }
    }

    /// A request of `sender` waits.
    pub(super) fn add(&mut self, sender: &Sender, bytes: usize) {
        self.tenants.add(&sender.tenant, bytes);
        if let Some(service) = &sender.service
            && let Some(services) = self.services.get_mut(&sender.tenant)
        {
            services.add(service, bytes);
        }
    }

    /// Whether the services of another tenant can be remembered. Who is silent is looked for once in a while.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if self.services.len() >= TENANTS_MAX && is_due {
            self.services.retain(|_, services| !services.is_silent(now));
            self.swept = Some(now);
        }
        self.services.len() < TENANTS_MAX
    }

    /// A request of `sender` waits no more.
    pub(super) fn remove(&mut self, sender: &Sender, bytes: usize) {
        self.tenants.remove(&sender.tenant, bytes);
        if let Some(service) = &sender.service
            && let Some(services) = self.services.get_mut(&sender.tenant)
        {
            services.remove(service, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: (Depth, Depth) = (Depth { requests: 4, bytes: 100 }, Depth { requests: 8, bytes: 200 });

    fn add(shares: &mut Shares, sender: &Sender, bytes: usize, now: Instant) {
        shares.note(sender, now);
        shares.add(sender, bytes);
    }

    fn sender(tenant: &str, service: Option<&str>) -> Sender {
        Sender { tenant: TenantId::try_from(tenant).unwrap(), service: service.map(Arc::from) }
    }

    #[test]
    fn a_tenant_that_is_alone_has_all_of_it_and_one_beside_others_its_share() {
        let (now, mut shares) = (Instant::now(), Shares::default());
        let (noisy, quiet) = (sender("noisy", None), sender("quiet", None));
        for _ in 0..50 {
            shares.check(&noisy, 10, MOST, now).unwrap();
            add(&mut shares, &noisy, 10, now);
        }
        shares.note(&quiet, now);
        assert!(
            matches!(shares.check(&noisy, 1, MOST, now), Err(Error::TenantCrowds)),
            "somebody else tries"
        );
        shares.check(&quiet, 1_000, MOST, now).unwrap();
        add(&mut shares, &quiet, 1_000, now);
        assert!(matches!(shares.check(&noisy, 1, MOST, now), Err(Error::TenantCrowds)));
        assert!(matches!(shares.check(&quiet, 1, MOST, now), Err(Error::TenantCrowds)));
        for _ in 0..47 {
            shares.remove(&noisy, 10);
        }
        shares.check(&noisy, 70, MOST, now).unwrap();
        assert!(shares.check(&noisy, 71, MOST, now).is_err());
        for _ in 0..9 {
            add(&mut shares, &noisy, 1, now);
        }
        assert!(shares.check(&noisy, 1, MOST, now).is_err());
        shares.check(&noisy, 1, MOST, now + ACTIVE).unwrap();
    }

    #[test]
    fn a_part_is_what_a_tenant_or_a_service_holds_beside_others() {
        let (now, mut shares) = (Instant::now(), Shares::default());
        let (noisy, quiet) = (sender("noisy", None), sender("quiet", None));
        add(&mut shares, &noisy, 90, now);
        assert_eq!(shares.part_of(&noisy, 90, now), 1.0, "alone");
        shares.note(&quiet, now);
        assert_eq!((shares.part_of(&noisy, 100, now), shares.part_of(&quiet, 100, now)), (0.9, 0.0));
        assert_eq!(shares.part_of(&quiet, 0, now), 0.0);
        let mut shares = Shares::default();
        let [loud, calm] = [Some("loud"), Some("calm")].map(|service| sender("t", service));
        add(&mut shares, &loud, 75, now);
        add(&mut shares, &calm, 25, now);
        assert_eq!((shares.part_of(&loud, 100, now), shares.part_of(&calm, 100, now)), (0.75, 0.25));
    }

    #[test]
    fn a_service_beside_others_has_half_the_share_of_its_tenant() {
        let (now, mut shares) = (Instant::now(), Shares::default());
        let [loud, calm, mixed] = [Some("loud"), Some("calm"), None].map(|service| sender("t", service));
        for _ in 0..5 {
            shares.check(&loud, 1, MOST, now).unwrap();
            add(&mut shares, &loud, 1, now);
        }
        add(&mut shares, &calm, 1, now);
        assert!(
            matches!(shares.check(&loud, 1, MOST, now), Err(Error::ServiceCrowds { .. })),
            "half of all of it"
        );
        for _ in 0..3 {
            shares.remove(&loud, 1);
        }
        shares.check(&loud, 1, MOST, now).unwrap();
        shares.note(&sender("another", None), now);
        assert!(matches!(shares.check(&loud, 1, MOST, now), Err(Error::ServiceCrowds { .. })));
        shares.check(&calm, 1, MOST, now).unwrap();
        shares.check(&mixed, 1, MOST, now).unwrap();
        shares.check(&sender("other", Some("loud")), 1, MOST, now).unwrap();
        for _ in 0..2 {
            shares.remove(&loud, 1);
        }
        shares.remove(&calm, 1);
        add(&mut shares, &loud, 1, now);
        add(&mut shares, &loud, 1, now);
        assert!(shares.check(&loud, 1, MOST, now).is_err(), "the others are remembered");
        for _ in 0..2 {
            shares.remove(&loud, 1);
        }
        assert!(
            shares.tenants.held.is_empty()
                && shares.services.values().all(|held| held.is_silent(now + ACTIVE))
        );
        for number in 0..3 * TENANTS_MAX {
            let sender = sender(&format!("t{number}"), Some("s"));
            let now = now + ACTIVE + Duration::from_millis(10) * number as u32;
            add(&mut shares, &sender, 1, now);
            shares.remove(&sender, 1);
        }
        assert!(shares.services.len() <= TENANTS_MAX);
        let late = now + Duration::from_secs(3_600);
        add(&mut shares, &loud, 1, late);
        assert!(shares.services.contains_key(&loud.tenant), "there is room again");
    }
}
