//! Redis has no room left.

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
        let client = client.at(&cluster.node(node).url());
        assert_eq!(client.call("echo", json!({"text": "a"})).await.ok().text(), "a");
        let counted = client.request("tools/call", count.clone()).await.ok();
        assert!(counted.body.contains("counted"), "{}", counted.body);
        let increment = client.call("increment", json!({"key": "n"})).await;
        assert_eq!(increment.status, 503, "{}", increment.body);
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
