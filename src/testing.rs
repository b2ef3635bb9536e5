//! For the tests of your own server: nodes in the test's process, on one store in memory, and a client of
//! either era that meets another node with each request.
//!
//! ```
//! use anynode::Era;
//! use anynode::session::Caller;
//! use anynode::testing::TestServer;
//! use rmcp::model::CallToolRequestParams;
//! use rmcp::{ErrorData, tool, tool_router};
//!
//! struct Counter;
//!
//! #[tool_router(server_handler)]
//! impl Counter {
//!     /// Counts the calls of all clients.
//!     #[tool]
//!     async fn count(&self, caller: Caller) -> Result<String, ErrorData> {
//!         let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
//!         let count = caller.shared_state().update("count", add_one).await?;
//!         Ok(count.unwrap_or(0).to_string())
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! let mut server = TestServer::of(2, || Counter).await;
//! for era in [Era::Legacy, Era::Modern] {
//!     let client = server.connect(era, ()).await;
//!     client.call_tool(CallToolRequestParams::new("count")).await.unwrap();
//! }
//! server.kill(0).await;
//! let client = server.connect(Era::Legacy, ()).await;
//! let counted = client.call_tool(CallToolRequestParams::new("count")).await.unwrap();
//! assert_eq!(counted.content[0].as_text().unwrap().text, "3");
//! server.stop().await;
//! # }
//! ```
//!
//! A client is rmcp's: give it a [`ClientHandler`] of your own where your server asks it something or tells it
//! something. Needs the feature `testing`.
#![expect(clippy::panic, reason = "a test that cannot go on fails by a panic")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};

use crate::app::{App, Builder};
use crate::config::Settings;
use crate::engine::handler::Handler;
use crate::protocol::era::Era;
use crate::store::memory::MemoryStore;

mod front;
mod node;

use front::Front;
use node::TestNode;

/// How long balancers get to notice that a node of a test stops: there is none that has to ask.
const DRAIN_DELAY: Duration = Duration::ZERO;

/// Nodes of one server in this process, on one store in memory, with a balancer in front of them that sends
/// each connection to the next. All end when it is dropped.
///
/// It panics when it cannot do as it is told: it is for tests.
pub struct TestServer {
    nodes: Vec<TestNode>,
    front: Front,
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl TestServer {
    /// One node that serves this handler.
    pub async fn start<H: Handler>(make: impl FnOnce() -> H) -> Self {
        let mut make = Some(make);
        Self::with(1, |app| match make.take() {
            Some(make) => app.handler(make),
            None => app,
        })
        .await
    }

    /// So many nodes, each with a handler of its own.
    pub async fn of<H: Handler>(nodes: usize, mut make: impl FnMut() -> H) -> Self {
        Self::with(nodes, |app| app.handler(&mut make)).await
    }

    /// So many nodes, each as `change` makes it of its builder: with other settings by
    /// [`settings`](Self::settings), with authentication, with a store of your own.
    pub async fn with(nodes: usize, mut change: impl FnMut(Builder) -> Builder) -> Self {
        // Some HTTP clients of tests ask for one when they are made, also to speak plain HTTP. The program's own
        // counts, if it has one.
        #[cfg(any(feature = "oauth", feature = "redis", feature = "tls"))]
        rustls::crypto::ring::default_provider().install_default().ok();
        let store = Arc::new(MemoryStore::shared());
        let mut started = Vec::new();
        for _ in 0..nodes {
            let app = App::builder().settings(Self::settings());
            let app = change(app.store(Arc::<MemoryStore>::clone(&store)));
            started.push(TestNode::start(app).await);
        }
        let addresses = started.iter().map(TestNode::socket).collect();
        Self {
            front: Front::start(addresses).await,
            nodes: started,
        }
    }

    /// The settings of a node in a test: the defaults, on a free port of this machine.
    #[must_use]
    pub fn settings() -> Settings {
        let mut settings = Settings {
            port: 0,
            ..Settings::default()
        };
        settings.drain.delay = DRAIN_DELAY;
        settings
    }

    /// Where the balancer listens: `http://127.0.0.1:port`. Clients connect to `/mcp` and `/sse` below.
    #[must_use]
    pub fn url(&self) -> &str {
        self.front.url()
    }

    /// Where one of the nodes listens, counted from 0.
    #[must_use]
    pub fn node_url(&self, node: usize) -> &str {
        self.node(node).url()
    }

    /// Connects a client of that era, each of whose requests reaches the next node.
    pub async fn connect<C: ClientHandler>(&self, era: Era, client: C) -> RunningService<RoleClient, C> {
        let lifecycle = match era {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Modern => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        };
        // A connection of its own for each request: the balancer sends each to the next node.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        let http = http.unwrap_or_default();
        let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", self.url()));
        let transport = StreamableHttpClientTransport::with_client(http, config);
        match serve_client_with_lifecycle(client, transport, lifecycle).await {
            Ok(connected) => connected,
            Err(error) => panic!("the client could not connect: {error}"),
        }
    }

    /// Kills a node, as `kill -9` would: its connections break, its calls are taken over by the others once its
    /// lease has ended, after 3 s. It stays dead.
    pub async fn kill(&mut self, node: usize) {
        self.front.leave_out(self.node(node).socket());
        self.node_mut(node).kill().await;
    }

    /// Holds a node up, as `kill -STOP` would: nothing of it goes on, no timer either, until it is resumed.
    /// The balancer goes on sending to it.
    pub async fn pause(&mut self, node: usize) {
        self.node_mut(node).pause().await;
    }

    /// Lets a node go on that was held up.
    pub fn resume(&mut self, node: usize) {
        self.node_mut(node).resume();
    }

    /// Stops all nodes that are left: calls in flight may finish.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }

    fn node(&self, node: usize) -> &TestNode {
        let nodes = self.nodes.len();
        self.nodes
            .get(node)
            .unwrap_or_else(|| panic!("there are {nodes} nodes, counted from 0"))
    }

    fn node_mut(&mut self, node: usize) -> &mut TestNode {
        let nodes = self.nodes.len();
        self.nodes
            .get_mut(node)
            .unwrap_or_else(|| panic!("there are {nodes} nodes, counted from 0"))
    }
}
