//! What a node has seen of a session's client: whether a request looks like the one before it is one comparison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

/// How many networks are remembered of a session; the one that was seen first goes.
const NETWORKS_MAX: usize = 16; // x 40 B = 640 B of a session that hops, 40 B of any other

/// What this node has seen of a session's client.
#[derive(Debug, Default)]
pub(crate) struct ClientTraits {
    /// The hash of what the last request showed that was as it should be; 0 before.
    last: AtomicU64,
    networks: Mutex<Networks>,
}

#[derive(Debug, Default)]
struct Networks {
    known: SmallVec<[Network; 1]>,
    /// When the store was told last.
    told: Option<Instant>,
    /// Whether it is about to be told.
    telling: bool,
}

#[derive(Debug)]
struct Network {
    name: Box<str>,
    seen: Instant,
    told: bool,
}

/// What a network means that was just seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// How many networks this node has seen lately.
    pub networks: usize,
    /// When the store should be told of those that it was not told of; `None` if that is not needed, or
    /// somebody is about to do it.
    pub tell_in: Option<Duration>,
}

impl ClientTraits {
    /// Whether a request shows what the last one did.
    #[must_use]
    pub(crate) fn is_same(&self, hash: u64) -> bool {
        self.last.load(Ordering::Relaxed) == hash
    }

    /// Notes what a request shows that is as it should be.
    pub(crate) fn set_last(&self, hash: u64) {
        self.last.store(hash, Ordering::Relaxed);
    }

    /// Notes a network, which counts for `within`. `None` if it is known. A session with one network is no news
    /// for the store, which is told of others once in `each` at most.
    pub(crate) fn note_network(&self, name: &str, within: Duration, each: Duration) -> Option<Hop> {
        let (now, mut networks) = (Instant::now(), self.networks());
        networks
            .known
            .retain(|known| now.duration_since(known.seen) < within);
        if let Some(known) = networks.known.iter_mut().find(|known| *known.name == *name) {
            known.seen = now;
            return None;
        }
        if networks.known.len() >= NETWORKS_MAX {
            networks.known.remove(0);
        }
        networks.known.push(Network {
            name: name.into(),
            seen: now,
            told: false,
        });
        let count = networks.known.len();
        let tell = count > 1 && !std::mem::replace(&mut networks.telling, true);
        let since = networks.told.map_or(each, |told| now.duration_since(told));
        Some(Hop {
            networks: count,
            tell_in: tell.then(|| each.saturating_sub(since)),
        })
    }

    /// The networks of which the store was not told. It is told now.
    #[must_use]
    pub(crate) fn take_untold(&self) -> Vec<String> {
        let mut networks = self.networks();
        (networks.telling, networks.told) = (false, Some(Instant::now()));
        let untold = networks.known.iter_mut().filter(|known| !known.told);
        let taken = untold.map(|known| {
            known.told = true;
            known.name.clone().into()
        });
        taken.collect()
    }

    /// The store could not be told of these.
    pub(crate) fn put_untold(&self, names: &[&str]) {
        let mut networks = self.networks();
        let put = networks.known.iter_mut();
        put.filter(|known| names.contains(&&*known.name))
            .for_each(|known| known.told = false);
    }

    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(600);
    const EACH: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_store_is_told_of_a_second_network_and_then_seldom() {
        let seen = ClientTraits::default();
        let note = |name: &str| seen.note_network(name, WITHIN, EACH);
        let hop = |networks, tell_in| Some(Hop { networks, tell_in });
        assert_eq!(note("a"), hop(1, None));
        assert_eq!(note("a"), None);
        assert_eq!(note("b"), hop(2, Some(Duration::ZERO)));
        assert_eq!(note("c"), hop(3, None), "somebody is about to tell it");
        assert_eq!(seen.take_untold(), ["a", "b", "c"]);
        assert_eq!(note("d"), hop(4, Some(EACH)));
        assert_eq!(seen.take_untold(), ["d"]);
        seen.put_untold(&["b", "d"]);
        assert_eq!(seen.take_untold(), ["b", "d"], "the store could not be told");
        advance(WITHIN).await;
        assert_eq!(note("a"), hop(1, None), "what was long ago does not count");
        for name in 0..100 {
            note(&name.to_string());
        }
        assert_eq!(seen.networks().known.len(), NETWORKS_MAX);
    }
}
