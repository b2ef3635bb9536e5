//! What a page can read of refusals: the status, the words, and the headers that say what to do.

use serde_json::{Value, json};

use super::{ALLOWED_ORIGINS, Origins, run};
use crate::support::node::{Node, NodeOptions};
use crate::support::redis::Redis;

const TOKEN: &str = "a-long-enough-token";
/// The driver's browser finds this machine under it.
const STRANGE_HOST: &str = "mcp.example.com";

/// A node, and the origin of a page that may call it.
struct Scene {
    node: Node,
    origin: String,
}

impl Scene {
    async fn with(options: NodeOptions) -> Self {
        let origin = Origins::new().allowed();
        Self {
            node: Node::start(&options.env(ALLOWED_ORIGINS, &origin)).await,
            origin,
        }
    }

    /// What a page reads of the answers to `asks`, one after the other.
    async fn read(&self, asks: &[&str], headers: Value) -> Vec<Value> {
        self.read_at(&self.node.url(), asks, headers).await
    }

    async fn read_at(&self, url: &str, asks: &[&str], headers: Value) -> Vec<Value> {
        let url = format!("{url}/mcp");
        let options = json!({
            "server": self.node.url(), "origin": self.origin, "url": url, "headers": headers, "asks": asks
        });
        let Value::Array(read) = run("answers", options).await else {
            panic!("the page read no list");
        };
        assert_eq!(read.len(), asks.len(), "{read:?}");
        read
    }
}

/// Holds what a page read against a status and some words.
#[track_caller]
fn says(read: &Value, status: u16, words: &str) {
    assert_eq!(read["status"], status, "{read}");
    let message = read["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{read}");
    assert_eq!(read["headers"]["content-type"], "application/json", "{read}");
}

#[tokio::test]
async fn a_page_without_a_token_reads_401_and_what_is_asked_of_it() {
    let scene = Scene::with(NodeOptions::default().env("MCP_AUTH__TOKENS__ALICE", TOKEN)).await;
    let read = scene.read(&["initialize"], json!({})).await;
    says(&read[0], 401, "credentials are missing");
    let challenge = read[0]["headers"]["www-authenticate"]
        .as_str()
        .expect("a challenge");
    assert!(challenge.starts_with("Bearer"), "{challenge}");

    let bearer = json!({"Authorization": format!("Bearer {TOKEN}")});
    let read = scene.read(&["initialize", "list"], bearer).await;
    assert_eq!(
        (&read[0]["status"], &read[1]["status"]),
        (&json!(200), &json!(200))
    );
}

/// What a page of a strange origin is refused, it cannot read. This one's origin may call, but not by that name.
#[tokio::test]
async fn a_page_that_calls_the_server_by_a_strange_name_reads_403() {
    let scene = Scene::with(NodeOptions::default()).await;
    let named = format!("http://{STRANGE_HOST}:{}", scene.node.port());
    let read = scene.read_at(&named, &["initialize"], json!({})).await;
    says(&read[0], 403, "the Host header is not allowed");
}

#[tokio::test]
async fn a_page_whose_session_has_ended_reads_404() {
    let scene = Scene::with(NodeOptions::default()).await;
    let read = scene.read(&["initialize", "end", "list"], json!({})).await;
    assert!(read[0]["headers"]["mcp-session-id"].is_string(), "{}", read[0]);
    assert_eq!(read[1]["status"], 204);
    says(&read[2], 404, "Session not found");
}

#[tokio::test]
async fn a_page_that_asks_for_too_much_reads_429_and_when_to_come_back() {
    let scene = Scene::with(NodeOptions::default().env("MCP_CALL__SESSION_MAX", "1")).await;
    let read = scene.read(&["initialize", "hold", "list"], json!({})).await;
    assert_eq!(read[1], json!({"status": 200, "events": true}));
    says(&read[2], 429, "too many requests");
    assert_eq!(read[2]["headers"]["retry-after"], "1");
}

#[tokio::test]
async fn a_page_reads_503_and_when_to_come_back_while_the_store_is_away() {
    let redis = Redis::start().await;
    let scene = Scene::with(NodeOptions::on(redis.url()).env("MCP_STORE__TIMEOUT", "300ms")).await;
    redis.kill().await;
    let read = scene.read(&["initialize"], json!({})).await;
    says(&read[0], 503, "the session store is out of reach");
    assert_eq!(read[0]["headers"]["retry-after"], "1");
}
