//! Streams that any node can carry: long calls, resumption, the standalone stream, answers and cancellations.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::cluster::Cluster;
use crate::support::sse::EventStream;

mod asker;
mod cancels;
mod changes;
mod lost;
mod questions;
mod recovery;
mod replies;
mod resumption;
mod standby;
mod talker;
mod waits;

fn countdown(from: u32, interval_ms: u32) -> Value {
    json!({"name": "countdown", "arguments": {"from": from, "interval_ms": interval_ms}, "_meta": {"progressToken": "p"}})
}

/// The progress that a stream tells, and whether the call's answer came, to the end of the stream.
async fn read_on(stream: &mut EventStream, id: &Value, steps: &mut Vec<f64>) -> bool {
    let mut answered = false;
    while let Some(message) = stream.next_message().await {
        match message["method"].as_str() {
            Some("notifications/progress") => {
                steps.push(message["params"]["progress"].as_f64().expect("a number"))
            }
            None if message["id"] == *id => answered = true,
            _ => {}
        }
    }
    answered
}

#[tokio::test]
async fn a_quick_call_is_one_json_body_and_writes_nothing() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    client.list().await.ok();
    cluster.redis().command(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..50 {
        let answer = client.call("echo", json!({"text": "a"})).await.ok();
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let stats = cluster.redis().command(&["INFO", "commandstats"]).await.text();
    for line in stats.lines().filter(|line| line.starts_with("cmdstat_")) {
        let name = line
            .trim_start_matches("cmdstat_")
            .split(':')
            .next()
            .unwrap_or_default();
        // Heartbeats, the lease and the look for dead nodes go on with any number of calls.
        let known = [
            "ping",
            "evalsha",
            "hset",
            "pexpire",
            "zadd",
            "info",
            "config|resetstat",
            "zrangebyscore",
            "time",
            "zremrangebyscore",
            "exists",
            "zrange",
            "del",
            "pubsub|numsub",
        ];
        assert!(known.contains(&name), "{line}");
        if name == "evalsha" {
            let calls: u32 = line
                .split("calls=")
                .nth(1)
                .and_then(|n| n.split(',').next()?.parse().ok())
                .unwrap_or(0);
            assert!(calls < 25, "50 quick calls made scripts run: {line}");
        }
    }
}

#[tokio::test]
async fn a_long_call_is_a_stream_with_ids_that_begins_with_a_priming_event() {
    for cluster in Cluster::stages().await {
        for (revision, primed) in [("2025-11-25", true), ("2025-06-18", false), ("2025-03-26", false)] {
            let client = cluster.client().revision(revision);
            let (_, mut stream) = client.stream("tools/call", countdown(2, 10)).await;
            assert_eq!(stream.headers()["x-accel-buffering"], "no");
            let first = stream.next().await.expect("an event");
            assert_eq!(first.message().is_none(), primed, "{revision}: {first:?}");
            assert_eq!(first.retry.is_some(), primed);
            assert!(first.id.is_some());
            let mut numbers = Vec::new();
            while let Some(event) = stream.next().await {
                let id = event.id.expect("an id");
                numbers.push(
                    id.rsplit_once('-')
                        .expect("<stream>-<number>")
                        .1
                        .parse::<u64>()
                        .expect("a number"),
                );
            }
            assert!(
                numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "{numbers:?}"
            );
        }
        let silent = cluster.client();
        let quiet = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 300}});
        let answer = silent.request("tools/call", quiet).await.ok();
        assert_eq!(
            answer.header("content-type"),
            Some("text/event-stream"),
            "past the grace a reply is a stream"
        );
    }
}

#[tokio::test]
async fn a_silent_stream_gets_comments_as_often_as_is_set() {
    let cluster = Cluster::with(1, &[("MCP_CALL__KEEP_ALIVE", "200ms")]).await;
    let client = cluster.client();
    let silent = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 2100}});
    let (id, mut stream) = client.stream("tools/call", silent).await;
    stream.answer_to(&id).await;
    // Ten on an idle machine.
    assert!(
        (5..=11).contains(&stream.comments()),
        "{} comments in 2 s",
        stream.comments()
    );
}

/// No gap and no duplicate, whenever and wherever the client comes back.
#[tokio::test]
async fn a_stream_is_taken_up_on_another_node_where_it_broke_off() {
    for cluster in Cluster::stages().await {
        for round in 0..30 {
            let client = cluster.client();
            client.session().await;
            let at = |index: usize| client.at(&cluster.turn(index).url());
            let (id, mut stream) = at(round).stream("tools/call", countdown(20, 5)).await;
            let mut steps = Vec::new();
            for _ in 0..round % 7 {
                let message = stream.method("notifications/progress").await;
                steps.push(message["params"]["progress"].as_f64().expect("a number"));
            }
            // The priming event, or the last one that came: either is a place to resume from.
            if stream.last_id().is_none() {
                stream.next().await;
            }
            let mut answered = false;
            let mut hop = round;
            while !answered {
                hop += 1;
                let last = stream.last_id().expect("an id to resume from").to_owned();
                drop(stream);
                stream = at(hop).listen(Some(&last)).await;
                if hop < round + 4 {
                    // Stay only for a little while, so that it breaks off while events come.
                    let message = stream
                        .message_where(|message| {
                            message.get("method").is_none() || message["method"] == "notifications/progress"
                        })
                        .await;
                    match message["method"].as_str() {
                        Some(_) => steps.push(message["params"]["progress"].as_f64().expect("a number")),
                        None => answered = true,
                    }
                } else {
                    answered = read_on(&mut stream, &id, &mut steps).await;
                }
            }
            let expected: Vec<f64> = (1..=20).map(f64::from).collect();
            assert_eq!(steps, expected, "round {round}: a gap or a duplicate");
        }
    }
}

#[tokio::test]
async fn an_answer_waits_for_a_client_that_was_away() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        client.session().await;
        let at = |index: usize| client.at(&cluster.turn(index).url());
        let (id, mut stream) = at(0).stream("tools/call", countdown(5, 20)).await;
        stream.next().await.expect("a first event");
        let last = stream.last_id().expect("an id").to_owned();
        drop(stream);
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut resumed = at(2).listen(Some(&last)).await;
        resumed.answer_to(&id).await;
        assert!(resumed.next().await.is_none(), "the stream ends after its answer");
    }
}

/// The official clients of TypeScript come back with what the last connection has given them, and no older
/// id.
#[tokio::test]
async fn a_stream_that_is_taken_up_gives_an_id_at_once() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        let silent = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 2000}});
        let (id, mut stream) = client.stream("tools/call", silent).await;
        for turn in 0..3 {
            let first = stream.next().await.expect("a priming event");
            assert_eq!(first.message(), None);
            let last = first.id.expect("an id");
            drop(stream);
            stream = client.at(&cluster.turn(turn).url()).listen(Some(&last)).await;
        }
        stream.answer_to(&id).await;
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_from_is_named() {
    for cluster in Cluster::stages().await {
        let (one, other) = (cluster.client(), cluster.client());
        let (_, mut stream) = one.stream("tools/call", countdown(2, 1)).await;
        while stream.next().await.is_some() {}
        let last = stream.last_id().expect("an id").to_owned();
        other.session().await;
        let unknown = "00000000000000000000000000000000-1";
        let beyond = format!("{}-999", last.rsplit_once('-').expect("<stream>-<number>").0);
        for (client, id) in [
            (&other, last.as_str()),
            (&one, unknown),
            (&one, beyond.as_str()),
            (&one, "nonsense"),
            (&one, "get-x"),
        ] {
            let answer = client.get(Some(id)).await;
            assert_eq!(answer.status(), 400, "{id}");
            let body: Value = answer.json().await.expect("JSON");
            assert_eq!(body["error"]["code"], -32000);
            assert!(
                body["error"]["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("Last-Event-ID")),
                "{body}"
            );
        }
    }
}

/// The client's answer reaches the node that asked, on any node that it is given to, and the first one
/// counts.
#[tokio::test]
async fn a_client_may_answer_through_any_node() {
    for cluster in Cluster::stages().await {
        let client = cluster.client().capabilities(json!({"elicitation": {}}));
        client.session().await;
        for round in 0..30 {
            let at = |index: usize| client.at(&cluster.turn(index).url());
            let question = json!({"name": "ask", "arguments": {"question": format!("round {round}?")}});
            let (id, mut stream) = at(round).stream("tools/call", question).await;
            let request = stream.method("elicitation/create").await;
            let answer = |text: &str| json!({"action": "accept", "content": {"answer": text}});
            assert_eq!(
                at(round + 1)
                    .respond(&request["id"], answer("first"))
                    .await
                    .status,
                202
            );
            assert_eq!(
                at(round + 2)
                    .respond(&request["id"], answer("second"))
                    .await
                    .status,
                202
            );
            let response = stream.answer_to(&id).await;
            assert!(
                response["result"].to_string().contains("first"),
                "round {round}: {response}"
            );
        }
    }
}

#[tokio::test]
async fn a_call_is_cancelled_through_any_node() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        client.session().await;
        for round in 0..9 {
            let at = |index: usize| client.at(&cluster.turn(index).url());
            let (id, mut stream) = at(round).stream("tools/call", countdown(100, 50)).await;
            stream.method("notifications/progress").await;
            let began = Instant::now();
            let cancelled = at(round + 1)
                .notify("notifications/cancelled", json!({"requestId": id}))
                .await;
            assert_eq!(cancelled.status, 202);
            stream.ends_unanswered().await;
            assert!(
                began.elapsed() < Duration::from_millis(1500),
                "it took {:?}",
                began.elapsed()
            );
        }
        cluster.no_call_is_left().await;
    }
}

#[tokio::test]
async fn nothing_of_a_session_is_left_when_it_has_ended() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    for _ in 0..5 {
        let (_, mut stream) = client.stream("tools/call", countdown(3, 1)).await;
        while stream.next().await.is_some() {}
    }
    drop(client.listen(None).await);
    let session = client.session().await.to_owned();
    for key in cluster.redis().keys("*").await {
        assert!(
            cluster.redis().command(&["PTTL", &key]).await.int() > 0,
            "{key} has no TTL"
        );
    }
    assert_eq!(client.delete().await.status, 204);
    let left = cluster.redis().keys("*").await;
    assert!(left.iter().all(|key| !key.contains(&session)), "{left:?}");
}
