//! Alarms: each pattern of an attack is warned of once a minute, on one node and on three, and what only looks
//! like one is not. Nobody is blocked.

use std::net::IpAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::process::until;

mod sessions;

const ALICE: &str = "alice-has-a-token-of-her-own";
const BOB: &str = "bob-has-a-token-of-his-own";
const TOKENS: [(&str, &str); 2] = [("MCP_AUTH__TOKENS__ALICE", ALICE), ("MCP_AUTH__TOKENS__BOB", BOB)];

fn with(client: Client, token: &str) -> Client {
    client.header("authorization", &format!("Bearer {token}"))
}

/// How many alarms of that pattern were raised, on all nodes.
async fn raised(cluster: &Cluster, pattern: &str) -> f64 {
    let begins = format!("anynode_alarms_total{{pattern=\"{pattern}\"}}");
    cluster.metric(&begins).await
}

/// Waits for `count` alarms of that pattern, and for no other. Returns their lines.
async fn alarmed(cluster: &Cluster, pattern: &str, count: usize) -> Vec<Value> {
    let quoted = format!("\"pattern\":\"{pattern}\"");
    until(&format!("{count} alarms of {pattern}"), async || {
        raised(cluster, pattern).await == count as f64 && cluster.said(&[&quoted]).len() == count
    })
    .await;
    let others = cluster.metric("anynode_alarms_total").await - count as f64;
    assert!(others == 0.0, "{:#?}", cluster.said(&["\"pattern\":"]));
    let lines = cluster.said(&[&quoted]).into_iter();
    let lines = lines.map(|line| serde_json::from_str(&line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        assert_eq!(
            (&line["target"], &line["level"]),
            (&json!("anynode::audit"), &json!("WARN"))
        );
        for word in ["alice", "bob", ALICE, BOB] {
            assert!(!line.to_string().contains(word), "{word} in {line}");
        }
    }
    lines
}

/// T2: with another's session id nothing is had: the answer is that of an unknown one, and its owner's stream
/// goes on.
#[tokio::test]
async fn another_principals_session_is_an_alarm_each_minute_on_each_node() {
    let cluster = Cluster::with(3, &TOKENS).await;
    let alice = with(cluster.client(), ALICE);
    let session = alice.session().await.to_owned();
    let uri = json!({"uri": "note://session/k"});
    alice.request("resources/subscribe", uri).await.ok();
    let mut stream = alice.listen(None).await;
    let first = stream.next().await.expect("a priming event").id.expect("an id");
    let bob = with(cluster.client(), BOB).in_session(&session);
    for _ in 0..6 {
        assert_eq!(bob.call("echo", json!({"text": "x"})).await.status, 404);
        assert_eq!(
            bob.notify("notifications/initialized", json!({})).await.status,
            404
        );
        assert_eq!(bob.respond(&json!("1-1"), json!({})).await.status, 404);
        assert_eq!(bob.get(None).await.status().as_u16(), 404);
        assert_eq!(bob.get(Some(&first)).await.status().as_u16(), 404);
        assert_eq!(bob.delete().await.status, 404);
    }
    let lines = alarmed(&cluster, "foreign_session", 3).await;
    for line in &lines {
        assert!(
            line["principal"].is_string() && line["session"].is_string(),
            "{line}"
        );
        assert!(!line.to_string().contains(&session), "{line}");
        assert_eq!(line["count"], 1);
    }
    alice.call("remember", json!({"key": "k", "value": 1})).await.ok();
    // Her stream goes on.
    stream.method("notifications/resources/updated").await;
}

/// T5: others' notebooks and tasks are unknown, and each try counts.
#[tokio::test]
async fn another_principals_notebook_or_task_is_an_alarm() {
    let cluster = Cluster::with(1, &TOKENS).await;
    let handle = with(cluster.client(), ALICE).open_notebook().await;
    let recall = json!({"key": "k", "notebook": handle});
    for client in [with(cluster.client(), BOB), with(cluster.modern(), BOB)] {
        assert_eq!(
            client.call("recall", recall.clone()).await.result()["isError"],
            true
        );
    }
    // One that never was is no alarm.
    let never = json!({"key": "k", "notebook": "0b7c5f2e-3a55-4b6e-9a37-6b1c0a3d8a11"});
    with(cluster.client(), ALICE).call("recall", never).await;
    alarmed(&cluster, "foreign_handle", 1).await;

    let cluster = Cluster::of_example("everything", 1, &TOKENS).await;
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let alice = with(cluster.modern(), ALICE).capabilities(tasks.clone());
    let begun = alice
        .call("slow_compute", json!({"seconds": 60, "label": "It"}))
        .await
        .ok();
    let task = json!({"taskId": begun.result()["taskId"]});
    let bob = with(cluster.modern(), BOB).capabilities(tasks);
    for method in ["tasks/get", "tasks/cancel"] {
        assert_eq!(bob.request(method, task.clone()).await.code(), -32602, "{method}");
    }
    alarmed(&cluster, "foreign_handle", 1).await;
    alice.request("tasks/get", task).await.ok();
}

#[tokio::test]
async fn credentials_that_nobody_has_are_an_alarm_when_many_are_tried() {
    let cluster = Cluster::with(1, &TOKENS).await;
    for _ in 0..40 {
        assert_eq!(cluster.client().initialize().await.status, 401, "without any");
        let stale = with(cluster.client(), "a-guess-of-a-token-0");
        assert_eq!(stale.initialize().await.status, 401, "the same again and again");
    }
    for number in 0..29 {
        let wrong = with(cluster.client(), &format!("a-guess-of-a-token-{number}"));
        assert_eq!(wrong.initialize().await.status, 401);
    }
    cluster.raised_no_alarm().await;
    for number in 0..31 {
        let wrong = with(cluster.client(), &format!("another-guess-{number}"));
        assert_eq!(wrong.initialize().await.status, 401);
    }
    let lines = alarmed(&cluster, "credential_guessing", 1).await;
    assert_eq!(
        (&lines[0]["count"], &lines[0]["network"]),
        (&json!(30), &json!("127.0.0.0/24"))
    );
    assert!(!cluster.node(0).log().contains("guess-"), "no token is logged");
    with(cluster.client(), ALICE)
        .call("echo", json!({"text": "x"}))
        .await
        .ok();
}

#[tokio::test]
async fn what_only_trusted_proxies_may_say_is_an_alarm_from_others() {
    let env = [
        ("MCP_AUTH__PROXY_HEADER", "x-user"),
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let cluster = Cluster::with(1, &env).await;
    let proxied = cluster.client().header("x-user", "alice");
    proxied.call("echo", json!({"text": "x"})).await.ok();
    cluster.raised_no_alarm().await;
    let spoofed = cluster.client().from(address(9)).header("x-user", "alice");
    for _ in 0..3 {
        assert_eq!(spoofed.initialize().await.status, 401);
    }
    alarmed(&cluster, "spoofed_header", 1).await;

    let env = [
        ("MCP_HTTP__PROXY_PROTOCOL", "true"),
        ("MCP_HTTP__TRUSTED_PROXIES", "10.0.0.1"),
    ];
    let cluster = Cluster::with(1, &env).await;
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.node(0).port()))
        .await
        .expect("the node listens");
    stream
        .write_all(
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
        )
        .await
        .expect("it can be sent");
    alarmed(&cluster, "spoofed_header", 1).await;
}

/// An address of this machine that no other test has.
fn address(last: u8) -> IpAddr {
    [127, 9, 9, last].into()
}
