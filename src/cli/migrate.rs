//! `otelcontext migrate`.

use anyhow::{Context, Result};
use serde_json::json;

use crate::app::storage::store_options;
use crate::store::Store;
use crate::store::options::Options;

use super::Ending;

/// Applies the migrations that are missing, or lists all.
pub(super) fn run(status: bool, as_json: bool) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    let options = store_options(&config)?;
    super::runtime()?.block_on(async {
        if !status {
            let options = Options { automigrate: true, ..options.clone() };
            let store = Store::open(options).await.context("opening the database")?;
            store.stop().await;
        }
        let migrations = Store::migrations(&options.database).await.context("reading the migrations")?;
        if as_json {
            let rows: Vec<_> = migrations
                .iter()
                .map(|migration| json!({"version": migration.version, "name": migration.name, "applied": migration.applied}))
                .collect();
            println!("{:#}", json!(rows));
        } else {
            for migration in migrations {
                let state = if migration.applied { "applied" } else { "pending" };
                println!("{:04} {} {state}", migration.version, migration.name);
            }
        }
        Ok(Ending::Good)
    })
}
