//! Which database.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use otelcontext::store::options::{Database, Options};
use otelcontext::store::postgres::login::Login;

/// `sqlite:PATH` or `postgres:DSN`, where the DSN is a URL or has the form of keywords.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            Some(("postgres", dsn)) => Ok(Self::Postgres(dsn.to_owned())),
            _ => bail!("write sqlite:PATH or postgres:DSN"),
        }
    }
}

impl Place {
    /// The database with the defaults of the product, but for the attributes that are promoted.
    pub(crate) fn options(&self) -> Result<Options> {
        let options = match self {
            Self::Sqlite(path) => Options::at(path),
            Self::Postgres(dsn) => {
                Options::of(Database::Postgres(Arc::new(Login::parse(dsn).context("the DSN")?)))
            }
        };
        let promoted = std::env::var("PROMOTED_ATTRIBUTES").unwrap_or_default();
        let keys = promoted.split(',').filter(|key| !key.is_empty());
        Ok(Options { promoted: keys.map(str::to_owned).collect(), ..options })
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}
