//! Reads and writes handlers' state of sessions. When a session proves to be gone, this node drops its copy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Sessions, SessionsInner};
use crate::cluster::registry::{Retired, SessionSlot};
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::state::{Expected, StateRoom, StateScope, StateStore, Swapped};
use crate::session::{Principal, SessionId, StateError};
use crate::telemetry::metrics;

impl Sessions {
    /// Where handlers' state is kept.
    #[must_use]
    pub(crate) fn states(&self) -> Arc<dyn StateStore> {
        Arc::<SessionsInner>::clone(&self.inner)
    }
}

#[async_trait]
impl StateStore for SessionsInner {
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError> {
        self.note_state(scope, self.store.state_get(scope, key).await)
            .await
    }

    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError> {
        self.note_state(scope, self.store.state_entries(scope).await)
            .await
    }

    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let swapped = self.store.state_swap(scope, key, expected, value).await;
        self.note_state(scope, swapped).await
    }

    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        ttl: Duration,
        room: StateRoom<'_>,
    ) -> Result<(), StateError> {
        self.store.state_open(scope, owner, ttl, room).await
    }

    async fn state_owner(
        &self,
        scope: &StateScope,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        let owner = self.store.state_owner(scope, asker, ttl).await?;
        if owner.as_ref().is_some_and(|owner| owner != asker) {
            self.audit.alarms().foreign_handle(asker);
        }
        Ok(owner)
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StateError> {
        self.store.secrets(fresh, rotate_after, ttl).await
    }
}

impl SessionsInner {
    /// A session without its state does not exist: its calls end, and its next request is refused.
    async fn note_state<T>(
        &self,
        scope: &StateScope,
        outcome: Result<T, StateError>,
    ) -> Result<T, StateError> {
        if let (Err(StateError::Gone), StateScope::Session(id)) = (&outcome, scope) {
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

    pub(super) async fn retire_gone(&self, id: &SessionId, slot: &Arc<SessionSlot>) {
        let _loading = slot.loading.lock().await;
        self.forget(id, slot);
    }

    /// Drops a copy of a session that is gone. The slot's lock is held.
    pub(super) fn forget(&self, id: &SessionId, slot: &Arc<SessionSlot>) {
        let known = self.registry.retire(id, slot, Retired::Gone);
        if let Some(former) = known.filter(|_| !slot.was_ended()) {
            metrics::session_expired();
            self.note_expired(&former);
        }
    }
}
