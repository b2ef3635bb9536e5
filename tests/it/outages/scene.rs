//! Three nodes on a Redis that will go away, and proof that nothing of an outage stays behind in them.

use std::time::Duration;

use futures::future::join_all;

use super::rest::{Open, nothing_is_left_on, only_nodes_are_left_in};
use super::watch::Emptied;
use crate::support::client::Client;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::redis::Redis;

/// For how long the last node serves what it knows: a shorter time than an outage takes.
pub(super) const SHORT_GRACE: Duration = Duration::from_secs(3);
/// For how long each node does; the first two as is the default.
const GRACES: [&str; 3] = ["60s", "60s", "3s"];

/// Nodes `node-0`, `node-1` and `node-2`, the last of which serves what it knows for a short time only.
pub(super) struct Scene {
    pub(super) url: String,
    pub(super) nodes: Vec<Node>,
    /// When Redis was restarted empty.
    pub(super) emptied: Emptied,
    redis: Vec<u16>,
    before: Vec<Open>,
    wanted: Wanted,
}

/// Which sessions a test wants, by their ids: all, or those on one master of a cluster.
pub(super) type Wanted = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl Scene {
    /// Starts the nodes on a Redis whose servers listen on these ports.
    pub(super) async fn on(url: &str, redis: &[u16], wanted: Wanted) -> Self {
        let options = GRACES.iter().enumerate().map(|(n, grace)| {
            NodeOptions::on(url)
                .env("NODE_ID", format!("node-{n}"))
                .env("MCP_STORE__TIMEOUT", "1s")
                .env("MCP_STORE__OUTAGE_GRACE", *grace)
                // What was made while nobody could be told of it ends soon.
                .env("MCP_SESSION__UNINITIALIZED_TTL", "5s")
        });
        let options: Vec<_> = options.collect();
        let nodes = join_all(options.iter().map(Node::start)).await;
        let mut before = Vec::new();
        for node in &nodes {
            let open = Open::without_clients(node, redis).await;
            assert!(
                open.redis >= 3,
                "two connections for commands, one for rings: {open:?}"
            );
            before.push(open);
        }
        Self {
            url: url.into(),
            nodes,
            emptied: Emptied::default(),
            redis: redis.into(),
            before,
            wanted,
        }
    }

    /// The URLs of all nodes.
    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// A client of these nodes, strictly in turn, whose session is one that the test wants.
    pub(super) async fn session(&self, nodes: &[usize]) -> Client {
        loop {
            let client = self.client(nodes);
            if self.wants(client.session().await) {
                return client;
            }
            assert_eq!(client.delete().await.status, 204);
        }
    }

    /// Whether the test wants a session of that id.
    pub(super) fn wants(&self, session: &str) -> bool {
        (self.wanted)(session)
    }

    /// A client of these nodes, strictly in turn.
    pub(super) fn client(&self, nodes: &[usize]) -> Client {
        let urls: Vec<_> = nodes.iter().map(|node| self.nodes[*node].url()).collect();
        Client::round_robin(&urls)
    }

    /// Shows that nothing of the outage stays behind, in the nodes or in the servers that hold the keys now;
    /// all sessions have ended.
    pub(super) async fn is_as_before(&self, servers: &[&Redis], sessions: &[String]) {
        for node in &self.nodes {
            nothing_is_left_on(node).await;
        }
        only_nodes_are_left_in(servers, &self.nodes).await;
        for (node, before) in self.nodes.iter().zip(&self.before) {
            let what = format!("{} holds open what it did at first: {before:?}", node.id());
            let mut now = *before;
            let same = eventually(&what, || {
                now = Open::by(node, &self.redis);
                let same = now.redis == before.redis && now.clients == 0 && now.files <= before.files;
                std::future::ready(same.then_some(()))
            });
            let same = tokio::time::timeout(Duration::from_secs(15), same).await;
            assert!(same.is_ok(), "not so: {what}, and now {now:?}");
            let log = node.log();
            for word in ["panicked", "PANIC", "\"ERROR\""] {
                assert!(!log.contains(word), "{word} in the log of {}:\n{log}", node.id());
            }
            for session in sessions {
                assert!(!log.contains(session), "a session id in the log of {}", node.id());
            }
        }
    }
}
