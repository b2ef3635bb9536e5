//! Notebooks: state that outlives a session and is named by a handle, so that one agent can hand it to another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::peer::Peer;
use super::record::Principal;
use super::state::{Home, State, StateError, StateStore};

/// The part of a store that makes and finds notebooks.
#[async_trait]
pub trait NotebookStore: StateStore {
    /// Makes an empty notebook for `principal` that lives `ttl` after its last use. It counts for `peer`
    /// ([`Peer::key`]), which may have `peer_max`: [`StateError::TooManyNotebooks`].
    async fn notebook_open(
        &self,
        handle: &str,
        principal: &Principal,
        ttl: Duration,
        (peer, peer_max): (&str, usize),
    ) -> Result<(), StateError>;

    /// Whose notebook this is; `None` when there is none. If it is `asker`'s, its life is renewed to `ttl`.
    async fn notebook_owner(
        &self,
        handle: &str,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError>;
}

/// Makes and finds the notebooks of one principal.
#[derive(Clone)]
pub struct Notebooks {
    store: Arc<dyn NotebookStore>,
    principal: Principal,
    peer: Peer,
    peer_max: usize,
    ttl: Duration,
}

impl fmt::Debug for Notebooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notebooks")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl Notebooks {
    /// The notebooks of `principal` in `store`. Each lives `ttl` after its last use.
    #[must_use]
    pub fn new(store: Arc<dyn NotebookStore>, principal: Principal, ttl: Duration) -> Self {
        Self {
            store,
            principal,
            peer: Peer::Unknown,
            peer_max: usize::MAX,
            ttl,
        }
    }

    /// The same, of which those that are opened count for `peer`, which may have `peer_max`.
    #[must_use]
    pub fn counted(self, peer: Peer, peer_max: usize) -> Self {
        Self {
            peer,
            peer_max,
            ..self
        }
    }

    /// How long a notebook lives after its last use.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Makes an empty notebook. The handle it returns is unguessable (UUID v4): who has it can use the notebook.
    ///
    /// # Errors
    /// [`StateError::TooManyNotebooks`], [`StateError::Unreachable`].
    pub async fn open(&self) -> Result<(String, State), StateError> {
        let handle = crate::random::uuid().to_string();
        self.store
            .notebook_open(
                &handle,
                &self.principal,
                self.ttl,
                (&self.peer.key(), self.peer_max),
            )
            .await?;
        let state = self.state_of(&handle);
        Ok((handle, state))
    }

    /// The notebook of that handle; `None` when it never was, has expired, or belongs to another principal.
    ///
    /// # Errors
    /// [`StateError::Unreachable`].
    pub async fn find(&self, handle: &str) -> Result<Option<State>, StateError> {
        // A handle that no server minted never reaches the store, where it would become part of a key.
        let Ok(uuid) = uuid::Uuid::try_parse(handle) else {
            return Ok(None);
        };
        let handle = uuid.to_string();
        let owner = self
            .store
            .notebook_owner(&handle, &self.principal, self.ttl)
            .await?;
        Ok((owner.as_ref() == Some(&self.principal)).then(|| self.state_of(&handle)))
    }

    fn state_of(&self, handle: &str) -> State {
        let store: Arc<dyn StateStore> = Arc::<dyn NotebookStore>::clone(&self.store);
        State::new(store, Home::Notebook(handle.into()))
    }
}
