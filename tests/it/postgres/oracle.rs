//! Everything that was sent against everything that is stored: each span, log record and point is there, once and as it was.

use loadsim::oracle::check::{self, Stored};

use super::load::{Ledgers, TENANT};
use crate::server::Server;

/// Checks what the data of a stopped server holds of the loads.
///
/// Requests that nobody answered were sent again: for log records and points, which have no ids, as many copies may be there
/// as tries were made.
pub(super) async fn check(server: &Server, ledgers: &Ledgers) {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Vec::new();
    for signal in ["traces", "logs", "metrics"] {
        let path = folder.path().join(format!("{signal}.jsonl"));
        let output = path.to_str().unwrap();
        let (ok, said) =
            server.command(&["export", "--signal", signal, "--tenant", TENANT, "--output", output]).await;
        assert!(ok, "{said}");
        stored.push(Stored { tenant: TENANT.into(), path });
    }
    let verdict = tokio::task::block_in_place(|| check::check(&ledgers.paths, &stored)).unwrap();
    let text = verdict.text();
    assert!(verdict.is_clean(), "{text}");
    for findings in [&verdict.spans, &verdict.logs, &verdict.points] {
        assert!(0 < findings.acknowledged && findings.acknowledged <= findings.stored, "{text}");
    }
    println!("{text}");
}
