//! Leases, rings and secrets in memory: for one node, or for several in one process.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::log::after;
use super::state::Secret;
use super::{HeldLease, MemoryStore};
use crate::session::NodeId;
use crate::store::{Heard, Lease, NewSecret, NodeStore, RINGS_WAITING_MAX, Renewed, Secrets, StoreError};

/// For how long a dead node is listed that nobody forgets.
const ENDED_LEASE_STAY: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl NodeStore for MemoryStore {
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError> {
        let (mut inner, now) = (self.lock(), Instant::now());
        inner.leases.retain(|_, held| held.ends + ENDED_LEASE_STAY > now);
        let held = inner.leases.get(&lease.node);
        if let Some(other) = held.filter(|held| held.life != lease.life && held.ends > now) {
            return Ok(Renewed::Taken {
                address: other.address.clone(),
                ends_in: other.ends - now,
            });
        }
        let renewed = HeldLease {
            life: lease.life.clone(),
            address: lease.address.clone(),
            ends: after(ttl),
        };
        inner.leases.insert(lease.node.clone(), renewed);
        inner.tidy();
        let living = inner.leases.keys().filter(|node| inner.lease_lives(node));
        Ok(Renewed::Renewed {
            clock_ms: inner.clock.now_ms(),
            living: living.cloned().collect(),
        })
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        // It stays in the list: its calls may have to be found.
        if let Some(held) = self.lock().leases.get_mut(node) {
            held.ends = Instant::now().min(held.ends);
        }
        Ok(())
    }

    async fn living(&self, nodes: &[NodeId]) -> Result<Vec<NodeId>, StoreError> {
        let inner = self.lock();
        let living = nodes.iter().filter(|node| inner.lease_lives(node));
        Ok(living.cloned().collect())
    }

    async fn ring(&self, node: &NodeId, message: &str) -> Result<(), StoreError> {
        self.lock().ring(node, message);
        Ok(())
    }

    async fn ring_all(&self, message: &str) -> Result<(), StoreError> {
        self.lock().ring_all(message);
        Ok(())
    }

    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Heard>, StoreError> {
        let listeners = &mut self.lock().listeners;
        listeners.retain(|_, listener| listener.receiver_count() > 0);
        let listener = listeners
            .entry(node.clone())
            .or_insert_with(|| broadcast::channel(RINGS_WAITING_MAX).0);
        Ok(listener.subscribe())
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StoreError> {
        let rotate_after_ms = u64::try_from(rotate_after.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let now = Instant::now();
        if inner.secrets_end.is_some_and(|end| end <= now) {
            inner.secrets.clear();
        }
        inner.secrets_end = now.checked_add(ttl);
        let age = |secret: &Secret| fresh.now_ms.saturating_sub(secret.made_ms);
        inner
            .secrets
            .retain(|_, secret| age(secret) <= rotate_after_ms.saturating_mul(2));
        let newest = inner.newest_secret.clone().filter(|name| {
            let secret = inner.secrets.get(name);
            secret.is_some_and(|secret| age(secret) <= rotate_after_ms)
        });
        let newest = newest.unwrap_or_else(|| {
            let secret = Secret {
                text: fresh.text.clone(),
                made_ms: fresh.now_ms,
            };
            inner.secrets.insert(fresh.name.clone(), secret);
            inner.newest_secret = Some(fresh.name.clone());
            fresh.name.clone()
        });
        let all = inner.secrets.iter();
        Ok(Secrets {
            newest,
            all: all
                .map(|(name, secret)| (name.clone(), secret.text.clone()))
                .collect(),
        })
    }
}
