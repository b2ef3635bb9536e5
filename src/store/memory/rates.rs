//! Buckets of tokens in memory.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::MemoryStore;
use super::ttl_map::TtlMap;
use crate::config::Rate;
use crate::store::rates::TokenBucket;
use crate::store::{Granted, RateStore, StoreError};

/// The buckets that are not full.
#[derive(Debug)]
pub(super) struct MemoryBuckets {
    buckets: TtlMap<Box<str>, TokenBucket>,
    /// What their clock counts from.
    started: Instant,
}

impl Default for MemoryBuckets {
    fn default() -> Self {
        Self {
            buckets: TtlMap::default(),
            started: Instant::now(),
        }
    }
}

impl MemoryBuckets {
    fn take(&mut self, name: &str, rate: Rate, least: u32, wanted: u32) -> Granted {
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX / 2);
        let mut bucket = self.buckets.get(&name.into()).copied().unwrap_or_default();
        let granted = bucket.take(rate, now_us, least, wanted);
        let life = Duration::from_micros(bucket.full_at_us().saturating_sub(now_us));
        if !life.is_zero() {
            self.buckets.put(name.into(), bucket, life);
        }
        granted
    }

    /// Forgets those that are full, a part of all at a time.
    pub(super) fn tidy(&mut self, count: usize) {
        self.buckets.tidy(count, |_| {});
    }
}

#[async_trait]
impl RateStore for MemoryStore {
    async fn take(&self, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Result<Granted, StoreError> {
        Ok(self.lock().rates.take(bucket, rate, least, wanted))
    }
}
