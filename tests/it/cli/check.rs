//! `mcp-server check`: what it finds in a store, for people and for programs.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::node::{Node, NodeOptions};
use crate::support::process::{free_port, until};
use crate::support::program::Program;
use crate::support::redis::Redis;

/// Settings that are well on any machine, whose limit on open files may be low, and whose ports may be taken.
fn settings(redis_url: &str) -> [(&str, &str); 3] {
    [
        ("REDIS_URL", redis_url),
        ("MCP_HTTP__CONNECTIONS_MAX", "500"),
        ("PORT", "0"),
    ]
}

async fn text(redis_url: &str) -> String {
    Program::run(&["check"], &settings(redis_url)).await.ok()
}

async fn json(redis_url: &str) -> Value {
    let done = Program::run(&["check", "--json"], &settings(redis_url)).await;
    serde_json::from_str(&done.ok()).expect("JSON")
}

/// What the text says behind `label`, in all lines that begin so.
fn told(text: &str, label: &str) -> Vec<String> {
    let told = text.lines().filter_map(|line| line.strip_prefix(label));
    told.map(|rest| rest.trim().to_owned()).collect()
}

#[tokio::test]
async fn memory_is_checked_too_and_warned_of() {
    let text = text("").await;
    assert_eq!(told(&text, "store"), ["memory"]);
    assert!(told(&text, "warning")[0].contains("redis_url is empty"), "{text}");
    assert_eq!(told(&text, "ok"), ["this node can serve"]);
    let json = json("").await;
    assert_eq!(json["status"], "ok");
    assert_eq!(json["store"]["kind"], "memory");
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1), "{json}");
}

#[tokio::test]
async fn redis_is_told_with_its_round_trip_policy_and_clock() {
    let redis = Redis::start().await;
    let text = text(&redis.url()).await;
    assert!(
        told(&text, "store")[0].starts_with("redis, centralized, version "),
        "{text}"
    );
    assert!(
        told(&text, "round trip")[0].contains(" ms to make, read and end"),
        "{text}"
    );
    assert_eq!(told(&text, "eviction"), ["noeviction"]);
    assert!(told(&text, "clock")[0].starts_with("the store's is "), "{text}");
    assert!(told(&text, "warning").is_empty(), "{text}");
    assert_eq!(told(&text, "settings"), ["4 set, all others default"], "{text}");
    let url = redis.url();
    let (login, address) = url.split_once('@').expect("a user and a password");
    let (user, _password) = login.rsplit_once(':').expect("a password");
    let shown = format!("redis_url = \"{user}:***@{address}\" (REDIS_URL)");
    assert!(text.contains(&shown), "{text}");

    let json = json(&redis.url()).await;
    let store = &json["store"];
    assert_eq!(store["kind"], "redis");
    assert_eq!(store["evictionPolicy"], "noeviction");
    assert!(store["roundTripMs"].as_f64().is_some_and(|ms| ms > 0.0), "{json}");
    assert!(
        store["clockAheadMs"].as_i64().is_some_and(|ms| ms.abs() < 1000),
        "{json}"
    );
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(0), "{json}");
    assert!(redis.keys("*").await.is_empty(), "a check leaves nothing behind");
}

#[tokio::test]
async fn a_policy_that_may_drop_sessions_is_warned_of() {
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let text = text(&redis.url()).await;
    assert_eq!(told(&text, "eviction"), ["allkeys-lru"]);
    let warning = &told(&text, "warning")[0];
    assert!(
        warning.contains("allkeys-lru") && warning.contains("use noeviction"),
        "{text}"
    );
    let json = json(&redis.url()).await;
    assert_eq!(json["status"], "ok");
    assert!(
        json["warnings"][0]
            .as_str()
            .is_some_and(|text| text.contains("allkeys-lru"))
    );
}

#[tokio::test]
async fn a_clock_that_differs_is_warned_of() {
    let redis = Redis::start().await;
    let url = format!("redis://127.0.0.1:{}", behind_by_an_hour(redis.port()).await);
    let text = text(&url).await;
    assert!(told(&text, "clock")[0].ends_with(" ms behind"), "{text}");
    assert!(told(&text, "warning")[0].contains("NTP"), "{text}");
    let json = json(&url).await;
    let ahead = json["store"]["clockAheadMs"].as_i64().expect("a number");
    assert!((-3_610_000..=-3_590_000).contains(&ahead), "{json}");
}

#[tokio::test]
async fn what_fails_is_told_in_one_line() {
    let away = format!("redis://:hunter2@127.0.0.1:{}", free_port());
    let env = [("REDIS_URL", &*away), ("PORT", "0")];
    for arguments in [&["check"][..], &["sessions", "list"]] {
        let line = Program::run(arguments, &env).await.one_line(69);
        assert!(line.contains("REDIS_URL") && !line.contains("hunter2"), "{line}");
    }
    for arguments in [&["check", "--json"][..], &["sessions", "list", "--json"]] {
        let problems = Program::run(arguments, &env).await.problems(69);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let words = problems[0]["message"].as_str().expect("words");
        assert!(
            words.contains("REDIS_URL") && !words.contains("hunter2"),
            "{words}"
        );
    }
    let redis = Redis::start_with(&["--requirepass", "correct"]).await;
    let wrong = format!("redis://:hunter2@127.0.0.1:{}", redis.port());
    let line = Program::run(&["check"], &settings(&wrong)).await.one_line(78);
    assert!(line.contains("REDIS_URL") && line.contains("password"), "{line}");
}

/// A way to a Redis on which its clock goes an hour behind: the answer to TIME is changed. Returns its port.
async fn behind_by_an_hour(redis: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", redis)).await.expect("Redis");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    let answer = an_hour_less(&bytes[..count]);
                    to_client.write_all(&answer).await.expect("the client is there");
                }
            });
        }
    });
    port
}

/// Takes an hour off an answer to TIME: two texts, the first of them seconds in ten digits.
fn an_hour_less(answer: &[u8]) -> Vec<u8> {
    const HEAD: &[u8] = b"*2\r\n$10\r\n";
    let Some(seconds) = answer.strip_prefix(HEAD).and_then(|rest| rest.get(..10)) else {
        return answer.to_vec();
    };
    let seconds: u64 = String::from_utf8_lossy(seconds).parse().expect("seconds");
    let rest = &answer[HEAD.len() + 10..];
    [HEAD, (seconds - 3600).to_string().as_bytes(), rest].concat()
}

/// M14: nodes under another prefix on the same Redis are warned of: they answer 404 for each other's
/// sessions.
#[tokio::test]
async fn nodes_of_another_prefix_are_warned_of() {
    let redis = Redis::start().await;
    let other = NodeOptions::on(redis.url()).env("MCP_STORE__PREFIX", "other:");
    let other = Node::start(&other).await;
    let told = told(&text(&redis.url()).await, "warning").concat();
    assert!(told.contains("store.prefix \"other:\""), "{told}");
    let own = Node::start(&NodeOptions::on(redis.url())).await;
    until("the node has said so in its log", async || {
        own.log().contains("another store.prefix")
    })
    .await;
    assert!(!other.log().contains("another store.prefix"), "{}", other.log());
    let json = json(&redis.url()).await;
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1), "{json}");
}

/// A6: an address that a node could not listen on is found by `check`, in words.
#[tokio::test]
async fn an_address_that_cannot_be_had_is_a_problem() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for (host, words) in [
        ("127.0.0.1", &["another process listens there", "--port 0"][..]),
        // TEST-NET-1, which no machine has (RFC 5737).
        ("192.0.2.1", &["does not have that address"]),
        ("nowhere.invalid", &["nowhere.invalid", "lookup"]),
    ] {
        let env = [("HOST", host), ("PORT", &*port)];
        let line = Program::run(&["check"], &env).await.one_line(1);
        for word in words {
            assert!(line.contains(word), "no `{word}` in {line}");
        }
        let problems = Program::run(&["check", "--json"], &env).await.problems(1);
        let told = problems[0]["message"].as_str().expect("words");
        assert!(line.contains(told), "{told} and {line}");
    }
    // What is wrong with the store is told as well.
    let away = format!("redis://127.0.0.1:{}", free_port());
    let env = [("PORT", &*port), ("REDIS_URL", &*away)];
    let done = Program::run(&["check"], &env).await;
    assert_eq!((done.code, &*done.stdout), (Some(69), ""), "{done:?}");
    assert!(
        done.stderr.starts_with("mcp-server: 2 problems:\n"),
        "{}",
        done.stderr
    );
    let problems = Program::run(&["check", "--json"], &env).await.problems(69);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

/// A6: the address is free again at once, and no socket is left.
#[tokio::test]
async fn an_address_that_was_tried_can_be_had() {
    let port = free_port().to_string();
    let checked = Program::run(&["check"], &[("PORT", &port)]).await.ok();
    assert_eq!(told(&checked, "address"), [format!("http://127.0.0.1:{port}")]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("mcp.sock");
    let host = format!("unix:{}", socket.display());
    let checked = Program::run(&["check"], &[("HOST", &host)]).await.ok();
    assert_eq!(told(&checked, "address"), [&*host]);
    assert!(!socket.exists(), "a socket is left");

    let node = Program::serve(&[], &[("HOST", &host)]).await;
    let line = Program::run(&["check"], &[("HOST", &host)]).await.one_line(1);
    assert!(line.contains("another process listens there"), "{line}");
    assert!(socket.exists() && !node.ended(), "the node's own is left alone");
}

/// A6: `--json` answers in JSON also when settings are wrong, which is found before the command runs.
#[tokio::test]
async fn wrong_settings_are_told_in_json() {
    let env = [("PORT", "http"), ("MCP_AUTH__TOKENS__ALICE", "hunter2")];
    let done = Program::run(&["check", "--json", "--set", "sesion.ttl=1m"], &env).await;
    assert!(!done.stdout.contains("hunter2"), "{}", done.stdout);
    let problems = done.problems(78);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0]["setting"], "port");
    assert_eq!(problems[0]["source"], "PORT");
    assert_eq!(problems[0]["value"], "http");
    let message = problems[0]["message"].as_str().expect("words");
    assert!(message.contains("0 to 65535"), "{message}");
}

/// A6: doors that are open are warned of.
#[tokio::test]
async fn open_doors_are_warned_of() {
    let everywhere = [("HOST", "0.0.0.0"), ("PORT", "0")];
    let text = Program::run(&["check"], &everywhere).await.ok();
    let warnings = told(&text, "warning").concat();
    for words in [
        "no credentials are asked for",
        "http.allowed_hosts is empty",
        "set limit.address",
    ] {
        assert!(warnings.contains(words), "no `{words}` in {text}");
    }
    let mut closed = everywhere.to_vec();
    closed.push(("MCP_AUTH__TOKENS__ALICE", "a-token-of-some-length"));
    closed.push(("MCP_LIMIT__PRINCIPAL", "50/s burst 200"));
    closed.push(("MCP_LIMIT__FAILURES_ADDRESS", "1/s burst 30"));
    let text = Program::run(&["check"], &closed).await.ok();
    assert!(!text.contains("open door"), "{text}");
}
