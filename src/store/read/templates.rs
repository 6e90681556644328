//! Log templates: for the miner to start from, and by their ids for questions.

use std::collections::BTreeSet;
use std::time::Duration;

use super::NAMED_MAX;
use super::columns::Columns;
use super::rollups::RollupKind;
use crate::fault::Kind;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::row::Row;
use crate::store::rows::TemplateRow;

/// Templates that are read at a time.
const TOGETHER: usize = 10_000;
/// Services whose templates are counted at a time.
pub(in crate::store) const SERVICES_TOGETHER: usize = 100;
/// How far back templates count as seen lately.
const LATELY: Duration = Duration::from_secs(2 * 86_400);

/// The columns of a whole template.
const WHOLE: &str = "id, tenant_id, service_id, text, sample, first_seen";
/// Those of one without its sample.
const TEXT: &str = "id, service_id, text, first_seen";

/// A template without its sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateText {
    /// Its id.
    pub id: TemplateId,
    /// The service whose lines it was mined from.
    pub service: ServiceId,
    /// Tokens joined by one space, variables as `<*>`.
    pub text: String,
    /// When its first line was seen.
    pub first_seen: UnixNanos,
}

/// How many templates of a service are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfService {
    /// Whose they are.
    pub service: ServiceId,
    /// All of them.
    pub all: usize,
    /// How many were last counted before certain days: those that rest come first.
    pub(in crate::store) before: [usize; 3],
}

impl OfService {
    /// How many take room: they do not rest.
    pub const fn taking_room(&self) -> usize {
        self.all - self.before[0]
    }
}

impl Store {
    /// The newest `max` templates of all tenants, by id. Reads them in parts, so that it takes no longer than each of these
    /// may; nothing but the miner may write templates meanwhile.
    pub async fn newest_templates(&self, max: usize) -> Result<Vec<TemplateRow>, Error> {
        self.newest_templates_by(max, TOGETHER).await
    }

    pub(super) async fn newest_templates_by(
        &self,
        max: usize,
        together: usize,
    ) -> Result<Vec<TemplateRow>, Error> {
        let mut templates: Vec<TemplateRow> = Vec::new();
        let mut before = i64::from(u32::MAX) + 1;
        while templates.len() < max {
            let limit = together.min(max - templates.len());
            let mut reader = self.reader().await?;
            let query = reader.sql(format!(
                "SELECT {WHOLE} FROM templates WHERE id < {before} ORDER BY id DESC LIMIT {limit}"
            ));
            let more = reader.all(query, whole).await?;
            reader.finish().await?;
            let Some(last) = more.last() else { break };
            before = last.id.0.into();
            templates.extend(more);
        }
        templates.reverse();
        Ok(templates)
    }

    /// The newest `max` templates of a service, by id.
    pub async fn newest_templates_of(
        &self,
        service: ServiceId,
        max: usize,
    ) -> Result<Vec<TemplateRow>, Error> {
        let mut reader = self.reader().await?;
        let query = reader.sql(format!(
            "SELECT {WHOLE} FROM templates WHERE service_id = {} ORDER BY id DESC LIMIT {max}",
            service.0
        ));
        let mut templates = reader.all(query, whole).await?;
        reader.finish().await?;
        templates.reverse();
        Ok(templates)
    }

    /// The services that have templates, and how many each, by id. Counts them in parts, as with
    /// [`Store::newest_templates`].
    pub async fn templates_of_services(&self) -> Result<Vec<OfService>, Error> {
        let days = [self.inner.aging().floor(); 3];
        self.templates_of_services_by(days, SERVICES_TOGETHER).await
    }

    /// The same, with how many were last counted before each of these days.
    pub(in crate::store) async fn templates_of_services_by(
        &self,
        days: [Day; 3],
        together: usize,
    ) -> Result<Vec<OfService>, Error> {
        let before = days.map(|day| format!("count(*) FILTER (WHERE last_day < {})", day.0)).join(", ");
        let mut counted: Vec<OfService> = Vec::new();
        let mut after = -1_i64;
        loop {
            let mut reader = self.reader().await?;
            let query = reader.sql(format!(
                "SELECT service_id, count(*), {before} FROM templates WHERE service_id > {after} \
                 GROUP BY service_id ORDER BY service_id LIMIT {together}"
            ));
            let more = reader.all(query, of_service).await?;
            reader.finish().await?;
            let Some(last) = more.last() else { break };
            after = last.service.0.into();
            counted.extend(more);
        }
        Ok(counted)
    }

    /// `most` templates of a service that were last counted before `before`, those counted longest ago first, each with its
    /// last day; those that come after `after`. Never the one with the highest id of all: after a restart too no id is given
    /// twice.
    pub(in crate::store) async fn templates_seen_before(
        &self,
        service: ServiceId,
        before: Day,
        after: Option<(Day, TemplateId)>,
        most: usize,
    ) -> Result<Vec<(Day, TemplateId)>, Error> {
        let after = after.map(|(day, id)| format!(" AND (last_day, id) > ({}, {})", day.0, id.0));
        let mut reader = self.reader().await?;
        let query = reader.sql(format!(
            "SELECT last_day, id FROM templates WHERE service_id = {} AND last_day < {}{} \
             AND id < (SELECT max(id) FROM templates) ORDER BY last_day, id LIMIT {most}",
            service.0,
            before.0,
            after.unwrap_or_default()
        ));
        let found = reader.all(query, |row| Ok((Day(row.get(0)?), TemplateId(row.get(1)?)))).await?;
        reader.finish().await?;
        Ok(found)
    }

    /// Those of the tenant's templates of which a record was counted in the last two days of what is known; none where so
    /// much was counted that this cannot be read.
    pub async fn templates_counted_lately(
        &self,
        tenant: TenantNumber,
    ) -> Result<Option<BTreeSet<TemplateId>>, Error> {
        let Some(known) = self.rollup_range(tenant).await? else { return Ok(Some(BTreeSet::new())) };
        let window = Window::new(known.to.minus(LATELY), known.to);
        match self.merged_rollups(tenant, COARSE_SECONDS, window, &[RollupKind::Logs]).await {
            Ok(counted) => {
                let template = |subject: &Subject| match subject {
                    Subject::Logs(_, template, _) => Some(*template),
                    _ => None,
                };
                Ok(Some(counted.keys().filter_map(template).collect()))
            }
            Err(error) if matches!(error.kind(), Kind::TooLarge | Kind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those of the tenant's templates that have these ids, by id.
    pub async fn templates_by_id(
        &self,
        tenant: TenantNumber,
        ids: &BTreeSet<TemplateId>,
    ) -> Result<Vec<TemplateRow>, Error> {
        self.of_ids(tenant, WHOLE, ids, whole).await
    }

    /// The same without samples.
    pub async fn template_texts(
        &self,
        tenant: TenantNumber,
        ids: &BTreeSet<TemplateId>,
    ) -> Result<Vec<TemplateText>, Error> {
        self.of_ids(tenant, TEXT, ids, text).await
    }

    /// The ids of the templates of the same service that have the text of this one, itself among them, by id; of more than
    /// one question may name the oldest. Empty where the tenant has no such template.
    pub async fn templates_alike(
        &self,
        tenant: TenantNumber,
        id: TemplateId,
    ) -> Result<Vec<TemplateId>, Error> {
        let mut reader = self.reader().await?;
        let query = reader.sql(format!(
            "SELECT o.id FROM templates t JOIN templates o ON o.service_id = t.service_id AND o.text = t.text \
             WHERE t.tenant_id = {} AND t.id = {} ORDER BY o.id LIMIT {NAMED_MAX}",
            tenant.0, id.0
        ));
        let alike = reader.all(query, |row| Ok(TemplateId(Columns { row, what: "template" }.number(0)?)));
        let mut alike = alike.await?;
        reader.finish().await?;
        if !alike.contains(&id)
            && let Some(last) = alike.last_mut()
        {
            *last = id;
        }
        Ok(alike)
    }

    /// The highest id of a template of any tenant; 0 where there is none.
    pub async fn template_highest(&self) -> Result<u32, Error> {
        let mut reader = self.reader().await?;
        let query = reader.sql("SELECT coalesce(max(id), 0) FROM templates");
        let highest =
            reader.first(query, |row| Columns { row, what: "template" }.number(0)).await?.unwrap_or_default();
        reader.finish().await?;
        Ok(highest)
    }

    async fn of_ids<T: Send + Unpin>(
        &self,
        tenant: TenantNumber,
        columns: &str,
        ids: &BTreeSet<TemplateId>,
        read: impl Fn(Row<'_>) -> Result<T, Error> + Send + Sync,
    ) -> Result<Vec<T>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(id.0)).collect();
        let mut found = Vec::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let mut reader = self.reader().await?;
        for part in ids.chunks(NAMED_MAX) {
            let mut query =
                reader.sql(format!("SELECT {columns} FROM templates WHERE tenant_id = {} AND id", tenant.0));
            query.push(reader.dialect().is_one_of(part.iter().copied())).push(" ORDER BY id");
            found.extend(reader.all(query, &read).await?);
        }
        reader.finish().await?;
        Ok(found)
    }
}

fn whole(row: Row<'_>) -> Result<TemplateRow, Error> {
    let columns = Columns { row, what: "template" };
    Ok(TemplateRow {
        id: TemplateId(columns.number(0)?),
        tenant: TenantNumber(columns.number(1)?),
        service: ServiceId(columns.number(2)?),
        text: row.get(3)?,
        sample: row.get(4)?,
        first_seen: UnixNanos(columns.number(5)?),
    })
}

fn of_service(row: Row<'_>) -> Result<OfService, Error> {
    let columns = Columns { row, what: "template" };
    let before = [columns.number(2)?, columns.number(3)?, columns.number(4)?];
    Ok(OfService { service: ServiceId(columns.number(0)?), all: columns.number(1)?, before })
}

fn text(row: Row<'_>) -> Result<TemplateText, Error> {
    let columns = Columns { row, what: "template" };
    Ok(TemplateText {
        id: TemplateId(columns.number(0)?),
        service: ServiceId(columns.number(1)?),
        text: row.get(2)?,
        first_seen: UnixNanos(columns.number(3)?),
    })
}
