//! The pipeline as the server runs it, over a store that commits are kept from, so that either can be measured alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use otelcontext::clock::Clock;
use otelcontext::decode::{Encoding, Limits};
use otelcontext::graph::Graph;
use otelcontext::journal::{self, Lsn};
use otelcontext::letters::{self, Letters};
use otelcontext::model::batch::Batch;
use otelcontext::model::id::{TenantNumber, TraceId};
use otelcontext::model::tenant::{Scope, TenantId};
use otelcontext::model::time::UnixNanos;
use otelcontext::pipeline::{self, Handle, Keep, Known, Parts, Submission};
use otelcontext::rules::Rules;
use otelcontext::store::Store;
use otelcontext::store::error::Error;
use otelcontext::store::names::Names;
use otelcontext::store::options::Options;
use otelcontext::store::recall::Recalled;
use otelcontext::store::rows::{Commit, Committed};
use otelcontext::vitals::health::Health;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::sample::RECEIVED;

/// A pipeline and a store on SQLite.
pub(crate) struct Server {
    runtime: Runtime,
    handle: Handle,
    scope: Scope,
    committed: Arc<Notify>,
    kept: Kept,
    /// It goes last.
    _folder: TempDir,
}

/// Takes commits and stores nothing.
#[derive(Clone)]
struct Kept {
    store: Store,
    last: Arc<Mutex<Option<Arc<Commit>>>>,
}

impl Server {
    /// One thread does everything but what blocks.
    pub(crate) fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let committed = Arc::new(Notify::new());
        let store = runtime.block_on(Store::open(Options::at(folder.path().join("store.db"))))?;
        let kept = Kept { store, last: Arc::default() };
        let (journal, replay) = journal::open(
            journal::Options {
                directory: folder.path().join("journal"),
                segment_bytes: 64 << 20,
                bytes_max: 4 << 30,
                pending_bytes_max: 64 << 20,
                free_bytes_min: 0,
                sync: journal::Sync::Durable,
            },
            Lsn(0),
        )?;
        let letters = letters::Options {
            folder: folder.path().join("letters"),
            letters_max: 0,
            bytes_max: 0,
            drops_oldest: false,
        };
        let parts = Parts {
            journal,
            replay,
            store: kept.clone(),
            graph: Graph::new(),
            limits: Limits::default(),
            rules: Rules::default(),
            letters: Letters::open(letters)?,
            clock: Clock::standing(RECEIVED),
            health: Health::default(),
            committed: Arc::clone(&committed),
        };
        // Each request becomes a commit at once.
        let options = pipeline::Options { commit_interval: Duration::ZERO, ..pipeline::Options::default() };
        let (handle, _applier) = runtime.block_on(pipeline::start(options, parts))?;
        let scope = Scope::authorized(TenantId::try_from("bench")?);
        Ok(Self { runtime, handle, scope, committed, kept, _folder: folder })
    }

    /// Accepts a request and makes the commit of it, which is not stored.
    pub(crate) fn apply(&self, encoding: Encoding, body: Bytes, batch: Batch) -> Result<()> {
        self.runtime.block_on(async {
            let committed = self.committed.notified();
            tokio::pin!(committed);
            committed.as_mut().enable();
            let submission = Submission { encoding, received: RECEIVED, body, batch };
            self.handle.accept(&self.scope, submission).await?;
            committed.await;
            Ok(())
        })
    }

    /// The commit that was made last.
    pub(crate) fn last(&self) -> Result<Arc<Commit>> {
        let last = self.kept.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.context("nothing was committed")
    }

    /// The dictionaries that its ids are of.
    pub(crate) fn names(&self) -> &Names {
        self.kept.store.names()
    }

    /// Stores a commit.
    pub(crate) fn store(&self, commit: Arc<Commit>) -> Result<()> {
        self.runtime.block_on(self.kept.store.commit(commit))?;
        Ok(())
    }
}

impl Keep for Kept {
    fn names(&self) -> &Names {
        self.store.names()
    }

    async fn templates(&self) -> Result<Known, Error> {
        Ok(Known::default())
    }

    async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, Error> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(commit);
        Ok(Committed::default())
    }

    async fn try_out(&self, _: Arc<Commit>) -> Result<(), Error> {
        Ok(())
    }

    async fn recall(&self, _: TenantNumber, _: &[(TraceId, UnixNanos)]) -> Result<Vec<Recalled>, Error> {
        Ok(Vec::new())
    }

    async fn sync(&self) -> Result<u64, Error> {
        Ok(0)
    }
}
