//! What a database must be like for the store to open it.

use std::sync::Arc;

use super::home::run;
use super::server::Server;
use crate::fault::Kind;
use crate::store::Store;
use crate::store::examine::Obstacle;
use crate::store::options::{Database, Options};
use crate::store::postgres::login::Login;

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
