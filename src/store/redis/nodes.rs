//! Leases, and messages between nodes, in Redis.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::Value;
use futures::future::{join, try_join, try_join_all};
use tokio::sync::broadcast;

use super::report::version;
use super::{RedisStore, millis, on_slot_of};
use crate::session::NodeId;
use crate::store::{
    KnownNode, Lease, NodeMessage, NodeStore, Received, Recipients, Renewed, StoreError, StoreProfile,
    StoreReport,
};

/// For how long a lease that has ended stays in the set of leases, where survivors find nodes that died.
pub(super) const ENDED_LEASE_STAY: Duration = Duration::from_secs(24 * 60 * 60); // one night without any node

#[async_trait]
impl NodeStore for RedisStore {
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError> {
        // Two scripts, because a cluster may keep the two keys on different nodes. A node that has had a
        // lease before, in this life, has it still, so there is no need to wait for the first before the
        // second.
        let known = self.life_of(&lease.node) == lease.life.as_str();
        let renew = async {
            if known {
                return try_join(self.write_lease(lease, ttl), self.write_lease_set(lease, ttl)).await;
            }
            match self.write_lease(lease, ttl).await? {
                Ok(clock_ms) => Ok((Ok(clock_ms), self.write_lease_set(lease, ttl).await?)),
                Err(taken) => Ok((Err(taken), vec![])),
            }
        };
        let (clock_ms, living) = match self.measured("lease_renew", renew).await? {
            (Ok(clock_ms), living) => (clock_ms, living),
            (Err(taken), _) => return Ok(taken),
        };
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.insert(lease.node.clone(), lease.life.clone());
        Ok(Renewed::Renewed { clock_ms, living })
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        let (key, set) = (self.keys.node(node), self.keys.nodes());
        let life = vec![self.life_of(node).into()];
        let ended: u64 = self.script(&self.scripts.lease_end, &[&key], life).await?;
        if ended == 0 {
            return Ok(());
        }
        let args = [node.as_str(), &set, &NodeMessage::left(node).encode()];
        let args = args.map(Value::from).into();
        self.script::<u64>(&self.scripts.lease_end_set, &[&set], args)
            .await
            .map(drop)
    }

    async fn nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        let set = self.keys.nodes();
        let known: Vec<String> = self.script(&self.scripts.nodes, &[&set], vec![]).await?;
        let known = known.as_chunks::<2>().0.iter();
        let known = known.filter_map(|[node, lives]| {
            Some(KnownNode {
                node: NodeId::parse(node)?,
                lives: lives == "1",
            })
        });
        Ok(known.collect())
    }

    async fn send(&self, to: Recipients<'_>, message: &NodeMessage) -> Result<(), StoreError> {
        let channel = match to {
            Recipients::One(node) => self.keys.node(node),
            Recipients::All => self.keys.nodes(),
        };
        let args = vec![channel.as_str().into(), message.encode().into()];
        // In a cluster any node will do: they pass it on to each other.
        let publish = self.link.send("PUBLISH", on_slot_of(&channel), args);
        self.measured("send", publish).await.map(drop)
    }

    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Received>, StoreError> {
        self.measured("listen", self.listener.listen(node)).await
    }

    fn profile(&self) -> StoreProfile {
        StoreProfile {
            kind: "redis",
            is_shared: true,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // In a cluster each master is asked: sessions are on all of them.
        let servers = self.link.masters().into_iter();
        let pings = servers.map(|server| self.link.send_to(server, "PING", on_slot_of(""), vec![]));
        self.measured("ping", try_join_all(pings)).await.map(drop)
    }

    async fn report(&self) -> Result<StoreReport, StoreError> {
        let report = async {
            let time: (u64, u64) = self.link.send("TIME", on_slot_of(""), vec![]).await?.convert()?;
            Ok(StoreReport {
                version: version(&self.link).await?,
                eviction_policy: self.eviction_policy().await?,
                clock_ms: Some(time.0 * 1000 + time.1 / 1000),
                other_prefixes: self.other_prefixes().await?,
                topology: self.topology,
            })
        };
        self.measured("report", report).await
    }

    async fn close(&self) {
        // Quitting first lets answers under way arrive; then nothing is left that would mend what was closed.
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        join(self.link.quit(), self.listener.quit()).await;
        drop(tasks);
    }
}

impl RedisStore {
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
        let answer = self.scripts.lease_renew.run(&self.link, &[&key], args).await?;
        let answer: Vec<String> = answer.convert()?;
        let unexpected = || FredError::new(ErrorKind::Parse, "lease_renew: unexpected answer");
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

    /// Writes the lease into the set of leases, and returns who lives.
    async fn write_lease_set(&self, lease: &Lease, ttl: Duration) -> Result<Vec<NodeId>, FredError> {
        let (set, life, stay) = (self.keys.nodes(), millis(ttl), millis(ENDED_LEASE_STAY));
        let args = [lease.node.as_str(), &life, &stay].map(Value::from).into();
        let living = self
            .scripts
            .lease_renew_set
            .run(&self.link, &[&set], args)
            .await?;
        let living: Vec<String> = living.convert()?;
        Ok(living.iter().filter_map(|node| NodeId::parse(node)).collect())
    }
}
