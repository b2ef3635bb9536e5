//! Sessions across nodes: requests strictly in turn between two, three, four and five processes on one Redis.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};

mod membership;

/// Rounds of the test that no node ever answers for a session that another has ended.
const STALE_ROUNDS: usize = 1000;

async fn health(node: &Node) -> Value {
    let sent = http_get(format!("{}/health", node.url()))
        .await
        .expect("an answer");
    sent.json().await.expect("health as JSON")
}

#[tokio::test]
async fn any_node_serves_any_request() {
    for count in 2..=5 {
        let cluster = Cluster::of(count).await;
        let client = cluster.client().capabilities(json!({"roots": {}}));
        client.session().await;
        let mut seen = Vec::new();
        for round in 0..count * 4 {
            let text = format!("round {round}");
            assert_eq!(client.call("echo", json!({"text": text})).await.ok().text(), text);
            let sum = client.call("increment", json!({"key": "n"})).await.ok();
            assert_eq!(sum.structured()["value"], round + 1, "{}", sum.body);
        }
        for _ in 0..count {
            let who = client.call("whoami", json!({})).await.ok();
            assert_eq!(who.structured()["client"]["name"], "anynode-tests");
            seen.push(who.structured()["node"].as_str().expect("a node").to_owned());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "every one of {count} nodes served");
    }
}

#[tokio::test]
async fn what_one_node_writes_another_reads() {
    let cluster = Cluster::of(3).await;
    let client = cluster.client();
    client.session().await;
    let at = |index: usize| client.at(&cluster.node(index).url());
    at(2)
        .call("remember", json!({"key": "colour", "value": {"name": "teal"}}))
        .await
        .ok();
    let recalled = at(0).call("recall", json!({"key": "colour"})).await.ok();
    assert_eq!(recalled.structured()["value"]["name"], "teal");
    let read = at(1).read("note://session/colour").await.ok();
    assert_eq!(read.result()["contents"][0]["text"], r#"{"name":"teal"}"#);
    at(1).call("forget", json!({"key": "colour"})).await.ok();
    let gone = at(2).call("recall", json!({"key": "colour"})).await;
    assert_ne!(gone.result()["structuredContent"]["found"], true, "{}", gone.body);
}

#[tokio::test]
async fn increments_on_all_nodes_at_once_are_all_counted() {
    let cluster = Cluster::of(3).await;
    let client = cluster.client();
    client.session().await;
    let adds = (0..90).map(|_| client.call("increment", json!({"key": "n", "by": 2})));
    for added in join_all(adds).await {
        added.ok();
    }
    let sum = client.call("recall", json!({"key": "n"})).await.ok();
    assert_eq!(sum.structured()["value"], 180);
}

#[tokio::test]
async fn a_deleted_session_is_gone_on_every_node_with_the_very_next_request() {
    let cluster = Cluster::of(3).await;
    let urls = cluster.urls();
    for round in 0..STALE_ROUNDS {
        let client = Client::round_robin(&urls);
        client.session().await;
        for url in &urls {
            client.at(url).list().await.ok();
        }
        let (ends, others) = (round % 3, [(round + 1) % 3, (round + 2) % 3]);
        assert_eq!(client.at(&urls[ends]).delete().await.status, 204);
        for other in others {
            assert_eq!(
                client.at(&urls[other]).list().await.status,
                404,
                "round {round}: a stale answer"
            );
        }
    }
    for node in cluster.nodes() {
        assert_eq!(health(node).await["activeSessions"], 0);
    }
}

#[tokio::test]
async fn a_log_level_set_on_one_node_is_obeyed_on_the_others_at_once() {
    let cluster = Cluster::of(3).await;
    let client = cluster.client();
    client.session().await;
    let at = |index: usize| client.at(&cluster.node(index).url());
    for index in 0..3 {
        at(index).list().await.ok();
    }
    for round in 0..60 {
        let (set_on, (level, messages)) = (
            round % 3,
            if round % 2 == 0 {
                ("error", 0)
            } else {
                ("debug", 2)
            },
        );
        at(set_on)
            .request("logging/setLevel", json!({"level": level}))
            .await
            .ok();
        for other in [(set_on + 1) % 3, (set_on + 2) % 3] {
            let answer = at(other)
                .call("countdown", json!({"from": 2, "interval_ms": 0}))
                .await
                .ok();
            let logged = answer
                .messages
                .iter()
                .filter(|message| message["method"] == "notifications/message")
                .count();
            assert_eq!(logged, messages, "round {round}, level {level}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn the_other_nodes_go_on_when_one_is_killed() {
    let cluster = Cluster::of(3).await;
    let client = cluster.client();
    let at = |index: usize| client.at(&cluster.node(index).url());
    let opened = at(0).initialize().await.ok();
    let client = client
        .clone()
        .in_session(opened.header("mcp-session-id").expect("a session id"));
    let at = |index: usize| client.at(&cluster.node(index).url());
    at(0).notify("notifications/initialized", json!({})).await;
    at(0)
        .call("remember", json!({"key": "from", "value": "node-0"}))
        .await
        .ok();
    cluster.node(0).kill9().await;
    for index in [1, 2, 1, 2] {
        let recalled = at(index).call("recall", json!({"key": "from"})).await.ok();
        assert_eq!(recalled.structured()["value"], "node-0");
        let who = at(index).call("whoami", json!({})).await.ok();
        assert_eq!(who.structured()["restored"], true);
    }
    // The dead node kept a copy. Nobody waits for it longer than the bound, and only once.
    let began = Instant::now();
    at(1)
        .request("logging/setLevel", json!({"level": "error"}))
        .await
        .ok();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "the change waited for a dead node"
    );
    assert_eq!(at(1).delete().await.status, 204);
    assert_eq!(at(2).list().await.status, 404);
}

#[tokio::test]
async fn requests_that_miss_at_the_same_time_share_one_load() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    let opened = client.at(&cluster.node(0).url()).initialize().await.ok();
    let id = opened.header("mcp-session-id").expect("a session id");
    let first = client.clone().in_session(id).at(&cluster.node(0).url());
    first.notify("notifications/initialized", json!({})).await;
    let other = first.at(&cluster.node(1).url());
    for answer in join_all((0..50).map(|_| other.list())).await {
        answer.ok();
    }
    let health = health(cluster.node(1)).await;
    assert_eq!(health["restorations"], 1, "{health}");
    assert_eq!(health["activeSessions"], 1, "{health}");
    let fields = cluster
        .redis()
        .command(&["HKEYS", &format!("session:{id}")])
        .await
        .texts();
    let mut held: Vec<_> = fields.iter().filter(|field| field.starts_with("held:")).collect();
    held.sort();
    assert_eq!(
        held,
        ["held:node-0", "held:node-1"],
        "those who keep a copy are named: who was told that it is initialized, and who was asked"
    );
}

#[tokio::test]
async fn a_session_is_a_hash_with_a_life_of_its_own() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client().capabilities(json!({"sampling": {}}));
    let id = client.session().await.to_owned();
    client
        .request("logging/setLevel", json!({"level": "warning"}))
        .await
        .ok();
    client
        .request("resources/subscribe", json!({"uri": "note://session/a"}))
        .await
        .ok();
    client
        .call("remember", json!({"key": "a", "value": 1}))
        .await
        .ok();
    let key = format!("session:{id}");
    let flat = cluster.redis().command(&["HGETALL", &key]).await.texts();
    let field = |name: &str| {
        let at = flat.iter().step_by(2).position(|field| field == name);
        at.map(|at| flat[at * 2 + 1].clone())
            .unwrap_or_else(|| panic!("no field {name} in {flat:?}"))
    };
    assert_eq!(field("protocolVersion"), "2025-11-25");
    assert_eq!(field("transport"), "streamable");
    assert_eq!(field("initialized"), "1");
    assert_eq!(field("nodeId"), "node-0");
    assert_eq!(field("logLevel"), "warning");
    assert_eq!(field("subscriptions"), "\n\"note://session/a\"\n");
    assert_eq!(field("state:note:a"), "1");
    assert!(field("clientInfo").contains("anynode-tests"));
    assert!(field("capabilities").contains("sampling"));
    let ttl = cluster.redis().command(&["TTL", &key]).await.int();
    assert!((1..=1800).contains(&ttl), "{ttl}");
    for key in cluster.redis().keys("*").await {
        assert!(
            cluster.redis().command(&["PTTL", &key]).await.int() > 0,
            "{key} has no TTL"
        );
    }
    client
        .request("resources/unsubscribe", json!({"uri": "note://session/a"}))
        .await
        .ok();
    let left = cluster
        .redis()
        .command(&["HGET", &key, "subscriptions"])
        .await
        .text();
    assert_eq!(left, "\n", "none is left");
}

#[tokio::test]
async fn two_nodes_without_a_shared_store_do_not_know_each_others_sessions() {
    let (a, b) = (
        Node::start(&NodeOptions::default()).await,
        Node::start(&NodeOptions::default()).await,
    );
    let client = Client::legacy(&a.url());
    client.list().await.ok();
    assert_eq!(client.at(&b.url()).list().await.status, 404);
}
