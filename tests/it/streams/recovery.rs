//! A node dies in the middle of a call: one survivor runs it again if that is safe, or says that the outcome
//! is unknown.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{countdown, read_on};
use crate::support::balancer::Balancer;
use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions, example};
use crate::support::process::eventually;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_safe_call_of_a_killed_node_is_answered_by_another() {
    let cluster = Cluster::of(3).await;
    let balancer = cluster.balancer().await;
    let client = Client::legacy(&balancer.url());
    client.session().await;
    let (id, mut stream) = client.stream("tools/call", countdown(30, 100)).await;
    let mut steps = Vec::new();
    for _ in 0..5 {
        let message = stream.method("notifications/progress").await;
        steps.push(message["params"]["progress"].as_f64().expect("a number"));
    }
    let session = client.session().await;
    let runs = eventually("the call's node is known", || async {
        let keys = cluster.redis().keys("node-calls:*").await;
        keys.first()
            .and_then(|key| key.strip_prefix("node-calls:").map(str::to_owned))
    })
    .await;
    assert!(!session.is_empty());
    let node = cluster
        .nodes()
        .iter()
        .find(|node| node.id() == runs)
        .expect("one of ours");
    node.kill9().await;
    while stream.next().await.is_some() {}
    let mut answered = false;
    while !answered {
        let last = stream.last_id().expect("an id").to_owned();
        stream = client.resume(&last).await;
        answered = read_on(&mut stream, &id, &mut steps).await;
    }
    assert!(
        steps.windows(2).all(|pair| pair[1] > pair[0]),
        "progress must increase: {steps:?}"
    );
    assert_eq!(steps.last(), Some(&30.0));
    let mut run_again = 0;
    for survivor in cluster.nodes().iter().filter(|node| node.id() != runs) {
        run_again += taken_over(survivor, "run_again").await;
    }
    assert_eq!(run_again, 1, "one survivor counts it");
}

async fn travel(redis: &Redis, name: &str) -> Node {
    travel_with(redis, name, &[]).await
}

async fn travel_with(redis: &Redis, name: &str, settings: &[(&str, &str)]) -> Node {
    let options = NodeOptions::on(redis.url()).env("NODE_ID", name);
    let options = settings
        .iter()
        .fold(options, |options, (name, value)| options.env(name, *value));
    Node::start_program(&example("hints"), &options).await
}

/// How many calls that node has taken over with that outcome.
async fn taken_over(node: &Node, outcome: &str) -> u64 {
    let metrics = http_get(format!("{}/metrics", node.url())).await;
    let text = metrics.expect("metrics").text().await.expect("text");
    let counted = format!("anynode_call_takeovers_total{{outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&counted));
    value.map_or(0, |value| value.parse().expect("a count"))
}

async fn call_on_a_node_that_dies(tool: &str, outcome: &str) -> (Value, Duration) {
    let redis = Redis::start().await;
    let (a, b, c) = (
        travel(&redis, "a").await,
        travel(&redis, "b").await,
        travel(&redis, "c").await,
    );
    let client = Client::legacy(&a.url());
    client.session().await;
    let arguments = json!({"name": tool, "arguments": {"to": "Oslo", "takes_ms": 1500}});
    let (id, mut stream) = client.stream("tools/call", arguments).await;
    let first = stream.next().await.expect("a priming event");
    a.kill9().await;
    let killed = Instant::now();
    let mut resumed = client
        .at(&b.url())
        .resume(first.id.as_deref().expect("an id"))
        .await;
    let response = resumed.answer_to(&id).await;
    let took = killed.elapsed();
    assert_eq!(taken_over(&b, outcome).await + taken_over(&c, outcome).await, 1);
    (response, took)
}

#[tokio::test]
async fn an_unsafe_call_of_a_killed_node_is_answered_by_what_is_known_within_five_seconds() {
    let (response, took) = call_on_a_node_that_dies("book", "lost").await;
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let message = response["error"]["message"].as_str().expect("an error");
    assert!(message.contains("node lost, outcome unknown"), "{message}");
}

#[tokio::test]
async fn a_read_only_tool_is_run_again_by_one_survivor() {
    let (response, _) = call_on_a_node_that_dies("quote", "run_again").await;
    let text = response["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(text.ends_with("says b") || text.ends_with("says c"), "{text}");
}

/// Finding 27: the only survivor has no room for the call until its own has ended.
#[tokio::test]
async fn a_call_of_a_killed_node_waits_for_room() {
    waits_while("MCP_CALL__NODE_MAX").await;
}

/// It counts for the client that it counted for before.
#[tokio::test]
async fn a_call_of_a_killed_node_waits_for_its_clients_share() {
    waits_while("MCP_CALL__PEER_MAX").await;
}

/// A call that is taken over waits while one other has all that this setting grants.
async fn waits_while(setting: &str) {
    let redis = Redis::start().await;
    let full = [(setting, "1"), ("MCP_LOG__LEVEL", "anynode=debug")];
    let (a, b) = (travel(&redis, "a").await, travel_with(&redis, "b", &full).await);
    let client = Client::legacy(&a.url());
    let quote = |takes_ms| json!({"name": "quote", "arguments": {"to": "Oslo", "takes_ms": takes_ms}});
    let (_own, mut kept) = client.at(&b.url()).stream("tools/call", quote(8_000)).await;
    let (id, mut lost) = client.stream("tools/call", quote(2_000)).await;
    kept.next().await.expect("a priming event");
    let first = lost.next().await.expect("a priming event");
    a.kill9().await;
    eventually("it waits for room", || async {
        b.log().contains("waits for room").then_some(())
    })
    .await;
    let mut resumed = client
        .at(&b.url())
        .resume(first.id.as_deref().expect("an id"))
        .await;
    let response = resumed.answer_to(&id).await;
    let text = response["result"]["content"][0]["text"].as_str();
    assert!(text.is_some_and(|text| text.ends_with("says b")), "{response}");
}

/// F7: the client of a call that was silent has no event id before 2025-11-25, and its connection was the
/// node's.
#[tokio::test]
async fn a_call_is_not_run_again_whose_client_can_never_come_back() {
    let redis = Redis::start().await;
    let (a, b) = (travel(&redis, "a").await, travel(&redis, "b").await);
    let can = Client::legacy(&a.url());
    let cannot = can.clone().revision("2025-06-18");
    let call = json!({"name": "quote", "arguments": {"to": "Oslo", "takes_ms": 60_000}});
    let (_id, mut primed) = can.stream("tools/call", call.clone()).await;
    let (_id, silent) = cannot.stream("tools/call", call).await;
    primed.next().await.expect("a priming event");
    a.kill9().await;
    drop(silent);
    let calls = async |client: &Client| {
        let key = format!("calls:{{session:{}}}", client.session().await);
        redis.command(&["HKEYS", &key]).await.texts()
    };
    let left = |fields: Vec<String>| fields.iter().any(|field| field.starts_with("body:"));
    eventually("the call that nobody can ask for is over", || async {
        (!left(calls(&cannot).await)).then_some(())
    })
    .await;
    assert!(left(calls(&can).await), "the other is run again");
    assert_eq!(
        taken_over(&b, "unawaited").await + taken_over(&b, "lost").await,
        1
    );
    eventually("one call runs", || async {
        let running = gauge(&b.url(), "anynode_calls_in_flight").await;
        (running == 1.0).then_some(())
    })
    .await;
}

/// SEP-1699: the handler closes the connection, and the call goes on.
#[tokio::test]
async fn a_connection_that_the_handler_lets_go_of_is_taken_up_on_another_node() {
    let cluster = Cluster::of_example("everything", 2, &[]).await;
    let client = Client::legacy(&cluster.node(0).url());
    let call = json!({"name": "test_reconnection", "arguments": {}});
    let (id, mut stream) = client.stream("tools/call", call).await;
    let first = stream.next().await.expect("a priming event");
    let mut retry = first.retry;
    while let Some(event) = stream.next().await {
        assert_eq!(event.message(), None, "the answer comes on another connection");
        retry = event.retry.or(retry);
    }
    assert!(retry.is_some(), "the client is told when to come back");
    let last = stream.last_id().expect("an id").to_owned();
    let mut resumed = client.at(&cluster.node(1).url()).resume(&last).await;
    let answer = resumed.answer_to(&id).await;
    let text = answer["result"]["content"][0]["text"].as_str();
    assert_eq!(
        text,
        Some("Reconnection test completed successfully."),
        "{answer}"
    );
}

/// A node that comes back under its old name finds what it left behind.
#[tokio::test]
async fn a_node_started_again_under_its_name_takes_up_its_own_calls() {
    let redis = Redis::start().await;
    let a = travel(&redis, "a").await;
    let client = Client::legacy(&a.url());
    let arguments = json!({"name": "quote", "arguments": {"to": "Oslo", "takes_ms": 1000}});
    let (id, mut stream) = client.stream("tools/call", arguments).await;
    let first = stream.next().await.expect("a priming event");
    a.kill9().await;
    let again = travel(&redis, "a").await;
    let mut resumed = client
        .at(&again.url())
        .resume(first.id.as_deref().expect("an id"))
        .await;
    assert!(resumed.answer_to(&id).await["result"].is_object());
}

/// The balancer is only here so that the test reads as operators run it.
#[tokio::test]
async fn a_drained_node_hands_its_streams_and_its_calls_over() {
    let cluster = Cluster::with(2, &[("MCP_DRAIN__DELAY", "300ms"), ("MCP_DRAIN__DEADLINE", "1s")]).await;
    let balancer: Balancer = cluster.balancer().await;
    let client = cluster.client();
    client.session().await;
    let (id, mut stream) = client
        .at(&cluster.node(0).url())
        .stream("tools/call", countdown(40, 100))
        .await;
    stream.method("notifications/progress").await;
    cluster.node(0).terminate();
    while stream.next().await.is_some() {}
    let (mut steps, mut answered) = (Vec::new(), false);
    let client = client.at(&balancer.url());
    while !answered {
        let last = stream.last_id().expect("an id").to_owned();
        stream = client.resume(&last).await;
        answered = read_on(&mut stream, &id, &mut steps).await;
    }
    assert_eq!(steps.last(), Some(&40.0));
    assert!(cluster.node(0).end().await.success());
}
