//! The rows of the status table that only 2026-07-28 has.

use serde_json::json;

use super::{node, refused};
use crate::support::client::Client;

#[tokio::test]
async fn modern_headers_that_differ_from_the_body_are_a_mismatch() {
    let node = node().await;
    let client = Client::modern(&node.url());
    let params = json!({"name": "echo", "arguments": {"text": "a"}});
    let (headers, body) = client.message("tools/call", params, Some(json!("an id"))).await;
    let body = body.to_string();
    let change = |name: &str, value: Option<&str>| {
        let mut changed: Vec<_> = headers
            .iter()
            .filter(|(header, _)| header != name)
            .cloned()
            .collect();
        changed.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        changed
    };
    for headers in [
        change("mcp-method", None),
        change("mcp-method", Some("tools/list")),
        change("mcp-method", Some("TOOLS/CALL")),
        change("mcp-name", None),
        change("mcp-name", Some("other")),
        change("mcp-protocol-version", None),
        change("mcp-protocol-version", Some("2025-11-25")),
    ] {
        let answer = client.post(&headers, &body).await;
        refused(&answer, 400, -32020, "header mismatch");
        assert_eq!(answer.response()["id"], "an id");
    }
    client
        .post(&change("mcp-name", Some("  echo ")), &body)
        .await
        .ok();
    client
        .post(&change("mcp-name", Some("=?base64?ZWNobw==?=")), &body)
        .await
        .ok();
}

#[tokio::test]
async fn a_modern_version_that_is_not_supported_is_told_which_are() {
    let node = node().await;
    let client = Client::modern(&node.url());
    for version in ["v999.0.0", "2031-01-01", "2025-11-25"] {
        let meta = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": version}});
        let answer = client.request("server/discover", meta).await;
        refused(&answer, 400, -32022, "unsupported protocol version");
        assert_eq!(answer.error()["data"]["requested"], version);
        let discovered = client.request("server/discover", json!({})).await.ok();
        let known = discovered.result()["supportedVersions"]
            .as_array()
            .expect("versions")
            .clone();
        let supported = answer.error()["data"]["supported"].as_array().expect("versions");
        assert!(!supported.is_empty() && supported.iter().all(|version| known.contains(version)));
    }
}

#[tokio::test]
async fn modern_meta_that_is_incomplete_is_named() {
    let node = node().await;
    let client = Client::modern(&node.url());
    for (meta, words) in [
        (json!({}), "protocolVersion"),
        (
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}),
            "clientCapabilities",
        ),
        (
            json!({"io.modelcontextprotocol/clientCapabilities": {}}),
            "protocolVersion",
        ),
        (json!("meta"), "_meta"),
    ] {
        let headers = [
            ("mcp-protocol-version".to_owned(), "2026-07-28".to_owned()),
            ("mcp-method".to_owned(), "tools/list".to_owned()),
        ];
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}});
        let answer = client.post(&headers, &body.to_string()).await;
        refused(&answer, 400, -32602, words);
        assert_eq!(answer.response()["id"], 7);
    }
}

#[tokio::test]
async fn methods_that_2026_07_28_does_not_have_are_not_found() {
    let node = node().await;
    let client = Client::modern(&node.url());
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "unknown/method",
    ] {
        let params = json!({"uri": "note://session/a", "level": "info"});
        refused(&client.request(method, params).await, 404, -32601, "");
    }
    let legacy = Client::legacy(&node.url());
    for method in ["server/discover", "subscriptions/listen", "unknown/method"] {
        refused(&legacy.request(method, json!({})).await, 200, -32601, "");
    }
}
