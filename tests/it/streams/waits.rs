//! Nobody waits for ever: a session that is gone, a store that is away, messages that are lost.

use std::time::Duration;

use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::countdown;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::process::{eventually, within};

/// How long the store may take to register a call, and more: far less than a client may take to answer.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

async fn is_gone(client: &Client, what: Value) {
    let answer = client.request("tools/call", what).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert_eq!(answer.code(), -32001);
    assert!(answer.body.contains("Session not found"), "{}", answer.body);
}

/// F12: the store has lost the session while nodes keep copies of it.
#[tokio::test]
async fn a_session_that_is_gone_is_404_for_whatever_asks_the_store_and_then_for_all() {
    let cluster = Cluster::of(1).await;
    let increment = json!({"name": "increment", "arguments": {"key": "k"}});
    let silent = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 300}});
    let echo = json!({"name": "echo", "arguments": {"text": "a"}});
    for first in [&countdown(5, 20), &silent, &increment] {
        let client = cluster.client();
        client.list().await.ok();
        let key = format!("session:{}", client.session().await);
        cluster.redis().command(&["DEL", &key]).await;
        is_gone(&client, first.clone()).await;
        is_gone(&client, echo.clone()).await;
    }
    // What is no call finds it as well.
    for what in ["cancel", "answer", "subscribe", "listen"] {
        let client = cluster.client();
        client.list().await.ok();
        let key = format!("session:{}", client.session().await);
        cluster.redis().command(&["DEL", &key]).await;
        let status = match what {
            "cancel" => {
                client
                    .notify("notifications/cancelled", json!({"requestId": 9}))
                    .await
                    .status
            }
            "answer" => client.respond(&json!("nocall-1"), json!({})).await.status,
            "subscribe" => {
                client
                    .request("resources/subscribe", json!({"uri": "note://session/a"}))
                    .await
                    .status
            }
            _ => client.get(None).await.status().as_u16(),
        };
        assert_eq!(status, 404, "{what}");
        is_gone(&client, echo.clone()).await;
    }
}

/// F12: its open stream ends, and says something before.
#[tokio::test]
async fn a_stream_of_a_session_that_is_gone_ends() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client().revision("2025-06-18");
    client.list().await.ok();
    let mut stream = client.listen(None).await;
    let key = format!("session:{}", client.session().await);
    cluster.redis().command(&["DEL", &key]).await;
    is_gone(&client, countdown(5, 20)).await;
    while stream.next().await.is_some() {}
    assert!(stream.comments() > 0, "no reply is an empty stream");
}

/// M2: what has no answer has no body, in every form of reply.
#[tokio::test]
async fn a_batch_without_requests_is_202() {
    for form in ["auto", "json", "sse"] {
        let cluster = Cluster::alone(&[("MCP_CALL__REPLY", form)]).await;
        let client = cluster.client().revision("2025-03-26");
        let headers = client.session_headers().await;
        let notification = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
        let response = json!({"jsonrpc": "2.0", "id": "nocall-1", "result": {}});
        for batch in [
            json!([notification]),
            json!([notification, notification]),
            json!([response]),
            json!([response, notification]),
        ] {
            let answer = client.post(&headers, &batch.to_string()).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (202, ""),
                "{form}: {batch}"
            );
        }
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let mixed = client
            .post(&headers, &json!([notification, ping]).to_string())
            .await;
        assert_eq!(mixed.status, 200, "{form}");
        assert!(mixed.body.contains("\"result\""), "{form}: {}", mixed.body);
    }
}

/// F4: an answer could reach any node, and none of the others could find the call.
#[tokio::test]
async fn a_question_is_refused_at_once_while_the_store_is_away_or_full() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client().capabilities(json!({"elicitation": {}}));
    client.list().await.ok();
    client.list().await.ok();
    let ask = json!({"name": "ask", "arguments": {"question": "?"}});
    for full in [false, true] {
        if full {
            cluster
                .redis()
                .command(&["CONFIG", "SET", "maxmemory", "1"])
                .await;
        } else {
            cluster.redis().pause();
        }
        let at = client.at(&cluster.node(0).url());
        let asked = at.request("tools/call", ask.clone());
        let answer = tokio::time::timeout(REFUSED_WITHIN, asked)
            .await
            .expect("an answer, not a wait");
        let said = answer.response().to_string();
        assert!(said.contains("the store is"), "full: {full}: {said}");
        assert!(!answer.body.contains("elicitation/create"), "{}", answer.body);
        if full {
            cluster
                .redis()
                .command(&["CONFIG", "SET", "maxmemory", "0"])
                .await;
        } else {
            cluster.redis().resume();
            eventually("the store is back", || async {
                let ready = http_get(format!("{}/health", cluster.node(0).url())).await;
                let health: Value = ready.ok()?.json().await.ok()?;
                (health["status"] == "healthy").then_some(())
            })
            .await;
        }
    }
    // Then it is put, and answered through the other node.
    let (id, mut stream) = client.at(&cluster.node(0).url()).stream("tools/call", ask).await;
    let question = stream.method("elicitation/create").await;
    let yes = json!({"action": "accept", "content": {"answer": "yes"}});
    let answered = client
        .at(&cluster.node(1).url())
        .respond(&question["id"], yes)
        .await;
    assert_eq!(answered.status, 202);
    assert!(stream.answer_to(&id).await["result"].to_string().contains("yes"));
}

/// However many requests of a session come to a node that does not know it: a store that is silent is waited
/// for once, and not by one after the other.
#[tokio::test]
async fn requests_wait_for_a_silent_store_side_by_side() {
    let cluster = Cluster::with(2, &[("MCP_STORE__TIMEOUT", "1s")]).await;
    let client = cluster.client().at(&cluster.node(0).url());
    client.list().await.ok();
    let elsewhere = client.at(&cluster.node(1).url());
    cluster.redis().pause();
    let pings = (0..20).map(|_| elsewhere.request("ping", json!({})));
    let answers = tokio::time::timeout(REFUSED_WITHIN, join_all(pings)).await;
    let answers = answers.expect("20 waits of a second would be too long");
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    cluster.redis().resume();
}

/// M9: what an outage has swallowed is named at the end of its call, which looks whole no longer.
#[tokio::test]
async fn a_call_that_has_lost_messages_ends_with_an_error_that_says_so() {
    let cluster = Cluster::with(1, &[("MCP_STORE__OUTAGE_GRACE", "1s")]).await;
    let client = cluster.client();
    let (id, mut stream) = client.stream("tools/call", countdown(80, 100)).await;
    stream.method("notifications/progress").await;
    cluster.redis().pause();
    within(Duration::from_secs(20), "the grace has passed", || async {
        let ready = http_get(format!("{}/readyz", cluster.node(0).url())).await;
        (ready.expect("the node answers").status() == 503).then_some(())
    })
    .await;
    // From the next message on that cannot be kept.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.redis().resume();
    let answer = stream.answer_to(&id).await;
    let error = &answer["error"];
    assert_eq!(error["code"], -32000, "{answer}");
    let words = error["message"].as_str().unwrap_or_default();
    assert!(words.contains("store.outage_grace"), "{words}");
    assert!(error["data"]["lostMessages"].as_u64() >= Some(1), "{answer}");
    assert!(
        error["data"]["response"]["result"]
            .to_string()
            .contains("counted"),
        "{answer}"
    );
}

/// A store that is away says nothing of whose a call is: one that is silent goes on, however long that lasts.
#[tokio::test]
async fn a_silent_call_outlives_an_outage_that_is_longer_than_the_grace() {
    let grace = [("MCP_STORE__OUTAGE_GRACE", "1s"), ("MCP_STORE__TIMEOUT", "500ms")];
    let cluster = Cluster::with(1, &grace).await;
    let client = cluster.client();
    let call = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 10_000}});
    let (id, mut stream) = client.stream("tools/call", call).await;
    stream.next().await.expect("a priming event");
    cluster.redis().pause();
    // The call is looked after each 5 s.
    tokio::time::sleep(Duration::from_secs(9)).await;
    cluster.redis().resume();
    let answer = stream.answer_to(&id).await;
    assert!(answer["result"].to_string().contains("counted"), "{answer}");
}

/// M2, M9: a call whose stream could not be registered, because the store is away, is not silent about its
/// end.
#[tokio::test]
async fn a_call_without_a_log_that_is_cancelled_ends_its_stream_with_a_word() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    client.list().await.ok();
    cluster.redis().pause();
    let (id, mut stream) = client.stream("tools/call", countdown(100, 1000)).await;
    stream.method("notifications/progress").await;
    let cancelled = client
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    assert_eq!(cancelled.status, 202, "{}", cancelled.body);
    while let Some(event) = stream.next().await {
        let message = event.message().unwrap_or_default();
        assert!(message.get("result").is_none(), "{message}");
    }
    assert!(stream.comments() > 0, "no reply just breaks off");
    cluster.redis().resume();
}

/// A Redis that takes over may lack what the former one had taken: what comes then has numbers that the
/// client knows already.
#[tokio::test]
async fn what_is_told_after_the_store_has_lost_events_reaches_the_client() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let (id, mut stream) = client.stream("tools/call", countdown(4, 700)).await;
    // Each step is told twice: as progress, and as a log message.
    for _ in 0..3 {
        stream.method("notifications/progress").await;
        stream.method("notifications/message").await;
    }
    let last = stream.last_id().expect("an id");
    let (call, number) = last.rsplit_once('-').expect("<stream>-<number>");
    assert_eq!(number, "6");
    let log = format!("events:{{session:{}}}:{call}", client.session().await);
    let redis = cluster.redis();
    redis.command(&["HDEL", &log, "1", "2", "3", "4", "5", "6"]).await;
    redis.command(&["HSET", &log, "head", "0", "bytes", "0"]).await;
    stream
        .message_where(|message| message.to_string().contains("may be lost"))
        .await;
    let answer = stream.answer_to(&id).await;
    assert_eq!(answer["result"]["structuredContent"]["counted"], 4, "{answer}");
}

/// M9: a standing stream whose log could not hold all says how many are missing, and goes on.
#[tokio::test]
async fn a_standing_stream_says_what_its_client_has_missed() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let session = client.session().await.to_owned();
    drop(client.listen(None).await);
    let log = format!("events:{{session:{session}}}:get");
    let event = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).to_string();
    let fields = [
        "head",
        "9",
        "first",
        "8",
        "bytes",
        "100",
        "delivered",
        "2",
        "8",
        &event,
        "9",
        &event,
    ];
    let redis = cluster.redis();
    redis.command(&["DEL", &log]).await;
    redis.command(&[&["HSET", &log][..], &fields].concat()).await;
    redis.command(&["EXPIRE", &log, "600"]).await;
    let mut stream = client.listen(None).await;
    let notice = stream.next_message().await.expect("a notice");
    assert_eq!(notice["method"], "notifications/message");
    assert_eq!(notice["params"]["data"]["lostMessages"], 5, "{notice}");
    for number in [8, 9] {
        stream.method("notifications/tools/list_changed").await;
        assert_eq!(stream.last_id(), Some(format!("get-{number}").as_str()));
    }
    // One who says where it stopped is refused in words.
    let refused = client.get(Some("get-3")).await;
    assert_eq!(refused.status(), 400);
}

/// The store loses what it knows of the session's calls, and then an answer comes through the other node.
async fn answer_unknown(cluster: &Cluster, client: &Client, question: &Value) {
    let calls = format!("calls:{{session:{}}}", client.session().await);
    cluster.redis().command(&["DEL", &calls]).await;
    let content = json!({"action": "accept", "content": {"answer": "well"}});
    let other = client.at(&cluster.node(1).url());
    assert_eq!(other.respond(&question["id"], content).await.status, 202);
}

/// What answers no call at all is not kept for long, and no field is left of a call that has ended.
async fn ends_soon_and_leaves_nothing(cluster: &Cluster, client: &Client) {
    let redis = cluster.redis();
    let calls = format!("calls:{{session:{}}}", client.session().await);
    let left = redis.command(&["HKEYS", &calls]).await.texts();
    let of_logs = ["stream:", "count:"];
    let of_calls = left
        .iter()
        .filter(|field| !of_logs.iter().any(|of| field.starts_with(of)));
    assert_eq!(of_calls.collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(client.respond(&json!("nocall-1"), json!({})).await.status, 202);
    let early = format!("{calls}:early");
    let ends: u64 = redis.cli(&["PTTL", &early]).trim().parse().expect("a number");
    assert!(ends <= 60_000, "{ends} ms");
    assert_eq!(client.delete().await.status, 204);
    assert_eq!(redis.keys("calls:*").await, Vec::<String>::new());
}

/// F4: a Redis that takes over may lack the record of a call that has asked: an answer that comes before the
/// call is registered again reaches it, through any node.
#[tokio::test]
async fn an_answer_that_comes_while_the_store_does_not_know_its_call_is_kept() {
    let ask = || json!({"name": "ask", "arguments": {"question": "Well?"}});
    let can = || json!({"elicitation": {}});
    let cluster = Cluster::of(2).await;
    let client = cluster.client().capabilities(can());
    let (id, mut reply) = client
        .at(&cluster.node(0).url())
        .stream("tools/call", ask())
        .await;
    let question = reply.method("elicitation/create").await;
    answer_unknown(&cluster, &client, &question).await;
    let response = reply.answer_to(&id).await;
    assert_eq!(
        response["result"]["structuredContent"]["answer"], "well",
        "{response}"
    );
    cluster.no_call_is_left().await;
    ends_soon_and_leaves_nothing(&cluster, &client).await;

    // One that asks beside its reply.
    let cluster = Cluster::with(2, &[("MCP_CALL__REPLY", "json")]).await;
    let client = cluster.client().capabilities(can());
    let asks = client.at(&cluster.node(0).url());
    let mut stream = asks.listen(None).await;
    let answers = async {
        let question = stream.method("elicitation/create").await;
        answer_unknown(&cluster, &client, &question).await;
    };
    let (answer, ()) = join(asks.request("tools/call", ask()), answers).await;
    assert_eq!(answer.structured()["answer"], "well");
    cluster.no_call_is_left().await;
}
