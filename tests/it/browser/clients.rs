//! The official TypeScript clients in pages of two origins that may call, at three nodes behind a balancer, and what
//! a page of a third origin gets.

use serde_json::json;

use super::{ALLOWED_ORIGINS, Origins, client, run, steps};
use crate::support::cluster::Cluster;

const NODES: usize = 3;

#[tokio::test]
async fn typescript_1_works_in_pages_of_other_origins() {
    tour("v1", "streamable").await;
}

#[tokio::test]
async fn typescript_1_works_in_pages_of_other_origins_over_http_with_sse() {
    tour("v1", "sse").await;
}

#[tokio::test]
async fn typescript_2_works_in_pages_of_other_origins_with_a_session() {
    tour("v2", "legacy").await;
}

#[tokio::test]
async fn typescript_2_works_in_pages_of_other_origins_without_a_session() {
    tour("v2", "modern").await;
}

/// The client lists and calls tools, is told of progress and of a change, and its page answers what the server asks.
async fn tour(line: &str, mode: &str) {
    let origins = Origins::new();
    let cluster = Cluster::with(NODES, &[(ALLOWED_ORIGINS, &origins.allowed())]).await;
    let balancer = cluster.balancer().await;
    let before = balancer.served().await;
    for origin in [origins.loopback(), origins.allowed()] {
        let options = json!({"server": balancer.url(), "origin": origin, "client": client(line, mode)});
        let seen = run("tour", options).await;
        assert_eq!(seen["origin"], origin.as_str());
        let era = if mode == "modern" { "modern" } else { "legacy" };
        assert_eq!(seen["era"], era, "{origin}");
        assert_eq!(seen["server"], "anynode", "{origin}");
        // The page reads it from the answer's header.
        let has_session = ["streamable", "legacy"].contains(&mode);
        assert_eq!(seen["session"], has_session, "{origin}");
        let tools = seen["tools"].as_array().expect("a list of tools");
        for tool in ["echo", "countdown", "ask", "summarize"] {
            assert!(tools.contains(&json!(tool)), "{origin}: no {tool} in {tools:?}");
        }
        assert_eq!(seen["echoed"], "from a page", "{origin}");
        assert_eq!(seen["steps"], steps(3), "{origin}: a gap or a duplicate");
        assert_eq!(seen["progress"], true, "{origin}: the client tells of progress");
        assert_eq!(seen["counted"], 3, "{origin}");
        assert_eq!(seen["questions"], json!(["Which colour?"]), "{origin}");
        let answer = json!({"action": "accept", "answer": "blue"});
        assert_eq!(seen["answer"], answer, "{origin}");
        assert_eq!(seen["told"], true, "{origin}: of the change of another note");
        assert_eq!(seen["prompts"], 1, "{origin}");
        assert_eq!(seen["summary"], "The note says teal.", "{origin}");
    }
    for (node, (before, after)) in before.into_iter().zip(balancer.served().await).enumerate() {
        assert!(after > before, "node {node} served nothing");
    }
}

/// The browser gives it nothing to read, however it asks.
#[tokio::test]
async fn a_page_of_a_strange_origin_reads_nothing() {
    let origins = Origins::new();
    let cluster = Cluster::alone(&[(ALLOWED_ORIGINS, &origins.allowed())]).await;
    let server = cluster.node(0).url();
    let ask = async |origin: String| {
        let options = json!({"server": server, "origin": origin, "url": format!("{server}/mcp")});
        run("reach", options).await
    };
    let nothing =
        json!({"posted": "TypeError", "simple": "TypeError", "got": "TypeError", "stream": "closed"});
    assert_eq!(ask(origins.strange()).await, nothing);
    // The same of an origin that may call: what is refused there is refused in words.
    let read = json!({"posted": 200, "simple": 415, "got": 200, "stream": "opened"});
    assert_eq!(ask(origins.allowed()).await, read);
}
