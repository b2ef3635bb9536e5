//! Clients below a path, which the balancer takes off: each URL that a node hands out works there too.

use serde_json::json;

use super::NODES;
use super::front::{Front, Kind};
use crate::official_clients::ends_well;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::{http_client, http_get};
use crate::support::process::eventually;
use crate::support::sse::EventStream;

const BELOW: &str = "/tools/of-mine";

/// The official clients of both transports and FastMCP's, as they are.
async fn clients_work_below_a_path(kind: Kind) {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start_below(kind, &cluster, BELOW).await;
    let url = format!("{}/mcp", front.url());
    for (interpreter, script, mode) in [
        ("node_modules/.bin/node", "ts_v1.mjs", "sse"),
        ("node_modules/.bin/node", "ts_v1.mjs", "streamable"),
        (".venv/v1/bin/python", "python_client.py", "sse"),
        (".venv/v2/bin/python", "python_client.py", "sse"),
        (".venv/v2/bin/python", "python_client.py", "auto"),
        (".venv/fastmcp/bin/python", "fastmcp_client.py", "sse"),
    ] {
        ends_well(interpreter, &[script, &url, mode], "rounds").await;
    }
}

#[tokio::test]
async fn clients_work_below_a_path_of_haproxy() {
    clients_work_below_a_path(Kind::Haproxy).await;
}

#[tokio::test]
async fn clients_work_below_a_path_of_nginx() {
    clients_work_below_a_path(Kind::Nginx).await;
}

async fn open(url: &url::Url) -> (EventStream, url::Url) {
    let opened = http_get(url.clone()).await.expect("an answer");
    let mut stream = EventStream::new(opened);
    let endpoint = stream.endpoint().await;
    (stream, url.join(&endpoint).expect("a URL"))
}

/// Where to post and where to come back: resolved as URLs are, with and without a slash after `/sse`, or below the
/// path that the settings name.
#[tokio::test]
async fn what_a_node_hands_out_is_resolved_to_what_it_serves() {
    for (public, below, slash) in [
        ("", BELOW, ""),
        ("", BELOW, "/"),
        ("", "/", ""),
        (BELOW, BELOW, ""),
        (BELOW, BELOW, "/"),
    ] {
        let what = format!("http.public_path={public:?} below {below} with {slash:?}");
        let env = [("MCP_HTTP__PUBLIC_PATH", public)];
        let cluster = Cluster::with(1, if public.is_empty() { &[] } else { &env }).await;
        // What a proxy takes off.
        let node: url::Url = cluster.node(0).url().parse().expect("a URL");
        let outside = |url: &url::Url| {
            let path = url.path().strip_prefix(below.trim_end_matches('/')).expect(&what);
            let mut inside = node.clone();
            inside.set_path(path);
            inside.set_query(url.query());
            inside
        };
        let mut client = node.clone();
        client.set_path(&format!("{}/sse{slash}", below.trim_end_matches('/')));
        let opened = http_get(outside(&client)).await.expect("an answer");
        let mut stream = EventStream::new(opened);
        let endpoint = stream.endpoint().await;
        let messages = client.join(&endpoint).expect("a URL");
        let http = http_client().build().expect("a client");
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let post = async || {
            let sent = http.post(outside(&messages)).json(&ping).send().await;
            sent.expect("an answer")
        };
        assert_eq!(post().await.status(), 202, "{what}");
        stream.answer_to(&json!(1)).await;
        drop(stream);
        let lost = eventually("the stream is lost", async || {
            let answer = post().await;
            (answer.status() == 410).then_some(answer)
        })
        .await;
        let told: serde_json::Value = lost.json().await.expect("JSON");
        let reconnect = told["error"]["data"]["reconnect"].as_str().expect(&what);
        let (_stream, again) = open(&outside(&messages.join(reconnect).expect("a URL"))).await;
        assert_eq!(again.query(), messages.query(), "{what}: the session stays");
    }
}

/// The page that says where to connect, too.
#[tokio::test]
async fn the_index_names_what_is_below_it() {
    let cluster = Cluster::of(1).await;
    let about = http_client()
        .build()
        .expect("a client")
        .get(cluster.node(0).url())
        .header("accept", "application/json");
    let about: serde_json::Value = about.send().await.expect("an answer").json().await.expect("JSON");
    let here: url::Url = "http://host/tools/".parse().expect("a URL");
    for (name, path) in [
        ("mcp", "/tools/mcp"),
        ("sse", "/tools/sse"),
        ("health", "/tools/health"),
    ] {
        let told = about["endpoints"][name].as_str().expect("a reference");
        assert_eq!(here.join(told).expect("a URL").path(), path);
    }
    Client::legacy(&cluster.node(0).url()).list().await.ok();
}
