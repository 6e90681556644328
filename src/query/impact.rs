//! Who is hurt when something fails.

use crate::diagnose::impact;
use crate::diagnose::verdict::Impact;
use crate::model::tenant::Scope;
use crate::model::time::Window;

use super::error::Error;
use super::handle::Query;
use super::window;

impl Query {
    /// The operations whose requests pass through `service`, or through one operation of it: its callers, theirs, and
    /// so on up to `depth` calls between services.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn impact(
        &self,
        scope: &Scope,
        asked: Window,
        (service, operation): (&str, Option<&str>),
        depth: u32,
    ) -> Result<Impact, Error> {
        let info = self.service(scope, service)?;
        let operation = operation
            .map(|name| {
                let mut operations = self.names().operations_of(info.id);
                // A proxy may call under the name it is called by: what is asked for is what others call.
                operations.sort_by_key(|operation| !operation.kind.is_inbound());
                operations
                    .iter()
                    .find(|operation| &*operation.name == name)
                    .map(|operation| operation.id)
                    .ok_or_else(|| Error::UnknownOperation {
                        name: name.to_owned(),
                        known: operations.iter().map(|operation| operation.name.to_string()).collect(),
                    })
            })
            .transpose()?;
        let Some(tenant) = self.tenant(scope) else {
            return Ok(Impact { affected: Vec::new(), coverage: Vec::new() });
        };
        let comparison = window::plain(asked);
        let evidence = self.evidence(tenant, comparison).await?;
        let windows: Vec<Window> = evidence.baseline.into_iter().chain([evidence.window]).collect();
        let seen = self.passing(tenant, &windows, (info.id, operation)).await?;
        let mut impact = impact::impact(&evidence, info.id, operation, &seen);
        impact.affected.retain(|affected| affected.distance <= depth);
        Ok(impact)
    }
}
