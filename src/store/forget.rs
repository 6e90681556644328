//! Forgetting names, contents and metric series that nothing which is kept has any more, so that what is new has room.
//!
//! Once memory forgot them, nothing is told under their ids; their rows go with the same call, or with the next commit that
//! succeeds. The log templates of a service go afterwards, some at a time: there may be more than the writer should be held
//! for. Should the server stop before all of them went, the next start finds those that are left. Templates of other services
//! are chosen here and removed by a commit, see [`aging`](super::aging). Spans, log records and points are not looked at: each
//! entry has the last day of what named it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::commit::{Slot, Writer};
use super::connection::Connection;
use super::error::Error;
use super::names::{Dictionary, Key, Oldest};
use super::{Inner, Store, ahead, dictionaries, table, templates};
use crate::model::id::{OperationId, ServiceId, TenantNumber};

/// Names and contents, and as many series, that one call forgets, or a few more: some dozen milliseconds of work.
const FORGOTTEN_MAX: usize = 2_000;
/// Log templates that one call removes.
const TEMPLATES_MAX: usize = 1_000;
/// Services whose templates are looked for in one turn of the writer. Most have none: databases and hosts never do.
const SERVICES_TOGETHER: usize = 1_000;

/// What was forgotten, names by earlier calls that failed among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Operations, each with its tenant.
    pub operations: Vec<(TenantNumber, OperationId)>,
    /// How many names and contents, these operations among them.
    pub names: usize,
    /// How many metric series.
    pub series: usize,
    /// How many log templates: those of services that were forgotten, and those that were chosen to be.
    pub templates: usize,
}

impl Forgotten {
    /// Whether nothing was left to forget.
    pub const fn is_empty(&self) -> bool {
        self.names == 0 && self.series == 0 && self.templates == 0
    }
}

/// Services that are forgotten and may have templates in the database.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    services: BTreeSet<ServiceId>,
    /// Whether it was looked which ones an earlier run left.
    is_known: bool,
}

impl Orphans {
    /// Some of them, as many as are looked at together.
    fn some(&self) -> Vec<ServiceId> {
        self.services.iter().copied().take(SERVICES_TOGETHER).collect()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.services.len()
    }
}

impl Store {
    /// Forgets a few thousand names, contents and series that were last seen before the oldest day of which anything is kept;
    /// and of those last seen before the oldest span, log record and point, of which as many are kept as may take room,
    /// those beyond that. Chooses log templates likewise, which go with a commit. Nodes and operations that anomalies are about
    /// stay. What was handed out by [`Store::names`] and is not committed yet stays as well, so after a start, and when a day was
    /// given up, some commits must come first. Call it until there is nothing left.
    ///
    /// # Errors
    /// When the database cannot be written: names that were forgotten then are removed from it by the next commit, and told by
    /// the next call that succeeds.
    pub async fn forget_unseen(&self) -> Result<Forgotten, Error> {
        let inner = Arc::clone(&self.inner);
        let work = async move { inner.forget_unseen().await };
        let forgotten = ahead::handle().spawn(work).await.map_err(Error::Lost)??;
        if !forgotten.is_empty() {
            return Ok(forgotten);
        }
        self.find_orphans().await?;
        let inner = Arc::clone(&self.inner);
        let removing = ahead::handle().spawn(async move { inner.remove_templates().await });
        let removed = removing.await.map_err(Error::Lost)??;
        let templates = if removed > 0 { removed } else { self.age_templates().await? };
        Ok(Forgotten { templates, ..forgotten })
    }

    /// Looks once after the start which services have templates and are forgotten.
    async fn find_orphans(&self) -> Result<(), Error> {
        if self.inner.orphans().is_known {
            return Ok(());
        }
        // A service has its name before it has templates: one that has none was forgotten.
        let counted = self.templates_of_services().await?;
        let mut orphans = self.inner.orphans();
        let services = counted.into_iter().map(|counted| counted.service);
        orphans.services.extend(services.filter(|id| self.names().service_info(*id).is_none()));
        orphans.is_known = true;
        Ok(())
    }
}

impl Inner {
    async fn forget_unseen(&self) -> Result<Forgotten, Error> {
        let mut slot = self.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let series = match Oldest::of(&writer.partitions) {
            Some(oldest) => self.forget_before(writer, oldest).await?,
            None => 0,
        };
        let names = std::mem::take(&mut *self.untold());
        let operations = names.iter().filter(|(_, key)| key.dictionary == Dictionary::Operations);
        let operations = operations.map(|(tenant, key)| (*tenant, OperationId(key.id))).collect();
        Ok(Forgotten { operations, names: names.len(), series, templates: 0 })
    }

    /// Forgets names, which are untold then, and series; answers how many series.
    async fn forget_before(&self, writer: &mut Writer, oldest: Oldest) -> Result<usize, Error> {
        if self.names.rest(oldest) {
            let referred = referred(&mut writer.connection).await?;
            let names = self.names.forget(oldest, &referred, FORGOTTEN_MAX);
            let services = names.iter().filter(|(_, key)| key.dictionary == Dictionary::Services);
            self.orphans().services.extend(services.map(|(_, key)| ServiceId(key.id)));
            self.untold().extend(names);
        }
        writer.series.rest(oldest);
        let series = writer.series.unseen(FORGOTTEN_MAX);
        if series.is_empty() && self.untold().is_empty() {
            return Ok(0);
        }
        let pending = self.names.pending();
        let ids: Vec<u32> = series.iter().map(|unseen| unseen.id.0).collect();
        let work = async |connection: &mut Connection| {
            dictionaries::write(connection, &pending).await?;
            dictionaries::remove(connection, table::SERIES.name, &ids).await
        };
        writer.connection.in_transaction(work).await?;
        self.names.written(&pending);
        writer.series.forget(&series);
        Ok(series.len())
    }

    fn untold(&self) -> MutexGuard<'_, Vec<(TenantNumber, Key)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes some templates of services that are forgotten, and answers how many; 0 where none are left.
    async fn remove_templates(&self) -> Result<usize, Error> {
        let mut removed = 0;
        while removed < TEMPLATES_MAX {
            let services = self.orphans().some();
            if services.is_empty() {
                break;
            }
            // Taken anew each time: a commit may come between.
            let mut slot = self.writing().await?;
            let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
            let most = TEMPLATES_MAX - removed;
            let mut gone = 0;
            let work = async |connection: &mut Connection| {
                let done = templates::remove_of(connection, &services, most).await;
                done.map(|count| gone = count)
            };
            writer.connection.in_transaction(work).await?;
            removed += gone;
            if gone < most {
                let mut orphans = self.orphans();
                orphans.services.retain(|service| services.binary_search(service).is_err());
            }
        }
        Ok(removed)
    }

    fn orphans(&self) -> MutexGuard<'_, Orphans> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What anomalies are about: operations, and the nodes of instances.
async fn referred(connection: &mut Connection) -> Result<HashSet<Key>, Error> {
    let sql = connection.sql("SELECT DISTINCT kind, a FROM anomalies WHERE kind IN (0, 1)");
    let rows = connection.rows(sql, |row| {
        let is_operation = row.get::<i64>(0)? == 0;
        let dictionary = if is_operation { Dictionary::Operations } else { Dictionary::Services };
        Ok(Key { dictionary, id: row.get(1)? })
    });
    Ok(rows.await?.into_iter().collect())
}
