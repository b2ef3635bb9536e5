//! Nodes in the test's own process, for handlers of its own. They share one Redis.

use anynode::app::Running;
use anynode::{App, Settings};
use futures::future::join_all;
use rmcp::ServerHandler;

use super::client::Client;
use super::redis::Redis;

/// One Redis, and nodes `node-0`, `node-1`, … on it that serve the test's handler.
#[derive(Debug)]
pub(crate) struct Inside {
    nodes: Vec<Running>,
    redis: Redis,
}

impl Inside {
    /// Starts `count` nodes that serve clones of `handler`.
    pub(crate) async fn of(count: usize, handler: impl ServerHandler + Clone) -> Self {
        Self::with(count, handler, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn with(
        count: usize,
        handler: impl ServerHandler + Clone,
        change: impl Fn(&mut Settings),
    ) -> Self {
        let redis = Redis::start().await;
        let start = |index: usize| {
            let mut settings = Settings {
                port: 0,
                node_id: format!("node-{index}"),
                redis_url: redis.url(),
                ..Settings::default()
            };
            change(&mut settings);
            let handler = handler.clone();
            let node = App::builder().settings(settings).handler(move || handler);
            async move { node.spawn().await.expect("the node starts") }
        };
        let nodes = join_all((0..count).map(start)).await;
        Self { nodes, redis }
    }

    /// A legacy client that sends each request to the next node, strictly in turn.
    pub(crate) fn client(&self) -> Client {
        let urls: Vec<_> = self.nodes.iter().map(|node| node.address().to_owned()).collect();
        Client::round_robin(&urls)
    }

    /// The URL of node number `index`, counted round and round.
    pub(crate) fn url(&self, index: usize) -> &str {
        self.nodes[index % self.nodes.len()].address()
    }

    /// The Redis they share.
    pub(crate) const fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Stops the nodes.
    pub(crate) async fn stop(self) -> Redis {
        join_all(self.nodes.into_iter().map(Running::stop)).await;
        self.redis
    }
}
