//! Log templates that were counted, with their texts.
//!
//! Several templates of a service may have one text: those that became more general together, and those that were found
//! anew after the miner had forgotten them. The oldest of them stands for all, so that what was counted of them is added
//! up; and who asks for one of them asks for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::rollup::Subject;
use crate::model::tenant::Scope;
use crate::store::read::templates::TemplateText;

use super::error::Error;
use super::handle::Query;
use super::sums::Sums;

/// Templates by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    templates: BTreeMap<TemplateId, TemplateText>,
    /// The oldest with the same text, for those that are not the oldest.
    oldest: HashMap<TemplateId, TemplateId>,
}

impl Query {
    /// The templates of these ids.
    pub(super) async fn patterns(
        &self,
        tenant: TenantNumber,
        ids: &BTreeSet<TemplateId>,
    ) -> Result<Patterns, Error> {
        Ok(Patterns::of(self.store.template_texts(tenant, ids).await?))
    }

    /// The templates that are asked for with this one: those with its text, and itself.
    pub(super) async fn alike(
        &self,
        tenant: TenantNumber,
        template: Option<TemplateId>,
    ) -> Result<Vec<TemplateId>, Error> {
        let Some(template) = template else { return Ok(Vec::new()) };
        let alike = self.store.templates_alike(tenant, template).await?;
        Ok(if alike.is_empty() { vec![template] } else { alike })
    }

    /// One line that follows each of these templates.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn samples(
        &self,
        scope: &Scope,
        ids: &BTreeSet<TemplateId>,
    ) -> Result<HashMap<TemplateId, String>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(HashMap::new()) };
        let templates = self.store.templates_by_id(tenant, ids).await?.into_iter();
        Ok(templates.map(|template| (template.id, template.sample)).collect())
    }
}

impl Patterns {
    pub(super) fn of(templates: Vec<TemplateText>) -> Self {
        let mut templates: BTreeMap<TemplateId, TemplateText> =
            templates.into_iter().map(|template| (template.id, template)).collect();
        let oldest = with_one_text(&templates);
        for (id, oldest) in &oldest {
            let seen = templates.get(id).map(|template| template.first_seen);
            if let (Some(oldest), Some(seen)) = (templates.get_mut(oldest), seen) {
                oldest.first_seen = oldest.first_seen.min(seen);
            }
        }
        Self { templates, oldest }
    }

    /// The template that stands for this one.
    pub(super) fn oldest(&self, id: TemplateId) -> TemplateId {
        self.oldest.get(&id).copied().unwrap_or(id)
    }

    /// A template as it is; that which stands for others was first seen when the first of them was.
    pub(super) fn get(&self, id: TemplateId) -> Option<&TemplateText> {
        self.templates.get(&id)
    }

    /// All templates, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TemplateText> {
        self.templates.values()
    }

    /// The subject that records of one template and severity are counted for.
    pub(super) fn subject(&self, subject: Subject) -> Subject {
        match subject {
            Subject::Logs(service, id, severity) => Subject::Logs(service, self.oldest(id), severity),
            other => other,
        }
    }

    /// Sums with those of templates that have one text added up.
    pub(super) fn added_up(&self, sums: Sums) -> Sums {
        if self.oldest.is_empty() {
            return sums;
        }
        let mut all = Sums::default();
        for (subject, cell) in sums {
            all.entry(self.subject(subject)).or_default().merge(&cell);
        }
        all
    }
}

/// For each template that is not the oldest with its text, the oldest.
fn with_one_text(templates: &BTreeMap<TemplateId, TemplateText>) -> HashMap<TemplateId, TemplateId> {
    let mut by_text: HashMap<(ServiceId, &str), TemplateId> = HashMap::new();
    let mut oldest = HashMap::new();
    for (id, template) in templates {
        let first = *by_text.entry((template.service, template.text.as_str())).or_insert(*id);
        if first != *id {
            oldest.insert(*id, first);
        }
    }
    oldest
}

/// The templates that subjects are about.
pub(super) fn named<'s>(subjects: impl IntoIterator<Item = &'s Subject>) -> BTreeSet<TemplateId> {
    let template = |subject: &Subject| match subject {
        Subject::Logs(_, template, _) => Some(*template),
        _ => None,
    };
    subjects.into_iter().filter_map(template).collect()
}

#[cfg(test)]
mod tests {
    use crate::model::log::Severity;
    use crate::model::rollup::Cell;
    use crate::model::time::UnixNanos;

    use super::*;

    fn text(id: u32, service: u32, text: &str) -> TemplateText {
        let first_seen = UnixNanos(100 - i64::from(id));
        TemplateText { id: TemplateId(id), service: ServiceId(service), text: text.to_owned(), first_seen }
    }

    #[test]
    fn templates_with_one_text_are_counted_for_the_oldest() {
        let patterns = Patterns::of(vec![
            text(7, 1, "login of <*>"),
            text(3, 1, "login of <*>"),
            text(4, 2, "login of <*>"),
            text(5, 1, "logout of <*>"),
            text(9, 1, "login of <*>"),
        ]);
        let oldest = [3, 7, 9, 4, 5, 17].map(|id| patterns.oldest(TemplateId(id)).0);
        assert_eq!(oldest, [3, 3, 3, 4, 5, 17]);
        assert_eq!(patterns.get(TemplateId(3)).unwrap().first_seen, UnixNanos(91));
        let subject =
            |service, id, severity| Subject::Logs(ServiceId(service), TemplateId(id), Severity(severity));
        let sums = [
            (subject(1, 3, 9), 1),
            (subject(1, 7, 9), 2),
            (subject(1, 9, 17), 4),
            (subject(2, 4, 9), 8),
            (subject(1, 5, 9), 16),
            (subject(1, 17, 9), 32),
        ];
        let cell = |count| Cell { count, ..Cell::default() };
        let sums: Sums = sums.into_iter().map(|(subject, count)| (subject, cell(count))).collect();
        assert_eq!(named(sums.keys()).len(), 6);
        let added_up: BTreeMap<Subject, u64> =
            patterns.added_up(sums).into_iter().map(|(subject, cell)| (subject, cell.count)).collect();
        let expected = [
            (subject(1, 3, 9), 3),
            (subject(1, 3, 17), 4),
            (subject(2, 4, 9), 8),
            (subject(1, 5, 9), 16),
            (subject(1, 17, 9), 32),
        ];
        assert_eq!(added_up, BTreeMap::from(expected));
    }
}
