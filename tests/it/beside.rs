//! Who looks into the database of a running server, as operators and their backups do, takes nothing from it.

use std::process::Command;

use serde_json::json;

use crate::client::{ask, export, request, rows, span};
use crate::server::Server;

const SERVER: i32 = 2;
/// Opens the database as who may write it, reads, and leaves.
const LOOK: &str = "
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=30)
print(base.execute('SELECT count(*) FROM spans').fetchone()[0])
base.close()
";

/// Spans of the database, as a program beside the server counts them.
fn seen_beside(server: &Server) -> String {
    let file = server.folder().join("data/otelcontext.db");
    let output = Command::new("python3").args(["-c", LOOK]).arg(file).output();
    let output = output.expect("python3 runs: apt-get install -y python3 (or .ci/setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_database_leaves_the_log_to_the_server() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let log = server.folder().join("data/otelcontext.db-wal");
    for round in 1..=3_u8 {
        export(&server, "shop", &request("orders", vec![span(round, 1, None, "GET /orders", SERVER)])).await;
        server.settled().await;
        // A note is answered once it is on the disk, so that everything is.
        ask(&server, "shop", "investigation", json!({"action": "write", "title": "orders", "text": "seen"}))
            .await;
        let seen = tokio::task::block_in_place(|| seen_beside(&server));
        assert_eq!(seen, round.to_string(), "{}", server.log());
        assert!(log.exists(), "the log of a running server was removed");
    }
    let (server, _) = server.crash_and_restart().await;
    let found = ask(&server, "shop", "search_traces", json!({"since": "3650d"})).await;
    assert_eq!(rows(&found, "traces").len(), 3, "{found}");
}
