//! The support code shown to work, and to notice when something does not.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Duration;

use super::balancer::Balancer;
use super::client::Client;
use super::process::{Process, Signal};
use super::redis::{Redis, Reply};
use super::sse::{Event, Parser};

#[tokio::test]
async fn redis_answers_forgets_on_restart_and_can_be_frozen() {
    let redis = Redis::start().await;
    assert_eq!(
        redis.command(&["SET", "key", "value"]).await,
        Reply::Text("OK".into())
    );
    assert_eq!(redis.command(&["GET", "key"]).await.text(), "value");
    assert_eq!(redis.command(&["GET", "none"]).await, Reply::Nil);
    assert_eq!(redis.command(&["DBSIZE"]).await.int(), 1);
    assert_eq!(redis.keys("*").await, ["key"]);
    assert!(matches!(redis.command(&["NONSENSE"]).await, Reply::Error(_)));

    redis.pause();
    redis.resume();
    assert_eq!(redis.command(&["GET", "key"]).await.text(), "value");

    redis.stop().await;
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "key"]).await, Reply::Nil);
    redis.kill().await;
}

#[tokio::test]
async fn redis_takes_arguments() {
    let redis = Redis::start_with(&["--requirepass", "secret"]).await;
    let Reply::Error(error) = redis.command(&["GET", "key"]).await else {
        panic!("Redis asked for no password");
    };
    assert!(error.starts_with("NOAUTH"), "{error}");
}

#[tokio::test]
async fn the_balancer_gives_each_request_to_the_next_server() {
    let servers = [
        name_server("a").await,
        name_server("b").await,
        name_server("c").await,
    ];
    let balancer = Balancer::start(&servers).await;
    let client = Client::legacy(&balancer.url());

    let mut turns = Vec::new();
    for _ in 0..6 {
        let answer = client.post(&[], "{}").await;
        turns.push(answer.result().as_str().expect("a name").to_owned());
    }
    assert_eq!(turns[..3], turns[3..], "{turns:?}");
    turns[..3].sort();
    assert_eq!(turns[..3], ["a", "b", "c"]);
    assert_eq!(balancer.served().await, [2, 2, 2]);
}

#[tokio::test]
async fn a_client_of_several_servers_asks_them_in_turn() {
    let mut urls = Vec::new();
    for name in ["a", "b"] {
        urls.push(format!("http://127.0.0.1:{}", name_server(name).await));
    }
    let client = Client::round_robin(&urls).into_modern();
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(client.list().await.ok().result().clone());
    }
    assert_eq!(turns, ["a", "b", "a", "b"]);
    assert_eq!(client.at(&urls[1]).list().await.result(), "b");
}

#[tokio::test]
async fn a_modern_request_repeats_itself_in_headers() {
    let client = Client::modern("http://127.0.0.1:1").capabilities(json!({"sampling": {}}));
    let params = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": 7}});
    let (headers, body) = client.message("tools/call", params, Some(json!(1))).await;
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ] {
        assert!(headers.contains(&(name.into(), value.into())), "{headers:?}");
    }
    let meta = &body["params"]["_meta"];
    assert_eq!(meta["progressToken"], 7);
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(
        meta["io.modelcontextprotocol/clientCapabilities"],
        json!({"sampling": {}})
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientInfo"]["name"],
        "anynode-tests"
    );
}

#[test]
fn events_are_read_however_the_bytes_are_cut() {
    let text = ": hello\n\nid: 1\nretry: 500\ndata:\n\nevent: message\nid: 2\r\ndata: {\"a\":\ndata: 1}\n\n";
    let priming = Event {
        id: Some("1".into()),
        retry: Some(500),
        data: Some(String::new()),
        event: None,
    };
    for size in 1..text.len() {
        let mut parser = Parser::default();
        let events: Vec<_> = text
            .as_bytes()
            .chunks(size)
            .flat_map(|chunk| parser.push(chunk))
            .collect();
        assert_eq!(events.len(), 2, "in chunks of {size}");
        assert_eq!(events[0], priming);
        assert_eq!(events[0].message(), None);
        assert_eq!(events[1].message(), Some(json!({"a": 1})));
        assert_eq!(parser.comments, 1);
    }
}

#[test]
#[should_panic(expected = "apt-get install no-such-program")]
fn a_missing_program_fails_the_test_and_says_how_to_get_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let command = std::process::Command::new("no-such-program");
    let process = Process::spawn(
        command,
        &dir.path().join("log"),
        "apt-get install no-such-program",
    );
    process.signal(Signal::Kill);
}

/// A server that answers every request with its name.
async fn name_server(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 8192];
                let read = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut bytes)).await;
                let body = json!({"jsonrpc": "2.0", "id": 1, "result": name}).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len(),
                );
                if read.is_ok() {
                    drop(socket.write_all(answer.as_bytes()).await);
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_redis_with_a_key_that_does_not_end_fails_its_test() {
    let redis = Redis::start().await;
    redis.command(&["SET", "ends", "1", "PX", "60000"]).await;
    assert!(ends_well(redis), "every key has a TTL");
    let redis = Redis::start().await;
    redis.command(&["SET", "stays", "1"]).await;
    assert!(!ends_well(redis));
}

/// Whether a test that is done with this Redis goes on.
fn ends_well(redis: Redis) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(redis))).is_ok()
}
