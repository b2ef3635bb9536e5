//! What is left when all is over: in a node's process, in its metrics and its log, and in Redis.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::support::http::http_client;
use crate::support::node::Node;
use crate::support::process::{LOOK_EVERY, PATIENCE, eventually};
use crate::support::redis::Redis;

/// What a node's process holds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Every file descriptor.
    pub(super) files: usize,
    /// Connections to servers of Redis, and to sentinels.
    pub(super) redis: usize,
    /// Connections of clients.
    pub(super) clients: usize,
}

impl Open {
    /// What `node` holds open now; `redis` are the ports of the servers.
    pub(super) fn by(node: &Node, redis: &[u16]) -> Self {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", node.process_id()));
        let links = descriptors
            .expect("the node runs")
            .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        let links: Vec<String> = links.map(|link| link.display().to_string()).collect();
        let sockets: HashSet<&str> = links
            .iter()
            .filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
            .collect();
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
        // The system gives the table in pieces: when it changes meanwhile, a line may come twice.
        let of_node: HashMap<_, _> = table
            .lines()
            .filter_map(|line| connection(line, &sockets))
            .collect();
        let (mut to_redis, mut clients) = (0, 0);
        for (local, remote) in of_node.into_values() {
            to_redis += usize::from(redis.contains(&remote));
            clients += usize::from(local == node.port() && remote != 0);
        }
        Self {
            files: links.len(),
            redis: to_redis,
            clients,
        }
    }

    /// The same once no client is connected any longer.
    pub(super) async fn without_clients(node: &Node, redis: &[u16]) -> Self {
        let mut last = None;
        eventually("no client is connected, and it is seen twice", || {
            let open = Self::by(node, redis);
            let seen = last.replace(open) == Some(open) && open.clients == 0;
            std::future::ready(seen.then_some(open))
        })
        .await
    }
}

/// The socket of a line of `/proc/net/tcp` and its ports, if it is among these.
fn connection<'a>(line: &'a str, sockets: &HashSet<&str>) -> Option<(&'a str, (u16, u16))> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let port = |column: usize| u16::from_str_radix(columns.get(column)?.split_once(':')?.1, 16).ok();
    let socket = *columns.get(9)?;
    sockets.contains(socket).then_some((socket, (port(1)?, port(2)?)))
}

/// The text of `GET <path>`.
pub(super) async fn text(node: &Node, path: &str) -> (u16, String) {
    // A client of its own, whose connection ends with it.
    let http = http_client().build().expect("a client");
    let sent = http.get(format!("{}{path}", node.url())).send().await;
    let answer = sent.expect("the node answers");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// `GET /health`
pub(super) async fn health(node: &Node) -> (u16, Value) {
    let (status, body) = text(node, "/health").await;
    (status, serde_json::from_str(&body).expect("health is JSON"))
}

/// Metrics of what a node that has no session left has nothing of.
const GAUGES: [&str; 3] = [
    "anynode_streams_open",
    "anynode_calls_in_flight",
    "anynode_sessions_active",
];

/// Waits until a node that has no session left keeps none, runs no call and carries no stream.
pub(super) async fn nothing_is_left_on(node: &Node) {
    // What the last whole look has found.
    let mut left = vec!["no answer".to_owned()];
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut found = Vec::new();
            let kept = health(node).await.1["activeSessions"].as_u64();
            if kept != Some(0) {
                found.push(format!("{kept:?} sessions"));
            }
            let metrics = text(node, "/metrics").await.1;
            let counts = metrics
                .lines()
                .filter(|line| GAUGES.iter().any(|name| line.starts_with(name)));
            found.extend(counts.filter(|line| !line.ends_with(" 0")).map(str::to_owned));
            left = found;
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let ended = ended.await;
    assert!(ended.is_ok(), "{} still has {left:?}\n{}", node.id(), node.log());
}

/// Waits until these servers, which share the keys, hold what belongs to nodes, and nothing else.
pub(super) async fn only_nodes_are_left_in(servers: &[&Redis], nodes: &[Node]) {
    let mut expected: Vec<String> = nodes.iter().map(|node| format!("node:{}", node.id())).collect();
    expected.push("nodes".to_owned());
    expected.sort();
    let mut last = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut keys = Vec::new();
            for server in servers {
                keys.extend(server.keys("*").await);
            }
            last = keys;
            // A Redis that was emptied gets it again within a minute: until then the nodes know it.
            last.retain(|key| key != "secret" && key != "versions");
            // A replica that takes over may not have heard of a session's end: it is counted until its life
            // would have ended.
            last.retain(|key| key != "sessions" && !key.starts_with("peer-"));
            last.sort();
            if last == expected {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let found = found.await;
    assert!(found.is_ok(), "Redis holds {last:?}, and not {expected:?}");
}
