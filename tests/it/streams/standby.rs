//! Several connections of one stream: one carries it, the others wait. And nobody comes back for ever for
//! what has ended.

use std::time::Duration;

use serde_json::{Value, json};

use super::countdown;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::process::{eventually, within};
use crate::support::sse::EventStream;

/// Longer than a message takes from node to node.
const SOON: Duration = Duration::from_millis(300);
/// So that a connection that waits looks every 2 s whether it should.
const SHORT_TTL: (&str, &str) = ("MCP_SESSION__TTL", "8s");
/// A lease ends within 3 s; who waits looks, and looks again 5 s later. The rest is for a busy machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(40);

/// A client that is subscribed to a note, and how the note is written.
async fn subscribed(cluster: &Cluster) -> (Client, Value) {
    let client = cluster.client();
    let notebook = client.open_notebook().await;
    let uri = format!("note://{notebook}/colour");
    client
        .request("resources/subscribe", json!({"uri": uri}))
        .await
        .ok();
    (client, json!({"key": "colour", "value": 0, "notebook": notebook}))
}

async fn write(client: &Client, write: &mut Value) {
    write["value"] = json!(write["value"].as_u64().expect("a number") + 1);
    client.call("remember", write.clone()).await.ok();
}

async fn is_told(stream: &mut EventStream) {
    stream.method("notifications/resources/updated").await;
}

/// It is open, and has nothing to say.
async fn is_silent(stream: &mut EventStream) {
    while let Some(event) = stream.next_within(SOON).await {
        let event = event.expect("an older connection stays open");
        assert_eq!(event.message(), None, "each message goes to one connection");
    }
}

/// Case `cancelled_call`: two connections of one client must not displace each other for ever, and each
/// message goes to one.
#[tokio::test]
async fn the_newest_standing_stream_carries_and_the_older_waits_until_it_goes() {
    for cluster in Cluster::stages().await {
        let (client, mut note) = subscribed(&cluster).await;
        let at = |index: usize| client.at(&cluster.turn(index).url());
        for round in 0..4 {
            let mut older = at(round).listen(None).await;
            let mut newer = at(round + round % 2).listen(None).await;
            for _ in 0..2 {
                write(&client, &mut note).await;
                is_told(&mut newer).await;
                is_silent(&mut older).await;
            }
            cluster.leave(newer).await;
            write(&client, &mut note).await;
            is_told(&mut older).await;
            is_silent(&mut older).await;
        }
        let wrong = at(0).header("accept", "application/json").get(None).await;
        assert!(wrong.status() == 200 || wrong.status() == 406);
    }
}

/// Case `cancelled_call`: also when the newest goes with its node.
#[tokio::test]
async fn an_older_connection_takes_over_when_the_node_of_the_newest_dies() {
    let cluster = Cluster::with(2, &[SHORT_TTL]).await;
    let (client, mut note) = subscribed(&cluster).await;
    let at = |index: usize| client.at(&cluster.turn(index).url());
    let mut older = at(0).listen(None).await;
    let mut newer = at(1).listen(None).await;
    write(&at(0), &mut note).await;
    is_told(&mut newer).await;
    cluster.node(1).kill9().await;
    write(&at(0), &mut note).await;
    within(TAKEN_OVER_WITHIN, "the older takes over", || async {
        let session = format!("session:{}", client.session().await);
        let holder = cluster.redis().command(&["HGET", &session, "attach:get"]).await;
        holder.text().starts_with("node-0/").then_some(())
    })
    .await;
    is_told(&mut older).await;
}

/// Case `cancelled_call`: so many may wait, and the oldest goes first.
#[tokio::test]
async fn only_so_many_connections_wait_for_a_stream() {
    let cluster = Cluster::alone(&[]).await;
    let (client, mut note) = subscribed(&cluster).await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(client.listen(None).await);
    }
    let mut newest = all.pop().expect("six were opened");
    let mut retry = None;
    while let Some(event) = all[0].next().await {
        retry = event.retry.or(retry);
    }
    assert_eq!(
        retry,
        Some(60_000),
        "it must not come back at once: it would dismiss another"
    );
    for waits in &mut all[1..] {
        is_silent(waits).await;
    }
    write(&client, &mut note).await;
    is_told(&mut newest).await;
    cluster.leave(newest).await;
    write(&client, &mut note).await;
    is_told(all.last_mut().expect("four wait")).await;
}

/// Finding 10: a store that has lost who carries a stream is told so again.
#[tokio::test]
async fn a_connection_that_is_forgotten_is_named_again() {
    let cluster = Cluster::with(2, &[SHORT_TTL]).await;
    let (client, mut note) = subscribed(&cluster).await;
    let mut stream = client.at(&cluster.node(0).url()).listen(None).await;
    let session = format!("session:{}", client.session().await);
    let field = ["HGET", &session, "attach:get"];
    let before = eventually("it is named", || async {
        Some(cluster.redis().command(&field).await.text()).filter(|holder| !holder.is_empty())
    })
    .await;
    cluster.redis().command(&["HDEL", &session, "attach:get"]).await;
    eventually("it is named again", || async {
        // Only what has been named can be read as text.
        let named = cluster
            .redis()
            .command(&["HEXISTS", &session, "attach:get"])
            .await;
        (named.int() == 1).then_some(())
    })
    .await;
    assert_eq!(cluster.redis().command(&field).await.text(), before);
    write(&client.at(&cluster.node(1).url()), &mut note).await;
    is_told(&mut stream).await;
}

/// Case `cancelled_call`: a client that comes back for what has ended is told that nothing is left, in a way
/// that ends it.
#[tokio::test]
async fn a_stream_that_has_ended_is_resumed_with_204_when_nothing_follows() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        for cancels in [true, false] {
            let (id, mut stream) = client.stream("tools/call", countdown(6, 60)).await;
            stream.method("notifications/progress").await;
            let middle = stream.last_id().expect("an id").to_owned();
            if cancels {
                let cancelled = json!({"requestId": id});
                let noted = client.notify("notifications/cancelled", cancelled).await;
                assert_eq!(noted.status, 202);
                stream.ends_unanswered().await;
            } else {
                stream.answer_to(&id).await;
                assert!(stream.next().await.is_none(), "it ends after its answer");
            }
            let last = stream.last_id().expect("an id").to_owned();
            for _ in 0..3 {
                let nothing = client.get(Some(&last)).await;
                assert_eq!(nothing.status(), 204);
                assert_eq!(nothing.text().await.expect("a body"), "");
            }
            if !cancels {
                let mut rest = client.listen(Some(&middle)).await;
                rest.answer_to(&id).await;
            }
        }
    }
}
