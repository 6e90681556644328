//! What agents found out, note by note: written seldom, a row each, and never changed.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::commit::Slot;
use super::connection::Connection;
use super::error::Error;
use super::row::Row;
use super::{Store, table};
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;

/// Most investigations of one tenant.
pub const INVESTIGATIONS_MAX: i64 = 1_000;
/// Most notes of one investigation.
pub const NOTES_MAX: u32 = 200;

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
    /// Its place in the investigation; 0 is the title.
    pub number: u32,
    /// When it was written.
    pub written: UnixNanos,
    /// What it says.
    pub text: String,
    /// What it rests on, as JSON.
    pub evidence: String,
}

/// An investigation as it stands in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvestigationRow {
    /// Counted within the tenant from 1.
    pub id: u32,
    /// Its title.
    pub title: String,
    /// When it was begun.
    pub begun: UnixNanos,
    /// When its last note was written.
    pub written: UnixNanos,
    /// How many notes it has.
    pub notes: u32,
}

/// What became of a note that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is there, under this investigation and this number.
    Note {
        /// The investigation.
        id: u32,
        /// The note.
        number: u32,
    },
    /// The tenant has no such investigation.
    Unknown,
    /// The tenant has [`INVESTIGATIONS_MAX`] investigations, or this one [`NOTES_MAX`] notes.
    Full,
}

/// A note that is to be written.
#[derive(Debug, Clone)]
pub struct NewNote {
    /// The time.
    pub written: UnixNanos,
    /// What it says.
    pub text: String,
    /// What it rests on, as JSON.
    pub evidence: String,
}

/// Which investigation a note belongs to.
#[derive(Debug, Clone)]
pub enum Belongs {
    /// One that is there.
    To(u32),
    /// A new one of this title.
    New(String),
}

impl Store {
    /// Writes a note, and the investigation where it is new; it survives a power cut once this has answered. A call that
    /// is dropped while it waits for its turn writes nothing, later its note is written all the same.
    ///
    /// # Errors
    /// When the database cannot be written, or another server leads on it. Nothing was written then, unless the answer of
    /// the database is what was lost.
    pub async fn put_note(
        &self,
        tenant: TenantNumber,
        belongs: Belongs,
        note: NewNote,
    ) -> Result<Written, Error> {
        let slot = Arc::clone(&self.inner.writer).lock_owned().await;
        let inner = Arc::clone(&self.inner);
        // Agents leave and run out of time: the one writer must not be left within a transaction.
        let writing = async move { put(inner.connected(slot).await?, tenant, belongs, note).await };
        let became = tokio::spawn(writing).await.map_err(Error::Lost)??;
        if matches!(became, Written::Note { .. }) {
            self.sync().await?;
        }
        Ok(became)
    }

    /// Forgets the investigations of all tenants whose last note was written before `before`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget_notes(&self, before: UnixNanos) -> Result<(), Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let sql = writer.connection.sql(format!(
            "DELETE FROM investigation_notes WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM investigation_notes \
             GROUP BY tenant_id, id HAVING max(written) < {})",
            before.0
        ));
        writer.connection.in_transaction(async |connection| connection.execute(sql).await.map(|_| ())).await
    }
}

async fn put(
    mut slot: OwnedMutexGuard<Slot>,
    tenant: TenantNumber,
    belongs: Belongs,
    note: NewNote,
) -> Result<Written, Error> {
    let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
    let mut became = Written::Unknown;
    let work = async |connection: &mut Connection| {
        let (written, rows) = placed(connection, tenant, belongs, note).await?;
        became = written;
        let Written::Note { id, .. } = written else { return Ok(()) };
        connection
            .insert(&table::NOTES.whole(), &rows, |values, row| {
                values.int(tenant.0);
                values.int(id);
                values.int(row.number);
                values.int(row.written.0);
                values.text(&row.text);
                values.text(&row.evidence);
            })
            .await
    };
    writer.connection.in_transaction(work).await?;
    Ok(became)
}

/// The rows to write, and where they go.
async fn placed(
    connection: &mut Connection,
    tenant: TenantNumber,
    belongs: Belongs,
    note: NewNote,
) -> Result<(Written, Vec<NoteRow>), Error> {
    let NewNote { written, text, evidence } = note;
    let own = format!("FROM investigation_notes WHERE tenant_id = {}", tenant.0);
    match belongs {
        Belongs::New(title) => {
            let sql = connection.sql(format!("SELECT max(id), count(*) {own} AND number = 0"));
            let known = |row: Row<'_>| Ok((row.get::<Option<u32>>(0)?, row.get::<i64>(1)?));
            let (last, count) = connection.first(sql, known).await?.unwrap_or_default();
            if count >= INVESTIGATIONS_MAX {
                return Ok((Written::Full, Vec::new()));
            }
            let id = last.unwrap_or(0).checked_add(1).ok_or(Error::Unreadable { what: "investigation" })?;
            let title = NoteRow { number: 0, written, text: title, evidence: "[]".to_owned() };
            Ok((Written::Note { id, number: 1 }, vec![title, NoteRow { number: 1, written, text, evidence }]))
        }
        Belongs::To(id) => {
            let sql = connection.sql(format!("SELECT max(number) {own} AND id = {id}"));
            let Some(last) = connection.first(sql, |row| row.get::<Option<u32>>(0)).await?.flatten() else {
                return Ok((Written::Unknown, Vec::new()));
            };
            if last >= NOTES_MAX {
                return Ok((Written::Full, Vec::new()));
            }
            let number = last + 1;
            Ok((Written::Note { id, number }, vec![NoteRow { number, written, text, evidence }]))
        }
    }
}
