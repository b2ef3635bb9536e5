//! One stream's event log in memory, with its bounds.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::ttl_map::LIFE_MAX;
use crate::store::Limits;
use crate::store::streams::{Event, Holder, Read};

/// The events that one stream keeps.
#[derive(Debug)]
pub(super) struct Log {
    events: VecDeque<String>,
    head: u64,
    bytes: u64,
    delivered: u64,
    ends: Instant,
    pub(super) done: bool,
    pub(super) holder: Option<Holder>,
    /// Whether connections may wait to carry it.
    pub(super) standby: bool,
    /// When it was made, compared with the others of its session.
    pub(super) made: u64,
}

impl Log {
    pub(super) fn new(made: u64, ttl: Duration) -> Self {
        Self {
            events: VecDeque::new(),
            head: 0,
            bytes: 0,
            delivered: 0,
            ends: after(ttl),
            done: false,
            holder: None,
            standby: false,
            made,
        }
    }

    pub(super) fn lives(&self) -> bool {
        self.ends > Instant::now()
    }

    /// Lives `ttl` from now.
    pub(super) fn renew(&mut self, ttl: Duration) {
        self.ends = after(ttl);
    }

    /// Lives as long as its session, which lives as long as is `left`, while it is carried, and else `ttl`
    /// from now.
    pub(super) fn renew_as_carried(&mut self, ttl: Duration, left: Duration) {
        self.renew(if self.holder.is_some() {
            left
        } else {
            ttl.min(left)
        });
    }

    /// Lives `ttl` from now at least.
    pub(super) fn keep(&mut self, ttl: Duration) {
        self.ends = self.ends.max(after(ttl));
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The number of the oldest event that is kept.
    fn first(&self) -> u64 {
        self.head + 1 - self.events.len() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets the oldest events go until `bytes` less are kept, but never the newest.
    pub(super) fn drop_oldest(&mut self, bytes: u64) {
        let left = self.bytes.saturating_sub(bytes);
        while self.events.len() > 1 && self.bytes > left {
            self.let_oldest_go();
        }
    }

    fn let_oldest_go(&mut self) {
        let gone = self.events.pop_front().map_or(0, |event| event.len() as u64);
        self.bytes -= gone;
    }

    /// Appends an event, lets the oldest go that are too many, and returns the event's number.
    pub(super) fn append(&mut self, data: &str) -> u64 {
        self.events.push_back(data.to_owned());
        self.head += 1;
        self.bytes += data.len() as u64;
        while self.events.len() > 1
            && (self.events.len() as u64 > Limits::STREAM_EVENTS_MAX || self.bytes > Limits::STREAM_BYTES_MAX)
        {
            self.let_oldest_go();
        }
        self.head
    }

    /// What follows event `after`.
    pub(super) fn read(&self, after: u64) -> Read {
        let first = self.first();
        let from = first.max(after.saturating_add(1));
        let numbered = (first..).zip(&self.events);
        let follow = numbered.filter(|(number, _)| *number >= from);
        let mut bytes = 0;
        Read::Events {
            events: follow
                .take(Limits::READ_EVENTS_MAX)
                .take_while(|(number, data)| {
                    bytes += data.len();
                    *number == from || bytes <= Limits::READ_BYTES_MAX
                })
                .map(|(number, data)| Event {
                    number,
                    data: data.clone(),
                })
                .collect(),
            first,
            head: self.head,
            done: self.done,
            holder: self.holder.clone(),
            delivered: self.delivered,
        }
    }

    /// Drops all events: they have lived for long enough. Those that come are numbered on.
    pub(super) fn expire(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// Drops all events: they are for nobody any longer. Those that come are numbered on.
    pub(super) fn begin_anew(&mut self) {
        self.expire();
        self.delivered = self.head;
    }

    pub(super) fn note_delivered(&mut self, number: u64) {
        self.delivered = self.delivered.max(number.min(self.head));
    }
}

pub(super) fn after(ttl: Duration) -> Instant {
    Instant::now() + ttl.min(LIFE_MAX)
}
