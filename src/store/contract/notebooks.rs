//! What a store must do with notebooks.

use std::sync::Arc;

use tokio::time::sleep;

use super::{LONG, SHORT, STATE_ROOM, eventually};
use crate::session::Principal;
use crate::session::notebooks::Notebooks;
use crate::session::state::{Expected, StateError, StateScope};
use crate::store::Store;

/// A notebook is found by its owner, on any node, and by nobody else.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn knows_owners(store: Arc<dyn Store>) {
    let of = |name: &str| Notebooks::new(Arc::<dyn Store>::clone(&store), Principal(name.into()), LONG);
    for (owner, stranger) in [("alice", "bob"), ("", "bob"), ("alice", "")] {
        let (handle, notes) = of(owner).open().await.expect("open must work");
        notes
            .set("k", &1)
            .await
            .expect("set: a notebook that was just opened is there");
        let found = of(owner).find(&handle).await.expect("find must work");
        let found = found.expect("find: the owner must find the notebook");
        let value: Option<u64> = found.get("k").await.expect("get must work");
        assert_eq!(value, Some(1), "get: what was set must be there");
        let found = of(stranger).find(&handle).await.expect("find must work");
        assert!(
            found.is_none(),
            "find: {stranger:?} must not find a notebook of {owner:?}"
        );
        let taken = store
            .state_open(
                &StateScope::Notebook(handle.as_str().into()),
                &Principal(stranger.into()),
                LONG,
                STATE_ROOM,
            )
            .await;
        assert!(
            taken.is_err(),
            "state_open: a handle that is taken must not be handed to another"
        );
    }
    let never = uuid::Uuid::new_v4().to_string();
    let found = of("alice").find(&never).await.expect("find must work");
    assert!(found.is_none(), "find: what was never opened is absent");
    let scope = StateScope::Notebook(never.into());
    let wrote = store.state_swap(&scope, "k", Expected::Anything, Some("1")).await;
    assert!(
        matches!(wrote, Err(StateError::Gone)),
        "state_swap must not make a notebook: {wrote:?}"
    );
}

/// Every use of a notebook renews its life; without use it ends.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn forgets_what_is_not_used(store: Arc<dyn Store>) {
    let owner = Principal("alice".into());
    let stranger = Principal("bob".into());
    let scope = |name: &str| StateScope::Notebook(name.into());
    let names = ["read", "written", "listed", "found", "idle", "asked"];
    for name in names {
        store
            .state_open(&scope(name), &owner, SHORT, STATE_ROOM)
            .await
            .expect("state_open must work");
    }
    for _ in 0..8 {
        sleep(SHORT / 4).await;
        let used = async {
            store.state_get(&scope("read"), "k").await?;
            let wrote = store
                .state_swap(&scope("written"), "k", Expected::Anything, Some("1"))
                .await?;
            drop(wrote);
            store.state_entries(&scope("listed")).await?;
            // A stranger learns whose it is at most, and does not keep it alive.
            store.state_owner(&scope("asked"), &stranger, LONG).await?;
            store.state_owner(&scope("found"), &owner, SHORT).await
        };
        let found = used.await.expect("each use of a notebook must renew its life");
        assert_eq!(
            found,
            Some(owner.clone()),
            "state_owner must renew the notebook's life"
        );
    }
    let idle = store.state_get(&scope("idle"), "k").await;
    assert!(
        matches!(idle, Err(StateError::Gone)),
        "a notebook without use must end: {idle:?}"
    );
    let asked = store.state_get(&scope("asked"), "k").await;
    assert!(
        matches!(asked, Err(StateError::Gone)),
        "state_owner: a caller that may not read a notebook must not keep it alive: {asked:?}"
    );
    let idle = store
        .state_owner(&scope("idle"), &owner, LONG)
        .await
        .expect("state_owner must work");
    assert_eq!(idle, None, "state_owner must not bring a notebook back");

    let renewed = store
        .state_owner(&scope("found"), &owner, LONG)
        .await
        .expect("state_owner must work");
    assert_eq!(renewed, Some(owner), "state_owner: the notebook is there");
    eventually("a notebook must end when its life does", async || {
        sleep(SHORT).await;
        store.state_get(&scope("read"), "k").await.is_err()
    })
    .await;
    let got = store.state_get(&scope("found"), "k").await;
    assert!(
        got.is_ok(),
        "state_owner must let the notebook live as long as it says: {got:?}"
    );
}
