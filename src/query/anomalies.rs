//! What left its normal course, and when.

use crate::diagnose::anomaly;
use crate::diagnose::verdict::Anomaly;
use crate::model::id::ServiceId;
use crate::model::rollup::Subject;
use crate::model::tenant::Scope;
use crate::model::time::Window;

use super::error::Error;
use super::handle::Query;
use super::window;

impl Query {
    /// The anomalies that overlap `window`, earliest onset first; of one service or of all.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn anomalies(
        &self,
        scope: &Scope,
        asked: Window,
        service: Option<&str>,
    ) -> Result<Vec<Anomaly>, Error> {
        let wanted = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let Some(tenant) = self.tenant(scope) else { return Ok(Vec::new()) };
        let reach = Window::new(window::plain(asked).before.from, asked.to);
        let mut slices = self.slices(tenant, reach).await?;
        if let Some(wanted) = wanted {
            slices.retain(|slice| self.node_of(slice.subject) == Some(wanted));
        }
        let work =
            tokio::task::spawn_blocking(move || anomaly::anomalies(&slices, &anomaly::Options::default()));
        let mut found = work.await.map_err(|_| Error::Abandoned)?;
        found.retain(|anomaly| anomaly.onset < asked.to && anomaly.end.is_none_or(|end| end > asked.from));
        Ok(found)
    }

    /// The node that a subject belongs to; the callee's for edges.
    pub fn node_of(&self, subject: Subject) -> Option<ServiceId> {
        match subject {
            Subject::Operation(operation) | Subject::Edge(_, operation) => {
                self.names().operation_info(operation).map(|info| info.service)
            }
            Subject::Instance(service, _) | Subject::Logs(service, ..) => Some(service),
        }
    }
}
