//! Which sessions of this node are subscribed to a resource, so that a change costs those and no others.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::random::HashState;
use crate::session::SessionId;

/// How many locks the table is spread over.
const SHARDS: usize = 16;

/// The sessions that are subscribed to one resource, each with how many copies of it say so.
type Subscribed = HashMap<SessionId, usize, HashState>;

/// The subscriptions of all copies of sessions on this node. A session may have two copies for a while: the
/// one that a stream holds, and one that was read later.
#[derive(Debug)]
pub(crate) struct Subscribers {
    shards: Vec<Mutex<HashMap<String, Subscribed, HashState>>>,
    hasher: HashState,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: HashState::default(),
        }
    }
}

impl Subscribers {
    /// The sessions that are subscribed to this resource.
    #[must_use]
    pub(crate) fn of(&self, uri: &str) -> Vec<SessionId> {
        let shard = self.shard(uri);
        shard
            .get(uri)
            .into_iter()
            .flat_map(HashMap::keys)
            .cloned()
            .collect()
    }

    /// Whether a session is subscribed to this resource.
    #[must_use]
    pub(crate) fn has(&self, uri: &str) -> bool {
        self.shard(uri).contains_key(uri)
    }

    /// A copy of this session is subscribed to `now`, and no longer to what is only in `before`.
    fn replace(&self, id: &SessionId, before: &BTreeSet<String>, now: &BTreeSet<String>) {
        for uri in now.difference(before) {
            *self
                .shard(uri)
                .entry(uri.clone())
                .or_default()
                .entry(id.clone())
                .or_default() += 1;
        }
        for uri in before.difference(now) {
            let mut shard = self.shard(uri);
            let Some(subscribed) = shard.get_mut(uri) else {
                continue;
            };
            if let Some(copies) = subscribed.get_mut(id) {
                *copies -= 1;
                if *copies == 0 {
                    subscribed.remove(id);
                }
            }
            if subscribed.is_empty() {
                shard.remove(uri);
            }
        }
    }

    /// How many resources somebody is subscribed to.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn shard(&self, uri: &str) -> MutexGuard<'_, HashMap<String, Subscribed, HashState>> {
        let hash = usize::try_from(self.hasher.hash_one(uri) >> 32).unwrap_or(0);
        self.shards[hash % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscriptions of one copy of a session: entered in [`Subscribers`] as long as the copy is there.
#[derive(Debug)]
pub(super) struct Subscriptions {
    id: SessionId,
    now: Arc<BTreeSet<String>>,
    all: Arc<Subscribers>,
}

impl Subscriptions {
    pub(super) fn new(id: SessionId, now: BTreeSet<String>, all: Arc<Subscribers>) -> Self {
        all.replace(&id, &BTreeSet::new(), &now);
        Self {
            id,
            now: Arc::new(now),
            all,
        }
    }

    pub(super) const fn now(&self) -> &Arc<BTreeSet<String>> {
        &self.now
    }

    pub(super) fn set(&mut self, now: BTreeSet<String>) {
        self.all.replace(&self.id, &self.now, &now);
        self.now = Arc::new(now);
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.all.replace(&self.id, &self.now, &BTreeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_what_its_copies_are_subscribed_to() {
        let all = Arc::new(Subscribers::default());
        let id = |name: &str| SessionId::parse(name).unwrap();
        let set = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
        let mut a = Subscriptions::new(id("a"), set(&["x", "y"]), Arc::clone(&all));
        let again = Subscriptions::new(id("a"), set(&["x"]), Arc::clone(&all));
        let b = Subscriptions::new(id("b"), set(&["y"]), Arc::clone(&all));
        assert_eq!(all.of("x"), [id("a")]);
        assert_eq!(BTreeSet::from_iter(all.of("y")), [id("a"), id("b")].into());
        a.set(set(&["z"]));
        assert_eq!(all.of("y"), [id("b")]);
        assert_eq!(all.of("x"), [id("a")], "another copy tells the same");
        drop((a, again, b));
        assert_eq!(all.len(), 0);
    }
}
