//! What finds the log records of a trace.

use super::home::{Home, on_both};
use super::{TENANT, at, day, log, trace};
use crate::model::log::Severity;
use crate::model::time::Window;
use crate::model::trace_key::TraceKey;
use crate::store::commit::Slot;
use crate::store::partition::LOGS;
use crate::store::read::logs::LogAsk;
use crate::store::rows::{Commit, LogRow};

#[test]
fn log_records_are_found_by_their_trace_whichever_build_stored_them() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let other = LogRow { trace_id: Some(trace(2)), ..log(3) };
        // Seconds and hours apart.
        let late = LogRow { time: at(3 * 3_600), ..log(4) };
        let logs = vec![log(1), log(2), other, late];
        store.commit(Commit { lsn: 1, logs, ..Commit::default() }).await.unwrap();
        let key = TraceKey::new(log(2).time, TENANT, trace(1)).0;
        {
            let mut slot = store.inner.writing().await.unwrap();
            let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
            let table = LOGS.on(day());
            let sql = format!("UPDATE {table} SET trace_key = {key} WHERE id = 2");
            assert_eq!(writer.connection.execute(writer.connection.sql(sql)).await.unwrap(), 1);
        }
        let found = async |window: Window| {
            let ask = LogAsk {
                window,
                severity_min: Severity(0),
                services: Vec::new(),
                templates: Vec::new(),
                trace: Some(trace(1)),
                span: None,
                attributes: Vec::new(),
                before: None,
                limit: 10,
                with_detail: true,
            };
            let found = store.logs(TENANT, &ask).await.unwrap().items;
            found.into_iter().map(|found| found.row.time).collect::<Vec<_>>()
        };
        let all = [at(3 * 3_600), log(2).time, log(1).time];
        assert_eq!(found(Window::new(at(-86_400), at(86_400))).await, all);
        assert_eq!(found(Window::new(at(0), at(60))).await, all[1..]);
        assert_eq!(found(Window::new(at(0), log(2).time)).await, all[2..]);
    });
}
