//! What a store keeps of rates: buckets of tokens, out of which nodes take in advance.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::config::Rate;

/// Outcome of [`RateStore::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Granted {
    /// So many tokens were taken.
    Tokens(u32),
    /// There are fewer than are needed, and none was taken. So many are there after this time, unless others take them.
    After(Duration),
}

/// Keeps buckets of tokens, by which requests are counted over all nodes.
///
/// A store of one's own needs one number for each bucket that is not full: when it will be.
#[async_trait]
pub trait RateStore: fmt::Debug + Send + Sync + 'static {
    /// Takes `wanted` tokens out of a bucket, or as many as it has, but none if it has fewer than `least`. It is filled at
    /// that rate, by the store's own clock, to [`Rate::burst`] tokens at most. So in any time t no more than
    /// `burst` + t × `count` / `period` tokens are taken, by however many nodes at once.
    ///
    /// - Absence: a bucket of that name that is not there is full.
    /// - Expiry: one that is full again is gone.
    /// - Collision: one that was filled at another rate keeps at most what an empty bucket of this rate lacks.
    async fn take(&self, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Result<Granted, StoreError>;
}

/// A bucket (GCRA, the generic cell rate algorithm), as one number: when it is full, in microseconds by some clock.
/// One that was never used is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    full_at_us: u64,
}

impl TokenBucket {
    /// As [`RateStore::take`].
    pub(crate) fn take(&mut self, rate: Rate, now_us: u64, least: u32, wanted: u32) -> Granted {
        let room_us = rate.time_us(rate.burst());
        // A clock that has stepped back, or another rate, must not empty it further than it can be.
        let full_at_us = self.full_at_us.clamp(now_us, now_us + room_us);
        let granted = rate.tokens_in(now_us + room_us - full_at_us).min(wanted);
        if granted < least {
            let there_at_us = full_at_us + rate.time_us(least);
            return Granted::After(Duration::from_micros(
                there_at_us.saturating_sub(now_us + room_us),
            ));
        }
        self.full_at_us = full_at_us + rate.time_us(granted);
        Granted::Tokens(granted)
    }

    /// Takes so many tokens that were granted elsewhere, whether or not it has them.
    pub(crate) fn note(&mut self, rate: Rate, now_us: u64, tokens: u32) {
        let most_us = now_us + rate.time_us(rate.burst());
        self.full_at_us = (self.full_at_us.max(now_us) + rate.time_us(tokens)).min(most_us);
    }

    /// Puts tokens back that were not used.
    pub(crate) fn give_back(&mut self, rate: Rate, tokens: u32) {
        self.full_at_us = self.full_at_us.saturating_sub(rate.time_us(tokens));
    }

    /// When it is full.
    #[must_use]
    pub(crate) const fn full_at_us(self) -> u64 {
        self.full_at_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const SECOND_US: u64 = 1_000_000;

    fn rate(count: u32, burst: u32) -> Rate {
        Rate::new(count, Duration::from_secs(1), burst).unwrap()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (rate, mut bucket) = (rate(5, 10), TokenBucket::default());
        let mut take = |now, least, wanted| bucket.take(rate, now, least, wanted);
        assert_eq!(take(0, 1, 7), Granted::Tokens(7));
        assert_eq!(take(0, 4, 7), Granted::After(Duration::from_millis(200)));
        assert_eq!(take(0, 1, 7), Granted::Tokens(3));
        assert_eq!(take(0, 1, 7), Granted::After(Duration::from_millis(200)));
        assert_eq!(take(100_000, 1, 1), Granted::After(Duration::from_millis(100)));
        assert_eq!(take(200_000, 1, 2), Granted::Tokens(1));
        assert_eq!(take(60 * SECOND_US, 1, 100), Granted::Tokens(10));
    }

    #[test]
    fn a_clock_that_steps_back_leaves_the_bucket_empty_and_no_emptier() {
        let (rate, mut bucket) = (rate(5, 10), TokenBucket::default());
        assert_eq!(bucket.take(rate, 3600 * SECOND_US, 1, 10), Granted::Tokens(10));
        assert_eq!(
            bucket.take(rate, 0, 1, 1),
            Granted::After(Duration::from_millis(200))
        );
        assert_eq!(
            bucket.take(rate, 2 * SECOND_US, 1, 10),
            Granted::After(Duration::from_millis(200))
        );
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (rate, mut bucket) = (rate(5, 10), TokenBucket::default());
        assert_eq!(bucket.take(rate, SECOND_US, 1, 10), Granted::Tokens(10));
        bucket.give_back(rate, 4);
        assert_eq!(bucket.take(rate, SECOND_US, 1, 10), Granted::Tokens(4));
        bucket.note(rate, SECOND_US, 100);
        assert_eq!(
            bucket.take(rate, SECOND_US, 1, 1),
            Granted::After(Duration::from_millis(200))
        );
    }

    /// A rate, and numbers that are drawn from a seed.
    fn drawn(seed: u64) -> (Rate, impl Fn(u64, u64) -> u64) {
        random::seed(seed);
        let between = |least: u64, most: u64| least + random::number(most - least + 1);
        let number = |least, most| u32::try_from(between(least, most)).unwrap();
        (rate(number(1, 2000), number(10, 200)), between)
    }

    #[test]
    fn no_more_is_taken_than_burst_and_rate_allow() {
        for seed in 0..200 {
            let (rate, between) = drawn(seed);
            let (mut bucket, mut now, mut taken) = (TokenBucket::default(), 0, 0u64);
            for _ in 0..200 {
                now += between(0, 300_000);
                let least = u32::try_from(between(1, 30)).unwrap();
                let wanted = least + u32::try_from(between(0, 30)).unwrap();
                if let Granted::Tokens(tokens) = bucket.take(rate, now, least, wanted) {
                    assert!((least..=wanted).contains(&tokens), "seed {seed}");
                    taken += u64::from(tokens);
                }
                let most = u64::from(rate.burst()) * SECOND_US + now * u64::from(rate.count());
                assert!(taken * SECOND_US <= most, "seed {seed}: {taken} after {now} us");
            }
        }
    }

    #[test]
    fn after_the_time_that_was_told_there_is_as_much_as_was_needed() {
        for seed in 0..1000 {
            let (rate, between) = drawn(seed);
            let mut bucket = TokenBucket::default();
            let least = u32::try_from(between(1, 10)).unwrap();
            let _all = bucket.take(rate, 0, 1, rate.burst());
            let Granted::After(wait) = bucket.take(rate, 0, least, least) else {
                panic!("seed {seed}: it is empty")
            };
            let now = u64::try_from(wait.as_micros()).unwrap();
            let early = bucket.take(rate, now - 1, least, least);
            assert!(matches!(early, Granted::After(_)), "seed {seed}");
            assert_eq!(
                bucket.take(rate, now, least, least),
                Granted::Tokens(least),
                "seed {seed}"
            );
        }
    }
}
