//! JSON state that handlers keep, in a session or a notebook, readable and writable from any node.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::id::SessionId;

/// The most keys that one session or notebook may hold.
pub const STATE_KEYS_MAX: usize = 256;
/// The most bytes of keys and values together that one session or notebook may hold.
pub const STATE_BYTES_MAX: usize = 256 * 1024;
/// The longest key, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// How often [`State::update`] tries again when another writer was first.
const UPDATE_ATTEMPTS_MAX: u32 = 512; // 64 writers that each win once before us, eight times over

/// Where state lives: beside a session's record, in a notebook of its own, or in a task.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Home {
    /// In the hash of this session; gone with it.
    Session(SessionId),
    /// In the notebook of this handle. The handle is a credential, as a session id is.
    Notebook(Arc<str>),
    /// In the task of this id, which is a credential too.
    Task(Arc<str>),
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "Home::{id:?}"),
            Self::Notebook(_) => f.write_str("Home::Notebook(…)"),
            Self::Task(_) => f.write_str("Home::Task(…)"),
        }
    }
}

/// What a [`StateStore::state_swap`] expects to find before it writes.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Whatever is there.
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The session or notebook has ended or expired.
    #[error("the session or notebook has ended or expired")]
    Gone,
    /// The key is empty or too long.
    #[error("a key must have 1 to {STATE_KEY_BYTES_MAX} bytes, this one has {0}")]
    BadKey(usize),
    /// One more key would be too many.
    #[error("it holds {STATE_KEYS_MAX} keys already, which is the most it may: remove one first")]
    TooManyKeys,
    /// The value would not fit.
    #[error(
        "it would hold more than {STATE_BYTES_MAX} bytes, which is the most it may: remove something first"
    )]
    TooLarge,
    /// One more notebook would be too many.
    #[error("you have as many notebooks as one peer may (notebook.peer_max)")]
    TooManyNotebooks,
    /// One more task would be too many.
    #[error(
        "you have as many tasks as are kept of one peer (task.peer_kept_max): each is kept for task.ttl after it began"
    )]
    TooManyTasks,
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

/// The part of a store that keeps handlers' state. Values are JSON texts.
///
/// Keys are checked by [`State`] before they come here; the bounds on keys and bytes are the store's to keep,
/// atomically with the write.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// The value under `key`, if any. [`StateError::Gone`] when the home does not exist.
    async fn state_get(&self, home: &Home, key: &str) -> Result<Option<String>, StateError>;

    /// All keys and values, sorted by key. [`StateError::Gone`] when the home does not exist.
    async fn state_entries(&self, home: &Home) -> Result<Vec<(String, String)>, StateError>;

    /// Writes `value` under `key` (removes the key when `None`), atomically and only if `expected` holds.
    /// [`StateError::Gone`] when the home does not exist: a late write never brings it back.
    async fn state_swap(
        &self,
        home: &Home,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError>;
}

/// The JSON state of one session or notebook.
#[derive(Debug, Clone)]
pub struct State {
    store: Arc<dyn StateStore>,
    home: Home,
}

impl State {
    /// The state of `home` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn StateStore>, home: Home) -> Self {
        Self { store, home }
    }

    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// [`StateError::Type`] when the value is not a `T`; else as [`StateError`] says.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        check_key(key)?;
        decode(self.store.state_get(&self.home, key).await?.as_deref())
    }

    /// Writes `value` under `key`, whatever was there.
    ///
    /// # Errors
    /// As [`StateError`] says.
    pub async fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StateError> {
        check_key(key)?;
        let text = serde_json::to_string(value).map_err(StateError::Type)?;
        match self
            .store
            .state_swap(&self.home, key, Expected::Anything, Some(&text))
            .await?
        {
            Swapped::Done(_) => Ok(()),
            Swapped::Conflict(_) => Err(StateError::Contended),
        }
    }

    /// Changes the value under `key` atomically: `change` gets what is there and says what shall be (`None`
    /// removes the key). It may run several times, when other writers are first, so it must have no effects of its
    /// own. Returns what was written.
    ///
    /// # Errors
    /// [`StateError::Contended`] when other writers were always first; else as [`StateError`] says.
    pub async fn update<T, F>(&self, key: &str, mut change: F) -> Result<Option<T>, StateError>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> Option<T> + Send,
    {
        check_key(key)?;
        let mut seen = self.store.state_get(&self.home, key).await?;
        for _ in 0..UPDATE_ATTEMPTS_MAX {
            let wanted = change(decode(seen.as_deref())?);
            let text = wanted
                .as_ref()
                .map(serde_json::to_string)
                .transpose()
                .map_err(StateError::Type)?;
            let expected = seen.as_deref().map_or(Expected::Absent, Expected::Text);
            match self
                .store
                .state_swap(&self.home, key, expected, text.as_deref())
                .await?
            {
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
        match self
            .store
            .state_swap(&self.home, key, Expected::Anything, None)
            .await?
        {
            Swapped::Done(before) | Swapped::Conflict(before) => decode(before.as_deref()),
        }
    }

    /// All keys and values, sorted by key.
    ///
    /// # Errors
    /// As [`StateError`] says.
    pub async fn entries(&self) -> Result<Vec<(String, Value)>, StateError> {
        let entries = self.store.state_entries(&self.home).await?;
        entries
            .into_iter()
            .map(|(key, text)| Ok((key, serde_json::from_str(&text).map_err(StateError::Type)?)))
            .collect()
    }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if (1..=STATE_KEY_BYTES_MAX).contains(&key.len()) {
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
