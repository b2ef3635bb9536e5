//! `mcp-server sessions`: what operators see of sessions, and that a session they end is gone with the very
//! next request.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::program::{Done, Program};

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
    assert!(limited.contains("(there may be more: --limit is 2)"), "{limited}");
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
            assert_eq!(json_of(&cluster, &["end", &id, "--json"]).await["ended"], id);
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
