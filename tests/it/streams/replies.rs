//! `call.reply`: what form replies have. The default is in `streams.rs`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::countdown;
use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;

const JSON: &[(&str, &str)] = &[("MCP_CALL__REPLY", "json")];
const SSE: &[(&str, &str)] = &[("MCP_CALL__REPLY", "sse")];
/// Longer than a message takes from node to node.
const SOON: Duration = Duration::from_millis(400);

fn assert_single(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.messages.len(), 1, "{}", answer.body);
}

async fn a_long_call_is_one_body(client: &Client) {
    let answer = client.request("tools/call", countdown(5, 60)).await.ok();
    assert_single(&answer);
    let only_json = client.clone().header("accept", "application/json");
    let (headers, body) = only_json
        .message("tools/call", countdown(1, 1), Some(json!("a")))
        .await;
    let mut headers = headers;
    headers.push(("accept".into(), "application/json".into()));
    let answer = only_json.post(&headers, &body.to_string()).await.ok();
    assert_single(&answer);
    let neither = client
        .post(
            &[("accept".into(), "text/event-stream".into())],
            &body.to_string(),
        )
        .await;
    assert_eq!(neither.status, 406);
}

#[tokio::test]
async fn json_replies_are_one_body_however_long_the_call_takes() {
    let cluster = Cluster::with(3, JSON).await;
    a_long_call_is_one_body(&cluster.client()).await;
    let alone = Node::start(&NodeOptions::default().env(JSON[0].0, JSON[0].1)).await;
    a_long_call_is_one_body(&Client::legacy(&alone.url())).await;
    for url in [cluster.node(0).url(), alone.url()] {
        let modern = Client::modern(&url);
        assert_single(&modern.request("tools/call", countdown(5, 60)).await.ok());
        // A subscription is a stream by its nature.
        let filter = json!({"notifications": {"toolsListChanged": true}});
        let (_, mut listening) = modern.stream("subscriptions/listen", filter).await;
        listening.method("notifications/subscriptions/acknowledged").await;
    }
}

#[tokio::test]
async fn json_replies_come_together_for_a_batch() {
    let cluster = Cluster::with(3, JSON).await;
    let client = cluster.client().revision("2025-03-26");
    let call =
        |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": countdown(3, 80)});
    let headers = client.session_headers().await;
    let answer = client
        .post(&headers, &json!([call(1), call(2)]).to_string())
        .await;
    assert_single(&answer);
    assert_eq!(answer.messages[0].as_array().map(Vec::len), Some(2));
}

/// What a call sends before its answer has one place left to go.
#[tokio::test]
async fn beside_json_replies_calls_speak_on_the_standalone_stream() {
    let cluster = Cluster::with(3, JSON).await;
    let client = cluster.client().capabilities(json!({"elicitation": {}}));
    client.session().await;
    let at = |index: usize| client.at(&cluster.node(index % 3).url());
    let mut stream = at(2).listen(None).await;
    for round in 0..6 {
        let (caller, question) = (at(round), format!("round {round}?"));
        let asking =
            tokio::spawn(async move { caller.call("ask", json!({"question": question})).await.ok() });
        let request = stream.method("elicitation/create").await;
        assert_eq!(request["params"]["message"], format!("round {round}?"));
        let content = json!({"action": "accept", "content": {"answer": format!("answer {round}")}});
        assert_eq!(at(round + 1).respond(&request["id"], content).await.status, 202);
        let answer = asking.await.expect("no panic");
        assert_single(&answer);
        assert_eq!(answer.text(), format!("answer {round}"));
    }
    assert_single(&at(0).request("tools/call", countdown(3, 10)).await.ok());
    for step in 1..=3 {
        let progress = stream.method("notifications/progress").await;
        assert_eq!(progress["params"]["progress"], json!(f64::from(step)));
    }
    // Its responses are in the bodies, and nowhere else.
    while let Some(event) = stream.next_within(SOON).await.flatten() {
        let message = event.message().unwrap_or_default();
        assert!(message.get("result").is_none(), "{message}");
    }
    eventually("no call is left", || async {
        cluster
            .redis()
            .keys("node-calls:*")
            .await
            .is_empty()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn beside_json_replies_a_question_that_nobody_hears_is_an_error_at_once() {
    let cluster = Cluster::with(3, JSON).await;
    let alone = Node::start(&NodeOptions::default().env(JSON[0].0, JSON[0].1)).await;
    for client in [cluster.client(), Client::legacy(&alone.url())] {
        let client = client.capabilities(json!({"elicitation": {}}));
        client.session().await;
        let began = Instant::now();
        let answer = client.call("ask", json!({"question": "Anybody?"})).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "it took {:?}",
            began.elapsed()
        );
        assert_single(&answer);
        assert!(answer.body.contains("no stream open"), "{}", answer.body);
        // What nobody heard is not kept: its call is over.
        let mut stream = client.listen(None).await;
        while let Some(event) = stream.next_within(SOON).await.flatten() {
            assert_eq!(event.message(), None);
        }
    }
}

/// M9: what an outage has swallowed beside a reply is told of once Redis is back, though the call is long
/// over.
#[tokio::test]
async fn beside_json_replies_what_is_lost_is_told_when_the_store_is_back() {
    let cluster = Cluster::with(1, &[JSON[0], ("MCP_STORE__TIMEOUT", "1s")]).await;
    let client = cluster.client();
    client.list().await.ok();
    let mut stream = client.listen(None).await;
    stream.next().await.expect("a priming event");
    cluster.redis().pause();
    assert_single(&client.request("tools/call", countdown(3, 10)).await.ok());
    // Longer than what it sent is tried to be kept.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.redis().resume();
    stream
        .message_where(|message| message["params"]["data"]["lostMessages"].as_u64() >= Some(1))
        .await;
}

#[tokio::test]
async fn a_call_with_a_json_reply_is_cancelled_through_any_node() {
    let cluster = Cluster::with(3, JSON).await;
    let client = cluster.client();
    client.session().await;
    for round in 0..6 {
        let at = |index: usize| client.at(&cluster.node(index % 3).url());
        let (headers, body) = client
            .message("tools/call", countdown(100, 50), Some(json!(format!("c{round}"))))
            .await;
        let caller = at(round);
        let calling = tokio::spawn(async move { caller.post(&headers, &body.to_string()).await });
        // The call may not have begun yet: a cancellation that comes before it is said again.
        let answer = eventually("the call ends", || async {
            at(round + 1)
                .notify(
                    "notifications/cancelled",
                    json!({"requestId": format!("c{round}")}),
                )
                .await;
            calling.is_finished().then_some(())
        });
        answer.await;
        let answer = calling.await.expect("no panic");
        assert_eq!((answer.status, answer.body.as_str()), (202, ""), "{answer:?}");
    }
}

/// Its client has lost the connection that the reply would have come on: nobody is told anything.
#[tokio::test]
async fn of_a_lost_node_a_call_with_a_json_reply_leaves_nothing() {
    let cluster = Cluster::with(2, JSON).await;
    let client = cluster.client().capabilities(json!({"elicitation": {}}));
    client.session().await;
    let mut stream = client.at(&cluster.node(1).url()).listen(None).await;
    let caller = client.at(&cluster.node(0).url());
    let (headers, body) = caller
        .message(
            "tools/call",
            json!({"name": "ask", "arguments": {"question": "Well?"}}),
            Some(json!(7)),
        )
        .await;
    let url = format!("{}/mcp", cluster.node(0).url());
    let mut request = http_client()
        .build()
        .expect("a client")
        .post(url)
        .body(body.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .header("content-type", "application/json")
        .header("accept", "application/json");
    let asking = tokio::spawn(request.send());
    stream.method("elicitation/create").await;
    assert_eq!(cluster.redis().keys("node-calls:*").await, ["node-calls:node-0"]);
    cluster.node(0).kill9().await;
    assert!(asking.await.expect("no panic").is_err(), "its connection is lost");
    eventually("the call is taken off", || async {
        cluster
            .redis()
            .keys("node-calls:*")
            .await
            .is_empty()
            .then_some(())
    })
    .await;
    while let Some(event) = stream.next_within(SOON).await.flatten() {
        assert_eq!(
            event.message(),
            None,
            "the standalone stream carries no responses"
        );
    }
}

#[tokio::test]
async fn sse_replies_are_streams_from_the_start_that_any_node_takes_up() {
    let cluster = Cluster::with(3, SSE).await;
    let client = cluster.client();
    let initialized = client.initialize().await.ok();
    assert_eq!(initialized.header("content-type"), Some("text/event-stream"));
    assert!(initialized.header("mcp-session-id").is_some());
    for round in 0..6 {
        let at = |index: usize| client.at(&cluster.node(index % 3).url());
        let echo = json!({"name": "echo", "arguments": {"text": "quick"}});
        let (id, mut stream) = at(round).stream("tools/call", echo).await;
        let primed = stream.next().await.expect("a priming event");
        assert_eq!(primed.message(), None);
        let first = primed.id.expect("an id to come back with");
        let answer = stream.answer_to(&id).await;
        assert!(stream.next().await.is_none(), "the stream ends after its answer");
        let mut again = at(round + 1).listen(Some(&first)).await;
        assert_eq!(again.answer_to(&id).await, answer, "round {round}");
    }
}

#[tokio::test]
async fn sse_replies_need_neither_redis_nor_a_session() {
    let alone = Node::start(&NodeOptions::default().env(SSE[0].0, SSE[0].1)).await;
    let arguments: Value = json!({"text": "quick"});
    for client in [Client::legacy(&alone.url()), Client::modern(&alone.url())] {
        let answer = client.call("echo", arguments.clone()).await.ok();
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.text(), "quick");
    }
}
