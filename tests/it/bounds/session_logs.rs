//! What the streams of a session hold is bounded together, and does not outlive its use.

use serde_json::{Value, json};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::eventually;
use crate::support::redis::Redis;
use anynode::store::Limits;

/// A call that says something first, so that it gets a stream, and ends at once.
fn short() -> Value {
    json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 0}, "_meta": {"progressToken": 1}})
}

/// Makes a call, reads its stream to the end, and returns the id that its first event had.
async fn streamed(client: &Client, params: Value) -> String {
    let (_, mut stream) = client.stream("tools/call", params).await;
    let first = stream.next().await.expect("a priming event");
    while stream.next().await.is_some() {}
    first.id.expect("an id")
}

async fn fields(redis: &Redis, pattern: &str) -> Vec<String> {
    let keys = redis.keys(pattern).await;
    assert_eq!(keys.len(), 1, "{pattern}");
    redis.command(&["HKEYS", &keys[0]]).await.texts()
}

/// F8: the stream of a call that has ended can be taken up for `stream.ttl`, and no longer.
#[tokio::test]
async fn a_stream_can_be_taken_up_for_a_while_after_its_call_has_ended() {
    let env = [("MCP_STREAM__TTL", "4s")];
    for cluster in [Cluster::with(2, &env).await, Cluster::alone(&env).await] {
        let client = cluster.client();
        // One that goes on in silence, for longer than that.
        let silent = json!({"name": "countdown", "arguments": {"from": 2, "interval_ms": 5000}});
        let (_, mut going) = client.stream("tools/call", silent).await;
        let going_id = going.next().await.and_then(|event| event.id).expect("an id");
        drop(going);
        let over = streamed(&client, short()).await;
        for node in cluster.nodes() {
            let mut again = client.at(&node.url()).listen(Some(&over)).await;
            let answer = again
                .message_where(|message| message.get("result").is_some())
                .await;
            assert!(answer["result"]["content"].is_array(), "{answer}");
        }
        let refused = eventually("the stream is let go", || async {
            let answer = client.get(Some(&over)).await;
            (answer.status() != 200).then_some(answer)
        })
        .await;
        assert_eq!(refused.status(), 400);
        let body: Value = refused.json().await.expect("JSON");
        let words = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            words.contains("no such stream in this session, or no longer"),
            "{body}"
        );
        let mut going = client.listen(Some(&going_id)).await;
        let answer = going
            .message_where(|message| message.get("result").is_some())
            .await;
        assert!(answer["result"]["content"].is_array(), "{answer}");
    }
}

/// F8 and finding 13: nothing of a call that has ended stays in its session's hash, and its log not for long.
#[tokio::test]
async fn a_call_that_has_ended_leaves_its_log_for_five_minutes_and_nothing_else() {
    let cluster = Cluster::of(2).await;
    let (client, redis) = (cluster.client(), cluster.redis());
    let mut last = String::new();
    for _ in 0..8 {
        last = streamed(&client, short()).await;
    }
    // One that takes a session up leaves nothing either.
    let mut again = client.listen(Some(&last)).await;
    while again.next().await.is_some() {}
    let left = fields(redis, "session:*").await;
    assert!(!left.iter().any(|field| field.starts_with("attach:")), "{left:?}");
    let logs = redis.keys("events:*").await;
    assert_eq!(logs.len(), 8);
    for log in logs {
        let life = redis.command(&["PTTL", &log]).await.int();
        assert!(0 < life && life <= 300_000, "{life} ms");
    }
}

/// Findings 13 and 26: what is noted of calls and logs that are no more goes as calls begin.
#[tokio::test]
async fn what_is_noted_of_logs_that_have_expired_is_swept() {
    let cluster = Cluster::of(1).await;
    let (client, redis) = (cluster.client(), cluster.redis());
    streamed(&client, short()).await;
    let calls = redis.keys("calls:*").await.remove(0);
    let noted = [
        "HSET",
        &calls,
        "count:swept",
        "1",
        "ended:old",
        "1",
        "stream:old",
        "1",
        "count:bytes",
        "99999999",
    ];
    redis.command(&noted).await;
    streamed(&client, short()).await;
    let left = redis.command(&["HKEYS", &calls]).await.texts();
    for gone in ["ended:old", "stream:old"] {
        assert!(!left.iter().any(|field| field == gone), "{left:?}");
    }
    let counted = redis
        .command(&["HMGET", &calls, "count:streams", "count:bytes"])
        .await
        .texts();
    let logs = redis.keys("events:*").await;
    let mut bytes = 0;
    for log in &logs {
        let kept = redis.command(&["HGET", log, "bytes"]).await.text();
        bytes += kept.parse::<u64>().expect("a number");
    }
    assert_eq!(counted, [logs.len().to_string(), bytes.to_string()]);
}

/// F8: however many calls a session makes, and however much they say, its streams hold so many bytes
/// together.
#[tokio::test]
async fn the_streams_of_a_session_hold_so_many_bytes_together() {
    let cluster = Cluster::of(2).await;
    let (client, redis) = (cluster.client(), cluster.redis());
    // 24 calls of 1 MiB: 24 messages of 44 KiB each.
    let call = json!({
        "name": "countdown", "arguments": {"from": 24, "interval_ms": 0},
        "_meta": {"progressToken": "t".repeat(44 << 10)}
    });
    let mut last = String::new();
    for _ in 0..24 {
        last = streamed(&client, call.clone()).await;
    }
    let mut bytes = 0;
    for log in redis.keys("events:*").await {
        bytes += redis
            .command(&["HGET", &log, "bytes"])
            .await
            .text()
            .parse::<u64>()
            .expect("a number");
    }
    assert!(bytes <= Limits::SESSION_BYTES_MAX, "{bytes} bytes");
    assert!(bytes > Limits::SESSION_BYTES_MAX / 2, "{bytes} bytes");
    let mut newest = client.listen(Some(&last)).await;
    newest
        .message_where(|message| message.get("result").is_some())
        .await;
}

/// M12: a client that says more of itself than a session keeps is refused in words, unless it is its picture.
#[tokio::test]
async fn what_a_session_keeps_of_its_client_is_bounded() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let initialize = |info: Value, capabilities: Value| {
        json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info}
        })
        .to_string()
    };
    let icon = format!("data:image/png;base64,{}", "A".repeat(30_000));
    let shown = json!({"name": "c", "version": "1", "icons": [{"src": icon}]});
    client.post(&[], &initialize(shown, json!({}))).await.ok();
    let titled = json!({"name": "c", "version": "1", "title": "t".repeat(5000)});
    let many: Value = (0..300)
        .map(|n| (format!("experimental-{n}"), json!({})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for refused in [
        initialize(titled, json!({})),
        initialize(
            json!({"name": "c", "version": "1"}),
            json!({"experimental": many}),
        ),
    ] {
        let answer = client.post(&[], &refused).await;
        assert_eq!((answer.status, answer.code()), (200, -32602), "{answer:?}");
        assert!(
            answer.error()["message"].to_string().contains("4096 bytes"),
            "{answer:?}"
        );
        assert_eq!(answer.header("mcp-session-id"), None);
    }
    let kept = cluster.redis().keys("session:*").await;
    assert_eq!(kept.len(), 1);
    let size = cluster
        .redis()
        .command(&["MEMORY", "USAGE", &kept[0]])
        .await
        .int();
    assert!(size < 5 << 10, "{size} bytes");
}

/// How long a stream that does nothing is watched.
const WATCHED: Duration = Duration::from_secs(20); // longer than nodes compare what has changed
const NEWCOMERS: usize = 40;

/// How many scripts Redis has run.
fn scripts(redis: &Redis) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = line.and_then(|line| line.split(',').next()).unwrap_or("0");
    calls.parse().expect("a number")
}

/// M13: streams of clients that never say anything ask nothing of Redis.
#[tokio::test]
async fn streams_of_newcomers_that_do_nothing_ask_nothing() {
    let cluster = Cluster::of(1).await;
    let (node, redis) = (cluster.node(0), cluster.redis());
    let http = http_client().build().expect("a client");
    let mut streams = Vec::new();
    for _ in 0..NEWCOMERS {
        let opened = http.get(format!("{}/sse", node.url())).send().await;
        let mut stream = crate::support::sse::EventStream::new(opened.expect("a stream"));
        stream.next().await.expect("where to post");
        streams.push(stream);
    }
    let before = scripts(redis);
    tokio::time::sleep(WATCHED).await;
    let asked = scripts(redis) - before;
    // A node's own are some ten a second.
    let own = 10 * WATCHED.as_secs();
    assert!(
        asked < own + NEWCOMERS as u64,
        "{asked} scripts in {WATCHED:?} for {NEWCOMERS} streams"
    );
}

/// M13: a stream whose client never initializes ends with its session, though nobody rings.
#[tokio::test]
async fn the_stream_of_a_newcomer_ends_with_its_session() {
    let env = [("MCP_SESSION__UNINITIALIZED_TTL", "2s")];
    for cluster in [Cluster::with(1, &env).await, Cluster::alone(&env).await] {
        let http = http_client().build().expect("a client");
        let opened = http.get(format!("{}/sse", cluster.node(0).url())).send().await;
        let mut stream = crate::support::sse::EventStream::new(opened.expect("a stream"));
        stream.next().await.expect("where to post");
        assert_eq!(
            stream.next_within(Duration::from_secs(10)).await,
            Some(None),
            "it ends"
        );
    }
}
