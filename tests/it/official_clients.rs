//! The official clients and other popular ones, unchanged, against three nodes behind a balancer without
//! affinity.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::node::{Node, NodeOptions, example};
use crate::support::process::{Process, within};

const NODES: usize = 3;
/// Each takes some seconds; on a busy machine some more.
const CLIENT_PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn typescript_1_works_on_any_node() {
    typescript("ts_v1.mjs", "streamable").await;
}

#[tokio::test]
async fn typescript_1_works_on_any_node_over_http_with_sse() {
    typescript("ts_v1.mjs", "sse").await;
}

#[tokio::test]
async fn typescript_2_works_on_any_node_with_a_session() {
    typescript("ts_v2.mjs", "legacy").await;
}

#[tokio::test]
async fn typescript_2_finds_out_that_it_needs_no_session() {
    typescript("ts_v2.mjs", "auto").await;
}

#[tokio::test]
async fn typescript_2_works_on_any_node_without_a_session() {
    typescript("ts_v2.mjs", "modern").await;
}

/// Case `cancelled_call`: after a cancellation it is calm, and a change is told once.
#[tokio::test]
async fn typescript_1_is_calm_after_a_cancellation() {
    typescript("cancel.mjs", "v1").await;
}

/// Case `cancelled_call`: so is the newer line.
#[tokio::test]
async fn typescript_2_is_calm_after_a_cancellation() {
    typescript("cancel.mjs", "v2").await;
}

/// The same of the clients of Python.
#[tokio::test]
async fn python_1_is_calm_after_a_cancellation() {
    run(".venv/v1/bin/python", "cancel.py", "legacy").await;
}

/// And of their newer line.
#[tokio::test]
async fn python_2_is_calm_after_a_cancellation() {
    run(".venv/v2/bin/python", "cancel.py", "legacy").await;
}

#[tokio::test]
async fn python_1_works_on_any_node() {
    python("v1", "legacy").await;
}

#[tokio::test]
async fn python_2_works_on_any_node_with_a_session() {
    python("v2", "legacy").await;
}

#[tokio::test]
async fn python_2_finds_out_that_it_needs_no_session() {
    python("v2", "auto").await;
}

#[tokio::test]
async fn python_2_works_on_any_node_without_a_session() {
    python("v2", "modern").await;
}

/// The README's first example, in both eras.
#[tokio::test]
async fn fastmcp_works_with_the_first_example_of_the_readme() {
    for revisions in ["", "2025-11-25"] {
        let env = [("MCP_PROTOCOL__REVISIONS", revisions)];
        let cluster = Cluster::of_example("own_tools", NODES, &env).await;
        run_on(&cluster, ".venv/fastmcp/bin/python", "fastmcp_own.py", "auto").await;
    }
}

#[tokio::test]
async fn fastmcp_works_on_any_node() {
    run(".venv/fastmcp/bin/python", "fastmcp_client.py", "auto").await;
}

#[tokio::test]
async fn python_works_on_any_node_over_http_with_sse() {
    for line in ["v1", "v2"] {
        python(line, "sse").await;
    }
}

#[tokio::test]
async fn fastmcp_works_on_any_node_over_http_with_sse() {
    run(".venv/fastmcp/bin/python", "fastmcp_client.py", "sse").await;
}

/// Readers that end lines at each line end of Unicode get what was sent, over both transports.
#[tokio::test]
async fn python_1_is_told_every_line_end_as_it_was() {
    let cluster = Cluster::with(NODES, &[("MCP_CALL__REPLY", "sse")]).await;
    let balancer = cluster.balancer().await;
    let url = format!("{}/mcp", balancer.url());
    ends_well(".venv/v1/bin/python", &["line_ends.py", &url], "line ends").await;
}

/// The Inspector's command-line mode connects again for each command.
#[tokio::test]
async fn the_inspector_lists_and_calls_on_any_node() {
    let cluster = Cluster::of(NODES).await;
    let balancer = cluster.balancer().await;
    for path in ["mcp", "sse"] {
        let url = format!("{}/{path}", balancer.url());
        let listed = inspect(&url, &["--method", "tools/list"]).await;
        assert!(listed.contains("\"echo\""), "{path}: {listed}");
        let echo = [
            "--method",
            "tools/call",
            "--tool-name",
            "echo",
            "--tool-arg",
            "text=hello",
        ];
        let called = inspect(&url, &echo).await;
        assert!(called.contains("\"text\": \"hello\""), "{path}: {called}");
    }
    cluster.raised_no_alarm().await;
}

/// A19: the Inspector knows what strict clients refuse in a tool's schema, and finds none of it.
#[tokio::test]
async fn the_inspector_finds_schemas_that_every_client_takes() {
    for program in [
        Path::new(env!("CARGO_BIN_EXE_mcp-server")),
        &example("everything"),
    ] {
        let node = Node::start_program(program, &NodeOptions::default()).await;
        let strict = ["--method", "tools/list", "--strict"];
        let listed = inspect(&format!("{}/mcp", node.url()), &strict).await;
        assert!(listed.contains("\"inputSchema\""), "{listed}");
        for found in ["Suggestion:", "portability", "warning"] {
            let line = listed.lines().find(|line| line.contains(found));
            assert_eq!(line, None, "in\n{listed}");
        }
    }
}

/// What the Inspector prints.
async fn inspect(url: &str, arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(installed("node_modules/.bin/node"));
    command
        .arg(installed("node_modules/.bin/mcp-inspector"))
        .args(["--cli", url])
        .args(arguments)
        .env("HOME", dir.path());
    let mut inspector = Process::spawn(command, &dir.path().join("log"), "run `make setup`");
    let status = within(CLIENT_PATIENCE, "the end of the Inspector", || {
        std::future::ready(inspector.ended())
    })
    .await;
    assert!(status.success(), "{url}: {}", inspector.log());
    inspector.log()
}

async fn typescript(script: &str, mode: &str) {
    run("node_modules/.bin/node", script, mode).await;
}

async fn python(line: &str, mode: &str) {
    run(&format!(".venv/{line}/bin/python"), "python_client.py", mode).await;
}

/// Runs one client in one mode; each of its requests goes to another node.
async fn run(interpreter: &str, script: &str, mode: &str) {
    run_on(&Cluster::of(NODES).await, interpreter, script, mode).await;
}

async fn run_on(cluster: &Cluster, interpreter: &str, script: &str, mode: &str) {
    let balancer = cluster.balancer().await;
    let before = balancer.served().await;
    let url = format!("{}/mcp", balancer.url());
    ends_well(interpreter, &[script, &url, mode], "rounds").await;
    cluster.raised_no_alarm().await;
    for (node, (before, after)) in before.into_iter().zip(balancer.served().await).enumerate() {
        assert!(after > before, "node {node} served nothing");
    }
}

/// Runs a client's script, which ends well and says of how many things that it has done them.
pub(crate) async fn ends_well(interpreter: &str, arguments: &[&str], things: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(installed(interpreter));
    command.current_dir(clients()).args(arguments);
    let mut client = Process::spawn(command, &dir.path().join("log"), "run `make setup`");
    let what = format!("the end of {arguments:?}");
    let status = within(CLIENT_PATIENCE, &what, || std::future::ready(client.ended())).await;
    let log = client.log();
    assert!(status.success(), "{arguments:?} failed:\n{log}");
    let done = log
        .lines()
        .any(|line| line.starts_with("ok ") && line.ends_with(things));
    assert!(done, "{arguments:?} did not say that it is done:\n{log}");
}

/// The directory of the clients' scripts.
pub(crate) fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program that `make setup` installs for the clients.
pub(crate) fn installed(program: &str) -> PathBuf {
    let path = clients().join(program);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}
