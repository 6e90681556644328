//! What agents wrote down.

use super::columns::Columns;
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::investigations::{INVESTIGATIONS_MAX, InvestigationRow, NOTES_MAX, NoteRow};

impl Store {
    /// The tenant's investigations, the one written to last first, `limit` at most after the first `skip`; and how many
    /// there are.
    pub async fn investigations(
        &self,
        tenant: TenantNumber,
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<InvestigationRow>, u64), Error> {
        // No more are kept, and a database takes no number of any size.
        let [skip, limit] = [skip, limit].map(|number| number.min(INVESTIGATIONS_MAX as usize));
        let mut reader = self.reader().await?;
        let own = format!("FROM investigation_notes WHERE tenant_id = {}", tenant.0);
        let query = reader.sql(format!(
            "SELECT g.id, t.text, t.written, g.written, g.notes FROM (SELECT id, max(written) AS written, \
             max(number) AS notes {own} GROUP BY id ORDER BY 2 DESC, 1 DESC LIMIT {limit} OFFSET {skip}) g \
             JOIN investigation_notes t ON t.tenant_id = {} AND t.id = g.id AND t.number = 0 \
             ORDER BY g.written DESC, g.id DESC",
            tenant.0
        ));
        let found = reader.all(query, |row| {
            let columns = Columns { row, what: "investigation" };
            Ok(InvestigationRow {
                id: columns.number(0)?,
                title: row.get(1)?,
                begun: UnixNanos(row.get(2)?),
                written: UnixNanos(row.get(3)?),
                notes: columns.number(4)?,
            })
        });
        let found = found.await?;
        let query = reader.sql(format!("SELECT count(*) {own} AND number = 0"));
        let all = reader.first(query, |row| Columns { row, what: "investigation" }.number(0)).await?;
        reader.finish().await?;
        Ok((found, all.unwrap_or(0)))
    }

    /// The notes of an investigation in the order in which they were written, the title first; none where there is no such
    /// investigation.
    pub async fn notes(&self, tenant: TenantNumber, id: u32) -> Result<Vec<NoteRow>, Error> {
        let mut reader = self.reader().await?;
        let query = reader.sql(format!(
            "SELECT number, written, text, evidence FROM investigation_notes WHERE tenant_id = {} AND id = {id} \
             ORDER BY number LIMIT {}",
            tenant.0,
            NOTES_MAX + 1
        ));
        let found = reader.all(query, |row| {
            let number = Columns { row, what: "note" }.number(0)?;
            Ok(NoteRow { number, written: UnixNanos(row.get(1)?), text: row.get(2)?, evidence: row.get(3)? })
        });
        let found = found.await?;
        reader.finish().await?;
        Ok(found)
    }
}
