//! Tokens that were verified, by their text: verifying takes a hundred times as long as looking one up.
//!
//! Only verified tokens are kept, so that nobody who has none can push others out.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};
use tokio::time::Instant;

use crate::random::HashState;
use crate::session::Identity;

/// How long a token is kept at most: what its issuer has changed since is seen then.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

/// Verified tokens, within a bound.
#[derive(Debug)]
pub(crate) struct TokenCache {
    kept: Cache<TokenKey, Arc<KeptToken>, UnitWeighter, HashState>,
    check: HashState,
}

/// A token, and another hash of it: what differs in that is not compared byte by byte, so the time it takes tells nothing
/// of how much of a token was right.
#[derive(Debug, PartialEq, Eq)]
struct TokenKey {
    check: u64,
    text: Box<str>,
}

struct TokenQuery<'a> {
    check: u64,
    text: &'a str,
}

impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Hash for TokenQuery<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Equivalent<TokenKey> for TokenQuery<'_> {
    fn equivalent(&self, key: &TokenKey) -> bool {
        self.check == key.check && *self.text == *key.text
    }
}

/// A token that was verified.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    /// Who it stands for.
    pub identity: Identity,
    /// How long that holds.
    pub valid_for: Duration,
    /// The keys that it was verified with. It counts no longer when they have changed.
    pub keys: Option<KeysSeen>,
}

/// A state of an issuer's keys.
#[derive(Debug, Clone)]
pub(crate) struct KeysSeen {
    /// Counts the changes of the keys.
    pub changes: Arc<AtomicU64>,
    /// How many there had been.
    pub seen: u64,
}

impl KeysSeen {
    fn is_current(&self) -> bool {
        self.changes.load(Ordering::Acquire) == self.seen
    }
}

#[derive(Debug)]
struct KeptToken {
    identity: Identity,
    until: Instant,
    keys: Option<KeysSeen>,
}

impl TokenCache {
    /// One for so many tokens.
    pub(crate) fn new(tokens_max: usize) -> Self {
        let weight = u64::try_from(tokens_max).unwrap_or(u64::MAX);
        let (hash, life) = (HashState::default(), DefaultLifecycle::default());
        Self {
            kept: Cache::with(tokens_max, weight, UnitWeighter, hash, life),
            check: HashState::default(),
        }
    }

    /// Who that token stands for, if it is known.
    pub(crate) fn get(&self, text: &str) -> Option<Identity> {
        let query = TokenQuery {
            check: self.check.hash_one(text),
            text,
        };
        let kept = self.kept.get(&query)?;
        let counts = Instant::now() < kept.until && kept.keys.as_ref().is_none_or(KeysSeen::is_current);
        if !counts {
            drop(self.kept.remove(&query));
            return None;
        }
        Some(kept.identity.clone())
    }

    /// Keeps a token that was verified.
    pub(crate) fn keep(&self, text: &str, verified: Verified) {
        let key = TokenKey {
            check: self.check.hash_one(text),
            text: text.into(),
        };
        let kept = KeptToken {
            identity: verified.identity,
            until: Instant::now() + verified.valid_for.min(KEPT_FOR),
            keys: verified.keys,
        };
        self.kept.insert(key, Arc::new(kept));
    }

    /// How many tokens it keeps.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Principal;

    fn verified(seconds: u64, keys: Option<KeysSeen>) -> Verified {
        Verified {
            identity: Principal("alice".into()).into(),
            valid_for: Duration::from_secs(seconds),
            keys,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_known_until_it_expires() {
        let cache = TokenCache::new(10);
        cache.keep("short", verified(10, None));
        cache.keep("long", verified(10_000, None));
        assert!(cache.get("short").is_some() && cache.get("shor").is_none());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(cache.get("short").is_none() && cache.get("long").is_some());
        tokio::time::advance(KEPT_FOR).await;
        assert!(cache.get("long").is_none());
        assert_eq!(cache.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_have_changed_verify_it_no_longer() {
        let (cache, changes) = (TokenCache::new(10), Arc::new(AtomicU64::new(3)));
        let seen = KeysSeen {
            changes: Arc::clone(&changes),
            seen: 3,
        };
        cache.keep("token", verified(100, Some(seen)));
        assert!(cache.get("token").is_some());
        changes.store(4, Ordering::Release);
        assert!(cache.get("token").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_no_more_than_its_bound() {
        let cache = TokenCache::new(100);
        for number in 0..10_000 {
            cache.keep(&format!("token-{number}"), verified(100, None));
        }
        assert!(cache.len() <= 100, "{}", cache.len());
    }
}
