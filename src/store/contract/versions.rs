//! What a store must do with versions of what changes, and with what sessions were told of them.

#![expect(
    clippy::indexing_slicing,
    reason = "a store that answers with fewer than were asked fails"
)]

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{LONG, SHORT, WRITERS, eventually, holder, node, session, stream};
use crate::session::SessionId;
use crate::store::changes::{KnownVersions, Noted, Subject, Told, Topic, TopicNews};
use crate::store::streams::{Attached, Over, Read, StreamId};
use crate::store::{Change, Changed, Store};

fn resource(uri: &str) -> Topic {
    Topic::Resource(uri.into())
}

async fn note(store: &Arc<dyn Store>, topic: &Topic) {
    let noted = store.note_change(Subject::Topic(topic), LONG).await;
    assert!(matches!(noted, Ok(Noted::Noted)), "note_change: {noted:?}");
}

async fn told(store: &Arc<dyn Store>, id: &SessionId, topics: &[Topic], own: &[&str]) -> KnownVersions {
    let own: Vec<String> = own.iter().map(|&uri| uri.to_owned()).collect();
    store.told(id, topics, &own).await.expect("told must work")
}

/// Tells the session on its standalone stream. The messages that were appended.
async fn tell(store: &Arc<dyn Store>, id: &SessionId, news: &[TopicNews<'_>]) -> Vec<String> {
    let (get, me) = (stream(StreamId::STANDALONE), node("me"));
    let told = store
        .tell(id, &get, news, &me, LONG)
        .await
        .expect("tell must work");
    told.events.into_iter().map(|event| event.data).collect()
}

/// Each change has a version that is higher than any before, also of those that happen at once.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn gives_each_change_a_version(store: Arc<dyn Store>) {
    let topics = [
        Topic::Tools,
        Topic::Prompts,
        Topic::Resources,
        resource("note://a"),
        resource(""),
    ];
    let versions = async || store.versions(&topics).await.expect("versions must work");
    assert_eq!(versions().await, [0; 5], "versions: nothing has changed yet");
    let mut last = 0;
    for index in [0, 3, 3, 2, 4, 0] {
        let before = versions().await;
        note(&store, &topics[index]).await;
        let now = versions().await;
        assert!(now[index] > last, "note_change: {now:?} after {last}");
        last = now[index];
        let others = |versions: &[u64]| [&versions[..index], &versions[index + 1..]].concat();
        assert_eq!(others(&now), others(&before), "note_change: of one topic only");
    }
    let none = store.versions(&[]).await.expect("versions must work");
    assert!(none.is_empty(), "versions: nothing was asked");

    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move { note(&store, &resource(&n.to_string())).await });
    }
    writers.join_all().await;
    let all: Vec<_> = (0..WRITERS).map(|n| resource(&n.to_string())).collect();
    let mut versions_of_all = store.versions(&all).await.expect("versions must work");
    versions_of_all.sort_unstable();
    versions_of_all.dedup();
    assert_eq!(
        versions_of_all.len(),
        WRITERS,
        "note_change: no version comes again"
    );

    let noted = store.note_change(Subject::Topic(&topics[1]), SHORT).await;
    assert!(matches!(noted, Ok(Noted::Noted)), "note_change: {noted:?}");
    eventually("the versions must end when their life does", async || {
        versions().await == [0; 5]
    })
    .await;
    note(&store, &topics[1]).await;
    assert!(versions().await[1] > last, "note_change: nor after that");
}

/// A session is told of each topic by itself, once, and never of what it knows.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn tells_what_is_new_once(store: Arc<dyn Store>) {
    let id = session(&store).await;
    // The record is subscribed to the first.
    let topics = [Topic::Tools, resource("note://first"), resource("note://other")];
    let [tools, first, other] = &topics;
    let of = async || told(&store, &id, &topics, &["note://first", "note://other"]).await;
    let none = KnownVersions {
        topics: vec![None; 3],
        own: vec![(0, 0); 2],
    };
    assert_eq!(of().await, none, "told: nothing yet");
    let begins = [TopicNews::First(tools, 5), TopicNews::First(first, 0)];
    assert!(
        tell(&store, &id, &begins).await.is_empty(),
        "tell: it only begins"
    );
    let news = [TopicNews::First(tools, 9), TopicNews::Topic(first, 7, "first 7")];
    assert_eq!(tell(&store, &id, &news).await, ["first 7"]);
    assert!(tell(&store, &id, &news).await.is_empty(), "tell: it knows that");
    assert_eq!(
        of().await.topics,
        [Some(5), Some(7), None],
        "tell: the first leaves what is there"
    );
    let mut at_once = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, id) = (Arc::clone(&store), id.clone());
        at_once
            .spawn(async move { tell(&store, &id, &[TopicNews::Topic(&Topic::Tools, 8, "tools 8")]).await });
    }
    let told_at_once: Vec<_> = at_once.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        told_at_once,
        ["tools 8"],
        "tell: of those that tell at once, one does"
    );
    let others = [
        TopicNews::Topic(tools, 6, "tools 6"),
        TopicNews::Topic(other, 9, "other 9"),
        TopicNews::Own("note://other", 9, "own 9"),
    ];
    assert!(
        tell(&store, &id, &others).await.is_empty(),
        "tell: nothing that is older, or to which it is not subscribed"
    );
    let known = KnownVersions {
        topics: vec![Some(8), Some(7), None],
        own: vec![(0, 0); 2],
    };
    assert_eq!(of().await, known);

    told_is_appended(&store, &id).await;
}

/// What the session was told above is in its stream, and so is what it is told next.
async fn told_is_appended(store: &Arc<dyn Store>, id: &SessionId) {
    let (tools, first) = (&Topic::Tools, &resource("note://first"));
    let (get, node) = (stream(StreamId::STANDALONE), node("me"));
    let read = store.read(id, &get, 0).await.expect("read must work");
    assert!(matches!(read, Read::Events { head: 2, .. }), "tell: {read:?}");
    let events = match read {
        Read::Events { events, .. } => events,
        Read::Gone => vec![],
    };
    let events: Vec<_> = events.into_iter().map(|event| event.data).collect();
    assert_eq!(events, ["first 7", "tools 8"], "tell: it is appended");
    let holder = holder("other", 1);
    let attached = store.attach(id, &get, &holder, Over::Any, LONG).await;
    assert!(matches!(attached, Ok(Attached::Attached { .. })), "{attached:?}");
    let news = [
        TopicNews::Topic(first, 8, "first 8"),
        TopicNews::Topic(tools, 9, "tools 9"),
    ];
    let told = store
        .tell(id, &get, &news, &node, LONG)
        .await
        .expect("tell must work");
    assert_eq!(told.holder, Some(holder), "tell: who carries the stream");
    let numbers: Vec<_> = told.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [3, 4], "tell: in order");
    let never = SessionId::generate();
    let gone = store.tell(&never, &get, &news, &node, LONG).await;
    assert_eq!(gone.expect("tell must work"), Told::default(), "tell: no session");
}

/// A session's own resources have versions while it is subscribed to them.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn gives_own_changes_versions(store: Arc<dyn Store>) {
    const URI: &str = "note://first";
    let id = session(&store).await;
    let change = async |uri: &str| {
        let noted = store.note_change(Subject::Own(&id, uri), LONG).await;
        noted.expect("note_change must work")
    };
    let of = async || told(&store, &id, &[], &[URI]).await.own;
    for uri in ["note://", "note://first/x", "\"note://first\"", ""] {
        assert_eq!(change(uri).await, Noted::Unwanted, "{uri:?}: not subscribed to");
    }
    assert_eq!(change(URI).await, Noted::Noted, "nobody carries a stream");
    let version = of().await[0].0;
    assert!(version > 0, "note_change: it has a version");
    let attached = store
        .attach(
            &id,
            &stream(StreamId::STANDALONE),
            &holder("me", 1),
            Over::Any,
            LONG,
        )
        .await;
    assert!(matches!(attached, Ok(Attached::Attached { .. })), "{attached:?}");
    assert_eq!(change(URI).await, Noted::Carried, "now somebody does");
    let later = of().await[0].0;
    assert!(later > version, "note_change: it is higher than before");
    let news = [
        TopicNews::Own(URI, later, "later"),
        TopicNews::Own(URI, version, "before"),
    ];
    assert_eq!(tell(&store, &id, &news).await, ["later"]);
    assert_eq!(of().await, [(later, later)], "tell: it never goes back");

    for subscribes in [false, true] {
        let change = match subscribes {
            true => Change::Subscribe(URI.into()),
            false => Change::Unsubscribe(URI.into()),
        };
        let changed = store.change(&id, &change, LONG).await;
        assert!(matches!(changed, Ok(Changed::Changed(_))), "{changed:?}");
        let nothing = KnownVersions {
            topics: vec![None],
            own: vec![(0, 0)],
        };
        assert_eq!(
            told(&store, &id, &[resource(URI)], &[URI]).await,
            nothing,
            "change: what was told ends with the subscription"
        );
    }
    let never = SessionId::generate();
    let gone = store.note_change(Subject::Own(&never, URI), LONG).await;
    assert_eq!(
        gone.expect("note_change must work"),
        Noted::Unwanted,
        "note_change: no session"
    );
}
