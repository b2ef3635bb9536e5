//! What a store must keep within bounds, for each session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::calls::{begin, step};
use super::{LONG, node, session};
use crate::store::Store;
use crate::store::streams::{Appended, Read, SESSION_BYTES_MAX, SESSION_STREAMS_MAX, StreamId};

/// When a session has too many streams, the oldest that are done go, a quarter of them, and none that is not.
///
/// # Panics
/// When the store breaks the contract.
pub async fn bounds_streams(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let open = begin(&store, &id, "open", &me).await;
    let mut done = Vec::new();
    // One place is the open one's. With one more than there is room for a quarter goes, and then there is room for long.
    for n in 0..SESSION_STREAMS_MAX + 2 {
        let name = begin(&store, &id, &format!("done{n}"), &me).await;
        let ended = store.call_end(&id, &name, Some("response"), &me, LONG).await;
        assert!(matches!(ended, Ok(Appended::At { .. })), "call_end: it was begun");
        done.push(name);
        if n < 4 {
            // The first few must differ in age by a store's own clock.
            sleep(Duration::from_millis(5)).await;
        }
    }
    let is_there = async |name: &StreamId| {
        let page = store.read(&id, name, 0).await.expect("read must work");
        page != Read::Gone
    };
    assert!(is_there(&open).await, "a stream that is not done must stay");
    let gone = SESSION_STREAMS_MAX / 4 + 1;
    for (n, name) in done.iter().enumerate() {
        let there = is_there(name).await;
        assert!(
            there == (n >= gone) || n.abs_diff(gone) <= 2,
            "stream {n}: the oldest go, and no others"
        );
    }
}

/// F8: what all streams of a session hold together is bounded. The oldest that are done go first, then the oldest events of the
/// one that grows, but never the newest.
///
/// # Panics
/// When the store breaks the contract.
pub async fn bounds_bytes(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let part = "x".repeat(usize::try_from(SESSION_BYTES_MAX / 8).expect("2 MiB"));
    let say = async |name: &StreamId, number| {
        let appended = store
            .append(&id, name, &part, &me, step(name, number), LONG)
            .await;
        assert!(
            matches!(appended, Ok(Appended::At { .. })),
            "append: the call is there"
        );
    };
    let first = async |name: &StreamId| match store.read(&id, name, u64::MAX >> 20).await {
        Ok(Read::Events { first, head, .. }) => Some(head + 1 - first),
        _ => None,
    };
    // Six of eight parts are in streams that are done, two in those of calls in flight.
    let mut done = Vec::new();
    for n in 0..6 {
        let name = begin(&store, &id, &format!("done{n}"), &me).await;
        say(&name, 1).await;
        let ended = store.call_end(&id, &name, None, &me, LONG).await;
        assert!(matches!(ended, Ok(Appended::At { .. })), "call_end: it was begun");
        done.push(name);
        // They must differ in age by a store's own clock.
        sleep(Duration::from_millis(5)).await;
    }
    let [one, two] = [
        begin(&store, &id, "one", &me).await,
        begin(&store, &id, "two", &me).await,
    ];
    say(&one, 1).await;
    say(&two, 1).await;
    for name in &done {
        assert_eq!(first(name).await, Some(1), "append: there is room for all");
    }
    // The ninth: a quarter is freed.
    say(&one, 2).await;
    for (n, name) in done.iter().enumerate() {
        let expected = (n >= 3).then_some(1);
        assert_eq!(
            first(name).await,
            expected,
            "stream {n}: the oldest that are done go"
        );
    }
    assert_eq!(
        first(&one).await,
        Some(2),
        "append: those of calls in flight stay"
    );
    // Streams of calls in flight take all the room, and then each lets its own oldest events go.
    let mut open = vec![one, two];
    for n in 0..10 {
        let name = begin(&store, &id, &format!("open{n}"), &me).await;
        say(&name, 1).await;
        open.push(name);
    }
    for name in &done {
        assert_eq!(first(name).await, None, "append: those that are done go first");
    }
    for (n, name) in open.iter().enumerate() {
        let kept = first(name).await;
        assert!(kept >= Some(1), "stream {n}: the newest event is always kept");
    }
    let newest = &open[11];
    say(newest, 2).await;
    say(newest, 3).await;
    assert_eq!(
        first(newest).await,
        Some(1),
        "append: the oldest events of the one that grows go"
    );
    let ended = store.call_end(&id, &open[0], None, &me, LONG).await;
    assert!(matches!(ended, Ok(Appended::At { .. })), "call_end: it was begun");
    say(newest, 4).await;
    assert_eq!(
        first(&open[0]).await,
        None,
        "call_end: once it is done, it goes first"
    );
}
