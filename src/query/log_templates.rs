//! Log templates with how often each was seen.

use std::collections::{BTreeMap, HashMap};

use crate::model::id::TemplateId;
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::read::rollups::RollupKind;
use crate::store::rows::TemplateRow;

use super::error::Error;
use super::handle::Query;
use super::window;

/// A template with its records in a window.
#[derive(Debug, Clone)]
pub struct CountedTemplate {
    /// The template.
    pub template: TemplateRow,
    /// Its records.
    pub count: u64,
    /// Its records by severity.
    pub by_severity: BTreeMap<Severity, u64>,
}

/// Templates that were seen in a window.
#[derive(Debug, Clone)]
pub struct TemplatesFound {
    /// The templates, the most frequent first, then by id.
    pub templates: Vec<CountedTemplate>,
    /// The window in whole minutes: records are counted a minute at a time.
    pub window: Window,
}

impl Query {
    /// The templates of the records in the window that are at least so severe; of one service or of all.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn log_templates(
        &self,
        scope: &Scope,
        asked: Window,
        (service, severity_min): (Option<&str>, Severity),
    ) -> Result<TemplatesFound, Error> {
        let wanted = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let window = window::whole_buckets(asked, COARSE_SECONDS);
        let Some(tenant) = self.tenant(scope) else {
            return Ok(TemplatesFound { templates: Vec::new(), window });
        };
        let cells = self.store.merged_rollups(tenant, COARSE_SECONDS, window, &[RollupKind::Logs]).await?;
        let mut counts: HashMap<TemplateId, BTreeMap<Severity, u64>> = HashMap::new();
        for (subject, cell) in cells {
            let Subject::Logs(service, template, severity) = subject else { continue };
            if severity >= severity_min && wanted.is_none_or(|wanted| wanted == service) {
                *counts.entry(template).or_default().entry(severity).or_default() += cell.count;
            }
        }
        let mut templates: Vec<CountedTemplate> = self
            .store
            .templates(Some(tenant))
            .await?
            .into_iter()
            .filter_map(|template| {
                let by_severity = counts.remove(&template.id)?;
                let count = by_severity.values().sum();
                Some(CountedTemplate { template, count, by_severity })
            })
            .collect();
        templates.sort_by_key(|counted| (std::cmp::Reverse(counted.count), counted.template.id));
        Ok(TemplatesFound { templates, window })
    }
}
