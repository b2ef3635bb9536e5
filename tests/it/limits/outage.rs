//! Limits while Redis is away: each node holds them for itself, and says so.

use serde_json::Value;
use tokio::time::Instant;

use super::{answered, echo, told};
use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::process::until;

async fn local(url: &str) -> Value {
    let answer = http_get(format!("{url}/health")).await.expect("an answer");
    let health: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    health["limits"]["local"].clone()
}

#[tokio::test]
async fn while_redis_is_away_each_node_holds_the_limits_for_itself() {
    for frozen in [true, false] {
        let cluster = Cluster::with(2, &[("MCP_LIMIT__ADDRESS", "6/m burst 20")]).await;
        let url = cluster.node(0).url();
        assert_eq!(local(&url).await, false);
        let client = Client::modern(&url);
        assert_eq!(answered(&client, 5, "address").await, 5);
        match frozen {
            true => cluster.redis().pause(),
            false => cluster.redis().kill().await,
        }
        // Up to a second for the first that asks in vain; nobody is told 5xx.
        let began = Instant::now();
        let mut served = 0;
        for _ in 0..60 {
            let answer = echo(&client).await;
            match answer.status {
                200 => served += 1,
                _ => told(&answer, "address"),
            }
        }
        // It knows of the five before, and one comes in ten seconds.
        let most = 15 + 1 + began.elapsed().as_secs() / 10;
        assert!(
            (10..=most).contains(&served),
            "frozen: {frozen}, {served} were served"
        );
        assert_eq!(local(&url).await, true);
        assert_eq!(gauge(&url, "anynode_limits_local").await, 1.0);
        let other = Client::modern(&cluster.node(1).url());
        let there = answered(&other, 40, "address").await;
        assert!((20..=22).contains(&there), "the other node has its own: {there}");
        let lines = cluster.node(0).log().matches("does not count requests").count();
        assert_eq!(lines, 1, "it is told once");
        match frozen {
            true => cluster.redis().resume(),
            false => cluster.redis().run().await,
        }
        for node in cluster.nodes() {
            until("the limits are held together again", async || {
                local(&node.url()).await == false
            })
            .await;
            assert_eq!(gauge(&node.url(), "anynode_limits_local").await, 0.0);
        }
    }
}

#[tokio::test]
async fn a_node_without_limits_says_nothing_of_them() {
    let cluster = Cluster::alone(&[]).await;
    assert_eq!(local(&cluster.node(0).url()).await, Value::Null);
}
