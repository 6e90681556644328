//! Log templates with how often each was seen, and compared with the time before.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::diagnose::moved::{Moved, appeared, moved};
use crate::model::id::{ServiceId, TemplateId, TraceId};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::read::NAMED_MAX;
use crate::store::read::logs::LogAsk;
use crate::store::read::templates::TemplateText;

use super::error::Error;
use super::handle::Query;
use super::patterns;
use super::window;

/// A template with its records in a window.
#[derive(Debug, Clone)]
pub struct CountedTemplate {
    /// The template, the oldest of those with its text.
    pub template: TemplateText,
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
    /// The template, the oldest of those with its text.
    pub template: TemplateText,
    /// The ids of all of those, by id.
    pub ids: Vec<TemplateId>,
    /// The gravest severity of its records.
    pub severity: Severity,
    /// Its records in the window.
    pub now: u64,
    /// Its records in the time before; none where nothing is known of that time.
    pub before: Option<u64>,
    /// How the two compare.
    pub moved: Option<Moved>,
    /// Whether it was seen before both, so that it is not new where there were none in the time before.
    pub is_old: bool,
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
        let mut sums = self.logs_of(tenant, &[window]).await?.pop().unwrap_or_default();
        sums.retain(|subject, _| is_wanted(subject, wanted, severity_min));
        let patterns = self.patterns(tenant, &patterns::named(sums.keys())).await?;
        let mut counts: HashMap<TemplateId, BTreeMap<Severity, u64>> = HashMap::new();
        for (subject, cell) in patterns.added_up(sums) {
            let Subject::Logs(_, template, severity) = subject else { continue };
            *counts.entry(template).or_default().entry(severity).or_default() += cell.count;
        }
        let counted = |(id, by_severity): (TemplateId, BTreeMap<Severity, u64>)| {
            let template = patterns.get(id)?.clone();
            let count = by_severity.values().sum();
            Some(CountedTemplate { template, count, by_severity })
        };
        let mut templates: Vec<CountedTemplate> = counts.into_iter().filter_map(counted).collect();
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
        let mut sums = self.logs_of(tenant, &windows).await?;
        sums.iter_mut().for_each(|sums| sums.retain(|subject, _| is_wanted(subject, wanted, severity_min)));
        let ids = patterns::named(sums.iter().flat_map(|sums| sums.keys()));
        let known = self.patterns(tenant, &ids).await?;
        let mut counts: HashMap<TemplateId, (u64, u64, Severity)> = HashMap::new();
        let mut sums = sums.into_iter().map(|sums| known.added_up(sums));
        for is_now in [true, false] {
            for (subject, cell) in sums.next().unwrap_or_default() {
                let Subject::Logs(_, template, severity) = subject else { continue };
                let (now, before, gravest) = counts.entry(template).or_default();
                *(if is_now { now } else { before }) += cell.count;
                *gravest = severity.max(*gravest);
            }
        }
        let mut with_one_text: HashMap<TemplateId, Vec<TemplateId>> = HashMap::new();
        for id in ids {
            with_one_text.entry(known.oldest(id)).or_default().push(id);
        }
        // The last minute may not be over.
        let seconds =
            |window: Window| Window::new(window.from, window.to.min(asked.to)).length().as_secs_f64();
        let pattern = |(id, (now, before, severity)): (TemplateId, (u64, u64, Severity))| {
            let template = known.get(id)?.clone();
            let ids = with_one_text.remove(&id).unwrap_or_default();
            let is_first = before == 0 && window.contains(template.first_seen);
            let moved = baseline.map(|it| match is_first {
                true => appeared((now, seconds(window)), seconds(it)),
                false => moved((now, seconds(window)), (before, seconds(it))),
            });
            let is_old = baseline.is_some_and(|baseline| template.first_seen < baseline.from);
            let before = baseline.map(|_| before);
            Some(LogPattern { template, ids, severity, now, before, moved, is_old })
        };
        let mut patterns: Vec<LogPattern> = counts.into_iter().filter_map(pattern).collect();
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
        let own =
            patterns.iter().flat_map(|pattern| pattern.ids.iter().map(move |id| (*id, pattern.template.id)));
        let own: HashMap<TemplateId, TemplateId> = own.collect();
        for log in self.store.logs(tenant, &LogAsk::newest(window, LOOKED_AT_MAX)).await?.items {
            if let Some(trace) = log.row.trace_id {
                let template = log.row.template;
                traces.entry(own.get(&template).copied().unwrap_or(template)).or_insert(trace);
            }
        }
        let missing = patterns.iter().filter(|pattern| pattern.now > 0);
        let missing: Vec<&LogPattern> = missing
            .filter(|pattern| !traces.contains_key(&pattern.template.id))
            .filter(|pattern| window.contains(pattern.template.first_seen))
            .take(FIRST_RECORDS_MAX)
            .collect();
        for pattern in missing {
            let (template, first) = (pattern.template.id, pattern.template.first_seen);
            let window = Window::new(first, first.plus(Duration::from_secs(1)));
            let services = vec![pattern.template.service];
            let templates = pattern.ids.iter().copied().take(NAMED_MAX).collect();
            let ask = LogAsk { services, templates, ..LogAsk::newest(window, 10) };
            let records = self.store.logs(tenant, &ask).await?.items;
            if let Some(trace) = records.iter().find_map(|log| log.row.trace_id) {
                traces.insert(template, trace);
            }
        }
        Ok(traces)
    }
}

/// Whether records of a template and severity are asked for.
fn is_wanted(subject: &Subject, service: Option<ServiceId>, severity_min: Severity) -> bool {
    match *subject {
        Subject::Logs(own, _, severity) => severity >= severity_min && service.is_none_or(|it| it == own),
        _ => false,
    }
}
