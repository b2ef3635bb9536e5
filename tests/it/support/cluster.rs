//! Several nodes on one Redis.

use std::path::{Path, PathBuf};

use futures::future::join_all;

use super::balancer::Balancer;
use super::calls::no_call_is_left;
use super::client::Client;
use super::node::{Node, NodeOptions, example};
use super::process::until;
use super::redis::Redis;
use super::sse::EventStream;

/// One Redis, and nodes `node-0`, `node-1`, … on it; or one node with the store in memory.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    redis: Option<Redis>,
    env: Vec<(String, String)>,
    program: PathBuf,
    /// Nodes whose place another has taken: what they said may be asked for.
    former: Vec<Node>,
}

impl Cluster {
    /// Starts `count` nodes on a Redis of their own, and waits until all are live.
    pub(crate) async fn of(count: usize) -> Self {
        Self::with(count, &[]).await
    }

    /// Where streams have to work: three nodes on Redis, and one with the store in memory.
    pub(crate) async fn stages() -> [Self; 2] {
        [Self::of(3).await, Self::alone(&[]).await]
    }

    /// The same of nodes that run the example `name`.
    pub(crate) async fn stages_of_example(name: &str) -> [Self; 2] {
        let program = example(name);
        [
            Self::running(&program, 3, &[]).await,
            Self::start(&program, None, 1, &[]).await,
        ]
    }

    /// One node with the store in memory.
    pub(crate) async fn alone(env: &[(&str, &str)]) -> Self {
        Self::start(Path::new(env!("CARGO_BIN_EXE_mcp-server")), None, 1, env).await
    }

    /// The same with more environment for every node.
    pub(crate) async fn with(count: usize, env: &[(&str, &str)]) -> Self {
        Self::running(Path::new(env!("CARGO_BIN_EXE_mcp-server")), count, env).await
    }

    /// The same of nodes that run the example `name`.
    pub(crate) async fn of_example(name: &str, count: usize, env: &[(&str, &str)]) -> Self {
        Self::running(&example(name), count, env).await
    }

    /// The same of another program that takes the same settings.
    pub(crate) async fn running(program: &Path, count: usize, env: &[(&str, &str)]) -> Self {
        Self::start(program, Some(Redis::start().await), count, env).await
    }

    async fn start(program: &Path, redis: Option<Redis>, count: usize, env: &[(&str, &str)]) -> Self {
        let mut cluster = Self {
            program: program.into(),
            former: Vec::new(),
            nodes: Vec::new(),
            redis,
            env: env
                .iter()
                .map(|&(name, value)| (name.into(), value.into()))
                .collect(),
        };
        let options: Vec<_> = (0..count).map(|index| cluster.options(index)).collect();
        let nodes = options
            .iter()
            .map(|options| Node::start_program(&cluster.program, options));
        cluster.nodes = join_all(nodes).await;
        cluster
    }

    /// Starts one more node; returns its number.
    pub(crate) async fn add(&mut self) -> usize {
        let index = self.nodes.len();
        let node = Node::start_program(&self.program, &self.options(index)).await;
        self.nodes.push(node);
        index
    }

    /// Starts node number `index`, which has ended, again: under the same name, on the same port.
    pub(crate) async fn start_again(&mut self, index: usize) {
        assert!(self.nodes[index].ended(), "node {index} has not ended");
        let options = self.options(index).at(self.nodes[index].port());
        let node = Node::start_program(&self.program, &options).await;
        self.former.push(std::mem::replace(&mut self.nodes[index], node));
    }

    /// What nodes warned of, also those that were started again since.
    pub(crate) fn warnings(&self) -> String {
        self.said(&["\"WARN\"", "\"ERROR\""]).join("\n")
    }

    /// The lines of all logs that have one of these in them.
    pub(crate) fn said(&self, any_of: &[&str]) -> Vec<String> {
        let logs = self.former.iter().chain(&self.nodes).map(Node::log);
        let mut said = Vec::new();
        for log in logs {
            let lines = log
                .lines()
                .filter(|line| any_of.iter().any(|words| line.contains(words)));
            said.extend(lines.map(str::to_owned));
        }
        said
    }

    /// The sum of the lines of a metric that begin so, of all nodes that live.
    pub(crate) async fn metric(&self, begins: &str) -> f64 {
        let living = self.nodes.iter().filter(|node| !node.ended());
        join_all(living.map(|node| node.metric(begins)))
            .await
            .iter()
            .sum()
    }

    /// Ends a client's standing stream, and waits until its node knows: what is told before then is written to
    /// nobody.
    pub(crate) async fn leave(&self, stream: EventStream) {
        let standing = "anynode_streams_open{kind=\"standalone\"}";
        let open = self.metric(standing).await;
        drop(stream);
        until("the node notices", async || self.metric(standing).await < open).await;
    }

    /// Fails the test if a node has raised an alarm, or has done so before it was started again.
    pub(crate) async fn raised_no_alarm(&self) {
        let raised = self.metric("anynode_alarms_total").await;
        let said = self.said(&["\"anynode::audit\""]);
        assert!(raised == 0.0 && said.is_empty(), "{raised} alarms: {said:#?}");
    }

    /// Node number `index`, from 0.
    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Node number `turn`, counted round and round.
    pub(crate) fn turn(&self, turn: usize) -> &Node {
        &self.nodes[turn % self.nodes.len()]
    }

    /// All nodes, those that were killed too.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The Redis they share.
    pub(crate) const fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("the nodes share a Redis")
    }

    /// Whether they share one, or the store is in memory.
    pub(crate) const fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Waits until no call runs, and none is known in Redis.
    pub(crate) async fn no_call_is_left(&self) {
        no_call_is_left(&self.urls(), self.redis.as_ref()).await;
    }

    /// The URLs of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// A legacy client that sends each request to the next node, strictly in turn.
    pub(crate) fn client(&self) -> Client {
        Client::round_robin(&self.urls())
    }

    /// A modern client that sends each request to the next node, strictly in turn.
    pub(crate) fn modern(&self) -> Client {
        self.client().into_modern()
    }

    /// A HAProxy in front of all nodes, without affinity.
    pub(crate) async fn balancer(&self) -> Balancer {
        let ports: Vec<_> = self.nodes.iter().map(Node::port).collect();
        Balancer::start(&ports).await
    }

    /// The same on a port that this test has claimed.
    pub(crate) async fn balancer_at(&self, port: u16) -> Balancer {
        let ports: Vec<_> = self.nodes.iter().map(Node::port).collect();
        Balancer::start_at(port, &ports).await
    }

    fn options(&self, index: usize) -> NodeOptions {
        let mut options = match &self.redis {
            Some(redis) => NodeOptions::on(redis.url()),
            None => NodeOptions::default(),
        };
        options = options.env("NODE_ID", format!("node-{index}"));
        options.env.extend(self.env.iter().cloned());
        options
    }
}
