//! Redis answers, and takes no writes: it has no room left, or is a replica, or has none.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::node::Node;
use crate::support::process::{eventually, until, within};
use crate::support::sse::EventStream;

/// How long nodes are watched after Redis takes writes again: longer than they are patient.
const WATCHED: Duration = Duration::from_secs(8);

async fn give_room(cluster: &Cluster, bytes: &str) {
    let redis = cluster.redis();
    redis
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    redis.command(&["CONFIG", "SET", "maxmemory", bytes]).await;
}

/// New sessions and new state are refused, what is there goes on, and nothing has to be restarted once there
/// is room.
#[tokio::test]
async fn a_redis_that_is_full_refuses_what_is_new_and_serves_what_is_there() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    client.list().await.ok();
    let count = json!({
        "name": "countdown", "arguments": {"from": 3, "interval_ms": 100}, "_meta": {"progressToken": "p"}
    });
    give_room(&cluster, "1").await;
    let before = cluster.redis().keys("*").await.len();
    for node in 0..2 {
        let refused = cluster.client().at(&cluster.node(node).url()).initialize().await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.header("retry-after").is_some());
        assert!(refused.body.contains("the store is full"), "{}", refused.body);
        let client = client.at(&cluster.node(node).url());
        assert_eq!(client.call("echo", json!({"text": "a"})).await.ok().text(), "a");
        let counted = client.request("tools/call", count.clone()).await.ok();
        assert!(counted.body.contains("counted"), "{}", counted.body);
        let increment = client.call("increment", json!({"key": "n"})).await;
        assert_eq!(increment.status, 503, "{}", increment.body);
        assert!(increment.body.contains("the store is full"), "{}", increment.body);
    }
    assert!(
        cluster.redis().keys("*").await.len() <= before,
        "nothing half written is left"
    );
    give_room(&cluster, "0").await;
    cluster.client().list().await.ok();
    let counted = client.call("increment", json!({"key": "n"})).await.ok();
    assert_eq!(counted.structured()["value"], 1);
}

/// M8: what keeps Redis from writing is called by its name, to clients and in metrics; nobody is told of an
/// outage.
#[tokio::test]
async fn what_redis_refuses_is_called_by_its_name() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    client.list().await.ok();
    let redis = cluster.redis();
    for (setting, on, off, words, label) in [
        ("maxmemory", "1", "0", "the store is full", "full"),
        (
            "min-replicas-to-write",
            "1",
            "0",
            "the store has too few replicas",
            "too_few_replicas",
        ),
    ] {
        redis.command(&["CONFIG", "SET", setting, on]).await;
        let refused = client.call("increment", json!({"key": "n"})).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.body.contains(words), "{}", refused.body);
        let metrics = http_get(format!("{}/metrics", cluster.node(0).url())).await;
        let metrics = metrics.expect("metrics").text().await.expect("text");
        let error = format!("error=\"{label}\"");
        assert!(metrics.contains(&error), "{error} in:\n{metrics}");
        assert!(!metrics.contains("error=\"unreachable\""), "{metrics}");
        redis.command(&["CONFIG", "SET", setting, off]).await;
        client.call("increment", json!({"key": "n"})).await.ok();
    }
}

/// The status that a node says of itself, and that `/readyz` answers.
async fn health(node: &Node) -> (String, u16) {
    let get = |path: &str| http_get(format!("{}{path}", node.url()));
    let health: Value = get("/health").await.expect("health").json().await.expect("JSON");
    let ready = get("/readyz").await.expect("an answer").status().as_u16();
    (health["status"].as_str().expect("a status").to_owned(), ready)
}

/// A call that takes long, on that node.
async fn count(cluster: &Cluster, node: usize) -> (Value, EventStream) {
    let client = Client::legacy(&cluster.node(node).url());
    client.list().await.ok();
    let count = json!({
        "name": "countdown", "arguments": {"from": 100, "interval_ms": 250}, "_meta": {"progressToken": "p"}
    });
    client.stream("tools/call", count).await
}

/// The steps that a call tells, until it ends.
async fn steps(id: Value, mut stream: EventStream) -> Vec<u64> {
    let mut steps = Vec::new();
    while let Some(event) = stream.next().await {
        let Some(message) = event.message() else { continue };
        if message["id"] == id {
            assert!(message.get("result").is_some(), "{message}");
            return steps;
        }
        steps.extend(message["params"]["data"]["left"].as_u64());
    }
    panic!("the stream ended without an answer after {steps:?}");
}

/// F5, findings 1: Redis can be read and not written until all leases have ended. No node takes a call from
/// another, neither then nor when it can be written again, and all of them say how they are.
#[tokio::test]
async fn no_call_is_taken_from_a_living_node_though_no_lease_could_be_renewed() {
    for (setting, on, off) in [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")] {
        let cluster = Cluster::with(3, &[("MCP_STORE__OUTAGE_GRACE", "4s")]).await;
        let redis = cluster.redis();
        // Those that were there before know who lives: they could claim at once.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let calls = [
            count(&cluster, 0).await,
            count(&cluster, 1).await,
            count(&cluster, 2).await,
        ];
        let calls = calls.map(|(id, stream)| tokio::spawn(steps(id, stream)));
        eventually("all calls are registered", || async {
            (redis.keys("node-calls:*").await.len() == 3).then_some(())
        })
        .await;
        redis.command(&["CONFIG", "SET", setting, on]).await;
        for node in cluster.nodes() {
            until("the node is degraded", async || {
                health(node).await == ("degraded".into(), 200)
            })
            .await;
        }
        until("all leases have ended", async || {
            redis.keys("node:*").await.is_empty()
        })
        .await;
        for node in cluster.nodes() {
            until("the node says that it cannot serve", async || {
                health(node).await == ("unavailable".into(), 503)
            })
            .await;
        }
        redis.command(&["CONFIG", "SET", setting, off]).await;
        let back = Instant::now();
        for node in cluster.nodes() {
            until("the node is well again", async || {
                health(node).await == ("healthy".into(), 200)
            })
            .await;
        }
        within(WATCHED * 2, "nodes can tell who is dead again", || async {
            (back.elapsed() > WATCHED).then_some(())
        })
        .await;
        for call in calls {
            let steps = call.await.expect("an answer");
            assert!(
                steps.windows(2).all(|pair| pair[1] < pair[0]),
                "told twice: {steps:?}"
            );
        }
        assert_eq!(
            cluster.said(&["took over call"]),
            Vec::<String>::new(),
            "{setting}"
        );
    }
}
