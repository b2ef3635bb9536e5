//! The file of the audit log: whose it is, how it is moved away, and what a disk that is full does: nothing to
//! clients.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{ALICE, Trail, read, with};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::process::{eventually, until};
use crate::support::program::Program;

/// What logrotate does: it renames the file, then sends SIGHUP.
#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_on_sighup() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let cluster = Cluster::alone(&trail.env(&path)).await;
    let alice = with(cluster.client(), ALICE);
    alice.session().await;
    trail.has("session_made", &[]).await;
    let mode = trail.path().metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it names principals");
    let moved = trail.path().with_extension("1");
    std::fs::rename(trail.path(), &moved).expect("it can be renamed");
    alice.call("echo", json!({"text": "x"})).await.ok();
    until("a line goes to the file that was moved", async || {
        std::fs::read_to_string(&moved)
            .expect("text")
            .contains("tool_called")
    })
    .await;
    cluster.node(0).hang_up();
    eventually("a new file is made", || async {
        alice.call("echo", json!({"text": "x"})).await.ok();
        trail.text().contains("tool_called").then_some(())
    })
    .await;
    let mode = trail.path().metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = read(&std::fs::read_to_string(&moved).expect("text"));
    assert!(lines.len() >= 2, "no line is lost: {lines:?}");
    assert!(!cluster.node(0).ended(), "SIGHUP does not end it");
    cluster.node(0).terminate();
    assert!(cluster.node(0).end().await.success());
}

/// A full disk loses lines. The log and the metrics tell it. Calls go on.
#[tokio::test]
async fn a_disk_that_is_full_stops_nobody() {
    let env = [("MCP_AUDIT__TO", "/dev/full"), ("MCP_AUTH__TOKENS__ALICE", ALICE)];
    let cluster = Cluster::alone(&env).await;
    let alice = with(cluster.client(), ALICE);
    for _ in 0..20 {
        alice.call("echo", json!({"text": "x"})).await.ok();
    }
    let node = cluster.node(0);
    until("lost lines are counted", async || {
        node.metric("anynode_audit_lines_dropped_total").await >= 20.0
    })
    .await;
    assert!(
        node.log().contains("the audit log cannot be written"),
        "{}",
        node.log()
    );
    cluster.node(0).terminate();
    assert!(cluster.node(0).end().await.success());
}

#[tokio::test]
async fn what_was_done_until_the_end_is_written() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let cluster = Cluster::alone(&trail.env(&path)).await;
    let alice = with(cluster.client(), ALICE);
    for _ in 0..50 {
        alice.call("echo", json!({"text": "x"})).await.ok();
    }
    cluster.node(0).terminate();
    assert!(cluster.node(0).end().await.success());
    assert_eq!(trail.count("tool_called"), 50);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_a_wrong_setting() {
    let nowhere = [("MCP_AUDIT__TO", "/nowhere/audit.jsonl"), ("PORT", "0")];
    for command in [&[][..], &["check"]] {
        let line = Program::run(command, &nowhere).await.one_line(78);
        assert!(
            line.contains("audit.to")
                && line.contains("/nowhere/audit.jsonl")
                && line.contains("No such file"),
            "{line}"
        );
    }
    let misspelt = [("MCP_AUDIT__TO", "stdot"), ("PORT", "0")];
    let line = Program::run(&[], &misspelt).await.one_line(78);
    assert!(line.contains("stdout"), "{line}");
}

#[tokio::test]
async fn standard_output_will_do() {
    let node = Program::serve(&[], &[("MCP_AUDIT__TO", "stdout")]).await;
    Client::legacy(&node.url()).session().await;
    eventually("a line is written", || async {
        let stdout = node.stdout();
        let line = stdout.lines().find(|line| line.contains("session_made"))?;
        Some(serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
    })
    .await;
}
