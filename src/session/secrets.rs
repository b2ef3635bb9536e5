//! Secrets that all nodes share, as the store keeps them.

use std::collections::BTreeMap;
use std::fmt;

/// A secret that a node offers when the store has none, or only old ones.
#[derive(Clone)]
pub struct NewSecret {
    /// Its name, unique.
    pub name: String,
    /// Its text: 32 random bytes or more, in hexadecimal.
    pub text: String,
    /// The time now by the store's own clock, in unix milliseconds.
    pub now_ms: u64,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The secrets that all nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The name of the one to seal with.
    pub newest: String,
    /// Every valid one, by name: those to open with.
    pub all: BTreeMap<String, String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("newest", &self.newest)
            .field("count", &self.all.len())
            .finish()
    }
}
