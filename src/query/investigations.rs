//! What agents found out, kept for whoever goes on with it: the one thing that is written here.

use crate::model::tenant::Scope;
use crate::store::investigations::{Belongs, InvestigationRow, NewNote, NoteRow, Written};

use super::error::Error;
use super::handle::Query;

impl Query {
    /// Writes a note; it is on disk once this has answered. A tenant of whom nothing was ever received has no
    /// investigations.
    ///
    /// # Errors
    /// When the database cannot be written, or another server leads on it.
    pub async fn write_note(&self, scope: &Scope, belongs: Belongs, note: NewNote) -> Result<Written, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Written::Unknown) };
        Ok(self.store.put_note(tenant, belongs, note).await?)
    }

    /// The investigations, the one written to last first, `limit` at most after the first `skip`; and how many there are.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn investigations(
        &self,
        scope: &Scope,
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<InvestigationRow>, u64), Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok((Vec::new(), 0)) };
        Ok(self.store.investigations(tenant, (skip, limit)).await?)
    }

    /// The notes of an investigation, its title first; none where there is no such investigation.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn notes(&self, scope: &Scope, id: u32) -> Result<Vec<NoteRow>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Vec::new()) };
        Ok(self.store.notes(tenant, id).await?)
    }
}
