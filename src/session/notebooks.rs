//! Notebooks: state that outlives a session and is named by a handle, so that one agent can hand it to
//! another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::peer::Peer;
use super::record::Principal;
use super::state::{State, StateError, StateRoom, StateScope, StateStore};

/// The names of the notebooks that have no handle: handles are UUIDs.
const SHARED: &str = "shared";
const OF_PRINCIPAL: &str = "principal-";

/// Makes and finds the notebooks of one principal.
#[derive(Clone)]
pub struct Notebooks {
    store: Arc<dyn StateStore>,
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
    pub fn new(store: Arc<dyn StateStore>, principal: Principal, ttl: Duration) -> Self {
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

    /// State that all callers share, on all nodes, whether or not they have a session. It lives
    /// [`ttl`](Self::ttl) after its last use.
    #[must_use]
    pub fn shared(&self) -> State {
        self.named(SHARED.into(), Principal::anonymous())
    }

    /// State of the principal, on all nodes and in all its sessions. It lives [`ttl`](Self::ttl) after its last
    /// use.
    ///
    /// # Errors
    /// [`StateError::NoPrincipal`].
    pub fn own(&self) -> Result<State, StateError> {
        let name = self.principal.as_str();
        if name.is_empty() {
            return Err(StateError::NoPrincipal);
        }
        // All of the hash: no two principals may ever have the same.
        let digest = Sha256::digest(name.as_bytes());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.named(format!("{OF_PRINCIPAL}{hash}").into(), self.principal.clone()))
    }

    /// A notebook under a name that is no handle, so that no client can name it.
    fn named(&self, name: Arc<str>, owner: Principal) -> State {
        let scope = StateScope::Notebook(name);
        State::made_on_demand(Arc::clone(&self.store), scope, owner, self.ttl)
    }

    /// Makes an empty notebook. The handle it returns is unguessable (UUID v4): who has it can use the
    /// notebook.
    ///
    /// # Errors
    /// [`StateError::TooManyNotebooks`], [`StateError::Unreachable`].
    pub async fn open(&self) -> Result<(String, State), StateError> {
        let handle = crate::random::uuid().to_string();
        let scope = StateScope::Notebook(handle.as_str().into());
        let room = StateRoom {
            peer: &self.peer.key(),
            peer_max: self.peer_max,
        };
        self.store
            .state_open(&scope, &self.principal, self.ttl, room)
            .await?;
        Ok((handle, State::new(Arc::clone(&self.store), scope)))
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
        let scope = StateScope::Notebook(uuid.to_string().into());
        let owner = self.store.state_owner(&scope, &self.principal, self.ttl).await?;
        let own = owner.as_ref() == Some(&self.principal);
        Ok(own.then(|| State::new(Arc::clone(&self.store), scope)))
    }
}
