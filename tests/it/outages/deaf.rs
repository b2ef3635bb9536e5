//! Redis answers, but the connection on which a node hears rings is lost: what was rung meanwhile is only
//! late.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::cluster::Cluster;
use crate::support::process::PATIENCE;

const NOTE: &str = "note://session/colour";
/// Longer than an announcement takes from node to node.
const SOON: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_change_that_a_node_did_not_hear_of_is_told_on_its_open_streams() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    client
        .request("resources/subscribe", json!({"uri": NOTE}))
        .await
        .ok();
    let mut stream = client.at(&cluster.node(0).url()).listen(None).await;
    let writer = client.at(&cluster.node(1).url());
    for round in 0..5 {
        let pubsub = ["CLIENT", "KILL", "TYPE", "pubsub"];
        cluster.redis().command(&pubsub).await;
        // Nobody hears it: connections are tried again after 50 ms at the soonest.
        let note = json!({"key": "colour", "value": round});
        writer.call("remember", note).await.ok();
        let told = timeout(PATIENCE, stream.method("notifications/resources/updated")).await;
        let told = told.unwrap_or_else(|_| panic!("round {round}: a change was lost"));
        assert_eq!(told["params"]["uri"], NOTE);
        let more = stream.next_within(SOON).await;
        assert!(more.is_none(), "round {round}: it was told twice: {more:?}");
    }
}
