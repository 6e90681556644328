//! `/api/v1/anomalies`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::model::rollup::Subject;
use crate::query::Query;

use super::answer::{Answer, Page, counted, laid_out};
use super::call::Call;
use super::parameter::{CURSOR, FROM, LIMIT, SERVICE, SINCE, TO};
use super::problem::Problem;
use super::routes::Route;
use super::time::rfc3339;

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/anomalies",
    right: Right::Read,
    name: "listAnomalies",
    summary: "What left its normal course, and when",
    description: "The episodes that overlap the window, earliest onset first: errors, latency, traffic and silence of \
                  operations and instances, against their own baseline.",
    in_path: &[],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &SERVICE, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page::<AnomalyView>(),
    answer: |call| Box::pin(answer(call)),
};

/// One episode in which something left its baseline.
#[derive(Serialize, ToSchema)]
#[schema(as = Anomaly)]
struct AnomalyView {
    /// Its identity, the same whichever window it is asked about once it was written down, which takes half a minute.
    #[schema(min_length = 16, max_length = 16)]
    id: String,
    /// When it began.
    #[schema(format = DateTime)]
    onset: String,
    /// When it was over; null while it lasts.
    #[schema(format = DateTime)]
    end: Option<String>,
    /// The service.
    service: String,
    /// The operation that deviates, where it is one.
    operation: Option<String>,
    /// The instance that deviates, where it is one.
    instance: Option<String>,
    /// `errors`, `latency`, `traffic` or `silence`.
    kind: &'static str,
    /// What `before` and `peak` are measured in: `share` of requests, 0 to 1; `ms`; or `requests_per_s`.
    unit: &'static str,
    /// The measure in the baseline.
    before: f64,
    /// The measure at its worst.
    peak: f64,
    /// How far the peak is from the baseline.
    #[schema(minimum = 0, maximum = 1)]
    severity: f64,
}

impl AnomalyView {
    fn new(query: &Query, anomaly: &Anomaly) -> Self {
        let (unit, scale) = match anomaly.kind {
            AnomalyKind::Errors => ("share", 1.0),
            AnomalyKind::Latency => ("ms", 1e-6),
            AnomalyKind::Traffic | AnomalyKind::Silence => ("requests_per_s", 1.0),
        };
        let (operation, instance) = match anomaly.subject {
            Subject::Operation(id) | Subject::Edge(_, id) => (Some(query.operation_name(id)), None),
            Subject::Instance(_, resource) => (None, Some(query.instance_name(resource))),
            Subject::Logs(..) => (None, None),
        };
        let service = query.node_of(anomaly.subject);
        Self {
            id: format!("{:016x}", anomaly.id()),
            onset: rfc3339(anomaly.onset),
            end: anomaly.end.map(rfc3339),
            service: service.map_or_else(|| "?".to_owned(), |id| query.service_name(id)),
            operation,
            instance,
            kind: anomaly.kind.name(),
            unit,
            before: anomaly.before * scale,
            peak: anomaly.peak * scale,
            severity: anomaly.severity,
        }
    }
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let found = call.query().anomalies(&call.scope, resumed.window, call.text(&SERVICE)).await?.found;
    laid_out(move || {
        let query = call.query();
        let mut page = Page::new(&call.seal, resumed.window);
        page.fill_counted(&found, (after, resumed.limit), |anomaly| AnomalyView::new(query, anomaly))?;
        page.finish()
    })
    .await
}
