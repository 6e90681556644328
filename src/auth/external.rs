//! Callers that a proxy in front has already recognised.

use std::net::IpAddr;
use std::sync::Arc;

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
    /// The caller that was recognised where a request comes from, which is at `peer`.
    pub(super) fn vouches(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<Arc<str>> {
        let peer = peer?.to_canonical();
        let mut named = headers.get_all(&self.header).iter();
        let name = named.next().map(|name| String::from_utf8_lossy(name.as_bytes().trim_ascii()));
        // Two names are one too many: the caller may have added one.
        let is_sure = named.next().is_none() && self.proxies.iter().any(|net| net.contains(&peer));
        name.filter(|name| is_sure && !name.is_empty()).map(Arc::from)
    }
}
