//! Every row of the status table that belongs to `/mcp`: the bad input goes over a socket, and status, code
//! and words come back.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};
use crate::support::redis::Redis;

mod echoes;
mod modern;
mod session;

async fn node() -> Node {
    Node::start(&NodeOptions::default()).await
}

async fn node_with(env: &[(&str, &str)]) -> Node {
    let options = env.iter().fold(NodeOptions::default(), |options, (name, value)| {
        options.env(name, *value)
    });
    Node::start(&options).await
}

/// Holds an answer against its row: a JSON-RPC error as JSON, with this status and code, whose message has
/// the words.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: i64, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{}",
        answer.body
    );
    assert_eq!(answer.code(), code, "{}", answer.body);
    let message = answer.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "expected {words:?} in {message:?}");
    assert_eq!(answer.response()["jsonrpc"], "2.0");
}

fn ping() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string()
}

#[tokio::test]
async fn what_is_not_json_is_a_parse_error() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for body in ["", "{", "hello", "{\"jsonrpc\":\"2.0\",", "\u{1}"] {
        refused(&client.post(&[], body).await, 400, -32700, "not JSON");
    }
}

#[tokio::test]
async fn json_that_is_no_message_is_an_invalid_request() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for body in [
        "1",
        "{}",
        "[]",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
    ] {
        refused(&client.post(&[], body).await, 400, -32600, "JSON-RPC 2.0 message");
    }
}

#[tokio::test]
async fn batches_are_only_for_sessions_of_2025_03_26() {
    let node = node().await;
    let body = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": "two", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "b"}}},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {}},
        5,
    ])
    .to_string();
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = Client::legacy(&node.url()).revision(revision);
        let headers = client.session_headers().await;
        refused(&client.post(&headers, &body).await, 400, -32600, "2025-03-26");
    }
    let client = Client::legacy(&node.url()).revision("2025-03-26");
    let headers = client.session_headers().await;
    let answer = client.post(&headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let responses: Vec<Value> = serde_json::from_str(&answer.body).expect("an array of responses");
    assert_eq!(responses.len(), 4, "{}", answer.body);
    assert_eq!(responses[0], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    assert_eq!(responses[1]["id"], "two");
    assert_eq!(responses[1]["result"]["structuredContent"]["text"], "b");
    assert_eq!(responses[2]["error"]["code"], -32600);
    assert_eq!(responses[3]["error"]["code"], -32600);
    let only_notifications = r#"[{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}]"#;
    assert_eq!(client.post(&headers, only_notifications).await.status, 202);
    refused(&client.post(&headers, "[]").await, 400, -32600, "at least one");
}

#[tokio::test]
async fn an_unknown_version_header_is_named() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    let session = client.session().await.to_owned();
    for version in ["1999-01-01", "2031-01-01", "latest"] {
        let headers = [
            ("mcp-session-id".to_owned(), session.clone()),
            ("mcp-protocol-version".to_owned(), version.to_owned()),
        ];
        refused(
            &client.post(&headers, &ping()).await,
            400,
            -32600,
            "MCP-Protocol-Version",
        );
    }
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let headers = [
            ("mcp-session-id".to_owned(), session.clone()),
            ("mcp-protocol-version".to_owned(), version.to_owned()),
        ];
        assert_eq!(client.post(&headers, &ping()).await.status, 200, "{version}");
    }
}

#[tokio::test]
async fn a_request_outside_any_session_is_told_to_open_one() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    refused(&client.post(&[], &ping()).await, 400, -32600, "Mcp-Session-Id");
    assert_eq!(client.post(&[], &ping()).await.response()["id"], 1);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    refused(
        &client.post(&[], notification).await,
        400,
        -32600,
        "Mcp-Session-Id",
    );
}

#[tokio::test]
async fn a_session_that_is_unknown_or_ended_is_not_found() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for id in ["6b2a6cbe-0f5f-4f0c-9a39-9f3f5e7f0d55", "x", "{session:1}", "a b"] {
        let headers = [("mcp-session-id".to_owned(), id.to_owned())];
        refused(
            &client.post(&headers, &ping()).await,
            404,
            -32001,
            "Session not found",
        );
    }
    client.list().await.ok();
    let deleted = client.delete().await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    refused(&client.list().await, 404, -32001, "Session not found");
    refused(&client.delete().await, 404, -32001, "Session not found");
    refused(
        &client.notify("notifications/initialized", json!({})).await,
        404,
        -32001,
        "Session not found",
    );
}

#[tokio::test]
async fn a_session_that_expired_is_not_found() {
    let node = node_with(&[
        ("MCP_SESSION__TTL", "400ms"),
        ("MCP_SESSION__UNINITIALIZED_TTL", "200ms"),
    ])
    .await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    refused(&client.list().await, 404, -32001, "Session not found");

    let half_open = client.initialize().await.ok();
    let id = half_open
        .header("mcp-session-id")
        .expect("a session id")
        .to_owned();
    let half_open = Client::legacy(&node.url()).in_session(&id);
    half_open.list().await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    refused(&half_open.list().await, 404, -32001, "Session not found");
}

#[tokio::test]
async fn a_session_lives_on_while_it_is_used_but_never_past_its_lifetime() {
    let node = node_with(&[
        ("MCP_SESSION__TTL", "1s"),
        ("MCP_SESSION__UNINITIALIZED_TTL", "1s"),
        ("MCP_SESSION__LIFETIME", "3s"),
    ])
    .await;
    let client = Client::legacy(&node.url());
    let began = tokio::time::Instant::now();
    client.list().await.ok();
    while began.elapsed() < std::time::Duration::from_millis(2200) {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        client.list().await.ok();
    }
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    while began.elapsed() < std::time::Duration::from_millis(3100) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    refused(&client.list().await, 404, -32001, "Session not found");
}

#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let node = node_with(&[
        ("MCP_AUTH__TOKENS__ALICE", "alices-token-0123456789"),
        ("MCP_AUTH__TOKENS__BOB", "bobs-token-0123456789"),
    ])
    .await;
    let alice = Client::legacy(&node.url()).header("authorization", "Bearer alices-token-0123456789");
    let session = alice.session().await.to_owned();
    alice.list().await.ok();
    let bob = Client::legacy(&node.url())
        .header("authorization", "Bearer bobs-token-0123456789")
        .in_session(&session);
    refused(&bob.list().await, 404, -32001, "Session not found");
    refused(&bob.delete().await, 404, -32001, "Session not found");
    alice.list().await.ok();
}

#[tokio::test]
async fn accept_must_take_a_form_that_answers_have() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for accept in [
        "text/event-stream",
        "text/html",
        "*/*;q=0",
        "*/*, application/json;q=0",
    ] {
        let mut headers = client.session_headers().await;
        headers.push(("accept".into(), accept.into()));
        refused(&client.post(&headers, &ping()).await, 406, -32000, "Accept");
    }
    for accept in [
        "*/*",
        "application/json",
        "text/event-stream;q=0.5, application/json",
    ] {
        let mut headers = client.session_headers().await;
        headers.push(("accept".into(), accept.into()));
        assert_eq!(client.post(&headers, &ping()).await.status, 200, "{accept}");
    }
}

#[tokio::test]
async fn a_body_must_be_said_to_be_json() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let headers = [("content-type".to_owned(), kind.to_owned())];
        refused(
            &client.post(&headers, &ping()).await,
            415,
            -32000,
            "application/json",
        );
    }
}

#[tokio::test]
async fn a_body_over_the_bound_is_too_large() {
    let node = node_with(&[("MCP_HTTP__BODY_BYTES_MAX", "2KiB")]).await;
    let client = Client::legacy(&node.url());
    refused(
        &client.call("echo", json!({"text": "x".repeat(3000)})).await,
        413,
        -32000,
        "2048 bytes",
    );
    client.call("echo", json!({"text": "x".repeat(1000)})).await.ok();
    // Without a length, the bound is found out while reading.
    let chunks = futures::stream::iter((0..8).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024))));
    let streamed = http_client()
        .build()
        .expect("a client")
        .post(format!("{}/mcp", node.url()))
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
        .expect("an answer");
    refused(&Answer::read(streamed).await, 413, -32000, "2048 bytes");
}

#[tokio::test]
async fn a_strange_host_or_origin_is_forbidden() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    let with = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
    refused(
        &client.post(&with("host", "evil.example.com"), &ping()).await,
        403,
        -32000,
        "http.allowed_hosts",
    );
    refused(
        &client
            .post(&with("origin", "http://evil.example.com"), &ping())
            .await,
        403,
        -32000,
        "allowed_origins",
    );
    refused(
        &client.post(&with("origin", "null"), &ping()).await,
        403,
        -32000,
        "allowed_origins",
    );
    let local = [("origin".to_owned(), format!("http://127.0.0.1:{}", node.port()))];
    refused(&client.post(&local, &ping()).await, 400, -32600, "Mcp-Session-Id");
    let listed = node_with(&[
        ("MCP_HTTP__ALLOWED_HOSTS", "mcp.example.com"),
        ("MCP_HTTP__ALLOWED_ORIGINS", "https://app.example.com"),
    ])
    .await;
    let client = Client::legacy(&listed.url());
    refused(
        &client.post(&with("host", "mcp.example.com"), &ping()).await,
        400,
        -32600,
        "Mcp-Session-Id",
    );
    refused(
        &client
            .post(&with("origin", "https://app.example.com"), &ping())
            .await,
        400,
        -32600,
        "Mcp-Session-Id",
    );
}

#[tokio::test]
async fn missing_or_bad_credentials_are_asked_for() {
    let node = node_with(&[("MCP_AUTH__TOKENS__ALICE", "alices-token-0123456789")]).await;
    for client in [
        Client::legacy(&node.url()),
        Client::legacy(&node.url()).header("authorization", "Bearer wrong"),
        Client::legacy(&node.url()).header("authorization", "Basic YWxpY2U6eA=="),
    ] {
        let answer = client.initialize().await;
        refused(&answer, 401, -32000, "Authorization: Bearer");
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer"))
        );
    }
    Client::legacy(&node.url())
        .header("authorization", "Bearer alices-token-0123456789")
        .list()
        .await
        .ok();
    assert!(!node.log().contains("alices-token"), "a token is in the log");
}

#[tokio::test]
async fn more_calls_than_a_session_or_node_may_have_are_refused_for_now() {
    for cap in ["MCP_CALL__SESSION_MAX", "MCP_CALL__NODE_MAX"] {
        let node = node_with(&[(cap, "1")]).await;
        let client = Client::legacy(&node.url());
        client.session().await;
        // The handler must be done with `notifications/initialized`, which takes a place too.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let (_, slow) = client
            .stream(
                "tools/call",
                json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 100}}),
            )
            .await;
        let answer = client.list().await;
        refused(&answer, 429, -32000, "Try again");
        assert_eq!(answer.header("retry-after"), Some("1"));
        drop(slow);
    }
}

#[tokio::test]
async fn a_store_out_of_reach_is_503_and_never_404() {
    let redis = Redis::start().await;
    let options = NodeOptions::on(redis.url()).env("MCP_STORE__TIMEOUT", "300ms");
    let node = Node::start(&options).await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    redis.kill().await;
    // What this node knows goes on; what it would have to look up does not.
    client.call("echo", json!({"text": "still here"})).await.ok();
    let unknown = client.clone().in_session("6b2a6cbe-0f5f-4f0c-9a39-9f3f5e7f0d55");
    for answer in [
        client.initialize().await,
        unknown.list().await,
        client
            .request("logging/setLevel", json!({"level": "debug"}))
            .await,
        client.call("remember", json!({"key": "a", "value": 1})).await,
        client.delete().await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.header("retry-after"), Some("1"), "{}", answer.body);
        assert_eq!(answer.code(), -32000, "{}", answer.body);
    }
}

#[tokio::test]
async fn other_http_methods_are_told_what_there_is() {
    let node = node().await;
    let client = http_client().build().expect("a client");
    for method in [reqwest::Method::PUT, reqwest::Method::PATCH] {
        let sent = client
            .request(method, format!("{}/mcp", node.url()))
            .send()
            .await
            .expect("an answer");
        let answer = Answer::read(sent).await;
        refused(&answer, 405, -32000, "POST");
        assert!(
            answer
                .header("allow")
                .is_some_and(|allowed| allowed.contains("POST"))
        );
    }
    let missing = client
        .get(format!("{}/nothing", node.url()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_named() {
    let node = node().await;
    let client = Client::legacy(&node.url());
    refused(
        &client.request("tools/call", json!({})).await,
        200,
        -32602,
        "name",
    );
    refused(
        &client.call("no such tool", json!({})).await,
        200,
        -32602,
        "unknown tool",
    );
    refused(&client.call("echo", json!({"text": 5})).await, 200, -32602, "");
    refused(
        &client.request("logging/setLevel", json!({"level": "loud"})).await,
        200,
        -32602,
        "loud",
    );
    refused(
        &client
            .request("resources/subscribe", json!({"uri": "http://x"}))
            .await,
        200,
        -32602,
        "",
    );
    let long = format!("note://session/{}", "k".repeat(3000));
    refused(
        &client.request("resources/subscribe", json!({"uri": long})).await,
        200,
        -32602,
        "2048",
    );
}
