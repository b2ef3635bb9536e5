//! Handlers' state, notebooks and tasks in memory, and the shared secrets' shape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Inner, MemoryStore};
use crate::session::Principal;
use crate::session::notebooks::NotebookStore;
use crate::session::state::{
    Expected, Home, STATE_BYTES_MAX, STATE_KEYS_MAX, StateError, StateStore, Swapped,
};
use crate::session::tasks::TaskStore;

#[derive(Debug)]
pub(super) struct Notebook {
    principal: Principal,
    /// The peer it counts for.
    peer: Arc<str>,
    ttl: Duration,
    pairs: Pairs,
}

#[derive(Debug)]
pub(super) struct Secret {
    pub(super) text: String,
    pub(super) made_ms: u64,
}

/// The keys and values of one home, and how many bytes they are.
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
        if before.is_none() && value.is_some() && self.values.len() >= STATE_KEYS_MAX {
            return Err(StateError::TooManyKeys);
        }
        let bytes = self.bytes - old_bytes + new_bytes;
        if new_bytes > old_bytes && bytes > STATE_BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        self.bytes = bytes;
        Ok(Swapped::Done(match value {
            Some(value) => self.values.insert(key.to_owned(), value.to_owned()),
            None => self.values.remove(key),
        }))
    }
}

impl Inner {
    /// What `home` holds. A notebook's life is renewed by it, for every use does that.
    fn pairs(&mut self, home: &Home) -> Result<&mut Pairs, StateError> {
        match home {
            Home::Session(id) => self.sessions.get_mut(id).map(|session| &mut session.pairs),
            Home::Notebook(handle) => {
                let ttl = self.notebooks.get(handle).map(|notebook| notebook.ttl);
                ttl.and_then(|ttl| self.notebooks.renew(handle, ttl))
                    .map(|notebook| &mut notebook.pairs)
            }
            Home::Task(id) => self.tasks.get_mut(id),
        }
        .ok_or(StateError::Gone)
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn state_get(&self, home: &Home, key: &str) -> Result<Option<String>, StateError> {
        Ok(self.lock().pairs(home)?.values.get(key).cloned())
    }

    async fn state_entries(&self, home: &Home) -> Result<Vec<(String, String)>, StateError> {
        let mut inner = self.lock();
        let values = &inner.pairs(home)?.values;
        Ok(values.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    async fn state_swap(
        &self,
        home: &Home,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        self.lock().pairs(home)?.swap(key, expected, value)
    }
}

#[async_trait]
impl NotebookStore for MemoryStore {
    async fn notebook_open(
        &self,
        handle: &str,
        principal: &Principal,
        ttl: Duration,
        (peer, peer_max): (&str, usize),
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        let handle: Arc<str> = handle.into();
        if inner.notebooks.get(&handle).is_some() {
            return Err(StateError::Contended);
        }
        if let Some(has) = inner.crowd.of(peer, ttl) {
            if has.notebooks.len() >= peer_max {
                return Err(StateError::TooManyNotebooks);
            }
            has.notebooks.keep(&handle, ttl);
        }
        let notebook = Notebook {
            principal: principal.clone(),
            peer: peer.into(),
            ttl,
            pairs: Pairs::default(),
        };
        inner.notebooks.put(handle, notebook, ttl);
        Ok(())
    }

    async fn notebook_owner(
        &self,
        handle: &str,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        let (mut inner, handle) = (self.lock(), handle.into());
        let owner = inner
            .notebooks
            .get(&handle)
            .map(|notebook| notebook.principal.clone());
        if owner.as_ref() == Some(asker)
            && let Some(notebook) = inner.notebooks.renew(&handle, ttl)
        {
            notebook.ttl = ttl;
            let peer = Arc::clone(&notebook.peer);
            if let Some(has) = inner.crowd.of(&peer, ttl) {
                has.notebooks.keep(&handle, ttl);
            }
        }
        Ok(owner)
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn task_open(
        &self,
        id: &str,
        ttl: Duration,
        (peer, kept_max): (&str, usize),
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        let id: Arc<str> = id.into();
        if inner.tasks.get(&id).is_some() {
            return Err(StateError::Contended);
        }
        if let Some(has) = inner.crowd.of(peer, ttl) {
            if has.tasks.len() >= kept_max {
                return Err(StateError::TooManyTasks);
            }
            has.tasks.keep(&id, ttl);
        }
        inner.tasks.put(id, Pairs::default(), ttl);
        Ok(())
    }
}
