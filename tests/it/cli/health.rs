//! `mcp-server health`: one status line, and 0 or 1, which is all that container health checks may use.

use crate::support::node::{Node, NodeOptions};
use crate::support::process::{eventually, free_port};
use crate::support::program::Program;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_node_that_is_well_is_told_by_0() {
    let node = Node::start(&NodeOptions::default()).await;
    let port = node.port().to_string();
    let asked = Program::run(&["health"], &[("PORT", &port)]).await;
    assert_eq!(asked.ok(), "HTTP/1.1 200 OK\n");
    let everywhere = [("HOST", "0.0.0.0"), ("PORT", &*port)];
    Program::run(&["health"], &everywhere).await.ok();
    for path in ["", "/", "/health", "/livez", "/readyz"] {
        let url = format!("{}{path}", node.url());
        let asked = Program::run(&["health", "--url", &url], &[]).await;
        assert_eq!(asked.ok(), "HTTP/1.1 200 OK\n", "{url}");
    }
    let other = Program::run(&["health", "--url", &format!("{}/nothing", node.url())], &[]).await;
    assert_eq!(other.code, Some(1));
    assert_eq!(other.stdout, "HTTP/1.1 404 Not Found\n");
}

#[tokio::test]
async fn a_node_that_is_not_well_is_told_by_1() {
    let redis = Redis::start().await;
    let options = NodeOptions::on(redis.url()).env("MCP_STORE__OUTAGE_GRACE", "0s");
    let node = Node::start(&options).await;
    let port = node.port().to_string();
    let ask = async || Program::run(&["health"], &[("PORT", &port)]).await;
    ask().await.ok();
    redis.stop().await;
    let asked = eventually("the node is not well", || async {
        Some(ask().await).filter(|asked| asked.code != Some(0))
    })
    .await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert_eq!(asked.stdout, "HTTP/1.1 503 Service Unavailable\n");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_by_1_and_a_line() {
    let port = free_port().to_string();
    let line = Program::run(&["health"], &[("PORT", &port)]).await.one_line(1);
    for word in ["nobody listens", &*port, "Connection refused"] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    let line = Program::run(&["health", "--url", "https://host"], &[])
        .await
        .one_line(1);
    assert!(line.contains("--url: expected http://"), "{line}");
}
