//! What a store must keep within bounds: of each session, of each peer, and of all.

#![expect(
    clippy::indexing_slicing,
    reason = "the suite's own sessions and streams, by their number"
)]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::calls::{assert_answered, begin, step};
use super::{LONG, SHORT, eventually, node, record, session};
use crate::session::state::{StateError, StateRoom, StateScope};
use crate::session::{Principal, SessionId};
use crate::store::Limits;
use crate::store::calls::CallEnded;
use crate::store::streams::{Appended, Read, StreamId};
use crate::store::{Change, Changed, Created, Ended, Full, SessionRoom, Store, Touched};

/// When a session has too many streams, the oldest that are done go, a quarter of them, and none that is not.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_streams(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let open = begin(&store, &id, "open", &me).await;
    let mut done = Vec::new();
    // One place is the open one's. With one more than there is room for a quarter goes, and then there is
    // room for long.
    for n in 0..Limits::SESSION_STREAMS_MAX + 2 {
        let name = begin(&store, &id, &format!("done{n}"), &me).await;
        let ended = store
            .call_end(&id, &name, &name, Some("response"), &me, LONG)
            .await;
        assert_answered(&ended);
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
    let gone = Limits::SESSION_STREAMS_MAX / 4 + 1;
    for (n, name) in done.iter().enumerate() {
        let there = is_there(name).await;
        assert!(
            there == (n >= gone) || n.abs_diff(gone) <= 2,
            "stream {n}: the oldest go, and no others"
        );
    }
}

/// F8: what all streams of a session hold together is bounded. The oldest that are done go first, then the
/// oldest events of the one that grows, but never the newest.
///
/// # Panics
/// When the store breaks the contract.
#[expect(
    clippy::too_many_lines,
    reason = "one story: each step needs what those before it have left"
)]
pub(super) async fn bounds_bytes(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let part = "x".repeat(usize::try_from(Limits::SESSION_BYTES_MAX / 8).expect("2 MiB"));
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
        let ended = store.call_end(&id, &name, &name, None, &me, LONG).await;
        assert!(
            matches!(ended, Ok(CallEnded::Unanswered)),
            "call_end: it was begun"
        );
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
    for n in 0..6 {
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
    let newest = &open[7];
    say(newest, 2).await;
    assert_eq!(
        first(newest).await,
        Some(1),
        "append: the oldest events of the one that grows go"
    );
    let ended = store.call_end(&id, &open[0], &open[0], None, &me, LONG).await;
    assert!(
        matches!(ended, Ok(CallEnded::Unanswered)),
        "call_end: it was begun"
    );
    say(newest, 3).await;
    assert_eq!(
        first(&open[0]).await,
        None,
        "call_end: once it is done, it goes first"
    );
}

/// F8: there are as many sessions as may be, in all and of one peer. One that ends or expires makes room.
///
/// # Panics
/// When the store breaks the contract.
#[expect(
    clippy::too_many_lines,
    reason = "one story: each step needs what those before it have left"
)]
pub(super) async fn bounds_sessions(store: Arc<dyn Store>) {
    let room = |peer: &'static str| SessionRoom {
        sessions_max: 5,
        peer,
        peer_max: 3,
        peer_uninitialized_max: 2,
    };
    let create = async |id: &SessionId, peer, ttl| {
        let created = store.create(id, &record(), ttl, &room(peer)).await;
        created.expect("create must work")
    };
    let ids: Vec<SessionId> = (0..8).map(|_| SessionId::generate()).collect();
    assert_eq!(
        create(&ids[0], "one", LONG).await,
        Created::Created,
        "create: there is room"
    );
    assert_eq!(
        create(&ids[1], "one", SHORT).await,
        Created::Created,
        "create: there is room"
    );
    let full = create(&ids[2], "one", LONG).await;
    assert_eq!(
        full,
        Created::Full(Full::OfPeerUninitialized),
        "create: two are not initialized"
    );
    let left = store.load(&ids[2], None).await.expect("load must work");
    assert_eq!(
        left, None,
        "create: nothing is left of one for which there is no room"
    );
    let known = create(&ids[0], "one", LONG).await;
    assert_eq!(
        known,
        Created::Collision,
        "create: one that is there is no more than it was"
    );
    let changed = store.change(&ids[0], &Change::Initialized, LONG).await;
    assert_eq!(
        changed.expect("change must work"),
        Changed::Changed(vec![]),
        "change: it is there"
    );
    assert_eq!(
        create(&ids[2], "one", LONG).await,
        Created::Created,
        "change: one is initialized now"
    );
    let full = create(&ids[3], "one", LONG).await;
    assert_eq!(full, Created::Full(Full::OfPeer), "create: the peer has three");
    for id in &ids[3..5] {
        assert_eq!(
            create(id, "two", LONG).await,
            Created::Created,
            "create: another peer has room"
        );
    }
    let full = create(&ids[5], "three", LONG).await;
    assert_eq!(
        full,
        Created::Full(Full::Sessions),
        "create: there are five in all"
    );
    let touched = store.touch(&ids[0], 1, LONG).await.expect("touch must work");
    assert_eq!(touched, Touched::Touched, "touch: it is there");
    eventually("a session that expires must make room", async || {
        create(&ids[5], "three", LONG).await == Created::Created
    })
    .await;
    let full = create(&ids[6], "three", LONG).await;
    assert_eq!(
        full,
        Created::Full(Full::Sessions),
        "create: there are five again"
    );
    let ended = store.end(&ids[0], None).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: it is there");
    let again = create(&ids[6], "one", LONG).await;
    assert_eq!(again, Created::Created, "end: one that ends must make room");
}

/// F8: one peer has as many notebooks as it may. One that expires makes room, and one that is used counts on.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_notebooks(store: Arc<dyn Store>) {
    let owner = Principal("alice".into());
    let scope = |handle: &str| StateScope::Notebook(handle.into());
    let open = async |handle: &str, peer| {
        let room = StateRoom { peer, peer_max: 2 };
        let opened = store.state_open(&scope(handle), &owner, SHORT, room).await;
        match opened {
            Ok(()) => true,
            Err(StateError::TooManyNotebooks) => false,
            Err(error) => unreachable!("state_open must work: {error}"),
        }
    };
    assert!(
        open("used", "one").await && open("idle", "one").await,
        "state_open: there is room"
    );
    assert!(!open("third", "one").await, "state_open: the peer has two");
    let left = store.state_owner(&scope("third"), &owner, SHORT).await;
    let left = left.expect("state_owner must work");
    assert_eq!(
        left, None,
        "state_open: nothing is left of one for which there is no room"
    );
    assert!(open("other", "two").await, "state_open: another peer has room");
    let use_it = async || {
        let found = store.state_owner(&scope("used"), &owner, SHORT).await;
        assert_eq!(
            found.expect("state_owner must work"),
            Some(owner.clone()),
            "it is used"
        );
    };
    eventually("a notebook that expires must make room", async || {
        use_it().await;
        open("third", "one").await
    })
    .await;
    assert!(
        !open("fourth", "one").await,
        "state_owner: one that is used counts on"
    );
}
