//! What changes is told once, on whichever nodes those are who want to know, and on the next stream to those who had none.

use std::time::Duration;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::sse::EventStream;

/// Longer than an announcement takes from node to node.
const SOON: Duration = Duration::from_millis(400);

/// The resources that a stream says were updated, until nothing comes for a while.
async fn updates(stream: &mut EventStream) -> Vec<String> {
    let mut uris = Vec::new();
    while let Some(Some(event)) = stream.next_within(SOON).await {
        let Some(message) = event.message() else { continue };
        assert_eq!(message["method"], "notifications/resources/updated", "{message}");
        uris.push(message["params"]["uri"].as_str().expect("a URI").to_owned());
    }
    uris
}

#[tokio::test]
async fn a_note_written_on_one_node_is_told_on_the_others_once() {
    for cluster in Cluster::stages().await {
        let url = |index: usize| cluster.turn(index).url();
        let opened = cluster.modern().call("open_notebook", json!({})).await.ok();
        let notebook = opened.structured()["notebook"]
            .as_str()
            .expect("a handle")
            .to_owned();
        let uri = format!("note://{notebook}/colour");
        let (one, two, stranger) = (cluster.client(), cluster.client(), cluster.client());
        for client in [&one, &two] {
            client
                .request("resources/subscribe", json!({"uri": uri}))
                .await
                .ok();
        }
        let mut streams = [
            one.at(&url(1)).listen(None).await,
            two.at(&url(2)).listen(None).await,
            stranger.at(&url(2)).listen(None).await,
        ];
        let filter = json!({"notifications": {"resourceSubscriptions": [uri]}});
        let modern = cluster.modern().at(&url(1));
        let (listen_id, mut listening) = modern.stream("subscriptions/listen", filter).await;
        let acknowledged = listening.method("notifications/subscriptions/acknowledged").await;
        assert_eq!(
            acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            listen_id
        );
        for round in 0..3 {
            let write = json!({"key": "colour", "value": round, "notebook": notebook});
            stranger.at(&url(0)).call("remember", write).await.ok();
            assert_eq!(updates(&mut streams[0]).await, [uri.as_str()], "round {round}");
            assert_eq!(updates(&mut streams[1]).await, [uri.as_str()], "round {round}");
            let told = listening.method("notifications/resources/updated").await;
            assert_eq!(told["params"]["uri"], uri.as_str());
            assert_eq!(
                told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
                listen_id
            );
        }
        assert!(
            updates(&mut streams[2]).await.is_empty(),
            "nobody is told who did not ask"
        );
        one.request("resources/unsubscribe", json!({"uri": uri}))
            .await
            .ok();
        stranger
            .at(&url(0))
            .call("forget", json!({"key": "colour", "notebook": notebook}))
            .await
            .ok();
        assert!(
            updates(&mut streams[0]).await.is_empty(),
            "told after unsubscribing"
        );
        assert_eq!(updates(&mut streams[1]).await, [uri.as_str()]);
    }
}

#[tokio::test]
async fn a_sessions_own_notes_are_its_own_business() {
    for cluster in Cluster::stages().await {
        let (one, other) = (cluster.client(), cluster.client());
        let uri = "note://session/a";
        for client in [&one, &other] {
            client
                .request("resources/subscribe", json!({"uri": uri}))
                .await
                .ok();
        }
        let mut mine = one.at(&cluster.turn(1).url()).listen(None).await;
        let mut theirs = other.at(&cluster.turn(0).url()).listen(None).await;
        one.at(&cluster.turn(0).url())
            .call("remember", json!({"key": "a", "value": 1}))
            .await
            .ok();
        assert_eq!(updates(&mut mine).await, [uri]);
        assert!(updates(&mut theirs).await.is_empty());
    }
}

#[tokio::test]
async fn what_changed_while_there_was_no_stream_is_told_on_the_next_one() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        let at = |index: usize| client.at(&cluster.turn(index).url());
        let uri = "note://session/a";
        client
            .request("resources/subscribe", json!({"uri": uri}))
            .await
            .ok();
        drop(at(0).listen(None).await);
        for value in 0..3 {
            at(1)
                .call("remember", json!({"key": "a", "value": value}))
                .await
                .ok();
        }
        tokio::time::sleep(SOON).await;
        let mut stream = at(2).listen(None).await;
        let told = updates(&mut stream).await;
        assert!(
            !told.is_empty() && told.iter().all(|told| told == uri),
            "{told:?}"
        );
        drop(stream);
        tokio::time::sleep(SOON).await;
        let mut stream = at(1).listen(None).await;
        assert!(updates(&mut stream).await.is_empty(), "told again");
    }
}
