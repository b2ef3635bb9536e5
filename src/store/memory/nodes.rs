//! Leases and messages in memory: for one node, or for several in one process.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::log::after;
use super::{HeldLease, MemoryStore};
use crate::session::NodeId;
use crate::store::Limits;
use crate::store::{
    KnownNode, Lease, NodeMessage, NodeStore, Received, Recipients, Renewed, StoreError, StoreProfile,
    StoreReport,
};

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
        inner.lives.insert(lease.node.clone(), lease.life.clone());
        inner.tidy();
        let living = inner.leases.keys().filter(|node| inner.lease_lives(node));
        Ok(Renewed::Renewed {
            clock_ms: inner.clock.now_ms(),
            living: living.cloned().collect(),
        })
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        // It stays in the list: its calls may have to be found.
        if let Some(held) = inner.leases.get_mut(node) {
            held.ends = Instant::now().min(held.ends);
        }
        inner.send(Recipients::All, &NodeMessage::left(node));
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        let inner = self.lock();
        let known = inner.leases.keys().map(|node| KnownNode {
            node: node.clone(),
            lives: inner.lease_lives(node),
        });
        Ok(known.collect())
    }

    async fn send(&self, to: Recipients<'_>, message: &NodeMessage) -> Result<(), StoreError> {
        self.lock().send(to, message);
        Ok(())
    }

    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Received>, StoreError> {
        let listeners = &mut self.lock().listeners;
        listeners.retain(|_, listener| listener.receiver_count() > 0);
        let listener = listeners
            .entry(node.clone())
            .or_insert_with(|| broadcast::channel(Limits::MESSAGES_WAITING_MAX).0);
        Ok(listener.subscribe())
    }

    fn profile(&self) -> StoreProfile {
        StoreProfile {
            kind: "memory",
            is_shared: self.shared,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn report(&self) -> Result<StoreReport, StoreError> {
        Ok(StoreReport {
            topology: "memory",
            ..StoreReport::default()
        })
    }

    async fn close(&self) {}
}
