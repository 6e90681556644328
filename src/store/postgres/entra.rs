//! Passwords that are tokens of Microsoft Entra, for Azure Database for PostgreSQL without a stored password.
//!
//! A token is kept until shortly before it expires and then replaced, by one request at a time; while that fails, the
//! old one is used as long as it is valid.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzureDeveloperCliCredential,
    AzureDeveloperCliCredentialOptions, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use tokio::time::Instant;

use super::dsn::Secret;
use super::https::{self, Https};

/// How long a connection may live when its password is a token: the server does not close it when the token expires,
/// so a right that was withdrawn would live as long as the connection.
pub const CONNECTION_LIFETIME_MAX: Duration = Duration::from_secs(30 * 60);
/// How long before its end a token is replaced; half the life of one that lives for less than twice as long.
pub const MARGIN: Duration = Duration::from_secs(5 * 60);
/// Up to this much earlier, by chance, so that servers that started together do not ask together.
const JITTER: Duration = Duration::from_secs(60);
/// How long one source may take. Outside Azure nobody answers for a managed identity.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after a failed request the next one is made while the old token is valid.
const PAUSE: Duration = Duration::from_secs(10);

/// Why there is no token. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The DSN has a password, which nobody would use.
    #[error("DB_AZURE_AUTH=true takes the password from Entra: remove the password from the DSN")]
    Password,
    /// The token would travel where others can read it.
    #[error("DB_AZURE_AUTH=true sends a token: set sslmode to verify-full, verify-ca or require")]
    NotEncrypted,
    /// The role to log in as is missing; it is not a part of the token.
    #[error("DB_AZURE_AUTH=true needs user in the DSN: the name of the Entra principal's role in Postgres")]
    NoUser,
    /// The authority is not named by an HTTPS URL.
    #[error("AZURE_AUTHORITY_HOST must be an https:// URL")]
    Authority,
    /// HTTPS cannot be spoken.
    #[error("cannot fetch tokens over HTTPS")]
    Https(#[from] https::Error),
    /// No source gave a token. Operators look for these words.
    #[error("acquire entra token")]
    Acquire(#[source] Tried),
}

/// What each source said that was asked.
#[derive(Debug, thiserror::Error)]
pub struct Tried(Vec<(Source, String)>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, cause)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{source}: {cause}")?;
        }
        Ok(())
    }
}

/// What the environment says about the identity to log in with.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    tenant: Option<String>,
    client: Option<String>,
    secret: Option<Secret>,
    federated_token_file: Option<PathBuf>,
    authority: Option<String>,
    root_certificates: Option<PathBuf>,
}

impl Environment {
    /// Reads `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE`,
    /// `AZURE_AUTHORITY_HOST` and `SSL_CERT_FILE`; what is empty counts as absent. Managed identities and the command
    /// line tools have further variables, which azure_identity reads by itself.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        Self {
            tenant: get("AZURE_TENANT_ID"),
            client: get("AZURE_CLIENT_ID"),
            secret: get("AZURE_CLIENT_SECRET").map(Secret),
            federated_token_file: get("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            authority: get("AZURE_AUTHORITY_HOST"),
            root_certificates: get("SSL_CERT_FILE").map(PathBuf::from),
        }
    }

    /// Where a token may come from, in the order in which they are asked. What is configured in full is meant: nothing
    /// after it is asked, lest a mistake in it logs in as somebody else.
    fn sources(&self) -> &'static [Source] {
        match (&self.tenant, &self.client, &self.secret, &self.federated_token_file) {
            (Some(_), Some(_), Some(_), _) => &[Source::ClientSecret],
            (Some(_), Some(_), None, Some(_)) => &[Source::WorkloadIdentity],
            _ => &[Source::ManagedIdentity, Source::Cli, Source::DeveloperCli],
        }
    }

    /// The resource that tokens are asked for, in the cloud of the authority.
    fn scope(&self) -> &'static str {
        let authority = self.authority.as_deref().unwrap_or_default().trim_end_matches('/');
        if authority.ends_with("login.chinacloudapi.cn") {
            "https://ossrdbms-aad.database.chinacloudapi.cn/.default"
        } else if authority.ends_with("login.microsoftonline.us") {
            "https://ossrdbms-aad.database.usgovcloudapi.net/.default"
        } else {
            "https://ossrdbms-aad.database.windows.net/.default"
        }
    }
}

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    ClientSecret,
    WorkloadIdentity,
    ManagedIdentity,
    Cli,
    DeveloperCli,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientSecret => "client secret",
            Self::WorkloadIdentity => "workload identity",
            Self::ManagedIdentity => "managed identity",
            Self::Cli => "az",
            Self::DeveloperCli => "azd",
        })
    }
}

/// Tokens of one identity; clones share them.
#[derive(Debug, Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    environment: Environment,
    https: Arc<Https>,
    state: Mutex<State>,
    /// Held by the one who asks for a token.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The source that gave the last token: the others are not asked again.
    source: Option<Source>,
}

#[derive(Debug, Clone)]
struct Token {
    text: Secret,
    /// When a new one should be asked for.
    due: Instant,
    expires: Instant,
}

impl Tokens {
    /// Prepares to ask; asks nobody yet. Errs when the authority is no HTTPS URL or the root certificates cannot be read.
    pub fn new(environment: Environment) -> Result<Self, Error> {
        let secure = |authority: &String| authority.starts_with("https://");
        if !environment.authority.as_ref().is_none_or(secure) {
            return Err(Error::Authority);
        }
        let https = Arc::new(Https::new(environment.root_certificates.as_deref())?);
        let inner =
            Inner { environment, https, state: Mutex::default(), asking: tokio::sync::Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A token that is valid now. Asks for one when there is none or the last is close to its end, which takes up to 15
    /// seconds for each source; only one request is under way at a time, and while the old token is valid nobody
    /// waits for it.
    ///
    /// Errs only when there is no valid token; that a new one was not to be had is logged before.
    pub(super) async fn token(&self) -> Result<Secret, Error> {
        if let Some(token) = self.current().filter(|token| Instant::now() < token.due) {
            return Ok(token.text);
        }
        let asking = match self.valid() {
            Some(token) => match self.inner.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(token.text),
            },
            None => self.inner.asking.lock().await,
        };
        // Somebody else may have got one while this one waited.
        if let Some(token) = self.current().filter(|token| Instant::now() < token.due) {
            return Ok(token.text);
        }
        let asked = self.ask().await;
        drop(asking);
        match (asked, self.valid()) {
            (Ok(token), _) => Ok(token),
            (Err(error), Some(old)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error = crate::fault::chain(error),
                    "acquire entra token: the old one is kept"
                );
                self.postpone();
                Ok(old.text)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Waits until a new token should be asked for; at once where there is none.
    pub(super) async fn due(&self) {
        if let Some(token) = self.current() {
            tokio::time::sleep_until(token.due).await;
        }
    }

    /// The database refused the token: the next one who needs a token asks for another.
    pub(super) fn doubt(&self) {
        if let Some(token) = &mut self.state().token {
            token.due = Instant::now();
        }
    }

    fn postpone(&self) {
        if let Some(token) = &mut self.state().token {
            token.due = Instant::now() + PAUSE.min((token.expires - Instant::now()) / 2);
        }
    }

    fn current(&self) -> Option<Token> {
        self.state().token.clone()
    }

    fn valid(&self) -> Option<Token> {
        self.current().filter(|token| Instant::now() < token.expires)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // What it guards is replaced whole.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the sources in order and keeps the first token.
    async fn ask(&self) -> Result<Secret, Error> {
        let chosen = self.state().source;
        let sources = chosen.as_ref().map_or(self.inner.environment.sources(), std::slice::from_ref);
        let mut tried = Vec::new();
        for source in sources {
            match self.ask_one(*source).await {
                Ok(answer) => {
                    let token = Token::from(answer);
                    let mut state = self.state();
                    state.source = Some(*source);
                    state.token = Some(token.clone());
                    return Ok(token.text);
                }
                Err(cause) => tried.push((*source, cause)),
            }
        }
        Err(Error::Acquire(Tried(tried)))
    }

    async fn ask_one(&self, source: Source) -> Result<AccessToken, String> {
        // A credential of its own for each request: what it caches would outlive our own margin.
        let credential = self.credential(source).map_err(|error| causes(&error))?;
        let scopes = [self.inner.environment.scope()];
        match tokio::time::timeout(SOURCE_TIMEOUT, credential.get_token(&scopes, None)).await {
            Ok(answer) => answer.map_err(|error| causes(&error)),
            Err(_) => Err(format!("no answer within {} s", SOURCE_TIMEOUT.as_secs())),
        }
    }

    fn credential(&self, source: Source) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let Environment { tenant, client, secret, federated_token_file, .. } = &self.inner.environment;
        let client_options = self.client_options();
        Ok(match source {
            Source::ClientSecret => ClientSecretCredential::new(
                tenant.as_deref().unwrap_or_default(),
                client.clone().unwrap_or_default(),
                secret.as_ref().map(|secret| secret.0.clone()).unwrap_or_default().into(),
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Source::WorkloadIdentity => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: client.clone(),
                    tenant_id: tenant.clone(),
                    token_file_path: federated_token_file.clone(),
                }))?
            }
            Source::ManagedIdentity => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options,
                }))?
            }
            Source::Cli => AzureCliCredential::new(Some(AzureCliCredentialOptions {
                tenant_id: tenant.clone(),
                ..AzureCliCredentialOptions::default()
            }))?,
            Source::DeveloperCli => {
                AzureDeveloperCliCredential::new(Some(AzureDeveloperCliCredentialOptions {
                    tenant_id: tenant.clone(),
                    ..AzureDeveloperCliCredentialOptions::default()
                }))?
            }
        })
    }

    fn client_options(&self) -> ClientOptions {
        let cloud = self.inner.environment.authority.clone().map(|authority| {
            let mut cloud = CustomConfiguration::default();
            cloud.authority_host = authority;
            Arc::new(cloud.into())
        });
        let https: Arc<Https> = Arc::clone(&self.inner.https);
        ClientOptions {
            cloud,
            transport: Some(Transport::new(https)),
            // A hiccup is tried again at once; a longer outage is waited for by those who ask again.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                max_retries: 2,
                ..ExponentialRetryOptions::default()
            }),
            ..ClientOptions::default()
        }
    }
}

impl From<AccessToken> for Token {
    fn from(answer: AccessToken) -> Self {
        let left = answer.expires_on - OffsetDateTime::now_utc();
        let left = Duration::try_from(left).unwrap_or_default();
        let now = Instant::now();
        let early = MARGIN + JITTER.mul_f64(chance());
        Self {
            text: Secret(answer.token.secret().to_owned()),
            due: now + left.checked_sub(early).unwrap_or_default().max(left.min(MARGIN * 2) / 2),
            expires: now + left,
        }
    }
}

/// An error of azure_core with its causes, on one line; many of its texts repeat their cause.
fn causes(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number from 0 to 1, different on every call.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}
