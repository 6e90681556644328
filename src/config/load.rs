//! From text to the options of every module, with all mistakes at once.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::model::tenant::TenantId;

use super::access::Access;
use super::encryption::Encryption;
use super::given_up::{NOT_YET, NOT_YET_BEGINNINGS};
use super::intake::Intake;
use super::letters::DeadLetters;
use super::nearest;
use super::origin::{Environment, Origin};
use super::own_spans::OwnSpans;
use super::storage::Storage;
use super::variables;

/// When an export request is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// After it was synced to disk.
    Durable,
    /// After it was handed to the operating system.
    Buffered,
}

/// The whole configuration; see [`variables`] for the meaning, unit and bounds of each value.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is documented once, at its variable")]
pub struct Config {
    pub log_level: tracing::Level,
    pub bind_addr: IpAddr,
    pub grpc_port: u16,
    pub otlp_http_port: u16,
    pub http_port: u16,
    pub ports_file: Option<PathBuf>,
    pub shutdown_timeout: Duration,
    pub data_dir: PathBuf,
    pub database: PathBuf,
    pub storage: Storage,
    pub intake: Intake,
    pub automigrate: bool,
    pub readers: u32,
    pub cache_kib: u32,
    pub mmap_bytes: u64,
    pub acknowledge: Acknowledge,
    pub queue_requests_max: usize,
    pub tenant_requests_max: Option<usize>,
    pub queue_bytes_max: usize,
    pub inflight_bytes_max: usize,
    pub letters: DeadLetters,
    pub journal_bytes_max: u64,
    /// Bytes that intake leaves free on the volume of the data directory.
    pub free_bytes_min: u64,
    /// The share of traces that is stored, whether those with failures are as well, and from which duration on.
    pub sampling: (f64, bool, Option<Duration>),
    pub request_bytes_max: usize,
    pub streams_max: u32,
    pub api_key: Option<String>,
    pub access: Access,
    pub encryption: Option<Encryption>,
    pub default_tenant: TenantId,
    pub mcp_enabled: bool,
    pub mcp_path: String,
    pub mcp_concurrent_max: usize,
    pub mcp_call_timeout: Duration,
    pub mcp_cache_ttl: Duration,
    pub mcp_allowed_hosts: Vec<String>,
    pub mcp_allowed_origins: Vec<String>,
    pub own_spans: Option<OwnSpans>,
    pub search_enabled: bool,
    pub joined_spans_max: usize,
}

/// A configuration with what is to be said about it.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Things that are probably not meant, for the log.
    pub warnings: Vec<String>,
    /// Every variable with its value (secrets redacted) and origin, in the order of the table.
    pub effective: Vec<(&'static str, String, Origin)>,
}

/// Requests of the largest size that are held at once at least: as they come, unpacked, and decoded.
const INFLIGHT_REQUESTS_MIN: usize = 3;

/// The variable that a mistake begins with.
fn variable_of(mistake: &str) -> &str {
    mistake.split([':', ' ']).next().unwrap_or_default()
}

fn default_of(name: &str) -> &'static str {
    variables::all().find(|variable| variable.name == name).map_or("", |variable| variable.default)
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// All mistakes, one a line, each naming the variable and what would be right.
    pub fn load(environment: &Environment) -> Result<Loaded, Vec<String>> {
        Self::load_and(environment, |_| Vec::new())
    }

    /// Reads everything, and has `look` find what else would stop a start. It looks also where there are mistakes: of a variable
    /// that has one already nothing more is told.
    ///
    /// # Errors
    /// All mistakes and what was found, one a line, each beginning with the name of its variable.
    pub fn load_and(
        environment: &Environment,
        look: impl FnOnce(&Self) -> Vec<String>,
    ) -> Result<Loaded, Vec<String>> {
        let mut reader = Reader {
            environment,
            mistakes: environment.problems().to_vec(),
            warnings: Vec::new(),
            effective: Vec::new(),
        };
        let config = reader.config();
        let Reader { mut mistakes, mut warnings, effective, .. } = reader;
        for (name, guards, what) in NOT_YET {
            match (environment.get(name), guards) {
                (Some(("false" | "none" | "no" | "off" | "0", _)) | None, _) => {}
                (Some(_), true) => mistakes.push(format!("{name}: {what}; unset it to start")),
                (Some(_), false) => warnings.push(format!("{name} has no effect: {what}")),
            }
        }
        if let Some(config) = &config
            && config.inflight_bytes_max < INFLIGHT_REQUESTS_MIN * config.request_bytes_max
        {
            warnings.push(format!(
                "INGEST_INFLIGHT_MAX_BYTES holds no {INFLIGHT_REQUESTS_MIN} requests of GRPC_MAX_RECV_MB: the largest are refused however little there is to do"
            ));
        }
        for name in environment.names() {
            let begins = |(beginning, _): &&(&str, &str)| name.starts_with(beginning);
            let is_known = nearest::is_known(name);
            if let Some((_, what)) = NOT_YET_BEGINNINGS.iter().find(begins).filter(|_| !is_known) {
                warnings.push(format!("{name} has no effect: {what}"));
            } else if let Some(meant) = nearest::meant_by(name) {
                warnings.push(format!("{name} is not a variable of otelcontext; did you mean {meant}?"));
            }
        }
        for found in config.as_ref().map(look).unwrap_or_default() {
            if !mistakes.iter().any(|mistake| variable_of(mistake) == variable_of(&found)) {
                mistakes.push(found);
            }
        }
        match config {
            Some(config) if mistakes.is_empty() => Ok(Loaded { config, warnings, effective }),
            _ => Err(mistakes),
        }
    }
}

pub(super) struct Reader<'a> {
    environment: &'a Environment,
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
    effective: Vec<(&'static str, String, Origin)>,
}

impl Reader<'_> {
    /// Reads every variable, also after a mistake, so that all are reported. Where there was one the value is some
    /// valid stand-in; none only where there is no such thing.
    fn config(&mut self) -> Option<Config> {
        let production = self.one_of("APP_ENV", &["development", "production"]) == "production";
        let log_level = self.one_of("LOG_LEVEL", &["INFO", "ERROR", "WARN", "DEBUG", "TRACE"]);
        let bind_addr = self.address("BIND_ADDR");
        let data_dir = PathBuf::from(self.text("DATA_DIR"));
        let letters = self.letters(&data_dir);
        let readers = self.up_to("DB_MAX_OPEN_CONNS", 1, 64) as u32;
        let (storage, database) = self.storage(&data_dir, readers);
        let api_key = self.secret("API_KEY");
        let default_tenant = self.tenant("DEFAULT_TENANT");
        let queue_requests_max = self.number("INGEST_PIPELINE_QUEUE_SIZE", 1, 1_000_000) as usize;
        let tenant_requests_max = self.share(queue_requests_max);
        let encryption = self.encryption(&data_dir, bind_addr);
        let access = self.access(production, bind_addr, api_key.is_some());
        self.look_at_production(production, &storage, (bind_addr, encryption.is_some()));
        Some(Config {
            log_level: log_level.parse().ok()?,
            bind_addr,
            grpc_port: self.port("GRPC_PORT"),
            otlp_http_port: self.port("OTLP_HTTP_PORT"),
            http_port: self.port("HTTP_PORT"),
            ports_file: Some(self.text("PORTS_FILE")).filter(|path| !path.is_empty()).map(PathBuf::from),
            shutdown_timeout: self.milliseconds("SHUTDOWN_TIMEOUT_MS", 100, 600_000),
            database,
            storage,
            intake: self.intake(),
            data_dir,
            automigrate: self.flag("DB_AUTOMIGRATE"),
            readers,
            cache_kib: self.number("SQLITE_CACHE_SIZE_KB", 1024, 1 << 20) as u32,
            mmap_bytes: self.number("SQLITE_MMAP_SIZE_BYTES", 0, 16 << 30),
            acknowledge: match self.one_of("INGEST_ACK", &["durable", "buffered"]) {
                "buffered" => Acknowledge::Buffered,
                _ => Acknowledge::Durable,
            },
            queue_requests_max,
            tenant_requests_max,
            queue_bytes_max: self.number("INGEST_PIPELINE_MAX_BYTES", 1 << 20, 1 << 40) as usize,
            inflight_bytes_max: self.number("INGEST_INFLIGHT_MAX_BYTES", 1 << 20, 1 << 40) as usize,
            letters,
            journal_bytes_max: self.number("JOURNAL_MAX_MB", 128, 1 << 20) << 20,
            free_bytes_min: self.number("DATA_DISK_FREE_MIN_MB", 0, 1 << 20) << 20,
            sampling: self.sampling(),
            request_bytes_max: (self.number("GRPC_MAX_RECV_MB", 1, 256) << 20) as usize,
            streams_max: self.number("GRPC_MAX_CONCURRENT_STREAMS", 1, 100_000) as u32,
            api_key,
            access,
            encryption,
            mcp_enabled: self.flag("MCP_ENABLED"),
            mcp_path: self.path("MCP_PATH"),
            mcp_concurrent_max: self.number("MCP_MAX_CONCURRENT", 0, 10_000) as usize,
            mcp_call_timeout: self.milliseconds("MCP_CALL_TIMEOUT_MS", 0, 600_000),
            mcp_cache_ttl: self.milliseconds("MCP_CACHE_TTL_MS", 0, 3_600_000),
            mcp_allowed_hosts: self.list("MCP_ALLOWED_HOSTS"),
            mcp_allowed_origins: self.list("MCP_ALLOWED_ORIGINS"),
            own_spans: self.own_spans(),
            search_enabled: self.flag("LOG_FTS_ENABLED"),
            joined_spans_max: self.joined_spans(),
            default_tenant: default_tenant?,
        })
    }
}

impl Reader<'_> {
    /// Requests of one tenant that may wait beside others'.
    fn share(&mut self, queue_requests_max: usize) -> Option<usize> {
        match self.optional_number("INGEST_PIPELINE_PER_TENANT_CAP", 0, 1_000_000) {
            Some(0) => None,
            Some(requests) => Some(requests as usize),
            None => Some((queue_requests_max * 3).div_ceil(10)),
        }
    }
}

impl Reader<'_> {
    /// The value, or the default where nobody set it; noted for the list of effective values.
    pub(super) fn text(&mut self, name: &'static str) -> String {
        let (value, origin) = self.environment.get(name).unwrap_or((default_of(name), Origin::Default));
        self.effective.push((name, value.to_owned(), origin));
        value.to_owned()
    }

    /// Has another number take the place of the value that was read last, and tells why.
    fn replace(&mut self, value: u64, why: String) -> u64 {
        if let Some((_, shown, _)) = self.effective.last_mut() {
            *shown = value.to_string();
        }
        self.warnings.push(why);
        value
    }

    pub(super) fn secret(&mut self, name: &'static str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let found = match (self.environment.get(name), self.environment.get(&file_name)) {
            (Some(_), Some(_)) => {
                self.mistakes.push(format!("{name} and {file_name} are both set; set one"));
                None
            }
            (Some((value, origin)), None) => Some((value.to_owned(), origin)),
            (None, Some((path, _))) => match std::fs::read_to_string(path) {
                Ok(text) if !text.trim().is_empty() => Some((text.trim().to_owned(), Origin::SecretFile)),
                Ok(_) => {
                    self.mistakes.push(format!("{file_name}: {path} is empty"));
                    None
                }
                Err(error) => {
                    self.mistakes.push(format!("{file_name}: {path}: {error}"));
                    None
                }
            },
            (None, None) => None,
        };
        let origin = found.as_ref().map_or(Origin::Default, |(_, origin)| *origin);
        let shown = if found.is_some() { "(set, not shown)" } else { "" };
        self.effective.push((name, shown.to_owned(), origin));
        found.map(|(value, _)| value)
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, wanted: &str) -> Option<T> {
        let value = self.text(name);
        let parsed = value.trim().parse().ok();
        if parsed.is_none() {
            self.mistake(name, &value, &format!("is not {wanted}"));
        }
        parsed
    }

    fn address(&mut self, name: &'static str) -> IpAddr {
        self.parsed(name, "an IP address such as 127.0.0.1").unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn port(&mut self, name: &'static str) -> u16 {
        self.parsed(name, "a port from 0 to 65535").unwrap_or(0)
    }

    /// A number within bounds that the callers' types can hold.
    pub(super) fn number(&mut self, name: &'static str, least: u64, most: u64) -> u64 {
        let wanted = format!("a whole number from {least} to {most}");
        match self.parsed::<u64>(name, &wanted) {
            Some(value) if (least..=most).contains(&value) => value,
            Some(value) => {
                self.mistake(name, &value.to_string(), &format!("is not {wanted}"));
                least
            }
            None => least,
        }
    }

    /// As [`Reader::number`], but what is above the upper bound is no mistake: the bound is taken.
    pub(super) fn up_to(&mut self, name: &'static str, least: u64, most: u64) -> u64 {
        let given = self.environment.get(name).and_then(|(value, _)| value.trim().parse::<u64>().ok());
        if given.is_none_or(|given| given <= most) {
            return self.number(name, least, most);
        }
        let value = self.text(name);
        self.replace(most, format!("{name}: {} is taken for {most}, the most that is possible", value.trim()))
    }

    /// The spans that are remembered. A negative number is the predecessor's way to ask for no bound.
    fn joined_spans(&mut self) -> usize {
        const NAME: &str = "GRAPHRAG_MAX_SPANS_PER_TENANT";
        let given = self.environment.get(NAME).and_then(|(value, _)| value.trim().parse::<i64>().ok());
        if given.is_none_or(|given| given >= 0) {
            return self.number(NAME, 10_000, 50_000_000) as usize;
        }
        self.text(NAME);
        let usual = default_of(NAME);
        let why =
            format!("{NAME}: there is always a bound, {usual}; older spans are looked up in the database");
        self.replace(usual.parse().unwrap_or(10_000), why) as usize
    }

    /// As [`Reader::number`]; none where nobody set it.
    pub(super) fn optional_number(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        if self.environment.get(name).is_none() {
            self.text(name);
            return None;
        }
        Some(self.number(name, least, most))
    }

    pub(super) fn milliseconds(&mut self, name: &'static str, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, least, most))
    }

    fn tenant(&mut self, name: &'static str) -> Option<TenantId> {
        let value = self.text(name);
        TenantId::try_from(value.as_str())
            .map_err(|error| self.mistake(name, &value, &format!("is not right: {error}")))
            .ok()
    }

    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let value = self.text(name);
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.mistake(name, &value, &"is not true or false");
                false
            }
        }
    }

    pub(super) fn one_of(&mut self, name: &'static str, allowed: &[&'static str]) -> &'static str {
        let value = self.text(name);
        let found = allowed.iter().copied().find(|other| other.eq_ignore_ascii_case(value.trim()));
        found.unwrap_or_else(|| {
            self.mistake(name, &value, &format!("is not one of {}", allowed.join(", ")));
            allowed[0]
        })
    }

    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        let value = self.text(name);
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn path(&mut self, name: &'static str) -> String {
        let value = self.text(name);
        let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-.".contains(&b));
        let taken = ["/", "/live", "/ready", "/metrics", "/metrics/prometheus"].contains(&value.as_str())
            || value.starts_with("/v1/")
            || value.starts_with("/api/");
        if !value.starts_with('/') || !plain || taken || value.ends_with('/') {
            self.mistake(name, &value, &"is not a free path such as /mcp");
        }
        value
    }

    pub(super) fn mistake(&mut self, name: &str, value: &str, why: &dyn Display) {
        self.mistakes.push(format!("{name}: `{}` {why}", value.escape_debug()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied()))
    }

    fn mistakes(pairs: &[(&str, &str)]) -> Vec<String> {
        load(pairs).err().unwrap_or_default()
    }

    #[test]
    fn an_empty_environment_is_a_working_configuration() {
        let loaded = load(&[]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert!(loaded.warnings.is_empty());
        assert_eq!(loaded.config.grpc_port, 4317);
        assert_eq!(loaded.config.database, PathBuf::from("./data/otelcontext.db"));
        assert_eq!(loaded.effective.len(), variables::all().count(), "every variable is read, once");
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = mistakes(&[
            ("HTTP_PORT", "80a"),
            ("MCP_PATH", "mcp"),
            ("INGEST_ACK", "memory"),
            ("DEFAULT_TENANT", "a/b"),
        ]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found.iter().any(|mistake| mistake.starts_with("HTTP_PORT: `80a` is not a port")),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_found_beside_is_told_with_the_mistakes_and_no_variable_twice() {
        let found = |pairs: &[(&str, &str)]| {
            let environment = Environment::of_pairs(pairs.iter().copied());
            let told = ["DATA_DIR: no", "HTTP_PORT: no", "DATA_DIR: no"].map(str::to_owned).to_vec();
            Config::load_and(&environment, |_| told).err().unwrap_or_default()
        };
        assert_eq!(found(&[]), ["DATA_DIR: no", "HTTP_PORT: no"]);
        let told = found(&[("HTTP_PORT", "x")]);
        assert!(told.len() == 2 && told[0].starts_with("HTTP_PORT: `x`"), "{told:?}");
        assert_eq!(told[1], "DATA_DIR: no");
    }

    #[test]
    fn open_doors_are_refused() {
        assert_eq!(mistakes(&[("BIND_ADDR", "0.0.0.0")]).len(), 1);
        assert!(mistakes(&[("BIND_ADDR", "0.0.0.0"), ("API_KEY", "k")]).is_empty());
        assert!(mistakes(&[("BIND_ADDR", "0.0.0.0"), ("OTELCONTEXT_ALLOW_INSECURE", "true")]).is_empty());
        assert_eq!(mistakes(&[("APP_ENV", "production")]).len(), 2);
        let safe = [("APP_ENV", "production"), ("API_KEY", "k"), ("OTELCONTEXT_ALLOW_SQLITE_PROD", "true")];
        assert!(mistakes(&safe).is_empty());
        assert_eq!(mistakes(&[("TLS_KEY_FILE", "server.key")]).len(), 1);
    }

    #[test]
    fn misspellings_are_pointed_out() {
        let warnings =
            load(&[("HTTP_PROT", "1"), ("OTELCONTEXT_FOO", "1"), ("DLQ_MAX_RETRIES", "5"), ("HOME", "x")]);
        let warnings = warnings.map(|loaded| loaded.warnings).unwrap_or_default();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.contains("did you mean HTTP_PORT?")), "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.contains("did you mean OTELCONTEXT_")), "{warnings:?}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let loaded = load(&[("API_KEY", "hunter2")]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert!(loaded.effective.iter().all(|(_, value, _)| !value.contains("hunter2")));
        assert_eq!(loaded.config.api_key.as_deref(), Some("hunter2"));
    }
}
