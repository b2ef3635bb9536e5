//! What a session takes in Redis: what deploy/README.md counts with.

use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;

use crate::support::client::Client;
use crate::support::node::{Node, NodeOptions};
use crate::support::redis::Redis;

const SESSIONS: usize = 1000;
/// How many clients come at once.
const AT_ONCE: usize = 16;
/// The bounds on what a session takes, on what is more when its client listens, and on what a finished call's
/// stream of twenty events leaves while it can be taken up.
const SESSION_BYTES_MAX: u64 = 2048;
const STREAM_BYTES_MAX: u64 = 1024;
const LOG_BYTES_MAX: u64 = 16 * 1024;

fn used(redis: &Redis) -> u64 {
    let memory = redis.cli(&["INFO", "memory"]);
    let line = memory.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.expect("Redis tells").trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_takes_little_in_redis() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url())).await;
    // What the first client takes is taken once.
    Client::legacy(&node.url()).session().await;
    let empty = used(&redis);
    let clients: Vec<Client> = (0..SESSIONS).map(|_| Client::legacy(&node.url())).collect();
    let each = futures::stream::iter(&clients);
    each.for_each_concurrent(AT_ONCE, async |client| {
        client.session().await;
    })
    .await;
    let sessions = used(&redis);
    let streams = join_all(clients.iter().map(|client| client.listen(None))).await;
    let listening = used(&redis);
    let count = json!({"name": "countdown", "arguments": {"from": 9, "interval_ms": 20}, "_meta": {"progressToken": "t"}});
    let each = futures::stream::iter(&clients);
    each.for_each_concurrent(AT_ONCE, async |client| {
        let answer = client.request("tools/call", count.clone()).await.ok();
        assert!(answer.messages.len() > 18, "{answer:?}");
    })
    .await;
    let logged = used(&redis);
    drop(streams);

    let each = |bytes: u64| bytes / SESSIONS as u64;
    let (session, stream, log) = (
        each(sessions - empty),
        each(listening.saturating_sub(sessions)),
        each(logged.saturating_sub(listening)),
    );
    println!(
        "in Redis: {session} B a session, {stream} B more with its stream, {log} B a log of twenty events"
    );
    assert!(session <= SESSION_BYTES_MAX, "{session} B a session");
    assert!(stream <= STREAM_BYTES_MAX, "{stream} B a stream");
    assert!(log <= LOG_BYTES_MAX, "{log} B a log");
}
