//! The tenant a request names.

use http::HeaderMap;
use http::HeaderValue;

use crate::model::tenant::InvalidTenant;
use crate::model::tenant::TenantId;

use super::Error;

/// The headers that may name the tenant; they must agree.
const TENANT_HEADERS: [&str; 2] = ["x-tenant-id", "x-scope-orgid"];

/// The tenant named by the headers; none when no header names one.
///
/// Every value of every header is read: one bad or different value refuses the request, whatever its place.
pub(super) fn named(headers: &HeaderMap) -> Result<Option<TenantId>, Error> {
    let mut named: Option<TenantId> = None;
    for value in TENANT_HEADERS.iter().flat_map(|name| headers.get_all(*name)) {
        let tenant = parse(value).map_err(Error::TenantInvalid)?;
        match &named {
            Some(earlier) if *earlier != tenant => return Err(Error::TenantsConflict),
            Some(_) => {}
            None => named = Some(tenant),
        }
    }
    Ok(named)
}

fn parse(value: &HeaderValue) -> Result<TenantId, InvalidTenant> {
    TenantId::try_from(value.to_str().map_err(|_not_ascii| InvalidTenant)?)
}
