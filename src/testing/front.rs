//! A balancer for tests: it sends each connection to the next node, and looks at nothing in it.
#![expect(clippy::panic, reason = "a test that cannot go on fails by a panic")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How many connections it has open at once, at most; further ones wait.
const CONNECTIONS_MAX: usize = 1024;

/// A balancer at work. It ends when it is dropped, with its connections.
#[derive(Debug)]
pub(super) struct Front {
    url: String,
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
    _serving: JoinSet<()>,
}

impl Front {
    /// Begins to send connections to these nodes.
    pub(super) async fn start(nodes: Vec<SocketAddr>) -> Self {
        let listener = match TcpListener::bind(("127.0.0.1", 0)).await {
            Ok(listener) => listener,
            Err(error) => panic!("no port is free: {error}"),
        };
        let port = listener.local_addr().map_or(0, |address| address.port());
        let nodes = Arc::new(Mutex::new(nodes));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&nodes)));
        Self {
            url: format!("http://127.0.0.1:{port}"),
            nodes,
            _serving: serving,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends nothing more to that node.
    pub(super) fn leave_out(&self, node: SocketAddr) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|other| *other != node);
    }
}

async fn serve(listener: TcpListener, nodes: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut open = JoinSet::new();
    for turn in 0_usize.. {
        while open.len() >= CONNECTIONS_MAX {
            drop(open.join_next().await);
        }
        let Ok((mut client, _)) = listener.accept().await else {
            return;
        };
        let node = {
            let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.get(turn % nodes.len().max(1)).copied()
        };
        open.spawn(async move {
            let Some(node) = node else { return };
            if let Ok(mut node) = TcpStream::connect(node).await {
                // How a connection ends is for its two sides to see.
                copy_bidirectional(&mut client, &mut node).await.ok();
            }
        });
        while open.try_join_next().is_some() {}
    }
}
