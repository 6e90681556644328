//! Turns the headers of a request into the right to act for one tenant.
//!
//! It promises that a [`Scope`] exists only after a credential was checked, that a key which is bound to a tenant opens
//! no other, and that a tenant is read from a header here and nowhere else. A route without a policy lets nobody in. It
//! never reads a body or a query string, and never logs a key.
//!
//! Reading order: this file, `rights` (what a caller may do), `key` (a key as it travels), `keys` and `file` (those that
//! are bound to tenants), `external` (callers that a proxy vouches for), `tenant` (the tenant headers), `policy` and `layer`
//! (the gate in front of the routes), `buckets` (how often), `names` (under which a server without a key may be asked),
//! `tally` (what was refused). The public handle is [`Authenticator`].

mod buckets;
mod external;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod key;
mod keys;
mod layer;
mod names;
mod policy;
mod rights;
mod tally;
mod tenant;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::fault::Kind;
use crate::model::tenant::InvalidTenant;
use crate::model::tenant::Scope;
use crate::model::tenant::TenantId;

use buckets::Buckets;
use file::KeyFile;
use key::Digest;
use tally::Tally;

pub use external::External;
pub use file::{Error as FileError, Reload, read as read_keys};
pub use keys::{Key, Keys, Unreadable};
pub use layer::{Gate, layer};
pub use names::{Names, under_own_name};
pub use policy::{Policies, Policy};
pub use rights::{Right, Rights};
pub use tally::Sample;
pub use tally::Surface;

/// Failed attempts that one address may make at once before it is slowed down, and how many more each second.
const FAILURES: (f64, f64) = (20.0, 2.0);
/// How long an answer to a further one is held back.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
/// Answers that are held back at once, at most.
const HELD_BACK_MAX: usize = 1_000;

/// What the gate is told at the start.
pub struct Options {
    /// The operator's key; an empty one admits nobody.
    pub api_key: Option<String>,
    /// The file with the keys that are bound to tenants.
    pub key_file: Option<PathBuf>,
    /// Proxies whose word is taken for who asks.
    pub external: Option<External>,
    /// The tenant of a request that names none.
    pub default_tenant: TenantId,
    /// Questions that one key, or one address where none is required, may ask each second, twice as many at once; 0 for
    /// any number.
    pub questions_per_second: u32,
}

/// Checks credentials; cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
}

struct Shared {
    operator: Option<Digest>,
    bound: Option<KeyFile>,
    external: Option<External>,
    default_tenant: TenantId,
    clock: Clock,
    tally: Tally,
    questions: Option<Buckets<(Holder, Option<IpAddr>)>>,
    failures: Buckets<Option<IpAddr>>,
    held_back: Semaphore,
}

/// Who holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Anybody, as no key is required.
    Everyone,
    /// The operator.
    Operator,
    /// The key with this id.
    Key(Arc<str>),
    /// The caller of this name, for whom a proxy vouches.
    External(Arc<str>),
}

/// A caller whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant the caller acts for.
    pub scope: Scope,
    /// What the caller may do.
    pub rights: Rights,
    /// Who it is.
    pub holder: Holder,
}

/// What of a request tells who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    surface: Surface,
    headers: &'a HeaderMap,
    peer: Option<IpAddr>,
}

/// Why a caller was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No `authorization` header.
    #[error("an `authorization: Bearer …` header is required")]
    KeyMissing,
    /// More than one `authorization` header, or one that is not a bearer token.
    #[error("the `authorization` header must be given once, as `Bearer` and a key")]
    KeyMalformed,
    /// The key is no key of this server.
    #[error("the key is not valid")]
    KeyWrong,
    /// The key was one.
    #[error("the key has expired")]
    KeyExpired,
    /// The key does not cover what was asked for.
    #[error("the key has not the scope `{}`", .0.name())]
    NoRight(Right),
    /// A tenant header names another tenant than the key is bound to.
    #[error("the key is bound to another tenant than the headers name; leave the tenant header out")]
    TenantBound,
    /// A tenant header holds what cannot be a tenant's name.
    #[error("the tenant header is not a tenant name")]
    TenantInvalid(#[source] InvalidTenant),
    /// Two tenant headers name different tenants.
    #[error("the tenant headers name different tenants")]
    TenantsConflict,
}

impl Error {
    /// What the caller can do about it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::KeyMissing | Self::KeyMalformed | Self::KeyWrong | Self::KeyExpired => {
                Kind::Unauthenticated
            }
            Self::NoRight(_) | Self::TenantBound => Kind::Denied,
            Self::TenantInvalid(_) | Self::TenantsConflict => Kind::Invalid,
        }
    }
}

impl<'a> Asking<'a> {
    /// Who asks over HTTP.
    pub fn http(head: &'a Parts) -> Self {
        Self::over(Surface::Http, head)
    }

    /// Who makes a gRPC call.
    pub fn grpc(head: &'a Parts) -> Self {
        Self::over(Surface::Grpc, head)
    }

    fn over(surface: Surface, head: &'a Parts) -> Self {
        let peer = head.extensions.get::<SocketAddr>().map(SocketAddr::ip);
        Self { surface, headers: &head.headers, peer }
    }
}

impl Authenticator {
    /// A gate for `options`. Only digests of keys are kept.
    ///
    /// # Errors
    /// When the key file cannot be used.
    pub fn new(options: Options, clock: Clock) -> Result<Self, FileError> {
        let per_second = f64::from(options.questions_per_second);
        let shared = Shared {
            operator: options.api_key.as_deref().map(|key| Digest::of(key.as_bytes())),
            bound: options.key_file.map(KeyFile::open).transpose()?,
            external: options.external,
            default_tenant: options.default_tenant,
            clock,
            tally: Tally::default(),
            questions: (per_second > 0.0).then(|| Buckets::new(per_second, 2.0 * per_second)),
            failures: Buckets::new(FAILURES.1, FAILURES.0),
            held_back: Semaphore::new(HELD_BACK_MAX),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The principal behind a request, from its head alone; what is turned away is counted. Who keeps trying wrong keys
    /// from one address waits longer for the answers.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] without a valid key when one is required; [`Kind::Denied`] where the key lacks `right` or is
    /// bound to another tenant; [`Kind::Invalid`] for a bad tenant header.
    pub async fn admit(&self, asking: Asking<'_>, right: Right) -> Result<Principal, Error> {
        let refused = match self.check(asking, right) {
            Ok(principal) => return Ok(principal),
            Err(refused) => refused,
        };
        self.shared.tally.count(asking.surface, &refused);
        let is_guess = matches!(refused, Error::KeyWrong | Error::KeyMalformed);
        if is_guess
            && self.shared.failures.take(asking.peer.map(net_of)).is_err()
            && let Ok(_held) = self.shared.held_back.try_acquire()
        {
            tokio::time::sleep(FAILURE_WAIT).await;
        }
        Err(refused)
    }

    /// A gate that lets in whom this one lets in now, and counts by itself.
    pub fn apart(&self) -> Self {
        let Shared { operator, bound, external, default_tenant, clock, .. } = &*self.shared;
        let shared = Shared {
            operator: *operator,
            bound: bound.as_ref().map(KeyFile::copied),
            external: external.clone(),
            default_tenant: default_tenant.clone(),
            clock: clock.clone(),
            tally: Tally::default(),
            questions: None,
            failures: Buckets::new(FAILURES.1, FAILURES.0),
            held_back: Semaphore::new(HELD_BACK_MAX),
        };
        Self { shared: Arc::new(shared) }
    }

    /// True when callers must show who they are.
    pub fn requires_key(&self) -> bool {
        let Shared { operator, bound, external, .. } = &*self.shared;
        operator.is_some() || bound.is_some() || external.is_some()
    }

    /// Reads the key file again where it changed; none where there is no such file.
    pub fn reload(&self) -> Option<Reload> {
        let outcome = self.shared.bound.as_ref()?.reload();
        self.shared.tally.reloaded(&outcome);
        Some(outcome)
    }

    /// What was turned away so far and what became of the key file, for the metrics page; every reason is listed from the
    /// start.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.shared.tally.samples()
    }

    /// Keys of the key file that open something.
    pub fn keys(&self) -> usize {
        let now = self.shared.clock.now();
        let keys = self.shared.bound.as_ref().map(KeyFile::keys);
        keys.map_or(0, |keys| keys.iter().filter(|key| !key.is_expired(now)).count())
    }

    /// Counts a question of `principal`; where there were too many, tells in how long there may be another.
    fn question(&self, principal: &Principal, peer: Option<IpAddr>) -> Result<(), Duration> {
        let Some(questions) = &self.shared.questions else { return Ok(()) };
        // An address tells callers apart only where nothing better does.
        let peer = peer.filter(|_| principal.holder == Holder::Everyone).map(net_of);
        questions.take((principal.holder.clone(), peer)).inspect_err(|_| self.shared.tally.too_often())
    }

    fn check(&self, asking: Asking<'_>, right: Right) -> Result<Principal, Error> {
        let default = || self.shared.default_tenant.clone();
        let (holder, rights, bound) = self.credential(asking)?;
        if !rights.include(right) {
            return Err(Error::NoRight(right));
        }
        let tenant = match (tenant::named(asking.headers)?, bound) {
            (Some(named), Some(bound)) if named != bound => return Err(Error::TenantBound),
            (_, Some(bound)) => bound,
            (named, None) => named.unwrap_or_else(default),
        };
        Ok(Principal { scope: Scope::authorized(tenant), rights, holder })
    }

    /// Who asks, what they may do, and the tenant that they are bound to.
    fn credential(&self, asking: Asking<'_>) -> Result<(Holder, Rights, Option<TenantId>), Error> {
        let Shared { operator, bound, external, clock, .. } = &*self.shared;
        if !self.requires_key() {
            return Ok((Holder::Everyone, Rights::ALL, None));
        }
        let Some(shown) = key::shown(asking.headers)? else {
            let name = external.as_ref().and_then(|it| it.vouches(asking.peer, asking.headers));
            let rights = [Right::Ingest, Right::Read].into_iter().collect();
            return name.map(|name| (Holder::External(name), rights, None)).ok_or(Error::KeyMissing);
        };
        // Both are looked at in any case: the time tells nothing about which of them it was.
        let is_operator = operator.as_ref().is_some_and(|operator| operator.is(&shown));
        let keys = bound.as_ref().map(KeyFile::keys);
        let key = keys.as_ref().and_then(|keys| keys.find(&shown));
        match key {
            None if is_operator => Ok((Holder::Operator, Rights::ALL, None)),
            None => Err(Error::KeyWrong),
            // One that is listed is bound, even where it is the operator's too.
            Some(key) if key.is_expired(clock.now()) => Err(Error::KeyExpired),
            Some(key) => Ok((Holder::Key(Arc::clone(&key.id)), key.rights, Some(key.tenant.clone()))),
        }
    }
}

/// Whom an address belongs to: those of IPv6 are given out by 2^64.
fn net_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        four => four,
    }
}

#[cfg(test)]
mod tests;
