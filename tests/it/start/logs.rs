//! Logs: JSON for machines, enough to follow a request by, and nothing that lets a reader act for a client.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::http_client;
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

/// The lines of requests: one for each.
fn requests(node: &Program) -> Vec<Value> {
    let ended = ["answered", "refused"];
    let lines = lines(node).into_iter();
    lines
        .filter(|line| ended.iter().any(|word| line["message"] == *word))
        .collect()
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
        let lines = requests(node);
        for line in &lines {
            assert!(line["http"].is_string() && line["path"].is_string(), "{line}");
            assert!(line["status"].is_u64(), "{line}");
            assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
            let refused = line["message"] == "refused";
            assert_eq!(refused, line["status"].as_u64() >= Some(400), "{line}");
            assert!(!refused || line["reason"].is_string(), "{line}");
        }
        let spans: Vec<_> = lines.iter().map(|line| line["span"].clone()).collect();
        let of = |era: &str| spans.iter().filter(|span| span["era"] == era).collect::<Vec<_>>();
        let (legacy, modern) = (of("legacy"), of("modern"));
        assert!(legacy.len() >= 16, "{spans:#?}");
        assert!(!modern.is_empty(), "{spans:#?}");
        for span in legacy.iter().chain(&modern) {
            assert_eq!(span["name"], "request");
            assert!(["node-a", "node-b"].contains(&span["node"].as_str().expect("a node")));
            assert!(span["method"].is_string(), "{span}");
            let calls = span["method"] == "tools/call";
            assert_eq!(calls, span["tool"].is_string(), "{span}");
        }
        let tools: BTreeSet<_> = spans.iter().filter_map(|span| span["tool"].as_str()).collect();
        // What a client calls that is no tool is its own word.
        assert!(tools.contains("echo") && tools.contains("other"), "{tools:?}");
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

/// A24: one request is one line, in which nothing comes twice; a refusal is one that says what was asked for.
#[tokio::test]
async fn a_request_is_one_line() {
    let env = [("MCP_LOG__LEVEL", "debug"), ("MCP_LOG__FORMAT", "text")];
    let node = Program::serve(&[], &env).await;
    let client = Client::legacy(&node.url());
    client.session().await;
    client.call("echo", json!({"text": "hello"})).await.ok();
    Client::modern(&node.url()).call("whoami", json!({})).await.ok();
    let http = http_client().build().expect("a client");
    let url = node.url();
    for (method, path) in [("GET", "/nothing"), ("PUT", "/mcp"), ("POST", "/health")] {
        let method = method.parse().expect("a method");
        let sent = http.request(method, format!("{url}{path}")).send().await;
        assert!(sent.expect("an answer").status().is_client_error());
    }
    node.signal(Signal::Interrupt);
    let log = node.end().await.stderr;
    let with = |words: &[&str]| {
        let lines = log
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        lines.collect::<Vec<_>>()
    };
    for words in [
        &[
            "answered",
            "era=\"legacy\"",
            "method=\"initialize\"",
            "status=200",
        ][..],
        &[
            "answered",
            "tool=\"echo\"",
            "http=\"POST\" path=\"/mcp\"",
            "duration_ms=",
        ],
        &["answered", "era=\"modern\"", "tool=\"whoami\""],
        &[
            "refused",
            "http=\"GET\" path=\"other\"",
            "status=404",
            "reason=\"no_such_path\"",
        ],
        &["refused", "http=\"PUT\" path=\"/mcp\"", "status=405"],
        &["refused", "http=\"POST\" path=\"/health\"", "status=405"],
    ] {
        let lines = with(words);
        assert_eq!(lines.len(), 1, "{words:?}: {lines:#?} in\n{log}");
        for field in ["node=", "era=", "method=", "session=", "status="] {
            assert!(lines[0].matches(field).count() <= 1, "{}", lines[0]);
        }
    }
}

/// A21: `RUST_LOG` sets the level, unless this server's own settings do.
#[tokio::test]
async fn rust_log_is_honoured() {
    let level = async |env: &[(&str, &str)]| {
        let node = Program::serve(&[], env).await;
        Client::legacy(&node.url()).session().await;
        node.signal(Signal::Interrupt);
        let log = node.end().await.stderr;
        (log.contains("\"answered\""), log)
    };
    assert!(!level(&[]).await.0);
    assert!(level(&[("RUST_LOG", "debug")]).await.0);
    assert!(level(&[("RUST_LOG", "warn,anynode=debug")]).await.0);
    let both = [("RUST_LOG", "debug"), ("MCP_LOG__LEVEL", "info")];
    assert!(!level(&both).await.0, "the server's own variable wins");
    // That of another program is left alone, and told of.
    let (debug, log) = level(&[("RUST_LOG", "my_program")]).await;
    assert!(!debug && log.contains("left alone: RUST_LOG"), "{log}");
}

/// A21: nor does it bring into the log what must not be there. rmcp tells at `debug` what clients send.
#[tokio::test]
async fn no_filter_brings_a_secret_into_the_log() {
    for filter in ["trace", "rmcp=trace,anynode=trace", "rmcp::service=debug"] {
        let env = [("RUST_LOG", filter), ("MCP_AUTH__TOKENS__ALICE", TOKEN)];
        let node = Program::serve(&[], &env).await;
        let urls = [node.url()];
        let session = legacy_day(&urls).await;
        let notebook = modern_day(&urls).await;
        node.signal(Signal::Interrupt);
        let log = node.end().await.stderr;
        for secret in [&*session, &notebook, TOKEN, SECRET] {
            let told = log.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{secret} is in the log of {filter}");
        }
    }
}
