//! TLS in the process itself: what is served over it, files that change, and certificates of clients.

use std::time::Duration;

use crate::support::node::{Node, NodeOptions};
use crate::support::tls::{Authority, PemFiles};

mod clients;
mod handshakes;
mod reload;
mod start;
mod streams;

/// A node with a certificate of an authority of its own.
struct SecureNode {
    authority: Authority,
    files: PemFiles,
    node: Node,
}

impl SecureNode {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(env: &[(&str, &str)]) -> Self {
        let authority = Authority::new("anynode test authority");
        let files = PemFiles::of(&authority.server(), &authority);
        let options = files
            .env()
            .into_iter()
            .fold(NodeOptions::default(), |options, (name, value)| {
                options.env(&name, value)
            });
        let options = env
            .iter()
            .fold(options, |options, (name, value)| options.env(name, *value));
        Self {
            node: Node::start(&options).await,
            authority,
            files,
        }
    }

    /// How often something of that name and those labels was counted.
    async fn counted(&self, series: &str) -> u64 {
        let http = crate::support::tls::http(&self.authority, None);
        let sent = http.get(format!("{}/metrics", self.node.url())).send().await;
        let text = sent.expect("metrics").text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().expect("a count"))
    }
}

/// As long as a handshake may take, and some to spare.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
