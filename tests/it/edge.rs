//! HTTP as it is met from outside: pages in browsers, probes that send HEAD, people who open a URL, and URLs with a
//! slash too many.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};

mod clients;
mod lists;
mod pages;

/// Sends a request to a path of a node.
async fn send(node: &Node, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = http_client()
        .build()
        .expect("a client")
        .request(method, format!("{}{path}", node.url()));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.expect("an answer")
}

/// The sum of the lines of a metric whose labels say so.
async fn metric(node: &Node, begins: &str) -> f64 {
    node.metric(begins).await
}

/// Finding 6, case `head`: what probes send to the URLs of clients has no effect.
#[tokio::test]
async fn head_and_options_make_no_session_and_take_no_stream() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let session = client.session().await.to_owned();
    let mut standing = client.listen(None).await;
    standing.next().await.expect("a priming event");
    let (id, mut call) = client
        .stream(
            "tools/call",
            json!({"name": "countdown", "arguments": {"from": 3, "interval_ms": 300}}),
        )
        .await;
    let first = call.next().await.expect("a priming event").id.expect("an id");
    for method in [Method::HEAD, Method::OPTIONS] {
        for headers in [
            vec![("mcp-session-id", session.as_str())],
            vec![("mcp-session-id", session.as_str()), ("last-event-id", &first)],
            vec![],
        ] {
            for path in ["/mcp", "/mcp/", "/sse", "/messages"] {
                let answer = send(&node, method.clone(), path, &headers).await;
                assert_eq!(answer.status(), 405, "{method} {path}");
                assert!(answer.headers().contains_key("allow"), "{method} {path}");
            }
        }
    }
    assert_eq!(
        metric(&node, "anynode_sessions_made_total{transport=\"sse\"").await,
        0.0
    );
    let response = call.answer_to(&id).await;
    assert!(response["result"].is_object(), "{response}");
    let update = json!({"uri": "note://session/k"});
    client.request("resources/subscribe", update).await.ok();
    client
        .call("remember", json!({"key": "k", "value": 1}))
        .await
        .ok();
    let told = standing.next().await.expect("the stream is the client's still");
    let told = told.message().expect("a message");
    assert_eq!(told["method"], "notifications/resources/updated", "{told}");
    for path in ["/", "/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(
            send(&node, Method::HEAD, path, &[]).await.status(),
            200,
            "HEAD {path}"
        );
        let put = Answer::read(send(&node, Method::PUT, path, &[]).await).await;
        assert_eq!(
            (put.status, put.header("allow")),
            (405, Some("GET, HEAD")),
            "PUT {path}"
        );
    }
}

/// One slash after a path is served; what else is no path is told so, in a body that no client takes for the end
/// of its session.
#[tokio::test]
async fn a_slash_after_a_path_is_served_and_other_paths_are_told_where_to_go() {
    let node = Node::start(&NodeOptions::default()).await;
    let slashed = Client::legacy(&node.url());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let headers = slashed.session_headers().await;
    let post = headers.iter().fold(
        http_client()
            .build()
            .expect("a client")
            .post(format!("{}/mcp/", node.url())),
        |request, (name, value)| request.header(name, value),
    );
    let pong = Answer::read(post.json(&body).send().await.expect("an answer")).await;
    assert_eq!(
        (pong.status, pong.response()["id"].clone()),
        (200, json!(1)),
        "{}",
        pong.body
    );
    for path in ["/health/", "/livez/", "/readyz/", "/metrics/"] {
        assert_eq!(send(&node, Method::GET, path, &[]).await.status(), 200, "{path}");
    }
    for path in [
        "/nothing",
        "/mcp//",
        "/mcp/x",
        "//",
        "/.well-known/oauth-protected-resource",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = Answer::read(send(&node, method, path, &[("mcp-session-id", "x")]).await).await;
            assert_eq!(
                (answer.status, answer.code()),
                (404, -32000),
                "{path}: {}",
                answer.body
            );
            let message = answer.error()["message"].as_str().expect("a message");
            assert!(
                message.contains("/mcp") && !message.contains("ession"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn who_opens_the_root_is_told_what_this_is() {
    let node = Node::start(&NodeOptions::default()).await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for accept in [&[("accept", browser)][..], &[("accept", "text/plain")], &[]] {
        let page = send(&node, Method::GET, "/", accept).await;
        assert_eq!(
            (page.status(), &page.headers()["content-type"]),
            (
                reqwest::StatusCode::OK,
                &"text/plain; charset=utf-8".parse().expect("a value")
            )
        );
        let words = page.text().await.expect("text");
        assert!(
            words.contains("MCP server") && words.contains("2026-07-28"),
            "{words}"
        );
    }
    let about = send(&node, Method::GET, "/", &[("accept", "application/json")]).await;
    assert_eq!(about.headers()["vary"], "accept");
    let about: Value = about.json().await.expect("JSON");
    assert_eq!(
        about["endpoints"]["mcp"], "mcp",
        "it is below this page, wherever that is: {about}"
    );
    assert_eq!(about["protocolVersions"].as_array().expect("a list").len(), 5);
}
