//! Health, readiness and metrics: true, quick, and without secrets, however the store hangs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::redis::Redis;

/// How long an answer may take that needs no store: far above its work, far below any timeout of the store.
const QUICK: Duration = Duration::from_millis(250);

async fn get(node: &Node, path: &str) -> (u16, String) {
    let sent = http_get(format!("{}{path}", node.url()))
        .await
        .expect("an answer");
    (sent.status().as_u16(), sent.text().await.expect("a body"))
}

#[tokio::test]
async fn health_says_how_the_node_is() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url())).await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    let (status, body) = get(&node, "/health").await;
    assert_eq!(status, 200);
    let order = [
        "status",
        "nodeId",
        "activeSessions",
        "timestamp",
        "version",
        "uptimeSeconds",
        "store",
        "restorations",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|name| body.find(&format!("\"{name}\"")).expect(name))
        .collect();
    assert!(places.is_sorted(), "{body}");
    let health: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["nodeId"], node.id());
    assert_eq!(health["activeSessions"], 1);
    assert_eq!(health["store"]["kind"], "redis");
    assert_eq!(health["store"]["reachable"], true);
    assert!(health["store"]["latencyMs"].is_number());
    assert!(!body.contains(client.session().await), "a session id in /health");
    assert_eq!(get(&node, "/livez").await.0, 200);
    assert_eq!(get(&node, "/readyz").await.0, 200);
    client.delete().await;
    let health: Value = serde_json::from_str(&get(&node, "/health").await.1).expect("JSON");
    assert_eq!(health["activeSessions"], 0);
}

#[tokio::test]
async fn health_tells_the_truth_and_answers_at_once_while_the_store_hangs() {
    let redis = Redis::start().await;
    let options = NodeOptions::on(redis.url())
        .env("MCP_STORE__TIMEOUT", "300ms")
        .env("MCP_STORE__OUTAGE_GRACE", "3s");
    let node = Node::start(&options).await;
    let status = async || -> (u16, String) {
        let asked = Instant::now();
        let (code, body) = get(&node, "/health").await;
        assert!(asked.elapsed() < QUICK, "/health took {:?}", asked.elapsed());
        let health: Value = serde_json::from_str(&body).expect("JSON");
        (code, health["status"].as_str().expect("a status").to_owned())
    };
    let reaches = async |code: u16, text: &str| {
        eventually(text, || async {
            (status().await == (code, text.to_owned())).then_some(())
        })
        .await;
    };
    reaches(200, "healthy").await;
    redis.pause();
    reaches(200, "degraded").await;
    assert_eq!(
        get(&node, "/readyz").await.0,
        200,
        "known sessions are served meanwhile"
    );
    reaches(503, "unavailable").await;
    assert_eq!(get(&node, "/readyz").await.0, 503);
    assert_eq!(get(&node, "/livez").await.0, 200, "a restart would not help");
    redis.resume();
    reaches(200, "healthy").await;
    Client::legacy(&node.url()).list().await.ok();
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url())).await;
    let client = Client::legacy(&node.url());
    client.call("echo", json!({"text": "a"})).await.ok();
    client.call("no such tool", json!({})).await;
    Client::modern(&node.url()).list().await.ok();
    client.post(&[], "not json").await;
    let standalone = client.listen(None).await;
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
    let (_, counting) = client.stream("tools/call", slow).await;
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let (_, listening) = Client::modern(&node.url())
        .stream("subscriptions/listen", filter)
        .await;
    let (code, text) = get(&node, "/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "anynode_sessions_active 1",
        "anynode_sessions_made_total{transport=\"streamable\"} 1",
        "anynode_calls_in_flight 1",
        "anynode_streams_open{kind=\"standalone\"} 1",
        "anynode_streams_open{kind=\"listen\"} 1",
        "anynode_requests_total{era=\"legacy\",method=\"tools/call\",outcome=\"ok\"} 1",
        "anynode_requests_total{era=\"legacy\",method=\"tools/call\",outcome=\"error\"} 1",
        "anynode_requests_total{era=\"modern\",method=\"tools/list\",outcome=\"ok\"} 1",
        "anynode_refusals_total{reason=\"not_json\"} 1",
        "anynode_store_operation_duration_seconds_count{operation=\"create\"} 1",
    ] {
        assert!(text.contains(line), "no line {line:?} in\n{text}");
    }
    drop((standalone, counting, listening));
    assert!(text.contains("anynode_build_info{"));
    assert!(text.contains("anynode_request_duration_seconds_bucket{"));
    assert!(!text.contains(client.session().await), "a session id in /metrics");
}
