//! A stream is taken up anywhere, at any moment, without gap or duplicate; and it keeps no more than its
//! bounds allow.
use futures::StreamExt as _;
use serde_json::Value;

use super::talker::{Talk, Talker};
use crate::support::client::Client;
use crate::support::inside::Inside;
use crate::support::redis::Redis;
use crate::support::sse::{Event, EventStream};
use anynode::store::Limits;

const ROUNDS: usize = 1000;
/// How many rounds go on at once.
const AT_ONCE: usize = 16;
/// How many messages a call of a round sends: more than a read of the log returns would only make it longer.
const MESSAGES: u64 = 24;
/// A call that says all at once, and answers.
const BURST: Talk = Talk {
    count: 3,
    pause_us: 0,
    bytes: 0,
};

/// The number of an event in its stream.
fn number(event: &Event) -> u64 {
    let id = event.id.as_deref().expect("every event has an id");
    let (_, number) = id.rsplit_once('-').expect("<stream>-<number>");
    number.parse().expect("a number")
}

/// One call whose client breaks off and comes back elsewhere, at places that `round` chooses, until it has
/// the answer. Returns how often it came back while the call was still talking.
async fn round(cluster: &Inside, client: &Client, round: usize) -> usize {
    let at = |index: usize| client.at(cluster.url(index));
    // From as fast as it can to longer than a client takes to come back.
    let pause_us = [0, 0, 300, 1500][round % 4];
    let talk = Talk {
        count: MESSAGES,
        pause_us,
        bytes: 10,
    };
    let (id, mut stream) = at(round).stream("tools/call", talk.call()).await;
    let first = stream.next().await.expect("a priming event");
    assert_eq!((first.message(), number(&first)), (None, 0), "round {round}");
    let mut last = first.id.expect("an id to come back with");
    let (mut seen, mut hops, mut live) = (0, 0, 0);
    loop {
        // It stays for 0, 1, 2, … events, a different number each time.
        let stay = (round / 4 + hops * 5) % 9;
        let mut left = if hops < 4 { stay } else { usize::MAX };
        while left > 0 {
            let event = stream.next().await.expect("an event, or the answer before");
            assert_eq!(
                number(&event),
                seen + 1,
                "round {round}, hop {hops}: a gap or a duplicate"
            );
            (seen, left) = (seen + 1, left - 1);
            last = event.id.clone().expect("an id to come back with");
            let message = event.message().expect("a message");
            if message.get("method").is_none() {
                assert_eq!((&message["id"], seen), (&id, MESSAGES + 1), "round {round}");
                assert!(stream.next().await.is_none(), "the answer is the last event");
                return live;
            }
            assert_eq!(message["params"]["data"]["number"], seen, "round {round}");
        }
        hops += 1;
        drop(stream);
        stream = at(round + hops).listen(Some(&last)).await;
        let first = stream.next().await.expect("a priming event");
        assert_eq!((first.message(), number(&first)), (None, seen), "round {round}");
        live += usize::from(seen < MESSAGES);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_thousand_rounds_nothing_is_lost_or_told_twice() {
    for cluster in Inside::stages(Talker).await {
        // Sessions of their own: the streams of one are bounded.
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            let client = cluster.client();
            client.session().await;
            clients.push(client);
        }
        let rounds = futures::stream::iter(0..ROUNDS)
            .map(|index| round(&cluster, &clients[index % AT_ONCE], index))
            .buffer_unordered(AT_ONCE);
        let live: usize = rounds.fold(0, async |sum, live| sum + live).await;
        assert!(
            live > ROUNDS,
            "the clients came back to calls that still talked {live} times"
        );
        cluster.stop().await;
    }
}

/// The whole of a stream that somebody else reads, from its priming event on.
async fn read(mut stream: EventStream) -> Vec<String> {
    while stream.next().await.is_some() {}
    let last = stream.last_id().expect("an id").to_owned();
    let (name, head) = last.rsplit_once('-').expect("<stream>-<number>");
    let head: u64 = head.parse().expect("a number");
    (0..=head).map(|number| format!("{name}-{number}")).collect()
}

/// The key of the log that has this event.
async fn log(redis: &Redis, id: &str) -> String {
    let (name, _) = id.rsplit_once('-').expect("<stream>-<number>");
    redis.keys(&format!("events:*:{name}")).await.remove(0)
}

async fn cannot_be_resumed(client: &Client, id: &str) {
    let answer = client.get(Some(id)).await;
    assert_eq!(answer.status(), 400, "{id}");
    let body: Value = answer.json().await.expect("JSON");
    let words = body["error"]["message"].as_str().unwrap_or_default();
    assert!(
        words.contains("no longer kept") || words.contains("no such stream"),
        "{body}"
    );
}

/// The numbers of the events that come after this one.
async fn numbers_after(client: &Client, id: &str) -> Vec<u64> {
    let mut stream = client.listen(Some(id)).await;
    let first = stream.next().await.expect("a priming event");
    assert_eq!(first.id.as_deref(), Some(id));
    let mut numbers = Vec::new();
    while let Some(event) = stream.next().await {
        numbers.push(number(&event));
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_so_many_events_and_says_when_one_is_gone() {
    for cluster in Inside::stages(Talker).await {
        let client = cluster.client();
        let talk = Talk {
            count: Limits::STREAM_EVENTS_MAX + 9,
            ..BURST
        };
        let (_, stream) = client.stream("tools/call", talk.call()).await;
        let ids = read(stream).await;
        let head = Limits::STREAM_EVENTS_MAX + 10;
        assert_eq!(
            ids.len() as u64,
            head + 1,
            "the messages, the answer, the priming event"
        );
        // The oldest that is kept follows this one.
        let oldest = usize::try_from(head - Limits::STREAM_EVENTS_MAX).expect("a place");
        for node in 0..3 {
            let client = client.at(cluster.url(node));
            cannot_be_resumed(&client, &ids[0]).await;
            cannot_be_resumed(&client, &ids[oldest - 1]).await;
            let rest = numbers_after(&client, &ids[oldest]).await;
            assert_eq!(
                rest,
                (head - Limits::STREAM_EVENTS_MAX + 1..=head).collect::<Vec<_>>()
            );
        }
        if let Some(redis) = cluster.redis() {
            let fields = redis.command(&["HLEN", &log(redis, &ids[0]).await]).await.int();
            assert!(
                fields <= 1024 + 8,
                "{fields} fields: the events, and what is known of them"
            );
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_so_many_bytes() {
    for cluster in Inside::stages(Talker).await {
        let client = cluster.client();
        let talk = Talk {
            count: 12,
            pause_us: 0,
            bytes: 512 << 10,
        };
        let (_, stream) = client.stream("tools/call", talk.call()).await;
        let ids = read(stream).await;
        // Seven messages of half a MiB and some fit into 4 MiB, and the answer.
        cannot_be_resumed(&client, &ids[4]).await;
        let rest = numbers_after(&client, &ids[5]).await;
        assert_eq!(rest, (6..=13).collect::<Vec<_>>());
        if let Some(redis) = cluster.redis() {
            let bytes = redis
                .command(&["HGET", &log(redis, &ids[0]).await, "bytes"])
                .await
                .text();
            let bytes: u64 = bytes.parse().expect("a number");
            assert!(
                bytes <= Limits::STREAM_BYTES_MAX && bytes > Limits::STREAM_BYTES_MAX / 2,
                "{bytes} bytes"
            );
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_so_many_streams() {
    for cluster in Inside::stages(Talker).await {
        let client = cluster.client();
        let mut firsts = Vec::new();
        for _ in 0..Limits::SESSION_STREAMS_MAX + 4 {
            let (_, stream) = client.stream("tools/call", BURST.call()).await;
            firsts.push(read(stream).await[0].clone());
        }
        // With one more than there may be, a quarter goes.
        let gone = Limits::SESSION_STREAMS_MAX / 4 + 1;
        for gone in [&firsts[0], &firsts[gone - 1]] {
            cannot_be_resumed(&client, gone).await;
        }
        for kept in [&firsts[gone], firsts.last().expect("one")] {
            assert_eq!(numbers_after(&client, kept).await, [1, 2, 3, 4]);
        }
        if let Some(redis) = cluster.redis() {
            assert_eq!(
                redis.keys("events:*").await.len(),
                Limits::SESSION_STREAMS_MAX + 4 - gone
            );
        }
        cluster.stop().await;
    }
}

/// What a session has said is its own, also when another knows an event's id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_session_never_replays_anything() {
    for cluster in Inside::stages(Talker).await {
        let (owner, other) = (cluster.client(), cluster.client());
        other.session().await;
        let (_, stream) = owner.stream("tools/call", BURST.call()).await;
        let over = read(stream).await;
        let long = Talk {
            count: 40,
            pause_us: 50_000,
            bytes: 0,
        };
        let (_, mut going) = owner.stream("tools/call", long.call()).await;
        going.next().await;
        let going_id = going.last_id().expect("an id").to_owned();
        for node in 0..3 {
            let other = other.at(cluster.url(node));
            for id in over.iter().chain([&going_id]) {
                cannot_be_resumed(&other, id).await;
            }
        }
        // And the one that tried took the stream from nobody.
        let mut next = number(&going.next().await.expect("an event"));
        while let Some(event) = going
            .next_within(std::time::Duration::from_millis(500))
            .await
            .flatten()
        {
            next += 1;
            assert_eq!(number(&event), next);
            if next > 10 {
                break;
            }
        }
        assert!(next > 10, "its stream goes on");
        drop(going);
        cluster.stop().await;
    }
}
