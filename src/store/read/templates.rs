//! Log templates, for the miner to start from.

use super::columns::Columns;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::rows::TemplateRow;

/// Most templates of one answer: the miner holds fewer.
pub const TEMPLATES_MAX: usize = 1_000_000;

impl Store {
    /// The templates of `tenant`, of all tenants where there is none, by id. Errs when there are more than
    /// [`TEMPLATES_MAX`].
    pub async fn templates(&self, tenant: Option<TenantNumber>) -> Result<Vec<TemplateRow>, Error> {
        let mut reader = self.reader().await?;
        let mut query =
            reader.sql("SELECT id, tenant_id, service_id, text, sample, first_seen FROM templates");
        if let Some(tenant) = tenant {
            query.push(format_args!(" WHERE tenant_id = {}", tenant.0));
        }
        query.push(format_args!(" ORDER BY id LIMIT {}", TEMPLATES_MAX + 1));
        let templates = reader.all(query, |row| {
            let columns = Columns { row, what: "template" };
            Ok(TemplateRow {
                id: TemplateId(columns.number(0)?),
                tenant: TenantNumber(columns.number(1)?),
                service: ServiceId(columns.number(2)?),
                text: row.get(3)?,
                sample: row.get(4)?,
                first_seen: UnixNanos(columns.number(5)?),
            })
        });
        let templates = templates.await?;
        reader.finish().await?;
        if templates.len() > TEMPLATES_MAX {
            return Err(Error::TooMuch { what: "templates", max: TEMPLATES_MAX });
        }
        Ok(templates)
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
}
