//! Nodes in the test's own process, for handlers of its own. They share one Redis, or one has the store in
//! memory.

use anynode::app::Running;
use anynode::{App, Settings};
use futures::future::join_all;
use rmcp::ServerHandler;

use super::calls::no_call_is_left;
use super::client::Client;
use super::process::know_tls;
use super::redis::Redis;

/// One Redis, and nodes `node-0`, `node-1`, … on it that serve the test's handler; or one node with the store
/// in memory.
#[derive(Debug)]
pub(crate) struct Inside {
    nodes: Vec<Running>,
    redis: Option<Redis>,
}

impl Inside {
    /// Starts `count` nodes that serve clones of `handler`.
    pub(crate) async fn of(count: usize, handler: impl ServerHandler + Clone) -> Self {
        Self::with(count, handler, |_| {}).await
    }

    /// Where streams have to work: three nodes on Redis, and one with the store in memory.
    pub(crate) async fn stages(handler: impl ServerHandler + Clone) -> [Self; 2] {
        Self::stages_with(handler, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn stages_with(
        handler: impl ServerHandler + Clone,
        change: impl Fn(&mut Settings),
    ) -> [Self; 2] {
        [
            Self::with(3, handler.clone(), &change).await,
            Self::start(None, 1, handler, change).await,
        ]
    }

    /// So many nodes on Redis, with other settings.
    pub(crate) async fn with(
        count: usize,
        handler: impl ServerHandler + Clone,
        change: impl Fn(&mut Settings),
    ) -> Self {
        Self::start(Some(Redis::start().await), count, handler, change).await
    }

    async fn start(
        redis: Option<Redis>,
        count: usize,
        handler: impl ServerHandler + Clone,
        change: impl Fn(&mut Settings),
    ) -> Self {
        know_tls();
        let start = |index: usize| {
            let mut settings = Settings {
                port: 0,
                node_id: format!("node-{index}"),
                redis_url: redis.as_ref().map(Redis::url).unwrap_or_default(),
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
        Client::round_robin(&self.urls())
    }

    /// The URL of node number `index`, counted round and round.
    pub(crate) fn url(&self, index: usize) -> &str {
        self.nodes[index % self.nodes.len()].address()
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address().to_owned()).collect()
    }

    /// The Redis they share, if they do.
    pub(crate) const fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// Waits until no call runs, and none is known in Redis.
    pub(crate) async fn no_call_is_left(&self) {
        no_call_is_left(&self.urls(), self.redis()).await;
    }

    /// Stops the nodes.
    pub(crate) async fn stop(self) -> Option<Redis> {
        join_all(self.nodes.into_iter().map(Running::stop)).await;
        self.redis
    }
}
