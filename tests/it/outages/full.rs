//! Redis answers, and takes no writes: it has no room left, or is a replica, or has none.

use serde_json::json;

use crate::support::cluster::Cluster;

async fn give_room(cluster: &Cluster, bytes: &str) {
    let redis = cluster.redis();
    redis
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    redis.command(&["CONFIG", "SET", "maxmemory", bytes]).await;
}

/// New sessions and new state are refused, what is there goes on, and nothing has to be restarted once there is room.
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

/// M8: what keeps Redis from writing is called by its name, to clients and in metrics; nobody is told of an outage.
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
        let metrics = reqwest::get(format!("{}/metrics", cluster.node(0).url())).await;
        let metrics = metrics.expect("metrics").text().await.expect("text");
        let error = format!("error=\"{label}\"");
        assert!(metrics.contains(&error), "{error} in:\n{metrics}");
        assert!(!metrics.contains("error=\"unreachable\""), "{metrics}");
        redis.command(&["CONFIG", "SET", setting, off]).await;
        client.call("increment", json!({"key": "n"})).await.ok();
    }
}
