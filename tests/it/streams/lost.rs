//! What is lost on the way between nodes: rings, the answers of the store, and nodes that are only slow.

use serde_json::{Value, json};

use super::{countdown, read_on};
use crate::support::cluster::Cluster;

/// Writes a call of `node-1` into the store as a claim leaves it whose answer that node never heard.
async fn leave_a_stray(cluster: &Cluster, session: &str, request: &Value) {
    let calls = format!("calls:{{session:{session}}}");
    let log = format!("events:{{session:{session}}}:stray");
    let (names, name) = ("node-calls:node-1", format!("{session}/stray"));
    let record = json!({
        "node": "node-1", "stream": "stray", "method": request["method"], "started": 1,
        "request": request["id"].to_string(), "replayable": true,
    });
    let (record, request) = (record.to_string(), json!({ "request": request }).to_string());
    let fields = [
        "stray",
        &record,
        "body:stray",
        &request,
        "stream:stray",
        "1",
        "count:streams",
        "1",
    ];
    let redis = cluster.redis();
    redis.command(&[&["HSET", &calls][..], &fields].concat()).await;
    let log_fields = ["head", "0", "first", "1", "bytes", "0", "delivered", "0"];
    redis.command(&[&["HSET", &log][..], &log_fields].concat()).await;
    redis.command(&["HSET", names, &name, "1"]).await;
    for key in [&calls, &log, names] {
        redis.command(&["EXPIRE", key, "600"]).await;
    }
}

#[tokio::test]
async fn a_call_that_is_registered_and_runs_nowhere_is_run() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    let request = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/list", "params": {}});
    leave_a_stray(&cluster, client.session().await, &request).await;
    let mut stream = client.at(&cluster.node(0).url()).listen(Some("stray-0")).await;
    let answer = stream.answer_to(&json!(77)).await;
    assert!(answer["result"]["tools"].is_array(), "{answer}");
    // Its answer is told before it is taken off the node's calls, which are on another slot.
    cluster.no_call_is_left().await;
}

/// The count is raised and nobody is rung, as when a node was cut off from Redis just then.
#[tokio::test]
async fn a_change_whose_ring_was_lost_is_told_after_the_gap() {
    let cluster = Cluster::of(1).await;
    let notebook = cluster.modern().open_notebook().await;
    let uri = format!("note://{notebook}/colour");
    let client = cluster.client();
    client
        .request("resources/subscribe", json!({"uri": uri}))
        .await
        .ok();
    let mut stream = client.listen(None).await;
    let filter = json!({"notifications": {"resourceSubscriptions": [uri]}});
    let modern = cluster.modern();
    let (_, mut listening) = modern.stream("subscriptions/listen", filter).await;
    listening.method("notifications/subscriptions/acknowledged").await;
    let write = json!({"key": "colour", "value": 1, "notebook": notebook});
    client.call("remember", write).await.ok();
    for stream in [&mut stream, &mut listening] {
        stream.method("notifications/resources/updated").await;
    }

    let redis = cluster.redis();
    redis
        .command(&["ZINCRBY", "versions", "1", &format!("resource:{uri}")])
        .await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    for stream in [&mut stream, &mut listening] {
        let told = stream.method("notifications/resources/updated").await;
        assert_eq!(told["params"]["uri"], uri.as_str());
    }
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_adds_nothing_when_it_wakes() {
    let cluster = Cluster::of(3).await;
    let client = cluster.client();
    let session = client.session().await.to_owned();
    let at = |index: usize| client.at(&cluster.node(index).url());
    let (id, mut stream) = at(0).stream("tools/call", countdown(50, 100)).await;
    let mut steps = Vec::new();
    let first = stream.method("notifications/progress").await;
    steps.push(first["params"]["progress"].as_f64().expect("a number"));
    let last = stream.last_id().expect("an id").to_owned();
    cluster.node(0).pause();
    drop(stream);

    let mut stream = at(1).resume(&last).await;
    // The claimer is silent until it is further than the first run was.
    while steps.last() < Some(&25.0) {
        let step = stream.method("notifications/progress").await;
        steps.push(step["params"]["progress"].as_f64().expect("a number"));
    }
    cluster.node(0).resume();
    assert!(read_on(&mut stream, &id, &mut steps).await, "it is answered");
    let told: Vec<f64> = (1..=50).map(f64::from).collect();
    assert_eq!(steps, told, "each step once");
    let (call, _) = last.rsplit_once('-').expect("<call>-<n>");
    let log = format!("events:{{session:{session}}}:{call}");
    let head = cluster.redis().command(&["HGET", &log, "head"]).await.text();
    let answered = stream.last_id().expect("an id").to_owned();
    assert_eq!(answered, format!("{call}-{head}"), "nothing follows the answer");
}

#[tokio::test]
async fn a_call_that_was_cancelled_while_its_node_died_is_not_run_again() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    client.session().await;
    let at = |index: usize| client.at(&cluster.node(index).url());
    let (id, mut stream) = at(0).stream("tools/call", countdown(40, 100)).await;
    stream.method("notifications/progress").await;
    let last = stream.last_id().expect("an id").to_owned();
    cluster.node(0).pause();
    at(1)
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    cluster.node(0).kill9().await;
    let mut resumed = at(1).resume(&last).await;
    while let Some(event) = resumed.next().await {
        let message = event.message().unwrap_or_default();
        assert_ne!(message["id"], id, "a cancelled call was answered: {message}");
        let far = message["params"]["progress"]
            .as_f64()
            .is_some_and(|step| step > 10.0);
        assert!(!far, "a cancelled call was run again: {message}");
    }
}
