//! A node's part of one bucket: tokens that it has taken in advance, and what it knows of the others. Pure: it is
//! told the time, in microseconds.

use crate::config::Rate;
use crate::store::Granted;
use crate::store::rates::TokenBucket;

const SECOND_US: u64 = 1_000_000;
/// How long tokens that a node has taken wait to be spent: what is left of them is gone then.
const LEASE_US: u64 = SECOND_US;
/// A node takes as many in advance as were asked for in this part of a second,
const SECOND_PARTS: u32 = 4; // so that a busy caller costs 4 trips a second, and no more than 8
/// and no more than this part of a full bucket, so that the parts of nodes that fell silent leave the most of it.
const BURST_PARTS: u32 = 4;
/// How long a node believes that a bucket is empty, at least.
const BELIEVED_US: u64 = 100_000; // 10 trips a second of a caller that is over its limit
/// It believes it for no longer than this part of a bucket takes to come, because a bucket that runs over is wasted.
const BELIEVED_PARTS: u64 = 4;

/// What came of spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Spending {
    /// So many tokens were spent.
    Spent,
    /// The bucket is empty, for so many microseconds more.
    Refused(u64),
    /// There are not as many here: the store must be asked, for so many at least.
    Ask(u32),
}

/// A node's part of one bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeBucket {
    /// Tokens taken in advance, how many they were at first, and when they are gone.
    left: u32,
    leased: u32,
    ends_us: u64,
    /// Until when the store has no tokens for those who need that many or more.
    empty_until_us: u64,
    empty_for: u32,
    demand: Demand,
    /// What the requests need that wait for the store.
    unmet: u32,
    /// What was spent here: for when the store cannot be asked.
    own: TokenBucket,
}

impl NodeBucket {
    /// Notes that so many tokens are asked for, once for each request.
    pub(super) fn note_demand(&mut self, now_us: u64, cost: u32) {
        self.demand.note(now_us, cost);
    }

    /// Spends tokens that were taken in advance.
    pub(super) fn spend(&mut self, rate: Rate, now_us: u64, cost: u32) -> Spending {
        let left = self.left(now_us);
        if left >= cost {
            self.left = left - cost;
            self.own.note(rate, now_us, cost);
            return Spending::Spent;
        }
        let need = cost - left;
        if now_us < self.empty_until_us && need >= self.empty_for {
            return Spending::Refused(self.empty_until_us - now_us);
        }
        Spending::Ask(need)
    }

    /// Spends tokens of this node's own bucket, at the full rate: the store cannot be asked, or need not be.
    pub(super) fn spend_own(&mut self, rate: Rate, now_us: u64, cost: u32) -> Spending {
        match self.own.take(rate, now_us, cost, cost) {
            Granted::Tokens(_) => Spending::Spent,
            Granted::After(wait) => Spending::Refused(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    /// Puts tokens back that were spent for nothing. They expire after `kept_us`, and not before tokens from the store would.
    pub(super) fn give_back(&mut self, rate: Rate, now_us: u64, cost: u32, kept_us: u64) {
        self.left = self.left(now_us).saturating_add(cost);
        self.ends_us = now_us + kept_us.max(LEASE_US);
        self.demand.take_back(cost);
        self.own.give_back(rate, cost);
    }

    /// How many tokens to ask the store for, of which so many are needed now.
    pub(super) fn wanted(&self, rate: Rate, now_us: u64, need: u32) -> u32 {
        let waited_for = self.unmet.saturating_sub(self.left(now_us));
        let wanted = self.in_advance(rate, now_us).max(waited_for).max(need);
        wanted.min(rate.burst())
    }

    /// How many tokens to ask the store for in the background, before those that are here are spent. Not for a caller
    /// that asks so seldom that they would be gone before.
    pub(super) fn refill(&self, rate: Rate, now_us: u64) -> Option<u32> {
        let half_spent = self.left.saturating_mul(2) <= self.leased;
        let wanted = self.in_advance(rate, now_us);
        (half_spent && wanted >= 2 && now_us >= self.empty_until_us).then_some(wanted)
    }

    /// What the store has answered to who needed so many.
    pub(super) fn answered(&mut self, rate: Rate, now_us: u64, need: u32, granted: Granted) {
        match granted {
            Granted::Tokens(tokens) => {
                self.left = self.left(now_us).saturating_add(tokens);
                self.leased = self.left;
                self.ends_us = now_us + LEASE_US;
                self.empty_until_us = 0;
            }
            Granted::After(wait) => {
                let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 2);
                let believed_us = BELIEVED_US.min(rate.time_us(rate.burst()) / BELIEVED_PARTS);
                self.empty_until_us = now_us + wait_us.max(believed_us);
                self.empty_for = need;
            }
        }
    }

    /// A request begins to wait for the store.
    pub(super) fn begin_waiting(&mut self, cost: u32) {
        self.unmet = self.unmet.saturating_add(cost);
    }

    /// It waits no longer.
    pub(super) fn end_waiting(&mut self, cost: u32) {
        self.unmet = self.unmet.saturating_sub(cost);
    }

    fn left(&self, now_us: u64) -> u32 {
        if now_us < self.ends_us { self.left } else { 0 }
    }

    fn in_advance(&self, rate: Rate, now_us: u64) -> u32 {
        let most = (rate.burst() / BURST_PARTS).max(1);
        self.demand
            .in_last_second(now_us)
            .div_ceil(SECOND_PARTS)
            .clamp(1, most)
    }
}

/// How many tokens were asked for in the last second, about.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    began_us: u64,
    now: u32,
    before: u32,
}

impl Demand {
    fn note(&mut self, now_us: u64, cost: u32) {
        match now_us.saturating_sub(self.began_us) {
            past if past < SECOND_US => {}
            past if past < 2 * SECOND_US => {
                self.before = std::mem::take(&mut self.now);
                self.began_us += SECOND_US;
            }
            _ => {
                *self = Self {
                    began_us: now_us,
                    ..Self::default()
                };
            }
        }
        self.now = self.now.saturating_add(cost);
    }

    fn take_back(&mut self, cost: u32) {
        self.now = self.now.saturating_sub(cost);
    }

    fn in_last_second(self, now_us: u64) -> u32 {
        let past_us = now_us.saturating_sub(self.began_us);
        let part_us = SECOND_US.saturating_sub(past_us);
        let before = u64::from(self.before) * part_us / SECOND_US;
        self.now.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
