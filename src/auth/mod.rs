//! Turns the headers of a request into the right to act for one tenant.
//!
//! It promises that a [`Scope`] exists only after a credential was checked, and that a tenant is read from a
//! header here and nowhere else. It never reads a body, a query string or a file, and never logs a key.
//!
//! Reading order: this file, `key` (the operator's key), `tenant` (the tenant headers), `layer` (the gate in
//! front of the routes that are not OTLP), `names` (under which a server without a key may be asked), `tally` (what
//! was refused). The public handle is [`Authenticator`].

mod key;
mod layer;
mod names;
mod tally;
mod tenant;

use std::sync::Arc;

use http::HeaderMap;

use crate::fault::Kind;
use crate::model::tenant::InvalidTenant;
use crate::model::tenant::Scope;
use crate::model::tenant::TenantId;

pub use layer::layer;
pub use names::{Names, under_own_name};
pub use tally::Sample;
pub use tally::Surface;
use tally::Tally;

/// What the gate is told at the start.
pub struct Options {
    /// The operator's key. When there is one every request must carry it; an empty one admits nobody.
    pub api_key: Option<String>,
    /// The tenant of a request that names none.
    pub default_tenant: TenantId,
}

/// Checks credentials; cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
}

struct Shared {
    key: Option<key::Digest>,
    default_tenant: TenantId,
    tally: Tally,
}

/// A caller whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant the caller acts for.
    pub scope: Scope,
    /// True when the caller holds the operator's key, or when no key is required of anyone.
    pub operator: bool,
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
    /// The key is not the operator's.
    #[error("the key is not valid")]
    KeyWrong,
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
            Self::KeyMissing | Self::KeyMalformed | Self::KeyWrong => Kind::Unauthenticated,
            Self::TenantInvalid(_) | Self::TenantsConflict => Kind::Invalid,
        }
    }
}

impl Authenticator {
    /// A gate for `options`. Only the digest of the key is kept.
    pub fn new(options: Options) -> Self {
        let key = options.api_key.as_deref().map(key::Digest::of);
        Self {
            shared: Arc::new(Shared { key, default_tenant: options.default_tenant, tally: Tally::default() }),
        }
    }

    /// The principal behind an HTTP request, from its headers alone; what is turned away is counted.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] without a valid key when one is set; [`Kind::Invalid`] for a bad tenant header.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Error> {
        self.counted(Surface::Http, headers)
    }

    /// As [`Authenticator::authenticate`], for the metadata of a gRPC call.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn authenticate_grpc(&self, headers: &HeaderMap) -> Result<Principal, Error> {
        self.counted(Surface::Grpc, headers)
    }

    /// True when callers must show a key.
    pub fn requires_key(&self) -> bool {
        self.shared.key.is_some()
    }

    /// What was turned away so far, for the metrics page; every reason is listed from the start.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.shared.tally.samples()
    }

    fn counted(&self, surface: Surface, headers: &HeaderMap) -> Result<Principal, Error> {
        self.check(headers).inspect_err(|error| self.shared.tally.count(surface, error))
    }

    fn check(&self, headers: &HeaderMap) -> Result<Principal, Error> {
        if let Some(digest) = &self.shared.key {
            digest.check(headers)?;
        }
        let tenant = tenant::named(headers)?.unwrap_or_else(|| self.shared.default_tenant.clone());
        Ok(Principal { scope: Scope::authorized(tenant), operator: true })
    }
}

#[cfg(test)]
mod tests;
