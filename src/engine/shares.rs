//! What a node has room for, and which share of it one peer may take.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::config::{Settings, most_of};
use crate::random::HashState;
use crate::session::Peer;

/// How many locks the table of peers is spread over.
const SHARDS: usize = 64;
/// How many pings and handshakes a node answers at once, and how many notifications its handler is at work
/// on. They have permits of their own, because a node that is full of calls must still answer pings.
const LIGHT_MAX: usize = 1000;
/// How many bytes of bodies a node holds at once: 64 of the largest that `http.body_bytes_max` takes by
/// default. Without it, `http.connections_max` of them would be 20 000 x 4 MiB = 78 GiB.
pub(crate) const BODIES_BYTES_MAX: usize = 256 << 20;
/// How many bytes are kept back for small bodies, for when large ones take up the rest.
const SMALL_BODIES_BYTES_MAX: usize = 32 << 20; // 512 x 64 KiB
/// How many connections are kept back for health checks and metrics, for when all others are taken. As many
/// has the address of `http.probe_listen`.
pub(crate) const PROBES_MAX: usize = 64;

/// What is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Calls in flight.
    Calls,
    /// Pings and handshakes, which have little to do.
    Light,
    /// Notifications that the handler is at work on: what it does then, it decides itself.
    Notifications,
    /// Open `subscriptions/listen` requests.
    Listeners,
    /// Streams that clients have opened by `GET`.
    Streams,
    /// Tasks that run.
    Tasks,
    /// Bytes of bodies.
    Bodies,
    /// Bytes of small bodies, when there is no other room.
    SmallBodies,
    /// Connections.
    Connections,
    /// Connections that only serve health checks and metrics, where clients connect.
    Probes,
    /// Connections to the address that has only these.
    ProbeAddress,
}

const RESOURCES: usize = Resource::ProbeAddress as usize + 1;

/// How much of a resource there is, and the refusals when none is left.
#[derive(Debug, Clone, Copy)]
struct Bound {
    node_max: usize,
    peer_max: usize,
    node_full: &'static str,
    peer_full: &'static str,
}

const BODIES_FULL: &str = "the node's limit of bytes in request bodies is reached";
const PEER_BODIES_FULL: &str =
    "this client's limit of bytes in request bodies is reached (http.bodies_peer_bytes_max)";
const CONNECTIONS_FULL: &str = "the node's limit of connections is reached (http.connections_max)";
const PEER_CONNECTIONS_FULL: &str =
    "this client's limit of connections to this node is reached (http.connections_peer_max)";

impl Bound {
    fn of(resource: Resource, settings: &Settings) -> Self {
        let (call, http) = (&settings.call, &settings.http);
        let (listen, stream, task) = (&settings.listen, &settings.stream, &settings.task);
        let body_max = http.body_bytes_max;
        match resource {
            Resource::Calls => Self::new(call.node_max, call.peer_max).told(
                "the node's limit of calls is reached (call.node_max)",
                "this client's limit of calls on this node is reached (call.peer_max)",
            ),
            Resource::Light => Self::new(LIGHT_MAX, most_of(LIGHT_MAX)).told(
                "the node's limit of pings and handshakes is reached",
                "this client's limit of pings and handshakes on this node is reached",
            ),
            Resource::Notifications => Self::new(LIGHT_MAX, most_of(LIGHT_MAX)).told(
                "the node's limit of notifications at work is reached",
                "this client's limit of notifications at work on this node is reached",
            ),
            Resource::Listeners => Self::new(listen.node_max, listen.peer_max).told(
                "the node's limit of open subscriptions is reached (listen.node_max)",
                "this client's limit of open subscriptions on this node is reached (listen.peer_max)",
            ),
            Resource::Streams => Self::new(stream.node_max, stream.peer_max).told(
                "the node's limit of open streams is reached (stream.node_max)",
                "this client's limit of open streams on this node is reached (stream.peer_max)",
            ),
            Resource::Tasks => Self::new(task.node_max, task.peer_max).told(
                "the node's limit of running tasks is reached (task.node_max)",
                "this client's limit of running tasks on this node is reached (task.peer_max)",
            ),
            Resource::Bodies => Self::new(
                BODIES_BYTES_MAX.max(body_max),
                http.bodies_peer_bytes_max.max(body_max),
            )
            .told(BODIES_FULL, PEER_BODIES_FULL),
            Resource::SmallBodies => Self::new(SMALL_BODIES_BYTES_MAX, most_of(SMALL_BODIES_BYTES_MAX))
                .told(BODIES_FULL, PEER_BODIES_FULL),
            // A connection waits for the node's limit; only a peer's limit refuses one.
            Resource::Connections => {
                Self::new(usize::MAX, http.connections_peer_max).told(CONNECTIONS_FULL, PEER_CONNECTIONS_FULL)
            }
            Resource::Probes | Resource::ProbeAddress => {
                Self::new(PROBES_MAX, PROBES_MAX / 2).told(CONNECTIONS_FULL, PEER_CONNECTIONS_FULL)
            }
        }
    }

    const fn new(node_max: usize, peer_max: usize) -> Self {
        Self {
            node_max,
            peer_max,
            node_full: "",
            peer_full: "",
        }
    }

    const fn told(self, node_full: &'static str, peer_full: &'static str) -> Self {
        Self {
            node_full,
            peer_full,
            ..self
        }
    }
}

/// How much is taken of each resource.
#[derive(Debug, Default)]
struct Counts([AtomicUsize; RESOURCES]);

impl Counts {
    fn of(&self, resource: Resource) -> &AtomicUsize {
        #[expect(clippy::indexing_slicing, reason = "there is one for each resource")]
        &self.0[resource as usize]
    }

    /// Takes so much, unless more than `max` would be taken then.
    fn add(&self, resource: Resource, amount: usize, max: usize) -> bool {
        let more = |taken: usize| taken.checked_add(amount).filter(|taken| *taken <= max);
        self.of(resource)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, resource: Resource, amount: usize) {
        self.of(resource).fetch_sub(amount, Ordering::Relaxed);
    }
}

type PeerShard = HashMap<Peer, Weak<PeerUse>, HashState>;

/// What a node has, and who has taken what of it.
pub(crate) struct Shares {
    bounds: [Bound; RESOURCES],
    taken: Counts,
    peers: Vec<Mutex<PeerShard>>,
    hasher: HashState,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Shares {
    /// What the settings grant; nothing is taken yet.
    #[must_use]
    pub(crate) fn new(settings: &Settings) -> Self {
        let all = [
            Resource::Calls,
            Resource::Light,
            Resource::Notifications,
            Resource::Listeners,
            Resource::Streams,
            Resource::Tasks,
            Resource::Bodies,
            Resource::SmallBodies,
            Resource::Connections,
            Resource::Probes,
            Resource::ProbeAddress,
        ];
        Self {
            bounds: all.map(|resource| Bound::of(resource, settings)),
            taken: Counts::default(),
            peers: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: HashState::default(),
        }
    }

    /// What this peer uses of the node. Nothing is kept of peers that use nothing.
    #[must_use]
    pub(crate) fn of(self: &Arc<Self>, peer: Peer) -> Arc<PeerUse> {
        let mut shard = self.shard(&peer);
        if let Some(known) = shard.get(&peer).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(PeerUse {
            shares: Arc::clone(self),
            peer: peer.clone(),
            taken: Counts::default(),
        });
        shard.insert(peer, Arc::downgrade(&new));
        new
    }

    /// How many peers use anything.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.peers.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    fn shard(&self, peer: &Peer) -> MutexGuard<'_, PeerShard> {
        let hash = usize::try_from(self.hasher.hash_one(peer) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "the hash is taken modulo the number of shards"
        )]
        self.peers[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bound(&self, resource: Resource) -> &Bound {
        #[expect(clippy::indexing_slicing, reason = "there is one for each resource")]
        &self.bounds[resource as usize]
    }
}

/// What one peer uses of a node.
#[derive(Debug)]
pub(crate) struct PeerUse {
    shares: Arc<Shares>,
    peer: Peer,
    taken: Counts,
}

impl PeerUse {
    /// Whose it is.
    #[must_use]
    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes so much of a resource, until what is returned is dropped.
    ///
    /// # Errors
    /// The words of the refusal: the node's limit is reached, or the peer's.
    pub(crate) fn take(self: &Arc<Self>, resource: Resource, amount: usize) -> Result<Share, &'static str> {
        let bound = self.shares.bound(resource);
        let all = &self.shares.taken;
        if !all.add(resource, amount, bound.node_max) {
            return Err(bound.node_full);
        }
        if !self.taken.add(resource, amount, bound.peer_max) {
            all.give_back(resource, amount);
            return Err(bound.peer_full);
        }
        Ok(Share {
            of: Arc::clone(self),
            resource,
            amount,
        })
    }
}

impl Drop for PeerUse {
    fn drop(&mut self) {
        let mut shard = self.shares.shard(&self.peer);
        // It may have come back meanwhile.
        if shard
            .get(&self.peer)
            .is_some_and(|known| known.strong_count() == 0)
        {
            shard.remove(&self.peer);
        }
    }
}

/// What is taken of a resource; given back when dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub(crate) struct Share {
    of: Arc<PeerUse>,
    resource: Resource,
    amount: usize,
}

impl Share {
    /// Takes so much more.
    ///
    /// # Errors
    /// As [`PeerUse::take`].
    pub(crate) fn grow(&mut self, amount: usize) -> Result<(), &'static str> {
        let mut more = self.of.take(self.resource, amount)?;
        self.amount += std::mem::take(&mut more.amount);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.taken.give_back(self.resource, self.amount);
        self.of.shares.taken.give_back(self.resource, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(node_max: usize, peer_max: usize) -> Arc<Shares> {
        let mut settings = Settings::default();
        (settings.call.node_max, settings.call.peer_max) = (node_max, peer_max);
        Arc::new(Shares::new(&settings))
    }

    fn at(last: u8) -> Peer {
        Peer::at([192, 0, 2, last].into())
    }

    /// F7: one client takes a share, and others have the rest.
    #[test]
    fn one_peer_takes_its_share_and_others_the_rest() {
        let shares = shares(10, 8);
        let (greedy, other) = (shares.of(at(1)), shares.of(at(2)));
        let mut taken: Vec<_> = (0..8).map(|_| greedy.take(Resource::Calls, 1).unwrap()).collect();
        let told = greedy.take(Resource::Calls, 1).unwrap_err();
        assert!(told.contains("call.peer_max"), "{told}");
        let others: Vec<_> = (0..2).map(|_| other.take(Resource::Calls, 1).unwrap()).collect();
        let told = other.take(Resource::Calls, 1).unwrap_err();
        assert!(told.contains("call.node_max"), "{told}");
        assert!(
            other.take(Resource::Light, 1).is_ok(),
            "pings have places of their own"
        );
        taken.pop();
        assert!(other.take(Resource::Calls, 1).is_ok());
        drop(others);
        assert!(greedy.take(Resource::Calls, 1).is_ok());
    }

    #[test]
    fn a_peer_is_one_wherever_it_is_counted_and_nothing_is_kept_of_those_that_left() {
        let shares = shares(10, 2);
        let kept = || -> usize { shares.peers.iter().map(|shard| shard.lock().unwrap().len()).sum() };
        let held = shares.of(at(1)).take(Resource::Calls, 1).unwrap();
        let mut more = shares.of(at(1)).take(Resource::Calls, 1).unwrap();
        assert!(shares.of(at(1)).take(Resource::Calls, 1).is_err());
        assert!(more.grow(1).is_err());
        drop(held);
        assert!(more.grow(1).is_ok());
        assert_eq!(kept(), 1);
        drop(more);
        assert_eq!(kept(), 0);
        assert_eq!(shares.taken.of(Resource::Calls).load(Ordering::Relaxed), 0);
    }
}
