//! Logging in: the hosts of a DSN in order, encrypted as asked, until one accepts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgPool, Row};

use super::dsn::{Dsn, Host, Mistake, Secret, Target};
use super::entra::{self, Tokens};
use super::patience;
use crate::fault::{self, Kind};

/// The name under which `pg_stat_activity` shows the server's connections where the DSN names none.
const APPLICATION_NAME: &str = "otelcontext";

/// Why the server is not let in. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The DSN is wrong.
    #[error("the DSN is not right")]
    Dsn(#[from] Mistake),
    /// There is no token to log in with, or the DSN leaves no room for one.
    #[error("cannot log in with Entra")]
    Entra(#[from] entra::Error),
    /// A certificate or key that the DSN names cannot be read.
    #[error("cannot read the file of {key}, {}", path.display())]
    File {
        /// The key of the DSN.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody listens there, the name is unknown, the server is starting, or the connection broke.
    #[error("cannot reach postgres at {host}")]
    Unreachable {
        /// Where.
        host: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The host did not answer in time.
    #[error("postgres at {host} did not accept within {} s (connect_timeout)", limit.as_secs())]
    TimedOut {
        /// Where.
        host: String,
        /// The time it had.
        limit: Duration,
    },
    /// The encryption that the DSN asks for did not come about.
    #[error("cannot encrypt the connection to postgres at {host} as sslmode={mode} asks")]
    Encryption {
        /// Where.
        host: String,
        /// The mode that was tried.
        mode: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The server refuses user, password or token. Other hosts are not asked: they would say the same.
    #[error("postgres at {host} refuses the login of {user}: check user, password and pg_hba.conf")]
    Denied {
        /// Where.
        host: String,
        /// Who.
        user: String,
        /// What the server says.
        #[source]
        source: sqlx::Error,
    },
    /// The server has another objection, such as a database that does not exist.
    #[error("postgres at {host} does not open the database")]
    Refused {
        /// Where.
        host: String,
        /// What the server says.
        #[source]
        source: sqlx::Error,
    },
    /// A server that only reads, where the DSN asks for one that writes.
    #[error("postgres at {host} is read-only and target_session_attrs asks for a server that writes")]
    ReadOnly {
        /// Where.
        host: String,
    },
    /// None of several hosts will do.
    #[error("none of {} postgres hosts will do: {}", failures.len(), listed(failures))]
    NoHost {
        /// What each said, in order.
        failures: Vec<Error>,
    },
}

impl Error {
    /// What the caller can do about it: what a restart or a failover may mend is unavailable, what only the operator
    /// can mend is internal.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::ReadOnly { .. }
            | Self::Entra(entra::Error::Acquire(_)) => Kind::Unavailable,
            Self::NoHost { failures } => {
                let passing = failures.iter().any(|failure| failure.kind() == Kind::Unavailable);
                if passing { Kind::Unavailable } else { Kind::Internal }
            }
            Self::Dsn(_)
            | Self::Entra(_)
            | Self::File { .. }
            | Self::Encryption { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => Kind::Internal,
        }
    }
}

impl Error {
    /// True where the other way to encrypt may do: the handshake failed, or an entry of pg_hba.conf rejects this way. A
    /// wrong password is wrong in both.
    fn is_about_encryption(&self) -> bool {
        match self {
            Self::Encryption { .. } => true,
            Self::Denied { source: sqlx::Error::Database(error), .. } => {
                error.code().as_deref() == Some("28000")
            }
            _ => false,
        }
    }
}

fn listed(failures: &[Error]) -> String {
    failures.iter().map(|failure| crate::fault::chain(failure)).collect::<Vec<_>>().join("; ")
}

/// A host that let the server in, and how: to be asked again without those before it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Reached {
    host: Host,
    mode: PgSslMode,
}

/// What logging in comes to.
struct Found {
    connection: PgConnection,
    options: PgConnectOptions,
    reached: Reached,
}

/// How to log in; cheap to clone. Neither `Debug` nor `Display` shows the password.
#[derive(Debug, Clone)]
pub struct Login {
    dsn: Dsn,
    tokens: Option<Tokens>,
}

impl Login {
    /// Reads a DSN in libpq's keyword form (`host=… user=…`) or as a URL (`postgres://…`). Reads no file and connects
    /// nowhere. Errs with the first mistake and its remedy.
    pub fn parse(dsn: &str) -> Result<Self, Error> {
        let dsn = Dsn::parse(dsn)?;
        let zone = dsn.settings.iter().find(|(name, _)| name == "TimeZone").map(|(_, zone)| zone.as_str());
        if let Some(zone) = zone
            && !["UTC", "Etc/UTC", "GMT", "Z"].iter().any(|utc| utc.eq_ignore_ascii_case(zone))
        {
            tracing::warn!(zone, "the server works in UTC: TimeZone of the DSN has no effect");
        }
        Ok(Self { dsn, tokens: None })
    }

    /// Logs in with a token of Entra in place of a password. Asks for none yet.
    ///
    /// Errs when the DSN has a password, names no user, or leaves open that the token travels unencrypted.
    pub fn with_tokens(self, tokens: Tokens) -> Result<Self, Error> {
        let encrypted =
            matches!(self.dsn.ssl.mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if self.dsn.password.is_some() {
            return Err(entra::Error::Password.into());
        }
        if !encrypted {
            return Err(entra::Error::NotEncrypted.into());
        }
        if self.dsn.user.is_none() {
            return Err(entra::Error::NoUser.into());
        }
        Ok(Self { tokens: Some(tokens), ..self })
    }

    /// How long a connection may live: none without a bound, 30 minutes where it was opened with a token.
    pub fn connection_lifetime_max(&self) -> Option<Duration> {
        self.tokens.as_ref().map(|_| entra::CONNECTION_LIFETIME_MAX)
    }

    /// Keeps the options of a pool fit for new connections: whenever a token is replaced, the pool gets options with the
    /// new one, from a host that will do then. Never returns; without tokens it has nothing to do.
    pub async fn keep(&self, pool: &PgPool) {
        /// Between attempts while the database does not accept.
        const PAUSE: Duration = Duration::from_secs(5);
        let Some(tokens) = &self.tokens else { return std::future::pending().await };
        loop {
            tokens.due().await;
            match self.options().await {
                Ok(options) => pool.set_connect_options(options),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        error = crate::fault::chain(error),
                        "postgres does not take the new token"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Connects to the first host that accepts and, with `target_session_attrs=read-write`, can be written to. Takes
    /// at most `connect_timeout` for each host and way of encrypting.
    ///
    /// Errs with what the host said, or, of several hosts, with what each of them said. A refused password is told at
    /// once, without asking the hosts after it.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        self.first().await.map(|found| found.connection)
    }

    /// As [`Login::connect`], and tells which host it is.
    pub(in crate::store) async fn reach(&self) -> Result<(PgConnection, Reached), Error> {
        self.first().await.map(|found| (found.connection, found.reached))
    }

    /// Connects to a host that was reached before, and to no other, whether it can be written to or not.
    pub(in crate::store) async fn reach_again(&self, reached: &Reached) -> Result<PgConnection, Error> {
        let Reached { host, mode } = reached;
        let options = self.options_for(host, *mode, self.password().await?.as_ref());
        let limit = self.dsn.connect_timeout;
        match tokio::time::timeout(limit, connected(&options)).await {
            Ok(connection) => connection.map_err(|source| self.failure(host, *mode, source)),
            Err(_) => Err(Error::TimedOut { host: host.to_string(), limit }),
        }
    }

    /// Options for a pool: those of the first host that will do, as [`Login::connect`] finds it; the connection that
    /// found it is closed. What the pool opens later goes to the same host: after it failed, ask again and hand the
    /// answer to `Pool::set_connect_options`.
    ///
    /// The options hold the password and their `Debug` shows it: never log them.
    pub async fn options(&self) -> Result<PgConnectOptions, Error> {
        let Found { connection, options, .. } = self.first().await?;
        // The server also notices when the connection just ends.
        let _ = connection.close().await;
        Ok(options)
    }

    /// Whether `connection`, a new one that was not told to read only, is to a host that will do: one that can be written to,
    /// where the DSN asks for it.
    pub(in crate::store) async fn will_do(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        match self.dsn.target {
            Target::Any => Ok(true),
            Target::Writable => writes(connection).await,
        }
    }

    /// Whether the host of a connection that reads still will do; errs where it does not answer. One behind a pooler may have
    /// become a standby meanwhile, and the connection lives on.
    pub(in crate::store) async fn still_will_do(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, sqlx::Error> {
        match self.dsn.target {
            Target::Any => connection.ping().await.map(|()| true),
            Target::Writable => {
                let row =
                    sqlx::raw_sql("SELECT NOT pg_is_in_recovery() AS leads").fetch_one(connection).await?;
                row.try_get::<bool, _>("leads")
            }
        }
    }

    async fn password(&self) -> Result<Option<Secret>, Error> {
        Ok(match &self.tokens {
            Some(tokens) => Some(tokens.token().await?),
            None => self.dsn.password.clone(),
        })
    }

    async fn first(&self) -> Result<Found, Error> {
        self.check_files().await?;
        let password = self.password().await?;
        let mut failures = Vec::new();
        for host in &self.dsn.hosts {
            match self.try_host(host, password.as_ref()).await {
                Ok(found) => return Ok(found),
                Err(denied @ Error::Denied { .. }) => {
                    self.tokens.iter().for_each(Tokens::doubt);
                    return Err(denied);
                }
                Err(failure) => failures.push(failure),
            }
        }
        match failures.len() {
            1 => Err(failures.remove(0)),
            _ => Err(Error::NoHost { failures }),
        }
    }

    /// Tries one host in each way of encrypting that the mode leaves open.
    async fn try_host(&self, host: &Host, password: Option<&Secret>) -> Result<Found, Error> {
        let (first, second) = ways(self.dsn.ssl.mode, host);
        let failure = match self.try_once(self.options_for(host, first, password), host, first).await {
            Ok(found) => return Ok(found),
            Err(failure) => failure,
        };
        match second {
            // What the server has against the first way it may not have against the second. When it has, the first
            // objection is the one about what was asked for.
            Some(second) if failure.is_about_encryption() => {
                let options = self.options_for(host, second, password);
                self.try_once(options, host, second).await.map_err(|_| failure)
            }
            _ => Err(failure),
        }
    }

    async fn try_once(
        &self,
        options: PgConnectOptions,
        host: &Host,
        mode: PgSslMode,
    ) -> Result<Found, Error> {
        let limit = self.dsn.connect_timeout;
        let work = async {
            let mut connection =
                connected(&options).await.map_err(|source| self.failure(host, mode, source))?;
            if !self.will_do(&mut connection).await.map_err(|source| self.failure(host, mode, source))? {
                let _ = connection.close().await;
                return Err(Error::ReadOnly { host: host.to_string() });
            }
            Ok(connection)
        };
        match tokio::time::timeout(limit, work).await {
            Ok(connection) => {
                let reached = Reached { host: host.clone(), mode };
                connection.map(|connection| Found { connection, options, reached })
            }
            Err(_) => Err(Error::TimedOut { host: host.to_string(), limit }),
        }
    }

    fn options_for(&self, host: &Host, mode: PgSslMode, password: Option<&Secret>) -> PgConnectOptions {
        let dsn = &self.dsn;
        let name = dsn.application_name.as_deref().unwrap_or(APPLICATION_NAME);
        let mut options =
            PgConnectOptions::new_without_pgpass().port(host.port).ssl_mode(mode).application_name(name);
        if let Some(name) = &host.name {
            options = options.host(name);
        }
        if let Some(user) = &dsn.user {
            options = options.username(user);
        }
        if let Some(password) = password {
            options = options.password(&password.0);
        }
        if let Some(database) = &dsn.database {
            options = options.database(database);
        }
        if let Some(root) = &dsn.ssl.root {
            options = options.ssl_root_cert(root);
        }
        if let (Some(certificate), Some(key)) = (&dsn.ssl.certificate, &dsn.ssl.key) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        options.options(dsn.settings.iter().map(|(name, value)| (name, value)))
    }

    fn failure(&self, host: &Host, mode: PgSslMode, source: sqlx::Error) -> Error {
        let host = host.to_string();
        match &source {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // Class 28, invalid authorization.
                Some(code) if code.starts_with("28") => {
                    let user = self.dsn.user.clone().unwrap_or_else(|| "the default user".to_owned());
                    Error::Denied { host, user, source }
                }
                // Starting up, shutting down, recovering; or no connection is left.
                Some("57P03" | "57P02" | "57P01" | "53300") => Error::Unreachable { host, source },
                _ => Error::Refused { host, source },
            },
            sqlx::Error::Tls(_) => Error::Encryption { host, mode: shown(mode), source },
            // The handshake reports a certificate it does not believe as invalid data.
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Error::Encryption { host, mode: shown(mode), source }
            }
            _ => Error::Unreachable { host, source },
        }
    }

    /// Files that cannot be read are told by name, which the handshake would not do.
    async fn check_files(&self) -> Result<(), Error> {
        let ssl = &self.dsn.ssl;
        for (key, path) in [("sslrootcert", &ssl.root), ("sslcert", &ssl.certificate), ("sslkey", &ssl.key)] {
            if let Some(path) = path {
                tokio::fs::File::open(path).await.map_err(|source| Error::File {
                    key,
                    path: path.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Login {
    /// `user at host:port, host:port, database name`, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.dsn.hosts.iter().map(Host::to_string).collect();
        let user = self.dsn.user.as_deref().unwrap_or("the default user");
        write!(f, "{user} at {}", hosts.join(", "))?;
        match &self.dsn.database {
            Some(database) => write!(f, ", database {database}"),
            None => Ok(()),
        }
    }
}

/// The first and the second way to encrypt. A socket is never encrypted. sqlx takes `allow` for `disable`, and does not
/// go back from `prefer` when the server turns the encrypted login down, so both are spelled out here.
fn ways(mode: PgSslMode, host: &Host) -> (PgSslMode, Option<PgSslMode>) {
    match mode {
        _ if host.is_socket() => (PgSslMode::Disable, None),
        PgSslMode::Allow => (PgSslMode::Disable, Some(PgSslMode::Require)),
        PgSslMode::Prefer => (PgSslMode::Prefer, Some(PgSslMode::Disable)),
        other => (other, None),
    }
}

fn shown(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// A connection. An error where what listens there is no Postgres.
async fn connected(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    fault::caught(options.connect()).await.unwrap_or_else(|panicked| Err(patience::nonsense(&panicked)))
}

/// True where a session of this server can write: it is no standby and not set to read-only.
async fn writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // As a simple query, which also passes through poolers that know no prepared statements.
    let row = sqlx::raw_sql(
        "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS writes",
    );
    let row = row.fetch_one(connection).await?;
    row.try_get::<bool, _>("writes")
}
