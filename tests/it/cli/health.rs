//! `mcp-server health`: one line in words, and 0 or 1, which is all that container health checks may use.

use serde_json::Value;

use crate::support::node::{Node, NodeOptions};
use crate::support::process::{eventually, free_port};
use crate::support::program::Program;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_node_that_is_well_is_told_by_0() {
    let node = Node::start(&NodeOptions::default()).await;
    let port = node.port().to_string();
    let asked = Program::run(&["health"], &[("PORT", &port)]).await;
    assert_eq!(asked.ok(), "healthy\n");
    let everywhere = [("HOST", "0.0.0.0"), ("PORT", &*port)];
    Program::run(&["health"], &everywhere).await.ok();
    for (path, words) in [
        ("", "healthy"),
        ("/", "healthy"),
        ("/health", "healthy"),
        ("/livez", "HTTP 200 OK"),
        ("/readyz", "HTTP 200 OK"),
    ] {
        let url = format!("{}{path}", node.url());
        let asked = Program::run(&["health", "--url", &url], &[]).await;
        assert_eq!(asked.ok(), format!("{words}\n"), "{url}");
    }
    let asked = Program::run(&["health", "--json"], &[("PORT", &port)]).await.ok();
    let told: Value = serde_json::from_str(&asked).expect("JSON");
    assert_eq!(told["status"], "healthy");
    assert_eq!(told["nodeId"], node.id());
    let other = Program::run(&["health", "--url", &format!("{}/nothing", node.url())], &[]).await;
    assert_eq!(other.code, Some(1));
    assert_eq!(other.stdout, "HTTP 404 Not Found\n");
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
    assert!(
        asked.stdout.starts_with("unavailable: store out of reach for "),
        "{asked:?}"
    );
}

/// A11: a node without its store is degraded. The command names that, and does not fail.
#[tokio::test]
async fn what_is_wrong_is_said_in_words() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url())).await;
    let port = node.port().to_string();
    redis.stop().await;
    let line = eventually("the node is degraded", || async {
        let line = Program::run(&["health"], &[("PORT", &port)]).await.ok();
        (line != "healthy\n").then_some(line)
    })
    .await;
    let seconds = line.strip_prefix("degraded: store out of reach for ");
    let seconds = seconds.and_then(|rest| rest.strip_suffix(" s\n"));
    assert!(seconds.is_some_and(|s| s.parse::<u64>().is_ok()), "{line}");
    let asked = Program::run(&["health", "--json"], &[("PORT", &port)]).await.ok();
    let told: Value = serde_json::from_str(&asked).expect("JSON");
    assert_eq!(told["status"], "degraded");
    assert!(told["store"]["awaySeconds"].is_u64(), "{told}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_by_1_and_a_line() {
    let port = free_port().to_string();
    let line = Program::run(&["health"], &[("PORT", &port)]).await.one_line(1);
    for word in ["nothing listens", &*port, "Connection refused"] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    let problems = Program::run(&["health", "--json"], &[("PORT", &port)]).await;
    let problems = problems.problems(1);
    let words = problems[0]["message"].as_str().expect("words");
    assert!(words.contains("nothing listens"), "{words}");
    let line = Program::run(&["health", "--url", "ftp://host"], &[])
        .await
        .one_line(1);
    assert!(line.contains("--url: expected http://"), "{line}");
}
