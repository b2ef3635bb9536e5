//! The audit log: a line for each act, on every node, with nothing in it that is a credential, and no call that
//! waits for it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;

mod file;
mod page;
mod rest;

const ALICE: &str = "alice-has-a-token-of-her-own";
const BOB: &str = "bob-has-a-token-of-his-own";
const AGENT: &str = "agent-of-a-test/1.0";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// What is sent as an argument, and must not be found in a line.
const ARGUMENT: &str = "an-argument-that-is-nobodys-business";

/// A file for the lines of all nodes.
struct Trail {
    dir: TempDir,
}

impl Trail {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    /// The environment of nodes that write there, and know alice and bob.
    fn env<'a>(&self, path: &'a str) -> [(&'static str, &'a str); 3] {
        assert_eq!(Path::new(path), self.path());
        [
            ("MCP_AUDIT__TO", path),
            ("MCP_AUTH__TOKENS__ALICE", ALICE),
            ("MCP_AUTH__TOKENS__BOB", BOB),
        ]
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        read(&self.text())
    }

    /// Waits for a line of that event with these members.
    async fn has(&self, event: &str, members: &[(&str, &str)]) -> Value {
        eventually(&format!("{event} with {members:?}"), || async {
            let lines = self.lines().into_iter();
            lines.into_iter().find(|line| {
                let is = |(name, value): &(&str, &str)| line[name] == *value;
                line["event"] == event && members.iter().all(is)
            })
        })
        .await
    }

    fn count(&self, event: &str) -> usize {
        self.lines().iter().filter(|line| line["event"] == event).count()
    }
}

/// The lines of a log, each of which is JSON. The last may not be written yet.
fn read(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn with(client: Client, token: &str) -> Client {
    client
        .header("authorization", &format!("Bearer {token}"))
        .header("user-agent", AGENT)
        .header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"))
}

fn tag(session: &str) -> String {
    anynode::session::SessionId::parse(session).expect("an id").tag()
}

/// The log has every act of sessions and calls, from every node.
#[tokio::test]
async fn what_clients_do_is_noted_on_every_node() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let cluster = Cluster::with(3, &trail.env(&path)).await;
    let alice = with(cluster.client(), ALICE);
    let session = alice.session().await.to_owned();
    let tag = tag(&session);
    let made = trail.has("session_made", &[("session", &tag)]).await;
    for (member, value) in [
        ("principal", "alice"),
        ("client", "anynode-tests"),
        ("address", "127.0.0.1"),
        ("agent", AGENT),
        ("trace", TRACE),
    ] {
        assert_eq!(made[member], value, "{made}");
    }
    assert!(
        made["at"].is_string()
            && made["node"]
                .as_str()
                .is_some_and(|node| node.starts_with("node-"))
    );
    alice.call("echo", json!({"text": ARGUMENT})).await.ok();
    let of_call = [
        ("session", tag.as_str()),
        ("tool", "echo"),
        ("outcome", "ok"),
        ("method", "tools/call"),
    ];
    let called = trail.has("tool_called", &of_call).await;
    assert_eq!(
        (&called["principal"], &called["address"]),
        (&json!("alice"), &json!("127.0.0.1"))
    );
    assert_eq!(called["arguments"], Value::Null, "{called}");
    fails_to_call(&alice, &trail).await;
    // Clients without sessions, and of 2024-11-05, are noted as well.
    with(cluster.modern(), BOB)
        .call("echo", json!({"text": ARGUMENT}))
        .await
        .ok();
    let modern = trail.has("tool_called", &[("principal", "bob")]).await;
    assert_eq!(
        (&modern["session"], &modern["client"]),
        (&Value::Null, &json!("anynode-tests"))
    );
    assert_eq!(alice.delete().await.status, 204);
    let by_client = [("session", tag.as_str()), ("reason", "client"), ("agent", AGENT)];
    trail.has("session_ended", &by_client).await;
    assert_eq!(trail.count("session_ended"), 1, "once, over all nodes");
    let nodes: std::collections::BTreeSet<_> = trail
        .lines()
        .iter()
        .map(|line| line["node"].to_string())
        .collect();
    assert!(nodes.len() > 1, "{nodes:?}");
    for secret in [&*session, ALICE, BOB, ARGUMENT] {
        assert!(!trail.text().contains(secret), "{secret} in\n{}", trail.text());
    }
}

/// A tool that fails, and one that does not exist, whose name is the client's word.
async fn fails_to_call(alice: &Client, trail: &Trail) {
    let failed = alice
        .call("recall", json!({"key": "k", "notebook": "none"}))
        .await;
    assert_eq!(failed.result()["isError"], true);
    trail
        .has("tool_called", &[("tool", "recall"), ("outcome", "error")])
        .await;
    alice.call(ARGUMENT, json!({})).await;
    eventually("a call of no tool is noted", || async {
        let lines = trail.lines().into_iter();
        lines.into_iter().find(|line| {
            line["event"] == "tool_called" && line["tool"] == Value::Null && line["outcome"] == "error"
        })
    })
    .await;
}

/// 401, 403, 404 for another's session, and 429; the client is told of a foreign session what it is told of one
/// that is not there.
#[tokio::test]
async fn what_is_refused_is_noted_once_a_minute_for_each_caller() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let mut env = trail.env(&path).to_vec();
    env.push(("MCP_SESSION__PEER_MAX", "2"));
    let cluster = Cluster::alone(&env).await;
    let (alice, bob) = (with(cluster.client(), ALICE), with(cluster.client(), BOB));
    let session = alice.session().await.to_owned();
    for _ in 0..5 {
        let foreign = bob
            .clone()
            .in_session(&session)
            .call("echo", json!({"text": "x"}))
            .await;
        let unknown = bob
            .clone()
            .in_session("11111111-2222")
            .call("echo", json!({"text": "x"}))
            .await;
        assert_eq!((foreign.status, unknown.status), (404, 404));
        assert_eq!(foreign.error(), unknown.error());
        let wrong = with(cluster.client(), "a-token-that-nobody-has")
            .initialize()
            .await;
        assert_eq!(wrong.status, 401);
        let evil = with(cluster.client(), ALICE).header("origin", "http://evil.example");
        assert_eq!(evil.initialize().await.status, 403);
    }
    assert_eq!(alice.initialize().await.status, 200);
    assert_eq!(alice.initialize().await.status, 429);
    let tag = tag(&session);
    for (reason, members) in [
        (
            "session_foreign",
            &[("principal", "bob"), ("session", tag.as_str())][..],
        ),
        ("invalid_token", &[("address", "127.0.0.1"), ("agent", AGENT)]),
        ("origin_not_allowed", &[("address", "127.0.0.1")]),
        ("too_many", &[("principal", "alice")]),
    ] {
        let members = [members, &[("reason", reason), ("method", "POST /mcp")]].concat();
        trail.has("denied", &members).await;
        let lines = trail.lines();
        let of_reason = lines.iter().filter(|line| line["reason"] == reason).count();
        assert_eq!(
            of_reason, 1,
            "{reason}: the rest is told with the minute: {lines:#?}"
        );
    }
    assert!(
        !trail.text().contains("session_not_found"),
        "an unknown session is no denial"
    );
    // What was counted is told at the end at the latest.
    cluster.node(0).terminate();
    assert!(cluster.node(0).end().await.success());
    let lines = trail.lines().into_iter();
    let counts = lines.filter(|line| line["reason"] == "session_foreign");
    let counts: Vec<_> = counts.map(|line| line["count"].clone()).collect();
    assert_eq!(counts, [Value::Null, json!(4)]);
    assert!(!trail.text().contains("a-token-that-nobody-has") && !trail.text().contains(&session));
}

#[tokio::test]
async fn sessions_that_expire_and_those_that_operators_end_are_noted() {
    use crate::support::program::Program;

    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let mut env = trail.env(&path).to_vec();
    env.push(("MCP_SESSION__TTL", "1s"));
    let cluster = Cluster::with(1, &env).await;
    let alice = with(cluster.client(), ALICE);
    alice.call("echo", json!({"text": "x"})).await.ok();
    let expired = tag(alice.session().await);
    let members = [
        ("session", expired.as_str()),
        ("reason", "expiry"),
        ("principal", "alice"),
    ];
    eventually("the session has expired", || async {
        let answer = alice.call("echo", json!({"text": "x"})).await;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        (answer.status == 404).then_some(())
    })
    .await;
    trail.has("session_ended", &members).await;

    let bob = with(cluster.client(), BOB);
    let session = bob.session().await.to_owned();
    let redis = cluster.redis().url();
    let env = [("REDIS_URL", &*redis), ("MCP_AUDIT__TO", &path)];
    Program::run(&["sessions", "end", &session], &env).await.ok();
    let ended = trail
        .has(
            "admin",
            &[("session", &tag(&session)), ("reason", "sessions end")],
        )
        .await;
    assert!(!ended.to_string().contains(&session), "{ended}");
    // What cannot be noted is not done.
    let nowhere = [("REDIS_URL", &*redis), ("MCP_AUDIT__TO", "/nowhere/audit")];
    let session = with(cluster.client(), BOB).session().await.to_owned();
    let refused = Program::run(&["sessions", "end", &session], &nowhere)
        .await
        .one_line(78);
    assert!(refused.contains("audit.to"), "{refused}");
}

#[tokio::test]
async fn limits_that_a_node_holds_alone_are_noted() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let mut env = trail.env(&path).to_vec();
    env.extend([
        ("MCP_LIMIT__PRINCIPAL", "100/s burst 100"),
        ("MCP_STORE__TIMEOUT", "300ms"),
    ]);
    let cluster = Cluster::with(1, &env).await;
    let alice = with(cluster.client(), ALICE);
    alice.call("echo", json!({"text": "x"})).await.ok();
    cluster.redis().pause();
    eventually("the node counts alone", || async {
        alice.call("echo", json!({"text": "x"})).await;
        let lines = trail.lines().into_iter();
        lines
            .into_iter()
            .find(|line| line["event"] == "limits_local" && line["outcome"] == "begun")
    })
    .await;
    cluster.redis().resume();
    trail.has("limits_local", &[("outcome", "over")]).await;
}

#[tokio::test]
async fn arguments_are_noted_only_when_that_is_asked_for() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let mut env = trail.env(&path).to_vec();
    env.push(("MCP_AUDIT__ARGUMENTS", "true"));
    let node = env.iter().fold(NodeOptions::default(), |options, (name, value)| {
        options.env(name, *value)
    });
    let node = Node::start(&node).await;
    let alice = with(Client::legacy(&node.url()), ALICE);
    alice.call("echo", json!({"text": ARGUMENT})).await.ok();
    let called = trail.has("tool_called", &[("tool", "echo")]).await;
    assert_eq!(called["arguments"], json!({"text": ARGUMENT}), "{called}");
    let long = "x".repeat(4096);
    alice
        .call("remember", json!({"key": "k", "value": long}))
        .await
        .ok();
    let called = trail.has("tool_called", &[("tool", "remember")]).await;
    assert_eq!(called["arguments"], Value::Null, "they are too long");
}
