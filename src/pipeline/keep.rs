//! What the applier asks of the store; a trait, so that a simulation can put one in its place that loses power.

use std::sync::Arc;

use crate::model::id::{TenantNumber, TraceId};
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::aging::Aged;
use crate::store::error::Error;
use crate::store::names::Names;
use crate::store::recall::Recalled;
use crate::store::rows::{Commit, Committed};

use super::known::Known;

/// Keeps what is committed; see the methods of [`Store`] with these names for what each promises.
pub trait Keep: Clone + Send + Sync + 'static {
    /// The dictionaries.
    fn names(&self) -> &Names;
    /// The templates to start from.
    fn templates(&self) -> impl Future<Output = Result<Known, Error>> + Send;
    /// What became of templates since the last call.
    fn aged_templates(&self) -> Aged {
        Aged::default()
    }
    /// Begins to work out what can be known of a commit before its turn.
    fn await_turn(&self, _commit: &Arc<Commit>) {}
    /// Writes everything, or nothing.
    fn commit(&self, commit: Arc<Commit>) -> impl Future<Output = Result<Committed, Error>> + Send;
    /// Errs where [`Keep::commit`] would, and changes nothing.
    fn try_out(&self, commit: Arc<Commit>) -> impl Future<Output = Result<(), Error>> + Send;
    /// Finds traces that were begun before.
    fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> impl Future<Output = Result<Vec<Recalled>, Error>> + Send;
    /// Makes the commits so far survive a power cut, and answers the position that does.
    fn sync(&self) -> impl Future<Output = Result<u64, Error>> + Send;
}

impl Keep for Store {
    fn names(&self) -> &Names {
        Self::names(self)
    }

    async fn templates(&self) -> Result<Known, Error> {
        Known::read(self).await
    }

    fn aged_templates(&self) -> Aged {
        Self::aged_templates(self)
    }

    fn await_turn(&self, commit: &Arc<Commit>) {
        Self::await_turn(self, commit);
    }

    async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, Error> {
        Self::commit(self, commit).await
    }

    async fn try_out(&self, commit: Arc<Commit>) -> Result<(), Error> {
        Self::try_out(self, commit).await
    }

    async fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> Result<Vec<Recalled>, Error> {
        Self::recall(self, tenant, traces).await
    }

    async fn sync(&self) -> Result<u64, Error> {
        Self::sync(self).await
    }
}
