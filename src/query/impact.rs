//! Who is hurt when something fails or slows down.

use std::time::Duration;

use crate::diagnose::impact::{Supposed, impact};
use crate::diagnose::verdict::Impact;
use crate::model::id::{OperationId, ServiceId};
use crate::model::tenant::Scope;
use crate::model::time::Window;

use super::error::Error;
use super::handle::Query;
use super::window;

/// What is supposed to go wrong, by name.
#[derive(Debug, Clone, Copy)]
pub struct WhatIf<'a> {
    /// The node that fails.
    pub service: &'a str,
    /// Only this operation of it.
    pub operation: Option<&'a str>,
    /// Only the calls of this service to it.
    pub caller: Option<&'a str>,
    /// What each call takes longer; zero where it fails instead.
    pub added: Duration,
}

impl Query {
    /// The operations whose requests pass through what is supposed to go wrong: its callers, theirs, and so on up to `depth`
    /// calls between services.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn impact(
        &self,
        scope: &Scope,
        asked: Window,
        what: WhatIf<'_>,
        depth: u32,
    ) -> Result<Impact, Error> {
        let failing = self.service(scope, what.service)?.id;
        let operation = what.operation.map(|name| self.operation_called(failing, name)).transpose()?;
        let caller = what.caller.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let added_ns = (!what.added.is_zero()).then(|| what.added.as_nanos().try_into().unwrap_or(u64::MAX));
        let what = Supposed { failing, operation, caller, added_ns };
        let Some(tenant) = self.tenant(scope) else {
            return Ok(Impact { affected: Vec::new(), reads: Vec::new(), coverage: Vec::new() });
        };
        let comparison = window::plain(asked);
        let evidence = self.evidence(tenant, comparison).await?;
        let windows: Vec<Window> = evidence.baseline.into_iter().chain([evidence.window]).collect();
        let seen = self.passing(tenant, &windows, what).await?;
        let mut found = impact(&evidence, what, &seen);
        found.affected.retain(|affected| affected.distance <= depth);
        Ok(found)
    }

    /// The operation of `service` with this name.
    fn operation_called(&self, service: ServiceId, name: &str) -> Result<OperationId, Error> {
        let mut operations = self.names().operations_of(service);
        // A proxy may call under the name it is called by: what is asked for is what others call.
        operations.sort_by_key(|operation| !operation.kind.is_inbound());
        let found = operations.iter().find(|operation| &*operation.name == name);
        found.map(|operation| operation.id).ok_or_else(|| Error::UnknownOperation {
            name: name.to_owned(),
            known: operations.iter().map(|operation| operation.name.to_string()).collect(),
        })
    }
}
