//! The official client of 2024-11-05, unchanged, at a URL with a key of its own.

use std::process::Command;

use crate::official_clients::{clients, installed};
use crate::support::cluster::Cluster;
use crate::support::process::{Process, eventually};

const KEY: &str = "3f1c0a77d2be4e5f9a6b8c0d1e2f3a4b5c6d7e8f";

/// Its stream is on a node that dies, and its very next call succeeds: twice, until one node is left.
#[tokio::test]
async fn typescript_finds_its_session_again_when_the_node_of_its_stream_dies() {
    let cluster = Cluster::with(3, &[("MCP_SSE__CLIENT_KEYS", "true")]).await;
    let balancer = cluster.balancer().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(installed("node_modules/.bin/node"));
    command
        .current_dir(clients())
        .arg("ts_sse_key.mjs")
        .arg(format!("{}/sse?sessionId={KEY}", balancer.url()))
        .arg(dir.path());
    let log = dir.path().join("log");
    let client = std::sync::Mutex::new(Process::spawn(command, &log, "run `make setup`"));
    let says = async |line: &str| {
        eventually(line, || async {
            let mut client = client.lock().expect("no other test has it");
            let log = client.log();
            let said = log.lines().any(|said| said == line);
            assert!(said || client.ended().is_none(), "the client ended:\n{log}");
            said.then_some(())
        })
        .await;
    };
    says("ready").await;
    for round in 0..2 {
        let session = format!("session:{KEY}");
        let holder = cluster.redis().command(&["HGET", &session, "attach:sse"]).await;
        let holder = holder.text();
        let node = cluster
            .nodes()
            .iter()
            .find(|node| holder.starts_with(&format!("{}/", node.id())));
        node.unwrap_or_else(|| panic!("no node holds the stream: {holder}"))
            .kill9()
            .await;
        std::fs::write(dir.path().join(round.to_string()), "").expect("the client can be told");
        says(&format!("round {round}")).await;
    }
}
