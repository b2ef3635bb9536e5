//! What a store must do with sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{LONG, ROOM, SHORT, STATE_ROOM, WRITERS, eventually, node, record, session};
use crate::session::state::{Expected, StateError, StateScope};
use crate::session::{LogLevel, Principal, SessionId};
use crate::store::{Change, Changed, Created, Ended, Store, Touched};

/// What is loaded is what was created, field by field.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn reads_back_what_was_written(store: Arc<dyn Store>) {
    let mut full = record();
    full.initialized = true;
    full.log_level = Some(LogLevel::Warning);
    let mut bare = record();
    bare.principal = Principal::anonymous();
    bare.subscriptions.clear();
    for written in [full, bare] {
        let id = SessionId::generate();
        let created = store
            .create(&id, &written, LONG, &ROOM)
            .await
            .expect("create must work");
        assert_eq!(created, Created::Created, "create: a new id must do");
        let read = store.load(&id, None).await.expect("load must work");
        assert_eq!(
            read,
            Some(written),
            "load: the record must come back as it was written"
        );
    }
}

/// A second creation under one id changes nothing.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn refuses_an_id_that_is_taken(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let mut other = record();
    other.principal = Principal("thief".into());
    let created = store
        .create(&id, &other, LONG, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(
        created,
        Created::Collision,
        "create: an id that is taken must be refused"
    );
    let read = store.load(&id, None).await.expect("load must work");
    assert_eq!(read, Some(record()), "create: a collision must change nothing");
}

/// When many create one session at once, one succeeds, and the record is that one's.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_one_of_many_creators_win(store: Arc<dyn Store>) {
    let id = SessionId::generate();
    let mut creators = JoinSet::new();
    for n in 0..WRITERS {
        let (store, id) = (Arc::clone(&store), id.clone());
        creators.spawn(async move {
            let mut mine = record();
            mine.node_id = node(&format!("creator-{n}"));
            let created = store
                .create(&id, &mine, LONG, &ROOM)
                .await
                .expect("create must work");
            (created == Created::Created).then_some(mine.node_id)
        });
    }
    let winners: Vec<_> = creators.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "create: of {WRITERS} at once, one must win");
    let read = store.load(&id, None).await.expect("load must work");
    let maker = read.map(|record| record.node_id);
    assert_eq!(
        maker,
        winners.first().cloned(),
        "create: the record must be the winner's"
    );
}

/// A session ends when its life does, and its id is free again.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn forgets_what_has_expired(store: Arc<dyn Store>) {
    let id = SessionId::generate();
    let created = store
        .create(&id, &record(), SHORT, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(created, Created::Created, "create: a new id must do");
    eventually("a session must end when its life does", async || {
        store.load(&id, None).await.expect("load must work").is_none()
    })
    .await;
    let listed = store.list(1000).await.expect("list must work");
    assert!(
        listed.iter().all(|(listed, _)| *listed != id),
        "list: an expired session must not be listed"
    );
    let touched = store.touch(&id, 1, LONG).await.expect("touch must work");
    assert_eq!(touched, Touched::Gone, "touch: an expired session must stay gone");
    let created = store
        .create(&id, &record(), LONG, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(
        created,
        Created::Created,
        "create: the id of an expired session must be free"
    );
}

/// `touch` and `change` let a session live on; reading it does not.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn renews_lives(store: Arc<dyn Store>) {
    let [touched, changed, read] = [(); 3].map(|()| SessionId::generate());
    for id in [&touched, &changed, &read] {
        let created = store
            .create(id, &record(), SHORT, &ROOM)
            .await
            .expect("create must work");
        assert_eq!(created, Created::Created, "create: a new id must do");
    }
    let outcome = store
        .touch(&touched, 1_800_000_000_000, LONG)
        .await
        .expect("touch must work");
    assert_eq!(outcome, Touched::Touched, "touch: the session is there");
    let outcome = store
        .change(&changed, &Change::Initialized, LONG)
        .await
        .expect("change must work");
    assert_eq!(
        outcome,
        Changed::Changed(vec![]),
        "change: the session is there, and nobody keeps it"
    );
    eventually("load must not renew a session's life", async || {
        store.load(&read, None).await.expect("load must work").is_none()
    })
    .await;
    sleep(Duration::from_millis(100)).await;
    let record = store.load(&touched, None).await.expect("load must work");
    let activity = record
        .expect("touch must renew a session's life")
        .last_activity_ms;
    assert_eq!(activity, 1_800_000_000_000, "touch must note the last activity");
    let record = store.load(&changed, None).await.expect("load must work");
    assert!(record.is_some(), "change must renew a session's life");
}

/// What never was is absent, in every operation's words.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn says_what_is_absent(store: Arc<dyn Store>) {
    nothing_is_there(&store, &SessionId::generate()).await;
}

/// A session is ended for its owner, and for nobody else who asks as one.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn ends_those_of_an_owner(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let owner = record().principal;
    for other in [Principal::anonymous(), Principal("someone".into())] {
        let ended = store.end(&id, Some(&other)).await.expect("end must work");
        assert_eq!(ended, Ended::Gone, "end: it is another's");
    }
    let loaded = store.load(&id, None).await.expect("load must work");
    assert!(loaded.is_some(), "end: another's session stays");
    let scope = StateScope::Session(id.clone());
    let of = store.state_owner(&scope, &owner, LONG).await;
    assert_eq!(
        of.expect("state_owner must work").as_ref(),
        Some(&owner),
        "state_owner: whose session it is"
    );
    let opened = store.state_open(&scope, &owner, LONG, STATE_ROOM).await;
    assert!(
        matches!(opened, Err(StateError::Contended)),
        "state_open: a session's state begins with it, but it gave {opened:?}"
    );
    let ended = store.end(&id, Some(&owner)).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: it is the owner's");
}

/// Once a session has ended, no operation brings any of it back.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn brings_nothing_back(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let scope = StateScope::Session(id.clone());
    let wrote = store
        .state_swap(&scope, "key", Expected::Anything, Some("1"))
        .await;
    assert!(wrote.is_ok(), "state_swap must work, but gave {wrote:?}");
    let ended = store.end(&id, None).await.expect("end must work");
    assert_eq!(
        ended,
        Ended::Ended(vec![]),
        "end: the session is there, and nobody keeps it"
    );
    nothing_is_there(&store, &id).await;

    let created = store
        .create(&id, &record(), LONG, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(
        created,
        Created::Created,
        "create: the id of an ended session must be free"
    );
    let entries = store
        .state_entries(&scope)
        .await
        .expect("state_entries must work");
    assert!(
        entries.is_empty(),
        "end must take the session's state with it, but left {entries:?}"
    );
}

async fn nothing_is_there(store: &Arc<dyn Store>, id: &SessionId) {
    let scope = StateScope::Session(id.clone());
    let touched = store.touch(id, 1, LONG).await.expect("touch must work");
    assert_eq!(touched, Touched::Gone, "touch: there is no such session");
    for change in [
        Change::Initialized,
        Change::LogLevel(LogLevel::Debug),
        Change::Subscribe("note://x".into()),
        Change::Unsubscribe("note://x".into()),
    ] {
        let changed = store.change(id, &change, LONG).await.expect("change must work");
        assert_eq!(changed, Changed::Gone, "change: there is no such session");
    }
    store
        .release(id, &node("n"))
        .await
        .expect("release: an absent session is no error");
    for value in [Some("1"), None] {
        let swapped = store.state_swap(&scope, "key", Expected::Anything, value).await;
        assert!(
            matches!(swapped, Err(StateError::Gone)),
            "state_swap: there is no such session, but it gave {swapped:?}"
        );
    }
    let got = store.state_get(&scope, "key").await;
    assert!(
        matches!(got, Err(StateError::Gone)),
        "state_get: there is no such session, but it gave {got:?}"
    );
    let entries = store.state_entries(&scope).await;
    assert!(
        matches!(entries, Err(StateError::Gone)),
        "state_entries: there is no such session, but it gave {entries:?}"
    );
    for owner in [None, Some(&record().principal), Some(&Principal::anonymous())] {
        let ended = store.end(id, owner).await.expect("end must work");
        assert_eq!(ended, Ended::Gone, "end: there is no such session");
    }
    let scope = StateScope::Session(id.clone());
    let owner = store.state_owner(&scope, &record().principal, LONG).await;
    let owner = owner.expect("state_owner must work");
    assert_eq!(owner, None, "state_owner: there is no such session");
    let loaded = store.load(id, Some(&node("n"))).await.expect("load must work");
    assert_eq!(
        loaded, None,
        "an operation on an absent session has brought it into being"
    );
    let listed = store.list(1000).await.expect("list must work");
    assert!(
        listed.iter().all(|(listed, _)| listed != id),
        "list: an absent session must not be listed"
    );
}

/// Every living session is listed with its record, as far as the limit goes.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lists(store: Arc<dyn Store>) {
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        ids.insert(session(&store).await.as_str().to_owned());
    }
    store
        .state_open(
            &StateScope::Notebook("not-a-session".into()),
            &record().principal,
            LONG,
            STATE_ROOM,
        )
        .await
        .expect("state_open must work");
    let listed = store.list(1000).await.expect("list must work");
    assert!(
        listed.iter().all(|(_, listed)| *listed == record()),
        "list: each session comes with its record"
    );
    let listed: Vec<_> = listed.iter().map(|(id, _)| id.as_str().to_owned()).collect();
    assert_eq!(listed.len(), ids.len(), "list: each session must come once");
    assert_eq!(
        listed.into_iter().collect::<BTreeSet<_>>(),
        ids,
        "list: all sessions must come"
    );
    assert_eq!(
        store.list(7).await.expect("list must work").len(),
        7,
        "list must keep to its limit"
    );
    assert_eq!(
        store.list(0).await.expect("list must work").len(),
        0,
        "list must keep to its limit"
    );
}
