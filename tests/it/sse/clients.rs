//! The official client of 2024-11-05, unchanged, when the node of its stream dies.

use std::process::Command;

use crate::official_clients::{clients, installed};
use crate::support::cluster::Cluster;
use crate::support::process::{Process, eventually};
use crate::support::redis::Reply;

const KEY: &str = "3f1c0a77d2be4e5f9a6b8c0d1e2f3a4b5c6d7e8f";

/// It never reconnects by itself but for its `EventSource`, which opens the URL again that it was given.
async fn typescript_calls_on_when_the_node_of_its_stream_dies(setting: &str, path: &str, session: &str) {
    let cluster = Cluster::with(3, &[(setting, "true")]).await;
    let balancer = cluster.balancer().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(installed("node_modules/.bin/node"));
    command
        .current_dir(clients())
        .arg("ts_sse.mjs")
        .arg(format!("{}{path}", balancer.url()))
        .arg(dir.path())
        .arg(session);
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
        let node = eventually("a living node holds the stream", || holder(&cluster)).await;
        cluster.node(node).kill9().await;
        std::fs::write(dir.path().join(round.to_string()), "").expect("the client can be told");
        says(&format!("round {round}")).await;
    }
}

/// Which of the living nodes holds a stream of HTTP+SSE.
async fn holder(cluster: &Cluster) -> Option<usize> {
    let mut holders = Vec::new();
    for session in cluster.redis().keys("session:*").await {
        let holder = cluster.redis().command(&["HGET", &session, "attach:sse"]).await;
        if let Reply::Text(holder) = holder {
            holders.push(holder);
        }
    }
    let mut nodes = cluster.nodes().iter();
    nodes.position(|node| {
        let name = format!("{}/", node.id());
        !node.ended() && holders.iter().any(|holder| holder.starts_with(&name))
    })
}

/// Its stream is on a node that dies, and its very next call succeeds, in the same session: twice, until one
/// node is left.
#[tokio::test]
async fn typescript_finds_its_session_again_with_a_key_of_its_own() {
    let path = format!("/sse?sessionId={KEY}");
    typescript_calls_on_when_the_node_of_its_stream_dies("MCP_SSE__CLIENT_KEYS", &path, "kept").await;
}

/// The same at the plain URL, in a new session each time.
#[tokio::test]
async fn typescript_is_served_in_a_new_session_that_it_does_not_initialize() {
    typescript_calls_on_when_the_node_of_its_stream_dies("MCP_SSE__CONTINUE", "/sse", "new").await;
}
