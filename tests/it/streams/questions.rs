//! What a handler asks its client, in a call and outside, with client, call and answer each at another node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::asker::{Asker, Kind};
use crate::support::client::{Answer, Client};
use crate::support::http::http_client;
use crate::support::inside::Inside;
use crate::support::process::eventually;
use crate::support::sse::EventStream;

/// A client that can be asked anything, and is ready.
async fn client(cluster: &Inside) -> Client {
    let can = json!({"sampling": {}, "elicitation": {}, "roots": {}});
    let client = cluster.client().capabilities(can);
    client.session().await;
    client
}

fn call(tool: &str, kind: Kind) -> Value {
    json!({"name": tool, "arguments": {"kind": kind}})
}

/// Answers with an error.
async fn fail(client: &Client, id: &Value) -> Answer {
    let error = json!({"code": -1, "message": "the person said no"});
    let body = json!({"jsonrpc": "2.0", "id": id, "error": error});
    client
        .post(&client.session_headers().await, &body.to_string())
        .await
}

/// What came of the question that was asked outside a call.
async fn outcome(client: &Client) -> String {
    eventually("the question ends", || async {
        let answer = client.call("outcome", json!({})).await.ok();
        Some(answer.text().to_owned()).filter(|text| !text.is_empty())
    })
    .await
}

/// Breaks a stream off, and takes it up at another node.
async fn move_to(stream: EventStream, client: &Client) -> EventStream {
    let last = stream.last_id().expect("an id to come back with").to_owned();
    drop(stream);
    client.listen(Some(&last)).await
}

/// A call on one node has asked its client, which has moved to another: the call's id, the question, the
/// stream.
async fn asked_elsewhere(calls: &Client, listens: &Client) -> (Value, Value, EventStream) {
    let (id, mut stream) = calls.stream("tools/call", call("ask", Kind::Elicitation)).await;
    let request = stream.method("elicitation/create").await;
    (id, request, move_to(stream, listens).await)
}

#[tokio::test]
async fn every_question_of_a_call_finds_its_client_and_every_answer_its_call() {
    for cluster in Inside::stages(Asker::default()).await {
        let client = client(&cluster).await;
        for round in 0..12 {
            let at = |index: usize| client.at(cluster.url(index));
            let kind = Kind::ALL[round % 4];
            let (id, mut stream) = at(round).stream("tools/call", call("ask", kind)).await;
            // In every other round the client has moved before it is asked, in the others after.
            let moves_first = round % 8 < 4;
            if moves_first {
                stream.next().await.expect("a priming event");
                stream = move_to(stream, &at(round + 2)).await;
            }
            let request = stream.method(kind.method()).await;
            let says = format!("round{round}");
            let answered = at(round + 1).respond(&request["id"], kind.answer(&says)).await;
            assert_eq!(answered.status, 202);
            if !moves_first {
                stream = move_to(stream, &at(round + 2)).await;
            }
            let response = stream.answer_to(&id).await;
            let expected = if kind == Kind::Ping { "pong" } else { &says };
            assert!(
                response["result"].to_string().contains(expected),
                "{kind:?}: {response}"
            );
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

/// F3: the calls of a batch (2025-03-26) are found by answers that come through another node.
#[tokio::test]
async fn the_questions_of_a_batch_are_answered_through_any_node() {
    for cluster in Inside::stages(Asker::default()).await {
        let client = client(&cluster).await.revision("2025-03-26");
        let client = client.capabilities(json!({"sampling": {}, "elicitation": {}, "roots": {}}));
        let at = |index: usize| client.at(cluster.url(index));
        let request = |id: u32, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let batch = json!([
            request(1, call("ask", Kind::Elicitation)),
            request(2, call("ask", Kind::Sampling))
        ]);
        let headers = client.session_headers().await;
        let mut stream = at(0).open(&headers, &batch).await;
        for turn in 1..=2 {
            let question = stream.next_message().await.expect("a question");
            let kinds = Kind::ALL.into_iter();
            let kind = kinds.clone().find(|kind| question["method"] == kind.method());
            let answer = kind.expect("one of ours").answer("both");
            let answered = at(turn).respond(&question["id"], answer).await;
            assert_eq!(answered.status, 202);
        }
        let answers = stream.next_message().await.expect("the answers");
        assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
        assert!(answers[0]["result"].to_string().contains("both"), "{answers}");
        assert!(answers[1]["result"].to_string().contains("both"), "{answers}");
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn the_wait_for_an_answer_ends_and_the_client_is_told_on_whichever_node_it_is() {
    let change = |settings: &mut anynode::Settings| {
        settings.call.answer_timeout = Duration::from_millis(300);
    };
    for cluster in Inside::stages_with(Asker::default(), change).await {
        let client = client(&cluster).await;
        for round in 0..3 {
            let at = |index: usize| client.at(cluster.url(index));
            let (id, request, mut stream) = asked_elsewhere(&at(round), &at(round + 2)).await;
            let cancelled = stream.method("notifications/cancelled").await;
            assert_eq!(cancelled["params"]["requestId"], request["id"]);
            let response = stream.answer_to(&id).await;
            assert!(response.to_string().contains("did not answer"), "{response}");
            // Too late: it is taken, and changes nothing.
            let late = at(round + 1)
                .respond(&request["id"], Kind::Elicitation.answer("late"))
                .await;
            assert_eq!(late.status, 202);
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_clients_error_is_the_answer() {
    for cluster in Inside::stages(Asker::default()).await {
        let client = client(&cluster).await;
        for round in 0..8 {
            let at = |index: usize| client.at(cluster.url(index));
            let kind = Kind::ALL[round % 4];
            let (id, mut stream) = at(round).stream("tools/call", call("ask", kind)).await;
            let request = stream.method(kind.method()).await;
            assert_eq!(fail(&at(round + 1), &request["id"]).await.status, 202);
            let response = stream.answer_to(&id).await;
            let words = response["error"]["message"].as_str().expect("an error");
            assert!(words.contains("the person said no"), "{words}");
        }
        cluster.stop().await;
    }
}

#[tokio::test]
async fn of_two_answers_through_other_nodes_the_first_counts() {
    for cluster in Inside::stages(Asker::default()).await {
        let client = client(&cluster).await;
        for round in 0..12 {
            let at = |index: usize| client.at(cluster.url(index));
            let (id, mut stream) = at(round).stream("tools/call", call("ask", Kind::Sampling)).await;
            let request = stream.method("sampling/createMessage").await;
            for (node, says) in [(round + 1, "first"), (round + 2, "second"), (round, "third")] {
                let answer = Kind::Sampling.answer(says);
                assert_eq!(at(node).respond(&request["id"], answer).await.status, 202);
            }
            let response = stream.answer_to(&id).await;
            assert!(
                response["result"].to_string().contains("first"),
                "round {round}: {response}"
            );
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn the_answer_of_another_session_is_ignored_and_the_right_one_counts() {
    for cluster in Inside::stages(Asker::default()).await {
        let (owner, stranger) = (client(&cluster).await, client(&cluster).await);
        for round in 0..6 {
            let at = |client: &Client, index: usize| client.at(cluster.url(index));
            let (id, mut stream) = at(&owner, round)
                .stream("tools/call", call("ask", Kind::Elicitation))
                .await;
            let request = stream.method("elicitation/create").await;
            for node in 0..3 {
                let answer = Kind::Elicitation.answer("stranger");
                let answered = at(&stranger, node).respond(&request["id"], answer).await;
                assert_eq!(answered.status, 202, "it is told nothing of the other's call");
                assert_eq!(fail(&at(&stranger, node), &request["id"]).await.status, 202);
            }
            let answer = Kind::Elicitation.answer("owner");
            at(&owner, round + 1).respond(&request["id"], answer).await;
            let response = stream.answer_to(&id).await;
            assert!(
                response["result"].to_string().contains("owner"),
                "round {round}: {response}"
            );
        }
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_waits_for_an_answer_is_cancelled_through_any_node() {
    let handler = Asker::default();
    for cluster in Inside::stages(handler.clone()).await {
        let before = handler.stopped.load(Ordering::SeqCst);
        let client = client(&cluster).await;
        for round in 0..6 {
            let at = |index: usize| client.at(cluster.url(index));
            let (id, request, mut stream) = asked_elsewhere(&at(round), &at(round + 2)).await;
            at(round + 1)
                .notify("notifications/cancelled", json!({"requestId": id}))
                .await;
            stream.ends_unanswered().await;
            let answer = Kind::Elicitation.answer("late");
            assert_eq!(
                at(round + 1).respond(&request["id"], answer).await.status,
                202,
                "the client that answers need not know"
            );
            assert_eq!(handler.stopped.load(Ordering::SeqCst) - before, round + 1);
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn outside_a_call_questions_go_to_the_standalone_stream() {
    for cluster in Inside::stages(Asker::default()).await {
        for round in 0..12 {
            let client = client(&cluster).await;
            let at = |index: usize| client.at(cluster.url(index));
            let kind = Kind::ALL[round % 4];
            // In every other round the client has its stream already, in the others the question waits for
            // it.
            let early = if round % 8 < 4 {
                Some(at(round + 2).listen(None).await)
            } else {
                None
            };
            let later = at(round).request("tools/call", call("ask_later", kind)).await;
            assert_eq!(later.ok().text(), "later");
            let mut stream = match early {
                Some(stream) => stream,
                None => at(round + 2).listen(None).await,
            };
            let request = stream.method(kind.method()).await;
            let says = format!("round{round}");
            for says in [&says, "twice"] {
                let answered = at(round + 1).respond(&request["id"], kind.answer(says)).await;
                assert_eq!(answered.status, 202);
            }
            let expected = if kind == Kind::Ping { "pong" } else { &says };
            let outcome = outcome(&client).await;
            assert!(outcome.contains(expected), "{kind:?}: {outcome}");
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn what_is_asked_outside_a_call_ends_with_its_time_and_with_its_session() {
    let change = |settings: &mut anynode::Settings| {
        settings.call.answer_timeout = Duration::from_millis(300);
    };
    let cluster = Inside::with(3, Asker::default(), change).await;
    let waits = client(&cluster).await;
    waits
        .request("tools/call", call("ask_later", Kind::Roots))
        .await
        .ok();
    let outcome = outcome(&waits).await;
    assert!(outcome.contains("did not answer"), "{outcome}");
    cluster.stop().await;

    let cluster = Inside::of(3, Asker::default()).await;
    let ends = client(&cluster).await;
    let mut stream = ends.at(cluster.url(0)).listen(None).await;
    ends.at(cluster.url(1))
        .request("tools/call", call("ask_later", Kind::Roots))
        .await
        .ok();
    stream.method("roots/list").await;
    assert_eq!(ends.at(cluster.url(2)).delete().await.status, 204);
    assert!(stream.next_message().await.is_none(), "its stream ends with it");
    // Nothing of the session is left, and nobody waits any longer: else the nodes would not stop so soon.
    let redis = cluster.stop().await.expect("the Redis they shared");
    let left = redis.keys("*").await;
    let allowed = |key: &String| key.starts_with("node") || key == "secret" || key == "versions";
    assert!(left.iter().all(allowed), "{left:?}");
}

#[tokio::test]
async fn a_calls_own_peer_ends_with_the_call() {
    for cluster in Inside::stages(Asker::default()).await {
        let client = client(&cluster).await;
        let mut stream = client.listen(None).await;
        client
            .request("tools/call", call("ask_too_late", Kind::Roots))
            .await
            .ok();
        let outcome = outcome(&client).await;
        assert!(
            outcome.contains("error"),
            "an error at once, not a wait: {outcome}"
        );
        let none = stream.next_within(Duration::from_millis(300)).await.flatten();
        assert_eq!(none.and_then(|event| event.message()), None);
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_handler_may_ask_as_soon_as_a_client_is_ready() {
    let handler = Asker {
        greets: true,
        ..Asker::default()
    };
    for cluster in Inside::stages(handler).await {
        for round in 0..6 {
            let client = client(&cluster).await;
            let at = |index: usize| client.at(cluster.url(index));
            let mut stream = at(round).listen(None).await;
            let request = stream.method("roots/list").await;
            let says = format!("round{round}");
            at(round + 1)
                .respond(&request["id"], Kind::Roots.answer(&says))
                .await;
            let outcome = outcome(&client).await;
            assert!(outcome.contains(&says), "{outcome}");
        }
        cluster.no_call_is_left().await;
        cluster.stop().await;
    }
}

/// Over HTTP+SSE there is one stream, and everything goes there.
#[tokio::test]
async fn over_http_with_sse_questions_outside_a_call_come_on_the_one_stream() {
    for cluster in Inside::stages(Asker::default()).await {
        let http = http_client().build().expect("a client");
        let opened = http.get(format!("{}/sse", cluster.url(0))).send().await;
        let mut stream = EventStream::new(opened.expect("a stream"));
        let endpoint = stream.next().await.expect("where to post").data.expect("a path");
        let post = async |node: usize, message: Value| {
            let url = format!("{}/{endpoint}", cluster.url(node));
            let answer = http.post(url).json(&message).send().await.expect("an answer");
            assert_eq!(answer.status(), 202);
        };
        let request = |id: u32, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let info = json!({"name": "tests", "version": "1"});
        let params =
            json!({"protocolVersion": "2024-11-05", "capabilities": {"roots": {}}, "clientInfo": info});
        post(1, request(1, "initialize", params)).await;
        stream.answer_to(&json!(1)).await;
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        post(2, ready).await;
        post(1, request(2, "tools/call", call("ask_later", Kind::Roots))).await;
        let mut seen = (None, false);
        while seen.0.is_none() || !seen.1 {
            let message = stream.next_message().await.expect("the stream goes on");
            match message["method"].as_str() {
                Some("roots/list") => seen.0 = Some(message["id"].clone()),
                _ => seen.1 |= message["id"] == 2,
            }
        }
        let answer = json!({"jsonrpc": "2.0", "id": seen.0, "result": Kind::Roots.answer("home")});
        post(2, answer).await;
        for id in 3.. {
            let look = json!({"name": "outcome", "arguments": {}});
            post(0, request(id, "tools/call", look)).await;
            let response = stream.answer_to(&json!(id)).await.to_string();
            if response.contains("home") {
                break;
            }
            assert!(id < 1000, "{response}");
        }
        drop(stream);
        cluster.stop().await;
    }
}
