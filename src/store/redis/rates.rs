//! Buckets of tokens in Redis: one number each, which ends when the bucket is full.

use std::time::Duration;

use async_trait::async_trait;

use super::RedisStore;
use crate::config::Rate;
use crate::store::{Granted, RateStore, StoreError};

#[async_trait]
impl RateStore for RedisStore {
    async fn take(&self, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Result<Granted, StoreError> {
        let numbers = [
            u64::from(rate.count()),
            rate.period_us(),
            u64::from(rate.burst()),
            u64::from(least),
            u64::from(wanted),
        ];
        let args = numbers.map(|number| number.to_string().into()).into();
        let (granted, after_ms): (u32, u64) = self
            .script(&self.scripts.take, &[&self.keys.rate(bucket)], args)
            .await?;
        Ok(match granted {
            0 if least > 0 => Granted::After(Duration::from_millis(after_ms)),
            tokens => Granted::Tokens(tokens),
        })
    }
}
