//! What a store must do with what was seen of a session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{LONG, session};
use crate::session::SessionId;
use crate::store::{Ended, Limits, Store};

/// What was seen is told to all nodes, in order, for as long as it counts.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn notes_what_was_seen(store: Arc<dyn Store>) {
    const WITHIN: Duration = Duration::from_millis(500);
    let (id, other) = (session(&store).await, session(&store).await);
    let sight = async |id: &SessionId, kind: &'static str, what: &str, within: Duration| {
        let what: Vec<_> = what.split(' ').collect();
        let seen = store.sight(id, kind, &what, within).await;
        seen.expect("sight must work").join(" ")
    };
    assert_eq!(sight(&id, "a", "1.x", LONG).await, "1.x", "sight: it is the last");
    let three = sight(&id, "a", "2 3", LONG).await;
    assert_eq!(three, "1.x 2 3", "sight: the oldest comes first");
    let again = sight(&id, "a", "1.x", LONG).await;
    assert_eq!(again, "2 3 1.x", "sight: what is noted already becomes the last");
    assert_eq!(sight(&id, "b", "3", LONG).await, "3", "sight: another kind");
    assert_eq!(sight(&other, "a", "3", LONG).await, "3", "sight: another session");
    sleep(WITHIN).await;
    let later = sight(&id, "a", "4", WITHIN).await;
    assert_eq!(later, "4", "sight: what was seen earlier does not count");
    for number in 0..2 * Limits::SIGHTINGS_MAX {
        sight(&id, "a", &format!("n{number}"), LONG).await;
    }
    let kept = sight(&id, "a", "last", LONG).await;
    let kept: Vec<_> = kept.split(' ').collect();
    assert_eq!(
        kept.len(),
        Limits::SIGHTINGS_MAX,
        "sight: the oldest go: {kept:?}"
    );
    assert_eq!(kept.last(), Some(&"last"), "sight: the newest stays");
    let ended = store.end(&id, None).await.expect("end must work");
    assert!(matches!(ended, Ended::Ended(_)), "end: it was there");
    assert_eq!(
        sight(&id, "a", "5", LONG).await,
        "",
        "sight: of no session nothing is noted"
    );
    let loaded = store.load(&id, None).await.expect("load must work");
    assert_eq!(loaded, None, "sight: it brings no session back");
}
