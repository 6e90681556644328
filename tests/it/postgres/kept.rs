//! Either database, as a server is given it and as programs of others read it.

use std::path::Path;
use std::process::Command;

use super::server::Server as Postgres;

/// Prints the rows of an answer as `psql` does: columns separated by `|`.
const READ: &str = "
import sqlite3, sys
base = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
for row in base.execute(sys.argv[2]):
    print('|'.join('' if column is None else str(column) for column in row))
";

/// Where a server keeps its data.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Sqlite,
    /// A database of the Postgres that all tests share.
    Postgres(String),
}

impl Kept {
    /// A new database of the shared Postgres.
    pub(super) fn on_postgres() -> Self {
        Self::Postgres(tokio::task::block_in_place(|| Postgres::shared().database_name()))
    }

    /// What a server is told about it, and `more`.
    pub(super) fn variables<'a>(&self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
        let mut variables: Vec<_> = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if let Self::Postgres(name) = self {
            variables.push(("DB_DRIVER", "postgres".to_owned()));
            variables.push(("DB_DSN", address(Postgres::shared(), name)));
        }
        variables
    }

    /// Starts a server on it, with `more` variables, and waits until it is ready.
    pub(super) async fn server(&self, more: &[(&str, &str)]) -> crate::server::Server {
        let server = self.listening(more).await;
        server.ready().await;
        server
    }

    /// As [`Kept::server`], and waits only until it listens.
    pub(super) async fn listening(&self, more: &[(&str, &str)]) -> crate::server::Server {
        let variables = self.variables(more);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        crate::server::Server::listening(&variables).await
    }

    /// What can be asked of it. A SQLite file in `folder`, where a server had its data, is read once that has stopped.
    pub(super) fn asked(&self, folder: &Path) -> Asked<'_> {
        match self {
            Self::Sqlite => Asked::sqlite(folder),
            Self::Postgres(name) => Asked::postgres(Postgres::shared(), name),
        }
    }
}

/// The address of a database, as `DB_DSN` takes it.
pub(super) fn address(postgres: &Postgres, database: &str) -> String {
    format!("postgres://otel:otel@127.0.0.1:{}/{database}?sslmode=disable", postgres.port())
}

type Ask<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// A database that answers SQL.
pub(super) struct Asked<'a> {
    is_sqlite: bool,
    ask: Ask<'a>,
}

impl<'a> Asked<'a> {
    pub(super) fn postgres(postgres: &'a Postgres, database: &'a str) -> Self {
        Self { is_sqlite: false, ask: Box::new(|sql| postgres.sql(database, sql)) }
    }

    fn sqlite(folder: &Path) -> Self {
        let path = folder.join("data/otelcontext.db");
        let ask = move |sql: &str| {
            let output = Command::new("python3").args(["-c", READ]).arg(&path).arg(sql).output();
            let output = output.expect("python3 runs: apt-get install -y python3 (or .ci/setup)");
            assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        Self { is_sqlite: true, ask: Box::new(ask) }
    }

    /// The rows of an answer, sorted; columns separated by `|`.
    pub(super) fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows: Vec<String> = (self.ask)(sql).lines().map(str::to_owned).collect();
        rows.sort_unstable();
        rows
    }

    /// An expression for bytes in hexadecimal.
    pub(super) fn hex(&self, column: &str) -> String {
        if self.is_sqlite { format!("lower(hex({column}))") } else { format!("encode({column}, 'hex')") }
    }
}
