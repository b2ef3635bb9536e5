//! Leases, rings and shared secrets in Redis.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::Value;
use futures::future::try_join;
use tokio::sync::broadcast;

use super::{RedisStore, millis, on_slot_of};
use crate::session::NodeId;
use crate::store::{Heard, Lease, NewSecret, NodeStore, Renewed, Secrets, StoreError};

/// For how long a lease that has ended stays in the set of leases, where survivors find nodes that died.
pub(super) const ENDED_LEASE_STAY: Duration = Duration::from_secs(24 * 60 * 60); // one night without any node

#[async_trait]
impl NodeStore for RedisStore {
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError> {
        self.measured("lease_renew", self.renew(lease, ttl)).await
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        let (key, set) = (self.keys.node(node), self.keys.nodes());
        let life = vec![self.life_of(node).into()];
        let ended: u64 = self
            .script("lease_end", &self.scripts.lease_end, &[&key], life)
            .await?;
        if ended == 0 {
            return Ok(());
        }
        let args = vec![node.as_str().into()];
        self.script::<u64>("lease_end", &self.scripts.retire, &[&set], args)
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
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, FredError> {
        // Two scripts, because a cluster may keep the two keys on different nodes. A node that has had a lease before, in this
        // life, has it still, so there is no need to wait for the first before the second.
        let known = self.life_of(&lease.node) == lease.life.as_str();
        let (written, living) = if known {
            try_join(self.write_lease(lease, ttl), self.enlist(lease, ttl)).await?
        } else {
            match self.write_lease(lease, ttl).await? {
                Ok(clock_ms) => (Ok(clock_ms), self.enlist(lease, ttl).await?),
                Err(taken) => return Ok(taken),
            }
        };
        let clock_ms = match written {
            Ok(clock_ms) => clock_ms,
            Err(taken) => return Ok(taken),
        };
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.insert(lease.node.clone(), lease.life.clone());
        Ok(Renewed::Renewed { clock_ms, living })
    }

    /// Writes the lease itself, and returns Redis's clock; or who has taken it.
    async fn write_lease(&self, lease: &Lease, ttl: Duration) -> Result<Result<u64, Renewed>, FredError> {
        let (key, ttl, started) = (
            self.keys.node(&lease.node),
            millis(ttl),
            lease.started_ms.to_string(),
        );
        let args = [
            &ttl,
            lease.life.as_str(),
            "address",
            &lease.address,
            "version",
            &lease.version,
            "started",
            &started,
        ];
        let args = args.map(Value::from).into();
        let answer = self.scripts.lease.run(&self.link, &[&key], args).await?;
        let answer: Vec<String> = answer.convert()?;
        let unexpected = || FredError::new(ErrorKind::Parse, "lease: unexpected answer");
        let number = |text: &str| text.parse::<u64>().map_err(|_not_a_number| unexpected());
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["renewed", clock_ms] => Ok(Ok(number(clock_ms)?)),
            ["taken", ends_in, address] => Ok(Err(Renewed::Taken {
                address: (*address).to_owned(),
                ends_in: Duration::from_millis(number(ends_in)?),
            })),
            _ => Err(unexpected()),
        }
    }

    /// Enters the node into the set of leases, and returns who lives.
    async fn enlist(&self, lease: &Lease, ttl: Duration) -> Result<Vec<NodeId>, FredError> {
        let (set, life, stay) = (self.keys.nodes(), millis(ttl), millis(ENDED_LEASE_STAY));
        let args = [lease.node.as_str(), &life, &stay].map(Value::from).into();
        let living = self.scripts.enlist.run(&self.link, &[&set], args).await?;
        let living: Vec<String> = living.convert()?;
        Ok(living.iter().filter_map(|node| NodeId::parse(node)).collect())
    }

    async fn publish(&self, operation: &'static str, channel: &str, message: &str) -> Result<(), StoreError> {
        let args = vec![channel.into(), message.into()];
        // In a cluster any node will do: they pass it on to each other.
        let publish = self.link.send("PUBLISH", on_slot_of(channel), args);
        self.measured(operation, publish).await.map(drop)
    }
}
