//! What nodes log under load, and while Redis refuses: little, and what it is.

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::process::eventually;

/// How many clients come at once.
const AT_ONCE: usize = 16;

fn lines(cluster: &Cluster) -> Vec<Value> {
    lines_of(cluster.node(0))
}

fn lines_of(node: &Node) -> Vec<Value> {
    let log = node.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// M8: sessions that clients make are no news.
#[tokio::test]
async fn sessions_that_clients_make_are_not_a_line_each() {
    let cluster = Cluster::alone(&[]).await;
    let url = cluster.node(0).url();
    let before = lines(&cluster).len();
    for _ in 0..2000 / AT_ONCE {
        let clients = (0..AT_ONCE).map(|_| async { Client::legacy(&url).initialize().await.ok() });
        join_all(clients).await;
    }
    let client = Client::legacy(&url);
    client.session().await;
    assert_eq!(client.delete().await.status, 204);
    let told = lines(&cluster);
    assert!(told.len() <= before + 2, "{told:#?}");
}

/// M8, and the cause that was not in the log: a Redis that is full is called so, once a second, with what it
/// says.
#[tokio::test]
async fn a_full_redis_under_load_is_a_line_a_second_that_says_so() {
    let cluster = Cluster::of(1).await;
    let url = cluster.node(0).url();
    let redis = cluster.redis();
    let client = client_of_a_store_that_evicts_nothing(&cluster).await;
    let began = Instant::now();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..1000 / AT_ONCE {
        let refused = (0..AT_ONCE).map(|_| async { Client::legacy(&url).initialize().await.status });
        let refused = join_all(refused).await;
        assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
        let increment = client.call("increment", json!({"key": "n"})).await;
        assert!(increment.body.contains("the store is full"), "{}", increment.body);
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    // What was left out at last is told when it is over.
    let counted = || -> u64 {
        let lines = lines(&cluster).into_iter();
        lines.filter_map(|line| line["left_out"].as_u64()).sum()
    };
    eventually("all is counted", async || (counted() >= 900).then_some(())).await;
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 1;
    let told = lines(&cluster);
    let warned: Vec<&Value> = told.iter().filter(|line| line["level"] == "WARN").collect();
    assert!(warned.len() <= 3 * seconds + 3, "{seconds} s: {warned:#?}");
    let named = warned.iter().filter_map(|line| line["error"].as_str());
    let named: Vec<&str> = named.collect();
    assert!(
        named.iter().any(
            |error| error.starts_with("the store is full: ") && error.contains("OOM command not allowed")
        ),
        "{named:#?}"
    );
    let log = cluster.node(0).log();
    assert!(!log.contains("out of reach"), "{log}");
}

/// A node that logs nothing but warnings names itself in these too.
#[tokio::test]
async fn a_warning_names_its_node_when_nothing_else_is_logged() {
    let cluster = Cluster::with(1, &[("MCP_LOG__LEVEL", "warn")]).await;
    let redis = cluster.redis();
    let client = client_of_a_store_that_evicts_nothing(&cluster).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..10 {
        client.call("increment", json!({"key": "n"})).await;
    }
    eventually("it warns of its lease, and of a command", || async {
        let lines = lines_of(cluster.node(0));
        let has = |key: &str| lines.iter().any(|line| line[key].is_string());
        (has("operation") && lines.len() > 2).then_some(())
    })
    .await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_each_names_its_node(cluster.node(0));
}

/// A client with a session, in a Redis that refuses writes when it is full.
async fn client_of_a_store_that_evicts_nothing(cluster: &Cluster) -> Client {
    let policy = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    cluster.redis().command(&policy).await;
    let client = cluster.client();
    client.session().await;
    client
}

fn assert_each_names_its_node(node: &Node) {
    for line in lines_of(node) {
        let names = [&line["node"], &line["span"]["node"]];
        assert!(names.iter().any(|name| **name == node.id()), "{line}");
    }
}

/// Each line names its node, in every state of the node: logs of all nodes are read together. A takeover
/// names both nodes: the one that takes over, and the one that it takes over from.
#[tokio::test]
async fn each_line_names_its_node() {
    let cluster = Cluster::with(3, &[("MCP_LOG__LEVEL", "anynode=debug")]).await;
    let client = cluster.client();
    client.session().await;
    let at = |index: usize| client.at(&cluster.node(index).url());
    let mut stream = at(1).listen(None).await;
    for index in 0..3 {
        at(index).list().await.ok();
        at(index).call("increment", json!({"key": "n"})).await.ok();
    }
    at(0)
        .request("logging/setLevel", json!({"level": "debug"}))
        .await
        .ok();
    let countdown = json!({"name": "countdown", "arguments": {"from": 60, "interval_ms": 100}});
    let (_, mut call) = at(2).stream("tools/call", countdown).await;
    call.next().await;
    cluster.node(2).kill9().await;
    let taken = |line: &Value| line["message"] == "took over calls of a lost node";
    let taken = async || (0..2).find_map(|index| lines_of(cluster.node(index)).into_iter().find(taken));
    let taken = eventually("the call is taken over", taken).await;
    assert_eq!(taken["from"], cluster.node(2).id());
    let by = &taken["node"];
    assert!((0..2).any(|index| by == cluster.node(index).id()), "{taken}");
    cluster.redis().stop().await;
    at(0).list().await;
    cluster.redis().run().await;
    // It comes back empty: its sessions have ended.
    eventually("the store is back", async || {
        (at(0).list().await.status == 404).then_some(())
    })
    .await;
    drop(stream.next().await);
    cluster.node(1).terminate();
    cluster.node(1).end().await;
    for node in cluster.nodes() {
        let lines = lines_of(node);
        assert!(lines.len() > 3, "{lines:?}");
        assert_each_names_its_node(node);
    }
}
