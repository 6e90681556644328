//! Which links of spans are followed.
//!
//! For each trace that a link points to and that is not remembered the store is asked, and the joiner keeps a place for it.
//! So no more links of a tenant are followed in a commit than it has spans there, or [`LINKS_MIN`]: what they cost stays in
//! proportion to what the spans cost. All of them are stored.

use std::collections::HashMap;

use crate::graph::join::LINKS_MAX;
use crate::model::id::{SpanId, TenantNumber, TraceId};

/// Links of a tenant that are followed in any commit, however few spans of it there are.
const LINKS_MIN: usize = 10_000;

const _: () = assert!(LINKS_MAX <= LINKS_MIN);

/// The links of one commit.
#[derive(Debug, Default)]
pub(super) struct Links {
    of_tenants: HashMap<TenantNumber, OfTenant>,
    unfollowed: u64,
}

#[derive(Debug, Default)]
struct OfTenant {
    spans: usize,
    followed: usize,
}

impl Links {
    /// So many more spans of a tenant are in the commit.
    pub(super) fn spans(&mut self, tenant: TenantNumber, spans: usize) {
        self.of_tenants.entry(tenant).or_default().spans += spans;
    }

    /// Those `links` of one span of a tenant that are followed: the first ones.
    pub(super) fn followed(
        &mut self,
        tenant: TenantNumber,
        mut links: impl Iterator<Item = (TraceId, SpanId)>,
    ) -> Vec<(TraceId, SpanId)> {
        let of_tenant = self.of_tenants.entry(tenant).or_default();
        let room = of_tenant.spans.max(LINKS_MIN).saturating_sub(of_tenant.followed);
        let followed: Vec<_> = links.by_ref().take(room.min(LINKS_MAX)).collect();
        of_tenant.followed += followed.len();
        self.unfollowed += links.count() as u64;
        followed
    }

    /// Links that were not followed.
    pub(super) const fn unfollowed(&self) -> u64 {
        self.unfollowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_in_proportion_to_spans() {
        let links = |count: usize| {
            (0..count).map(|number| {
                let trace = TraceId::try_from(&(number as u128 + 1).to_be_bytes()[..]).unwrap();
                (trace, SpanId::try_from(&[1; 8][..]).unwrap())
            })
        };
        let (mut all, one, other) = (Links::default(), TenantNumber(1), TenantNumber(2));
        all.spans(one, 100);
        assert_eq!(all.followed(one, links(3)), links(3).collect::<Vec<_>>());
        // The first ones of a span.
        assert_eq!(all.followed(one, links(1_000)), links(LINKS_MAX).collect::<Vec<_>>());
        assert_eq!(all.unfollowed(), 1_000 - LINKS_MAX as u64);
        let mut followed = 3 + LINKS_MAX;
        for _ in 0..100 {
            followed += all.followed(one, links(LINKS_MAX)).len();
        }
        assert_eq!(followed, LINKS_MIN, "few spans have so many");
        assert_eq!(all.followed(other, links(7)).len(), 7, "another tenant has its own");
        // More spans may have more links.
        all.spans(one, LINKS_MIN);
        for _ in 0..LINKS_MIN {
            followed += all.followed(one, links(1)).len();
        }
        assert_eq!(followed, LINKS_MIN + 100);
        let asked = 3 + 1_000 + 100 * LINKS_MAX + LINKS_MIN;
        assert_eq!(all.unfollowed(), (asked - followed) as u64);
    }
}
