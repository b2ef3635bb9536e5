//! Logs: JSON for machines, enough to follow a request by, and nothing that lets a reader act for a client.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::process::Signal;
use crate::support::program::Program;
use crate::support::redis::Redis;

const TOKEN: &str = "zq-token-9f31c2ab77d0";
const PASSWORD: &str = "zq-password-51ea";
/// What every argument, note and wrong value of the test has in it.
const SECRET: &str = "zq-secret-04d1";

/// The lines on stderr; fails the test when one is not JSON.
fn lines(node: &Program) -> Vec<Value> {
    let text = node.stderr();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// What requests were told of when they were answered.
fn spans(node: &Program) -> Vec<Value> {
    let answered = lines(node)
        .into_iter()
        .filter(|line| line["message"] == "answered");
    answered.map(|line| line["span"].clone()).collect()
}

async fn debug_node(redis: &Redis, name: &str) -> Program {
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    let env = [
        ("REDIS_URL", &*url),
        ("NODE_ID", name),
        ("MCP_LOG__LEVEL", "debug"),
        ("MCP_AUTH__TOKENS__ALICE", TOKEN),
    ];
    Program::serve(&[], &env).await
}

/// All that a client of sessions does, and does wrong. Returns the session's id.
async fn legacy_day(urls: &[String]) -> String {
    let client = Client::round_robin(urls)
        .header("authorization", &format!("Bearer {TOKEN}"))
        .capabilities(json!({"roots": {}}));
    let id = client.session().await.to_owned();
    for url in urls {
        let client = client.at(url);
        client.call("echo", json!({"text": SECRET})).await.ok();
        let note = json!({"key": SECRET, "value": {SECRET: SECRET}});
        client.call("remember", note).await.ok();
        client.call("recall", json!({"key": SECRET})).await.ok();
        client.read(&format!("note://session/{SECRET}")).await.ok();
        let uri = json!({"uri": format!("note://session/{SECRET}")});
        client.request("resources/subscribe", uri).await.ok();
        client
            .request("logging/setLevel", json!({"level": "debug"}))
            .await
            .ok();
        let counted = json!({"name": "countdown", "arguments": {"from": 2, "interval_ms": 1}});
        client.request("tools/call", counted).await.ok();
        // What goes wrong must not tell either.
        client.call("increment", json!({"key": SECRET})).await;
        client.call("echo", json!({"wrong": SECRET})).await;
        client.call(SECRET, json!({})).await;
        client.request(SECRET, json!({SECRET: SECRET})).await;
        client.notify(SECRET, json!({SECRET: SECRET})).await;
        client.respond(&json!(SECRET), json!({SECRET: SECRET})).await;
        client.read(&format!("other://{SECRET}")).await;
        client.post(&[], &format!("{{\"jsonrpc\": {SECRET}")).await;
        client.clone().in_session(SECRET).list().await;
        client.call("forget", json!({"key": SECRET})).await.ok();
    }
    let stranger = Client::round_robin(urls).header("authorization", &format!("Bearer {SECRET}"));
    assert_eq!(stranger.in_session(&id).list().await.status, 401);
    assert_eq!(client.delete().await.status, 204);
    id
}

/// The same for a client without sessions. Returns its notebook's handle.
async fn modern_day(urls: &[String]) -> String {
    let client = Client::round_robin(urls)
        .into_modern()
        .header("authorization", &format!("Bearer {TOKEN}"));
    let handle = client.open_notebook().await;
    let note = json!({"notebook": handle, "key": SECRET, "value": SECRET});
    client.call("remember", note).await.ok();
    client
        .call("recall", json!({"notebook": handle, "key": SECRET}))
        .await
        .ok();
    client
        .call("recall", json!({"notebook": SECRET, "key": SECRET}))
        .await;
    client.call("echo", json!({"text": SECRET})).await.ok();
    handle
}

#[tokio::test]
async fn logs_tell_what_happened_and_no_secret() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]).await;
    let nodes = [
        debug_node(&redis, "node-a").await,
        debug_node(&redis, "node-b").await,
    ];
    let urls = nodes.each_ref().map(Program::url);
    let session = legacy_day(&urls).await;
    let notebook = modern_day(&urls).await;
    for node in &nodes {
        // By its end it has written all of its log.
        node.signal(Signal::Terminate);
        assert_eq!(node.end().await.code, Some(0), "{}", node.stderr());
        let log = node.stderr() + &node.stdout();
        for secret in [&*session, &notebook, TOKEN, PASSWORD, SECRET] {
            let told = log.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{secret} is in the log");
        }
        let spans = spans(node);
        let of = |era: &str| spans.iter().filter(|span| span["era"] == era).collect::<Vec<_>>();
        let (legacy, modern) = (of("legacy"), of("modern"));
        assert!(legacy.len() >= 16, "{spans:#?}");
        assert!(!modern.is_empty(), "{spans:#?}");
        for span in legacy.iter().chain(&modern) {
            assert_eq!(span["name"], "request");
            assert!(["node-a", "node-b"].contains(&span["node"].as_str().expect("a node")));
            assert!(span["method"].is_string(), "{span}");
            assert!(span["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{span}");
        }
        let tags: BTreeSet<_> = legacy.iter().map(|span| span["session"].as_str()).collect();
        let [Some(tag)] = tags.into_iter().collect::<Vec<_>>()[..] else {
            panic!("one session, one tag: {legacy:#?}");
        };
        assert!(!session.contains(tag), "{tag} is a part of the id");
        assert!(modern.iter().all(|span| span.get("session").is_none()));
        let methods: BTreeSet<_> = legacy.iter().map(|span| span["method"].as_str()).collect();
        assert!(methods.contains(&Some("tools/call")), "{methods:?}");
        assert!(methods.contains(&Some("resources/read")), "{methods:?}");
    }
}

#[tokio::test]
async fn logs_are_text_for_those_who_ask_for_text() {
    let node = Program::serve(&[], &[("MCP_LOG__FORMAT", "text")]).await;
    node.signal(Signal::Interrupt);
    let log = node.end().await.stderr;
    assert!(log.contains(" INFO "), "{log}");
    assert!(!log.contains('{') || !log.starts_with('{'), "{log}");
    assert!(
        !log.contains('\u{1b}'),
        "no colours where there is no terminal: {log}"
    );
}
