use sqlx::Row;

use super::login::Login;
use crate::store::tests::server::Server;

#[tokio::test]
async fn the_options_open_connections() {
    let login = Login::parse(&Server::shared().database()).unwrap();
    let pool = sqlx::PgPool::connect_with(login.options().await.unwrap()).await.unwrap();
    let row = sqlx::query("SELECT current_database(), current_setting('application_name')")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(row.get::<String, _>(0).starts_with("otelcontext_"));
    assert_eq!(row.get::<String, _>(1), "otelcontext");
}
