//! `/api/v1/log-templates`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::id::TemplateId;
use crate::query::log_templates::CountedTemplate;

use super::answer::{Answer, Page, counted, laid_out};
use super::call::Call;
use super::logs::severity_min;
use super::parameter::{CURSOR, FROM, LIMIT, SERVICE, SEVERITY, SINCE, TO};
use super::problem::Problem;
use super::routes::Route;
use super::time::rfc3339;

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/log-templates",
    right: Right::Read,
    name: "listLogTemplates",
    summary: "Templates of log lines, the most frequent first",
    description: "The patterns that log lines of the window follow, each with how many records do. Records are counted a \
                  minute at a time, so `window` is in whole minutes.",
    in_path: &[],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &SERVICE, &SEVERITY, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page::<TemplateView>(),
    answer: |call| Box::pin(answer(call)),
};

/// A template with its records in the window.
#[derive(Serialize, ToSchema)]
#[schema(as = LogTemplate)]
struct TemplateView {
    /// Its id, for the parameter `template` of `/api/v1/logs`.
    template: u32,
    /// The service whose lines it was mined from.
    service: String,
    /// The pattern: words, with `<*>` for what varies.
    text: String,
    /// One line that follows it.
    sample: String,
    /// When its first line was seen.
    #[schema(format = DateTime)]
    first_seen: String,
    /// Records in the window.
    count: u64,
    /// Records in the window by severity.
    by_severity: BTreeMap<&'static str, u64>,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let wanted = (call.text(&SERVICE), severity_min(&call));
    let found = call.query().log_templates(&call.scope, resumed.window, wanted).await?;
    let shown = found.templates.iter().skip(after).take(resumed.limit);
    let shown: BTreeSet<TemplateId> = shown.map(|counted| counted.template.id).collect();
    let samples = call.query().samples(&call.scope, &shown).await?;
    laid_out(move || {
        let query = call.query();
        let view = |counted: &CountedTemplate| {
            let template = &counted.template;
            let mut by_severity = BTreeMap::new();
            for (severity, count) in &counted.by_severity {
                *by_severity.entry(severity.name()).or_default() += count;
            }
            TemplateView {
                template: template.id.0,
                service: query.service_name(template.service),
                text: template.text.clone(),
                sample: samples.get(&template.id).cloned().unwrap_or_default(),
                first_seen: rfc3339(template.first_seen),
                count: counted.count,
                by_severity,
            }
        };
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = found.window;
        page.fill_counted(&found.templates, (after, resumed.limit), view)?;
        page.finish()
    })
    .await
}
