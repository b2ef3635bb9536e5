//! What changes is told once, on every node that has a subscriber, and on the next stream to those
//! who had none.

use std::time::Duration;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::sse::EventStream;
use anynode::store::Limits;

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
        let notebook = cluster.modern().open_notebook().await;
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

/// How often a stream says that this list has changed, until nothing comes for a while. It says nothing else.
async fn told_of(stream: &mut EventStream, list: &str) -> usize {
    let mut times = 0;
    while let Some(Some(event)) = stream.next_within(SOON).await {
        let Some(message) = event.message() else { continue };
        assert_eq!(message["method"], format!("notifications/{list}/list_changed"));
        times += 1;
    }
    times
}

#[tokio::test]
async fn a_list_that_changed_is_told_once_on_every_node_and_on_the_next_stream() {
    for cluster in Cluster::stages_of_example("everything").await {
        let url = |index: usize| cluster.turn(index).url();
        let (one, two, away) = (cluster.client(), cluster.client(), cluster.client());
        away.session().await;
        let mut streams = vec![
            one.at(&url(1)).listen(None).await,
            two.at(&url(2)).listen(None).await,
        ];
        let modern = cluster.modern();
        let listens = async |node: usize, filter: &str| {
            let filter = json!({"notifications": {filter: true}});
            let (_, mut stream) = modern.at(&url(node)).stream("subscriptions/listen", filter).await;
            stream.method("notifications/subscriptions/acknowledged").await;
            stream
        };
        let mut tools = listens(1, "toolsListChanged").await;
        let mut prompts = listens(2, "promptsListChanged").await;
        for (list, tool) in [
            ("tools", "test_trigger_tool_change"),
            ("prompts", "test_trigger_prompt_change"),
        ] {
            modern.at(&url(0)).call(tool, json!({})).await.ok();
            for stream in &mut streams {
                assert_eq!(told_of(stream, list).await, 1, "{list}");
            }
            let (asked, did_not) = match list {
                "tools" => (&mut tools, &mut prompts),
                _ => (&mut prompts, &mut tools),
            };
            assert_eq!(told_of(asked, list).await, 1, "{list}");
            assert_eq!(told_of(did_not, list).await, 0, "nobody is told who did not ask");
        }
        drop(streams);
        // A session that had no stream is told of both on its next one, and then no more.
        let mut stream = away.at(&url(0)).listen(None).await;
        let mut methods = Vec::new();
        while let Some(Some(event)) = stream.next_within(SOON).await {
            methods.extend(event.message().map(|message| message["method"].to_string()));
        }
        methods.sort();
        assert_eq!(
            methods,
            [
                r#""notifications/prompts/list_changed""#,
                r#""notifications/tools/list_changed""#
            ]
        );
    }
}

/// Subscriptions that are made at once on several nodes are all told of what changes: none takes another's
/// place.
#[tokio::test]
async fn subscriptions_that_are_made_at_once_on_several_nodes_are_all_told() {
    const AT_ONCE: usize = 6;
    for cluster in Cluster::stages().await {
        let notebook = cluster.modern().open_notebook().await;
        for _ in 0..5 {
            let client = cluster.client();
            let at = |index: usize| client.at(&cluster.turn(index).url());
            let mut stream = at(0).listen(None).await;
            let keys: Vec<_> = (0..AT_ONCE).map(|n| format!("k{n}")).collect();
            // Half of them are the session's own, half a notebook's.
            let uri = |n: usize| match n % 2 {
                0 => format!("note://session/k{n}"),
                _ => format!("note://{notebook}/k{n}"),
            };
            let subscribed = (0..AT_ONCE).map(|n| {
                let client = at(n);
                let params = json!({"uri": uri(n)});
                async move { client.request("resources/subscribe", params).await.ok() }
            });
            futures::future::join_all(subscribed).await;
            for (n, key) in keys.iter().enumerate() {
                let write = match n % 2 {
                    0 => json!({"key": key, "value": 1}),
                    _ => json!({"key": key, "value": 1, "notebook": notebook}),
                };
                at(n + 1).call("remember", write).await.ok();
            }
            let mut told = updates(&mut stream).await;
            told.sort_unstable();
            let mut expected: Vec<_> = (0..AT_ONCE).map(uri).collect();
            expected.sort_unstable();
            assert_eq!(told, expected, "each once");
        }
    }
}

/// More topics than have versions of their own: those that changed longest ago make room, and no change goes
/// untold.
#[tokio::test]
async fn a_change_is_told_however_many_others_there_are() {
    let cluster = Cluster::of(2).await;
    let redis = cluster.redis();
    let notebook = cluster.modern().open_notebook().await;
    let uri = format!("note://{notebook}/x");
    let client = cluster.client();
    let subscribe = json!({"uri": uri});
    client.request("resources/subscribe", subscribe).await.ok();
    let mut stream = client.at(&cluster.node(0).url()).listen(None).await;
    let writer = cluster.modern().at(&cluster.node(1).url());
    let write = async |key: &str, value: usize| {
        let note = json!({"key": key, "value": value, "notebook": notebook});
        writer.call("remember", note).await.ok();
    };
    write("x", 1).await;
    assert_eq!(updates(&mut stream).await, [uri.as_str()]);
    // They have changed since.
    let fill = format!(
        "for n = 1, {} do redis.call('ZADD', 'versions', redis.call('TIME')[1] * 1000000 + 999999, 'resource:' .. n) end",
        Limits::TOPICS_MAX
    );
    cluster.leave(stream).await;
    // It changes while nobody listens, and then makes room.
    write("x", 2).await;
    redis.command(&["EVAL", &fill, "0"]).await;
    write("other", 1).await;
    let count: usize = redis
        .cli(&["ZCARD", "versions"])
        .trim()
        .parse()
        .expect("a number");
    assert!(
        (Limits::TOPICS_MAX / 2..Limits::TOPICS_MAX).contains(&count),
        "{count}"
    );
    let named = format!("resource:{uri}");
    assert_eq!(
        redis.cli(&["ZSCORE", "versions", &named]).trim(),
        "",
        "it has made room"
    );
    let mut stream = client.at(&cluster.node(1).url()).listen(None).await;
    assert_eq!(updates(&mut stream).await, [uri.as_str()]);
    write("x", 3).await;
    assert_eq!(updates(&mut stream).await, [uri.as_str()]);
}

/// A session of a node before records had version 2, whose subscriptions were a JSON list.
#[tokio::test]
async fn a_session_of_the_former_version_goes_on_being_told() {
    let cluster = Cluster::of(3).await;
    let redis = cluster.redis();
    let notebook = cluster.modern().open_notebook().await;
    let uris = [format!("note://{notebook}/a"), "note://session/b".to_owned()];
    let client = cluster.client();
    let key = format!("session:{}", client.session().await);
    // The third node has not heard of it yet.
    let [here, there] = [0, 2].map(|index| client.at(&cluster.node(index).url()));
    let subscribe = async |uri: &str| {
        let params = json!({"uri": uri});
        here.request("resources/subscribe", params).await.ok();
    };
    let make_former = async |uris: &[String]| {
        let list = json!(uris).to_string();
        let fields = ["v", "1", "subscriptions", &list];
        redis.command(&[&["HSET", &key][..], &fields].concat()).await;
    };
    subscribe(&uris[0]).await;
    make_former(&uris[..1]).await;
    // What changes it makes it one of this version, as what loads it does.
    subscribe(&uris[1]).await;
    let kept = redis.cli(&["HGET", &key, "subscriptions"]);
    assert!(uris.iter().all(|uri| kept.contains(uri)), "{kept}");
    make_former(&uris).await;
    let told = format!("told:resource:{}", uris[0]);
    assert_eq!(redis.cli(&["HDEL", &key, &told]).trim(), "1");

    let mut stream = there.listen(None).await;
    assert_eq!(redis.cli(&["HGET", &key, "v"]).trim(), "2");
    for _ in 0..2 {
        let note = json!({"key": "a", "value": 1, "notebook": notebook});
        here.call("remember", note).await.ok();
        assert_eq!(updates(&mut stream).await, [uris[0].as_str()]);
        here.call("remember", json!({"key": "b", "value": 1})).await.ok();
        assert_eq!(updates(&mut stream).await, [uris[1].as_str()]);
    }
    for uri in &uris {
        there
            .request("resources/unsubscribe", json!({"uri": uri}))
            .await
            .ok();
    }
    here.call("remember", json!({"key": "b", "value": 2})).await.ok();
    assert!(updates(&mut stream).await.is_empty(), "told after unsubscribing");
}
