//! Where a store under test lives: every test of the contract runs on SQLite and on a real Postgres.

use std::sync::Arc;

use tempfile::TempDir;

use super::server::Server;
use crate::store::Store;
use crate::store::commit::Slot;
use crate::store::connection::Connection;
use crate::store::options::{Database, File, Options};
use crate::store::postgres::login::Login;
use crate::store::sql::Dialect;

/// An empty database of its own.
pub(in crate::store) enum Home {
    Sqlite(TempDir),
    Postgres(String),
}

impl Home {
    /// One of each.
    pub(in crate::store) fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres()]
    }

    pub(in crate::store) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(in crate::store) fn postgres() -> Self {
        Self::Postgres(Server::shared().database())
    }

    pub(in crate::store) fn options(&self) -> Options {
        match self {
            Self::Sqlite(directory) => {
                let path = directory.path().join("deep/er/store.db");
                Options::of(Database::Sqlite(File { path, cache_kib: 1_024, mmap_bytes: 0 }))
            }
            Self::Postgres(dsn) => Options::of(Database::Postgres(Arc::new(Login::parse(dsn).unwrap()))),
        }
    }

    pub(in crate::store) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(in crate::store) async fn open(&self) -> Store {
        Store::open(self.options()).await.unwrap()
    }

    /// Stops `store` and opens it again.
    pub(in crate::store) async fn reopen(&self, store: Store) -> Store {
        store.stop().await;
        self.open().await
    }

    /// Lets `store` end as a killed process would, and opens it again.
    pub(in crate::store) async fn crash(&self, store: Store) -> Store {
        *store.inner.writer.lock().await = Slot::Stopped;
        self.reopen(store).await
    }
}

/// A connection beside the store's own.
pub(in crate::store) async fn beside(options: &Options) -> Connection {
    match &options.database {
        Database::Sqlite(file) => file.writer().await.unwrap().into(),
        Database::Postgres(login) => login.connect().await.unwrap().into(),
    }
}

/// Runs a test on SQLite, then on Postgres.
pub(in crate::store) fn on_both(test: impl AsyncFn(Home)) {
    for home in Home::both() {
        run(test(home));
    }
}

pub(in crate::store) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}
