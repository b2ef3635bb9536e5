//! The buckets that a node knows, by whose they are. Those that were not used for longest go first.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::LimitKind;
use super::bucket::NodeBucket;
use crate::random::{HashMap, HashState};
use crate::session::{Peer, SessionId};

/// How many locks the table is spread over.
const SHARDS: usize = 64;
/// How many buckets a node knows.
pub(super) const BUCKETS_MAX: usize = 65_536; // x 250 B = 16 MiB
/// How many buckets of a shard were used last: with one more these become the older half, and what was that goes.
const NEWER_MAX: usize = BUCKETS_MAX / SHARDS / 2; // 512

/// Whose requests a bucket counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LimitedBy {
    /// Those of a principal, or from an address.
    Peer(Peer),
    /// Those of a session.
    Session(SessionId),
}

/// Which bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    pub(super) kind: LimitKind,
    pub(super) of: LimitedBy,
}

/// What is known of a bucket.
#[derive(Debug, Default)]
pub(super) struct KnownBucket {
    pub(super) bucket: NodeBucket,
    /// Fires when the store has answered: it is asked once at a time.
    pub(super) trip: Option<CancellationToken>,
}

/// All of them.
pub(super) struct Buckets {
    shards: Vec<Mutex<BucketShard>>,
    hasher: HashState,
}

#[derive(Debug, Default)]
struct BucketShard {
    newer: HashMap<BucketKey, KnownBucket>,
    older: HashMap<BucketKey, KnownBucket>,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: HashState::default(),
        }
    }
}

impl Buckets {
    /// Does that with a bucket, which is new if it is not known.
    pub(super) fn with<T>(&self, key: &BucketKey, work: impl FnOnce(&mut KnownBucket) -> T) -> T {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "the hash is taken modulo the number of shards"
        )]
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.newer.get_mut(key) {
            return work(known);
        }
        let mut known = shard.older.remove(key).unwrap_or_default();
        let done = work(&mut known);
        if shard.newer.len() >= NEWER_MAX {
            shard.older = std::mem::take(&mut shard.newer);
        }
        shard.newer.insert(key.clone(), known);
        done
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap());
        shards.map(|shard| shard.newer.len() + shard.older.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> BucketKey {
        let of = LimitedBy::Peer(Peer::at(number.to_be_bytes().into()));
        let kind = LimitKind::Address;
        BucketKey { kind, of }
    }

    #[test]
    fn a_node_knows_so_many_buckets_and_forgets_those_that_were_not_used_for_longest() {
        let buckets = Buckets::default();
        let used = key(u32::MAX);
        for number in 0..200_000 {
            buckets.with(&key(number), |_| {});
            let waits = buckets.with(&used, |known| {
                known.bucket.begin_waiting(1);
                known.bucket.wanted(
                    crate::config::Rate::new(1, std::time::Duration::from_secs(1), 1000).unwrap(),
                    0,
                    1,
                )
            });
            assert_eq!(
                waits,
                (number + 1).min(1000),
                "a bucket is forgotten that is used"
            );
        }
        assert!(buckets.len() <= BUCKETS_MAX, "{} are known", buckets.len());
        assert!(
            buckets.len() >= BUCKETS_MAX / 4,
            "only {} are known",
            buckets.len()
        );
    }
}
