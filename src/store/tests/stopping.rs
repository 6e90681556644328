//! What a stop leaves behind, also while a question does not end.

use std::time::Duration;

use super::home::{Home, beside, on_both};
use super::{call, count};
use crate::store::rows::Commit;

#[test]
fn a_stop_writes_the_open_minutes_before_it_waits_for_questions() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let commit = Commit { lsn: 1, cells: [call(1, 1, 5)].into_iter().collect(), ..Commit::default() };
        store.commit(commit).await.unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM open_minutes").await, 1);
        let question = store.reader().await.unwrap();
        let stopping = tokio::spawn({
            let store = store.clone();
            async move { store.stop().await }
        });
        let written = async { while open_minutes(&home).await > 0 {} };
        tokio::time::timeout(Duration::from_secs(60), written).await.unwrap();
        assert!(!stopping.is_finished());
        question.finish().await.unwrap();
        stopping.await.unwrap();
    });
}

async fn open_minutes(home: &Home) -> i64 {
    let mut connection = beside(&home.options()).await;
    let sql = connection.sql("SELECT count(*) FROM open_minutes");
    let open = connection.first(sql, |row| row.get::<i64>(0)).await.unwrap().unwrap();
    connection.close().await.unwrap();
    open
}
