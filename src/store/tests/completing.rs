//! Days that an earlier release made.

use super::home::{Home, run};
use super::{Commit, day, span, tamper};
use crate::store::Store;
use crate::store::commit::Slot;
use crate::store::partition::SPANS;

/// How many indexes there are of this name.
async fn indexes(store: &Store, name: &str) -> i64 {
    let mut slot = store.inner.writing().await.unwrap();
    let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
    let sql = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = '{name}'");
    writer.connection.first(writer.connection.sql(sql), |row| row.get(0)).await.unwrap().unwrap()
}

#[test]
fn days_of_an_earlier_release_get_the_indexes_that_this_one_asks_for() {
    run(async {
        let home = Home::sqlite();
        let store = home.open().await;
        store.commit(Commit { lsn: 1, spans: vec![span(1, 1)], ..Commit::default() }).await.unwrap();
        let index = format!("{}_long", SPANS.on(day()));
        assert_eq!(indexes(&store, &index).await, 1);
        store.stop().await;
        tamper(&home.options(), &format!("DROP INDEX {index}")).await;
        let store = home.open().await;
        assert_eq!(indexes(&store, &index).await, 1);
        let store = home.reopen(store).await;
        assert_eq!(indexes(&store, &index).await, 1, "what is there is not made again");
        store.commit(Commit { lsn: 2, spans: vec![span(2, 2)], ..Commit::default() }).await.unwrap();
    });
}
