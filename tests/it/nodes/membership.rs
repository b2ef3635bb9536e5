//! Who is a member: names that are used twice, nodes that were paused or stopped, records of other versions.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::until;
use crate::support::redis::Redis;

/// How fast a change must be that waits for nobody who is gone. A node that sends a message waits 250 ms for
/// those that do not answer.
const AT_ONCE: Duration = Duration::from_millis(200);

fn named(redis: &Redis, name: &str) -> NodeOptions {
    NodeOptions::on(redis.url()).env("NODE_ID", name)
}

/// F9, finding 8: a second process under a name that is in use does not start, and says what to do.
#[tokio::test]
async fn a_second_node_of_a_name_does_not_start() {
    let redis = Redis::start().await;
    let first = Node::start(&named(&redis, "same")).await;
    let second = Node::spawn(&named(&redis, "same"));
    let status = second.end().await;
    assert_eq!(status.code(), Some(75), "{}", second.log());
    let log = second.log();
    assert!(log.contains("NODE_ID") && log.contains(&first.url()), "{log}");
    Client::legacy(&first.url()).list().await.ok();
    assert!(!first.ended());
}

/// F9: one that was killed is started again under its name, and is waited for no longer than a lease lasts.
#[tokio::test]
async fn a_node_that_was_killed_starts_again_under_its_name() {
    let redis = Redis::start().await;
    let first = Node::start(&named(&redis, "same")).await;
    let client = Client::legacy(&first.url());
    client.list().await.ok();
    first.kill9().await;
    let second = Node::start(&named(&redis, "same")).await;
    client.at(&second.url()).list().await.ok();
}

/// F9: one that was paused for so long that another has taken its name stops when it finds out.
#[tokio::test]
async fn a_node_whose_name_was_taken_while_it_was_paused_stops() {
    let redis = Redis::start().await;
    let paused = Node::start(&named(&redis, "same")).await;
    paused.pause();
    let other = Node::start(&named(&redis, "same")).await;
    paused.resume();
    let status = paused.end().await;
    assert_eq!(status.code(), Some(75), "{}", paused.log());
    assert!(paused.log().contains(&other.url()), "{}", paused.log());
    Client::legacy(&other.url()).list().await.ok();
    assert_eq!(redis.keys("node:same").await.len(), 1, "the lease is the other's");
}

/// Finding 15: a node that was paused while a session ended does not serve it when it wakes.
#[tokio::test]
async fn a_node_that_wakes_does_not_serve_a_session_that_has_ended() {
    let cluster = Cluster::of(2).await;
    for _ in 0..6 {
        let client = Client::legacy(&cluster.node(0).url());
        client.session().await;
        let at_other = client.at(&cluster.node(1).url());
        at_other.call("echo", json!({"text": "a"})).await.ok();
        cluster.node(1).pause();
        assert_eq!(client.delete().await.status, 204);
        // It is on its way before the node wakes.
        let asked = tokio::spawn(async move { at_other.call("echo", json!({"text": "a"})).await.status });
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.node(1).resume();
        assert_eq!(asked.await.expect("an answer"), 404);
    }
}

/// The same while Redis is full: the node cannot note that it keeps a copy, but the end can be read.
#[tokio::test]
async fn a_node_that_wakes_while_redis_is_full_does_not_serve_a_session_that_has_ended() {
    let cluster = Cluster::of(2).await;
    let set = async |name: &str, value: &str| {
        cluster.redis().command(&["CONFIG", "SET", name, value]).await;
    };
    set("maxmemory-policy", "noeviction").await;
    let client = Client::legacy(&cluster.node(0).url());
    let kept = Client::legacy(&cluster.node(0).url());
    let echo = || json!({"text": "a"});
    let [at_other, kept_at_other] = [&client, &kept].map(|client| client.at(&cluster.node(1).url()));
    for (opens, asks) in [(&client, &at_other), (&kept, &kept_at_other)] {
        opens.session().await;
        asks.call("echo", echo()).await.ok();
    }
    cluster.node(1).pause();
    // Its lease ends: it trusts no copy, and is not told of what changes.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(client.delete().await.status, 204);
    set("maxmemory", "1").await;
    let asked = tokio::spawn(async move { at_other.call("echo", json!({"text": "a"})).await.status });
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.node(1).resume();
    assert_eq!(asked.await.expect("an answer"), 404);
    kept_at_other.call("echo", echo()).await.ok();
    set("maxmemory", "0").await;
}

/// Finding 9: a node that changes a session does not wait for nodes that have stopped.
#[tokio::test]
async fn nobody_waits_for_a_node_that_has_stopped() {
    let cluster = Cluster::with(2, &[("MCP_DRAIN__DELAY", "0s")]).await;
    let client = Client::legacy(&cluster.node(0).url());
    let id = client.session().await.to_owned();
    let at_other = client.at(&cluster.node(1).url());
    at_other.call("echo", json!({"text": "a"})).await.ok();
    let held = async || {
        let fields = cluster
            .redis()
            .command(&["HKEYS", &format!("session:{id}")])
            .await
            .texts();
        fields.into_iter().filter(|field| field == "held:node-1").count()
    };
    assert_eq!(held().await, 1);
    cluster.node(1).terminate();
    cluster.node(1).end().await;
    assert_eq!(held().await, 0, "it took itself off");
    // As one that was killed would have left it.
    cluster
        .redis()
        .command(&["HSET", &format!("session:{id}"), "held:node-1", "1"])
        .await;
    until("the other node knows that it can tell who is dead", async || {
        let asked = Instant::now();
        let level = json!({"level": "debug"});
        client.request("logging/setLevel", level).await.ok();
        asked.elapsed() < AT_ONCE && held().await == 0
    })
    .await;
}

/// F16: a session of a newer version is another node's to serve; one that cannot be read counts as ended.
/// Both can be ended.
#[tokio::test]
async fn a_session_of_another_version_is_refused_in_words_and_can_be_ended() {
    let cluster = Cluster::of(1).await;
    let hash = |command| format!("redis.call('HSET', KEYS[1], {command})");
    for (damage, status) in [
        (hash("'v', '3'"), 503),
        (hash("'createdAt', 'x'"), 404),
        (hash("'v', ''"), 404),
        // What is no text.
        (hash(r"'clientInfo', '\255'"), 404),
        (hash(r"'v', '\255', 'peer', '\255', 'held:\255', '1'"), 404),
        ("redis.call('SET', KEYS[1], 'a')".to_owned(), 404),
    ] {
        let client = Client::legacy(&cluster.node(0).url());
        let id = client.session().await.to_owned();
        let key = format!("session:{id}");
        cluster
            .redis()
            .command(&["EVAL", damage.as_str(), "1", key.as_str()])
            .await;
        // The copy is not trusted for ever: here, at once.
        let other = Node::start(&NodeOptions::on(cluster.redis().url())).await;
        let at_other = client.at(&other.url());
        for _ in 0..3 {
            let refused = at_other.call("echo", json!({"text": "a"})).await;
            assert_eq!(refused.status, status, "{damage}: {}", refused.body);
            let words = if status == 503 {
                "newer version"
            } else {
                "Session not found"
            };
            assert!(refused.body.contains(words), "{}", refused.body);
            assert_eq!(refused.header("retry-after").is_some(), status == 503);
        }
        assert_eq!(at_other.get(None).await.status(), status);
        assert_eq!(at_other.delete().await.status, 204, "{damage}");
        assert!(cluster.redis().keys(&key).await.is_empty());
        assert_eq!(at_other.delete().await.status, 404);
        let told = other
            .log()
            .lines()
            .filter(|line| line.contains("counts as ended"))
            .count();
        assert_eq!(told, usize::from(status == 404), "{}", other.log());
    }
}
