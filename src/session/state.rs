//! JSON state that handlers keep, in a session or a notebook, readable and writable from any node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::id::SessionId;
use super::peer::Peer;
use super::record::Principal;
use super::secrets::{NewSecret, Secrets};

/// How often [`State::update`] tries again when another writer was first.
const UPDATE_ATTEMPTS_MAX: u32 = 512; // 64 writers that each win once before us, eight times over

/// Where state lives: beside a session's record, in a notebook of its own, or in a task.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum StateScope {
    /// In the hash of this session; gone with it.
    Session(SessionId),
    /// In the notebook of this handle. The handle is a credential, as a session id is.
    Notebook(Arc<str>),
    /// In the task of this id, which is a credential too.
    Task(Arc<str>),
}

impl fmt::Debug for StateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "StateScope::{id:?}"),
            Self::Notebook(_) => f.write_str("StateScope::Notebook(…)"),
            Self::Task(_) => f.write_str("StateScope::Task(…)"),
        }
    }
}

/// What a [`StateStore::state_swap`] expects to find before it writes.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Anything, or nothing.
    Anything,
    /// Nothing under this key.
    Absent,
    /// Just this JSON text.
    Text(&'a str),
}

/// How a [`StateStore::state_swap`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Swapped {
    /// It was written. Holds what was there before.
    Done(Option<String>),
    /// Something else was there, now returned; nothing was written.
    Conflict(Option<String>),
}

/// Why state could not be read or written.
///
/// A handler passes it on with `?`. As an [`ErrorData`](rmcp::ErrorData) it says what the client can do: what passes
/// is -32000 with `retryAfterSeconds`, what the arguments can put right is -32602, and [`Type`](Self::Type) is
/// -32603.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The session or notebook has ended or expired.
    #[error("the session or notebook has ended or expired")]
    Gone,
    /// The key is empty or too long.
    #[error("a key must have 1 to {max} bytes, this one has {0}", max = State::KEY_BYTES_MAX)]
    BadKey(usize),
    /// One more key would be too many.
    #[error(
        "it holds {} keys already, which is the most it may: remove one first",
        State::KEYS_MAX
    )]
    TooManyKeys,
    /// The value would not fit.
    #[error(
        "it would hold more than {} bytes, which is the most it may: remove something first",
        State::BYTES_MAX
    )]
    TooLarge,
    /// One more notebook would be too many.
    #[error("your limit of notebooks is reached (notebook.peer_max)")]
    TooManyNotebooks,
    /// One more task would be too many.
    #[error(
        "your limit of kept tasks is reached (task.peer_kept_max): each is kept for task.ttl after it began"
    )]
    TooManyTasks,
    /// State of the principal, of a caller that has none.
    #[error(
        "this keeps something for each principal, and the server asks nobody for credentials (auth.tokens)"
    )]
    NoPrincipal,
    /// Other writers were always first.
    #[error("other writers were first {UPDATE_ATTEMPTS_MAX} times in a row: try again")]
    Contended,
    /// The value is not of the type asked for, or cannot be written as JSON.
    #[error("the value is not of the expected type")]
    Type(#[source] serde_json::Error),
    /// The store did not answer.
    #[error("the store is out of reach: try again shortly")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered that it will not: it is full, say.
    #[error("{words}: try again shortly")]
    Refused {
        /// What clients may be told: no hosts, no keys.
        words: &'static str,
        /// What it answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StateError {
    /// Whether the store is the cause, so that the same may be done later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused { .. })
    }
}

/// How much room there is for one more scope of a kind.
#[derive(Debug, Clone, Copy)]
pub struct StateRoom<'a> {
    /// The peer the new one counts for: a short text that is not empty, [`Peer::key`](super::Peer::key).
    pub peer: &'a str,
    /// How many of the kind this peer may have.
    pub peer_max: usize,
}

/// The part of a store that keeps handlers' state, in sessions, notebooks and tasks, and the secrets that
/// nodes share.
///
/// Values are JSON texts. [`State`] checks keys before they come here. The store keeps the bounds on keys and
/// bytes, [`State::KEYS_MAX`] and [`State::BYTES_MAX`], in the same step as the write. Names of notebooks and
/// of tasks are apart: one text may name one of each.
///
/// A store of one's own needs a table of scopes (kind and name, owner, peer, when it ends) and one of values
/// (scope, key, text). The state of a session belongs to the session's own record and ends with it.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// The value under `key`.
    ///
    /// - Absence: `None` without such a key; [`StateError::Gone`] without the scope.
    /// - Expiry: a notebook lives on from now for as long as its owner said last; a session and a task live
    ///   no longer by this.
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError>;

    /// All keys and values, sorted by key.
    ///
    /// - Absence and expiry: as with [`state_get`](Self::state_get).
    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError>;

    /// Writes `value` under `key`, or removes the key when it is `None`; in one step, and only if `expected`
    /// holds.
    ///
    /// - Collision: when something else is there, [`Swapped::Conflict`] with what it is. When it does not
    ///   fit, [`StateError::TooManyKeys`] or [`StateError::TooLarge`]. Nothing is written then.
    /// - Absence: [`StateError::Gone`] without the scope. A late write never brings a scope back.
    /// - Expiry: as with [`state_get`](Self::state_get).
    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError>;

    /// Makes an empty notebook, or an empty task, that is `owner`'s and counts for the peer of `room`.
    ///
    /// - Collision: [`StateError::Contended`] when there is one of that name, which stays as it is. Always so
    ///   for a session, whose state begins with it.
    /// - No room: [`StateError::TooManyNotebooks`], [`StateError::TooManyTasks`]. Nothing is left of it then.
    /// - Expiry: a notebook lives `ttl` after its last use; a task `ttl` from now, however much it is used.
    ///   What ends makes room.
    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        ttl: Duration,
        room: StateRoom<'_>,
    ) -> Result<(), StateError>;

    /// Whose scope this is.
    ///
    /// - Absence: `None` without the scope.
    /// - Expiry: a notebook of `asker`'s lives `ttl` after each use from now on. Another's does not live on
    ///   by this, and no session or task does.
    async fn state_owner(
        &self,
        scope: &StateScope,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError>;

    /// The secrets that all nodes share, by name, and the name of the newest.
    ///
    /// - Absence: `fresh` becomes the newest when there is none, or the newest is older than `rotate_after`.
    /// - Collision: of nodes that ask at once, one offers the newest, and all get the same.
    /// - Expiry: a secret older than twice `rotate_after` is dropped. All of them live `ttl` from now.
    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StateError>;
}

/// The JSON state of one session or notebook, or what is kept for one principal or for all.
#[derive(Debug, Clone)]
pub struct State {
    store: Arc<dyn StateStore>,
    scope: StateScope,
    /// How it is made, if it is made with the first write.
    made: Option<Made>,
}

/// How a scope is made: whose it is, and how long it lives after its last use.
#[derive(Debug, Clone)]
struct Made {
    owner: Principal,
    ttl: Duration,
}

impl State {
    /// The most keys that one session or notebook may hold.
    pub const KEYS_MAX: usize = 256;
    /// The most bytes of keys and values together that one session or notebook may hold.
    pub const BYTES_MAX: usize = 256 * 1024;
    /// The longest key, in bytes.
    pub const KEY_BYTES_MAX: usize = 256;

    /// The state of `scope` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn StateStore>, scope: StateScope) -> Self {
        Self {
            store,
            scope,
            made: None,
        }
    }

    /// The same of a scope that is there when it is needed: empty at first, and again `ttl` after its last use.
    #[must_use]
    pub(crate) fn made_on_demand(
        store: Arc<dyn StateStore>,
        scope: StateScope,
        owner: Principal,
        ttl: Duration,
    ) -> Self {
        let made = Some(Made { owner, ttl });
        Self { store, scope, made }
    }

    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// [`StateError::Type`] when the value is not a `T`; else as [`StateError`] says.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        check_key(key)?;
        decode(self.read(key).await?.as_deref())
    }

    /// Writes `value` under `key`, in the place of what was there.
    ///
    /// # Errors
    /// As [`StateError`] says.
    pub async fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StateError> {
        check_key(key)?;
        let text = serde_json::to_string(value).map_err(StateError::Type)?;
        match self.swap(key, Expected::Anything, Some(&text)).await? {
            Swapped::Done(_) => Ok(()),
            Swapped::Conflict(_) => Err(StateError::Contended),
        }
    }

    /// Changes the value under `key` atomically: `change` gets what is there and says what shall be (`None`
    /// removes the key). It may run several times, when other writers are first, so it must have no effects
    /// of its own. Returns what was written.
    ///
    /// # Errors
    /// [`StateError::Contended`] when other writers were always first; else as [`StateError`] says.
    pub async fn update<T, F>(&self, key: &str, mut change: F) -> Result<Option<T>, StateError>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> Option<T> + Send,
    {
        check_key(key)?;
        let mut seen = self.read(key).await?;
        for _ in 0..UPDATE_ATTEMPTS_MAX {
            let wanted = change(decode(seen.as_deref())?);
            let text = wanted
                .as_ref()
                .map(serde_json::to_string)
                .transpose()
                .map_err(StateError::Type)?;
            let expected = seen.as_deref().map_or(Expected::Absent, Expected::Text);
            match self.swap(key, expected, text.as_deref()).await? {
                Swapped::Done(_) => return Ok(wanted),
                Swapped::Conflict(now) => seen = now,
            }
        }
        Err(StateError::Contended)
    }

    /// Removes `key`. Returns what was there.
    ///
    /// # Errors
    /// As [`StateError`] says.
    pub async fn remove(&self, key: &str) -> Result<Option<Value>, StateError> {
        check_key(key)?;
        match self.swap(key, Expected::Anything, None).await? {
            Swapped::Done(before) | Swapped::Conflict(before) => decode(before.as_deref()),
        }
    }

    /// All keys and values, sorted by key.
    ///
    /// # Errors
    /// As [`StateError`] says.
    pub async fn entries(&self) -> Result<Vec<(String, Value)>, StateError> {
        let entries = match self.store.state_entries(&self.scope).await {
            Err(StateError::Gone) if self.made.is_some() => Vec::new(),
            entries => entries?,
        };
        entries
            .into_iter()
            .map(|(key, text)| Ok((key, serde_json::from_str(&text).map_err(StateError::Type)?)))
            .collect()
    }

    async fn read(&self, key: &str) -> Result<Option<String>, StateError> {
        match self.store.state_get(&self.scope, key).await {
            Err(StateError::Gone) if self.made.is_some() => Ok(None),
            read => read,
        }
    }

    async fn swap(
        &self,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        let swapped = self.store.state_swap(&self.scope, key, expected, value).await;
        let (Err(StateError::Gone), Some(Made { owner, ttl })) = (&swapped, &self.made) else {
            return swapped;
        };
        if value.is_none() && !matches!(expected, Expected::Text(_)) {
            return Ok(Swapped::Done(None));
        }
        // It counts for nobody: there is one for each principal, and one for all.
        let room = StateRoom {
            peer: &Peer::Unknown.key(),
            peer_max: usize::MAX,
        };
        match self.store.state_open(&self.scope, owner, *ttl, room).await {
            // Another writer was first.
            Ok(()) | Err(StateError::Contended) => {}
            Err(error) => return Err(error),
        }
        self.store.state_swap(&self.scope, key, expected, value).await
    }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if (1..=State::KEY_BYTES_MAX).contains(&key.len()) {
        Ok(())
    } else {
        Err(StateError::BadKey(key.len()))
    }
}

fn decode<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, StateError> {
    text.map(serde_json::from_str)
        .transpose()
        .map_err(StateError::Type)
}
