//! Questions in SQL, by the operator.

use crate::model::tenant::Scope;
use crate::store::read::sql::Table;

use super::error::Error;
use super::handle::Query;

impl Query {
    /// Answers one statement that reads the views for people, at most `rows_max` rows of it.
    ///
    /// # Errors
    /// [`Error::Store`]: of kind `Invalid` where the statement is not taken, `Denied` where the database has data of
    /// another tenant than that of `scope`.
    pub async fn sql(&self, scope: &Scope, text: &str, rows_max: usize) -> Result<Table, Error> {
        Ok(self.store.sql(scope.tenant(), text, rows_max).await?)
    }
}
