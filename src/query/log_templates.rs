//! Log templates with how often each was seen, and compared with the time before.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::diagnose::moved::{Moved, appeared, moved};
use crate::model::id::{ServiceId, TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::read::logs::LogAsk;
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

/// A template with its records in a window and in as long a time before it.
#[derive(Debug, Clone)]
pub struct LogPattern {
    /// The template.
    pub template: TemplateRow,
    /// The gravest severity of its records.
    pub severity: Severity,
    /// Its records in the window.
    pub now: u64,
    /// Its records in the time before; none where nothing is known of that time.
    pub before: Option<u64>,
    /// How the two compare.
    pub moved: Option<Moved>,
}

/// Patterns of log records.
#[derive(Debug, Clone)]
pub struct PatternsFound {
    /// The patterns, by id.
    pub patterns: Vec<LogPattern>,
    /// The window in whole minutes.
    pub window: Window,
    /// The time before it, as far as anything is known of it.
    pub baseline: Option<Window>,
}

/// Newest records among which the trace of a pattern is looked for.
const LOOKED_AT_MAX: usize = 5_000;
/// Patterns whose first record is looked for by itself.
const FIRST_RECORDS_MAX: usize = 20;

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
        let cells = self.logs_of(tenant, &[window]).await?.into_iter().flatten();
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

    /// The patterns of records that are at least so severe, in the window and in as long a time before it; of one service or
    /// of all.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn log_patterns(
        &self,
        scope: &Scope,
        asked: Window,
        (service, severity_min): (Option<&str>, Severity),
    ) -> Result<PatternsFound, Error> {
        let wanted = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let window = window::whole_buckets(asked, COARSE_SECONDS);
        let none = PatternsFound { patterns: Vec::new(), window, baseline: None };
        let Some(tenant) = self.tenant(scope) else { return Ok(none) };
        let before = Window::new(window.from.minus(window.length()), window.from);
        let known = self.known(tenant).await?.and_then(|known| window::clipped(before, known));
        let baseline = known.map(|known| window::whole_buckets(known, COARSE_SECONDS));
        let windows: Vec<Window> = [Some(window), baseline].into_iter().flatten().collect();
        let mut sums = self.logs_of(tenant, &windows).await?.into_iter();
        let mut counts: HashMap<TemplateId, (u64, u64, Severity)> = HashMap::new();
        for is_now in [true, false] {
            for (subject, cell) in sums.next().unwrap_or_default() {
                let Subject::Logs(service, template, severity) = subject else { continue };
                if severity < severity_min || wanted.is_some_and(|wanted| wanted != service) {
                    continue;
                }
                let (now, before, gravest) = counts.entry(template).or_default();
                *(if is_now { now } else { before }) += cell.count;
                *gravest = severity.max(*gravest);
            }
        }
        // The last minute may not be over.
        let seconds =
            |window: Window| Window::new(window.from, window.to.min(asked.to)).length().as_secs_f64();
        let pattern = |template: TemplateRow| {
            let (now, before, severity) = counts.get(&template.id).copied()?;
            let is_first = before == 0 && window.contains(template.first_seen);
            let moved = baseline.map(|it| match is_first {
                true => appeared((now, seconds(window)), seconds(it)),
                false => moved((now, seconds(window)), (before, seconds(it))),
            });
            Some(LogPattern { template, severity, now, before: baseline.map(|_| before), moved })
        };
        let templates = self.store.templates(Some(tenant)).await?;
        let mut patterns: Vec<LogPattern> = templates.into_iter().filter_map(pattern).collect();
        patterns.sort_by_key(|pattern| pattern.template.id);
        Ok(PatternsFound { patterns, window, baseline })
    }

    /// For each of these patterns a trace that a record of it belongs to, as far as one is found soon: among the newest
    /// records, or with the first record of those that are new.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pattern_traces(
        &self,
        scope: &Scope,
        window: Window,
        patterns: &[LogPattern],
    ) -> Result<HashMap<TemplateId, TraceId>, Error> {
        let mut traces = HashMap::new();
        let Some(tenant) = self.tenant(scope) else { return Ok(traces) };
        for log in self.store.logs(tenant, &LogAsk::newest(window, LOOKED_AT_MAX)).await?.items {
            if let Some(trace) = log.row.trace_id {
                traces.entry(log.row.template).or_insert(trace);
            }
        }
        let missing = patterns.iter().filter(|pattern| pattern.now > 0);
        let missing: Vec<(TemplateId, ServiceId, Window)> = missing
            .filter(|pattern| !traces.contains_key(&pattern.template.id))
            .map(|pattern| &pattern.template)
            .filter(|template| window.contains(template.first_seen))
            .take(FIRST_RECORDS_MAX)
            .map(|template| {
                let first = template.first_seen;
                (template.id, template.service, Window::new(first, first.plus(Duration::from_secs(1))))
            })
            .collect();
        for (template, service, window) in missing {
            let services = vec![service];
            let ask = LogAsk { services, templates: vec![template], ..LogAsk::newest(window, 10) };
            let records = self.store.logs(tenant, &ask).await?.items;
            if let Some(trace) = records.iter().find_map(|log| log.row.trace_id) {
                traces.insert(template, trace);
            }
        }
        Ok(traces)
    }
}
