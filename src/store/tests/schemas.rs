//! What a database must be like for the store to open it, and to go on with it.

use std::sync::Arc;

use super::home::{Home, on_both, run};
use super::server::Server;
use super::{span, tamper};
use crate::fault::Kind;
use crate::store::Store;
use crate::store::commit::Slot;
use crate::store::error::Error;
use crate::store::examine::Obstacle;
use crate::store::options::{Database, Options};
use crate::store::postgres::login::Login;
use crate::store::rows::{Commit, Committed};

fn database(dsn: &str) -> Database {
    Database::Postgres(Arc::new(Login::parse(dsn).unwrap()))
}

#[test]
fn a_database_of_another_encoding_is_refused_with_the_remedy() {
    run(async {
        let server = Server::shared();
        server.sql("postgres", "CREATE DATABASE latin OWNER otel ENCODING 'LATIN1' TEMPLATE template0");
        let latin = database(&server.dsn("latin"));
        let examined = Store::examine(&latin).await.unwrap();
        assert_eq!(examined.obstacles, [Obstacle::Encoding { found: "LATIN1".to_owned() }]);
        let refused = Store::open(Options::of(latin)).await.unwrap_err();
        assert!(refused.to_string().contains("TEMPLATE template0"), "{refused}");
        assert_eq!(refused.kind(), Kind::Internal);
    });
}

#[test]
fn migrations_of_another_program_in_a_later_schema_are_not_ours() {
    run(async {
        let server = Server::shared();
        let name = server.database_name();
        let theirs = "CREATE SCHEMA \"Mine\" AUTHORIZATION otel; CREATE SCHEMA theirs AUTHORIZATION otel; \
             CREATE TABLE theirs._sqlx_migrations (version bigint, success boolean); \
             INSERT INTO theirs._sqlx_migrations VALUES (9999, true)";
        server.sql(&name, theirs);
        let ours = database(&format!("{} search_path='\"Mine\",theirs'", server.dsn(&name)));
        let pending = Store::examine(&ours).await.unwrap().pending;
        assert!(pending > 0);
        // Made, and found again.
        for _ in 0..2 {
            Store::open(Options::of(ours.clone())).await.unwrap().stop().await;
        }
        let migrations = Store::migrations(&ours).await.unwrap();
        assert_eq!((migrations.len(), migrations.iter().all(|migration| migration.applied)), (pending, true));
        let nowhere = database(&format!("{} search_path=nowhere", server.dsn(&name)));
        assert!(Store::migrations(&nowhere).await.unwrap().iter().all(|migration| !migration.applied));
    });
}

#[test]
fn a_writer_that_lost_its_connection_does_not_go_on_over_a_newer_schema() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.commit(Commit { lsn: 1, ..Commit::default() }).await.unwrap();
        *store.inner.writer.lock().await = Slot::InDoubt { lsn: u64::MAX, committed: Committed::default() };
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of tomorrow', true, '', 0)";
        tamper(&home.options(), newer).await;
        let commit = || Commit { lsn: 2, spans: vec![span(1, 1)], ..Commit::default() };
        let refused = store.commit(commit()).await.unwrap_err();
        assert!(matches!(refused, Error::Newer { found: 9999, .. }), "{refused}");
        tamper(&home.options(), "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
        store.commit(commit()).await.unwrap();
    });
}
