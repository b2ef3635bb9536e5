//! What a browser needs to let a page call, and read what it is answered (Fetch, "CORS protocol").

use reqwest::{Method, Response};
use serde_json::json;

use super::send;
use crate::support::client::{Answer, Client};
use crate::support::node::{Node, NodeOptions};

const PAGE: &str = "https://app.example.com";
const NAMED: &str = "content-type, accept, authorization, mcp-session-id, mcp-protocol-version, last-event-id, \
                     mcp-method, mcp-name, mcp-param-city";

async fn node(settings: &[(&str, &str)]) -> Node {
    let options = NodeOptions::default().env("MCP_HTTP__ALLOWED_ORIGINS", PAGE);
    let options = settings
        .iter()
        .fold(options, |options, (name, value)| options.env(name, *value));
    Node::start(&options).await
}

async fn preflight(node: &Node, path: &str, origin: &str, method: &str, headers: &str) -> Response {
    let asks = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", headers),
    ];
    send(node, Method::OPTIONS, path, &asks).await
}

fn list(answer: &Response, name: &str) -> Vec<String> {
    let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
    value
        .unwrap_or_default()
        .split(',')
        .map(|item| item.trim().to_ascii_lowercase())
        .filter(|item| !item.is_empty())
        .collect()
}

/// Holds an answer against what a page needs to read it.
#[track_caller]
fn readable(answer: &Answer, origin: &str) {
    let header = |name| answer.header(name).unwrap_or_default().to_ascii_lowercase();
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(origin),
        "{}",
        answer.body
    );
    assert!(header("vary").contains("origin"), "{}", answer.body);
    for exposed in [
        "mcp-session-id",
        "mcp-protocol-version",
        "www-authenticate",
        "retry-after",
    ] {
        assert!(
            header("access-control-expose-headers").contains(exposed),
            "{exposed}"
        );
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

/// Finding 4, case `cors`: a page of an allowed origin is told what it may send, without credentials.
#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call() {
    let node = node(&[("MCP_AUTH__TOKENS__ALICE", "a-long-enough-token")]).await;
    for origin in [
        PAGE,
        "http://localhost:5173",
        "http://127.0.0.1:8080",
        "http://app.localhost:5173",
    ] {
        for path in ["/mcp", "/mcp/", "/sse", "/messages", "/health", "/"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = preflight(&node, path, origin, method, NAMED).await;
                assert!(
                    answer.status().is_success(),
                    "{origin} {method} {path}: {}",
                    answer.status()
                );
                assert_eq!(answer.headers()["access-control-allow-origin"], origin);
                assert!(list(&answer, "access-control-allow-methods").contains(&method.to_ascii_lowercase()));
                let named: Vec<_> = NAMED.split(", ").collect();
                assert_eq!(list(&answer, "access-control-allow-headers"), named);
                assert!(list(&answer, "vary").contains(&"origin".to_owned()));
                assert!(!answer.headers().contains_key("access-control-allow-credentials"));
            }
        }
    }
    let answer = preflight(&node, "/mcp", PAGE, "POST", "content-type, x-other, mcp-param-").await;
    assert_eq!(list(&answer, "access-control-allow-headers"), ["content-type"]);
}

#[tokio::test]
async fn a_page_of_a_strange_origin_may_not() {
    let node = node(&[]).await;
    for origin in ["https://evil.example", "http://localhost.evil.example", "null"] {
        for path in ["/mcp", "/sse", "/messages"] {
            let answer = preflight(&node, path, origin, "POST", "content-type").await;
            assert_eq!(answer.status(), 403, "{origin} {path}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"));
        }
        let client = Client::legacy(&node.url()).header("origin", origin);
        let answer = client.initialize().await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (403, None)
        );
    }
    // What is no preflight is no page's question (Fetch, "CORS-preflight request").
    let options = send(&node, Method::OPTIONS, "/mcp", &[("origin", PAGE)]).await;
    assert_eq!(options.status(), 405);
    let metrics = send(&node, Method::GET, "/metrics", &[("origin", PAGE)]).await;
    assert!(
        !metrics.headers().contains_key("access-control-allow-origin"),
        "no page reads metrics"
    );
}

/// Refusals, streams and answers without a body too: what a page cannot read is "Failed to fetch" to it.
#[tokio::test]
async fn a_page_can_read_every_answer() {
    let node = node(&[
        ("MCP_CALL__SESSION_MAX", "1"),
        ("MCP_HTTP__BODY_BYTES_MAX", "4KiB"),
    ])
    .await;
    let page = Client::legacy(&node.url()).header("origin", PAGE);
    let opened = page.initialize().await;
    readable(&opened, PAGE);
    assert!(opened.header("mcp-session-id").is_some());
    let page = page.in_session(opened.header("mcp-session-id").expect("a session"));
    readable(&page.notify("notifications/initialized", json!({})).await, PAGE);
    readable(&page.list().await, PAGE);
    let stream = page.get(None).await;
    assert_eq!(stream.headers()["access-control-allow-origin"], PAGE);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let countdown = json!({"name": "countdown", "arguments": {"from": 40, "interval_ms": 100}});
    let (_id, mut call) = page.stream("tools/call", countdown).await;
    call.next().await.expect("an event");
    let refused = [
        (429, page.list().await),
        (400, page.post(&page.session_headers().await, "{").await),
        (
            413,
            page.post(&page.session_headers().await, &"x".repeat(5 << 10))
                .await,
        ),
        (
            404,
            page.clone()
                .in_session("6b2a6cbe-0f5f-4f0c-9a39-9f3f5e7f0d55")
                .list()
                .await,
        ),
    ];
    for (status, answer) in refused {
        assert_eq!(answer.status, status, "{}", answer.body);
        readable(&answer, PAGE);
    }
    for (path, status) in [
        ("/nothing", 404),
        ("/sse", 200),
        ("/health", 200),
        ("/readyz", 200),
    ] {
        let answer = send(
            &node,
            Method::GET,
            path,
            &[("origin", PAGE), ("accept", "text/event-stream")],
        )
        .await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], PAGE, "{path}");
    }
    readable(&page.delete().await, PAGE);
    let guarded = self::node(&[("MCP_AUTH__TOKENS__ALICE", "a-long-enough-token")]).await;
    let answer = Client::legacy(&guarded.url())
        .header("origin", PAGE)
        .initialize()
        .await;
    assert_eq!(answer.status, 401);
    readable(&answer, PAGE);
    assert!(answer.header("www-authenticate").is_some());
}

/// Other clients send no `Origin`, and get no header more.
#[tokio::test]
async fn clients_without_an_origin_are_answered_as_ever() {
    let node = node(&[]).await;
    let answer = Client::legacy(&node.url()).initialize().await;
    let of_cors = |name: &&reqwest::header::HeaderName| {
        name.as_str().starts_with("access-control-") || name.as_str() == "vary"
    };
    assert_eq!(answer.headers.keys().find(of_cors), None);
}
