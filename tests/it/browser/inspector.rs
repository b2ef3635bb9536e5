//! The MCP Inspector in a browser, unchanged: its page connects through its backend and, in the versions that can, directly.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::run;
use crate::official_clients::installed;
use crate::support::cluster::Cluster;
use crate::support::process::free_port;

const NODES: usize = 3;
const TRANSPORTS_1: [(&str, &str); 2] = [("streamable-http", "mcp"), ("sse", "sse")];
/// What the Inspector 2.x runs as.
const PROGRAM_2: &str = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

#[tokio::test]
async fn the_inspectors_page_connects_through_its_proxy() {
    inspector_1("Via Proxy").await;
}

/// No page of the Inspector could before answers had the headers of CORS.
#[tokio::test]
async fn the_inspectors_page_connects_directly() {
    inspector_1("Direct").await;
}

/// The 1.x line: the last that has a direct mode.
async fn inspector_1(connection: &str) {
    let cluster = Cluster::of(NODES).await;
    let balancer = cluster.balancer().await;
    for (transport, path) in TRANSPORTS_1 {
        let screenshot = screenshot(&format!("inspector-1-{transport}-{connection}"));
        let options = json!({
            "server": format!("{}/{path}", balancer.url()),
            "transport": transport,
            "connection": connection,
            "ports": [free_port(), free_port()],
            "screenshot": screenshot,
        });
        let seen = run("inspector1", options).await;
        assert_eq!(seen["title"], "MCP Inspector v1.0.3");
        shows(
            &seen,
            &[
                "Echo",
                "Summarize",
                "Tool Result: Success",
                "\"from the Inspector\"",
            ],
        );
        let direct = connection == "Direct";
        assert_eq!(seen["direct"], direct, "{transport}: the page asks the server");
        assert_eq!(seen["proxied"], !direct, "{transport}: the page asks the proxy");
    }
}

/// The 2.x line has no direct mode.
#[tokio::test]
async fn the_inspectors_newer_page_connects_through_its_backend_in_both_eras() {
    let cluster = Cluster::of(NODES).await;
    let balancer = cluster.balancer().await;
    for (era, revision) in [("legacy", "MCP 2025-11-25"), ("modern", "MCP 2026-07-28")] {
        let options = json!({
            "server": format!("{}/mcp", balancer.url()),
            "transport": "http",
            "era": era,
            "program": installed(PROGRAM_2),
            "ports": [free_port(), free_port()],
            "screenshot": screenshot(&format!("inspector-2-{era}")),
        });
        let seen = run("inspector2", options).await;
        let footer = seen["footer"].as_str().unwrap_or_default();
        assert!(footer.starts_with("v2."), "{footer}");
        assert_eq!(seen["revision"], revision, "{era}");
        assert_eq!(seen["listed"], "Tools (11)", "{era}");
        shows(&seen, &["Echo", "Summarize", "Results", "from the Inspector"]);
        assert_eq!(seen["direct"], false, "{era}: the page asks its backend");
    }
}

/// Holds what the page showed when the tool had been called against words.
#[track_caller]
fn shows(seen: &Value, words: &[&str]) {
    let shown = seen["shown"].as_str().expect("a text");
    for word in words {
        assert!(shown.contains(word), "no {word} in {shown}");
    }
}

/// Where a picture of the page goes.
fn screenshot(name: &str) -> PathBuf {
    let name = name.replace(' ', "-").to_lowercase();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser/{name}.png"))
}
