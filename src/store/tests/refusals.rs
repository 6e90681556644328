//! What the store makes of each code that a database refuses with: whether the same commit is tried again until the
//! database takes it, or what it refuses goes into a dead letter.

use std::borrow::Cow;
use std::fmt;

use sqlx::AssertSqlSafe;
use sqlx::error::{DatabaseError, ErrorKind};

use super::home::{Home, on_both, run};
use super::{TENANT, at, table, tamper};
use crate::fault::Kind;
use crate::model::node::NodeKind;
use crate::model::tenant::TenantId;
use crate::store::error::Error;
use crate::store::options::Database;
use crate::store::rows::Commit;

/// What becomes of a commit that is refused with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The database is away, full or busy: tried again, and told as unavailable.
    Again,
    /// A question ran out of its time; a commit is tried again.
    Late,
    /// Nothing that passes by itself, and nothing of the data: tried again, and told as an error for somebody to mend.
    Mended,
    /// The data is refused: it goes into a dead letter, and what came beside it is stored.
    Letter,
}

impl Fate {
    fn of(error: &Error) -> Self {
        match error.kind() {
            _ if error.is_of_data() => Self::Letter,
            Kind::Unavailable => Self::Again,
            Kind::TimedOut => Self::Late,
            Kind::Internal => Self::Mended,
            other => panic!("{other:?}: {error}"),
        }
    }
}

use Fate::{Again, Late, Letter, Mended};

/// SQLSTATEs (Postgres documentation, appendix A).
const POSTGRES: &[(&str, &str, Fate)] = &[
    ("08000", "connection_exception", Again),
    ("08003", "connection_does_not_exist", Again),
    ("08006", "connection_failure", Again),
    ("08P01", "protocol_violation", Again),
    ("0A000", "feature_not_supported", Mended),
    ("21000", "cardinality_violation", Mended),
    ("22001", "string_data_right_truncation", Letter),
    ("22003", "numeric_value_out_of_range", Letter),
    ("22021", "character_not_in_repertoire", Letter),
    ("22P02", "invalid_text_representation", Letter),
    ("22P03", "invalid_binary_representation", Letter),
    ("22P05", "untranslatable_character", Letter),
    ("23502", "not_null_violation", Letter),
    ("23503", "foreign_key_violation", Letter),
    ("23505", "unique_violation", Letter),
    // A row for which there is no partition says this as well.
    ("23514", "check_violation", Mended),
    ("25001", "active_sql_transaction", Mended),
    ("25006", "read_only_sql_transaction", Again),
    ("25P02", "in_failed_sql_transaction", Mended),
    ("25P03", "idle_in_transaction_session_timeout", Again),
    ("25P04", "transaction_timeout", Again),
    ("28000", "invalid_authorization_specification", Mended),
    ("28P01", "invalid_password", Mended),
    ("3D000", "invalid_catalog_name", Mended),
    ("40001", "serialization_failure", Again),
    ("40003", "statement_completion_unknown", Again),
    ("40P01", "deadlock_detected", Again),
    ("42501", "insufficient_privilege", Mended),
    ("42601", "syntax_error", Mended),
    ("42703", "undefined_column", Mended),
    ("42P01", "undefined_table", Mended),
    ("53000", "insufficient_resources", Again),
    ("53100", "disk_full", Again),
    ("53200", "out_of_memory", Again),
    ("53300", "too_many_connections", Again),
    ("53400", "configuration_limit_exceeded", Again),
    ("54000", "program_limit_exceeded", Letter),
    ("54001", "statement_too_complex", Letter),
    ("55006", "object_in_use", Mended),
    ("55P03", "lock_not_available", Again),
    ("57014", "query_canceled", Late),
    ("57P01", "admin_shutdown", Again),
    ("57P02", "crash_shutdown", Again),
    ("57P03", "cannot_connect_now", Again),
    ("57P04", "database_dropped", Mended),
    ("57P05", "idle_session_timeout", Again),
    ("58000", "system_error", Again),
    ("58030", "io_error", Again),
    ("58P01", "undefined_file", Again),
    ("P0001", "raise_exception, as a trigger does", Letter),
    // A quota of the file system is told so: only of a full disk Postgres says that it is full.
    ("XX000", "internal_error", Mended),
    ("XX001", "data_corrupted", Mended),
    ("XX002", "index_corrupted", Mended),
];

/// Result codes (<https://www.sqlite.org/rescode.html>), extended ones among them.
const SQLITE: &[(u32, &str, Fate)] = &[
    (1, "ERROR", Mended),
    (2, "INTERNAL", Mended),
    (3, "PERM", Again),
    (4, "ABORT", Mended),
    (5, "BUSY", Again),
    (261, "BUSY_RECOVERY", Again),
    (517, "BUSY_SNAPSHOT", Again),
    (6, "LOCKED", Again),
    (262, "LOCKED_SHAREDCACHE", Again),
    (7, "NOMEM", Again),
    (8, "READONLY", Again),
    (1032, "READONLY_DBMOVED", Again),
    (9, "INTERRUPT", Late),
    (10, "IOERR", Again),
    // A quota says so, where a full disk says FULL.
    (778, "IOERR_WRITE", Again),
    (1034, "IOERR_FSYNC", Again),
    (4874, "IOERR_SHMSIZE", Again),
    (11, "CORRUPT", Mended),
    (779, "CORRUPT_INDEX", Mended),
    (13, "FULL", Again),
    (14, "CANTOPEN", Again),
    (15, "PROTOCOL", Again),
    (17, "SCHEMA", Mended),
    (18, "TOOBIG", Letter),
    (19, "CONSTRAINT", Letter),
    (1299, "CONSTRAINT_NOTNULL", Letter),
    (1555, "CONSTRAINT_PRIMARYKEY", Letter),
    (2067, "CONSTRAINT_UNIQUE", Letter),
    (3091, "CONSTRAINT_DATATYPE", Letter),
    (20, "MISMATCH", Letter),
    (21, "MISUSE", Mended),
    (22, "NOLFS", Mended),
    (25, "RANGE", Mended),
    (26, "NOTADB", Mended),
];

/// A refusal of SQLite.
#[derive(Debug)]
struct Refusal(u32);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.0)
    }
}

impl std::error::Error for Refusal {}

impl DatabaseError for Refusal {
    fn message(&self) -> &str {
        "refused"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[test]
fn f6_each_code_of_sqlite_has_its_fate() {
    for (code, name, fate) in SQLITE {
        let error = Error::from(sqlx::Error::Database(Box::new(Refusal(*code))));
        assert_eq!(Fate::of(&error), *fate, "{code} {name}: {error}");
    }
}

/// A real Postgres says each of them.
#[test]
fn f6_each_code_of_postgres_has_its_fate() {
    run(async {
        let home = Home::postgres();
        let Database::Postgres(login) = home.options().database else { unreachable!() };
        let mut connection = login.connect().await.unwrap();
        for (code, name, fate) in POSTGRES {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '{code}'; END $$");
            let raised = sqlx::raw_sql(AssertSqlSafe(raise)).execute(&mut connection).await.unwrap_err();
            let said = raised.as_database_error().and_then(|error| error.code());
            assert_eq!(said.as_deref(), Some(*code), "{name}");
            let error = Error::from(raised);
            assert_eq!(Fate::of(&error), *fate, "{code} {name}: {error}");
        }
    });
}

/// What the library makes of an answer is not what the database says of data.
#[test]
fn f6_f9_an_answer_that_cannot_be_read_is_no_refusal_of_data() {
    let unread = |error: sqlx::Error| Fate::of(&Error::from(error));
    assert_eq!(unread(sqlx::Error::RowNotFound), Mended);
    assert_eq!(unread(sqlx::Error::ColumnIndexOutOfBounds { index: 2, len: 1 }), Mended);
    assert_eq!(unread(sqlx::Error::Decode("short".into())), Mended);
    assert_eq!(unread(sqlx::Error::Protocol("no answer".into())), Again);
    assert_eq!(unread(sqlx::Error::Encode("too long".into())), Letter);
}

/// Its id is handed out: were it left out without a word, rows would refer to nothing.
#[test]
fn an_entry_whose_name_has_another_id_is_refused() {
    on_both(async |home: Home| {
        let store = home.open().await;
        assert_eq!(store.names().tenant(&TenantId::try_from("acme").unwrap()), TENANT);
        store.names().service(TENANT, NodeKind::Service, "shop", at(0));
        let options = home.options();
        let other = "INSERT INTO services (id, tenant_id, kind, name, first_seen, last_day) \
                     VALUES (9, 1, 0, 'shop', 0, 0)";
        tamper(&options, other).await;
        let error = store.commit(Commit { lsn: 1, ..Commit::default() }).await.unwrap_err();
        assert_eq!(Fate::of(&error), Letter, "{error:?}");
        // One whose id is there is left as it is.
        tamper(&options, "UPDATE services SET id = 1, name = 'kept'").await;
        store.commit(Commit { lsn: 1, ..Commit::default() }).await.unwrap();
        assert_eq!(table(&store, "SELECT name FROM services").await, ["kept"]);
    });
}
