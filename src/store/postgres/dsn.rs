//! A connection string, in either of libpq's forms, as values
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::PgSslMode;

use super::keywords::{self, Word};

/// Longest connection string in bytes; a longer one is some other file by mistake.
const DSN_BYTES_MAX: usize = 16 << 10;
/// Hosts that may be listed; each may cost its whole time limit before the next is tried.
pub const HOSTS_MAX: usize = 16;
/// How long one host may take to accept where the DSN does not say: it must not hold up a start for minutes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A mistake in a connection string. No variant holds a password or a piece of text that may be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Longer than any connection string.
    #[error("the DSN is longer than {DSN_BYTES_MAX} bytes")]
    TooLong,
    /// Some text is no `key=value`.
    #[error("{place} comes something that is not key=value: put values with spaces in single quotes")]
    NotAPair {
        /// Where it stands.
        place: Place,
    },
    /// A key without a value before another pair, such as a variable that was not set leaves behind; libpq would take the
    /// next pair for the value.
    #[error("{key} has no value: write one, or remove it")]
    Empty {
        /// The key.
        key: String,
    },
    /// A quoted value does not end.
    #[error("the value of {key} has an opening quote and no closing one")]
    Unclosed {
        /// Whose value.
        key: String,
    },
    /// Nobody knows this key.
    #[error("{key} is not a setting of a Postgres DSN{}", nearest.map(|name| format!(": did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// The key.
        key: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key of libpq that this server does not support.
    #[error("{key} is not supported: {remedy}")]
    Unsupported {
        /// The key.
        key: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The value of a key is not right.
    #[error("{key}={value} is not right: {wanted}")]
    Value {
        /// The key.
        key: String,
        /// Its value; only of keys that hold no secret.
        value: String,
        /// What it may be.
        wanted: String,
    },
    /// Ports and hosts do not pair up.
    #[error("the DSN lists {hosts} hosts and {ports} ports: give one port for all or one for each")]
    Ports {
        /// How many hosts.
        hosts: usize,
        /// How many ports.
        ports: usize,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("sslcert and sslkey must be given together")]
    HalfCertificate,
    /// A percent sign in a URL without two hexadecimal digits after it, bytes that are no UTF-8, or a sign that ends
    /// the part.
    #[error("the {part} of the URL is not right: write % as %25, / as %2F, ? as %3F and @ as %40")]
    Escape {
        /// Of which part.
        part: &'static str,
    },
}

/// Where a mistake stands, told without repeating what may be a piece of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the beginning.
    Beginning,
    /// After the value of this key.
    After(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("at the beginning of the DSN"),
            Self::After(key) => write!(f, "after the value of {key}"),
        }
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// One place where a server may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or the folder of a socket (begins with `/`); none means what libpq takes by itself: a
    /// socket in the usual folder where there is one, else localhost.
    pub(super) name: Option<String>,
    /// The port, which is a part of a socket's name, too.
    pub(super) port: u16,
}

impl Host {
    /// True where the name is the folder of a socket.
    pub(super) fn is_socket(&self) -> bool {
        self.name.as_deref().is_some_and(|name| name.starts_with('/'))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_deref() {
            Some(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Some(name) => write!(f, "{name}:{}", self.port),
            None => write!(f, "the local server, port {}", self.port),
        }
    }
}

/// Which servers will do (`target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Any that accepts.
    Any,
    /// One whose sessions can write.
    Writable,
}

/// How the connection is encrypted, and whose certificates are believed.
#[derive(Debug, Clone)]
pub(super) struct Ssl {
    pub(super) mode: PgSslMode,
    pub(super) root: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// A parsed connection string.
#[derive(Debug, Clone)]
pub(super) struct Dsn {
    /// At least one.
    pub(super) hosts: Vec<Host>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<String>,
    pub(super) ssl: Ssl,
    pub(super) connect_timeout: Duration,
    pub(super) application_name: Option<String>,
    /// Settings of the session, by name: those of `options` first.
    pub(super) settings: Vec<(String, String)>,
    pub(super) target: Target,
}

impl Dsn {
    /// Reads a connection string of either form. Reads no file and no environment.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim();
        if DSN_BYTES_MAX < text.len() {
            return Err(Mistake::TooLong);
        }
        let scheme = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let pairs = match scheme {
            Some(rest) => url(rest)?,
            None => keyword_pairs(text)?,
        };
        Self::from_pairs(pairs)
    }

    /// As with libpq, the last of several values of one key is the one that counts.
    fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, Mistake> {
        let mut found = Pairs::default();
        for (key, value) in pairs {
            found.take(key, value)?;
        }
        let text = |key: &str| found.login(key).filter(|value| !value.is_empty()).map(str::to_owned);
        let path = |key: &str| text(key).map(PathBuf::from);
        let hosts = hosts(found.login("host").unwrap_or(""), found.login("port").unwrap_or(""))?;
        if let Some(encoding) = found.login("client_encoding")
            && !["utf8", "utf-8", "unicode", "auto"].contains(&encoding.to_ascii_lowercase().as_str())
        {
            return Err(wrong("client_encoding", encoding, "the server speaks UTF8: remove it"));
        }
        let ssl = Ssl {
            mode: ssl_mode(found.login("sslmode").unwrap_or("prefer"))?,
            root: path("sslrootcert"),
            certificate: path("sslcert"),
            key: path("sslkey"),
        };
        Ok(Self {
            hosts,
            user: text("user"),
            password: text("password").map(Secret),
            database: text("dbname"),
            ssl: settle(ssl)?,
            connect_timeout: seconds(found.login("connect_timeout").unwrap_or("0"))?,
            application_name: text("application_name").or_else(|| text("fallback_application_name")),
            target: target(found.login("target_session_attrs").unwrap_or("any"))?,
            settings: switches(found.login("options").unwrap_or(""))?
                .into_iter()
                .chain(found.settings)
                .collect(),
        })
    }
}

/// Pairs, sorted by what is done with them.
#[derive(Default)]
struct Pairs {
    login: Vec<(String, String)>,
    settings: Vec<(String, String)>,
}

impl Pairs {
    fn take(&mut self, key: String, value: String) -> Result<(), Mistake> {
        match keywords::meaning(&key) {
            Some(Word::Login) => self.login.push((key, value)),
            Some(Word::Setting(name)) => self.settings.push((name.to_owned(), value)),
            Some(Word::Indifferent(values)) if values.is_empty() || values.contains(&value.as_str()) => {}
            Some(Word::Indifferent(values)) => {
                return Err(wrong(
                    &key,
                    &value,
                    &format!("only {} is supported: remove it", values.join(" or ")),
                ));
            }
            Some(Word::Unsupported(remedy)) => return Err(Mistake::Unsupported { key, remedy }),
            None if key.contains('.') => self.settings.push((key, value)),
            None => return Err(Mistake::Unknown { nearest: keywords::nearest(&key), key }),
        }
        Ok(())
    }

    fn login(&self, key: &str) -> Option<&str> {
        self.login.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }
}

fn wrong(key: &str, value: &str, wanted: &str) -> Mistake {
    Mistake::Value { key: key.to_owned(), value: value.to_owned(), wanted: wanted.to_owned() }
}

fn ssl_mode(value: &str) -> Result<PgSslMode, Mistake> {
    Ok(match value {
        "disable" => PgSslMode::Disable,
        "allow" => PgSslMode::Allow,
        "prefer" | "" => PgSslMode::Prefer,
        "require" => PgSslMode::Require,
        "verify-ca" => PgSslMode::VerifyCa,
        "verify-full" => PgSslMode::VerifyFull,
        _ => {
            let wanted = "it is one of disable, allow, prefer, require, verify-ca and verify-full";
            return Err(wrong("sslmode", value, wanted));
        }
    })
}

/// Applies libpq's rules that tie a mode to files: `require` with a root certificate verifies it, and the certificates
/// of the system prove a name only in full.
fn settle(mut ssl: Ssl) -> Result<Ssl, Mistake> {
    if ssl.certificate.is_some() != ssl.key.is_some() {
        return Err(Mistake::HalfCertificate);
    }
    if ssl.root.as_deref().is_some_and(|root| root.as_os_str() == "system") {
        if !matches!(ssl.mode, PgSslMode::VerifyFull) {
            return Err(wrong("sslrootcert", "system", "it needs sslmode=verify-full"));
        }
        ssl.root = None;
    }
    if matches!(ssl.mode, PgSslMode::Require) && ssl.root.is_some() {
        ssl.mode = PgSslMode::VerifyCa;
    }
    Ok(ssl)
}

fn target(value: &str) -> Result<Target, Mistake> {
    match value {
        "any" | "" => Ok(Target::Any),
        "read-write" | "primary" => Ok(Target::Writable),
        _ => {
            Err(wrong("target_session_attrs", value, "the server must write: use read-write, primary or any"))
        }
    }
}

fn seconds(value: &str) -> Result<Duration, Mistake> {
    match value.parse::<u64>() {
        Ok(0) => Ok(CONNECT_TIMEOUT),
        Ok(seconds @ 1..=600) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong(
            "connect_timeout",
            value,
            "it is a number of seconds from 1 to 600, or 0 for the usual 10",
        )),
    }
}

fn hosts(names: &str, ports: &str) -> Result<Vec<Host>, Mistake> {
    const PORT: u16 = 5432;
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let ports: Vec<u16> = ports
        .split(',')
        .map(|port| match port.trim() {
            "" => Ok(PORT),
            port => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("port", port, "it is a number from 1 to 65535")),
        })
        .collect::<Result<_, _>>()?;
    if HOSTS_MAX < names.len() {
        return Err(wrong(
            "host",
            &format!("({} hosts)", names.len()),
            &format!("at most {HOSTS_MAX} may be listed"),
        ));
    }
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(Mistake::Ports { hosts: names.len(), ports: ports.len() });
    }
    let named = |name: &str| match name.is_empty() {
        true => None,
        false => Some(name.trim_start_matches('[').trim_end_matches(']').to_owned()),
    };
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
    Ok(names.iter().enumerate().map(|(index, name)| Host { name: named(name), port: port(index) }).collect())
}

/// The settings in `-c name=value --name=value …`, where a backslash keeps the next character as it is; the server
/// knows other switches, which nobody needs.
fn switches(text: &str) -> Result<Vec<(String, String)>, Mistake> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, words.last_mut()) {
            ('\\', Some(word)) => word.extend(characters.next()),
            (space, _) if space.is_whitespace() => words.push(String::new()),
            (other, Some(word)) => word.push(other),
            (_, None) => {}
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().unwrap_or_default(),
            Some(setting) => setting.to_owned(),
            None => String::new(),
        };
        match setting.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()))
            }
            _ => return Err(wrong("options", text, "it is a list of `-c name=value`")),
        }
    }
    Ok(settings)
}

/// `key = 'value'` and so on, separated by spaces; a backslash keeps the next character as it is.
fn keyword_pairs(text: &str) -> Result<Vec<(String, String)>, Mistake> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let place = || pairs.last().map_or(Place::Beginning, |(key, _)| Place::After(key.clone()));
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=').filter(|_| !key.is_empty()) else {
            return Err(Mistake::NotAPair { place: place() });
        };
        // An unquoted password with a space in it shows up as a strange key, which must not be repeated.
        if keywords::meaning(key).is_none() && pairs.last().is_some_and(|(key, _)| key == "password") {
            return Err(Mistake::NotAPair { place: place() });
        }
        let is_apart = value.starts_with(char::is_whitespace) && !value.trim_start().starts_with('\'');
        let (value, after) = keyword_value(key, value.trim_start())?;
        if is_apart && value.contains('=') {
            return Err(Mistake::Empty { key: key.to_owned() });
        }
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// One value and what follows it.
fn keyword_value<'a>(key: &str, text: &'a str) -> Result<(String, &'a str), Mistake> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, kept)| kept)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &body[at..])),
            other => value.push(other),
        }
    }
    if quoted { Err(Mistake::Unclosed { key: key.to_owned() }) } else { Ok((value, "")) }
}

/// What follows the scheme: `user:password@host:port,host:port/database?key=value&…`.
fn url(rest: &str) -> Result<Vec<(String, String)>, Mistake> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    // A password with a bare `/` or `?` would be taken apart, and its pieces shown as a database or a key.
    if database.contains('@') || query.contains('@') {
        let part = if authority.contains('@') { "part after the hosts" } else { "password" };
        return Err(Mistake::Escape { part });
    }
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = match host
            .rfind(']')
            .map_or_else(|| host.rfind(':'), |end| host[end..].find(':').map(|at| end + at))
        {
            Some(at) => (&host[..at], &host[at + 1..]),
            None => (host, ""),
        };
        names.push(unescaped("host", name)?);
        ports.push(port);
    }
    let mut pairs = Vec::new();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            pairs.push((key.to_owned(), value));
        }
    };
    put("user", unescaped("user", user)?);
    put("password", unescaped("password", password)?);
    if names.iter().any(|name| !name.is_empty()) {
        put("host", names.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        put("port", ports.join(","));
    }
    put("dbname", unescaped("database", database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (unescaped("query", key)?, unescaped("query", value)?);
        match (key.as_str(), value.as_str()) {
            // As JDBC writes it; libpq takes it in URLs, too.
            ("ssl", "true") => pairs.push(("sslmode".to_owned(), "require".to_owned())),
            _ => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

/// Text with its `%XX` replaced.
fn unescaped(part: &'static str, text: &str) -> Result<String, Mistake> {
    let escape = || Mistake::Escape { part };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits =
                after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(escape)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(escape());
            }
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| escape())?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| escape())
}
