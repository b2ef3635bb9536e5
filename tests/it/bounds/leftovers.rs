//! Nothing is left of sessions that have ended, in any way and at any moment: on no node, nor
//! in Redis.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::{http_client, http_get};
use crate::support::process::within;
use crate::support::program::Program;
use crate::support::sse::EventStream;

/// A call that was begun ends within its grace, a sweep, and the look for what is over.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Keys that are no session's: leases, shared secrets, counts of changes.
const OTHERS: [&str; 4] = ["node:", "nodes", "secret", "versions"];

/// Sessions of every kind, at everything a session can be at, and their open streams.
struct Busy {
    ids: Vec<String>,
    /// Those of streamable HTTP.
    clients: Vec<Client>,
    streams: Vec<EventStream>,
}

fn countdown() -> Value {
    json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 200}, "_meta": {"progressToken": 1}})
}

impl Busy {
    async fn on(cluster: &Cluster) -> Self {
        let mut busy = Self {
            ids: Vec::new(),
            clients: Vec::new(),
            streams: Vec::new(),
        };
        for node in 0..3 {
            for kind in 0..8 {
                busy.streamable(cluster, node, kind).await;
            }
            busy.sse(cluster, node, false).await;
            busy.sse(cluster, node, true).await;
        }
        busy
    }

    async fn streamable(&mut self, cluster: &Cluster, node: usize, kind: u32) {
        let client = cluster.client().capabilities(json!({"elicitation": {}}));
        self.ids.push(client.session().await.to_owned());
        // Every node keeps a copy.
        for _ in 0..3 {
            client.list().await.ok();
        }
        let here = client.at(&cluster.turn(node).url());
        match kind {
            0 => {}
            1 => drop(
                here.call("remember", json!({"key": "a", "value": "b"}))
                    .await
                    .ok(),
            ),
            2 => {
                let uri = json!({"uri": "note://session/a"});
                here.request("resources/subscribe", uri).await.ok();
            }
            3 => self.streams.push(here.listen(None).await),
            4 => drop(here.listen(None).await),
            // A call whose client listens, one whose client broke off, and one that waits for an answer in
            // silence.
            5 | 6 => {
                let (_, mut stream) = here.stream("tools/call", countdown()).await;
                stream.method("notifications/progress").await;
                if kind == 5 {
                    self.streams.push(stream);
                }
            }
            _ => {
                let ask = json!({"name": "ask", "arguments": {"question": "Well?"}});
                let (_, mut stream) = here.stream("tools/call", ask).await;
                stream.method("elicitation/create").await;
                self.streams.push(stream);
            }
        }
        self.clients.push(client);
    }

    async fn sse(&mut self, cluster: &Cluster, node: usize, calls: bool) {
        let http = http_client().build().expect("a client");
        let opened = http.get(format!("{}/sse", cluster.turn(node).url())).send().await;
        let mut stream = EventStream::new(opened.expect("a stream"));
        let endpoint = stream.next().await.expect("where to post").data.expect("a path");
        let elsewhere = cluster.turn(node + 1).url();
        let post = async |message: Value| {
            let sent = http.post(format!("{elsewhere}/{endpoint}")).json(&message).send();
            assert_eq!(sent.await.expect("an answer").status(), 202);
        };
        let info = json!({"name": "tests", "version": "1"});
        let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info});
        post(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})).await;
        stream.answer_to(&json!(1)).await;
        post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        if calls {
            post(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": countdown()})).await;
            stream.method("notifications/progress").await;
        }
        let (_, id) = endpoint.split_once("sessionId=").expect("a session");
        self.ids.push(id.to_owned());
        self.streams.push(stream);
    }
}

async fn nothing_is_left(cluster: &Cluster) {
    for node in cluster.nodes() {
        for gauge_name in [
            "anynode_sessions_active",
            "anynode_calls_in_flight",
            "anynode_streams_open",
        ] {
            let what = format!("{gauge_name} of {} is 0", node.id());
            within(ENDED_WITHIN, &what, || async {
                (gauge(&node.url(), gauge_name).await == 0.0).then_some(())
            })
            .await;
        }
        let health = http_get(format!("{}/health", node.url())).await;
        let health: Value = health.expect("an answer").json().await.expect("JSON");
        assert_eq!(health["activeSessions"], 0);
    }
    if cluster.has_redis() {
        nothing_is_left_in_redis(cluster).await;
    }
}

async fn nothing_is_left_in_redis(cluster: &Cluster) {
    let is_other = |key: &String| OTHERS.iter().any(|other| key.starts_with(other));
    within(ENDED_WITHIN, "Redis holds no key of theirs", || async {
        cluster.redis().keys("*").await.iter().all(is_other).then_some(())
    })
    .await;
    for node in cluster.nodes() {
        node.terminate();
    }
    for node in cluster.nodes() {
        assert!(node.end().await.success());
    }
    // The set of leases remembers those that have ended, should a call of theirs have to be found.
    within(ENDED_WITHIN, "leases have expired", || async {
        let left = cluster.redis().keys("*").await;
        let shared = left
            .iter()
            .all(|key| ["versions", "nodes", "secret"].contains(&key.as_str()));
        let size = cluster.redis().command(&["DBSIZE"]).await.int();
        (shared && usize::try_from(size) == Ok(left.len())).then_some(())
    })
    .await;
}

const ENDS_SOON: (&str, &str) = ("MCP_DRAIN__DELAY", "0s");

#[tokio::test]
async fn nothing_is_left_of_sessions_that_were_ended() {
    let cluster = Cluster::with(3, &[ENDS_SOON]).await;
    let busy = Busy::on(&cluster).await;
    assert!(cluster.redis().keys("calls:*").await.len() > 10);
    for client in &busy.clients {
        assert_eq!(client.delete().await.status, 204);
    }
    // HTTP+SSE has no way to end a session: operators have.
    let redis = cluster.redis();
    let left = redis.keys("session:*").await;
    assert_eq!(left.len(), busy.ids.len() - busy.clients.len());
    for key in left {
        let id = key.trim_start_matches("session:");
        let environment = [("REDIS_URL", &*redis.url())];
        Program::run(&["sessions", "end", id], &environment).await.ok();
    }
    nothing_is_left(&cluster).await;
    drop(busy.streams);
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_operators_end() {
    let cluster = Cluster::with(3, &[ENDS_SOON]).await;
    let busy = Busy::on(&cluster).await;
    for id in &busy.ids {
        let redis = [("REDIS_URL", &*cluster.redis().url())];
        Program::run(&["sessions", "end", id], &redis).await.ok();
    }
    for mut stream in busy.streams {
        while stream.next().await.is_some() {}
    }
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_expire() {
    let short = [ENDS_SOON, ("MCP_SESSION__TTL", "3s")];
    for cluster in [Cluster::with(3, &short).await, Cluster::alone(&short).await] {
        let busy = Busy::on(&cluster).await;
        // One that listens uses the session.
        drop(busy.streams);
        nothing_is_left(&cluster).await;
    }
}
