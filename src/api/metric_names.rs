//! `/api/v1/metrics`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::store::read::metrics::MetricName;

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor};
use super::cursor::Place;
use super::parameter::{CURSOR, FROM, LIMIT, Parameter, SINCE, Shape, TO};
use super::problem::Problem;
use super::routes::Route;

const PREFIX: Parameter = Parameter {
    name: "prefix",
    description: "Only metrics whose name begins so.",
    shape: Shape::Text { bytes_max: 1_024 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/metrics",
    right: Right::Read,
    name: "listMetrics",
    summary: "Metrics that were measured",
    description: "The metrics that have a point in the window, by name, unit and kind.",
    in_path: &[],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &PREFIX, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page::<MetricView>(),
    answer: |call| Box::pin(answer(call)),
};

/// A metric.
#[derive(Serialize, ToSchema)]
#[schema(as = Metric)]
struct MetricView {
    /// Its name.
    name: String,
    /// Its unit in UCUM; may be empty.
    unit: String,
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    kind: &'static str,
    /// What its senders say about it; may be empty.
    description: String,
    /// Series that have a point in the window.
    series: u64,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let mut names = call.query().metric_names(&call.scope, resumed.window).await?;
    laid_out(move || {
        if let Some(prefix) = call.text(&PREFIX) {
            names.retain(|metric| metric.name.starts_with(prefix));
        }
        if let Some(after) = &resumed.after {
            let [kind] = after.fixed().ok_or_else(foreign_cursor)?;
            let (name, unit) = after.name.split_once('\0').ok_or_else(foreign_cursor)?;
            names.retain(|metric| {
                (metric.name.as_str(), metric.unit.as_str(), metric.kind as i64) > (name, unit, kind)
            });
        }
        let more = names.len() > resumed.limit;
        names.truncate(resumed.limit);
        let mut page = Page::new(&call.seal, resumed.window);
        page.fill(
            &names,
            names.last().filter(|_| more).map(place),
            |metric| MetricView {
                name: metric.name.clone(),
                unit: metric.unit.clone(),
                kind: metric.kind.name(),
                description: metric.description.clone(),
                series: metric.series,
            },
            |_, metric| place(metric),
        )?;
        page.finish()
    })
    .await
}

fn place(metric: &MetricName) -> Place {
    Place { numbers: vec![metric.kind as i64], name: format!("{}\0{}", metric.name, metric.unit) }
}
