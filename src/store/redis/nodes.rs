//! Leases, rings and shared secrets in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join;
use tokio::sync::broadcast;

use super::{RedisStore, millis, on_slot_of};
use crate::session::NodeId;
use crate::store::{Heard, Lease, NewSecret, NodeStore, Secrets, StoreError};

/// For how long a lease that has ended stays in the set of leases, where survivors find nodes that died.
pub(super) const ENDED_LEASE_STAY: Duration = Duration::from_secs(24 * 60 * 60); // one night without any node

#[async_trait]
impl NodeStore for RedisStore {
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        let (key, set, ttl) = (self.keys.node(&lease.node), self.keys.nodes(), millis(ttl));
        let (started, stay) = (lease.started_ms.to_string(), millis(ENDED_LEASE_STAY));
        let fields = [
            &ttl,
            "address",
            &lease.address,
            "version",
            &lease.version,
            "started",
            &started,
        ];
        let entry = [lease.node.as_str(), &ttl, &stay];
        // Two scripts, because a cluster may keep the two keys on different nodes.
        let write = [key.as_str()];
        let write = self
            .scripts
            .lease
            .run(&self.link, &write, fields.map(Into::into).into());
        let enter = [set.as_str()];
        let enter = self
            .scripts
            .enlist
            .run(&self.link, &enter, entry.map(Into::into).into());
        self.measured("lease_renew", try_join(write, enter))
            .await
            .map(drop)
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        let (key, set) = (self.keys.node(node), self.keys.nodes());
        let retire = [set.as_str()];
        let args = vec![node.as_str().into()];
        let retire = self.scripts.retire.run(&self.link, &retire, args);
        let remove = self.link.send("DEL", on_slot_of(&key), vec![key.as_str().into()]);
        self.measured("lease_end", try_join(retire, remove))
            .await
            .map(drop)
    }

    async fn living(&self, nodes: &[NodeId]) -> Result<Vec<NodeId>, StoreError> {
        if nodes.is_empty() {
            return Ok(vec![]);
        }
        let set = self.keys.nodes();
        let args = nodes.iter().map(|node| node.as_str().into()).collect();
        let living: Vec<String> = self.script("living", &self.scripts.living, &[&set], args).await?;
        Ok(living.iter().filter_map(|node| NodeId::parse(node)).collect())
    }

    async fn ring(&self, node: &NodeId, message: &str) -> Result<(), StoreError> {
        self.publish("ring", &self.keys.node(node), message).await
    }

    async fn ring_all(&self, message: &str) -> Result<(), StoreError> {
        self.publish("ring_all", &self.keys.nodes(), message).await
    }

    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Heard>, StoreError> {
        self.measured("listen", self.ring.listen(node)).await
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StoreError> {
        let (key, now_ms) = (self.keys.secret(), fresh.now_ms.to_string());
        let (rotate_after, ttl) = (millis(rotate_after), millis(ttl));
        let args = [fresh.name.as_str(), &fresh.text, &now_ms, &rotate_after, &ttl];
        let args = args.map(Into::into).into();
        let answer: Vec<String> = self
            .script("secrets", &self.scripts.secrets, &[&key], args)
            .await?;
        let mut answer = answer.into_iter();
        let newest = answer.next();
        let newest = newest.ok_or_else(|| StoreError::Corrupt("no newest secret".into()))?;
        let mut all = BTreeMap::new();
        while let (Some(name), Some(text)) = (answer.next(), answer.next()) {
            all.insert(name, text);
        }
        Ok(Secrets { newest, all })
    }
}

impl RedisStore {
    async fn publish(&self, operation: &'static str, channel: &str, message: &str) -> Result<(), StoreError> {
        let args = vec![channel.into(), message.into()];
        // In a cluster any node will do: they pass it on to each other.
        let publish = self.link.send("PUBLISH", on_slot_of(channel), args);
        self.measured(operation, publish).await.map(drop)
    }
}
