//! `protocol.revisions`: what is not served is negotiated away, or refused with those that are.

use super::*;
use crate::support::http::http_client;

async fn serving(revisions: &str) -> Node {
    Node::start(&NodeOptions::default().env("MCP_PROTOCOL__REVISIONS", revisions)).await
}

#[tokio::test]
async fn without_the_modern_revision_clients_that_know_it_are_told_what_is_served() {
    let node = serving("2025-06-18,2025-11-25").await;
    let refused = Client::modern(&node.url())
        .request("server/discover", json!({}))
        .await;
    assert_eq!((refused.status, refused.code()), (400, -32022));
    assert_eq!(
        refused.error()["data"]["supported"],
        json!(["2025-06-18", "2025-11-25"])
    );
    for (asked, agreed) in [("2025-06-18", "2025-06-18"), ("2024-11-05", "2025-11-25")] {
        let answer = Client::legacy(&node.url())
            .revision(asked)
            .initialize()
            .await
            .ok();
        assert_eq!(answer.result()["protocolVersion"], agreed, "asked for {asked}");
    }
    let client = Client::legacy(&node.url());
    client.call("echo", json!({"text": "a"})).await.ok();
    let session = client.session().await.to_owned();
    let older = Client::legacy(&node.url())
        .revision("2025-03-26")
        .in_session(&session);
    let refused = older.call("echo", json!({"text": "a"})).await;
    assert_eq!(refused.status, 400);
    let words = refused.error()["message"].as_str().unwrap_or_default();
    assert!(words.ends_with("one of 2025-06-18, 2025-11-25"), "{words}");
}

#[tokio::test]
async fn without_2024_11_05_its_transport_is_no_path() {
    let node = serving("2025-11-25").await;
    let http = http_client().build().expect("a client");
    let get = http
        .get(format!("{}/sse", node.url()))
        .header("accept", "text/event-stream");
    let post = http
        .post(format!("{}/messages?sessionId=a", node.url()))
        .json(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    for request in [get, post] {
        let answer = Answer::read(request.send().await.expect("an answer")).await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.error()["message"],
            "there is nothing at this path: MCP is at /mcp"
        );
    }
    let index = http.get(node.url()).send().await.expect("an answer");
    let index = index.text().await.expect("a text");
    assert!(!index.contains("2024-11-05") && !index.contains("sse"), "{index}");
}

#[tokio::test]
async fn with_the_modern_revision_alone_no_session_is_opened() {
    let node = serving("2026-07-28").await;
    let refused = Client::legacy(&node.url()).initialize().await;
    assert_eq!((refused.status, refused.code()), (400, -32022));
    assert_eq!(
        refused.error()["data"],
        json!({"supported": ["2026-07-28"], "requested": "2025-11-25"})
    );
    let found = Client::modern(&node.url())
        .request("server/discover", json!({}))
        .await
        .ok();
    assert_eq!(found.result()["supportedVersions"], json!(["2026-07-28"]));
}
