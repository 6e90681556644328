//! The transaction.

use sqlx::sqlite::SqliteConnection;

use super::error::Error;
use crate::model::id::TenantNumber;

/// The one writer.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
}

impl Writer {
    pub(super) async fn start(
        connection: SqliteConnection,
        _tenants: &[TenantNumber],
    ) -> Result<Self, Error> {
        Ok(Self { connection })
    }

    pub(super) fn into_connection(self) -> SqliteConnection {
        self.connection
    }
}
