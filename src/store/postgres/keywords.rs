//! The words a connection string may hold, and what is done with each.

/// What is done with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It chooses where or how to log in.
    Login,
    /// It is a setting of the session that the server understands; sent along under this name.
    Setting(&'static str),
    /// libpq knows it and its effect is nothing that this server needs: taken, without effect, when it has one of
    /// these values (any value where none are listed).
    Indifferent(&'static [&'static str]),
    /// libpq knows it and this server cannot do what it asks; the remedy.
    Unsupported(&'static str),
}

/// Words that [`super::dsn::Dsn`] reads.
const LOGIN: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "application_name",
    "fallback_application_name",
    "options",
    "target_session_attrs",
    "client_encoding",
];

/// Settings of a session that may stand in a connection string. Those that change how values are written on the wire
/// are not among them: this server relies on its own.
const SETTINGS: &[&str] = &[
    "TimeZone",
    "search_path",
    "role",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "synchronous_commit",
    "work_mem",
    "maintenance_work_mem",
    "temp_buffers",
    "default_tablespace",
    "temp_tablespaces",
    "default_transaction_isolation",
    "client_min_messages",
    "log_min_duration_statement",
    "lc_messages",
    "jit",
    "random_page_cost",
    "effective_cache_size",
    "effective_io_concurrency",
    "max_parallel_workers_per_gather",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
];

const INDIFFERENT: &[(&str, &[&str])] = &[
    ("gssencmode", &["disable", "prefer"]),
    ("channel_binding", &["disable", "prefer"]),
    ("sslcompression", &["0"]),
    ("sslsni", &["1"]),
    ("ssl_min_protocol_version", &["TLSv1.2", "TLSv1.1", "TLSv1"]),
    ("load_balance_hosts", &["disable"]),
    ("keepalives", &[]),
    ("keepalives_idle", &[]),
    ("keepalives_interval", &[]),
    ("keepalives_count", &[]),
];

const UNSUPPORTED: &[(&str, &str)] = &[
    ("hostaddr", "write the address as host"),
    ("service", "write the settings of the service into the DSN"),
    ("servicefile", "write the settings of the service into the DSN"),
    ("passfile", "write the password into the DSN, and read the DSN from a file with DB_DSN_FILE"),
    ("sslpassword", "use a key file without a passphrase"),
    ("sslcrl", "remove it"),
    ("sslcrldir", "remove it"),
    ("ssl_max_protocol_version", "remove it"),
    ("requirepeer", "remove it"),
    ("require_auth", "remove it"),
    ("krbsrvname", "log in with a password or a client certificate"),
    ("gsslib", "log in with a password or a client certificate"),
    ("requiressl", "write sslmode=require"),
    ("replication", "remove it"),
];

/// What is done with `key`; none where nobody knows it. A name with a dot is a setting of an extension.
pub(super) fn meaning(key: &str) -> Option<Word> {
    if LOGIN.contains(&key) {
        return Some(Word::Login);
    }
    if let Some(name) = SETTINGS.iter().find(|name| name.eq_ignore_ascii_case(key)) {
        return Some(Word::Setting(name));
    }
    if let Some((_, values)) = INDIFFERENT.iter().find(|(name, _)| *name == key) {
        return Some(Word::Indifferent(values));
    }
    UNSUPPORTED.iter().find(|(name, _)| *name == key).map(|(_, remedy)| Word::Unsupported(remedy))
}

/// The known word that `key` is probably a misspelling of: at most half of its letters away, and at most three.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    const ALIASES: &[(&str, &str)] = &[
        ("database", "dbname"),
        ("db", "dbname"),
        ("username", "user"),
        ("server", "host"),
        ("pass", "password"),
        ("pwd", "password"),
        ("timeout", "connect_timeout"),
        ("ssl", "sslmode"),
        ("schema", "search_path"),
    ];
    let lower = key.to_ascii_lowercase();
    if let Some((_, meant)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
        return Some(meant);
    }
    let known = LOGIN.iter().chain(SETTINGS).copied().chain(INDIFFERENT.iter().map(|(name, _)| *name));
    let scored = known.map(|name| (edits(&lower, &name.to_ascii_lowercase()), name));
    let allowed = (key.len() / 2).clamp(1, 3);
    scored.filter(|(edits, _)| *edits <= allowed).min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// Levenshtein distance in bytes.
fn edits(left: &str, right: &str) -> usize {
    strsim::generic_levenshtein(&left.as_bytes().to_vec(), &right.as_bytes().to_vec())
}
