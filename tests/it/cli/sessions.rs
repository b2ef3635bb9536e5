//! `mcp-server sessions`: what operators see of sessions, and that a session they end is gone with the very
//! next request.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::program::{Done, Program};
use crate::support::redis::Redis;

/// How often a session is ended while both nodes keep a copy.
const ROUNDS: usize = 10;

async fn sessions(cluster: &Cluster, arguments: &[&str]) -> Done {
    let arguments = [&["sessions"], arguments].concat();
    Program::run(&arguments, &[("REDIS_URL", &cluster.redis().url())]).await
}

async fn json_of(cluster: &Cluster, arguments: &[&str]) -> Value {
    let text = sessions(cluster, arguments).await.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn sessions_are_listed_the_last_used_first() {
    let cluster = Cluster::of(1).await;
    assert_eq!(sessions(&cluster, &["list"]).await.ok(), "no sessions\n");
    assert_eq!(json_of(&cluster, &["list", "--json"]).await, json!([]));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(cluster.client().session().await.to_owned());
    }
    let text = sessions(&cluster, &["list"]).await.ok();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("SESSION "), "{text}");
    for id in &ids {
        let row = lines.iter().find(|line| line.starts_with(id.as_str()));
        let row = row.unwrap_or_else(|| panic!("{id} is not in\n{text}"));
        for part in ["2025-11-25", "anynode-tests 1.0.0", "node-0", " ago"] {
            assert!(row.contains(part), "no {part} in {row}");
        }
    }
    let listed = json_of(&cluster, &["list", "--json"]).await;
    let last: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| s["lastActivity"].as_u64())
        .collect();
    assert!(last.is_sorted_by(|a, b| a >= b), "{last:?}");
    let limited = sessions(&cluster, &["list", "--limit", "2"]).await.ok();
    assert!(limited.contains("(there are more: --limit is 2)"), "{limited}");
    assert_eq!(limited.lines().count(), 4, "{limited}");
}

#[tokio::test]
async fn a_session_is_shown_as_it_is_kept() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client().capabilities(json!({"roots": {}}));
    let id = client.session().await.to_owned();
    let uri = json!({"uri": "note://session/a"});
    client.request("resources/subscribe", uri).await.ok();
    let text = sessions(&cluster, &["show", &id]).await.ok();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .trim()
            .to_owned()
    };
    assert_eq!(field("sessionId"), id);
    assert_eq!(field("protocolVersion"), "2025-11-25");
    assert_eq!(field("initialized"), "true");
    assert_eq!(field("nodeId"), "node-0");
    assert!(field("clientInfo").contains("anynode-tests"), "{text}");
    assert!(field("capabilities").contains("roots"), "{text}");
    let shown = json_of(&cluster, &["show", &id, "--json"]).await;
    assert_eq!(shown["sessionId"], id);
    assert_eq!(shown["subscriptions"], json!(["note://session/a"]));
}

/// A10: what belongs to a session is shown too: handlers' state, the nodes that keep a copy, the logs of its
/// streams, the calls in flight.
#[tokio::test]
async fn what_belongs_to_a_session_is_shown() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    let id = client.session().await.to_owned();
    client
        .call("remember", json!({"key": "colour", "value": "teal"}))
        .await
        .ok();
    for url in cluster.urls() {
        client.at(&url).list().await.ok();
    }
    // Long enough to be registered, and a stream of its own.
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 300}});
    let (_call, _stream) = client.stream("tools/call", slow).await;
    let shown = eventually("the call is registered", || async {
        let shown = json_of(&cluster, &["show", &id, "--json"]).await;
        let registered = shown["calls"][0].is_object();
        let logged = shown["streams"][0]["bytes"].as_u64() > Some(0);
        (registered && logged).then_some(shown)
    })
    .await;
    let mut copies: Vec<_> = shown["copies"].as_array().expect("nodes").iter().collect();
    copies.sort_by_key(|node| node.as_str());
    assert_eq!(copies, ["node-0", "node-1"], "{shown}");
    let state = &shown["state"][0];
    assert!(
        state["key"].as_str().is_some_and(|key| key.contains("colour")),
        "{shown}"
    );
    assert!(state["bytes"].as_u64().is_some_and(|bytes| bytes >= 6), "{shown}");
    let call = &shown["calls"][0];
    assert_eq!(call["method"], "tools/call", "{shown}");
    let stream = &shown["streams"][0];
    assert_eq!(
        (&stream["name"], &stream["done"]),
        (&call["name"], &json!(false)),
        "{shown}"
    );
    assert_eq!(stream["carrier"], call["nodeId"], "{shown}");
    assert!(stream["events"].as_u64() > Some(0), "{shown}");
    assert!(
        shown["endsInMs"].as_u64().is_some_and(|ms| ms > 1_000_000),
        "{shown}"
    );

    let text = sessions(&cluster, &["show", &id]).await.ok();
    for part in [
        "s ago)",
        "T",
        "in 29m unless it is used",
        "colour",
        " bytes",
        "tools/call on node-",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// A10: the last use of a session is not later than is told, nor earlier.
#[tokio::test]
async fn the_last_use_is_told_as_exactly_as_it_is_known() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    client.session().await;
    client.list().await.ok();
    let used_ms = now_ms();
    client.list().await.ok();
    let listed = json_of(&cluster, &["list", "--json"]).await;
    let noted = listed[0]["lastActivity"].as_u64().expect("a time");
    let within = listed[0]["lastActivityWithinMs"].as_u64().expect("a span");
    assert_eq!(within, 90_000, "a twentieth of session.ttl");
    assert!(noted <= now_ms() && used_ms <= noted + within, "{listed}");
    let text = eventually("a second has passed", || async {
        let text = sessions(&cluster, &["list"]).await.ok();
        (!text.contains("  0s ago")).then_some(text)
    })
    .await;
    assert!(text.contains("at most "), "{text}");
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("it fits")
}

/// A29: lists by client, principal and idleness, and ends many at once.
#[tokio::test]
async fn sessions_are_chosen_by_client_and_principal_and_ended_together() {
    let redis = Redis::start().await;
    let options = NodeOptions::on(redis.url())
        .env("MCP_AUTH__TOKENS__ALICE", "a-token-of-alices-own")
        .env("MCP_AUTH__TOKENS__BOB", "a-token-of-bobs-own-0");
    let node = Node::start(&options).await;
    let open = async |token: &str| {
        let client = Client::legacy(&node.url()).header("authorization", &format!("Bearer {token}"));
        client.session().await.to_owned()
    };
    let alice = [
        open("a-token-of-alices-own").await,
        open("a-token-of-alices-own").await,
    ];
    let bob = [
        open("a-token-of-bobs-own-0").await,
        open("a-token-of-bobs-own-0").await,
        open("a-token-of-bobs-own-0").await,
    ];
    let url = redis.url();
    let sessions = async |arguments: &[&str]| {
        let arguments = [&["sessions"], arguments].concat();
        Program::run(&arguments, &[("REDIS_URL", &*url)]).await
    };
    let ids = async |arguments: &[&str]| {
        let text = sessions(&[&["list", "--json"], arguments].concat()).await.ok();
        let list: Vec<Value> = serde_json::from_str(&text).expect("a list");
        let ids = list
            .iter()
            .map(|s| s["sessionId"].as_str().expect("an id").to_owned());
        ids.collect::<BTreeSet<_>>()
    };
    let text = sessions(&["list"]).await.ok();
    let row = text
        .lines()
        .find(|line| line.starts_with(&alice[0]))
        .expect("a row");
    assert!(row.contains(" alice "), "{text}");
    assert_eq!(ids(&["--principal", "alice"]).await, alice.clone().into());
    assert_eq!(ids(&["--client", "TESTS"]).await.len(), 5);
    assert_eq!(ids(&["--client", "cursor"]).await.len(), 0);
    assert_eq!(ids(&["--idle", "1h"]).await.len(), 0);
    assert_eq!(ids(&["--idle", "0s"]).await.len(), 5);

    let unknown = "7b0b6c7e-54a2-4a2b-9d3a-1f6f0e6c3c11";
    let done = sessions(&["end", &bob[0], unknown, &bob[1]]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(
        done.stdout,
        format!("ended {}\nended {}\nunknown {unknown}\n", bob[0], bob[1])
    );
    let done = sessions(&["end", "--principal", "alice", "--json"]).await.ok();
    let done: Value = serde_json::from_str(&done).expect("JSON");
    assert_eq!(done["ended"].as_array().map(Vec::len), Some(2), "{done}");
    assert_eq!(ids(&[]).await, [bob[2].clone()].into());
    assert_eq!(
        sessions(&["end", "--all"]).await.ok(),
        format!("ended {}\n", bob[2])
    );
    assert_eq!(sessions(&["end", "--all"]).await.ok(), "no sessions\n");
    // What is to be ended must be said, and once.
    for wrong in [
        &["end"][..],
        &["end", "--all", unknown],
        &["end", "--all", "--principal", "bob"],
    ] {
        assert_eq!(sessions(wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_ended_is_gone_with_the_very_next_request_on_every_node() {
    let cluster = Cluster::of(2).await;
    let urls = cluster.urls();
    for round in 0..ROUNDS {
        let client = Client::round_robin(&urls);
        let id = client.session().await.to_owned();
        for url in &urls {
            client.at(url).list().await.ok();
        }
        if round % 2 == 0 {
            assert_eq!(
                sessions(&cluster, &["end", &id]).await.ok(),
                format!("ended {id}\n")
            );
        } else {
            let done = json_of(&cluster, &["end", &id, "--json"]).await;
            assert_eq!(done, json!({"ended": [id], "unknown": []}));
        }
        for url in &urls {
            assert_eq!(
                client.at(url).list().await.status,
                404,
                "round {round}: a stale answer"
            );
        }
        let line = sessions(&cluster, &["end", &id]).await.one_line(1);
        assert!(line.contains("no such session"), "{line}");
    }
    // It was a node among the others only while it ran.
    assert!(cluster.redis().keys("session:*").await.is_empty());
    assert_eq!(cluster.redis().keys("node:*").await.len(), 2);
}

/// What cannot be read is not listed, spoils no list, and can be ended.
#[tokio::test]
async fn a_session_that_cannot_be_read_is_ended_all_the_same() {
    let cluster = Cluster::of(1).await;
    let whole = cluster.client().session().await.to_owned();
    for damage in [
        r"redis.call('HSET', KEYS[1], 'clientInfo', '\255')",
        "redis.call('SET', KEYS[1], 'a', 'EX', 60)",
    ] {
        let id = cluster.client().session().await.to_owned();
        let key = format!("session:{id}");
        cluster.redis().command(&["EVAL", damage, "1", &key]).await;
        let listed = json_of(&cluster, &["list", "--json"]).await;
        let listed: Vec<_> = listed.as_array().expect("a list").iter().collect();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0]["sessionId"], whole);
        assert_eq!(
            sessions(&cluster, &["end", &id]).await.ok(),
            format!("ended {id}\n")
        );
        assert!(cluster.redis().keys(&key).await.is_empty());
    }
}

#[tokio::test]
async fn a_session_that_is_not_there_is_told_by_1_and_a_line() {
    let cluster = Cluster::of(0).await;
    let unknown = "7b0b6c7e-54a2-4a2b-9d3a-1f6f0e6c3c11";
    for arguments in [["show", unknown], ["end", unknown], ["show", "no id at all"]] {
        let line = sessions(&cluster, &arguments).await.one_line(1);
        assert!(line.contains("no such session"), "{line}");
    }
}

#[tokio::test]
async fn sessions_in_memory_are_not_for_others_to_see() {
    for arguments in [&["sessions", "list"][..], &["sessions", "end", "id"]] {
        let line = Program::run(arguments, &[]).await.one_line(78);
        assert!(line.contains("REDIS_URL is not set"), "{line}");
    }
}
