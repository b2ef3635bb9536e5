//! What a store must do with tasks.

use std::sync::Arc;

use tokio::time::sleep;

use super::{LONG, SHORT, STATE_ROOM, eventually};
use crate::session::Principal;
use crate::session::state::{Expected, StateError, StateRoom, StateScope, Swapped};
use crate::store::Store;

fn owner() -> Principal {
    Principal("alice".into())
}

/// Makes a task of a peer that may have two.
async fn open_of(store: &Arc<dyn Store>, id: &str, peer: &str) -> Result<(), StateError> {
    let room = StateRoom { peer, peer_max: 2 };
    let scope = StateScope::Task(id.into());
    store.state_open(&scope, &owner(), SHORT, room).await
}

/// A task is made once, and keeps state as a session does.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_what_is_known(store: Arc<dyn Store>) {
    let scope = StateScope::Task("a".into());
    let swap = async |value| {
        store
            .state_swap(&scope, "k", Expected::Anything, Some(value))
            .await
    };
    let early = swap("0").await;
    assert!(
        matches!(early, Err(StateError::Gone)),
        "state_swap must not make a task: {early:?}"
    );
    store
        .state_open(&scope, &owner(), LONG, STATE_ROOM)
        .await
        .expect("state_open must work");
    let before = swap("1").await.expect("a task that was made is there");
    assert_eq!(before, Swapped::Done(None), "a new task is empty");
    let got = store.state_get(&scope, "k").await.expect("state_get must work");
    assert_eq!(got.as_deref(), Some("1"), "state_get: what was set must be there");
    let entries = store
        .state_entries(&scope)
        .await
        .expect("state_entries must work");
    assert_eq!(
        entries,
        [("k".to_owned(), "1".to_owned())],
        "state_entries: that and no more"
    );
    let taken = store.state_open(&scope, &owner(), LONG, STATE_ROOM).await;
    assert!(
        matches!(taken, Err(StateError::Contended)),
        "state_open: an id that is taken must not be handed out again: {taken:?}"
    );
    let stranger = Principal("bob".into());
    let of = store.state_owner(&scope, &stranger, LONG).await;
    let of = of.expect("state_owner must work");
    assert_eq!(of, Some(owner()), "state_owner: who it was opened for");
    // The same name means another thing among notebooks.
    let notebook = store.state_get(&StateScope::Notebook("a".into()), "k").await;
    assert!(
        matches!(notebook, Err(StateError::Gone)),
        "a task is no notebook: {notebook:?}"
    );
}

/// A task's life is counted from its beginning, however much it is used.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn ends_when_its_life_does(store: Arc<dyn Store>) {
    let scope = StateScope::Task("a".into());
    store
        .state_open(&scope, &owner(), SHORT, STATE_ROOM)
        .await
        .expect("state_open must work");
    let here = store.state_swap(&scope, "k", Expected::Anything, Some("1")).await;
    assert!(here.is_ok(), "a task must be there for all of its life: {here:?}");
    eventually("a task must end though it is used", async || {
        sleep(SHORT / 8).await;
        let used = store.state_swap(&scope, "k", Expected::Anything, Some("1")).await;
        let of = store.state_owner(&scope, &owner(), LONG).await;
        assert!(of.is_ok(), "state_owner must work: {of:?}");
        matches!(used, Err(StateError::Gone)) && store.state_get(&scope, "k").await.is_err()
    })
    .await;
}

/// Of one peer so many tasks are kept, whether they run or have ended. One whose life ends makes room.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_those_of_a_peer(store: Arc<dyn Store>) {
    let open = async |id: &str, peer| match open_of(&store, id, peer).await {
        Ok(()) => true,
        Err(StateError::TooManyTasks) => false,
        Err(error) => unreachable!("state_open must work: {error}"),
    };
    assert!(
        open("first", "one").await && open("second", "one").await,
        "state_open: there is room"
    );
    assert!(!open("third", "one").await, "state_open: the peer has two");
    let left = store.state_get(&StateScope::Task("third".into()), "k").await;
    assert!(
        matches!(left, Err(StateError::Gone)),
        "state_open: nothing is left of one for which there is no room: {left:?}"
    );
    assert!(open("other", "two").await, "state_open: another peer has room");
    eventually("a task whose life ends must make room", async || {
        sleep(SHORT / 8).await;
        open("third", "one").await
    })
    .await;
}
