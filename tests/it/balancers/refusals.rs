//! Refusals that are given before the body was read: clients that write everything first see them, directly and
//! through balancers.

use std::process::Command;

use serde_json::{Value, json};

use super::NODES;
use super::front::{Front, Kind, Spread};
use crate::official_clients::ends_well;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::process::eventually;

const TOKEN: &str = "a-long-enough-token";
/// As `tests/clients/refused.py` says.
const MIB: usize = 1 << 20;

fn cases() -> Value {
    let good = format!("Bearer {TOKEN}");
    json!([
        {"status": 413, "bytes": 6 * MIB, "headers": {"authorization": good}},
        {"status": 413, "bytes": 40 * MIB, "headers": {"authorization": good}},
        {"status": 401, "bytes": 3 * MIB, "headers": {"authorization": "Bearer wrong"}},
        {"status": 403, "bytes": 3 * MIB, "headers": {"authorization": good, "origin": "https://evil.example"}},
        {"status": 415, "bytes": 3 * MIB, "headers": {"authorization": good, "content-type": "text/plain"}},
        {
            "status": 400, "bytes": 3 * MIB, "headers": {"authorization": good},
            "more": [["mcp-protocol-version", "2025-11-25"], ["mcp-protocol-version", "2025-11-25"]],
        },
    ])
}

/// curl, with and without asking first whether to send the body.
async fn refuses_curl(url: &str, cases: &Value) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    for case in cases.as_array().expect("cases") {
        let bytes = case["bytes"]
            .as_u64()
            .and_then(|bytes| usize::try_from(bytes).ok());
        std::fs::write(&sent, "x".repeat(bytes.expect("bytes"))).expect("it can be written");
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        for (name, value) in case["headers"].as_object().expect("headers") {
            headers.retain(|(other, _)| other != name);
            headers.push((name.clone(), value.as_str().expect("a value").to_owned()));
        }
        for more in case["more"].as_array().into_iter().flatten() {
            let [name, value] = [0, 1].map(|at| more[at].as_str().expect("text").to_owned());
            headers.push((name, value));
        }
        for expect in [None, Some("expect:")] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"])
                .args(["--write-out", "%{http_code}", "--data-binary"])
                .arg(format!("@{}", sent.display()))
                .arg("--output")
                .arg(&got);
            for (name, value) in &headers {
                curl.args(["--header", &format!("{name}: {value}")]);
            }
            curl.args(expect.iter().flat_map(|header| ["--header", header]))
                .arg(url);
            let ran = tokio::task::spawn_blocking(move || curl.output())
                .await
                .expect("no panic");
            let ran = ran.expect("this test needs curl: apt-get install curl");
            assert!(ran.status.success(), "{case} {expect:?}: {ran:?}");
            assert_eq!(
                String::from_utf8_lossy(&ran.stdout),
                case["status"].to_string(),
                "{case}"
            );
            let body = std::fs::read(&got).expect("an answer");
            let body: Value = serde_json::from_slice(&body).expect("a JSON-RPC error");
            assert!(body["error"]["message"].is_string(), "{body}");
        }
    }
}

/// httpx, the Python and TypeScript SDKs of both lines, fetch and curl.
async fn each_client_sees(cases: &Value, url: &str) {
    refuses_curl(url, cases).await;
    let text = cases.to_string();
    for (interpreter, script) in [
        (".venv/v1/bin/python", "refused.py"),
        (".venv/v2/bin/python", "refused.py"),
        ("node_modules/.bin/node", "refused.mjs"),
    ] {
        ends_well(interpreter, &[script, url, &text], "refusals").await;
    }
}

async fn refusals_arrive_through(kind: Option<Kind>) {
    let cluster = Cluster::with(NODES, &[("MCP_AUTH__TOKENS__ALICE", TOKEN)]).await;
    let front = match kind {
        None => None,
        Some(kind) => Some(Front::answering(kind, Spread::RoundRobin, &cluster, &[], "").await),
    };
    let url = front.as_ref().map_or_else(|| cluster.node(0).url(), Front::url);
    each_client_sees(&cases(), &format!("{url}/mcp")).await;
}

#[tokio::test]
async fn early_refusals_arrive() {
    refusals_arrive_through(None).await;
}

#[tokio::test]
async fn early_refusals_arrive_through_haproxy() {
    refusals_arrive_through(Some(Kind::Haproxy)).await;
}

#[tokio::test]
async fn early_refusals_arrive_through_nginx() {
    refusals_arrive_through(Some(Kind::Nginx)).await;
}

/// Nodes whose one connection is taken refuse all others with 503.
async fn full_nodes_are_told_of(kind: Option<Kind>) {
    let env = [
        ("MCP_HTTP__CONNECTIONS_MAX", "1"),
        // Or one client alone would be refused, with 429.
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let cluster = Cluster::with(NODES, &env).await;
    let mut streams = Vec::new();
    for node in cluster.nodes() {
        // The connection by which it was found that the node lives may still be counted.
        let stream = eventually("a node takes a connection", async || {
            let opened = http_get(format!("{}/sse", node.url())).await.ok()?;
            (opened.status() == 200).then_some(opened)
        })
        .await;
        streams.push(stream);
    }
    let front = match kind {
        None => None,
        Some(kind) => Some(Front::answering(kind, Spread::RoundRobin, &cluster, &[], "").await),
    };
    let url = front.as_ref().map_or_else(|| cluster.node(0).url(), Front::url);
    let cases = json!([{"status": 503, "bytes": 3 * MIB, "headers": {}}]);
    each_client_sees(&cases, &format!("{url}/mcp")).await;
    drop(streams);
}

#[tokio::test]
async fn clients_of_full_nodes_are_told() {
    full_nodes_are_told_of(None).await;
}

#[tokio::test]
async fn clients_of_full_nodes_are_told_through_haproxy() {
    full_nodes_are_told_of(Some(Kind::Haproxy)).await;
}

#[tokio::test]
async fn clients_of_full_nodes_are_told_through_nginx() {
    full_nodes_are_told_of(Some(Kind::Nginx)).await;
}
