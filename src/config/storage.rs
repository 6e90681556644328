//! Where data is kept, for how long, and how much of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::Reader;

/// Which database keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A SQLite file; see [`super::Config::database`].
    Sqlite,
    /// A Postgres server; see [`Storage::dsn`].
    Postgres,
}

/// How data is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Storage {
    /// Which database.
    pub driver: Driver,
    /// The address of the Postgres database, a secret; there exactly when the driver is Postgres.
    pub dsn: Option<String>,
    /// Connections that stay open when idle; never more than may be open.
    pub idle_connections: u32,
    /// How long a connection lives; none sets no bound.
    pub connection_lifetime: Option<Duration>,
    /// How long a connection may be idle; none sets no bound.
    pub connection_idle: Option<Duration>,
    /// Whether Postgres is entered with tokens of Entra ID instead of a password.
    pub azure_auth: bool,
    /// Days ahead for which partitions are made.
    pub partition_lookahead_days: u32,
    /// How long bringing the schema up to date may take; none sets no bound.
    pub migrate_timeout: Option<Duration>,
    /// Bytes that all data on this machine may take; none sets no bound.
    pub disk_budget_bytes: Option<u64>,
    /// How long items are kept.
    pub retention: Retention,
    /// Metric series of one tenant that are told apart.
    pub series_per_tenant_max: usize,
    /// Metric series of all tenants together that are told apart.
    pub series_max: usize,
}

/// How long data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days for spans.
    pub trace_days: u32,
    /// Days for log records.
    pub log_days: u32,
    /// Days for metric points.
    pub metric_days: u32,
    /// Hours for the finest roll-ups, of ten seconds.
    pub rollup_fine_hours: u32,
    /// Days for roll-ups of a minute.
    pub rollup_minute_days: u32,
    /// Days for roll-ups of an hour.
    pub rollup_hour_days: u32,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds a password.
        let dsn = self.dsn.as_ref().map(|_| "(set, not shown)");
        f.debug_struct("Storage").field("driver", &self.driver).field("dsn", &dsn).finish_non_exhaustive()
    }
}

impl Reader<'_> {
    /// Reads how data is kept, and the path of the SQLite file, which Postgres does not use.
    pub(super) fn storage(&mut self, data_dir: &Path, connections: u32) -> (Storage, PathBuf) {
        let driver = match self.one_of("DB_DRIVER", &["sqlite", "postgres"]) {
            "postgres" => Driver::Postgres,
            _ => Driver::Sqlite,
        };
        let dsn = self.secret("DB_DSN");
        let azure_auth = self.flag("DB_AZURE_AUTH");
        let database = match driver {
            Driver::Sqlite => self.sqlite_file(dsn.as_deref().unwrap_or_default(), data_dir),
            Driver::Postgres => data_dir.join("otelcontext.db"),
        };
        match driver {
            Driver::Sqlite if azure_auth => {
                self.mistakes.push("DB_AZURE_AUTH: only DB_DRIVER=postgres has it; unset it".into());
            }
            Driver::Sqlite => {}
            Driver::Postgres => self.check_postgres(dsn.as_deref(), azure_auth),
        }
        self.partitioning();
        let series_per_tenant_max = self.bound("METRIC_MAX_CARDINALITY_PER_TENANT", 0, 1 << 32);
        let series_max = self.bound("METRIC_MAX_CARDINALITY", 0, 1 << 32);
        let unbounded = |bound: Option<u64>| bound.map_or(usize::MAX, |bound| bound as usize);
        let storage = Storage {
            driver,
            dsn: dsn.filter(|_| driver == Driver::Postgres),
            idle_connections: (self.up_to("DB_MAX_IDLE_CONNS", 0, 64) as u32).min(connections),
            connection_lifetime: self.duration("DB_CONN_MAX_LIFETIME"),
            connection_idle: self.duration("DB_CONN_MAX_IDLE_TIME"),
            azure_auth,
            partition_lookahead_days: self.number("DB_PARTITION_LOOKAHEAD_DAYS", 0, 365) as u32,
            migrate_timeout: self.bound("DB_MIGRATE_TIMEOUT_SECS", 0, 3_600).map(Duration::from_secs),
            disk_budget_bytes: self.bound("DATA_DISK_BUDGET_MB", 64, 1 << 40).map(|mib| mib << 20),
            retention: self.retention(),
            series_per_tenant_max: unbounded(series_per_tenant_max),
            series_max: unbounded(series_max),
        };
        (storage, database)
    }

    fn retention(&mut self) -> Retention {
        let days = self.number("HOT_RETENTION_DAYS", 1, 36_500) as u32;
        let mut finer = |name| self.optional_number(name, 1, 36_500).map_or(days, |days| days as u32);
        Retention {
            trace_days: finer("TRACE_RETENTION_DAYS"),
            log_days: finer("LOG_RETENTION_DAYS"),
            metric_days: finer("METRIC_RETENTION_DAYS"),
            rollup_fine_hours: self.number("ROLLUP_FINE_RETENTION_HOURS", 1, 8_760) as u32,
            rollup_minute_days: self.number("ROLLUP_MINUTE_RETENTION_DAYS", 1, 36_500) as u32,
            rollup_hour_days: self.number("ROLLUP_HOUR_RETENTION_DAYS", 1, 36_500) as u32,
        }
    }

    fn check_postgres(&mut self, dsn: Option<&str>, azure_auth: bool) {
        const WANTED: &str = "postgres://user:password@host:5432/database?sslmode=require";
        let Some(dsn) = dsn else {
            self.mistakes.push(format!(
                "DB_DSN: DB_DRIVER=postgres needs the address of the database, such as {WANTED}; DB_DSN_FILE may \
                 name a file that holds it"
            ));
            return;
        };
        let is_url = dsn.starts_with("postgres://") || dsn.starts_with("postgresql://");
        // The form of libpq: `host=… dbname=…`. Its keys are checked when the server logs in.
        let has_keywords = !dsn.contains("://") && dsn.contains('=');
        if !is_url && !has_keywords {
            self.mistake("DB_DSN", "(not shown)", &format!("is not an address such as {WANTED}"));
        }
        let is_strict = ["require", "verify-ca", "verify-full"]
            .iter()
            .any(|mode| dsn.split(['?', '&', ' ']).any(|part| part.strip_prefix("sslmode=") == Some(*mode)));
        if azure_auth && !is_strict {
            self.mistakes.push(
                "DB_AZURE_AUTH: a token must not travel in the open: add sslmode=require, verify-ca or verify-full \
                 to DB_DSN"
                    .into(),
            );
        }
    }

    fn partitioning(&mut self) {
        let value = self.text("DB_POSTGRES_PARTITIONING");
        match value.trim().to_ascii_lowercase().as_str() {
            "daily" => {}
            // The predecessor's word for rows that are deleted one by one: how they are kept, and nothing of what is kept.
            "none" => self.warnings.push(
                "DB_POSTGRES_PARTITIONING: `none` has no effect: data is always kept in a partition for each day, and deleted by \
                 dropping it"
                    .into(),
            ),
            _ => self.mistake("DB_POSTGRES_PARTITIONING", &value, &"is not daily"),
        }
    }

    fn sqlite_file(&mut self, dsn: &str, data_dir: &Path) -> PathBuf {
        let path = dsn.strip_prefix("sqlite://").or_else(|| dsn.strip_prefix("sqlite:")).unwrap_or(dsn);
        if path.starts_with("postgres://") || path.starts_with("postgresql://") {
            self.mistake(
                "DB_DSN",
                "(not shown)",
                &"is the address of a Postgres database: set DB_DRIVER=postgres",
            );
        } else if path.contains("://")
            || path.contains(" host=")
            || path.starts_with("host=")
            || path.contains(":memory:")
        {
            self.mistake("DB_DSN", "(not shown)", &"is not the path of a SQLite file");
        }
        if path.is_empty() { data_dir.join("otelcontext.db") } else { PathBuf::from(path) }
    }

    /// A number within bounds, or 0 for none.
    fn bound(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.number(name, 0, most);
        if value != 0 && value < least {
            self.mistake(name, &value.to_string(), &format!("is neither 0 nor from {least} to {most}"));
        }
        (value != 0).then_some(value)
    }

    /// A time such as `1h`, `90m` or `1h30m`; 0 is none.
    fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let value = self.text(name);
        match parse_duration(value.trim()) {
            Some(duration) => Some(duration).filter(|duration| !duration.is_zero()),
            None => {
                self.mistake(name, &value, &"is not a time such as 1h, 10m or 90s");
                None
            }
        }
    }
}

/// Numbers with the units `ms`, `s`, `m`, `h` and `d`, one after the other; or 0. At most 36,500 days.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, milliseconds) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty() && total <= 36_500 * 86_400_000).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied())).map(|loaded| loaded.config)
    }

    fn mistake(pairs: &[(&str, &str)]) -> String {
        let mistakes = load(pairs).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 1, "{pairs:?}: {mistakes:?}");
        mistakes.concat()
    }

    const DSN: (&str, &str) =
        ("DB_DSN", "postgres://u:hunter2@db/otel?application_name=x&sslmode=verify-full");

    #[test]
    fn without_settings_a_week_is_kept_in_sqlite() {
        let config = load(&[]).unwrap();
        let Storage { driver, dsn, retention, disk_budget_bytes, series_per_tenant_max, .. } = config.storage;
        assert_eq!((driver, dsn, disk_budget_bytes), (Driver::Sqlite, None, None));
        assert_eq!((retention.trace_days, retention.log_days, retention.metric_days), (7, 7, 7));
        assert_eq!(series_per_tenant_max, 500_000);
    }

    #[test]
    fn each_signal_may_be_kept_for_its_own_time() {
        let config = load(&[("HOT_RETENTION_DAYS", "3"), ("LOG_RETENTION_DAYS", "30")]).unwrap();
        let retention = config.storage.retention;
        assert_eq!((retention.trace_days, retention.log_days, retention.metric_days), (3, 30, 3));
        for (name, value) in
            [("HOT_RETENTION_DAYS", "0"), ("TRACE_RETENTION_DAYS", "36501"), ("LOG_RETENTION_DAYS", "x")]
        {
            assert!(mistake(&[(name, value)]).starts_with(name));
        }
    }

    #[test]
    fn postgres_needs_an_address_that_is_never_shown() {
        assert!(mistake(&[("DB_DRIVER", "postgres")]).contains("DB_DSN_FILE"));
        assert!(
            mistake(&[("DB_DRIVER", "postgres"), ("DB_DSN", "hunter2@db:5432/otel")]).contains("postgres://")
        );
        let keywords = "host=db password=hunter2 sslmode=verify-full";
        assert!(load(&[("DB_DRIVER", "postgres"), ("DB_DSN", keywords), ("DB_AZURE_AUTH", "true")]).is_ok());
        assert!(mistake(&[DSN]).contains("set DB_DRIVER=postgres"));
        let found = Config::load(&Environment::of_pairs([("DB_DRIVER", "postgres"), DSN]));
        let loaded = found.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert_eq!(loaded.config.storage.dsn.as_deref(), Some(DSN.1));
        assert!(loaded.effective.iter().all(|(_, value, _)| !value.contains("hunter2")));
        assert!(!format!("{:?}", loaded.config.storage).contains("hunter2"));
    }

    #[test]
    fn production_takes_postgres_as_it_is() {
        let safe = [("APP_ENV", "production"), ("API_KEY", "k"), ("DB_DRIVER", "postgres"), DSN];
        assert!(load(&safe).is_ok());
    }

    #[test]
    fn tokens_do_not_travel_in_the_open() {
        assert!(mistake(&[("DB_AZURE_AUTH", "true")]).contains("only DB_DRIVER=postgres"));
        let open = ("DB_DSN", "postgres://u@db/otel?sslmode=prefer");
        assert!(mistake(&[("DB_DRIVER", "postgres"), ("DB_AZURE_AUTH", "true"), open]).contains("sslmode"));
        assert!(
            load(&[("DB_DRIVER", "postgres"), ("DB_AZURE_AUTH", "true"), DSN]).unwrap().storage.azure_auth
        );
    }

    #[test]
    fn what_cannot_be_had_stops_the_start() {
        assert!(mistake(&[("DB_POSTGRES_PARTITIONING", "hourly")]).contains("is not daily"));
        assert!(mistake(&[("DATA_DISK_BUDGET_MB", "63")]).contains("neither 0 nor from 64"));
        assert!(mistake(&[("DB_CONN_MAX_LIFETIME", "1 hour")]).contains("such as 1h"));
    }

    #[test]
    fn what_the_predecessor_took_is_told_and_does_not_stop_the_start() {
        for (name, value, shown, told) in [
            ("DB_POSTGRES_PARTITIONING", "none", "none", "a partition for each day"),
            ("DB_MAX_OPEN_CONNS", "200", "64", "200 is taken for 64"),
            ("DB_MAX_IDLE_CONNS", "100", "64", "100 is taken for 64"),
            ("GRAPHRAG_MAX_SPANS_PER_TENANT", "-1", "2000000", "there is always a bound, 2000000"),
        ] {
            let loaded = Config::load(&Environment::of_pairs([(name, value)]));
            let loaded = loaded.unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
            let warnings = loaded.warnings;
            assert!(warnings.len() == 1 && warnings[0].starts_with(name), "{warnings:?}");
            assert!(warnings[0].contains(told), "{warnings:?}");
            let effective = loaded.effective.iter().find(|(other, ..)| *other == name).unwrap();
            assert_eq!(effective.1, shown, "{name}");
        }
        let config = load(&[("DB_MAX_OPEN_CONNS", "65"), ("DB_MAX_IDLE_CONNS", "65")]).unwrap();
        assert_eq!((config.readers, config.storage.idle_connections), (64, 64));
        for (name, value) in [
            ("DB_MAX_OPEN_CONNS", "0"),
            ("DB_MAX_OPEN_CONNS", "-1"),
            ("DB_MAX_IDLE_CONNS", "many"),
            ("GRAPHRAG_MAX_SPANS_PER_TENANT", "9999"),
            ("GRAPHRAG_MAX_SPANS_PER_TENANT", "50000001"),
        ] {
            assert!(mistake(&[(name, value)]).starts_with(name));
        }
    }

    #[test]
    fn zero_sets_no_bound() {
        let names = [
            "DATA_DISK_BUDGET_MB",
            "DB_CONN_MAX_LIFETIME",
            "DB_CONN_MAX_IDLE_TIME",
            "DB_MIGRATE_TIMEOUT_SECS",
        ];
        let mut pairs = names.map(|name| (name, "0")).to_vec();
        pairs.extend([("METRIC_MAX_CARDINALITY", "0"), ("METRIC_MAX_CARDINALITY_PER_TENANT", "0")]);
        let storage = load(&pairs).unwrap().storage;
        assert_eq!((storage.disk_budget_bytes, storage.migrate_timeout), (None, None));
        assert_eq!((storage.connection_lifetime, storage.connection_idle), (None, None));
        assert_eq!((storage.series_max, storage.series_per_tenant_max), (usize::MAX, usize::MAX));
    }

    #[test]
    fn times_have_units() {
        for (text, wanted) in [
            ("1h", Some(3_600_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("2d", Some(172_800_000)),
            ("0", Some(0)),
            ("", None),
            ("h", None),
            ("10", None),
            ("1y", None),
            ("99999999999999999999s", None),
            ("36501d", None),
        ] {
            assert_eq!(parse_duration(text), wanted.map(Duration::from_millis), "{text}");
        }
    }
}
