//! What happens when a client has as many sessions as it may, and opens another.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::echo;
use crate::support::client::Client;
use crate::support::cluster::Cluster;

const MAX: usize = 4;

async fn cluster(nodes: usize, when_full: &str) -> Cluster {
    let env = [
        ("MCP_SESSION__MAX", "100"),
        ("MCP_SESSION__PEER_MAX", "4"),
        ("MCP_SESSION__WHEN_FULL", when_full),
    ];
    match nodes {
        1 => Cluster::alone(&env[..]).await,
        _ => Cluster::with(nodes, &env).await,
    }
}

/// Sessions that live as long as they are used, and clients that use them.
async fn full(cluster: &Cluster) -> Vec<Client> {
    let mut clients = Vec::new();
    for turn in 0..MAX {
        let client = Client::legacy(&cluster.turn(turn).url());
        echo(&client).await.ok();
        clients.push(client);
        sleep(Duration::from_millis(5)).await;
    }
    clients
}

#[tokio::test]
async fn a_client_that_has_as_many_sessions_as_it_may_is_refused_another() {
    let cluster = cluster(3, "refuse").await;
    let clients = full(&cluster).await;
    let refused = Client::legacy(&cluster.node(0).url()).initialize().await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.body.contains("session.peer_max"), "{}", refused.body);
    for client in &clients {
        echo(client).await.ok();
    }
}

/// T28: what a client has left behind does not lock it out.
#[tokio::test]
async fn the_longest_unused_session_ends_when_its_client_opens_another() {
    for nodes in [1, 3] {
        let cluster = cluster(nodes, "end_oldest").await;
        let clients = full(&cluster).await;
        // The first has a stream, the second a call in flight, the fourth was used after the third: none of these is left behind.
        let stream = clients[0].listen(None).await;
        let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 200}});
        let (_, call) = clients[1].stream("tools/call", slow).await;
        let new = Client::legacy(&cluster.turn(2).url());
        echo(&new).await.ok();
        assert_eq!(
            echo(&clients[2]).await.status,
            404,
            "nodes: {nodes}, it was not used for longest"
        );
        for client in [&clients[0], &clients[1], &clients[3], &new] {
            echo(client).await.ok();
        }
        drop((stream, call));
    }
}

#[tokio::test]
async fn if_all_sessions_are_in_use_another_is_refused() {
    for nodes in [1, 3] {
        let cluster = cluster(nodes, "end_oldest").await;
        let clients = full(&cluster).await;
        let mut streams = Vec::new();
        for client in &clients {
            streams.push(client.listen(None).await);
        }
        let refused = Client::legacy(&cluster.node(0).url()).initialize().await;
        assert_eq!(refused.status, 429, "nodes: {nodes}: {}", refused.body);
        for client in &clients {
            echo(client).await.ok();
        }
        drop(streams);
    }
}
