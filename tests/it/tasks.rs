//! Tasks (SEP-2663) begun on one node are told, answered and cancelled on any, and outlive their node by what
//! is known.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::process::{eventually, within};

/// How soon a task of a killed node must be known as lost: its lease of 3 s, and some for a busy machine.
const LOST_WITHIN: Duration = Duration::from_secs(6);

async fn cluster(env: &[(&str, &str)]) -> Cluster {
    Cluster::of_example("everything", 3, env).await
}

/// A client that knows tasks and shows forms, and sends each request to the next node.
fn client(cluster: &Cluster) -> Client {
    let tasks = json!({"io.modelcontextprotocol/tasks": {}});
    let capabilities = json!({"elicitation": {}, "extensions": tasks});
    cluster.modern().capabilities(capabilities)
}

/// Begins a task; its id.
async fn begin(client: &Client, tool: &str, arguments: Value) -> String {
    let answer = client.call(tool, arguments).await.ok();
    assert_eq!(answer.result()["resultType"], "task", "{}", answer.body);
    answer.result()["taskId"].as_str().expect("an id").to_owned()
}

async fn get(client: &Client, task: &str) -> Value {
    let answer = client.request("tasks/get", json!({ "taskId": task })).await.ok();
    answer.result().clone()
}

async fn until(client: &Client, task: &str, status: &str) -> Value {
    eventually(&format!("the task is {status}"), || async {
        let known = get(client, task).await;
        (known["status"] == status).then_some(known)
    })
    .await
}

fn slow(seconds: u32) -> Value {
    json!({"seconds": seconds, "label": "It"})
}

#[tokio::test]
async fn a_task_is_there_on_every_node_the_moment_it_is_begun() {
    let cluster = cluster(&[]).await;
    let client = client(&cluster);
    for _ in 0..30 {
        let task = begin(&client, "slow_compute", slow(60)).await;
        assert_eq!(get(&client, &task).await["status"], "working");
        assert_eq!(get(&client, &task).await["status"], "working");
    }
}

#[tokio::test]
async fn a_task_asks_on_one_node_and_is_answered_on_others() {
    let cluster = cluster(&[]).await;
    let client = client(&cluster);
    let task = begin(&client, "multi_input", json!({})).await;
    let asks = until(&client, &task, "input_required").await;
    assert_eq!(asks["inputRequests"].as_object().map(|asks| asks.len()), Some(2));
    for key in ["first", "second"] {
        let answer = json!({"action": "accept", "content": {"value": key}});
        let answers = json!({"taskId": task, "inputResponses": {key: answer, "never-asked": {}}});
        let taken = client.request("tasks/update", answers).await.ok();
        assert_eq!(taken.result(), &json!({"resultType": "complete"}));
        if key == "first" {
            let left = get(&client, &task).await;
            let left = left["inputRequests"].as_object().expect("what is left").clone();
            assert_eq!(left.keys().collect::<Vec<_>>(), ["second"]);
        }
    }
    let ended = until(&client, &task, "completed").await;
    assert_eq!(ended["result"]["content"][0]["text"], "Got 2 answers.");
}

#[tokio::test]
async fn a_task_is_cancelled_from_another_node_and_gives_its_place_back() {
    let cluster = cluster(&[("MCP_TASK__NODE_MAX", "1")]).await;
    let client = client(&cluster);
    let first = client.at(&cluster.node(0).url());
    let task = begin(&first, "slow_compute", slow(60)).await;
    let full = first.call("slow_compute", slow(60)).await;
    assert_eq!(full.code(), -32000, "the task has the only place");
    let second = client.at(&cluster.node(1).url());
    let cancelled = second
        .request("tasks/cancel", json!({ "taskId": task }))
        .await
        .ok();
    assert_eq!(cancelled.result(), &json!({"resultType": "complete"}));
    assert_eq!(
        get(&client.at(&cluster.node(2).url()), &task).await["status"],
        "cancelled"
    );
    eventually("the work stops", || async {
        let again = first.call("slow_compute", slow(60)).await;
        again.response()["result"].is_object().then_some(())
    })
    .await;
    assert_eq!(get(&first, &task).await["status"], "cancelled");
}

/// F7: one client takes its share of the tasks of a node, and others begin theirs.
#[tokio::test]
async fn one_client_gets_its_share_of_tasks() {
    let env = [
        ("MCP_TASK__NODE_MAX", "5"),
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let cluster = Cluster::of_example("everything", 1, &env).await;
    let at = |last: u8| client(&cluster).header("x-forwarded-for", &format!("192.0.2.{last}"));
    let (greedy, other) = (at(1), at(2));
    for _ in 0..4 {
        begin(&greedy, "slow_compute", slow(60)).await;
    }
    is_refused(&greedy, "task.peer_max").await;
    begin(&other, "slow_compute", slow(60)).await;
    is_refused(&other, "task.node_max").await;
}

/// A client cannot begin one more task, and is told which setting forbids it.
async fn is_refused(client: &Client, setting: &str) {
    let full = client.call("slow_compute", slow(60)).await;
    assert_eq!(
        (full.status, full.header("retry-after")),
        (429, Some("1")),
        "{}",
        full.body
    );
    let message = full.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains(setting), "expected {setting} in {message:?}");
}

/// Tasks that have ended are kept for their life, so many of one client, and others begin theirs.
#[tokio::test]
async fn of_one_client_so_many_tasks_are_kept() {
    let env = [
        ("MCP_TASK__PEER_KEPT_MAX", "3"),
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let cluster = cluster(&env).await;
    let at = |last: u8| client(&cluster).header("x-forwarded-for", &format!("192.0.2.{last}"));
    let (greedy, other) = (at(1), at(2));
    for _ in 0..3 {
        let task = begin(&greedy, "slow_compute", slow(0)).await;
        until(&greedy, &task, "completed").await;
    }
    is_refused(&greedy, "task.peer_kept_max").await;
    begin(&other, "slow_compute", slow(0)).await;
}

#[tokio::test]
async fn a_task_of_a_killed_node_fails_and_says_so_while_results_stay() {
    let cluster = cluster(&[]).await;
    let client = client(&cluster);
    let doomed = client.at(&cluster.node(0).url());
    let done = begin(&doomed, "slow_compute", slow(0)).await;
    until(&doomed, &done, "completed").await;
    let lost = begin(&doomed, "slow_compute", slow(60)).await;
    cluster.node(0).kill9().await;
    let killed = Instant::now();
    let survivors = [
        client.at(&cluster.node(1).url()),
        client.at(&cluster.node(2).url()),
    ];
    let known = within(LOST_WITHIN, "the task is known as lost", || async {
        let known = get(&survivors[0], &lost).await;
        (known["status"] == "failed").then_some(known)
    })
    .await;
    assert!(killed.elapsed() < LOST_WITHIN);
    let message = known["error"]["message"].as_str().expect("an error");
    assert!(message.contains("node lost, outcome unknown"), "{message}");
    assert_eq!(get(&survivors[1], &lost).await, known);
    assert_eq!(get(&survivors[1], &done).await["status"], "completed");
}

/// Finding 22: a task has the time that calls have, and is then told to stop; its record tells that at once.
#[tokio::test]
async fn a_task_of_a_node_that_stops_says_so() {
    let cluster = cluster(&[("MCP_DRAIN__DELAY", "0s"), ("MCP_DRAIN__DEADLINE", "4s")]).await;
    let client = client(&cluster);
    let doomed = client.at(&cluster.node(0).url());
    let long = begin(&doomed, "slow_compute", slow(60)).await;
    let short = begin(&doomed, "slow_compute", slow(2)).await;
    let waits = begin(&doomed, "multi_input", json!({})).await;
    cluster.node(0).terminate();
    assert!(cluster.node(0).end().await.success());
    let other = client.at(&cluster.node(1).url());
    assert_eq!(get(&other, &short).await["status"], "completed");
    // This one puts things in order when it is told.
    let known = get(&other, &long).await;
    assert_eq!(known["result"]["content"][0]["text"], "stopped", "{known}");
    let known = get(&other, &waits).await;
    let message = known["error"]["message"].as_str().expect("an error");
    assert!(message.contains("node stopped, outcome unknown"), "{known}");
}

#[tokio::test]
async fn a_node_started_again_under_its_name_does_not_claim_the_tasks_of_the_former() {
    let mut cluster = cluster(&[]).await;
    let client = client(&cluster);
    let doomed = client.at(&cluster.node(0).url());
    let tasks = [
        begin(&doomed, "slow_compute", slow(60)).await,
        begin(&doomed, "slow_compute", slow(60)).await,
    ];
    cluster.node(0).kill9().await;
    cluster.start_again(0).await;
    let itself = client.at(&cluster.node(0).url());
    assert_eq!(get(&itself, &tasks[0]).await["status"], "failed");
    let other = client.at(&cluster.node(1).url());
    until(&other, &tasks[1], "failed").await;
}

#[tokio::test]
async fn a_task_ends_with_its_life_however_often_it_is_asked_after() {
    let cluster = cluster(&[("MCP_TASK__TTL", "2s")]).await;
    let client = client(&cluster);
    let task = begin(&client, "slow_compute", slow(60)).await;
    assert_eq!(get(&client, &task).await["ttlMs"], 2000);
    let keys = cluster.redis().keys("task:*").await;
    assert_eq!(keys, [format!("task:{task}")]);
    let left = cluster.redis().command(&["PTTL", &keys[0]]).await.int();
    assert!((1..=2000).contains(&left), "{left}");
    eventually("the task has expired", || async {
        let answer = client.request("tasks/get", json!({ "taskId": task })).await;
        let expired = answer.response()["error"]["code"] == -32602;
        expired.then_some(())
    })
    .await;
    assert!(cluster.redis().keys("task:*").await.is_empty());
}

#[tokio::test]
async fn a_task_is_its_principals_alone() {
    let tokens = [
        ("MCP_AUTH__TOKENS__ALICE", "alice-0123456789abcdef"),
        ("MCP_AUTH__TOKENS__BOB", "bob-0123456789abcdef"),
    ];
    for nodes in [1, 3] {
        let cluster = Cluster::of_example("everything", nodes, &tokens).await;
        let [alice, bob] =
            tokens.map(|(_, token)| client(&cluster).header("authorization", &format!("Bearer {token}")));
        let task = begin(&alice, "slow_compute", slow(60)).await;
        for (method, more) in [
            ("tasks/get", json!({})),
            ("tasks/cancel", json!({})),
            ("tasks/update", json!({"inputResponses": {}})),
        ] {
            let mut params = more;
            params["taskId"] = json!(task);
            assert_eq!(bob.request(method, params).await.code(), -32602, "{method}");
        }
        assert_eq!(get(&alice, &task).await["status"], "working");
    }
}

/// The work ends while the store is away; its outcome is written when the store is back.
#[tokio::test]
async fn a_task_that_ends_in_an_outage_is_completed_after_it() {
    let cluster = cluster(&[("MCP_STORE__TIMEOUT", "500ms")]).await;
    let client = client(&cluster);
    let task = begin(&client, "slow_compute", slow(1)).await;
    cluster.redis().pause();
    let away = eventually("the store is missed", || async {
        let answer = client.request("tasks/get", json!({ "taskId": task })).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(away.code(), -32000);
    tokio::time::sleep(Duration::from_millis(1500)).await; // past the end of the work, which nothing outside can see
    cluster.redis().resume();
    let ended = eventually("the store is back", || async {
        let answer = client.request("tasks/get", json!({ "taskId": task })).await;
        let known = answer.response()["result"].clone();
        (known["status"] != "working" && known.is_object()).then_some(known)
    })
    .await;
    assert_eq!(ended["status"], "completed", "{ended}");
}

/// F11: a task is the same however its id is written, on the node that runs it and on every other.
#[tokio::test]
async fn a_task_is_found_by_any_spelling_of_its_id() {
    let cluster = cluster(&[]).await;
    let client = client(&cluster);
    let task = begin(&client, "slow_compute", slow(60)).await;
    let spellings = [
        task.to_uppercase(),
        format!("{{{task}}}"),
        format!("urn:uuid:{task}"),
        task.replace('-', ""),
    ];
    for spelling in &spellings {
        for node in cluster.nodes() {
            let known = get(&client.at(&node.url()), spelling).await;
            assert_eq!(known["status"], "working", "{spelling}: {known}");
            assert_eq!(known["taskId"], task);
        }
    }
    client
        .request("tasks/cancel", json!({ "taskId": spellings[0] }))
        .await
        .ok();
    until(&client, &task, "cancelled").await;
}
