//! Handlers' state in memory, in sessions, notebooks and tasks, and the secrets that nodes share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{MemoryInner, MemoryStore};
use crate::session::Principal;
use crate::session::State;
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::state::{Expected, StateError, StateRoom, StateScope, StateStore, Swapped};

/// A notebook or a task.
#[derive(Debug)]
pub(super) struct MemoryState {
    owner: Principal,
    /// The peer it counts for.
    peer: Arc<str>,
    /// How long it lives after each use; none of a task, which lives no longer by that.
    renewed_by: Option<Duration>,
    pairs: Pairs,
}

#[derive(Debug)]
pub(super) struct Secret {
    pub(super) text: String,
    pub(super) made_ms: u64,
}

/// The keys and values of one scope, and how many bytes they are.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    values: BTreeMap<String, String>,
    bytes: usize,
}

impl Pairs {
    fn swap(
        &mut self,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let before = self.values.get(key);
        let as_expected = match expected {
            Expected::Anything => true,
            Expected::Absent => before.is_none(),
            Expected::Text(text) => before.is_some_and(|before| before == text),
        };
        if !as_expected {
            return Ok(Swapped::Conflict(before.cloned()));
        }
        let size = |value: &str| key.len() + value.len();
        let old_bytes = before.map_or(0, |before| size(before));
        let new_bytes = value.map_or(0, size);
        if before.is_none() && value.is_some() && self.values.len() >= State::KEYS_MAX {
            return Err(StateError::TooManyKeys);
        }
        let bytes = self.bytes - old_bytes + new_bytes;
        if new_bytes > old_bytes && bytes > State::BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        self.bytes = bytes;
        Ok(Swapped::Done(match value {
            Some(value) => self.values.insert(key.to_owned(), value.to_owned()),
            None => self.values.remove(key),
        }))
    }
}

impl MemoryInner {
    /// What `scope` holds. A notebook's life is renewed by it, for every use does that.
    fn pairs(&mut self, scope: &StateScope) -> Result<&mut Pairs, StateError> {
        if let StateScope::Session(id) = scope {
            let session = self.sessions.get_mut(id).ok_or(StateError::Gone)?;
            return Ok(&mut session.pairs);
        }
        let renewed_by = self.opened.get(scope).and_then(|opened| opened.renewed_by);
        let opened = match renewed_by {
            Some(ttl) => self.opened.renew(scope, ttl),
            None => self.opened.get_mut(scope),
        };
        Ok(&mut opened.ok_or(StateError::Gone)?.pairs)
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError> {
        Ok(self.lock().pairs(scope)?.values.get(key).cloned())
    }

    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError> {
        let mut inner = self.lock();
        let values = &inner.pairs(scope)?.values;
        Ok(values.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        self.lock().pairs(scope)?.swap(key, expected, value)
    }

    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        ttl: Duration,
        room: StateRoom<'_>,
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        if inner.opened.get(scope).is_some() {
            return Err(StateError::Contended);
        }
        let of_peer = inner.usage.of(room.peer, ttl);
        let (name, tally, full) = match scope {
            StateScope::Session(_) => return Err(StateError::Contended),
            StateScope::Notebook(name) => (
                name,
                of_peer.map(|has| &mut has.notebooks),
                StateError::TooManyNotebooks,
            ),
            StateScope::Task(name) => (name, of_peer.map(|has| &mut has.tasks), StateError::TooManyTasks),
        };
        if let Some(tally) = tally {
            if tally.len() >= room.peer_max {
                return Err(full);
            }
            tally.keep(name, ttl);
        }
        let opened = MemoryState {
            owner: owner.clone(),
            peer: room.peer.into(),
            renewed_by: matches!(scope, StateScope::Notebook(_)).then_some(ttl),
            pairs: Pairs::default(),
        };
        inner.opened.put(scope.clone(), opened, ttl);
        Ok(())
    }

    async fn state_owner(
        &self,
        scope: &StateScope,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        let mut inner = self.lock();
        if let StateScope::Session(id) = scope {
            let session = inner.sessions.get(id);
            return Ok(session.map(|session| session.record.principal.clone()));
        }
        let owner = inner.opened.get(scope).map(|opened| opened.owner.clone());
        if let StateScope::Notebook(handle) = scope
            && owner.as_ref() == Some(asker)
            && let Some(notebook) = inner.opened.renew(scope, ttl)
        {
            notebook.renewed_by = Some(ttl);
            let peer = Arc::clone(&notebook.peer);
            if let Some(has) = inner.usage.of(&peer, ttl) {
                has.notebooks.keep(handle, ttl);
            }
        }
        Ok(owner)
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StateError> {
        let rotate_after_ms = u64::try_from(rotate_after.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let now = Instant::now();
        if inner.secrets_end.is_some_and(|end| end <= now) {
            inner.secrets.clear();
        }
        inner.secrets_end = now.checked_add(ttl);
        let age = |secret: &Secret| fresh.now_ms.saturating_sub(secret.made_ms);
        inner
            .secrets
            .retain(|_, secret| age(secret) <= rotate_after_ms.saturating_mul(2));
        let newest = inner.newest_secret.clone().filter(|name| {
            let secret = inner.secrets.get(name);
            secret.is_some_and(|secret| age(secret) <= rotate_after_ms)
        });
        let newest = newest.unwrap_or_else(|| {
            let secret = Secret {
                text: fresh.text.clone(),
                made_ms: fresh.now_ms,
            };
            inner.secrets.insert(fresh.name.clone(), secret);
            inner.newest_secret = Some(fresh.name.clone());
            fresh.name.clone()
        });
        let all = inner.secrets.iter();
        Ok(Secrets {
            newest,
            all: all
                .map(|(name, secret)| (name.clone(), secret.text.clone()))
                .collect(),
        })
    }
}
