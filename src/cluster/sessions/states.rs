//! Handlers' state of sessions, as a node reads and writes it: who finds there that a session is gone drops this node's copy of it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Inner, Sessions};
use crate::cluster::registry::{Retired, Slot};
use crate::session::state::{Expected, Home, StateStore, Swapped};
use crate::session::{SessionId, StateError};
use crate::telemetry::metrics;

impl Sessions {
    /// Where handlers' state is kept.
    #[must_use]
    pub(crate) fn states(&self) -> Arc<dyn StateStore> {
        Arc::<Inner>::clone(&self.inner)
    }
}

#[async_trait]
impl StateStore for Inner {
    async fn state_get(&self, home: &Home, key: &str) -> Result<Option<String>, StateError> {
        self.note_state(home, self.store.state_get(home, key).await).await
    }

    async fn state_entries(&self, home: &Home) -> Result<Vec<(String, String)>, StateError> {
        self.note_state(home, self.store.state_entries(home).await).await
    }

    async fn state_swap(
        &self,
        home: &Home,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let swapped = self.store.state_swap(home, key, expected, value).await;
        self.note_state(home, swapped).await
    }
}

impl Inner {
    /// A session without a home for its state does not exist: calls of it end, and the next request is told so.
    async fn note_state<T>(&self, home: &Home, outcome: Result<T, StateError>) -> Result<T, StateError> {
        if let (Err(StateError::Gone), Home::Session(id)) = (&outcome, home) {
            self.drop_gone(id).await;
        }
        outcome
    }

    /// The session is gone: so is this node's copy of it from now on, and its calls and streams end.
    pub(super) async fn drop_gone(&self, id: &SessionId) {
        if let Some(slot) = self.registry.existing(id) {
            slot.note_gone();
            self.retire_gone(id, &slot).await;
        }
    }

    pub(super) async fn retire_gone(&self, id: &SessionId, slot: &Arc<Slot>) {
        let _loading = slot.loading.lock().await;
        self.forget(id, slot);
    }

    /// Drops a copy of a session that is gone. The slot's lock is held.
    pub(super) fn forget(&self, id: &SessionId, slot: &Arc<Slot>) {
        let known = self.registry.retire(id, slot, Retired::Gone);
        if known.is_some() && !slot.was_ended() {
            metrics::session_expired();
        }
    }
}
