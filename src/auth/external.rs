//! Callers that a proxy in front has already recognised.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Whom to believe, and where it says who asks.
#[derive(Debug, Clone)]
pub struct External {
    /// The addresses of the proxies.
    pub proxies: Vec<IpNet>,
    /// The header in which they name the caller. They must remove it from what callers send.
    pub header: HeaderName,
}

impl External {
    /// Whether a request that comes from `peer` names a caller that was recognised there.
    pub(super) fn vouches(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return false };
        let mut named = headers.get_all(&self.header).iter();
        let name = named.next().filter(|name| !name.as_bytes().trim_ascii().is_empty());
        // Two names are one too many: the caller may have added one.
        name.is_some() && named.next().is_none() && self.proxies.iter().any(|net| net.contains(&peer))
    }
}
