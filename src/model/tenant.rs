//! Tenants as types: a name that was checked, and the right to act for it.

use std::fmt;
use std::sync::Arc;

/// Longest tenant name in bytes.
pub const TENANT_BYTES_MAX: usize = 128;

/// A tenant's name: 1 to 128 visible ASCII characters of `A-Z a-z 0-9 . _ : @ -`, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a text cannot name a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant name has 1 to {TENANT_BYTES_MAX} characters of A-Z a-z 0-9 . _ : @ - and is not . or ..")]
pub struct InvalidTenant;

impl TenantId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for TenantId {
    type Error = InvalidTenant;

    fn try_from(name: &str) -> Result<Self, InvalidTenant> {
        let fits = (1..=TENANT_BYTES_MAX).contains(&name.len()) && name != "." && name != "..";
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b));
        if fits && plain { Ok(Self(name.into())) } else { Err(InvalidTenant) }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The right to read and write one tenant's data, given out after a credential was checked.
///
/// Only `auth` makes one; the architecture test keeps it so. Every question and every submission takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    tenant: TenantId,
}

impl Scope {
    /// The scope of a caller whose credential was checked to cover `tenant`.
    pub const fn authorized(tenant: TenantId) -> Self {
        Self { tenant }
    }

    /// The tenant.
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_tenants() {
        for name in ["default", "team-a", "a.b_c:d@e", &"x".repeat(128)] {
            assert!(TenantId::try_from(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a,b", "a|b", "é", "a\0", "%2e", &"x".repeat(129)] {
            assert_eq!(TenantId::try_from(name), Err(InvalidTenant), "{name}");
        }
    }
}
