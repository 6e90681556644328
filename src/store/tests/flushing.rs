//! A disk that does not keep what was written.

use super::home::{Home, run};
use super::{Commit, span};
use crate::store::error::Error;
use crate::store::options::Database;

/// Of a flush that failed Linux tells once, and forgets what was not written: the next one is a success of nothing.
#[test]
fn e4_after_a_flush_that_failed_nothing_is_called_safe() {
    run(async {
        let home = Home::sqlite();
        let store = home.open().await;
        store.commit(Commit { lsn: 7, spans: vec![span(1, 1)], ..Commit::default() }).await.unwrap();
        assert_eq!(store.sync().await.unwrap(), 7);
        let Database::Sqlite(file) = home.options().database else { unreachable!() };
        let log = file.path.with_extension("db-wal");
        let aside = file.path.with_extension("aside");
        std::fs::rename(&log, &aside).unwrap();
        // A file that is there and cannot be flushed.
        std::os::unix::fs::symlink("/dev/full", &log).unwrap();
        assert!(matches!(store.sync().await, Err(Error::NotFlushed)));
        std::fs::remove_file(&log).unwrap();
        std::fs::rename(&aside, &log).unwrap();
        assert!(matches!(store.sync().await, Err(Error::NotFlushed)), "the second try succeeds");
        let store = home.crash(store).await;
        assert_eq!((store.applied(), store.sync().await.unwrap()), (7, 7), "opened anew it is known again");
    });
}
