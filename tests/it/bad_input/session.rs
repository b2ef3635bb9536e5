//! Bad input in a session: what is refused, with which status, and what goes on beside it.

use serde_json::{Value, json};

use super::{node, node_with, refused};
use crate::support::client::Client;
use crate::support::node::Node;
use crate::support::process::until;

const KIB: usize = 1 << 10;

#[tokio::test]
async fn what_is_given_by_position_is_an_invalid_request() {
    let node = node().await;
    let client = Client::legacy(&node.url()).revision("2025-03-26");
    let headers = client.session_headers().await;
    let params = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo",{"text":"a"}]}"#;
    refused(&client.post(&headers, params).await, 400, -32600, "`params`");
    let message = r#"[["2.0",1,"tools/call",{"name":"echo","arguments":{"text":"a"}},null,null]]"#;
    let answer = client.post(&headers, message).await;
    let responses: Vec<Value> = serde_json::from_str(&answer.body).expect("an array of responses");
    assert_eq!(responses[0]["error"]["code"], -32600, "{}", answer.body);

    let modern = Client::modern(&node.url());
    let params = json!({"name": "echo", "arguments": {"text": "a"}});
    let (headers, mut body) = modern.message("tools/call", params, Some(json!(1))).await;
    body["params"] = json!([body["params"]["_meta"], "echo"]);
    refused(
        &modern.post(&headers, &body.to_string()).await,
        400,
        -32600,
        "`params`",
    );
}

#[tokio::test]
async fn a_notification_that_does_not_fit_is_refused_and_fails_no_batch() {
    let node = node().await;
    let client = Client::legacy(&node.url()).revision("2025-03-26");
    let progress = client
        .notify("notifications/progress", json!({"progress": "much"}))
        .await;
    refused(&progress, 400, -32602, "invalid params");
    let cancelled = client.notify("notifications/cancelled", json!({})).await;
    refused(&cancelled, 400, -32600, "requestId");

    let headers = client.session_headers().await;
    let body = json!([
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled"},
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
    ]);
    let answer = client.post(&headers, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        answer.messages,
        [json!([{"jsonrpc": "2.0", "id": 1, "result": {}}])]
    );
}

#[tokio::test]
async fn an_error_of_a_client_needs_no_id() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    let headers = client.session_headers().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}"#,
    ] {
        let answer = client.post(&headers, body).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_named() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for method in ["server/discover", "subscriptions/listen", "own/method"] {
        refused(&client.request(method, json!({})).await, 200, -32601, method);
    }
    // Its parameters are its own: it is not refused for what other methods mean by them.
    let params = json!({"name": 5, "uri": ["a"], "taskId": {"b": 1}});
    refused(
        &client.request("own/method", params).await,
        200,
        -32601,
        "own/method",
    );
}

/// A28: a method that was mistyped is answered with the one that was meant.
#[tokio::test]
async fn a_mistyped_method_is_answered_with_what_was_meant() {
    let node = node().await;
    let near = r#"unknown method "tools/cal", did you mean "tools/call"?"#;
    let legacy = Client::legacy(&node.url());
    refused(&legacy.request("tools/cal", json!({})).await, 200, -32601, near);
    let modern = Client::modern(&node.url());
    refused(&modern.request("tools/cal", json!({})).await, 404, -32601, near);
}

#[tokio::test]
async fn a_client_that_says_too_much_of_itself_is_refused() {
    let node = node().await;
    let saying = |bytes: usize| json!({"experimental": {"own": {"text": "x".repeat(bytes)}}});
    let (much, too_much) = (saying(60 * KIB), saying(64 * KIB));
    let legacy = Client::legacy(&node.url());
    // A session keeps less of its client than a request may bring.
    legacy.clone().capabilities(saying(3 * KIB)).list().await.ok();
    refused(
        &legacy.clone().capabilities(much.clone()).initialize().await,
        200,
        -32602,
        "4096 bytes",
    );
    let answer = legacy.capabilities(too_much.clone()).initialize().await;
    refused(&answer, 200, -32602, "65536 bytes");
    assert!(answer.header("mcp-session-id").is_none());
    let modern = Client::modern(&node.url());
    modern.clone().capabilities(much).list().await.ok();
    refused(
        &modern.capabilities(too_much).list().await,
        200,
        -32602,
        "65536 bytes",
    );
}

#[tokio::test]
async fn the_end_of_a_session_is_in_the_log_as_what_it_is() {
    let node: Node = node_with(&[("MCP_LOG__LEVEL", "debug"), ("MCP_LOG__FORMAT", "json")]).await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    client.delete().await;
    // A request is told of after its answer has gone.
    until("DELETE in the log", async || {
        node.log().contains(r#""method":"DELETE""#)
    })
    .await;
}
