//! What a store must do with event logs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{LONG, ROOM, SHORT, WRITERS, carrier, eventually, holder, node, record, session, stream};
use crate::session::SessionId;
use crate::store::Limits;
use crate::store::calls::{Begun, CallEnded, CallRecord};
use crate::store::streams::{Appended, Attached, Event, Over, Read, StreamId};
use crate::store::{Created, Store, Touched};

/// A stream that needs no call.
fn standing() -> StreamId {
    stream(StreamId::STANDALONE)
}

/// Appends to the standalone stream, and returns the event's number.
async fn append(store: &Arc<dyn Store>, id: &SessionId, data: &str) -> u64 {
    let appended = store.append(id, &standing(), data, &node("a"), None, LONG).await;
    match appended.expect("append must work") {
        Appended::At { number, .. } => number,
        Appended::Gone => unreachable!("append: the session is there, so its standalone stream is made"),
    }
}

/// Reads the standalone stream: its events, the oldest that is kept, and the newest.
async fn read(store: &Arc<dyn Store>, id: &SessionId, after: u64) -> (Vec<Event>, u64, u64) {
    match store.read(id, &standing(), after).await.expect("read must work") {
        Read::Events {
            events, first, head, ..
        } => (events, first, head),
        Read::Gone => unreachable!("read: the stream is there"),
    }
}

/// Events are numbered from 1 without gaps, however many append at once, and each keeps its text.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn numbers_events(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let before = store.read(&id, &standing(), 0).await.expect("read must work");
    assert_eq!(before, Read::Gone, "read: nothing has made the stream yet");
    let mut appenders = JoinSet::new();
    for n in 0..WRITERS {
        let (store, id) = (Arc::clone(&store), id.clone());
        appenders.spawn(async move {
            let data = format!("{{\"ünï\":{n}}}");
            let number = append(&store, &id, &data).await;
            Event { number, data }
        });
    }
    let mut appended = appenders.join_all().await;
    appended.sort_by_key(|event| event.number);
    let numbers: Vec<u64> = appended.iter().map(|event| event.number).collect();
    let expected: Vec<u64> = (1..=WRITERS as u64).collect();
    assert_eq!(
        numbers, expected,
        "append: numbers must have no gap and no double"
    );
    let (events, first, head) = read(&store, &id, 0).await;
    assert_eq!(events, appended, "read: each event must have its own text");
    assert_eq!((first, head), (1, WRITERS as u64), "read: first and head");
}

/// What follows an event is read in pages; beyond the newest there is nothing.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn reads_in_pages(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let count = Limits::READ_EVENTS_MAX as u64 + 7;
    for n in 1..=count {
        append(&store, &id, &n.to_string()).await;
    }
    let mut after = 0;
    for length in [Limits::READ_EVENTS_MAX, 7, 0] {
        let (events, ..) = read(&store, &id, after).await;
        assert_eq!(events.len(), length, "read: the length of a page");
        for event in events {
            after += 1;
            let expected = Event {
                number: after,
                data: after.to_string(),
            };
            assert_eq!(event, expected, "read: events must come in order");
        }
    }
    let (events, ..) = read(&store, &id, u64::MAX >> 20).await;
    assert!(events.is_empty(), "read: nothing follows what is not there yet");
}

/// A log keeps to its bounds: the oldest go, and the newest stays, of any length.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_logs(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let over = 6;
    for n in 1..=Limits::STREAM_EVENTS_MAX + over {
        append(&store, &id, &n.to_string()).await;
    }
    let (events, first, head) = read(&store, &id, 0).await;
    assert_eq!(
        (first, head),
        (over + 1, Limits::STREAM_EVENTS_MAX + over),
        "append: the oldest events must go when there are too many"
    );
    let oldest = events.first().map(|event| event.data.clone());
    assert_eq!(oldest, Some(first.to_string()), "read: the oldest that is kept");

    let most = usize::try_from(Limits::STREAM_BYTES_MAX).expect("4 MiB");
    let half = "x".repeat(most / 2);
    let [one, two, three] = [
        append(&store, &id, &half).await,
        append(&store, &id, &half).await,
        append(&store, &id, "y").await,
    ];
    let (page, ..) = read(&store, &id, 0).await;
    assert_eq!(page.len(), 1, "read: an event that is long comes alone");
    let (rest, first, head) = read(&store, &id, two).await;
    let events = [page, rest].concat();
    assert_eq!(
        (first, head, events.len()),
        (two, three, 2),
        "append: as many bytes as may be are kept, beginning with the newest (not {one})"
    );
    let newest = append(&store, &id, &"z".repeat(most + 1)).await;
    let (events, first, head) = read(&store, &id, 0).await;
    assert_eq!(
        (first, head, events.len()),
        (newest, newest, 1),
        "append: the newest event is kept even when it is too long alone"
    );
    append(&store, &id, "after").await;
    let (events, first, _) = read(&store, &id, 0).await;
    assert_eq!(
        (first, events.len()),
        (newest + 1, 1),
        "append: the long one goes next"
    );
}

/// The newest connection carries a stream; only who carries it can let go of it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_the_newest_carry(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let stream = standing();
    let [one, two] = [holder("a", 1), holder("a", u64::MAX)];
    let carried = async || carrier(&store, &id, &stream).await;
    let attach = async |holder| {
        let attached = store.attach(&id, &stream, holder, Over::Any, LONG).await;
        attached.expect("attach must work")
    };
    let attached = |previous, delivered| Attached::Attached { previous, delivered };
    assert_eq!(carried().await, None, "holder: nobody carries it yet");
    assert_eq!(attach(&one).await, attached(None, 0), "attach: the first");
    assert_eq!(carried().await, Some(one.clone()), "holder: who attached");
    append(&store, &id, "1").await;
    append(&store, &id, "2").await;
    for (number, expected) in [(1, 1), (2, 2), (1, 2), (9, 2)] {
        let noted = store.delivered(&id, &stream, number).await;
        noted.expect("delivered must work");
        let again = attach(&one).await;
        assert_eq!(
            again,
            attached(Some(one.clone()), expected),
            "delivered: it only grows, up to the newest event"
        );
    }
    assert_eq!(
        attach(&two).await,
        attached(Some(one.clone()), 2),
        "attach: the newest takes over, and learns who carried it"
    );
    let detach = async |holder| {
        store
            .detach(&id, &stream, holder, LONG)
            .await
            .expect("detach must work")
    };
    detach(&one).await;
    assert_eq!(
        carried().await,
        Some(two.clone()),
        "detach: another carries it by now"
    );
    detach(&two).await;
    assert_eq!(carried().await, None, "detach: nobody carries it now");
    detach(&two).await;
    let (events, ..) = read(&store, &id, 0).await;
    assert_eq!(events.len(), 2, "attach and detach must leave the events alone");

    let none = store
        .attach(&id, &super::stream("nocall"), &one, Over::Any, LONG)
        .await;
    let none = none.expect("attach must work");
    assert_eq!(none, Attached::NoStream, "attach: there is no such stream");
    let gone = store
        .attach(&SessionId::generate(), &stream, &one, Over::Any, LONG)
        .await;
    let gone = gone.expect("attach must work");
    assert_eq!(gone, Attached::Gone, "attach: there is no such session");
}

/// A log ends when its life does, and with its session. The numbers of the standing ones go on as long as
/// that lives.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_standing_streams(store: Arc<dyn Store>) {
    let [left, touched] = [SessionId::generate(), SessionId::generate()];
    for id in [&left, &touched] {
        let created = store.create(id, &record(), SHORT, &ROOM).await;
        assert!(matches!(created, Ok(Created::Created)), "create: {created:?}");
        assert_eq!(append(&store, id, "x").await, 1, "append: the first event");
    }
    let renewed = store.touch(&touched, 1, LONG).await.expect("touch must work");
    assert_eq!(renewed, Touched::Touched, "touch: the session is there");
    eventually("a log must end when its life does", async || {
        store.read(&left, &standing(), 0).await.expect("read must work") == Read::Gone
    })
    .await;
    assert_eq!(
        append(&store, &touched, "y").await,
        2,
        "touch: a standing stream must live as long as its session"
    );
}

/// F8: the events of a standing stream that nobody carries do not live as long as its session. Their numbers
/// do, and what was delivered is known.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_uncarried_events_end(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let [one, other] = [StreamId::standalone(), StreamId::sse()];
    tokio::join!(
        lets_events_end(&store, &id, &one),
        lets_events_end(&store, &id, &other)
    );
}

#[expect(
    clippy::too_many_lines,
    reason = "one story: each step needs what those before it have left"
)]
async fn lets_events_end(store: &Arc<dyn Store>, id: &SessionId, stream: &StreamId) {
    let me = node("me");
    let touch = async || {
        let touched = store.touch(id, 1, LONG).await.expect("touch must work");
        assert_eq!(touched, Touched::Touched, "touch: the session is there");
    };
    let append = async |data: &str| {
        let appended = store.append(id, stream, data, &me, None, SHORT).await;
        match appended.expect("append must work") {
            Appended::At { number, .. } => number,
            Appended::Gone => unreachable!("append: the session is there"),
        }
    };
    let kept = async |after| match store.read(id, stream, after).await.expect("read must work") {
        Read::Events {
            events, first, head, ..
        } => Some((events.len(), first, head)),
        Read::Gone => None,
    };
    let attach = async || {
        let attached = store.attach(id, stream, &holder("me", 1), Over::Any, LONG).await;
        match attached.expect("attach must work") {
            Attached::Attached { delivered, .. } => delivered,
            other => unreachable!("attach: the session is there: {other:?}"),
        }
    };
    assert_eq!(append("1").await, 1, "append: the first event");
    touch().await;
    eventually("events that nobody comes for must end", async || {
        kept(0).await.is_none()
    })
    .await;
    assert_eq!(append("2").await, 2, "append: numbers go on");
    assert_eq!(kept(0).await, Some((1, 2, 2)), "read: the first event has ended");

    assert_eq!(attach().await, 0, "attach: nothing was delivered");
    assert_eq!(append("3").await, 3, "append: somebody carries it now");
    sleep(2 * SHORT).await;
    touch().await;
    assert_eq!(
        kept(0).await,
        Some((2, 2, 3)),
        "attach: they live as long as the session while somebody carries them"
    );
    let noted = store.delivered(id, stream, 2).await;
    noted.expect("delivered must work");
    let detached = store.detach(id, stream, &holder("me", 1), SHORT).await;
    detached.expect("detach must work");
    touch().await;
    eventually("events must end when nobody carries them", async || {
        kept(0).await.is_none()
    })
    .await;
    assert_eq!(attach().await, 2, "attach: what was delivered is known");
    assert_eq!(kept(2).await, Some((0, 4, 3)), "read: the third event has ended");
    let detached = store.detach(id, stream, &holder("me", 1), SHORT).await;
    detached.expect("detach must work");

    let call = CallRecord {
        stream: stream.clone(),
        ..super::calls::call(&format!("of{}", stream.as_str()), &me)
    };
    let begun = store.call_begin(id, &call, Duration::ZERO, None, LONG).await;
    assert!(matches!(begun, Ok(Begun::Begun)), "call_begin: {begun:?}");
    eventually("a call's stream must end", async || kept(0).await.is_none()).await;
    let ended = store
        .call_end(id, &call.name, stream, Some("4"), &me, SHORT)
        .await;
    assert!(
        matches!(ended, Ok(CallEnded::Answered { number: 4, .. })),
        "call_end: {ended:?}"
    );
    assert_eq!(kept(0).await, Some((1, 4, 4)), "call_end: the response is there");
    eventually("a response that nobody comes for must end", async || {
        kept(0).await.is_none()
    })
    .await;
}
